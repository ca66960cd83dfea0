"""Stretches of time in which every step has the same number of rows: a traced step, run over them.

What of the step does not wait for the state is done for all steps at once; the rest is planned, by the choice
of what needs a gradient, and runs as one node (loop.py). Where it cannot, steps run op by op.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..backend import array_module
from ..backend.native import native
from ..engine import REGISTRY, Value, mode
from ..engine.versions import vertex_of
from ..ops.convert import transfer
from ..ops.shape import concat, split
from .at_once import AtOnce
from .ir import Block, N, Type, each_part
from .loop import Loop
from .lower.c import NotLowerable
from .passes.hoist import hoisted
from .passes.simplify import simplified
from .steps import StepPlan, cached
from .trace import Traced, Untraceable, trace

LINEAR = REGISTRY["linear"]
# Bytes of a matrix from which on a product is worth making for all steps at once; and the same for FEW rows,
# whose product is bound by reading the matrix, at each step or not.
IN_CACHE, IN_CACHE_OF_FEW, FEW = 1 << 16, 1 << 19, 4
_parts: OrderedDict[Any, Parts] = OrderedDict()
_plans: OrderedDict[Any, StepPlan | None] = OrderedDict()
_at_once: OrderedDict[Any, AtOnce | None] = OrderedDict()


def read(
    step: Callable[..., Any],
    xs: Sequence[Any],
    states: Sequence[Any],
    n_rows: int | None = None,
    also: Sequence[int] = (),
) -> Traced:
    """The trace of step(*xs, *states) -> [*outputs, *new states], of rows of a batch, such as `also` of these
    numbers of rows. With `n_rows` there is no batch: the inputs have so many rows in a step, the states as
    many as they have.
    """
    types = [Type((N if n_rows is None else n_rows, *x.shape[1:]), x.dtype) for x in xs]
    types += [Type((N if n_rows is None else s.shape[0], *s.shape[1:]), s.dtype) for s in states]
    traced = trace(step, types, also=also)
    new = traced.block.results[len(traced.block.results) - len(states) :]
    if any(r is None or r.type != t for r, t in zip(new, types[len(xs) :], strict=True)):
        raise Untraceable("the state has another shape or type after a step than before")
    return traced._replace(block=simplified(traced.block))


def _at_once_of(block: Block, needs: tuple[bool, ...]) -> AtOnce | None:
    try:
        return AtOnce(block, needs)
    except Untraceable:
        return None


class Parts:
    """What a traced step is taken apart into, with or without what can be done for all steps at once."""

    def __init__(self, block: Block, n_inputs: int, of_inputs: bool) -> None:
        found = hoisted(block, n_inputs, of_inputs)
        self.fixed, self.sized, self.inputs, self.step = found
        self.held = [*block.constants, *self.fixed.results]
        read = {r for i in self.inputs.instructions for r in i.reads()}
        self.unread = [r not in read for r in self.inputs.results]  # not saved for the inputs' gradients
        matrices = [i.args[-1].type for i in found.step.instructions if i.op.product or i.op is LINEAR]  # type: ignore[union-attr]
        self.largest = max(
            (0 if N in m.shape else math.prod(m.shape) * m.dtype.itemsize for m in matrices),
            default=None,
        )

    def is_for_steps(self, n: int) -> bool:
        """Whether compiled steps of n rows do all of it as well: their matrices stay in the cache."""
        limit = IN_CACHE if n > FEW else IN_CACHE_OF_FEW
        return self.largest is not None and self.largest < limit and not self.sized.results


class Steps:
    """A traced step, to be run over stretches of time in which all steps have the same number of rows."""

    def __init__(self, traced: Traced, xs: Sequence[Any], states: Sequence[Any]) -> None:
        """xs: the inputs of all steps of all stretches, below each other. What does not wait for the state is
        done here, for all of them; but compiled steps with small matrices do it themselves.
        """
        self.block, self.xp = traced.block, array_module(xs[0].array)
        self.n_outputs, xp = len(self.block.results) - len(states), self.xp
        self.why: str | None = None  # why it runs op by op, where it does
        constants = [_beside(c, xp) for c in traced.constants]
        if xp.device_type != "cpu" or not native.works or not self._starts(xs, states, constants, False):
            self._starts(xs, states, constants, True)

    def _starts(self, xs: Sequence[Any], states: Sequence[Any], constants: Any, of_inputs: bool) -> bool:
        """Prepares the steps; without `of_inputs` where they compile as they are, and whether they do."""
        key = (self.block.key, len(states), of_inputs)
        self.parts = parts = cached(_parts, key, lambda: Parts(self.block, len(xs), of_inputs))
        if not of_inputs and not parts.is_for_steps(states[0].shape[0]):
            return False
        held = constants
        if parts.fixed.results:
            held = [*constants, *parts.fixed.run([], constants, 0, self.xp)]
        self.held = dict(zip(parts.held, held, strict=True))
        self.inputs = self._inputs(xs, held)
        self.owned = [
            free and all(is_alone(made, x) for x in xs)
            for free, made in zip(parts.unread, self.inputs, strict=True)
        ]
        if of_inputs:
            return True
        own = [self.held[r] for r in parts.step.constants]
        return self._plan(self.inputs, states, own).language == "c"

    def _inputs(self, xs: Sequence[Any], held: Sequence[Any]) -> list[Any]:
        """What the steps are given of the inputs, for all of them at once: as one node where its reverse can
        be read.
        """
        block, arguments = self.parts.inputs, [*xs, *held]
        if not block.instructions:
            return block.run(xs, held, xs[0].shape[0])
        grad = mode.current().grad
        needs = tuple([grad and isinstance(v, Value) and vertex_of(v) is not None for v in arguments])
        made = cached(_at_once, (block.key, needs), lambda: _at_once_of(block, needs))
        if made is None:
            return block.run(xs, held, xs[0].shape[0])
        return made.run(arguments, xs[0].shape[0], self.xp)

    def stretch(
        self, inputs: Sequence[Any], states: Sequence[Any], n_steps: int, reverse: bool
    ) -> tuple[list[Any], list[Any]]:
        """Runs over n_steps steps, from the first to the last or from the last to the first. Returns the
        outputs, below each other in the order of the inputs, and the last states.
        """
        n = inputs[0].shape[0] // n_steps
        step, sized = self.parts.step, self.parts.sized
        values = self.held
        if sized.results:
            of_size = sized.run([], [*values.values()], n, self.xp)
            values = {**values, **dict(zip(sized.results, of_size, strict=True))}
        constants = [values[r] for r in step.constants]
        try:
            plan = self._plan(inputs, states, constants)
        except Untraceable as reason:  # of a rule
            self.why = str(reason)
            n_out = self.n_outputs

            def run(xs: list[Any], states: list[Any]) -> tuple[list[Any], list[Any]]:
                found = step.run([*xs, *states], constants, n)
                return found[:n_out], found[n_out:]

            return one_by_one(run, inputs, [*states], n_steps, reverse)
        return Loop(plan, constants).run(inputs, states, n_steps, reverse, self.owned)

    def _plan(self, inputs: Sequence[Any], states: Sequence[Any], constants: Sequence[Any]) -> StepPlan:
        """The plan of a step, in C where it can be and is to be. Raises Untraceable where a rule cannot be
        read.
        """
        step, grad, n_inputs = self.parts.step, mode.current().grad, len(inputs)
        needs = tuple(
            [
                grad and isinstance(v, Value) and vertex_of(v) is not None
                for v in (*inputs, *states, *constants)
            ]
        )

        def make(language: str) -> StepPlan:
            return StepPlan(step, n_inputs, self.n_outputs, needs, language)

        key = (step.key, n_inputs, self.n_outputs, needs)
        if self.xp.device_type == "cpu" and native.works:
            plan: StepPlan | None = cached(_plans, (*key, "c"), lambda: _compiled(make))
            if plan is not None:
                return plan
        found: StepPlan = cached(_plans, (*key, self.xp.language), lambda: make(self.xp.language))
        return found


def _compiled(make: Callable[[str], StepPlan]) -> StepPlan | None:
    """A plan in C; None where its steps are to be interpreted."""
    try:
        return make("c")
    except (NotLowerable, OSError):
        return None


def _beside(x: Any, xp: Any) -> Any:
    """A constant on the device of the inputs: a number on the host comes over, as for any op."""
    array = getattr(x, "array", x)
    source = array_module(array)
    return x if source is xp or array.ndim else transfer(x, source=source, target=xp)


def is_alone(made: Value, x: Value) -> bool:
    """Whether nobody but the loop reads what was made of x: its node has not saved it, and it is no view."""
    array, node = made.array, getattr(made.vertex, "node", None)
    if made is x or array_module(array).owner(array) is array_module(x.array).owner(x.array):
        return False
    saved: list[Any] = []
    each_part(list(getattr(node, "saved", None) or ()), saved.append)
    return not any(v is array for v in saved)


def one_by_one(
    step: Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]],
    xs: Sequence[Any],
    states: list[Any],
    n_steps: int,
    reverse: bool,
) -> tuple[list[Any], list[Any]]:
    """Some steps of equal size, op by op."""
    rows = xs[0].shape[0] // n_steps
    steps = [*zip(*(split(x, [rows] * n_steps) for x in xs), strict=True)]
    found: list[list[Any]] = []
    for x in reversed(steps) if reverse else steps:
        outputs, states = step([*x], states)
        found.append(outputs)
    return [concat(own) for own in zip(*(found[::-1] if reverse else found), strict=True)], states
