"""A placed block as a list of calls of the array library, and their run over the steps.

A call is (function, a, b, out), places in a list of arrays, the env. Before each step the env gets the arrays
that move with the steps; all others stay. That is all that happens at a step beside the calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..ir import Block, Instr, N, Ref, each_part, refs_in
from ..passes.place import Apart, Cut, Memory, Place, Placement

ALIKE = 512  # rows of all steps from which on a weight is worth transposing for them
Call = tuple[Callable[..., Any], int, int, int]
UNARY, GENERAL = -1, -2


def viewed(array: Any, views: Sequence[Any], axes: int, n: int, xp: Any) -> Any:
    """A view of an array that has so many axes, such as that of the steps, before those of the value."""
    for view in views:
        if type(view) is Apart:
            array = view.of(array)
        elif type(view) is tuple:
            cuts = tuple([_cut(part, n) for part in view])
            last = () if Ellipsis in cuts else (Ellipsis,)  # an array also of a single element
            array = array[(slice(None),) * axes + cuts + last]
        else:
            array = view.op.forward(xp, array, **{k: at(v, n) for k, v in view.settings.items()})
    return array


def _cut(part: Any, n: int) -> Any:
    """A part of an index for this batch size."""
    return slice(at(part.start, n), at(part.stop, n), at(part.step, n)) if type(part) is Cut else at(part, n)


def at(x: Any, n: int, xp: Any = None) -> Any:
    """A setting for a batch size; with `xp` its arrays, which are on the host, as arrays of that library."""
    return each_part(x, lambda p: n if p is N else xp.from_numpy(p) if xp and type(p) is np.ndarray else p)


def writing(xp: Any, name: str) -> Callable[..., Any]:
    """A function of the library that takes the array to write to as its last argument."""
    function: Callable[..., Any] = getattr(xp, name)
    if name in ("maximum", "minimum"):  # NumPy wants it by name there
        return lambda a, b, out: function(a, b, out=out)
    return function


def call_all(calls: Sequence[Call], env: list[Any]) -> None:
    """Makes the calls, one after the other."""
    for f, a, b, out in calls:
        if b >= 0:
            f(env[a], env[b], env[out])
        elif b == UNARY:
            f(env[a], env[out])
        else:
            f(env)


class Program:
    """The calls of a placed block for a batch size and an array library."""

    def __init__(self, block: Block, placement: Placement, n: int, xp: Any) -> None:
        self.n, self.xp = n, xp
        self.placement, self.places = placement, placement.places
        self.slots: dict[Any, int] = {}
        self.sources: list[Place] = []  # what moves, by slot
        self.fixed: list[tuple[int, Place]] = []
        self.head: list[Callable[[list[Any]], None]] = []  # before the first step
        self.once: list[Callable[[list[Any]], None]] = []  # for a new env
        self.numbers: list[tuple[int, Any]] = []
        self.calls: list[Any] = []
        self.constants = block.constants
        self._collect(block)
        for instr in placement.uniform:
            (self.head if [*instr.reads()] else self.once).append(self._general(instr, None, in_head=True))
        self._emit(-1)
        for k, instr in enumerate(block.instructions):
            if instr in self._working:
                self._lower(instr)
            self._emit(k)
        self._emit(len(block.instructions))
        self.n_slots = len(self.slots)
        self._waiting: list[list[Any]] = []

    # ------------------------------------------------------------ slots

    def _collect(self, block: Block) -> None:
        """Numbers what moves with the steps first, so that one assignment brings all of it."""
        used: dict[Any, None] = {}
        self._working = {*self.placement.instructions}
        self._contiguous: dict[Ref, int] = {}
        for instr in self.placement.instructions:
            for r in (*instr.reads(), *instr.outs):
                used.setdefault(r)
        for _, r, _ in self.placement.copies:
            used.setdefault(r)
        places = [self.places[r] for r in used if r in self.places] + [p for _, _, p in self.placement.copies]
        self.sources = [*dict.fromkeys(p for p in places if p.memory.kind in ("given", "steps", "carry"))]
        self.slots = {p: k for k, p in enumerate(self.sources)}

    def slot(self, x: Any) -> int:
        """The slot of a value, a place or a number."""
        place: Any = self.places[x] if type(x) is Ref else x
        if type(x) is Ref and place.memory.kind in ("fresh", "constant"):
            place = x  # by itself
        if type(place) is not Place and type(place) is not Ref:
            place = ("number", type(place), place)
        if place not in self.slots:
            self.slots[place] = len(self.slots)
            if type(place) is Place:
                self.fixed.append((self.slots[place], place))
            elif type(place) is tuple:
                self.numbers.append((self.slots[place], place[2]))
        return self.slots[place]

    # ------------------------------------------------------------ calls

    def _emit(self, k: int) -> None:
        for at_, r, place in self.placement.copies:
            if at_ == k:
                self.calls.append((self.xp.copyto, self.slot(place), UNARY, self.slot(r)))

    def _lower(self, instr: Instr) -> None:
        xp, op, out = self.xp, instr.op, instr.out
        place = self.places[out]
        if instr in self.placement.joined:
            return  # its arguments were computed where they belong
        if op.ufunc and place.memory.kind != "fresh" and self._ufunc_fits(instr):
            args = [self._wide(a, instr) for a in instr.args]
            a, *rest = args
            self.calls.append((writing(xp, op.ufunc), a, rest[0] if rest else UNARY, self.slot(place)))
        elif op.product and place.memory.kind != "fresh" and self._product_fits(instr):
            left, right = instr.args[-2:]
            self.calls.append((xp.matmul_into, self.slot(left), self._weight(right), self.slot(place)))
            if len(instr.args) == 3:
                self.calls.append((xp.add, self.slot(place), self.slot(instr.args[0]), self.slot(place)))
        else:
            self.calls.append((self._general(instr, place), GENERAL, GENERAL, GENERAL))

    def _ufunc_fits(self, instr: Instr) -> bool:
        """Whether the arguments have the result's type, so that it is computed in that."""
        dtype = instr.out.dtype
        refs = [a for a in instr.args if type(a) is Ref]
        return dtype.kind == "f" and bool(refs) and all(r.dtype == dtype for r in refs)

    def _product_fits(self, instr: Instr) -> bool:
        left, right = instr.args[-2:]
        added = instr.args[0] if len(instr.args) == 3 else None
        if added is not None and (type(added) is not Ref or added.dtype != instr.out.dtype):
            return False
        return left.ndim == right.ndim == 2 and left.dtype == right.dtype == instr.out.dtype  # type: ignore[union-attr]

    def _wide(self, a: Any, instr: Instr) -> int:
        """The slot of an operand; a row beside rows is laid out for each of them, which is twice as fast."""
        out = instr.out
        is_row = type(a) is Ref and self.places[a].memory.kind == "constant" and a.ndim == 1 and out.ndim == 2
        if not is_row:
            return self.slot(a)
        key = ("wide", a)
        if key not in self.slots:
            k, source, shape, xp = len(self.slots), self.slot(a), out.type.at(self.n), self.xp
            self.slots[key] = k = len(self.slots)
            self.head.append(
                lambda env: env.__setitem__(k, xp.ascontiguousarray(xp.broadcast_to(env[source], shape)))
            )
        return self.slots[key]

    def _weight(self, right: Any) -> int:
        """The slot of a factor; a constant one lies in rows where the rows that it is multiplied with are
        many.
        """
        k = self.slot(right)
        if self.places[right].memory.kind == "constant":
            self._contiguous[right] = k
        return k

    def _general(
        self, instr: Instr, place: Place | None, in_head: bool = False
    ) -> Callable[[list[Any]], None]:
        """A call of an op's own forward."""
        xp, op, n = self.xp, instr.op, self.n
        forward, settings = op.forward, {k: at(v, n, xp) for k, v in instr.settings.items()}
        args = (
            [self.slot(a) for a in instr.args if a is not N]
            if N not in instr.args
            else [self.slot(n if a is N else a) for a in instr.args]
        )
        dynamic = {k: v for k, v in instr.settings.items() if refs_in(v)}
        outs = [self.slot(o) for o in instr.outs]
        dtypes = [o.dtype for o in instr.outs]
        all_written = not in_head and op.writes_all
        writes = not in_head and op.writes and place is not None and place.memory.kind != "fresh"
        copied = [
            k for k, o in enumerate(instr.outs) if not in_head and self.places[o].memory.kind != "fresh"
        ]
        where = {r: self.slot(r) for v in dynamic.values() for r in refs_in(v)}

        def run(env: list[Any]) -> None:
            chosen = settings
            if dynamic:
                chosen = {
                    **settings,
                    **{
                        k: each_part(at(v, n, xp), lambda p: env[where[p]] if type(p) is Ref else p)
                        for k, v in dynamic.items()
                    },
                }
            if all_written:
                chosen = {**chosen, "out": [env[o] if k in copied else None for k, o in enumerate(outs)]}
            elif writes:
                chosen = {**chosen, "out": env[outs[0]]}
            y = forward(xp, *[env[a] for a in args], **chosen)
            made = y if instr.several else (y,)
            for k, value in enumerate(made):
                if type(value) is not xp.array_type or value.dtype != dtypes[k]:
                    value = xp.asarray(value, dtype=dtypes[k])
                if k in copied:
                    if not (all_written or (writes and k == 0)):
                        env[outs[k]][...] = value
                else:
                    env[outs[k]] = value

        return run

    # ------------------------------------------------------------ a run

    def start(self, constants: Iterable[Any], n_steps: int) -> list[Any]:
        """An env for a run over so many steps in all, with scratch memory: used again, if some waits."""
        try:
            env = self._waiting.pop()
        except IndexError:  # none waits, or another thread was faster
            env = self._new_env()
        for r, value in zip(self.constants, constants, strict=True):
            k = self.slots.get(r)
            if k is not None:
                env[k] = value
        for prepare in self.head:
            prepare(env)
        if n_steps * self.n >= ALIKE:
            for k in self._contiguous.values():
                env[k] = self.xp.ascontiguousarray(env[k])
        return env

    def _new_env(self) -> list[Any]:
        env = self._start()
        self._add_scratch(env)
        return env

    def _start(self) -> list[Any]:
        """An env with what is the same at every run."""
        env: list[Any] = [None] * self.n_slots
        for k, number in self.numbers:
            env[k] = self.n if number is N else number
        for prepare in self.once:
            prepare(env)
        return env

    def _add_scratch(self, env: list[Any]) -> None:
        scratch: dict[Memory, Any] = {}
        for k, place in self.fixed:
            memory = place.memory
            if memory not in scratch:
                scratch[memory] = self.xp.aligned(memory.type.at(self.n), memory.type.dtype)
            env[k] = viewed(scratch[memory], place.views, 0, self.n, self.xp)

    def finish(self, env: list[Any]) -> None:
        """Lets go of what moved; the scratch memory waits for the next run."""
        for k in (*range(len(self.sources)), *(self.slots[r] for r in self.constants if r in self.slots)):
            env[k] = None
        if self.xp.device_type == "cpu":
            self._waiting.append(env)

    def steps(self, env: list[Any], n_steps: int, moving: Callable[[Place], Iterable[Any]]) -> None:
        """Runs the calls at each step. `moving` gives the arrays of a place, one for each step."""
        count, calls = len(self.sources), self.calls
        for arrays in (
            zip(*map(moving, self.sources), strict=False) if count else itertools.repeat((), n_steps)
        ):
            env[:count] = arrays
            call_all(calls, env)


