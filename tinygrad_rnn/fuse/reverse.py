"""The reverse of a block: the ops' own rules, called on its values from the last instruction to the first.

What the rules do is traced like any function. So the gradients of a block are another block, which reads
values of the first, and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import Deferred, Value
from ..engine.gradients import unbroadcast
from .ir import Block, Ref, Type, resolved, setting
from .passes.simplify import simplified
from .trace import Traced, Tracer, Untraceable, sizes_for, tracing, unified


@dataclass
class Term:
    """A part of the gradient of a constant, which is summed over all runs of the block at the end. `fields`
    are results of the reverse: what the deferred gradient `kind` is made of; where kind is None, the part.
    """

    constant: Ref
    kind: type[Deferred] | None
    fields: list[Ref]


@dataclass
class Reverse:
    """`block` computes gradients. Its parameters are those of the seeded values, then values of the forward,
    which `saved` has as Refs of the forward; its constants are some of the forward's, as Refs, and arrays.
    """

    block: Block
    saved: list[Ref]
    constants: list[Any]
    gradients: list[Ref | None]  # of the parameters that were asked for
    terms: list[Term]


def reverse(
    forward: Block, seeded: Sequence[Ref], wanted: Sequence[Ref], constants: Sequence[Ref]
) -> Reverse:
    """From the gradients of the values `seeded` those of the parameters `wanted` and of `constants`."""
    values = [*forward.params, *forward.constants, *(o for i in forward.instructions for o in i.outs)]
    sizes = sizes_for(r.type for r in values)
    sweeps = [_Sweep(n, forward, seeded, {*wanted, *constants}, values) for n in sizes]
    try:
        traced = unified([sweep.run(wanted, constants) for sweep in sweeps], sizes)
    except Untraceable:
        raise
    except Exception as error:  # a rule that works on arrays alone
        raise Untraceable(f"going back, {type(error).__name__}: {error}") from error
    kinds, n_seeds, n_wanted = sweeps[0].kinds, len(seeded), len(wanted)
    block = simplified(traced.block)
    read = {r for i in block.instructions for r in i.reads()} | {*block.results}
    given = [(p, r) for p, r in zip(block.params[n_seeds:], values, strict=True) if p in read]
    fixed = {*forward.constants}
    saved = [(p, r) for p, r in given if r not in fixed]
    held = [(p, r) for p, r in given if r in fixed]
    held += [(p, v) for p, v in zip(block.constants, traced.constants, strict=True) if p in read]
    block.params = block.params[:n_seeds] + [p for p, _ in saved]
    block.constants = [p for p, _ in held]
    fields = iter(block.results[n_wanted:])
    terms = [Term(c, kind, [next(fields) for _ in range(n)]) for c, kind, n in kinds]  # type: ignore[misc]
    return Reverse(block, [r for _, r in saved], [v for _, v in held], block.results[:n_wanted], terms)


class _Sweep:
    """One run over the instructions of a block at one batch size."""

    def __init__(
        self, n: int, forward: Block, seeded: Sequence[Ref], wanted: set[Ref], values: Sequence[Ref]
    ) -> None:
        self.n, self.forward, self.constants = n, forward, {*forward.constants}
        self.tracer = Tracer()
        seeds = [self._stand_in(r) for r in seeded]
        self.env: dict[Ref, Any] = {r: self._stand_in(r) for r in values}
        self.gradients: dict[Ref, Any] = {}
        self.deferred: dict[Ref, list[Any]] = {}
        self.depends = {r for r in wanted if r.dtype.kind == "f"}
        for instr in forward.instructions:
            if any(self._needs(instr)):
                self.depends.update(out for out in instr.outs if out.dtype.kind == "f")
        with tracing(self.tracer):
            for r, seed in zip(seeded, seeds, strict=True):
                self._add(r, seed, "seed")
        self.kinds: list[tuple[Ref, Any, int]] = []

    def _stand_in(self, r: Ref) -> Value:
        return self.tracer.param(Type(r.type.at(self.n), r.dtype))

    def _needs(self, instr: Any) -> list[bool]:
        """For each argument whether its gradient is wanted and there is a rule for it."""
        op, rules = instr.op, instr.op.rules
        if not op.has_rules:
            return [False] * len(instr.args)
        return [
            type(a) is Ref and a in self.depends and (op.joint is not None or rules[i] is not None)
            for i, a in enumerate(instr.args)
        ]

    def run(self, wanted: Sequence[Ref], constants: Sequence[Ref]) -> Traced:
        with tracing(self.tracer):
            for instr in reversed(self.forward.instructions):
                found = [self._total(out) for out in instr.outs]
                if any(g is not None for g in found) and any(self._needs(instr)):
                    self._pull(instr, found)
            results = [self._total(r) for r in wanted]
            for r in constants:
                for g in [*self.deferred.get(r, ()), *([self.gradients[r]] if r in self.gradients else ())]:
                    kind = type(g) if isinstance(g, Deferred) else None
                    fields = [getattr(g, name) for name in kind.rows] if kind else [g]
                    self.kinds.append((r, kind, len(fields)))
                    results += fields
            self.tracer.block.results = [None if r is None else self.tracer.operand(r) for r in results]
        return Traced(self.tracer.block, self.tracer.values)

    def _pull(self, instr: Any, gradients: Sequence[Any]) -> None:
        """The gradients of an instruction's arguments, by the rules of its op."""
        op, needs = instr.op, self._needs(instr)
        args = [resolved(a, self.env, self.n) for a in instr.args]
        outs = tuple([self.env[o] for o in instr.outs])
        shapes = [getattr(a, "shape", ()) for a in args]
        values = [
            tuple(gradients) if instr.several else gradients[0], outs if instr.several else outs[0],
            *([tuple(args)] if op.variadic else args),
            *(setting(instr.settings[s], self.env, self.n) for s in op.settings),
            *([tuple(shapes)] if op.variadic else shapes),
        ]  # fmt: skip
        for a, g in zip(instr.args, op.gradients(values, [need or None for need in needs]), strict=True):
            if g is not None and type(a) is Ref and a in self.depends:
                self._add(a, g, op.name)

    def _add(self, r: Ref, g: Any, name: str) -> None:
        if isinstance(g, Deferred) and (r not in self.constants or type(g).rows):
            self.deferred.setdefault(r, []).append(g)
            return
        if isinstance(g, Deferred):
            g = type(g).total([g])
        shape = self.env[r].shape
        if r in self.constants and g.shape[1:] == shape and g.ndim == len(shape) + 1:
            pass  # summed over rows and steps at the end
        elif g.shape != shape:
            g = unbroadcast(g, shape, name)
        if g.dtype != r.dtype:
            g = g.astype(r.dtype)
        before = self.gradients.get(r)
        if before is not None and before.shape != g.shape:
            before, g = (unbroadcast(x, shape, name) if x.shape != shape else x for x in (before, g))
        self.gradients[r] = g if before is None else before + g

    def _total(self, r: Ref) -> Any:
        """All of a value's gradient, once nothing more can arrive."""
        g = self.gradients.pop(r, None)
        by_kind: dict[Any, list[Any]] = {}
        for term in self.deferred.pop(r, ()):
            by_kind.setdefault(type(term), []).append(term)
        for kind, terms in by_kind.items():
            part = kind.total(terms)
            g = part if g is None else g + part
        return g
