"""Where the elements of values lie: arrays of addresses, each a buffer and a place in it.

A view, a piece or a joined array is what the op makes of the arrays of addresses: no op needs a rule for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .c import NotLowerable

__all__ = ["MOST_RUNS", "Addressed", "Buffer", "Line", "NotPortable"]

MOST_RUNS = 64  # pieces that a value is read in


class NotPortable(NotLowerable):
    """Why a step is not written, and the op at which that was seen."""

    def __init__(self, reason: str, op: str) -> None:
        super().__init__(reason)
        self.op = op


@dataclass(eq=False)
class Buffer:
    """Memory of so many elements. `phase`: which phase writes it; `reads`: which read it, and whether only at
    the place that they write."""

    name: str
    size: int
    values: Any = None  # of a constant
    phase: int = -1
    reads: list[tuple[int, bool]] = field(default_factory=list)


class Line(NamedTuple):
    """Elements one after the other in a buffer: start, start + stride, ..."""

    buffer: Buffer
    start: int
    stride: int

    def at(self, column: str = "c") -> str:
        """The element of a column as it stands in C."""
        if not self.stride:
            return f"{self.buffer.name}[{self.start}]"
        column = column if self.stride == 1 else f"{self.stride} * {column}"
        return f"{self.buffer.name}[{f'{self.start} + ' if self.start else ''}{column}]"


class Addressed:
    """The buffers of a function that is written phase by phase. `pointers`: of scratch memory, names and
    where they lead; `n_work`: the elements that it takes. What is `in_place` lies in a state.
    """

    def __init__(self) -> None:
        self.n_phases = 0
        self.buffers: list[Buffer] = []
        self.in_place: dict[str, str] = {}
        self.pointers: list[tuple[str, str]] = []
        self.n_work = 0

    def buffer(self, name: str, size: int, values: Any = None) -> Buffer:
        """New memory."""
        self.buffers.append(Buffer(name, size, values))
        return self.buffers[-1]

    def scratch(self, size: int) -> Buffer:
        made = self.buffer(f"t{len(self.buffers)}", size)
        made.phase = self.n_phases
        return made

    def addresses(self, buffer: Buffer, shape: Sequence[Any]) -> Any:
        start = self.buffers.index(buffer) << 32
        return start + np.arange(math.prod(shape), dtype=np.int64).reshape(shape)

    def runs(self, addresses: Any) -> list[tuple[int, int, Line]]:
        """Addresses in a row, as lines: (first place, how many, the line)."""
        flat = np.asarray(addresses).reshape(-1)
        runs, start = [], 0
        while start < len(flat):
            stride, n = 0, 1
            if start + 1 < len(flat) and flat[start + 1] >> 32 == flat[start] >> 32:
                stride = int(flat[start + 1] - flat[start])
                unequal = np.flatnonzero(np.diff(flat[start:]) != stride)
                n = int(unequal[0]) + 1 if len(unequal) else len(flat) - start
            buffer = self.buffers[int(flat[start] >> 32)]
            runs.append((start, n, Line(buffer, int(flat[start] & 0xFFFFFFFF), stride)))
            start += n
            if len(runs) > MOST_RUNS:
                raise NotLowerable("its elements are laid out in too many pieces")
        return runs

    def place(self, pad: int) -> None:
        """Scratch memory in one array, each piece used again when nobody reads it any more."""
        taken: list[tuple[int, int, int]] = []  # first element, one past the last, last phase
        for b in self.buffers:
            if b.phase < 0 or not b.name.startswith("t"):
                continue
            if b.name in self.in_place:
                self.pointers.append((b.name, self.in_place[b.name]))
                continue
            last = max((k for k, _ in b.reads), default=b.phase)
            size, start = -(-b.size // pad) * pad, 0
            for first, end, until in sorted(taken):
                if until >= b.phase and first < start + size and start < end:
                    start = end
            taken.append((start, start + size, last))
            self.n_work = max(self.n_work, start + size)
            self.pointers.append((b.name, f"state->work + {start}"))
