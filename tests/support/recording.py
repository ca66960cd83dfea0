"""What the stand-in for CuPy has in place of CUDA graphs: a list of what was done, to be done again.

As with a graph, doing it again runs none of the program that made the list, and reads and writes the same
places in memory, in the same order, whoever they belong to by then. Nothing here keeps an array: what is
recorded are pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import streams
from .pool import Block, Host, Loan, Pool


class Freed(RuntimeError):
    """A graph is about to use memory that was freed after it was captured."""


class Recording:
    """Operations in order, each as a function, its arguments, and the arrays to which its results go.

    `pool` is the memory of what is made while recording, `feeds` that of what the host writes before a
    replay.
    """

    def __init__(self) -> None:
        self.pool, self.feeds = Pool(streams.Marks()), Pool(streams.Marks())
        self._own = {self.pool, self.feeds}
        self._last: dict[int, int] = {}  # the event of the last replay
        self._done: list[tuple[Callable[..., Any], Sequence[Any], dict[str, Any], list[Host]]] = []
        self._before: dict[Block, tuple[Loan, Host]] = {}  # others' blocks that were changed: what they held
        self.reads: dict[Block, int] = {}  # others' blocks, and how often they had been freed
        self.writes: dict[Block, int] = {}

    def owns(self, loan: Loan | None) -> bool:
        """Whether memory is the recording's own, and not some that there was before."""
        return loan is None or loan.block.pool in self._own

    def uses(self, loans: Iterable[Loan], changed: Iterable[Loan]) -> None:
        """Says that memory is about to be read, and some of it changed."""
        for loan in loans:
            if not self.owns(loan):
                self.reads[loan.block] = loan.block.generation
        for loan in changed:
            block = loan.block
            if not self.owns(loan):
                self.writes[block] = block.generation
                if block not in self._before:
                    self._before[block] = loan, block.words.copy()

    def note(
        self, function: Callable[..., Any], args: Sequence[Any], keywords: dict[str, Any], results: list[Host]
    ) -> None:
        """An operation that was done."""
        self._done.append((function, args, keywords, results))

    def undo(self) -> None:
        """Puts memory back to what it held: recording executes nothing. What was made holds anything."""
        for block, (_, before) in self._before.items():
            block.words[...] = before
        self._before.clear()
        self.pool.poison()

    def check(self) -> None:
        """Raises Freed where others' memory that it uses was freed since."""
        for blocks in (self.reads, self.writes):
            for block, generation in blocks.items():
                if block.generation != generation:
                    raise Freed("strict: a graph uses memory that was freed after the capture")

    def replay(self) -> None:
        """Does everything again, after the last time: CUDA sees to that itself."""
        self.check()
        if streams.n_streams:
            stream = streams.current()
            stream.wait_event(self._last)
            read, written = streams.marks_of(self.reads), streams.marks_of(self.writes)
            stream.uses([*read, self.feeds.marks], [*written, self.pool.marks])
            self._last = stream.record()
        with np.errstate(all="ignore"):
            for function, args, keywords, hosts in self._done:
                found = function(*args, **keywords)
                parts = found if isinstance(found, (tuple, list)) else (found,)
                for host, part in zip(hosts, parts if hosts else (), strict=True):
                    host[...] = part
