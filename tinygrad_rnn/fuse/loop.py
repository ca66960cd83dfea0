"""Many time steps as one node.

Plain Python does the same: `for x in xs: output, state = step(x, state)`. What it costs there is not the
arithmetic but the graph: tensors, nodes, and the way back through them, for every op of every step. So the
step is traced, and its block runs at all steps on arrays; the reverse of the block, from the last step to the
first, is backpropagation through time. What the reverse reads is saved for all steps: hidden results of the
node, so that gradients of gradients, of any order, flow into them like into any result.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ..backend import array_module
from ..engine import Node, Output, Value, mode
from ..ops.shape import stack
from .at_once import total
from .ir import Ref
from .lower.interpret import viewed
from .passes.place import Memory, Place
from .steps import StepPlan


class Loop:
    """A step at all steps of a stretch. The `op` of its node."""

    name = "loop"
    variadic = asks_owned = False
    pulls = None  # one rule for all arguments: `gradients`

    def __init__(self, plan: StepPlan, constants: Sequence[Any]) -> None:
        self.plan, self.constants = plan, constants
        self.alone = True  # whether nobody but its node has what it saves: no graph of gradients

    def run(
        self, xs: Sequence[Value], states: Sequence[Value], n_steps: int, reverse: bool, owned: Sequence[bool]
    ) -> tuple[list[Value], list[Value]]:
        plan, grad = self.plan, mode.current().grad
        self.n_steps, self.reverse = n_steps, reverse
        self.n = n = xs[0].array.shape[0] // n_steps
        self.xp = xp = array_module(xs[0].array)
        values = [getattr(v, "array", v) for v in self.constants]
        if (reads := mode.current().reads) is not None:
            reads([*(v.array for v in (*xs, *states)), *values])
        arrays: dict[Memory, Any] = {}
        for memory, x in zip(plan.inputs, xs, strict=True):
            arrays[memory] = x.array.reshape(n_steps, n, *x.array.shape[1:])
        writable: Collection[Memory] = ()
        if plan.over_inputs:
            own = zip(plan.inputs, owned, strict=True)
            writable = [m for m, is_own in own if is_own and arrays[m].flags.c_contiguous]
        of_steps, of_carries = plan.shapes(n, n_steps)
        for memory, over, shape, dtype in of_steps:
            arrays[memory] = arrays[over].reshape(shape) if over in writable else xp.lend(shape, dtype)
        for (memory, shape, dtype), state in zip(of_carries, states, strict=True):
            arrays[memory] = carry = xp.lend(shape, dtype)
            carry[-1 if reverse and memory.stored else 0] = state.array
        if plan.native is not None and n:
            plan.native.run(arrays, values, n, *_times(n_steps, reverse), n_steps)
        else:
            program = plan.program(n, xp)
            env = program.start(values, n_steps)
            program.steps(env, n_steps, functools.partial(_moving, arrays, reverse, n, xp))
            program.finish(env)
        outputs = []
        for place, copied in plan.shown:
            rows = _at_all_steps(place, arrays, reverse, n, xp)
            outputs.append(_below(xp.array(rows) if copied else rows))
        finals = [self._final(memory, arrays[memory]) for memory in plan.carries]
        new = Value.result._of
        if not (grad and plan.differentiable):
            return [new(a) for a in outputs], [new(a) for a in finals]
        results = (*outputs, *finals)
        hidden = [arrays[memory] for memory in plan.hidden]
        saved = [x.array if m in plan.saved_inputs else None for m, x in zip(plan.inputs, xs, strict=True)]
        parents = [getattr(v, "vertex", None) for v in (*xs, *states, *self.constants)]
        kept = [(*results, *hidden), *saved, *([None] * len(states)), *values]
        node = Node(self, parents, kept, outputs=len(results))
        self.constants = ()
        made = [
            new(a, Output(node, k, a) if flows else None)
            for k, (a, flows) in enumerate(zip(results, plan.flows, strict=True))
        ]
        return made[: len(outputs)], made[len(outputs) :]

    def _final(self, memory: Memory, carry: Any) -> Any:
        if not memory.stored:
            return carry[self.n_steps % 2]
        return self.xp.array(carry[0 if self.reverse else -1])

    def _rows(self, r: Ref, arrays: dict[Memory, Any]) -> Any:
        """A saved value of the forward at all steps, in the order of time."""
        return _at_all_steps(self.plan.place(r), arrays, self.reverse, self.n, self.xp)

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The gradients of the inputs, of the first states and of the constants."""
        gs, ys, *rest = values
        plan = self.plan
        n_results, n_inputs, n_states = len(plan.block.results), len(plan.inputs), len(plan.states)
        constants = dict(zip(plan.block.constants, rest[n_inputs + n_states :], strict=True))
        arrays: dict[Memory, Any] = dict(zip(plan.hidden, ys[n_results:], strict=True))
        for memory, x in zip(plan.inputs, rest, strict=False):
            arrays[memory] = None if x is None else x.reshape(self.n_steps, self.n, *x.shape[1:])
        symbolic = any(isinstance(g, Value) for g in gs)
        self.alone = self.alone and not symbolic
        by_step = symbolic or any(g is not None for g in gs[n_results:])
        of_inputs, of_states, of_constants = (self._step_by_step if by_step else self._placed)(
            gs, arrays, constants
        )
        found = [*of_inputs, *of_states, *(of_constants.get(r) for r in plan.block.constants)]
        return [g if p is not None else None for g, p in zip(found, parents, strict=True)]

    # ------------------------------------------------------------ by the placed reverse

    def _placed(self, gs: Any, arrays: dict[Memory, Any], constants: dict[Ref, Any]) -> Any:
        plan, n, xp, n_steps = self.plan, self.n, self.xp, self.n_steps
        n_outputs = len(plan.outputs)
        back = plan.backward(tuple([g is not None for g in gs[:n_outputs]]))
        given: dict[Memory, Any] = {}  # arrays of all steps
        for memory, in_factors, place in back.reads:
            plain = not place.views and place.memory.kind != "carry"
            x = arrays[place.memory] if plain else _at_all_steps(place, arrays, self.reverse, n, xp)
            given[memory] = given[in_factors] = x
        for memory, g in zip(back.seeds, [g for g in gs[:n_outputs] if g is not None], strict=True):
            given[memory] = self._by_step(g)
        if back.over is not None and self.alone and mode.current().frees:
            memory, saved = back.over
            given[memory] = arrays[saved].reshape(n_steps, *memory.type.at(n))
        of_steps, of_rings = back.shapes(n, n_steps)
        for memory, shape, dtype in of_steps:
            if memory not in given:
                given[memory] = xp.lend(shape, dtype)
        of_last = [g for g, active in zip(gs[n_outputs:], plan.active, strict=False) if active]
        rings = []
        for (memory, shape, dtype), g in itertools.zip_longest(of_rings, of_last):
            given[memory] = ring = xp.lend(shape, dtype)
            ring[0] = 0 if g is None else g
            rings.append(ring)
        held = [constants[v] if type(v) is Ref else getattr(v, "array", v) for v in back.constants]
        if back.native is not None and n:
            back.native.run(given, held, n, *_times(n_steps, not self.reverse), n_steps)
        else:
            self._blocks(back, given, held)
        last = [ring[n_steps % 2] for ring in rings]
        states = iter(last)
        of_states = [next(states) if active else None for active in plan.active]
        of_inputs = [None if r is None else _below(self._field(back, r, given)) for r in back.of_inputs]
        return of_inputs, of_states, self._of_constants(back, given, [*states])

    def _blocks(self, back: Any, given: dict[Memory, Any], held: list[Any]) -> None:
        """Runs the reverse over blocks of steps, from the last to the first."""
        n, xp, n_steps = self.n, self.xp, self.n_steps
        factors, program = back.programs_for(n, xp)
        length = min(n_steps, back.block_length(n))
        blocks: dict[Memory, Any] = {}
        for r in back.factors:
            memory = back.memory_in_factors(r)
            buffer = xp.aligned((length, *memory.type.at(n)), memory.type.dtype)
            blocks[memory] = blocks[back.memory(r)] = buffer
        env = program.start(held, n_steps)
        of_block, scratch = factors.start_block(held, length)
        for done in range(0, n_steps, length):
            count = min(length, n_steps - done)
            start = done if self.reverse else n_steps - done - count
            block = functools.partial(_block, given, blocks, start, count, n, xp)
            if back.factors:
                factors.at_once(of_block, scratch, count, block)
            program.steps(
                env, count, functools.partial(_moving_back, given, block, done, not self.reverse, n, xp)
            )
        program.finish(env)

    def _field(self, back: Any, r: Ref, given: dict[Memory, Any]) -> Any:
        """A result of the reverse at all steps, in the order of time."""
        place = back.place(r)
        array = given[place.memory]
        return viewed(array, place.views, 1, self.n, self.xp) if place.views else array

    def _by_step(self, g: Any) -> Any:
        """The rows of all steps, step by step."""
        return g.reshape(self.n_steps, g.shape[0] // self.n_steps, *g.shape[1:])

    def _of_constants(self, back: Any, given: dict[Memory, Any], sums: Sequence[Any]) -> dict[Ref, Any]:
        parts: dict[Ref, list[Any]] = {}
        for constant, g in zip(back.sums, sums, strict=True):
            parts.setdefault(constant, []).append(g)
        for constant, kind, fields in back.terms:
            rows = [self._field(back, f, given) for f in fields]
            if kind is not None:
                g = kind(*[_below(r) for r in rows])
            else:
                g = self.xp.column_sums(rows[0]) if constant.ndim == 1 else rows[0].sum(axis=(0, 1))
            parts.setdefault(constant, []).append(g)
        return {constant: total(own) for constant, own in parts.items()}

    # ------------------------------------------------------------ step by step, also on tensors

    def _step_by_step(self, gs: Any, arrays: dict[Memory, Any], constants: dict[Ref, Any]) -> Any:
        plan, n, n_steps = self.plan, self.n, self.n_steps
        n_outputs, n_states = len(plan.outputs), len(plan.states)
        of_memory = dict(zip(plan.hidden, gs[n_outputs + n_states :], strict=False))
        hidden = [(m, r) for m in plan.hidden if of_memory.get(m) is not None for r in plan.values_in(m)]
        present = tuple([g is not None for g in gs[:n_outputs]])
        rev = plan.reverse(present, tuple([r for _, r in hidden]))
        held = [constants[v] if type(v) is Ref else v for v in rev.constants]
        rows = [self._rows(r, arrays) for r in rev.saved]
        seeds = [self._by_step(g) for g in gs[:n_outputs] if g is not None]
        for memory, r in hidden:
            place = Place(memory, "after") if memory.kind == "carry" else plan.place(r)
            rows_of_g = _at_all_steps(place, {memory: of_memory[memory]}, self.reverse, n, self.xp)
            seeds.append(rows_of_g)
        n_seeds = sum(present)
        active = [s for s, a in zip(plan.states, plan.active, strict=True) if a]
        states = [
            self._zeros(s, gs) if g is None else g
            for s, g, a in zip(plan.states, gs[n_outputs:], plan.active, strict=False)
            if a
        ]
        of_inputs: list[list[Any]] = [[None] * n_steps for _ in plan.inputs]
        parts: dict[Ref, list[Any]] = {}
        for t in range(n_steps) if self.reverse else range(n_steps - 1, -1, -1):
            own = [g[t] for g in seeds]
            found = iter(
                rev.block.run([*own[:n_seeds], *states, *own[n_seeds:], *(r[t] for r in rows)], held, n)
            )
            of = {r: next(found) for r in plan.wanted}
            for own_g, r in zip(of_inputs, plan.block.params, strict=False):
                own_g[t] = of.get(r)
            states = [old * 0 if of[s] is None else of[s] for s, old in zip(active, states, strict=True)]
            for term in rev.terms:
                fields = [next(found) for _ in term.fields]
                if term.kind is not None:
                    g = term.kind(*fields)
                else:
                    g = fields[0].sum(0) if fields[0].ndim > term.constant.ndim else fields[0]
                parts.setdefault(term.constant, []).append(g)
        following = iter(states)
        of_states = [next(following) if a else None for a in plan.active]
        for k, memory in enumerate(plan.carries):  # the first state lies in the memory of the others
            of_all = of_memory.get(memory)
            if of_all is not None:
                first = of_all[-1 if self.reverse else 0]
                of_states[k] = first if of_states[k] is None else of_states[k] + first
        return (
            [_joined(own) for own in of_inputs],
            of_states,
            {c: total(g) for c, g in parts.items()},
        )

    def _zeros(self, s: Ref, gs: Any) -> Any:
        zeros = self.xp.zeros(s.type.at(self.n), s.dtype)
        return Value.result._of(zeros) if any(isinstance(g, Value) for g in gs) else zeros


def _below(x: Any) -> Any:
    """The rows of all steps below each other."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _joined(steps: list[Any]) -> Any:
    """The gradients of the inputs of all steps; None is zero."""
    like = next((g for g in steps if g is not None), None)
    return None if like is None else _below(stack([like * 0 if g is None else g for g in steps]))


# ---------------------------------------------------------------- what moves with the steps


def _at_all_steps(place: Place, arrays: dict[Memory, Any], reverse: bool, n: int, xp: Any) -> Any:
    """The values of a place at all steps, in the order of time."""
    array = arrays[place.memory]
    if place.memory.kind == "carry":
        array = array[1:] if (place.side == "after") != reverse else array[:-1]
    return viewed(array, place.views, 1, n, xp) if place.views else array


def _times(n_steps: int, reverse: bool) -> tuple[int, int]:
    """The first step's time, and what the next one's is more."""
    return (n_steps - 1, -1) if reverse else (0, 1)


def _moving(arrays: dict[Memory, Any], reverse: bool, n: int, xp: Any, place: Place) -> Iterable[Any]:
    """The arrays of a place, step by step, forward."""
    if not place.memory.stored:
        return _alternating(arrays[place.memory], place, n, xp, 0)
    array = _at_all_steps(place, arrays, reverse, n, xp)
    return _each(array[::-1] if reverse else array)


def _each(array: Any) -> Iterable[Any]:
    """The arrays of an array along its first axis. NumPy would give numbers for one without further axes."""
    return array if array.ndim > 1 else [array[k, ...] for k in range(array.shape[0])]


def _alternating(ring: Any, place: Place, n: int, xp: Any, done: int) -> Iterable[Any]:
    """Two pieces of memory by turns: what a step writes the next one reads."""
    two = [viewed(part, place.views, 0, n, xp) for part in _each(ring)]
    return itertools.cycle(two if (place.side == "before") == (done % 2 == 0) else two[::-1])


def _block(given: Any, blocks: Any, start: int, count: int, n: int, xp: Any, place: Place) -> Any:
    """The array of a place for a block of steps."""
    memory = place.memory
    array = blocks[memory][:count] if memory in blocks else given[memory][start : start + count]
    return viewed(array, place.views, 1, n, xp)


def _moving_back(
    given: Any, block: Callable[[Place], Any], done: int, flip: bool, n: int, xp: Any, place: Place
) -> Iterable[Any]:
    """The arrays of a place, step by step, in the order of the way back."""
    if place.memory.kind == "carry":
        return _alternating(given[place.memory], place, n, xp, done)
    array = block(place)
    return _each(array[::-1] if flip else array)
