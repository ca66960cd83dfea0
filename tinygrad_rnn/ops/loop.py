"""Many time steps as one node: a step function is read once and then run for every step.

    outputs, states = loop(step, xs, states, n_steps)        # step(x, states) -> output, new states

Plain Python does the same, `for x in xs: output, states = step(x, states)`, and does it wherever this cannot.
What it costs there is not the arithmetic but the graph: tensors, nodes, and the way back through them, for
every op of every step. So the first step is run under a recorder, which writes down the ops it calls and
where their arguments come from: a short list. Running that list on arrays, step after step, is the forward;
running the ops' own rules over it backwards, from the last step to the first, is backpropagation through
time. Nothing is said twice: the ops, their rules and the way gradients are summed are those of the graph.

The intermediate values that rules read are hidden results of the node, as in pointwise.py, so that under
create_graph the same way back runs on tensors, and gradients have gradients.

What is recorded must hold for every step: the same ops on the same constants, without random numbers, and no
effect beside the result. Who calls this vouches for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from ..backend import Array, array_module
from ..engine import Value, mode
from ..engine.accumulate import Sum, Summand
from ..engine.graph import Leaf, Node, Output, Primitive, sum_to
from .linalg import Product
from .pointwise import Fused
from .shape import concat

Step = Callable[[Value, list[Value]], tuple[Value, list[Value]]]


def loop(
    step: Step, xs: Value, states: Sequence[Value], n_steps: int, reverse: bool = False
) -> tuple[Value, list[Value]] | None:
    """Runs `step` over the n_steps equal parts of xs along its first axis, or from the last to the first.

    Returns the outputs, joined along the first axis in the order of xs, and the last states; None where a
    step changes the shape or type of the state, so that not all steps are alike.
    """
    size = xs.array.shape[0] // n_steps
    recorder = _Recorder()
    stand_ins = [recorder.input(xs.array[:size]), *(recorder.input(s.array) for s in states)]
    token = mode.start_recording(recorder.record)
    try:
        output, new_states = step(stand_ins[0], stand_ins[1:])
    finally:
        mode.stop_recording(token)
    if any(
        (new.array.shape, new.array.dtype) != (old.array.shape, old.array.dtype)
        for new, old in zip(new_states, states, strict=True)
    ):
        return None
    sources = [recorder.slot_of(v) for v in (output, *new_states)]
    recorder.check()
    grad = mode.current().grad
    arguments = [xs, *states]
    plan = Loop(recorder, sources, [grad and v.vertex is not None for v in arguments], grad)
    return plan.run(arguments, n_steps, reverse)


class _Recorder:
    """Writes down the ops of a step. Every value has a slot: x, the states, then whatever comes up."""

    def __init__(self) -> None:
        self.values: list[Any] = []  # by slot; they stay alive, so that no id is given twice
        self.slots: dict[int, int] = {}
        self.constants: list[int] = []  # slots of what was not computed in the step
        self.n_inputs = 0
        self.calls: list[_Call] = []

    def input(self, array: Array) -> Any:
        """Stands for x or a state. It requires a gradient, so that nothing is done to it in place."""
        stand_in = Value.result._of(array, Leaf(array) if array.dtype.kind == "f" else None)
        self._new(stand_in)
        self.n_inputs += 1
        return stand_in

    def _new(self, value: Any) -> int:
        self.slots[id(value)] = len(self.values)
        self.values.append(value)
        return len(self.values) - 1

    def slot_of(self, value: Any) -> int:
        slot = self.slots.get(id(value))
        if slot is None:
            slot = self._new(value)
            self.constants.append(slot)
        return slot

    def record(
        self, op: Primitive | Fused, args: Sequence[Any], settings: dict[str, Any], results: Any
    ) -> None:
        """Called for every op that is given tensors."""
        refs = [self.slot_of(a) for a in args]
        several = isinstance(results, tuple)
        outs = [self._new(r) for r in (results if several else (results,))]
        self.calls.append(_Call(op, refs, settings, outs, several))

    def check(self) -> None:
        """Raises where a value of the step was taken out of the graph: it would be held still."""
        constants = {*self.constants}
        computed = {id(v.array) for i, v in enumerate(self.values) if i not in constants}
        for slot in constants:
            value = self.values[slot]
            if id(getattr(value, "array", None)) in computed:
                raise TypeError(
                    "a step that is read once may not detach what it computes; "
                    "set `static = False` on the cell"
                )


class _Call:
    """One op of the step: the slots it reads and writes, and what its rules read.

    At each step the values are in a list, the env, by slot; it has places also for what is the same at every
    step, and one for the gradient that a rule is given.
    """

    def __init__(
        self, op: Any, refs: list[int], settings: dict[str, Any], outs: list[int], several: bool
    ) -> None:
        self.op, self.refs, self.settings, self.outs, self.several = op, refs, settings, outs, several
        self.parents: list[bool | None] = []  # for each argument: True where it needs a gradient
        self.reads: set[int] = set()  # slots that rules read
        self.values: list[int | tuple[int, ...]] = []  # of what rules are given after the gradient: slots
        self.arguments = _getter(refs)
        self.fused = False
        self.needs: tuple[bool, ...] = ()
        self.reverses: dict[Any, tuple[Any, Any]] = {}

    def mark(self, needs: list[bool], is_float: Callable[[int], bool]) -> None:
        """Sets `parents`, and says of the results that they need gradients."""
        op = self.op
        rules = op.rules if isinstance(op, Primitive) and op.joint is None else None
        can = isinstance(op, Fused) or op.has_rules
        self.parents = [
            True if can and needs[r] and (rules is None or rules[i] is not None) else None
            for i, r in enumerate(self.refs)
        ]
        if any(self.parents):
            for out in self.outs:
                needs[out] = is_float(out)

    def prepare(self, slots: _Slots) -> None:
        """Finds out what the rules read. A fused function becomes the plan for these gradients, and its
        hidden results get slots.
        """
        mask = sum(1 << i for i, p in enumerate(self.parents) if p)
        self.needs = tuple([p is not None for p in self.parents])
        if isinstance(self.op, Fused):
            self.fused = True
            self.op = self.op.plan(mask, self.settings["rows"], self.settings["xp"])
            if mask:
                first = self.outs[0]
                n_hidden = len(self.op.outputs) - len(self.outs)
                self.outs = [*self.outs, *(slots.like(first) for _ in range(n_hidden))]
                saved = [r for r, read in zip(self.refs, self.op.saved, strict=True) if read]
                self.reads = {*self.outs, *saved}
                self.values = [tuple(self.outs), *(r if r in saved else slots.nothing for r in self.refs)]
        elif mask:
            op = self.op
            dropped = op.drops.get(mask) or op.find_drops(mask)
            y = tuple(self.outs) if self.several else self.outs[0]
            places: list[Any] = [y, tuple(self.refs)] if op.variadic else [y, *self.refs]
            read = [v for i, v in enumerate(places) if i not in dropped]
            self.reads = {r for v in read for r in (v if isinstance(v, tuple) else (v,))}
            self.values = [slots.nothing if i in dropped else v for i, v in enumerate(places)]
            if op.has_extras:
                chosen = {**op.defaults, **self.settings}
                shapes = [slots.shapes[r] for r in self.refs]
                extras = [chosen[name] for name in op.settings]
                extras += [tuple(shapes)] if op.variadic else shapes
                self.values += [slots.fixed(value) for value in extras]
            if op.joint is None:
                places = [slots.gradient, *self.values]
                self.rules = [
                    (ref, rule, _getter([places[i] for i in reads]))
                    for ref, rule, reads, p in zip(
                        self.refs, op.rules, op.reads_of, self.parents, strict=True
                    )
                    if p
                ]

    def forward(self, xp: Any, env: list[Any]) -> None:
        """Runs the op on the arrays of a step."""
        if type(self.op) is Primitive:
            y = self.op.forward(xp, *self.arguments(env), **self.settings)
            if not self.several:
                env[self.outs[0]] = y
                return
        else:
            y = self.op.run(xp, self.arguments(env))
        for out, array in zip(self.outs, y, strict=True):
            env[out] = array

    def backward(self, env: list[Any], slots: _Slots, gs: list[Any], place: Any) -> Iterable[tuple[int, Any]]:
        """The arguments' slots with their gradients, from the gradients `gs` of the results."""
        if self.rules is not None and not self.several:
            g = env[slots.gradient] = gs[self.outs[0]]
            if g is None:
                return ()
            return [(ref, rule(*read(env))) for ref, rule, read in self.rules]
        found = tuple([gs[out] for out in self.outs])
        given = [g for g in found if g is not None]
        if not given:
            return ()
        if self.fused and not isinstance(given[0], Value):
            present = tuple([g is not None for g in found])
            if present not in self.reverses:
                self.reverses[present] = self._reverse_of(present)
            run, read_values = self.reverses[present]
            if run is not None:
                given += read_values(env)
                return zip(self.refs, self.op.on_arrays(run, given, self.needs, place), strict=True)
        values: list[Any] = [found if self.several else found[0]]
        values += [tuple([env[r] for r in v]) if isinstance(v, tuple) else env[v] for v in self.values]
        return zip(self.refs, self.op.gradients(values, self.parents), strict=True)

    def _reverse_of(self, present: tuple[bool, ...]) -> tuple[Any, Any]:
        """The code of a fused function's gradients, and what gets from the env what that reads; (None, None)
        where that is a piece of an argument.
        """
        _, _, run, reads = self.op.reverse_of(present, self.needs)
        slots = [*self.outs]
        for ref, n in zip(self.refs, self.op.pieces, strict=True):
            slots += [ref if n == 1 else -1] * n
        wanted = [slots[i] for i in reads]
        return (None, None) if -1 in wanted else (run, _getter(wanted))

    rules: list[tuple[int, Any, Any]] | None = None


