"""What is derived, once, of the block of a step: where its values lie at all steps, and its reverse.

Nothing here runs anything: loop.py does.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ops import elementwise as e
from .ir import Block, Builder, Ref
from .lower.c import CLoop, NotLowerable
from .lower.interpret import BlockProgram, Program
from .passes.factors import Factored, factored
from .passes.gates import activated_at_once
from .passes.groups import grouped
from .passes.parts import taken_apart
from .passes.place import Memory, Place, Placement, Placer, same_size, span
from .passes.residuals import recomputed
from .passes.simplify import simplified
from .reverse import Reverse, reverse

NUMBERS_IN_BLOCK = 1 << 16  # that the factors of a block of steps may have: they should stay in the cache
MOST = 64  # batch sizes for which programs are kept


_NONE = object()


def cached(known: OrderedDict[Any, Any], key: Any, make: Callable[[], Any], most: int = 256) -> Any:
    """The value of a key, made if it is not known; the oldest go."""
    found = known.get(key, _NONE)
    if found is _NONE:
        found = known[key] = make()
        while len(known) > most:
            known.popitem(last=False)
    return found


def differentiable(block: Block, wanted: Iterable[Ref]) -> set[Ref]:
    """The values that have a gradient where these have one."""
    found = {r for r in wanted if r.dtype.kind == "f"}
    for instr in block.instructions:
        op = instr.op
        if op.has_rules and any(
            type(a) is Ref and a in found and (op.joint is not None or op.rules[k] is not None)
            for k, a in enumerate(instr.args)
        ):
            found.update(o for o in instr.outs if o.dtype.kind == "f")
    return found


def steps_in(placer: Placer, placement: Placement) -> list[Memory]:
    """The memories of all steps that a block writes."""
    places = (*placement.places.values(), *placer.stored_copies.values())
    return [*dict.fromkeys(place.memory for place in places if place.memory.kind == "steps")]


def in_groups(block: Block, language: str, saved: Sequence[Ref] = ()) -> Block:
    """The block with a kernel for each group of its elementwise instructions; `saved` are
    values of it still.
    """
    wanted = [*block.results, *saved]
    block = Block(block.params, block.constants, block.instructions, wanted)
    found = grouped(taken_apart(block), columns=True) if language == "c" else grouped(block)
    if any(a is not b for a, b in zip(found.results, wanted, strict=True)):
        found = block  # two of them are one
    return Block(found.params, found.constants, found.instructions, wanted[: len(wanted) - len(saved)])


class StepPlan:
    """A step (inputs, states) -> (outputs, new states) for a choice of what needs a gradient: of inputs,
    states and constants.
    """

    def __init__(
        self, block: Block, n_inputs: int, n_outputs: int, needs: tuple[bool, ...], language: str
    ) -> None:
        self.block, self.language = block, language
        self.states = block.params[n_inputs:]
        self.outputs: list[Any] = block.results[:n_outputs]
        self.new_states: list[Any] = block.results[n_outputs:]
        wanted = {r for r, need in zip((*block.params, *block.constants), needs, strict=True) if need}
        before = -1
        while len(wanted) != before:  # a state that depends on what is wanted needs a gradient, too
            before = len(wanted)
            self.depends = differentiable(block, wanted)
            wanted.update(
                s for s, new in zip(self.states, self.new_states, strict=True) if new in self.depends
            )
        self.wanted = [r for r in block.params if r in wanted and r.dtype.kind == "f"]
        self.constants = [r for r in block.constants if r in wanted and r.dtype.kind == "f"]
        self.differentiable = any(r in self.depends for r in block.results)
        self.active = [
            s in self.wanted and new in self.depends
            for s, new in zip(self.states, self.new_states, strict=True)
        ]
        self._reverses: dict[Any, Reverse] = {}
        self._backwards: dict[Any, BackwardPlan] = {}
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        self._shapes: OrderedDict[Any, tuple[list[Any], list[Any]]] = OrderedDict()
        self.saved: list[Ref] = []
        if self.differentiable:
            self.saved = recomputed(block, self._reversed((True,) * n_outputs, ())).saved
        self._place(n_inputs)
        shown = [self.place(r) for r in self.outputs if r is not None]
        self.shown = [  # where outputs lie, and whether they are copied: an input or another lies there, too
            (p, p.memory.kind == "given" or p.memory in [q.memory for q in shown[:k]])
            for k, p in enumerate(shown)
        ]
        self.flows = [r in self.depends for r in block.results]
        self.native: CLoop | None = None  # its C, where that is its language
        if language == "c":
            self.native = CLoop(self.placed_block, self.placement)
            self.native.compile()
            if self.differentiable:
                self.backward((True,) * n_outputs, strictly=True)

    def _place(self, n_inputs: int) -> None:
        """Where the values lie. Outputs that are states lie with these."""
        if self.language == "python":
            block = simplified(activated_at_once(self.block))
        else:
            block = in_groups(self.block, self.language, self.saved)
        self.placed_block, makers = block, block.makers()
        kept = [s for s in self.states if s in self.saved]
        of_state = dict(zip(self.new_states, self.states, strict=True))
        kept += [of_state[r] for r in self.outputs if r in of_state and r in makers]
        stored = [r for r in self.saved if r not in kept] + self.outputs
        carries = [*zip(self.states, self.new_states, strict=True)]
        self.placer = Placer(block, self.block.params[:n_inputs], carries, stored, kept)
        self.placement = self.placer.placement()
        self.inputs = [self.placement.places[r].memory for r in self.block.params[:n_inputs]]
        self.carries = [self.placement.places[s].memory for s in self.states]
        self.steps = steps_in(self.placer, self.placement)
        self.saved_inputs = {m for m in self.inputs if any(self.place(r).memory is m for r in self.saved)}
        self.over_inputs = self._over_inputs()

    def _over_inputs(self) -> dict[Memory, Memory]:
        """Memories that may be those of an input: at each step that is read for the last time before they are
        written.
        """
        found: dict[Memory, Memory] = {}
        for x in self.inputs:
            last = span(self.placement, x)[1]
            if x in self.saved_inputs or any(self.place(r).memory is x for r in self.outputs):
                continue
            for m in self.steps:
                if m not in found and same_size(m.type, x.type) and last < span(self.placement, m)[0]:
                    found[m] = x
                    break
        return found

    def shapes(self, n: int, n_steps: int) -> tuple[list[Any], list[Any]]:
        """Memory of all steps, with the input whose memory it may be; and of carries: with shape and type."""
        return cached(self._shapes, (n, n_steps), lambda: (
            [(m, self.over_inputs.get(m), (n_steps, *m.type.at(n)), m.type.dtype) for m in self.steps],
            [(m, (n_steps + 1 if m.stored else 2, *m.type.at(n)), m.type.dtype) for m in self.carries],
        ), MOST)  # fmt: skip

    def place(self, r: Ref) -> Place:
        """Where a value that is wanted at all steps lies."""
        return self.placer.stored_copies.get(r) or self.placement.places[r]

    @functools.cached_property
    def hidden(self) -> list[Memory]:
        """The memories whose values at all steps the node saves, beside the inputs."""
        found = dict.fromkeys(self.place(r).memory for r in self.saved)
        return [m for m in found if m.kind in ("steps", "carry")]

    def values_in(self, memory: Memory) -> list[Ref]:
        """The values of the block that a hidden memory is made of."""
        if memory.kind == "carry":
            return [self.new_states[self.carries.index(memory)]]
        known = [o for i in self.block.instructions for o in i.outs]
        copied = [r for r, place in self.placer.stored_copies.items() if place.memory is memory]
        own = [r for r in known if r in self.placement.places and self.placement.places[r].memory is memory]
        roots = [r for r in own if not self.placement.places[r].views]
        return copied or roots[:1] or own

    def _reversed(self, outputs: tuple[bool, ...], hidden: tuple[Ref, ...]) -> Reverse:
        seeded = [r for r, present in zip(self.outputs, outputs, strict=True) if present]
        seeded += [new for new, active in zip(self.new_states, self.active, strict=True) if active]
        return reverse(self.block, [*seeded, *hidden], self.wanted, self.constants)

    def reverse(self, outputs: tuple[bool, ...], hidden: tuple[Ref, ...]) -> Reverse:
        """The reverse from the gradients of the outputs that have one, of the states and of hidden results.
        It reads what is saved.
        """
        key = (outputs, hidden)
        if key not in self._reverses:
            saved = {*self.saved, *self.states}
            self._reverses[key] = recomputed(self.block, self._reversed(outputs, hidden), saved)
        return self._reverses[key]

    def backward(self, outputs: tuple[bool, ...], strictly: bool = False) -> BackwardPlan:
        """The placed reverse for the outputs that have a gradient; `strictly`: in the plan's language."""
        if outputs not in self._backwards:
            made = BackwardPlan(self, self.reverse(outputs, ()))
            if self.language == "c":
                try:
                    made.native = CLoop(made.block, made.placement)
                    made.native.compile()
                except (NotLowerable, OSError):
                    made.native = None
                    if strictly:
                        raise
            self._backwards[outputs] = made
        return self._backwards[outputs]

    def program(self, n: int, xp: Any) -> Program:
        found = self._programs.get((n, xp))
        if found is None:
            found = self._programs[n, xp] = Program(self.placed_block, self.placement, n, xp)
            while len(self._programs) > MOST:
                self._programs.popitem(last=False)
        return found


