"""Many time steps as one node: a step function is read once and then run for every step.

    outputs, states = loop(step, xs, states, n_steps)        # step(x, states) -> output, new states

Plain Python does the same, `for x in xs: output, states = step(x, states)`, and does it wherever this cannot.
What it costs there is not the arithmetic but the graph: tensors, nodes, and the way back through them, for
every op of every step. So the first step is run under a recorder, which writes down the ops it calls and
where their arguments come from: a short list. Running that list on arrays, step after step, is the forward;
running the ops' own rules over it backwards, from the last step to the first, is backpropagation through
time. Nothing is said twice: the ops, their rules and the way gradients are summed are those of the graph.

`Loop.gradients` is that way back. For plain arrays loop_code.py writes both ways down as Python code, which
is kept for the next time that the same step is read.

The intermediate values that rules read are hidden results of the node, as in pointwise.py, so that under
create_graph the same way back runs on tensors, and gradients have gradients.

What is recorded must hold for every step: the same ops on the same constants, without random numbers, and no
effect beside the result. Who calls this vouches for it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..backend import Array, array_module
from ..engine import Value, mode
from ..engine.accumulate import Sum, Summand
from ..engine.graph import Leaf, Node, Output, Primitive, sum_to
from . import loop_back, loop_code
from .codegen import UFUNCS
from .pointwise import Fused
from .shape import concat

Step = Callable[[Value, list[Value]], tuple[Value, list[Value]]]
_known: OrderedDict[Any, Recorded] = OrderedDict()  # steps that were read, the latest last
_KNOWN = 256


def loop(
    step: Step,
    xs: Value,
    states: Sequence[Value],
    n_steps: int,
    reverse: bool = False,
    scratch: bool = False,
) -> tuple[Value, list[Value]] | None:
    """Runs `step` over the n_steps equal parts of xs along its first axis, or from the last to the first.
    With `scratch` nobody else looks at the memory of xs, and it may be written in.

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
    recorded = _recorded(recorder, sources, [grad and v.vertex is not None for v in arguments], grad)
    return Loop(recorded, recorder).run(arguments, n_steps, reverse, grad, scratch)


def _recorded(recorder: _Recorder, sources: list[int], needs: list[bool], grad: bool) -> Recorded:
    """What was worked out for the same step before, or is now."""
    arrays = [getattr(v, "array", v) for v in recorder.values]
    dtypes = [getattr(a, "dtype", None) for a in arrays]
    ndims = [getattr(a, "ndim", 0) for a in arrays]
    constants = [grad and getattr(recorder.values[c], "vertex", None) is not None for c in recorder.constants]
    calls = [(c.op, *c.refs, None, *c.outs, c.several, *c.alike, _frozen(c.settings)) for c in recorder.calls]
    language = array_module(arrays[0]).name
    key = (
        *calls,
        None,
        *sources,
        None,
        *recorder.constants,
        *dtypes,
        *ndims,
        *needs,
        *constants,
        grad,
        language,
    )
    found = _known.get(key)
    if found is None:
        found = Recorded(recorder, sources, [*needs, *constants], dtypes, ndims, array_module(arrays[0]))
        _known[key] = found
        while len(_known) > _KNOWN:
            _known.popitem(last=False)
    else:
        _known.move_to_end(key)
    return found


