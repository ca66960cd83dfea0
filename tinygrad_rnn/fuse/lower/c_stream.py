"""A compiled step that goes on where it stopped: one call from Python to C for each step, or for a block of
steps. Its states stay in memory of its own, its matrices are packed once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backend.native import native
from ..ir import Block
from ..passes.place import Memory, Placer
from ..steps import in_groups
from .c import HEAD, LONG, ROWS, CLoop, NotLowerable

DONE, N_STEPS = 11, 10  # places among the arguments of pool.c's run_loop
PREPARE = 5


class CStream:
    """A block (x, states) -> (y, new states) for n rows. Raises NotLowerable or OSError where it does not
    compile.

    `states`: arrays to begin with, which are copied; `values`: of the block's constants, as they are now.
    """

    def __init__(self, block: Block, states: Sequence[Any], values: Sequence[Any], n: int) -> None:
        placed = in_groups(block, "c")
        (x, *before), (y, *after) = placed.params, placed.results
        if y is None or None in after:
            raise NotLowerable("a result that is not there")
        placer = Placer(placed, [x], [*zip(before, after, strict=True)], [y])
        placement = placer.placement()
        place = placer.stored_copies.get(y) or placement.places[y]
        if place.memory.kind != "steps" or place.views:
            raise NotLowerable("an output that has no memory of its own")
        self.loop, self.n = CLoop(placed, placement), n
        self.loop.compile()
        self.dtype = self.loop.dtype
        memories: list[Memory] = [placement.places[s].memory for s in before]
        self.rings = [np.empty((2, *m.type.at(n)), m.type.dtype) for m in memories]
        self._arrays: dict[Any, Any] = dict(zip(memories, self.rings, strict=True))
        self._x, self._y = placement.places[x].memory, place.memory
        slots = [(key[0], k) for key, k in self.loop.slots.items() if type(key) is tuple]
        of = dict(slots)
        self._slots = of.get(self._x), of[self._y]
        self._own = self.loop.own_memory(n)
        self.take(values)
        self.done = 0
        self.set(states)

    def take(self, values: Sequence[Any]) -> None:
        """Takes the constants as they are now; matrices are packed at the next call."""
        for memory in (self._x, self._y):
            self._arrays[memory] = np.empty((1, *memory.type.at(self.n)), memory.type.dtype)
        self._objects, self._held = self.loop.objects(self._arrays, values, self.n)
        self._held += values
        one, many = self.loop.table[:], self.loop.table
        for k in self._slots:
            if k is not None:
                one[3 * k] = ROWS  # an array of one step has no axis of time
        self._tables = one, many
        prepare, rows = self.loop.functions
        self._arguments = array("q", [
            self._objects.buffer_info()[0], HEAD, one.buffer_info()[0], len(self.loop.slots), self._own[1],
            prepare, rows, self.n, 0, 1, 1, 0, native.threads_for(self.n, self.n * self.loop.work),
        ])  # fmt: skip
        self._address = self._arguments.buffer_info()[0]
        self._run, self._prepare = native.run_again, prepare

    @property
    def states(self) -> list[Any]:
        """The states now, as arrays that the next step writes over."""
        return [ring[self.done % 2] for ring in self.rings]

    def set(self, states: Sequence[Any]) -> None:
        for now, new in zip(self.states, states, strict=True):
            now[...] = new

    def step(self, x: Any, y: Any) -> None:
        """One step: x (n, ...) and y (n, ...), arrays of the block's types that lie plainly in memory."""
        arguments, objects, (of_x, of_y) = self._arguments, self._objects, self._slots
        if of_x is not None:
            objects[of_x] = id(x)
        objects[of_y] = id(y)
        arguments[DONE] = self.done
        if self._run(self._address):
            raise MemoryError
        self.done = 1 - self.done
        arguments[PREPARE] = 0  # they are packed

    def steps(self, x: Any, y: Any) -> None:
        """Some steps: x (time, n, ...) and y (time, n, ...), arrays as of `step`."""
        arguments, (one, many) = self._arguments, self._tables
        each = max(1, LONG // max(1, self.n * self.loop.work))
        arguments[2] = many.buffer_info()[0]
        try:
            for start in range(0, len(x), each):
                count = min(each, len(x) - start)
                arguments[N_STEPS] = count
                part, into = x[start : start + count], y[start : start + count]
                done = self.done
                self.step(part, into)
                self.done = (done + count) % 2
        finally:
            arguments[2], arguments[N_STEPS] = one.buffer_info()[0], 1