class BackwardPlan:
    """A reverse in two: factors, computed for blocks of steps, and the rest for each step; both placed."""

    native: CLoop | None = None

    def __init__(self, plan: StepPlan, rev: Reverse) -> None:
        self.plan, self.constants = plan, rev.constants
        n_seeds, n_states = len(rev.block.params) - len(rev.saved), sum(plan.active)
        self.of_outputs = rev.block.params[: n_seeds - n_states]
        seeds = rev.block.params[n_seeds - n_states : n_seeds]
        self.saved = dict(zip(rev.block.params[n_seeds:], rev.saved, strict=True))
        if plan.language == "python":
            split = factored(rev.block, n_seeds)
        else:
            split = Factored(
                Block(rev.block.params, rev.block.constants), in_groups(rev.block, plan.language)
            )
        self.factors = [r for r in split.factors.results if r is not None]
        self._carry(split.block, seeds, rev)
        self._place(split)
        self.over = self._over_saved()
        self.reads = [
            (self.memory(p), self.memory_in_factors(p), plan.place(r)) for p, r in self.saved.items()
        ]
        self.seeds = [self.memory(p) for p in self.of_outputs]
        self.rings = [self.memory(r) for r in self.carried]
        self._shapes: OrderedDict[Any, tuple[list[Any], list[Any]]] = OrderedDict()
        self._programs: OrderedDict[Any, tuple[BlockProgram, Program]] = OrderedDict()

    def _carry(self, step: Block, seeds: Sequence[Ref], rev: Reverse) -> None:
        """What goes from step to step: the states' gradients, and sums over all steps for constants."""
        plan, n_wanted = self.plan, len(self.plan.wanted)
        results = dict(zip(plan.wanted, step.results[:n_wanted], strict=True))
        build = Builder(step)
        build.instructions = [*step.instructions]
        active = [s for s, is_active in zip(plan.states, plan.active, strict=True) if is_active]
        self.carries: list[tuple[Ref, Ref]] = []
        for seed, state in zip(seeds, active, strict=True):
            g = results[state]
            self.carries.append((seed, build(e.mul, seed, 0.0, type=seed.type) if g is None else g))
        self.sums: list[Ref] = []  # constants whose gradient is carried behind the states'
        self.terms: list[tuple[Ref, Any, list[Ref]]] = []
        fields = iter(step.results[n_wanted:])
        for term in rev.terms:
            own: list[Any] = [next(fields) for _ in term.fields]
            if term.kind is None and own[0].type == term.constant.type:
                before = build.new(own[0].type)
                self.carries.append((before, build(e.add, before, own[0], type=before.type)))
                self.sums.append(term.constant)
            else:
                self.terms.append((term.constant, term.kind, own))
        self.carried = [before for before, _ in self.carries]
        self.of_inputs = [results.get(r) for r in plan.block.params[: len(plan.inputs)]]
        self.wanted = [
            r for r in (*self.of_inputs, *(f for _, _, own in self.terms for f in own)) if r is not None
        ]
        new = [r for r in self.carried if r not in step.params]
        after = [r for _, r in self.carries]
        self.block = Block([*step.params, *new], step.constants, build.instructions, [*self.wanted, *after])

    def _place(self, split: Factored) -> None:
        given = [r for r in self.block.params if r not in self.carried]
        self.placer = Placer(self.block, given, self.carries, self.wanted)
        self.placement = self.placer.placement()
        own = split.factors
        self.factor_block = Block([*self.saved], own.constants, own.instructions, own.results)
        self.factor_placement = Placer(self.factor_block, [*self.saved], [], self.factors).placement()
        self.steps = steps_in(self.placer, self.placement)

    def _over_saved(self) -> tuple[Memory, Memory] | None:
        """A memory of gradients of inputs, and one that the forward saved and that may be written over by it:
        at each step that is read for the last time before.
        """
        fields = {f for _, _, own in self.terms for f in own}
        shown = {self.plan.place(r).memory for r in self.plan.outputs}  # which others have, too
        for g in self.of_inputs:
            if g is None or self.place(g).views or self.place(g).memory.kind != "steps":
                continue
            memory = self.place(g).memory
            for saved in self.plan.hidden:
                own = [p for p, r in self.saved.items() if self.plan.place(r).memory is saved]
                last = max((span(self.placement, self.memory(p))[1] for p in own), default=-1)
                fits = saved.kind == "steps" and saved not in shown and same_size(saved.type, memory.type)
                if fits and last < span(self.placement, memory)[0] and fields.isdisjoint(own):
                    return memory, saved
        return None

    def shapes(self, n: int, n_steps: int) -> tuple[list[Any], list[Any]]:
        """Memory of all steps, and of what is carried, with shape and type."""
        return cached(self._shapes, (n, n_steps), lambda: (
            [(m, (n_steps, *m.type.at(n)), m.type.dtype) for m in self.steps],
            [(m, (2, *m.type.at(n)), m.type.dtype) for m in self.rings],
        ), MOST)  # fmt: skip

    def place(self, r: Ref) -> Place:
        return self.placer.stored_copies.get(r) or self.placement.places[r]

    def memory(self, r: Ref) -> Memory:
        """The memory of a parameter."""
        return self.placement.places[r].memory

    def memory_in_factors(self, r: Ref) -> Memory:
        return self.factor_placement.places[r].memory

    def block_length(self, n: int) -> int:
        """For how many steps factors are computed at once."""
        size = sum(math.prod(r.type.at(n)) for r in self.factors)
        return max(1, NUMBERS_IN_BLOCK // size) if size else 1 << 30

    def programs_for(self, n: int, xp: Any) -> tuple[BlockProgram, Program]:
        found = self._programs.get((n, xp))
        if found is None:
            of_factors = BlockProgram(self.factor_block, self.factor_placement, n, xp)
            found = self._programs[n, xp] = of_factors, Program(self.block, self.placement, n, xp)
            while len(self._programs) > MOST:
                self._programs.popitem(last=False)
        return found