def _frozen(settings: dict[str, Any]) -> Any:
    """Settings as part of a key. What cannot be one is equal to itself only."""
    if not settings:
        return None
    items = tuple(settings.items())
    try:
        hash(items)
    except TypeError:
        whole = all(
            isinstance(v, (int, float, str, slice, list, tuple, type(None))) for v in settings.values()
        )
        return repr(items) if whole and "array" not in repr(items) else object()
    return items


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
        shape = None if several else results.array.shape
        alike = [getattr(getattr(a, "array", None), "shape", ()) == shape for a in args]
        self.calls.append(_Call(op, refs, settings, outs, several, alike))

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
        self,
        op: Any,
        refs: list[int],
        settings: dict[str, Any],
        outs: list[int],
        several: bool,
        alike: list[bool],
    ) -> None:
        self.op, self.refs, self.settings, self.outs, self.several = op, refs, settings, outs, several
        self.alike = alike  # which arguments have the result's shape
        self.n_results = len(outs)
        self.parents: list[bool | None] = []  # for each argument: True where it needs a gradient
        self.reads: set[int] = set()  # slots that rules read
        self.values: list[int | tuple[int, ...]] = []  # of what rules are given after the gradient: slots
        self.fused = isinstance(op, Fused)
        self.needs: tuple[bool, ...] = ()
        self.rules: list[tuple[int, Any, list[int]]] = []  # argument, rule, the slots that it reads

    def mark(self, needs: list[bool], is_float: Callable[[int], bool]) -> None:
        """Sets `parents`, and says of the results that they need gradients."""
        op = self.op
        rules = op.rules if isinstance(op, Primitive) and op.joint is None else None
        can = self.fused or op.has_rules
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
        if self.fused:
            self.op = self.op.plan(mask, self.settings["rows"], self.settings["xp"])
            if mask:
                n_hidden = len(self.op.outputs) + len(self.op.wholes) - len(self.outs)
                self.outs = [*self.outs, *(slots.new() for _ in range(n_hidden))]
                saved = [r for r, read in zip(self.refs, self.op.saved, strict=True) if read]
                outputs = self.outs[: len(self.op.outputs)]
                self.reads = {*outputs, *saved}
                self.values = [tuple(outputs), *(r if r in saved else slots.nothing for r in self.refs)]
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
                self.values += [slots.fixed(chosen[name]) for name in op.settings]
                shapes = [tuple(self.refs)] if op.variadic else self.refs
                self.values += [slots.shape_of(refs) for refs in shapes]
            if op.joint is None:
                places = [slots.gradient, *self.values]
                rules = zip(self.refs, op.rules, op.reads_of, self.parents, strict=True)
                self.rules = [
                    (ref, rule, [places[i] for i in reads]) for ref, rule, reads, parent in rules if parent
                ]

    def backward(self, env: list[Any], gs: list[Any]) -> Iterable[tuple[int, Any]]:
        """The arguments' slots with their gradients, from the gradients `gs` of the results."""
        outs = self.outs[: len(self.op.outputs)] if self.fused else self.outs
        found = tuple([gs[out] for out in outs])
        if all(g is None for g in found):
            return ()
        values: list[Any] = [found if self.several or self.fused else found[0]]
        values += [tuple([env[r] for r in v]) if isinstance(v, tuple) else env[v] for v in self.values]
        return zip(self.refs, self.op.gradients(values, self.parents), strict=True)


class _Slots:
    """The places of the env. Beside the values of the step there are some that are the same at every step."""

    def __init__(self, n_values: int) -> None:
        self.template: list[Any] = [None] * n_values  # of the env
        self.of_shapes: list[tuple[int, int | tuple[int, ...]]] = []  # places of shapes, and of what
        self.n_fixed_from = n_values
        self.not_fixed: set[int] = set()
        self.gradient, self.nothing = self.fixed(None), self.fixed(None)

    def fixed(self, value: Any) -> int:
        """A new slot for a value that is the same at every step."""
        self.template.append(value)
        return len(self.template) - 1

    def shape_of(self, refs: int | tuple[int, ...]) -> int:
        """A new slot for the shape of a value, or those of several."""
        self.of_shapes.append((self.fixed(None), refs))
        return len(self.template) - 1

    def new(self) -> int:
        """A new slot for a value of each step."""
        self.not_fixed.add(self.fixed(None))
        return len(self.template) - 1


