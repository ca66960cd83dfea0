"""Where the values of a block lie, while it runs at many time steps.

A value lies in some memory, or in a view of it:

    given     what the caller brings: another array at each step
    constant  the same array at every step
    steps     memory of all steps, written by this block
    carry     a value that the next step reads: as `before` it is read, as `after` written
    scratch   memory that the next step, and later values of this one, use again
    fresh     what an op returns

Values that are laid side by side are computed where they belong. One liveness analysis says when scratch is
free, and what may be written over what it is computed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...engine import Look
from ..ir import Block, Instr, N, Ref, Type
from .factors import CONCAT, below

BELOW = below.primitive  # type: ignore[attr-defined]


@dataclass(eq=False)
class Memory:
    kind: str
    type: Type  # at one step
    stored: bool = True  # of a carry: whether its values at all steps are

    def __repr__(self) -> str:
        return f"{self.kind} {self.type}"


class Cut(NamedTuple):
    """A slice that can be a key."""

    start: Any
    stop: Any
    step: Any = None


class Apart(NamedTuple):
    """The view of an array whose last axis is `n` pieces side by side: `count` of them from `first`, below
    each other along a new axis before the last two.
    """

    n: int
    first: int
    size: int

    def of(self, array: Any) -> Any:
        apart = array.reshape(*array.shape[:-1], self.n, array.shape[-1] // self.n)[
            ..., self.first : self.first + self.size, :
        ]
        return apart.swapaxes(-3, -2)


class Place(NamedTuple):
    """A memory, of a carry which side, and the views that lead to the value: indices, Aparts, or view ops."""

    memory: Memory
    side: str = ""
    views: tuple[Any, ...] = ()

    def view(self, view: Any) -> Place:
        if type(view) is tuple:
            view = tuple([Cut(p.start, p.stop, p.step) if type(p) is slice else p for p in view])
        return self._replace(views=(*self.views, view))


@dataclass
class Placement:
    """Places of all values; `instructions` without those that are views; `copies` say which value is copied
    to where after which instruction, -1 before the first.
    """

    places: dict[Ref, Place]
    instructions: list[Instr]
    copies: list[tuple[int, Ref, Place]]
    uniform: list[Instr]
    joined: list[Instr]  # whose arguments are computed where they belong
    scratch: list[Memory] = field(default_factory=list)
    roots: dict[Ref, Ref] = field(default_factory=dict)  # of views: the value whose memory they look at

    def looks_at(self, r: Ref, memory: Memory) -> bool:
        """Whether a value lies in a memory, or is a view of one that does."""
        return any(x in self.places and self.places[x].memory is memory for x in (r, self.roots.get(r, r)))


def view_index(instr: Instr, k: int) -> Any:
    """The index that leads to result k of a view in the first argument; None where it is no index."""
    view = instr.op.view
    return None if isinstance(view, Look) else view(instr.settings, k)


def is_view(instr: Instr) -> bool:
    """Whether the results look at the memory of the first argument."""
    view = instr.op.view
    return (view if isinstance(view, Look) else view(instr.settings, 0)) is not Look.never


def _joins(instr: Instr) -> bool:
    """Whether values are laid side by side, each in a place that is the same for every batch size."""
    return instr.op is BELOW or (instr.op is CONCAT and instr.out.shape[instr.settings["axis"]] is not N)


class Placer:
    """Places the values of a block.

    `given`: parameters that the caller brings at each step. `carries`: pairs of a parameter and the result
    that is that parameter at the next step. `stored`: values that are wanted at all steps. `kept`: carries
    whose values at all steps are wanted.
    """

    def __init__(
        self,
        block: Block,
        given: Iterable[Ref],
        carries: Sequence[tuple[Ref, Ref | None]],
        stored: Iterable[Ref],
        kept: Iterable[Ref] = (),
        reuse: bool = True,
    ) -> None:
        self.block, self.reuse = block, reuse
        self.places: dict[Ref, Place] = {r: Place(Memory("given", r.type)) for r in given}
        self.places.update({r: Place(Memory("constant", r.type)) for r in block.constants})
        self.moving = block.depending_on([*self.places.keys() - {*block.constants}, *(r for r, _ in carries)])
        self.makers, self.readers = block.makers(), block.readers()
        self.roots: dict[Ref, Ref] = {}  # of views that cost nothing: the value whose memory they look at
        self.copies: list[tuple[int, Ref, Place]] = []
        self.scratch: list[Memory] = []
        self.uniform: list[Instr] = []
        self.working: list[Instr] = []
        self.joined: list[Instr] = []
        last = len(block.instructions)
        self._at_end: list[tuple[Ref, Place]] = []
        self.stored_copies: dict[Ref, Place] = {}
        for before, after in carries:
            memory = Memory("carry", before.type, before in kept)
            self.places[before] = Place(memory, "before")
            if after is None:
                continue
            own = Place(memory, "after")
            if self._can_be_made_in(after):
                self.places[after] = own
            else:
                self._at_end.append((after, own))
        self._find_roots()
        wanted, side_by_side = [*dict.fromkeys(stored)], {i.out for i in block.instructions if _joins(i)}
        for r in wanted:
            if r in side_by_side:
                self._store(r)
        self._lay_side_by_side(*self.places)
        for r in wanted:
            if r not in side_by_side:  # it may lie in one of those by now
                self._store(r)
        self._lay_side_by_side(*side_by_side)
        self._walk()
        self.copies += [(last, r, place) for r, place in self._at_end]

    def placement(self) -> Placement:
        return Placement(
            self.places, self.working, self.copies, self.uniform, self.joined, self.scratch, self.roots
        )

    def root(self, r: Ref) -> Ref:
        return self.roots.get(r, r)

    def _can_be_made_in(self, r: Ref) -> bool:
        """Whether a value can be computed into memory that is chosen for it."""
        maker = self.makers.get(r)
        return maker is not None and r not in self.places and r in self.moving and not is_view(maker)

    def _find_roots(self) -> None:
        for instr in self.block.instructions:
            if is_view(instr):
                self.roots.update(dict.fromkeys(instr.outs, self.root(instr.args[0])))  # type: ignore[arg-type]

    def _made_once(self, instr: Instr, k: int) -> Any:
        """The view that leads to a result of a view op, if it can be made before the first step, else None:
        an index does for memory that moves with the steps, for scratch any.
        """
        place = self.places[instr.args[0]]  # type: ignore[index]
        index = view_index(instr, k)
        if index is not None:
            return index if place.memory.kind != "fresh" else None
        fits = place.memory.kind == "scratch" and (not place.views or instr.op.view is Look.always)
        return instr if fits else None

    def _store(self, r: Ref) -> None:
        """Sees to it that a value lies in memory of all steps."""
        root = self.root(r)
        place, by_index = self.places.get(root), self._views_are_indices(r)
        if place is None and self._can_be_made_in(root) and by_index:
            self.places[root] = Place(Memory("steps", root.type))
        elif (
            place is None
            or not by_index
            or place.memory.kind in ("scratch", "constant")
            or not place.memory.stored
        ):
            self._at_end.append((r, Place(Memory("steps", r.type))))
            self.stored_copies[r] = self._at_end[-1][1]

    def _views_are_indices(self, r: Ref) -> bool:
        while r in self.roots:
            instr = self.makers[r]
            if view_index(instr, instr.outs.index(r)) is None:
                return False
            r = instr.args[0]  # type: ignore[assignment]
        return True

    # ------------------------------------------------------------ side by side

    def _lay_side_by_side(self, *wholes: Ref) -> None:
        """Has the parts of these values computed where they belong, and parts of parts."""
        of_these = {*wholes}
        for instr in reversed(self.block.instructions):
            if not _joins(instr) or instr.out not in self.moving or instr in self.joined:
                continue
            if instr.out not in of_these and instr.out not in self.places:
                continue
            self.joined.append(instr)
            if instr.out not in self.places:
                memory = Memory("scratch", instr.out.type)
                self.scratch.append(memory)
                self.places[instr.out] = Place(memory)
            (self._below if instr.op is BELOW else self._concat)(instr, self.places[instr.out])

    def _below(self, instr: Instr, place: Place) -> None:
        for k, a in enumerate(instr.args):
            self._lay(instr, a, place.view((k,)))  # type: ignore[arg-type]

    def _concat(self, instr: Instr, place: Place) -> None:
        axis, start = instr.settings["axis"], 0
        sizes = [a.shape[axis] for a in instr.args]  # type: ignore[union-attr]
        done: set[Ref] = set()
        for k, a in enumerate(instr.args):
            if a not in done:
                done |= self._lay_stack(instr, k, sizes, axis, place)
            if a not in done:
                index = (slice(None),) * axis + (slice(start, start + sizes[k]),)
                self._lay(instr, a, place.view(index))  # type: ignore[arg-type]
            start += sizes[k]

    def _lay(self, instr: Instr, a: Ref, place: Place) -> None:
        """Has an argument computed where it belongs, or copied there."""
        if self._can_be_made_in(a) and a not in self.roots and instr.args.count(a) == 1:
            self.places[a] = place
        else:
            self.copies.append((self.block.instructions.index(instr), a, place))

    def _lay_stack(self, instr: Instr, k: int, sizes: list[Any], axis: int, place: Place) -> set[Ref]:
        """Pieces of one value that follow each other here as they do there: the value is computed here."""
        maker = self.makers.get(instr.args[k])  # type: ignore[arg-type]
        if (
            maker is None
            or not is_view(maker)
            or axis != 1
            or len({*sizes}) != 1
            or view_index(maker, 0) != (0,)
        ):
            return set()
        whole = maker.args[0]
        count = whole.shape[0]  # type: ignore[union-attr]
        if type(count) is not int:
            return set()
        run = instr.args[k : k + count]
        if len(run) != count or not self._can_be_made_in(whole) or whole in self.roots:  # type: ignore[arg-type]
            return set()
        for j, a in enumerate(run):
            m = self.makers.get(a)  # type: ignore[arg-type]
            if m is None or not is_view(m) or m.args[0] is not whole or view_index(m, 0) != (j,):
                return set()
        self.places[whole] = place.view(Apart(len(sizes), k, count))  # type: ignore[index]
        return {*run}  # type: ignore[arg-type]

    # ------------------------------------------------------------ the rest, in order

    def _walk(self) -> None:
        instructions = self.block.instructions
        last_read: dict[Any, int] = {}  # of memories: the last instruction that reads what lies there
        end = len(instructions)
        for k, instr in enumerate(instructions):
            if not is_view(instr):
                for r in instr.reads():
                    last_read[self.root(r)] = k
        for wanted in (*self.block.results, *(r for r, _ in self._at_end)):
            if wanted is not None:
                last_read[self.root(wanted)] = end
        for k, r, _ in self.copies:
            last_read[self.root(r)] = max(k, last_read.get(self.root(r), -1))
        free: list[Memory] = []
        holder: dict[Memory, Ref] = {}  # of scratch from the pool
        for k, instr in enumerate(instructions):
            if self.moving.isdisjoint(instr.outs):
                self.uniform.append(instr)
                for out in instr.outs:
                    self.places[out] = Place(Memory("constant", out.type))
                continue
            if is_view(instr):
                views = [self._made_once(instr, j) for j in range(len(instr.outs))]
                if None not in views:
                    for out, view in zip(instr.outs, views, strict=True):
                        self.places.setdefault(out, self.places[instr.args[0]].view(view))  # type: ignore[index]
                    continue
            self.working.append(instr)
            dying = []
            for r in dict.fromkeys(map(self.root, instr.reads())):
                memory = self.places[r].memory
                if holder.get(memory) is r and last_read[r] <= k:
                    dying.append(memory)
            for j, out in enumerate(instr.outs):
                if out in self.places:
                    continue
                writes = instr.op.ufunc or instr.op.product or instr.op.writes
                if not instr.op.writes_all and (j or not writes):
                    self.places[out] = Place(Memory("fresh", out.type))
                    continue
                found: Memory | None = None
                if instr.op.ufunc and self.reuse:
                    found = next((m for m in dying if m.type == out.type), None)
                    if found is not None:
                        dying.remove(found)
                if found is None:
                    found = next((m for m in free if m.type == out.type), None)
                    if found is not None:
                        free.remove(found)
                if found is None:
                    found = Memory("scratch", out.type)
                    self.scratch.append(found)
                self.places[out] = Place(found)
                holder[found] = out
                last_read.setdefault(out, k)
            free += dying


def span(placement: Placement, memory: Memory) -> tuple[int, int]:
    """The first instruction that writes to a memory and the last that reads there, in their order."""
    first, last = len(placement.instructions), -1
    for k, instr in enumerate(placement.instructions):
        if any(placement.places[o].memory is memory for o in instr.outs):
            first = min(first, k)
        if any(placement.looks_at(r, memory) for r in instr.reads()):
            last = k
    if any(placement.looks_at(r, memory) for _, r, _ in placement.copies):
        last = len(placement.instructions)
    return first, last


def same_size(a: Type, b: Type) -> bool:
    """Whether two types take the same memory for every batch size."""
    return a.dtype == b.dtype and all(math.prod(a.at(n)) == math.prod(b.at(n)) for n in (2, 3))
