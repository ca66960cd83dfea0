"""Memory as CuPy's pool hands it out, for the stand-in: in blocks that come back when nobody holds them.

A block that is freed is poisoned at once (NaN in every floating type, large numbers in every integer type)
and handed out again to whoever next asks for as much: what goes on reading it, or writing to it, is seen.
Sizes are rounded up to `UNIT` bytes, and the smallest block that is large enough is taken and split, as
`cupy.cuda.MemoryPool` does; free neighbours are not joined here.

    loan = pool.lend(n_bytes)           # the block is in use until the loan is gone
    host = loan.array((3, 4), dtype)    # a NumPy array there; like a pointer, it holds nothing back
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

UNIT = 512  # bytes: CuPy's ALLOCATION_UNIT_SIZE
POISON = 0x7FFF  # repeated, it is NaN as float16, float32 and float64, and large as an integer

Host = np.ndarray[Any, Any]


def rounded(n_bytes: int) -> int:
    """The size of the block that holds so many bytes."""
    return -(-n_bytes // UNIT) * UNIT


Arena = dict[int, "list[Block]"]  # free blocks by size


class Block:
    """A stretch of a segment, which is what was asked of the device at once."""

    __slots__ = ("free", "generation", "marks", "pool", "segment", "size", "start", "words")

    def __init__(self, pool: Pool, arena: Arena, segment: Host, start: int, size: int) -> None:
        self.pool, self.segment, self.start, self.size = pool, segment, start, size
        self.words = segment[start : start + size].view(np.uint16)
        self.free = arena.setdefault(size, [])  # where it goes when it is free
        self.generation = 0  # how often it was freed
        self.marks = pool.marks  # streams.py: who used it, and when


class Loan:
    """A block in use."""

    __slots__ = ("block",)

    def __init__(self, block: Block) -> None:
        self.block = block

    def __del__(self, poison: int = POISON) -> None:
        block = self.block
        block.generation += 1
        block.words.fill(poison)
        block.free.append(block)

    def array(self, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> Host:
        """A NumPy array at the beginning of the block."""
        block = self.block
        return np.ndarray(shape, dtype, block.segment, block.start, strides)


class Pool:
    """Blocks of memory, those in use and those to be used again. Threads may share it: what it does with its
    lists is atomic. With `marks` its blocks are one as to who uses them.
    """

    def __init__(self, marks: Any = None) -> None:
        self.arenas: dict[int, Arena] = {}  # by the number of the stream on which a block is asked for
        self.marks = marks
        self._segments: list[Host] = []

    def lend(self, n_bytes: int, stream: int = 0) -> Loan:
        """A block for so many bytes, with any values in it."""
        size = -(-n_bytes // UNIT) * UNIT
        arena = self.arenas.get(stream)
        if arena is None:
            arena = self.arenas.setdefault(stream, {})
        waiting = arena.get(size)
        if waiting:
            try:
                return Loan(waiting.pop())
            except IndexError:  # another thread was faster
                pass
        return Loan(self._split(arena, size) or self._new(arena, size))

    def used_bytes(self) -> int:
        """Bytes of the blocks that are in use."""
        arenas = [*self.arenas.values()]
        free = sum(size * len(blocks) for arena in arenas for size, blocks in [*arena.items()])
        return self.total_bytes() - free

    def total_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(segment.nbytes for segment in [*self._segments])

    def poison(self) -> None:
        """Overwrites everything, also what is in use: as if nothing had ever been written there."""
        for segment in self._segments:
            segment.view(np.uint16).fill(POISON)

    def _new(self, arena: Arena, size: int) -> Block:
        segment = np.full(size // 2, POISON, np.uint16).view(np.uint8)
        self._segments.append(segment)
        return Block(self, arena, segment, 0, size)

    def _split(self, arena: Arena, size: int) -> Block | None:
        for larger in sorted([n for n, blocks in [*arena.items()] if n > size and blocks]):
            try:
                block = arena[larger].pop()
            except IndexError:
                continue
            first, rest = (
                Block(self, arena, block.segment, start, n)
                for start, n in ((block.start, size), (block.start + size, larger - size))
            )
            if self.marks is None:  # each half was used by whoever used the whole
                first.marks, rest.marks = (copy.deepcopy(block.marks) for _ in range(2))
            rest.free.append(rest)
            return first
        return None
