"""What is derived of a pointwise function, for a choice of arguments that need gradients."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..backend import MODULES, Array
from ..backend.native import native
from ..engine import Value
from .ir import Block, N, Ref, replaced
from .lower.straight import Straight
from .once import once
from .passes.gates import activated_at_once
from .passes.place import is_view
from .passes.residuals import recomputed
from .passes.simplify import simplified
from .reverse import Reverse, reverse

HELD = 1 << 25  # bytes that the programs of a plan may hold


class Back:
    """A reverse block: what it reads beside gradients, and which result is the gradient of each argument."""

    def __init__(
        self, block: Block, values: list[Ref], reads: list[tuple[bool, int]], places: list[int | None]
    ) -> None:
        self.block, self.values, self.reads, self.places = block, values, reads, places
        self.plain = block  # without what is better for whole arrays
        self.programs: OrderedDict[Any, Any] = OrderedDict()
        self.with_rows = next((k for k, p in enumerate(block.params) if p.shape[:1] == (N,)), 0)


class Plan:
    """A pointwise function for one choice of arguments that need gradients. The `op` of its nodes.

    `block` is its block; `flat` the same for a GPU, where rows that are broadcast are read as if they were
    not.
    """

    variadic = asks_owned = False
    pulls = None  # one rule for all arguments: `gradients`

    def __init__(self, name: str, block: Block, flat: Block, needs: Sequence[bool], language: str) -> None:
        self.name, self.block, self.flat, self.language = name, block, flat, language
        self.n_results = len(block.results)
        self.hidden: list[Ref] = []
        self.saved: set[Ref] = {*block.params, *worth_saving(block)}
        depends = _depends(block, {p for p, need in zip(block.params, needs, strict=True) if need})
        self.depends = [r in depends for r in block.results]
        self.differentiable = any(self.depends)
        self._first: dict[Any, Reverse] = {}
        self._backs: dict[Any, Back] = {}
        self._programs: OrderedDict[Any, Any] = OrderedDict()
        read: set[Ref] = set()
        if self.differentiable:
            read = self._choose_saved(tuple(needs))
        self.kept = [p in read for p in block.params]
        self.hidden = [r for r in read if r not in block.params and r not in block.results]
        self.hidden.sort(key=lambda r: r.id)
        self.forward_block = self.plain = Block(
            flat.params, [], flat.instructions, [*flat.results, *self.hidden]
        )
        if language == "python":
            self.forward_block = simplified(activated_at_once(self.forward_block))

    def _choose_saved(self, needs: tuple[bool, ...]) -> set[Ref]:
        """What the reverse reads. On a GPU working values out again is cheaper than writing them to memory:
        it is the arguments, or with the results if these are fewer arrays.
        """
        params, results = {*self.block.params}, {*self.block.results}
        choices = [params, params | results] if self.language == "cuda" else [self.saved]
        found = []
        for saved in choices:
            self.saved = saved  # type: ignore[assignment]
            rev = self._reverse(self.block, tuple(self.depends), needs)
            self._first = {(tuple(self.depends), needs, id(self.block)): rev} if len(choices) == 1 else {}
            found.append({r for r in (*rev.saved, *rev.constants) if type(r) is Ref})
        best = min(range(len(found)), key=lambda k: len(found[k]))
        self.saved = choices[best]  # type: ignore[assignment]
        return found[best]

    def _reverse(self, block: Block, present: Sequence[bool], needs: Sequence[bool]) -> Reverse:
        """From the gradients of the results that have one, hidden ones last, those of arguments that need
        one. Those of rows are not summed yet.
        """
        outputs = [*block.results, *self.hidden]
        seeded = [r for r, there in zip(outputs, present, strict=False) if there and r is not None]
        n_axes = max(p.ndim for p in block.params)
        whole = [p for p in block.params if p.ndim == n_axes]
        rows = [p for p in block.params if p.ndim < n_axes]
        wanted = {p for p, need in zip(block.params, needs, strict=True) if need}
        forward = Block(whole, rows, block.instructions, block.results)
        rev = reverse(forward, seeded, [p for p in whole if p in wanted], [p for p in rows if p in wanted])
        mine, its = (*self.block.params, *self.block.results), (*block.params, *block.results)
        same = dict(zip(mine, its, strict=True))
        saved = (same.get(r, r) for r in self.saved)
        return recomputed(forward, rev, {r for r in saved if r is not None})

    def back(self, present: tuple[bool, ...], needs: tuple[bool, ...], symbolic: bool = False) -> Back:
        """The reverse for results that have a gradient and arguments that need one; `symbolic`: to run on
        tensors.
        """
        key = (present, needs, symbolic)
        if key in self._backs:
            return self._backs[key]
        block = self.block if symbolic else self.flat
        rev = self._first.pop((*key[:2], id(block)), None) or self._reverse(block, present, needs)
        outputs = [*block.results, *self.hidden]
        read = [*rev.saved, *rev.constants]
        reads = [(r in block.params, (block.params if r in block.params else outputs).index(r)) for r in read]
        params, n_axes = block.params, max(p.ndim for p in block.params)
        wanted = [p for p, need in zip(params, needs, strict=True) if need]
        order = [p for p in wanted if p.ndim == n_axes] + [term.constant for term in rev.terms]
        places = [order.index(p) if p in order else None for p in params]
        own = plain = Block(
            [*rev.block.params, *rev.block.constants], [], rev.block.instructions, rev.block.results
        )
        if not symbolic and self.language == "python":
            own = simplified(activated_at_once(own))
        self._backs[key] = back = Back(own, read, reads, places)
        back.plain = plain
        return back

    def lowered(self, block: Block) -> Any:
        """A block as a kernel of a GPU; op by op where it is none."""
        from .lower.cuda import Launcher, NoKernel  # imported where there is a GPU

        try:
            return Launcher(self.name, block)
        except NoKernel:
            return lambda xp, arrays: block.run(arrays, [], arrays[0].shape[0])

    def _at(self, block: Block, plain: Block, programs: OrderedDict[Any, Any], n: int, xp: Any) -> Any:
        """What runs a block for a batch size; `plain` is the same block as it was derived."""
        if self.language == "cuda":
            if xp not in programs:
                programs[xp] = functools.partial(self.lowered(block), xp)
            return programs[xp]
        if xp.device_type == "cpu" and native.works and N in plain.params[0].shape[:1]:
            compiled = once(plain, n)
            if compiled is not None:
                return compiled
        run = programs.get((n, xp))
        if run is None:
            like = next((p for p in programs.values() if p.xp is xp), None)
            programs[n, xp] = run = Straight(block, n, xp) if like is None else like.at(n)
            while len(programs) > 1 and (
                len(programs) > 32 or sum(p.nbytes for p in programs.values()) > HELD
            ):
                programs.popitem(last=False)
        return run

    def forward(self, n: int, xp: Any) -> Callable[[Sequence[Array]], list[Array]]:
        """A function of the arguments to the results, hidden ones last."""
        return self._at(self.forward_block, self.plain, self._programs, n, xp)

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The rule of the node, from the gradients of its results to those of its arguments: the reverse
        block, on arrays as lowered, on tensors (under create_graph) op by op.
        """
        gs, ys, *args = values
        given = [g for g in gs if g is not None]
        first = given[0]
        symbolic = isinstance(first, Value)
        key = (tuple([g is not None for g in gs]), tuple([p is not None for p in parents]), symbolic)
        back = self._backs.get(key) or self.back(*key)
        given += [args[k] if of_args else ys[k] for of_args, k in back.reads]
        n = given[back.with_rows].shape[0]  # the gradient of a row that is saved has none for the batch
        found = (
            back.block.run(given, [], n)
            if symbolic
            else self._at(back.block, back.plain, back.programs, n, MODULES[type(first)])(given)
        )
        return [None if k is None else found[k] for k in back.places]


