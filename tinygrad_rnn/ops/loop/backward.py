"""The Python code of a recorded step, all time steps backwards. See text.py.

Steps are gone through from the last to the first, in blocks of some steps. At the start of a block the
factors of its pointwise functions are computed for all its steps (../factored.py, and factors.py here); what
is left for each step is to multiply the gradients by them, and the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...engine.rules import is_identity
from ..factored import Factored, Terms
from ..linalg import BY_ROWS, LEFT
from .factors import Factors, Place
from .plan import Recorded
from .text import call_of, flat, function, wide
from .writer import Writer

BLOCK = 1 << 16  # numbers that the factors of a block may have: they should stay in the cache
ALIKE = 512  # rows of all steps from which on a weight is worth transposing for them


def backward(recorded: Recorded, of_outputs: bool) -> Callable[..., Any]:
    """The code of all steps backwards; `of_outputs`: whether the outputs have gradients."""
    key = ("back", of_outputs)
    if key not in recorded.codes:
        recorded.codes[key] = Backward(recorded, of_outputs).made
    return recorded.codes[key]


class Backward(Writer):
    """Writes the code of the way back, call by call."""

    def __init__(self, recorded: Recorded, of_outputs: bool) -> None:
        super().__init__(recorded)
        self.found: dict[int, str] = {}  # the expression of each slot's gradient
        self.rows: dict[int, str] = {}  # where the gradients of a slot at all steps lie below each other
        self.n_uses: dict[int, int] = {}
        for call in recorded.back:
            for ref, parent in zip(call.refs, call.parents, strict=True):
                self.n_uses[ref] = self.n_uses.get(ref, 0) + bool(parent)
        self.pieces: dict[int, Place] = {}  # of what a split made
        for number, call in enumerate(recorded.back):
            if recorded.is_even_split(call) and call.parents[0] is not None:
                self._place_pieces(f"D{number}_0", call)
        # The places of gradients that come from one call alone.
        self.places = {slot: place for slot, place in self.pieces.items() if self.n_uses.get(slot) == 1}
        if of_outputs:
            self.found[recorded.output] = "of_outputs[t]"
        for k, slot in enumerate(recorded.new_states, start=1):
            if recorded.needs[k] or recorded.needs[slot]:
                self._add(slot, f"h{k}")
        for number, call in enumerate(recorded.back):
            if call.fused:
                self._fused(number, call)
            elif call.outs[0] in self.pieces:
                self._split(number, call)
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

    def _fitting(self, ref: int, name: str) -> None:
        """The line that brings a gradient to the shape and type of what it belongs to."""
        if ref not in self.recorded.constant_set:
            self.head += [f"h_{ref}, t_{ref} = shapes[{ref}], dtypes[{ref}]"]
            test = f"type({name}) is not kind or {name}.shape != h_{ref} or {name}.dtype != t_{ref}"
            self.lines.append(f"if {test}: {name} = fit({ref}, {name})")

    # ------------------------------------------------------------ pointwise functions

    def _fused(self, number: int, call: Any) -> None:
        """A pointwise function: the gradients of its arguments, in the places where they are wanted."""
        present = tuple(out in self.found for out in call.outs)
        if not any(present):
            return
        own = [
            i for i, (ref, n) in enumerate(zip(call.refs, call.op.pieces, strict=True))
            if call.needs[i] and n == 1 and ref not in self.places
            and (ref in self.recorded.constant_set if call.op.is_row(i) else self._wanted_in_rows(ref))
        ]  # fmt: skip
        form = call.op.factored_of(present, call.needs) if self.recorded.language == "python" else None
        if form is None or not self._by_factors(number, call, present, own, form):
            self._by_program(number, call, present, own)

    def _rows_of(self, number: int, call: Any, i: int, over: int | None = None) -> Place:
        """The memory for the gradients of an argument at all steps: that of the slot `over`, which is large
        enough, if what is kept may be written over because the node is about to be freed.
        """
        ref, n = call.refs[i], call.op.pieces[i]
        place = Place(f"D{number}_{i}", 0, n)
        shape = call.outs[0] if call.op.is_row(i) else ref  # a bias: summed over all steps at last
        fresh = f"lend((len(order), *shapes[{shape}]), dtypes[{ref}])"
        if over is not None:
            again = f"stored[{over}].reshape(len(order), *shapes[{ref}][:-1], -1)[..., :shapes[{ref}][-1]]"
            fresh = f"{again} if spent else {fresh}"
        self.head.append(f"{place.rows} = {fresh}")
        self.head += place.cuts(f"shapes[{ref}][-1]")
        return place

    def _hand_on(self, number: int, call: Any, i: int, rows: str) -> None:
        """Says that the gradients of an argument lie in `rows`."""
        if call.op.is_row(i):
            self.tail.append(f"add({call.refs[i]}, {rows})")
        else:
            self.lines.append(f"d{number}_{i} = {rows}[t]")
            self._add(call.refs[i], f"d{number}_{i}", rows)

    def _by_factors(
        self, number: int, call: Any, present: tuple[bool, ...], own: Sequence[int], form: Factored
    ) -> bool:
        """By factors that are computed for a block of steps. False where what they read is not at hand."""
        # Which result or piece has a value: results, without the wholes behind them, then pieces.
        where = {name: i for i, name in enumerate((*call.op.outputs, *call.op.program.inputs))}
        reads = form.factors.outside()
        values = [self.piece(call, where[name], self.values) for name in reads]
        if any(value is None for value in values):
            return False
        given = (self.found[out] for out in call.outs if out in self.found)
        gradients = {f"g{k}": expression for k, expression in enumerate(given)}
        work = Factors(self, number, call, form, gradients, where)
        for name, terms in form.sums.items():
            gradients[name] = work.total(terms)
        results = iter(form.results)
        of = {
            i: [next(results) for _ in range(n)]
            for i, (n, need) in enumerate(zip(call.op.pieces, call.needs, strict=True))
            if need
        }
        to_places = [
            t for i, ts in of.items() for t in ts if len(ts) > 1 or i in own or call.refs[i] in self.places
        ]
        # Of the arguments in pieces the last: behind an input that is the one which a product waits for.
        heir = max((i for i, ts in of.items() if len(ts) > 1), default=None)
        made: dict[Any, str] = {}  # rows by what is in them: what is the same is not made twice
        pieces: dict[Any, str] = {}
        waiting: list[tuple[int, str]] = []
        placed: list[int] = []
        single: list[tuple[int, Terms]] = []
        for i, terms_of in of.items():
            ref, n = call.refs[i], len(terms_of)
            if n > 1 or i in own:
                key = tuple(None if t is None else tuple(t.items()) for t in terms_of)
                rows = made.get(key) or (pieces.get(key[0]) if n == 1 and call.op.is_row(i) else None)
                if rows is None:
                    over = work.dead_gates(n, to_places) if i == heir else None
                    rows = made[key] = self._rows_of(number, call, i, over).rows
                    for j, t in enumerate(terms_of):
                        work.put(t, Place(rows, j, n))
                        pieces[key[j]] = Place(rows, j, n).whole()
                waiting.append((i, rows))
            elif ref in self.places:
                work.put(terms_of[0], self.places[ref])
                placed.append(ref)
            elif terms_of[0] is not None:
                single.append((i, terms_of[0]))
        summed = [(i, work.total(terms, f"x{number}_{i}")) for i, terms in single]
        work.finish(reads, [str(v) for v in values])
        for ref in placed:
            self._add(ref, self.places[ref].at_step())
        for i, rows in waiting:
            self._hand_on(number, call, i, rows)
        for i, expression in summed:
            if call.op.is_row(i):
                self._fitting(call.refs[i], expression)
            self._add(call.refs[i], expression)
        return True

    def _by_program(self, number: int, call: Any, present: tuple[bool, ...], own: Sequence[int]) -> None:
        """By the reverse program as it stands, step by step."""
        given = [self.found[out] for out in call.outs if out in self.found]
        program, outside, run = call.op.reverse_of(present, call.needs, tuple(own))
        values = given + [str(self.piece(call, i, self.value)) for i in outside.values()]
        places, k = [], 0
        results: list[tuple[int, int, str, int]] = []
        for i, (ref, n, need) in enumerate(zip(call.refs, call.op.pieces, call.needs, strict=True)):
            if not need:
                continue
            if n > 1 or i in own:
                place = self._rows_of(number, call, i)
                places += [Place(place.rows, j, n).at_step() for j in range(n)]
                results.append((i, ref, place.rows, k))
            elif program.results[k] is not None:
                results.append((i, ref, "", k))
            k += n
        setup, lines, found = call_of(run, f"r{number}", values, places, len(program.results), self.scope)
        self.head += setup
        self.lines += lines
        for i, ref, rows, k in results:
            if rows:
                self._hand_on(number, call, i, rows)
                continue
            self.lines.append(f"x{number}_{i} = {found[k]}")
            if call.op.is_row(i):
                self._fitting(ref, f"x{number}_{i}")
            self._add(ref, f"x{number}_{i}")

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

    # ------------------------------------------------------------ other ops

    def _place_pieces(self, rows: str, call: Any) -> None:
        (ref,), n = call.refs, len(call.outs)
        self.head.append(f"{rows} = lend((len(order), *shapes[{ref}]), dtypes[{ref}])")
        for j, out in enumerate(call.outs):
            self.pieces[out] = Place(rows, j, n)
        self.head += self.pieces[call.outs[0]].cuts(f"shapes[{ref}][-1]")

    def _split(self, number: int, call: Any) -> None:
        """The gradients of the pieces lie beside each other already, or are laid there."""
        if not any(out in self.found for out in call.outs):
            return
        (ref,), rows = call.refs, f"D{number}_0"
        for out in call.outs:
            place = self.pieces[out]
            if out not in self.found:
                self.head.append(f"{place.whole()}[...] = 0")
            elif self.found[out] != place.at_step():
                self.lines.append(f"{place.at_step()} = {self.found[out]}")
        self.lines.append(f"d{number}_0 = {rows}[t]")
        self._add(ref, f"d{number}_0", rows)

    def _primitive(self, number: int, call: Any) -> None:
        op = call.op
        if op.joint is not None or call.several:
            gs = [self.found.get(out, "None") for out in call.outs]
            if all(g == "None" for g in gs):
                return
            values = [f"({', '.join(gs)},)" if call.several else gs[0]]
            for v in call.values:
                several = isinstance(v, tuple)
                values.append(f"({''.join(self.value(i) + ',' for i in v)})" if several else self.value(v))
            self.scope[f"op{number}"], self.scope[f"p{number}"] = op, call.parents
            rows = self._rows_for(number, call)
            place = f", d{number}_0" if rows else ""
            if rows:
                self.lines.append(f"d{number}_0 = {rows}[t]")
            self.lines.append(f"r = op{number}.gradients([{', '.join(values)}], p{number}{place})")
            if rows:
                self._add(call.refs[0], f"d{number}_0", rows)
            for i, (ref, parent) in enumerate(zip(call.refs, call.parents, strict=True)):
                if parent and not (rows and i == 0):
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
            if reads == [self.recorded.gradient] and is_identity(rule) and call.alike[call.refs.index(ref)]:
                self._add(ref, g, self.rows.get(out, ""))
            elif self._by_rows(number, i, call, ref, rule, reads):
                continue
            elif rule in LEFT and self._by_transposed(number, call, ref):
                self.lines.append(f"{name} = x_matmul({g}, w{number})")
                self._add(ref, name)
            else:
                self.scope[f"q{number}_{i}"] = rule
                given = [g if r == self.recorded.gradient else self.value(r) for r in reads]
                for k, r in enumerate(reads):
                    if self.recorded.row_beside_rows(call, r):
                        self.head.append(wide(r, out))
                        given[k] = f"W{r}_{out}"
                if is_product(rule) and self._product(number, i, call, ref, given):
                    continue
                self.lines.append(f"{name} = q{number}_{i}({', '.join(given)})")
                self._fitting(ref, name)
                self._add(ref, name)

    def _product(self, number: int, i: int, call: Any, ref: int, factors: list[str]) -> bool:
        """A product in memory that is used again at each step, where nobody holds it for longer: the gradient
        of a row, which is summed at once, or one that a rule is given which writes elsewhere.
        """
        recorded, (out,) = self.recorded, call.outs
        alike = all(recorded.dtypes[r] == recorded.dtypes[out] for r in call.refs)
        maker = next((c for c in recorded.back if ref in c.outs), None)
        is_row = recorded.row_beside_rows(call, ref)
        goes_on = maker is not None and recorded.writes(maker) and self.n_uses.get(ref) == 1
        if (
            recorded.language != "python"
            or not alike
            or not (is_row or (goes_on and self._is_like(call, ref)))
        ):
            return False
        memory = f"Q{number}_{i}"
        self.head.append(f"{memory} = xp.aligned(shapes[{out}], dtypes[{out}])")
        self.lines.append(f"x_multiply({', '.join(factors)}, out={memory})")
        if is_row:
            self.lines.append(f"add({ref}, x_column_sums({memory}))")
        else:
            self._add(ref, memory)
        return True

    def _is_like(self, call: Any, ref: int) -> bool:
        """Whether an argument of a call has the result's shape."""
        alike: bool = call.alike[call.refs.index(ref)]
        return alike

    def _rows_for(self, number: int, call: Any) -> str:
        """The memory to which a rule for all writes the first argument's gradient at each step, if it is
        wanted so.
        """
        ref, recorded = call.refs[0], self.recorded
        if not (
            call.op.joint_writes and call.parents[0] and recorded.writes(call) and self._wanted_in_rows(ref)
        ):
            return ""
        self.head.append(f"D{number}_0 = lend((len(order), *shapes[{ref}]), dtypes[{ref}])")
        return f"D{number}_0"

    def _by_transposed(self, number: int, call: Any, ref: int) -> bool:
        """A factor's gradient by the other, a constant weight, transposed: once for all steps, where they are
        many, because a product with rows in a row is faster.
        """
        recorded = self.recorded
        product = recorded.product_of(call)
        if product is None or recorded.varies(product[1]):
            return False
        weight = product[1]
        self.head += [
            f"w{number} = {self.value(weight)}.T",
            f"if len(order) * shapes[{ref}][0] >= {ALIKE}: w{number} = xp.ascontiguousarray(w{number})",
        ]
        return True

    def _by_rows(self, number: int, i: int, call: Any, ref: int, rule: Any, reads: list[int]) -> bool:
        """The gradient of a constant by one run of the rule over all steps, where they lie in rows."""
        recorded = self.recorded
        gradient, out = self.rows.get(call.outs[0]), call.outs[0]
        if not (rule in BY_ROWS and gradient and ref in recorded.constant_set):
            return False
        moving = [r for r in reads if r != recorded.gradient and recorded.varies(r)]
        if len(moving) != 1 or recorded.ndims[moving[0]] != 2 or recorded.ndims[out] != 2:
            return False
        rows = self.values(moving[0])
        if rows is None:
            return False
        self.scope[f"q{number}_{i}"] = rule
        rows = rows.removesuffix("[block]")
        given = [
            f"flat({gradient})" if r == recorded.gradient else f"flat({rows})" if r in moving else f"s{r}"
            for r in reads
        ]
        self.read.update(r for r in reads if r != recorded.gradient and r not in moving)
        self.tail.append(f"add({ref}, q{number}_{i}({', '.join(given)}))")
        return True

    # ------------------------------------------------------------ the frame

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
        steps, head = [], [f"S{slot} = stored[{slot}]" for slot in recorded.stored]
        head += [f"I{slot} = stored[-{slot}]" for slot in recorded.initials]
        head += [f"P{slot} = befores[{slot}]" for slot in recorded.befores]
        for slot in sorted(self.read | self.read_whole):
            if slot in recorded.chunks:
                whole, j, _ = recorded.chunks[slot]
                head.append(f"S{slot} = stored[{whole}][:, {j}]")
            if not recorded.varies(slot):
                head.append(f"s{slot} = template[{slot}]")
            elif slot in self.read:
                steps.append(f"s{slot} = {self._at_step(slot)}")
        if self.sizes:
            head.append(f"n_block = max(1, min(len(order), {BLOCK} // max(1, {' + '.join(self.sizes)})))")
        else:
            head.append("n_block = max(1, len(order))")
        body = [
            "for end in range(len(order), 0, -n_block):",
            "    begin = max(0, end - n_block)",
            "    first = min(order[begin], order[end - 1])",
            "    block = slice(first, first + end - begin)",
            *(f"    {line}" for line in self.of_block),
            "    for i in range(end - 1, begin - 1, -1):",
            "        t = order[i]",
            *(f"        {line}" for line in (*steps, *self.lines)),
        ]
        text = ["lend, kind = xp.lend, xp.array_type", *head, *self.head, *body, *self.tail]
        self.scope["flat"] = flat
        arguments = "stored, befores, spent, of_outputs, states, template, order, shapes, dtypes, fit, add"
        return function(f"backward(xp, {arguments})", [*text, "return of_inputs, states"], self.scope)

    def _at_step(self, slot: int) -> str:
        """The value of a slot at a step, where it is kept."""
        recorded = self.recorded
        where = "rows" if slot in recorded.chunks else recorded.stored.get(slot)
        if where is not None:
            return f"S{slot}[{'t' if where == 'rows' else 'i'}]"
        if slot in recorded.befores:
            return f"P{slot}[t]"
        new = recorded.new_states[slot - 1]  # a state: what the step before has made
        index = "t - order.step" if recorded.stored[new] == "rows" else "i - 1"
        return f"S{new}[{index}] if i else I{slot}"


class _Factor:
    """Stands for an argument of a rule: what it is multiplied by says so."""

    def __mul__(self, other: Any) -> Any:
        return {self, other}


def is_product(rule: Any) -> bool:
    """Whether a rule of the gradient and one value multiplies them."""
    g, value = _Factor(), _Factor()
    try:
        return bool(rule(g, value) == {g, value})
    except Exception:  # it does something else with them
        return False
