"""What a step does, written down while it runs: the ops, and where their arguments come from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...backend import Array
from ...engine import Leaf, Primitive, Value
from .. import elementwise
from ..pointwise import Fused


class Recorder:
    """Writes down the ops of a step. Every value has a slot: x, the states, then whatever comes up."""

    def __init__(self) -> None:
        self.values: list[Any] = []  # by slot; they stay alive, so that no id is given twice
        self.slots: dict[int, int] = {}
        self.constants: list[int] = []  # slots of what was not computed in the step
        self.n_inputs = 0
        self.calls: list[Call] = []

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
        self.calls.append(Call(op, refs, settings, outs, several, alike))

    def observe(self, op: Primitive | Fused, call: Any, out: Any, node: Any) -> None:
        """Called by the engine for every op."""
        self.record(op, call.args, call.settings, out)

    def again(self) -> Recorder:
        """The same record with calls that nothing was worked out for."""
        record = copy.copy(self)
        record.calls = [Call(c.op, c.refs, c.settings, [*c.outs], c.several, c.alike) for c in self.calls]
        return record

    def works_on_rows(self, n: int) -> bool:
        """Whether each row of the n that the step was given goes its own way, and nothing has to do with how
        many there are: then the record holds for fewer or more.
        """
        constants = {*self.constants}
        for slot, value in enumerate(self.values):
            shape = getattr(getattr(value, "array", value), "shape", ())
            if (shape[:1] == (n,)) == (slot in constants):
                return False
        return all(call.works_on_rows(constants) for call in self.calls)

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


class Call:
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

    def works_on_rows(self, constants: set[int]) -> bool:
        """Whether each row of the results depends on one row of the arguments, or on constants."""
        if self.fused:
            return True
        if self.op.name in ("matmul", "addmm"):
            return self.refs[-2] not in constants
        if self.op.name in ("split", "standardize"):
            axes = self.settings.get("axes", (self.settings.get("axis"),))
            return 0 not in axes
        return not self.settings and self.op.forward.__module__ == elementwise.__name__

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

    def prepare(self, slots: Slots) -> None:
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


class Slots:
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
