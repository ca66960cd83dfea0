"""A block over the rows of all steps at once, as one node: what a loop computes of its inputs before it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..backend import array_module
from ..engine import Deferred, Node, Output, Value, mode
from ..engine.versions import vertex_of
from .ir import Block, Ref
from .lower.calls import Calls
from .passes.residuals import recomputed
from .reverse import Reverse, reverse
from .steps import differentiable


class AtOnce:
    """A block for one choice of the parameters and constants that need a gradient. The `op` of its nodes.

    Raises Untraceable where the reverse cannot be read.
    """

    name = "inputs of a loop"
    variadic = asks_owned = False
    pulls = None  # one rule for all arguments: `gradients`

    def __init__(self, block: Block, needs: Sequence[bool]) -> None:
        self.block, self.given = block, (*block.params, *block.constants)
        self.hidden: list[Ref] = []  # results that are saved for the reverse alone
        wanted = [r for r, need in zip(self.given, needs, strict=True) if need and r.dtype.kind == "f"]
        self.params = [r for r in block.params if r in wanted]
        self.constants = [r for r in block.constants if r in wanted]
        depends = differentiable(block, wanted)
        self.depends = [r in depends for r in block.results]
        self._reverses: dict[tuple[bool, ...], tuple[Reverse, Calls]] = {}
        self.saved: set[Ref] = set()
        if any(self.depends):
            rev = recomputed(block, self._reversed(tuple(self.depends)))
            self._reverses[tuple(self.depends)] = rev, Calls(rev.block)
            self.saved = {*rev.saved, *(r for r in rev.constants if type(r) is Ref)}
            known = {*self.given, *block.results}
            self.hidden = [r for r in rev.saved if r not in known]
        outputs = [*block.results, *self.hidden]
        self.calls = Calls(Block(block.params, block.constants, block.instructions, outputs))

    def _reversed(self, present: Sequence[bool]) -> Reverse:
        outputs = [*self.block.results, *self.hidden]
        seeded = [r for r, there in zip(outputs, present, strict=False) if there]
        return reverse(self.block, seeded, self.params, self.constants)  # type: ignore[arg-type]

    def run(self, arguments: Sequence[Any], n: int, xp: Any) -> list[Any]:
        """The results for n rows, values at one node; one that is a parameter is that value itself.
        `arguments`: values, of parameters and constants.
        """
        arrays = [getattr(v, "array", v) for v in arguments]
        if (reads := mode.current().reads) is not None:
            reads(arrays)
        made = self.calls(arrays, n, xp)
        node, new = None, Value.result._of
        if any(self.depends):
            saved = [a if r in self.saved else None for r, a in zip(self.given, arrays, strict=True)]
            parents = [vertex_of(v) if isinstance(v, Value) else None for v in arguments]
            node = Node(self, parents, [tuple(made), *saved], outputs=len(self.depends))
        values: dict[Ref | None, Value] = dict(zip(self.given, arguments, strict=True))
        return [
            values[r]
            if r in values
            else new(a, Output(node, k, a) if node is not None and self.depends[k] else None)
            for k, (r, a) in enumerate(zip(self.block.results, made, strict=False))
        ]

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The rule of the node: the reverse block, on arrays or, under create_graph, on tensors."""
        gs, ys, *given = values
        present = tuple([g is not None for g in gs])
        if present not in self._reverses:
            rev = recomputed(self.block, self._reversed(present), {*self.saved, *self.hidden})
            self._reverses[present] = rev, Calls(rev.block)
        rev, calls = self._reverses[present]
        env = dict(zip((*self.given, *self.block.results, *self.hidden), (*given, *ys), strict=True))
        seeds = [g for g in gs if g is not None]
        n = seeds[0].shape[0]
        arguments = [*seeds, *(env[r] for r in rev.saved)]
        held = [env[r] if type(r) is Ref else r for r in rev.constants]
        if any(isinstance(g, Value) for g in seeds):
            found = rev.block.run(arguments, held, n)
        else:
            held = [getattr(v, "array", v) for v in held]
            found = calls([*arguments, *held], n, array_module(seeds[0]))
        fields = iter(found)
        of: dict[Ref, list[Any]] = {r: [next(fields)] for r in self.params}
        for term in rev.terms:
            own = [next(fields) for _ in term.fields]
            g = term.kind(*own) if term.kind is not None else own[0]
            of.setdefault(term.constant, []).append(g)
        return [
            None if p is None or r not in of else total([g for g in of[r] if g is not None])
            for r, p in zip(self.given, parents, strict=True)
        ]


def total(parts: list[Any]) -> Any:
    """The sum of parts of a gradient, None of none; a single deferred one stays so."""
    if len(parts) < 2:
        return parts[0] if parts else None
    by_kind: dict[Any, list[Any]] = {}
    for part in parts:
        by_kind.setdefault(type(part) if isinstance(part, Deferred) else None, []).append(part)
    totals = [
        kind.total(own) if kind else functools.reduce(lambda a, b: a + b, own)
        for kind, own in by_kind.items()
    ]
    return functools.reduce(lambda a, b: a + b, totals)