def _getter(slots: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """A function from the env to the values in these slots."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return lambda env: tuple([env[slot] for slot in slots])


class _Slots:
    """What is known of each slot at every step: shape, type, and the value where it is always the same."""

    def __init__(self, values: list[Any], constants: list[int]) -> None:
        arrays = [getattr(v, "array", v) for v in values]
        self.shapes: list[Any] = [getattr(a, "shape", ()) for a in arrays]
        self.dtypes: list[Any] = [getattr(a, "dtype", None) for a in arrays]
        self.template: list[Any] = [None] * len(values)  # of the env
        self.gradient, self.nothing = self.fixed(None), self.fixed(None)

    def is_float(self, slot: int) -> bool:
        return getattr(self.dtypes[slot], "kind", "") == "f"

    def fixed(self, value: Any) -> int:
        """A new slot for a value that is the same at every step."""
        self.template.append(value)
        self.shapes.append(())
        self.dtypes.append(None)
        return len(self.template) - 1

    def like(self, slot: int) -> int:
        """A new slot for arrays in the shape and type of those of another."""
        self.template.append(None)
        self.shapes.append(self.shapes[slot])
        self.dtypes.append(self.dtypes[slot])
        return len(self.template) - 1


class Loop:
    """A recorded step, ready to run. The `op` of its node."""

    name = "loop"
    variadic = False

    def __init__(self, recorder: _Recorder, sources: list[int], needs: list[bool], grad: bool) -> None:
        self.n_inputs, self.constants = recorder.n_inputs, recorder.constants
        self.output, *self.new_states = sources
        self.slots = slots = _Slots(recorder.values, recorder.constants)
        self.calls = recorder.calls
        values = [recorder.values[slot] for slot in self.constants]
        self.constant_vertices = [getattr(v, "vertex", None) if grad else None for v in values]
        self.constant_values = [getattr(v, "array", v) for v in values]
        self.needs = [*needs, *([False] * (len(recorder.values) - len(needs)))]
        for slot, vertex in zip(self.constants, self.constant_vertices, strict=True):
            self.needs[slot] = vertex is not None
        before = -1
        while sum(self.needs) != before:  # until the states that depend on others are known
            before = sum(self.needs)
            for call in self.calls:
                call.mark(self.needs, slots.is_float)
            for state, new in enumerate(self.new_states, start=1):
                self.needs[state] = self.needs[state] or self.needs[new]
        for call in self.calls:
            call.prepare(slots)
        self.back = [call for call in reversed(self.calls) if any(call.parents)]
        read = set().union(*(call.reads for call in self.back)) if self.back else set()
        self.kept = sorted(read.difference(self.constants))

    def run(self, arguments: list[Value], n_steps: int, reverse: bool) -> tuple[Any, list[Any]]:
        """All steps forward: the outputs and the last states."""
        xs, *states = [v.array for v in arguments]
        xp = array_module(xs)
        self.order = range(n_steps - 1, -1, -1) if reverse else range(n_steps)
        size = xs.shape[0] // n_steps
        out, new_states, calls = self.output, self.new_states, self.calls
        height = self.slots.shapes[out][0]
        _, *shape = self.slots.shapes[out]
        outputs = xp.empty((n_steps * height, *shape), self.slots.dtypes[out])
        template = self.slots.template.copy()
        for slot, value in zip(self.constants, self.constant_values, strict=True):
            template[slot] = value
        last = 1 + len(states)
        differentiable = any(self.needs[slot] for slot in (out, *new_states))
        hidden: list[Any] = []
        keep = _getter(self.kept) if differentiable else None
        for t in self.order:
            env = template.copy()
            env[0], env[1:last] = xs[t * size : (t + 1) * size], states
            for call in calls:
                call.forward(xp, env)
            place = outputs[t * height : (t + 1) * height]
            place[...] = env[out]
            env[out] = place  # where it is kept, it is kept once
            states = [env[slot] for slot in new_states]
            if keep is not None:
                hidden += keep(env)
        shared = {out, 0, *self.constants}
        finals = [s.copy() if slot in shared else s for slot, s in zip(new_states, states, strict=True)]
        results = (outputs, *finals)
        new = Value.result._of
        if not differentiable:
            return new(outputs), [new(s) for s in finals]
        self.n_results = len(results)
        vertices = [v.vertex if need else None for v, need in zip(arguments, self.needs, strict=False)]
        values = [(*results, *hidden), *([None] * len(arguments)), *self.constant_values]
        node = Node(self, [*vertices, *self.constant_vertices], values, results)  # type: ignore[arg-type]
        self.constant_values = self.constant_vertices = []  # the node has them, until it is freed
        made = [
            new(a, Output(node, k, a) if self.needs[slot] else None)
            for k, (slot, a) in enumerate(zip((out, *new_states), results, strict=True))
        ]
        return made[0], made[1:]

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """All steps backwards, on arrays, or on tensors under create_graph."""
        gs, ys, *arguments = values
        slots, out, new_states, kept = self.slots, self.output, self.new_states, self.kept
        template = slots.template.copy()
        for slot, value in zip(self.constants, arguments[self.n_inputs :], strict=True):
            template[slot] = value
        first = next(g for g in gs if g is not None)
        symbolic = isinstance(first, Value)
        xp = array_module(first.array if symbolic else first)
        sums: dict[int, Sum] = {slot: Sum(slots.dtypes[slot]) for slot in self.constants}
        n_states, n_kept, height = len(new_states), len(kept), slots.shapes[out][0]
        states: list[Any] = list(gs[1 : 1 + n_states])
        of_outputs, of_xs = gs[0], [None] * len(self.order)
        nothing = [None] * len(template)
        rows = _Rows(xp, len(self.order))
        products: dict[tuple[int, int], list[Any]] = {}  # by op and constant
        places = [partial(rows.place, number) for number, _ in enumerate(self.back)]
        for i in range(len(self.order) - 1, -1, -1):
            t = self.order[i]
            env = template.copy()
            start = self.n_results + i * n_kept
            for slot, y in zip(kept, ys[start : start + n_kept], strict=True):
                env[slot] = y
            if not symbolic:
                rows.t = t
                rows.note(env[out], ys[0], t * height)
            found: list[Any] = nothing.copy()  # gradients by slot
            if of_outputs is not None:
                found[out] = of_outputs[t * height : (t + 1) * height]
            for slot, g in zip(new_states, states, strict=True):
                if g is not None:
                    found[slot] = g if found[slot] is None else found[slot] + g
            if len(gs) > self.n_results:  # gradients of gradients, to the hidden results
                for slot, g in zip(kept, gs[start : start + n_kept], strict=True):
                    if g is not None:
                        found[slot] = g if found[slot] is None else found[slot] + g
            for number, call in enumerate(self.back):
                for slot, g in call.backward(env, slots, found, places[number]):
                    if g is None:
                        continue
                    if slot in sums:
                        if type(g) is Product:
                            products.setdefault((number, slot), []).append(g)
                        else:
                            sums[slot].add(g if isinstance(g, Summand) else self._fitted(slot, g), symbolic)
                        continue
                    g = self._fitted(slot, type(g).total([g]) if isinstance(g, Summand) else g)
                    found[slot] = g if found[slot] is None else found[slot] + g
            of_xs[t] = found[0]
            states = found[1 : 1 + n_states]
        for (_, slot), terms in products.items():
            for product in terms if symbolic else rows.total(terms):
                sums[slot].add(product, symbolic)
        of_all = None if parents[0] is None else rows.joined(of_xs)
        gradients = [_joined(of_xs) if of_all is None else of_all, *states]
        gradients += [sums[slot].total(symbolic) for slot in self.constants]
        return [g if p is not None else None for g, p in zip(gradients, parents, strict=True)]

    def _fitted(self, slot: int, g: Any) -> Any:
        """A gradient in the shape and type of what it belongs to."""
        if g.shape != self.slots.shapes[slot]:
            g = sum_to(g, self.slots.shapes[slot], self.name)
        return g if g.dtype == self.slots.dtypes[slot] else g.astype(self.slots.dtypes[slot])


def _joined(pieces: list[Any]) -> Any:
    """The gradients of the steps' inputs below each other; None is zero."""
    there = next((g for g in pieces if g is not None), None)
    return None if there is None else concat([there * 0 if g is None else g for g in pieces])


class _Rows:
    """Memory for the arrays of all steps, one below the other; and where an array lies in such memory."""

    def __init__(self, xp: Any, n_steps: int) -> None:
        self.xp, self.n_steps, self.t = xp, n_steps, 0
        self.wholes: dict[Any, Array] = {}
        self.known: dict[int, tuple[Array, Array, int]] = {}  # by id: the array, the whole, its first row

    def note(self, array: Array, whole: Array, row: int) -> Array:
        """Says that `array` is the rows of `whole` from `row` on."""
        self.known[id(array)] = array, whole, row
        return array

    def place(self, number: int, i: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Rows for the step at hand, for the gradient of argument i of an op."""
        n, key = shape[0], (number, i)
        if key not in self.wholes:
            self.wholes[key] = self.xp.empty((self.n_steps * n, *shape[1:]), dtype)
        whole = self.wholes[key]
        return self.note(whole[self.t * n : (self.t + 1) * n], whole, self.t * n)

    def joined(self, arrays: Sequence[Any]) -> Any:
        """The array of which these are the rows, in order or from the last to the first; None where they lie
        elsewhere.
        """
        found = [self.known.get(id(a)) for a in arrays]
        if None in found or not found:
            return None
        if found[0][2] > found[-1][2]:  # type: ignore[index]
            found.reverse()
        _, whole, start = found[0]  # type: ignore[misc]
        end = start
        for array, other, row in found:  # type: ignore[misc]
            if other is not whole or row != end:
                return None
            end += array.shape[0]
        return whole[start:end]

    def total(self, products: list[Product]) -> list[Product]:
        """Products of all steps as one where they lie in order: all, or all but that of the initial state."""
        for some, others in ((products, []), (products[1:], products[:1]), (products[:-1], products[-1:])):
            a, g = self.joined([p.a for p in some]), self.joined([p.g for p in some])
            if a is not None and g is not None:
                return [Product(a, g), *others]
        return products
