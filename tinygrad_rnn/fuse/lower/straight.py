"""A placed block that runs once for each call: arguments in, results out."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..ir import Block, Instr, Ref
from ..passes.factors import CONCAT
from ..passes.place import Cut, Place, Placer, is_view
from .interpret import Program, at, call_all, viewed

KEPT = 1 << 19  # bytes of scratch memory up to which it waits for the next call


class Straight(Program):
    """The calls of a block for a batch size and an array library. Results lie in memory of their own, or are
    arguments or views of them; what is computed on the way lies in scratch, which the next call uses again.
    """

    def __init__(self, block: Block, n: int, xp: Any) -> None:
        makers = block.makers()

        def is_computed(r: Ref) -> bool:
            """Whether a result can be computed into memory that is chosen for it."""
            maker = makers.get(r)
            while maker is not None and is_view(maker):
                maker = makers.get(maker.args[0])  # type: ignore[arg-type]
            return maker is not None and bool(maker.op.ufunc or maker.op.writes_all or maker.op is CONCAT)

        results = [r for r in block.results if r is not None]
        placement = Placer(block, block.params, [], [r for r in results if is_computed(r)]).placement()
        self._of: dict[Any, tuple[Any, ...]] = {}  # of calls that know the batch size: what they were made of
        super().__init__(block, placement, n, xp)
        for r in results:
            place = self.places[r]
            if place.memory.kind in ("given", "steps") and place not in self.slots:
                self.slots[place] = len(self.slots)
                self.sources.append(place)
        self.n_slots = len(self.slots)
        self._memories = {self.places[r].memory: k for k, r in enumerate(block.params)}
        for place in self.sources:  # made at each call, after the arguments
            self._memories.setdefault(place.memory, len(self._memories))
        self._results = [None if r is None else self.slot(r) for r in block.results]
        self._types = [m.type for m in self._memories][len(block.params) :]
        self._scratch_types = [m.type for m in {p.memory for _, p in self.fixed} if m.kind == "scratch"]
        self._constant_types = [i.out.type for i in placement.uniform]
        self._know_size()

    def _know_size(self) -> None:
        """What follows from the batch size."""
        n = self.n
        self._made = [(t.at(n), t.dtype) for t in self._types]
        self._moving = [(self.slots[p], self._memories[p.memory], self._index(p)) for p in self.sources]
        scratch, constant = (
            sum(math.prod(t.at(n)) * t.dtype.itemsize for t in own)
            for own in (self._scratch_types, self._constant_types)
        )
        self._waits = scratch <= KEPT and self.xp.device_type == "cpu"
        self.nbytes = constant + min(scratch, KEPT)
        self._empty = (
            self.xp.empty if all(math.prod(shape) < KEPT for shape, _ in self._made) else self.xp.lend
        )
        self._constant: list[Any] | None = None

    def at(self, n: int) -> Straight:
        """The same for another batch size."""
        new = copy.copy(self)
        new.n, new._waiting = n, []
        new.once = [new._again(f) for f in self.once]
        new.head = [new._again(f) for f in self.head]
        new.calls = [(new._again(f), *places) for f, *places in self.calls]
        new._know_size()
        return new

    def _again(self, f: Any) -> Any:
        made_of = self._of.get(f)
        return f if made_of is None else self._general(*made_of)

    def env(self) -> list[Any]:
        """An env with scratch memory, used again if one waits; what is the same at every run is made once."""
        try:
            return self._waiting.pop()
        except IndexError:
            pass
        if self._constant is None:
            self._constant = self._start()
            for prepare in self.head:  # there are no constants: what does not move is the same at every call
                prepare(self._constant)
        env = [*self._constant]
        self._add_scratch(env)
        return env

    def _index(self, place: Place) -> Any:
        """What leads from a memory to a place in it: None, an index, or a function."""
        if not place.views:
            return None
        (view, *more) = place.views
        if more or type(view) is not tuple:
            return functools.partial(viewed, views=place.views, axes=0, n=self.n, xp=self.xp)
        cuts = tuple([slice(*at(tuple(p), self.n)) if type(p) is Cut else at(p, self.n) for p in view])
        return cuts[0] if len(cuts) == 1 else cuts

    def _general(
        self, instr: Instr, place: Place | None, in_head: bool = False
    ) -> Callable[[list[Any]], None]:
        made = (
            self._quick(instr) if place is not None and place.memory.kind == "fresh" and not in_head else None
        )
        if made is None:
            made = super()._general(instr, place, in_head)
            self._of[made] = (instr, place, in_head)
        return made

    def _quick(self, instr: Instr) -> Callable[[list[Any]], None] | None:
        """A call in fewer steps, for one result that has no memory yet, of values and settings that do not
        move.
        """
        if instr.several or any(
            type(x) not in (int, float, bool, str, type(None)) for x in instr.settings.values()
        ):
            return None
        xp, forward, settings = self.xp, instr.op.forward, instr.settings
        out, dtype, kind = self.slot(instr.out), instr.out.dtype, self.xp.array_type
        args = [self.slot(a) for a in instr.args]

        def run(env: list[Any]) -> None:
            y = forward(xp, *[env[a] for a in args], **settings)
            if type(y) is not kind or y.dtype is not dtype:
                y = xp.asarray(y, dtype=dtype)
            env[out] = y

        return run

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The results of one run on the values of the block's parameters."""
        ready = self.env()
        env, empty = [*ready], self._empty
        memories = [*arrays, *[empty(shape, dtype) for shape, dtype in self._made]]
        for k, memory, index in self._moving:
            if index is None:
                env[k] = memories[memory]
            elif type(index) is functools.partial:
                env[k] = index(memories[memory])
            else:
                env[k] = memories[memory][index]
        call_all(self.calls, env)
        if self._waits:
            self._waiting.append(ready)
        return [None if k is None else env[k] for k in self._results]
