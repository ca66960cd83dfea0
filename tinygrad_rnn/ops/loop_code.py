"""The Python code of a recorded step: all time steps forward, and all of them backwards.

loop.py says what is computed; this writes it down as two plain functions, as one would by hand: which array
is where is worked out here, once, and not at each step. What makes them fast: values that rules will read are
written straight into the memory of all time steps; so are the gradients that a product or a sum over all
steps can then take in one piece.

    def forward(xp, xs, states, template, order, stored): ...
    def backward(xp, stored, of_outputs, states, template, order, shapes, dtypes, fit, add): ...

Names in the code: s7 is the value in slot 7, S7 the memory (or the list) with that of every step, I1 the
first state in slot 1, g7 the gradient of slot 7, D2_0 the gradients of argument 0 of call 2 at every step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .codegen import Text
from .linalg import BY_ROWS
from .pointwise import take_apart

if TYPE_CHECKING:
    from .loop import Recorded


def forward(recorded: Recorded, keep: bool) -> Callable[..., Any]:
    """The code of all steps forward. With `keep`, what rules read is stored; else the outputs alone."""
    lines: list[str] = []
    scope: dict[str, Any] = {}
    rows = {slot for slot, kind in recorded.stored.items() if kind == "rows" and slot} if keep else set()
    lists = [slot for slot, kind in recorded.stored.items() if kind == "list"] if keep else []
    out, states = recorded.output, range(1, recorded.n_inputs)
    computed = out >= recorded.n_inputs and recorded.varies(out)
    if computed:
        rows.add(out)
    lines += [f"S{slot}.append(s{slot})" for slot in lists if slot < recorded.n_inputs]
    for number, call in enumerate(recorded.calls):
        arguments = [f"s{ref}" for ref in call.refs]
        outs = call.outs if keep or not call.fused else call.outs[: call.n_results]
        into: list[int] = []
        names = ", ".join(f"s{o}" for o in outs)
        if call.fused:
            into = [k for k in call.op.writable if k < len(outs) and outs[k] in rows]
            run = call.op.writing(tuple(into), len(outs))
            apart, values = _pieces(call)
            places = [f"S{outs[k]}[t]" for k in into]
            code, results = _call(run, f"f{number}", values, places, len(outs), scope)
            lines += [*apart, *code, f"{names}, = {', '.join(results)},"]
        else:
            scope[f"f{number}"] = call.op.forward
            if call.settings:
                scope[f"k{number}"] = call.settings
                arguments.append(f"**k{number}")
            lines.append(f"{names}{',' * call.several} = f{number}(xp, {', '.join(arguments)})")
        lines += [f"S{o}.append(s{o})" for o in outs if o in lists]
        written = {outs[k] for k in into}
        lines += _placed([o for o in outs if o in rows and o not in written])
    if not computed:
        lines.append(f"outputs[t] = s{out}")
    if len(states):
        new = ", ".join(f"s{slot}" for slot in recorded.new_states)
        lines.append(f"{', '.join(f's{k}' for k in states)}, = {new},")
    head = [f"s{slot} = template[{slot}]" for slot in recorded.constants]
    if len(states):
        head.append(f"{', '.join(f's{k}' for k in states)}, = states")
    memory = [*(s for s in rows if s != out), *lists]
    head += [f"S{slot} = stored[{slot}]" for slot in memory]
    if computed:
        head.append(f"S{out} = outputs")
    scope["take_apart"] = take_apart
    body = ["for t in order:", "    s0 = xs[t]", *(f"    {line}" for line in lines)]
    result = f"return [{', '.join(f's{k}' for k in states)}]"
    return _function(
        "forward(xp, xs, states, template, order, outputs, stored)", [*head, *body, result], scope
    )


def _pieces(call: Any) -> tuple[list[str], list[str]]:
    """What a pointwise function takes: its arguments, taken apart by these lines, and gates whole."""
    lines, names = [], []
    for i, (ref, n) in enumerate(zip(call.refs, call.op.pieces, strict=True)):
        if n == 1:
            names.append(f"s{ref}")
        elif i in call.op.gates:
            names += ["None"] * n
        else:
            names += [f"s{ref}_{j}" for j in range(n)]
            lines.append(f"{', '.join(names[-n:])} = take_apart(s{ref}, {n})")
    return lines, names + [f"s{call.refs[i]}" for i in call.op.gates]


def _call(
    run: Any, name: str, values: Sequence[str], into: Sequence[str], n_results: int, scope: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """The lines that do what a compiled pointwise function does, and the expressions of its results."""
    text = getattr(run, "text", None)
    if isinstance(text, Text):
        scope.update({f"{name}_{key}": value for key, value in text.constants.items()})
        return text.inside(f"{name}_", values, into)
    scope[name] = run
    places = f", [{', '.join(into)}]" if into else ""
    results = [f"{name}_{k}" for k in range(n_results)]
    return [f"{', '.join(results)}, = {name}(xp, [{', '.join(values)}]{places})"], results


def _placed(slots: Sequence[int]) -> list[str]:
    return [line for s in slots for line in (f"S{s}[t] = s{s}", f"s{s} = S{s}[t]")]


def backward(recorded: Recorded, of_outputs: bool) -> Callable[..., Any]:
    """The code of all steps backwards; `of_outputs`: whether the outputs have gradients."""
    return _Backward(recorded, of_outputs).made


class _Backward:
    """Writes the code of the way back, call by call."""

    def __init__(self, recorded: Recorded, of_outputs: bool) -> None:
        self.recorded = recorded
        self.head: list[str] = []
        self.lines: list[str] = []
        self.tail: list[str] = []
        self.scope: dict[str, Any] = {}
        self.read: set[int] = set()  # slots whose values the code reads
        self.found: dict[int, str] = {}  # the expression of each slot's gradient
        self.rows: dict[int, str] = {}  # where the gradients of a slot at all steps lie below each other
        self.n_uses: dict[int, int] = {}
        for call in recorded.back:
            for ref, parent in zip(call.refs, call.parents, strict=True):
                self.n_uses[ref] = self.n_uses.get(ref, 0) + bool(parent)
        if of_outputs:
            self.found[recorded.output] = "of_outputs[t]"
        for k, slot in enumerate(recorded.new_states, start=1):
            if recorded.needs[k] or recorded.needs[slot]:
                self._add(slot, f"h{k}")
        for number, call in enumerate(recorded.back):
            if call.fused:
                self._fused(number, call)
            else:
                self._primitive(number, call)
        self._states()
        self._inputs()
        self.made = self._function()

    def _add(self, slot: int, expression: str, rows: str = "") -> None:
        """Takes note of a gradient of a slot."""
        recorded = self.recorded
        if slot in recorded.constant_set:
            self.lines.append(f"add({slot}, {expression})")
        elif slot in self.found:
            self.lines.append(f"g{slot} = {self.found[slot]} + {expression}")
            self.found[slot] = f"g{slot}"
            self.rows.pop(slot, None)
        else:
            self.found[slot] = expression
            if rows:
                self.rows[slot] = rows

    def _value(self, slot: int) -> str:
        self.read.add(slot)
        return f"s{slot}"

    def _fitting(self, ref: int, name: str) -> None:
        """The line that brings a gradient to the shape and type of what it belongs to."""
        if ref not in self.recorded.constant_set:
            self.head += [f"h_{ref}, t_{ref} = shapes[{ref}], dtypes[{ref}]"]
            test = f"type({name}) is not kind or {name}.shape != h_{ref} or {name}.dtype != t_{ref}"
            self.lines.append(f"if {test}: {name} = fit({ref}, {name})")

    def _fused(self, number: int, call: Any) -> None:
        """A pointwise function: its reverse program, with the memory that its results go to."""
        present = tuple(out in self.found for out in call.outs)
        if not any(present):
            return
        given = [self.found[out] for out in call.outs if out in self.found]
        own = [
            i for i, (ref, n) in enumerate(zip(call.refs, call.op.pieces, strict=True))
            if call.needs[i] and n == 1
            and (ref in self.recorded.constant_set if call.op.is_row(i) else self._wanted_in_rows(ref))
        ]  # fmt: skip
        program, _, run, reads = call.op.reverse_of(present, call.needs, tuple(own))
        values = given + [self._piece(call, i) for i in reads]
        places, wholes, k = [], [], 0
        results: list[tuple[int, int, str, int]] = []
        for i, (ref, n, need) in enumerate(zip(call.refs, call.op.pieces, call.needs, strict=True)):
            if not need:
                continue
            if n > 1 or i in own:
                name = f"D{number}_{i}"
                shape = call.outs[0] if call.op.is_row(i) else ref  # a bias: summed over all steps at last
                self.head.append(f"{name} = lend((len(order), *shapes[{shape}]), dtypes[{ref}])")
                if n > 1:
                    self.head.append(f"m = shapes[{ref}][-1] // {n}")
                    cuts = [f"{name}_{j} = {name}[..., {j} * m:{j + 1} * m]" for j in range(n)]
                    self.head += cuts
                    places += [f"{name}_{j}[t]" for j in range(n)]
                else:
                    places.append(f"{name}[t]")
                if i in call.op.gates:
                    wholes.append(f"d{number}_{i}")
                if call.op.is_row(i):
                    self.tail.append(f"add({ref}, {name})")
                else:
                    self.lines.append(f"d{number}_{i} = {name}[t]")
                    results.append((i, ref, name, k))
            elif program.results[k] is not None:
                results.append((i, ref, "", k))
            k += n
        lines, found = _call(run, f"r{number}", values, places + wholes, len(program.results), self.scope)
        self.lines += lines
        for i, ref, name, k in results:
            expression = f"{'d' if name else 'x'}{number}_{i}"
            if not name:
                self.lines.append(f"{expression} = {found[k]}")
                if call.op.is_row(i):
                    self._fitting(ref, expression)
            self._add(ref, expression, name)

    def _piece(self, call: Any, i: int) -> str:
        """What a reverse program reads: a result, an argument, or a piece of one."""
        if i < len(call.outs):
            return self._value(call.outs[i])
        i -= len(call.outs)
        for ref, n in zip(call.refs, call.op.pieces, strict=True):
            if i < n:
                name = self._value(ref)
                m = f"shapes[{ref}][-1] // {n}"
                return name if n == 1 else f"{name}[..., {i} * ({m}):{i + 1} * ({m})]"
            i -= n
        raise AssertionError("a place beyond the arguments")

    def _wanted_in_rows(self, slot: int) -> bool:
        """Whether the gradient of a slot is wanted at all steps at once: it comes from one call and goes into
        a product over them, or it is that of the input.
        """
        if self.n_uses.get(slot) != 1:
            return False
        if slot == 0:
            return True
        maker = next((c for c in self.recorded.back if slot in c.outs), None)
        rules = () if maker is None or maker.fused or maker.op.joint else maker.op.rules
        return not BY_ROWS.isdisjoint(rules)

    def _primitive(self, number: int, call: Any) -> None:
        op = call.op
        if op.joint is not None or call.several:
            gs = [self.found.get(out, "None") for out in call.outs]
            if all(g == "None" for g in gs):
                return
            values = [f"({', '.join(gs)},)" if call.several else gs[0]]
            for v in call.values:
                several = isinstance(v, tuple)
                values.append(f"({''.join(self._value(i) + ',' for i in v)})" if several else self._value(v))
            self.scope[f"op{number}"], self.scope[f"p{number}"] = op, call.parents
            self.lines.append(f"r = op{number}.gradients([{', '.join(values)}], p{number})")
            for i, (ref, parent) in enumerate(zip(call.refs, call.parents, strict=True)):
                if parent:
                    self.lines.append(f"x{number}_{i} = r[{i}]")
                    self._fitting(ref, f"x{number}_{i}")
                    self._add(ref, f"x{number}_{i}")
            return
        (out,) = call.outs
        g = self.found.get(out)
        if g is None:
            return
        for i, (ref, rule, reads) in enumerate(call.rules):
            name = f"x{number}_{i}"
            if _is_identity(rule, reads, self.recorded.gradient) and call.alike[call.refs.index(ref)]:
                self._add(ref, g, self.rows.get(out, ""))
            elif self._by_rows(number, i, call, ref, rule, reads):
                continue
            else:
                self.scope[f"q{number}_{i}"] = rule
                given = [g if r == self.recorded.gradient else self._value(r) for r in reads]
                self.lines.append(f"{name} = q{number}_{i}({', '.join(given)})")
                self._fitting(ref, name)
                self._add(ref, name)

    def _by_rows(self, number: int, i: int, call: Any, ref: int, rule: Any, reads: list[int]) -> bool:
        """The gradient of a constant by one run of the rule over all steps, where they lie in rows."""
        recorded = self.recorded
        gradient, out = self.rows.get(call.outs[0]), call.outs[0]
        if not (rule in BY_ROWS and gradient and ref in recorded.constant_set):
            return False
        moving = [r for r in reads if r != recorded.gradient and recorded.varies(r)]
        if len(moving) != 1 or recorded.ndims[moving[0]] != 2 or recorded.ndims[out] != 2:
            return False
        rows = recorded.rows_of(moving[0])
        if rows is None:
            return False
        self.scope[f"q{number}_{i}"] = rule
        source, is_state = rows

        def run(g: str, a: str) -> str:
            given = [g if r == recorded.gradient else a if r in moving else f"s{r}" for r in reads]
            return f"add({ref}, q{number}_{i}({', '.join(given)}))"

        self.read.update(r for r in reads if r != recorded.gradient and r not in moving)
        if not is_state:
            self.tail.append(run(f"flat({gradient})", f"flat(S{source})"))
            return True
        self.tail += [
            run(f"{gradient}[order[0]]", f"I{moving[0]}"),
            "early, late = (slice(-1), slice(1, None))[::order.step]",
            run(f"flat({gradient}[late])", f"flat(S{source}[early])"),
        ]
        return True

    def _states(self) -> None:
        """The states' gradients, for the step before."""
        new = []
        for k in range(1, self.recorded.n_inputs):
            g = self.found.get(k)
            new.append("None" if not self.recorded.needs[k] else f"xp.zeros_like(h{k})" if g is None else g)
        if new:
            names = ", ".join(f"h{k}" for k in range(1, self.recorded.n_inputs))
            self.head.append(f"{names}, = states")
            self.lines.append(f"{names}, = {', '.join(new)},")
            self.tail.append(f"states = [{names}]")

    def _inputs(self) -> None:
        """The gradient of the inputs of all steps."""
        if 0 not in self.found:
            self.tail.append("of_inputs = None")
        elif 0 in self.rows:
            self.tail.append(f"of_inputs = {self.rows[0]}")
        else:
            self.head.append("of_inputs = lend((len(order), *shapes[0]), dtypes[0])")
            self.lines.append(f"of_inputs[t] = {self.found[0]}")

    def _function(self) -> Callable[..., Any]:
        recorded = self.recorded
        steps = []
        for slot in sorted(self.read):
            where = recorded.stored.get(slot)
            if slot in recorded.chunks:
                whole, j, n = recorded.chunks[slot]
                self.head.append(f"m = stored[{whole}].shape[-1] // {n}")
                self.head.append(f"S{slot} = stored[{whole}][..., {j} * m:{j + 1} * m]")
                where = "rows"
            if not recorded.varies(slot):
                self.head.append(f"s{slot} = template[{slot}]")
            elif where is not None:
                steps.append(f"s{slot} = S{slot}[{'t' if where == 'rows' else 'i'}]")
            else:  # a state: what the step before has made
                new = recorded.new_states[slot - 1]
                index = "t - order.step" if recorded.stored[new] == "rows" else "i - 1"
                steps.append(f"s{slot} = S{new}[{index}] if i else I{slot}")
        head = ["lend, kind = xp.lend, xp.array_type", *self.head]
        head += [f"S{slot} = stored[{slot}]" for slot in recorded.stored]
        head += [f"I{slot} = stored[-{slot}]" for slot in recorded.initials]
        body = [
            "for i in range(len(order) - 1, -1, -1):",
            "    t = order[i]",
            *(f"    {line}" for line in (*steps, *self.lines)),
        ]
        text = [*head, *body, *self.tail, "return of_inputs, states"]
        self.scope["flat"] = _flat
        signature = "backward(xp, stored, of_outputs, states, template, order, shapes, dtypes, fit, add)"
        return _function(signature, text, self.scope)


def _flat(rows: Any) -> Any:
    """(steps, n, m) as (steps * n, m)."""
    return rows.reshape(-1, rows.shape[-1])


def _is_identity(rule: Any, reads: list[int], gradient: int) -> bool:
    """Whether a rule hands the gradient on."""
    if reads != [gradient]:
        return False
    token = object()
    try:
        return rule(token) is token
    except Exception:  # it does something with it
        return False


def _function(signature: str, lines: Sequence[str], scope: dict[str, Any]) -> Callable[..., Any]:
    used = dict.fromkeys(re.findall(r"\bx_(\w+)\(", "\n".join(lines)))
    lines = [*(f"x_{name} = xp.{name}" for name in used), *lines]
    source = "\n".join([f"def {signature}:", *(f"    {line}" for line in lines)])
    exec(compile(source, "<loop>", "exec"), scope)
    made: Callable[..., Any] = scope[signature.partition("(")[0]]
    made.source = source  # type: ignore[attr-defined]
    return made
