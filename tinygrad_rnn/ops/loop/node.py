"""Many time steps as one node: a step function is read once and then run for every step.

    outputs, states = loop(step, xs, states, n_steps)        # step(x, states) -> output, new states

Plain Python does the same, `for x in xs: output, states = step(x, states)`, and does it wherever this cannot.
What it costs there is not the arithmetic but the graph: tensors, nodes, and the way back through them, for
every op of every step. So the first step is run under a recorder, which writes down the ops it calls and
where their arguments come from: a short list. Running that list on arrays, step after step, is the forward;
running the ops' own rules over it backwards, from the last step to the first, is backpropagation through
time. Nothing is said twice: the ops, their rules and the way gradients are summed are those of the graph.

`Loop.gradients` is that way back. For plain arrays forward.py and backward.py write both ways down as Python
code, which is kept for the next time that the same step is read.

The intermediate values that rules read are hidden results of the node, as in pointwise.py, so that under
create_graph the same way back runs on tensors, and gradients have gradients.

What is recorded must hold for every step: the same ops on the same constants, without random numbers, and no
effect beside the result. Who calls this vouches for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...backend import array_module
from ...engine import Deferred, Node, Output, Value, mode
from ...engine.gradients import Sum, unbroadcast
from ..shape import concat
from .backward import backward
from .forward import forward
from .plan import Recorded, recorded_before
from .recording import Recorder

Step = Callable[[Value, list[Value]], tuple[Value, list[Value]]]


def loop(
    step: Step,
    xs: Value,
    states: Sequence[Value],
    n_steps: int,
    reverse: bool = False,
    scratch: bool = False,
    memo: dict[str, Any] | None = None,
) -> tuple[Value, list[Value]] | None:
    """Runs `step` over the n_steps equal parts of xs along its first axis, or from the last to the first.
    With `scratch` nobody else looks at the memory of xs, and it may be written in. Calls that are given one
    `memo`, a dict that was empty at first, vouch for that their steps differ in the number of rows alone.

    Returns the outputs, joined along the first axis in the order of xs, and the last states; None where a
    step changes the shape or type of the state, so that not all steps are alike.
    """
    size = xs.array.shape[0] // n_steps
    grad = mode.current().grad
    arguments = [xs, *states]
    needs = [grad and v.vertex is not None for v in arguments]
    if memo:
        recorder, sources, shapes = memo["recorder"].again(), memo["sources"], memo["shapes"]
        shapes = [
            shape if slot in memo["constants"] else (size, *shape[1:]) for slot, shape in enumerate(shapes)
        ]
        recorded = recorded_before(recorder, sources, needs, grad)
        return Loop(recorded, recorder, shapes).run(arguments, n_steps, reverse, grad, scratch)
    recorder = Recorder()
    stand_ins = [recorder.input(xs.array[:size]), *(recorder.input(s.array) for s in states)]
    token = mode.observe(recorder.observe, grad=True, functional=True)
    try:
        output, new_states = step(stand_ins[0], stand_ins[1:])
    finally:
        mode.stop(token)
    if any(
        (new.array.shape, new.array.dtype) != (old.array.shape, old.array.dtype)
        for new, old in zip(new_states, states, strict=True)
    ):
        return None
    sources = [recorder.slot_of(v) for v in (output, *new_states)]
    recorder.check()
    shapes = [getattr(getattr(v, "array", v), "shape", ()) for v in recorder.values]
    if memo is not None and recorder.works_on_rows(size):
        memo.update(
            recorder=recorder.again(), sources=sources, shapes=shapes, constants={*recorder.constants}
        )
    recorded = recorded_before(recorder, sources, needs, grad)
    return Loop(recorded, recorder, shapes).run(arguments, n_steps, reverse, grad, scratch)


class Loop:
    """A recorded step, run on arrays of these shapes. The `op` of its node."""

    name = "loop"
    variadic = False
    pulls = None  # one rule for all arguments: `gradients`
    asks_owned = False

    def __init__(self, recorded: Recorded, recorder: Recorder, shapes: list[Any]) -> None:
        self.recorded = recorded
        self.shapes: list[Any] = [*shapes]  # by slot
        self.template = recorded.slots.template.copy()
        for slot, refs in recorded.slots.of_shapes:
            shapes = self.shapes
            self.template[slot] = shapes[refs] if isinstance(refs, int) else tuple([shapes[r] for r in refs])
        self.constants = [recorder.values[slot] for slot in recorded.constants]
        self.alone = True  # whether nobody but its node has what it keeps: no graph of gradients

    def run(
        self, arguments: list[Value], n_steps: int, reverse: bool, grad: bool, scratch: bool
    ) -> tuple[Any, list[Any]]:
        """All steps forward: the outputs and the last states."""
        recorded, shapes = self.recorded, self.shapes
        xs, *states = [v.array for v in arguments]
        xp = array_module(xs)
        self.order = range(n_steps - 1, -1, -1) if reverse else range(n_steps)
        out, keep = recorded.output, recorded.differentiable
        values = [getattr(v, "array", v) for v in self.constants]
        reads = mode.current().reads
        if reads is not None:
            reads([xs, *states, *values])
        template = self.template.copy()
        for slot, value in zip(recorded.constants, values, strict=True):
            template[slot] = value
        xs = xs.reshape(n_steps, *shapes[0])
        stored: dict[int, Any] = {}
        befores: dict[int, Any] = {}
        state_of = {new: state for state, new in recorded.befores.items()} if keep else {}

        def memory(slot: int, like: int) -> Any:
            """For the values of a slot at all steps; with those before each step, if it is a state."""
            if slot not in state_of:
                n_chunks = [recorded.n_chunks[slot]] if slot in recorded.n_chunks else []
                shape = (n_steps, *n_chunks, *shapes[like])
                if scratch and slot == recorded.over_inputs and math.prod(shape) == xs.size:
                    return xs.reshape(shape)
                return xp.lend(shape, recorded.dtypes[like])
            whole = xp.lend((n_steps + 1, *shapes[like]), recorded.dtypes[like])
            whole[-1 if reverse else 0] = states[state_of[slot] - 1]
            after, before = (whole[:-1], whole[1:]) if reverse else (whole[1:], whole[:-1])
            befores[state_of[slot]] = before
            return after

        outputs = memory(out, out)
        if keep:
            for slot, like in recorded.shape_like.items():
                if slot not in (0, out):
                    stored[slot] = memory(slot, like)
            for slot, kind in recorded.stored.items():
                if kind == "list":
                    stored[slot] = []
        finals = forward(recorded, keep)(
            xp, xs, states, template, self.order, outputs, stored, shapes, recorded.dtypes
        )
        finals = [xp.array(s) if type(s) is xp.array_type else s for s in finals]
        whole = outputs.reshape(n_steps * shapes[out][0], *shapes[out][1:])
        new = Value.result._of
        if not keep:
            return new(whole), [new(s) for s in finals]
        if 0 in recorded.stored:
            stored[0] = xs
        results = (whole, *finals)
        hidden: list[Any] = []
        for slot in recorded.stored:
            if slot != out:
                hidden += stored[slot] if recorded.stored[slot] == "list" else [stored[slot]]
        hidden += [states[slot - 1] for slot in recorded.initials]
        hidden += [befores[slot] for slot in recorded.befores]
        vertices = [v.vertex if need else None for v, need in zip(arguments, recorded.needs, strict=False)]
        of_constants = [getattr(v, "vertex", None) if grad else None for v in self.constants]
        kept = [(*results, *hidden), *([None] * len(arguments)), *values]
        node = Node(self, [*vertices, *of_constants], kept, outputs=len(results))
        self.constants = []  # the node has them, until it is freed
        made = [
            new(a, Output(node, k, a) if recorded.needs[slot] else None)
            for k, (slot, a) in enumerate(zip((out, *recorded.new_states), results, strict=True))
        ]
        return made[0], made[1:]

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The gradients of xs, the first states and the constants: for arrays by the code that was made of
        the step, else step by step, on tensors under create_graph, and on arrays where hidden results have
        gradients, those of gradients.
        """
        gs, ys, *arguments = values
        recorded = self.recorded
        template = self.template.copy()
        for slot, value in zip(recorded.constants, arguments[recorded.n_inputs :], strict=True):
            template[slot] = value
        first = next(g for g in gs if g is not None)
        symbolic = isinstance(first, Value)
        self.alone = self.alone and not symbolic
        sums: dict[int, Sum] = {slot: Sum(recorded.dtypes[slot]) for slot in recorded.constants}

        wide: dict[Any, Sum] = {}  # gradients that were broadcast, to be summed to their shape at the end

        def add(slot: int, g: Any) -> None:
            if g is None:
                return
            if isinstance(g, Deferred):
                sums[slot].add(g, symbolic)
            elif g.shape == self.shapes[slot]:
                sums[slot].add(self._fitted(slot, g), symbolic)
            else:
                key = (slot, g.shape)
                if key not in wide:
                    wide[key] = Sum(recorded.dtypes[slot])
                wide[key].add(g, symbolic)

        n_results = 1 + len(recorded.new_states)
        steps = (
            self._step_by_step if symbolic or any(g is not None for g in gs[n_results:]) else self._by_code
        )
        of_xs, states = steps(gs, ys, template, add, array_module(first.array if symbolic else first))
        for (slot, _), sum_ in wide.items():
            sums[slot].add(self._fitted(slot, sum_.total(symbolic)), symbolic)
        gradients = [of_xs, *states, *(sums[slot].total(symbolic) for slot in recorded.constants)]
        return [g if p is not None else None for g, p in zip(gradients, parents, strict=True)]

    def _places(self) -> dict[int, int]:
        """Where among the results the values of a slot are, or those of the first step; -slot for a state
        before the first.
        """
        recorded, places = self.recorded, {}
        place = 1 + len(recorded.new_states)
        for slot, kind in recorded.stored.items():
            if slot == recorded.output:
                places[slot] = 0
            else:
                places[slot] = place
                place += len(self.order) if kind == "list" else 1
        places.update({-slot: place + k for k, slot in enumerate(recorded.initials)})
        return places

    def _by_code(self, gs: Any, ys: Any, template: Any, add: Any, xp: Any) -> tuple[Any, list[Any]]:
        recorded, shapes, n_steps = self.recorded, self.shapes, len(self.order)
        out = recorded.output
        befores = dict(zip(recorded.befores, ys[len(ys) - len(recorded.befores) :], strict=True))
        stored: dict[int, Any] = {}
        for slot, place in self._places().items():
            is_list = recorded.stored.get(slot) == "list"
            stored[slot] = ys[place : place + n_steps] if is_list else ys[place]
        if out in stored:
            stored[out] = stored[out].reshape(n_steps, *shapes[out])
        of_outputs = None if gs[0] is None else gs[0].reshape(n_steps, *shapes[out])
        states = [
            xp.zeros(shapes[slot], recorded.dtypes[slot]) if g is None else g
            for slot, g in zip(recorded.new_states, gs[1 : 1 + len(recorded.new_states)], strict=True)
        ]
        run = backward(recorded, of_outputs is not None)
        spent = self.alone and mode.current().frees
        given = (xp, stored, befores, spent, of_outputs, states, template, self.order)
        of_xs, states = run(*given, shapes, recorded.dtypes, self._fitted, add)
        if of_xs is not None:
            of_xs = of_xs.reshape(n_steps * of_xs.shape[1], *of_xs.shape[2:])
        return of_xs, states

    def _step_by_step(self, gs: Any, ys: Any, template: Any, add: Any, xp: Any) -> tuple[Any, list[Any]]:
        recorded = self.recorded
        out, new_states, places = recorded.output, recorded.new_states, self._places()
        height, n_states = self.shapes[out][0], len(new_states)
        states: list[Any] = list(gs[1 : 1 + n_states])
        of_xs: list[Any] = [None] * len(self.order)

        def at(slot: int, i: int, t: int, among: Any) -> Any:
            """The value of a slot at a step, or its gradient."""
            if slot in recorded.chunks:
                slot, j, _ = recorded.chunks[slot]
                whole = at(slot, i, t, among)
                return None if whole is None else whole[j]
            if slot not in recorded.stored:  # a state
                if i == 0:
                    return among[places[-slot]]
                return at(new_states[slot - 1], i - 1, t - self.order.step, among)
            if recorded.stored[slot] == "list":
                return among[places[slot] + i]
            rows = among[places[slot]]
            if slot == out:
                return None if rows is None else rows[t * height : (t + 1) * height]
            return None if rows is None else rows[t]

        read = sorted({slot for call in recorded.back for slot in call.reads if recorded.varies(slot)})
        wholes = {recorded.chunks[slot][0] for slot in read if slot in recorded.chunks}
        own = [*recorded.stored, *(slot for slot in recorded.chunks)]
        for i in range(len(self.order) - 1, -1, -1):
            t = self.order[i]
            env = template.copy()
            for slot in read:
                env[slot] = at(slot, i, t, ys)
            found: list[Any] = [None] * len(template)  # gradients by slot

            def put(slot: int, g: Any, found: list[Any] = found) -> None:
                if g is not None:
                    found[slot] = g if found[slot] is None else found[slot] + g

            if out not in recorded.stored and gs[0] is not None:
                put(out, gs[0][t * height : (t + 1) * height])
            for slot, g in zip(new_states, states, strict=True):
                put(slot, g)
            for slot in own:  # of the outputs, and where these are gradients of gradients, hidden results
                if slot not in wholes and (slot == out or len(gs) > 1 + n_states):
                    put(slot, at(slot, i, t, gs))
            for call in recorded.back:
                for slot, g in call.backward(env, found):
                    if slot in recorded.constant_set:
                        add(slot, g)
                    elif g is not None:
                        put(slot, self._fitted(slot, g))
            of_xs[t] = found[0]
            states = found[1 : 1 + n_states]
        for slot in recorded.initials:
            g = gs[places[-slot]] if len(gs) > places[-slot] else None
            if g is not None:
                states[slot - 1] = g if states[slot - 1] is None else states[slot - 1] + g
        return _joined(of_xs), states

    def _fitted(self, slot: int, g: Any) -> Any:
        """A gradient in the shape and type of what it belongs to."""
        shape, dtype = self.shapes[slot], self.recorded.dtypes[slot]
        if isinstance(g, Deferred):
            g = type(g).total([g])
        if g.shape != shape:
            g = unbroadcast(g, shape, self.name)
        return g if g.dtype == dtype else g.astype(dtype)


def _joined(pieces: list[Any]) -> Any:
    """The gradients of the steps' inputs below each other; None is zero."""
    there = next((g for g in pieces if g is not None), None)
    return None if there is None else concat([there * 0 if g is None else g for g in pieces])