def worth_saving(block: Block) -> set[Ref]:
    """The values that are no pieces, and not made of one other by one operation with a number: no 1 - z
    beside z.
    """
    return {
        *block.results,  # type: ignore[arg-type]
        *(
            i.out
            for i in block.instructions
            if not is_view(i) and not (i.op.cheap and len([*i.reads()]) == 1)
        ),
    }


def _depends(block: Block, wanted: set[Ref]) -> set[Ref]:
    """The floats that depend on these by ops with rules."""
    found = {*wanted}
    for i in block.instructions:
        if i.op.has_rules and not found.isdisjoint(i.reads()):
            found.update(out for out in i.outs if out.dtype.kind == "f")
    return found


def explained(plan: Plan) -> str:
    """The blocks of a plan as text. What the reverse reads is called as in the forward."""
    present = tuple(plan.depends)
    back = plan.back(present, (True,) * len(plan.block.params))
    block, forward = back.block, plan.block
    seeded = [r for r, there in zip(forward.results, present, strict=True) if there]
    names = dict(zip(block.params[len(seeded) :], back.values, strict=True))
    made = [*block.params[: len(seeded)], *(o for i in block.instructions for o in i.outs)]
    count = max(r.id for r in (*forward.params, *(o for i in forward.instructions for o in i.outs)))
    names.update({r: Ref(count + k, r.type) for k, r in enumerate(made, 1)})
    own = Block(
        [names[r] for r in block.params], [], [replaced(i, names) for i in block.instructions],
        [None if r is None else names[r] for r in block.results],
    )  # fmt: skip
    seeds = ", ".join(f"{names[p]} of {r}" for p, r in zip(block.params, seeded, strict=False))
    return f"{forward}\n\nreverse, from the gradients {seeds}:\n{own}"