class BlockProgram(Program):
    """The calls of a block whose instructions are all elementwise, for many steps at once: its arrays have an
    axis of the steps in front.
    """

    def start_block(self, constants: Iterable[Any], most: int) -> tuple[list[Any], dict[Memory, Any]]:
        """An env, and its scratch memory for up to `most` steps."""
        env: list[Any] = [None] * self.n_slots
        for k, number in self.numbers:
            env[k] = self.n if number is N else number
        for r, value in zip(self.constants, constants, strict=True):
            if r in self.slots:
                env[self.slots[r]] = value
        for prepare in (*self.once, *self.head):
            prepare(env)
        memories = dict.fromkeys(place.memory for _, place in self.fixed)
        return env, {m: self.xp.aligned((most, *m.type.at(self.n)), m.type.dtype) for m in memories}

    def at_once(
        self, env: list[Any], scratch: dict[Memory, Any], n_steps: int, given: Callable[[Place], Any]
    ) -> None:
        """Runs the calls for n_steps steps. `given` gives the array of a place for all of them."""
        for k, place in self.fixed:
            env[k] = viewed(scratch[place.memory][:n_steps], place.views, 1, self.n, self.xp)
        for k, place in enumerate(self.sources):
            env[k] = given(place)
        call_all(self.calls, env)