class Recorded:
    """What can be worked out of a recorded step: what rules read, where it is kept, and the code.

    Of the values that rules read at each step some are kept in the memory of all steps ("rows"), some in a
    list. A state is what the step before made; a chunk of activated gates is a part of all of them.
    """

    def __init__(
        self,
        recorder: _Recorder,
        sources: list[int],
        needs: list[bool],
        dtypes: list[Any],
        ndims: list[int],
        xp: Any,
    ) -> None:
        self.language = xp.language
        self.n_inputs, self.constants, self.calls = recorder.n_inputs, recorder.constants, recorder.calls
        self.constant_set = {*self.constants}
        self.output, *self.new_states = sources
        self.dtypes, self.ndims = dtypes, ndims
        self.slots = slots = _Slots(len(recorder.values))
        self.gradient = slots.gradient
        self.needs = [False] * len(recorder.values)
        for slot, need in zip([*range(self.n_inputs), *self.constants], needs, strict=True):
            self.needs[slot] = need
        before = -1
        while sum(self.needs) != before:  # until the states that depend on others are known
            before = sum(self.needs)
            for call in self.calls:
                call.mark(self.needs, lambda slot: getattr(dtypes[slot], "kind", "") == "f")
            for state, new in enumerate(self.new_states, start=1):
                self.needs[state] = self.needs[state] or self.needs[new]
        for call in self.calls:
            call.prepare(slots)
        self.ndims = [*ndims, *([0] * (len(slots.template) - len(ndims)))]
        self.back = [call for call in reversed(self.calls) if any(call.parents)]
        self.differentiable = any(self.needs[slot] for slot in sources)
        self._find_stored()
        self._codes: dict[Any, Callable[..., Any]] = {}

    def _find_stored(self) -> None:
        self.stored: dict[int, str] = {}  # slot -> "rows" or "list"
        self.shape_like: dict[int, int] = {}  # of rows: a slot of the same shape
        self.chunks: dict[int, tuple[int, int, int]] = {}  # slot -> the whole, which part of how many
        self.n_chunks: dict[int, int] = {}  # of wholes: their chunks lie below each other, at each step
        self.initials: list[int] = []  # states of which the first is kept too
        writable = (
            {self.output: self.output} if self.varies(self.output) and self.output >= self.n_inputs else {}
        )
        chunks = {}
        for call in self.calls:
            if self.ufunc_of(call) or self.product_of(call):
                writable[call.outs[0]] = call.outs[0]
            if call.fused and any(call.parents):
                for k in call.op.writable:
                    writable.setdefault(call.outs[k], call.outs[0])
                if self.ndims[call.outs[0]] == 2:
                    first = len(call.op.outputs)
                    for k, (w, j, n) in call.op.chunks.items():
                        if call.outs[k] in (*self.new_states, self.output):
                            continue
                        chunks[call.outs[k]] = (call.outs[first + w], j, n)
                        self.n_chunks[call.outs[first + w]] = n
                        writable[call.outs[first + w]] = call.outs[0]
        todo = [s for call in self.back for s in sorted(call.reads) if self.varies(s)]
        while todo:
            slot = todo.pop()
            if slot in chunks:
                self.chunks[slot] = chunks[slot]
                slot = chunks[slot][0]
            new = self.new_states[slot - 1] if 0 < slot < self.n_inputs else None
            if slot == 0:
                self.stored[0], self.shape_like[0] = "rows", 0
            elif new is not None and new >= self.n_inputs and self.varies(new):
                if slot not in self.initials:
                    self.initials.append(slot)
                    todo.append(new)
            elif slot in writable:
                self.stored[slot], self.shape_like[slot] = "rows", writable[slot]
            else:
                self.stored[slot] = "list"
        self.over_inputs = self._over_inputs()
        # States whose values before each step lie in rows: those after it, with the first in front.
        self.befores: dict[int, int] = {}
        for state in self.initials:
            new = self.new_states[state - 1]
            if self.stored.get(new) == "rows" and new not in self.befores.values():
                self.befores[state] = new

    def _over_inputs(self) -> int | None:
        """The gates that may lie in the memory of the inputs: each step reads its input before it makes them,
        in a sum with a product, and nobody does so later.
        """
        wholes = [slot for slot in self.n_chunks if slot in self.stored and self.dtypes[0] == self.dtypes[1]]
        if len(wholes) != 1 or 0 in self.stored or self.output == 0 or 0 in self.new_states:
            return None
        for call in self.calls:
            if wholes[0] in call.outs:
                return wholes[0]
            if 0 in call.refs and (call.refs.count(0) > 1 or not self.product_of(call) or call.refs[0]):
                return None
        return None

    def varies(self, slot: int) -> bool:
        """Whether a slot has another value at each step."""
        if slot in self.constant_set:
            return False
        return slot < self.slots.n_fixed_from or slot in self.slots.not_fixed

    def product_of(self, call: _Call) -> tuple[int, int] | None:
        """The factors of a call that multiplies two matrices of one type."""
        if call.fused or call.op.name not in ("matmul", "addmm") or self.language != "python":
            return None
        left, right = call.refs[-2:]
        if self.ndims[left] != 2 or self.ndims[right] != 2 or self.dtypes[left] != self.dtypes[right]:
            return None
        return (left, right) if self.dtypes[call.outs[0]] == self.dtypes[left] else None

    def makes_anew(self, call: _Call) -> bool:
        """Whether the results of a call lie in memory of their own."""
        if call.fused:
            return not {*call.op.program.inputs}.intersection(call.op.program.results)
        return (
            call.op.name in ("add", "sub", "mul", "div", "standardize") or self.product_of(call) is not None
        )

    def ufunc_of(self, call: _Call) -> str | None:
        """The library's name of an elementwise call on values of one type and shape, or with a row of it."""
        if call.fused or call.settings or len(call.outs) != 1 or self.language != "python":
            return None
        name, dtype = UFUNCS.get(call.op.name), self.dtypes[call.outs[0]]
        fits = all(
            (same or self.row_beside_rows(call, ref)) and self.dtypes[ref] == dtype
            for ref, same in zip(call.refs, call.alike, strict=True)
        )
        return name if fits and getattr(dtype, "kind", "") == "f" else None

    def row_beside_rows(self, call: _Call, slot: int) -> bool:
        """Whether an argument of an elementwise call is a constant row, beside as many rows as the result."""
        if call.fused or call.op.name not in ("add", "sub", "mul", "div") or self.language != "python":
            return False
        alike = [other for other, same in zip(call.refs, call.alike, strict=True) if same]
        return slot in self.constant_set and self.ndims[slot] == 1 and any(self.ndims[o] == 2 for o in alike)

    def is_even_split(self, call: _Call) -> bool:
        """Whether a call takes a matrix apart, into equal pieces beside each other."""
        if call.fused or call.op.name != "split" or self.ndims[call.refs[0]] != 2:
            return False
        return call.settings["axis"] == 1 and len({*call.settings["sizes"]}) == 1

    def forward(self, keep: bool) -> Callable[..., Any]:
        """The code of all steps forward."""
        if keep not in self._codes:
            self._codes[keep] = loop_code.forward(self, keep)
        return self._codes[keep]

    def backward(self, of_outputs: bool) -> Callable[..., Any]:
        """The code of all steps backwards."""
        if ("back", of_outputs) not in self._codes:
            self._codes["back", of_outputs] = loop_back.backward(self, of_outputs)
        return self._codes["back", of_outputs]


class Loop:
    """A recorded step, run on arrays of these shapes. The `op` of its node."""

    name = "loop"
    variadic = False
    pulls = None  # one rule for all arguments: `gradients`

    def __init__(self, recorded: Recorded, recorder: _Recorder) -> None:
        self.recorded = recorded
        self.shapes: list[Any] = [getattr(getattr(v, "array", v), "shape", ()) for v in recorder.values]
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
        finals = recorded.forward(keep)(
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
        node = Node(self, [*vertices, *of_constants], kept, results)  # type: ignore[arg-type]
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
            if isinstance(g, Summand):
                sums[slot].add(g, symbolic)
            elif g.shape == self.shapes[slot]:
                sums[slot].add(self._fitted(slot, g), symbolic)
            else:
                key = (slot, g.shape)
                if key not in wide:
                    wide[key] = Sum(recorded.dtypes[slot])
                wide[key].add_array(g, symbolic)

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
        run = recorded.backward(of_outputs is not None)
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
        if isinstance(g, Summand):
            g = type(g).total([g])
        if g.shape != shape:
            g = sum_to(g, shape, self.name)
        return g if g.dtype == dtype else g.astype(dtype)


def _joined(pieces: list[Any]) -> Any:
    """The gradients of the steps' inputs below each other; None is zero."""
    there = next((g for g in pieces if g is not None), None)
    return None if there is None else concat([there * 0 if g is None else g for g in pieces])
