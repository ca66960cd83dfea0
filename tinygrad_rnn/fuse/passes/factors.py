"""The reverse of a step as sums of gradients times factors.

Reverses are linear in the gradients. So each elementwise value that depends on one can be written as a sum of
terms, a gradient times a factor, where the factors are made of forward values alone. For an LSTM:

    d_c = g_c + g_h * [o * (1 - tanh(c)^2)]
    d_i, d_f, d_g = d_c * [g * i * (1 - i)], d_c * [c0 * f * (1 - f)], d_c * [i * (1 - g^2)]
    d_o, d_c0 = g_h * [tanh(c) * o * (1 - o)], d_c * [f]

Over many time steps the factors, in brackets, wait for no gradient: a loop computes them for many steps at
once, and is left with the few products that do wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...engine import REGISTRY, primitive
from ...ops import elementwise as e
from ...ops.index import pick
from ..ir import Block, Builder, Instr, N, Ref, Type, primitive_of, sub_block
from ..trace import detached

ADD, SUB, MUL, DIV, NEG, NOT = map(primitive_of, (e.add, e.sub, e.mul, e.div, e.neg, e.logical_not))
WHERE, CONCAT = REGISTRY["where"], REGISTRY["concat"]


@primitive(vjp=None)
def below(xp: Any, *xs: Any) -> Any:
    """Arrays of one shape below each other, along a new axis before the last two."""
    return xp.stack(xs, -3)


class Factored(NamedTuple):
    """`factors` computes, of forward values, what `block` reads beside gradients."""

    factors: Block
    block: Block


class Factor(NamedTuple):
    """A number times a forward value, or the number alone."""

    number: float
    value: Ref | None


Terms = dict[Ref, Factor]  # a sum: by gradient


def factored(reverse: Block, n_seeds: int) -> Factored:
    """The same as a reverse whose first parameters are gradients, with elementwise work on forward values
    moved into a block of its own. The results of that block are the last parameters of the other.
    """
    return _Sorter(reverse, n_seeds).sort()


class _Sorter:
    def __init__(self, reverse: Block, n_seeds: int) -> None:
        self.old = reverse
        self.linear = reverse.depending_on(reverse.params[:n_seeds])
        # What is computed of constants alone belongs to neither: it is the same at every step.
        self.moving = reverse.depending_on(reverse.params)
        self.given = {*reverse.params, *reverse.constants}
        self.factors, self.build, self.fixed = Builder(reverse), Builder(reverse), Builder(reverse)
        self.factors.new = self.fixed.new = self.build.new  # type: ignore[method-assign]
        self.terms: dict[Ref, Terms] = {r: {r: Factor(1.0, None)} for r in reverse.params[:n_seeds]}
        self.computed: dict[Ref, Ref] = {}  # of a linear value: where it is now
        self.hoisted: set[Ref] = set()  # made by `factors`
        self.same = {*reverse.constants}  # and what is made by `fixed`, of constants alone
        self.known: dict[Any, Ref] = {}  # factors by what they are

    def sort(self) -> Factored:
        old = self.old
        waiting = [r for r in old.results if r is not None]
        for instr in old.instructions:
            if self.linear.isdisjoint(instr.outs):
                self._forward_value(instr)
            elif not self._as_terms(instr):
                for r in waiting:  # before what follows, which may write over what these read
                    if r in self.terms and r not in instr.reads():
                        self.value(r)
                self._as_it_is(instr)
        results = [None if r is None else self._result(r) for r in old.results]
        block = self.build.block(results)
        read = {r for i in block.instructions for r in i.reads()} | {*results}
        made = [r for r in self.hoisted if r in read]
        block.params = [*old.params, *made]
        factors = self.factors.block(made)
        if self.fixed.instructions:  # each of the two works out what it reads of them
            for each in (factors, block):
                each.instructions = [*self.fixed.instructions, *each.instructions]
                each.instructions = sub_block(each, each.results, made if each is block else ()).instructions
        return Factored(factors, block)

    def _result(self, r: Ref) -> Ref:
        """A result of the step: a factor, which lasts for a block of steps, is copied."""
        return self.build(detached, r, type=r.type) if r in self.hoisted else self.value(r)

    def _forward_value(self, instr: Instr) -> None:
        """An instruction that reads no gradient: one for all steps at once, if it can be."""
        can = instr.op.elementwise and not self.moving.isdisjoint(instr.reads())
        if can and all(r in self.hoisted or r in self.given for r in instr.reads()):
            self.factors.instructions.append(instr)
            self.hoisted.update(instr.outs)
        else:
            self.build.instructions.append(instr)

    def _as_it_is(self, instr: Instr) -> None:
        args: list[Any] = []
        if instr.op is CONCAT:
            args = self._side_by_side(instr)
        else:
            args = [self.value(a) if a in self.linear else a for a in instr.args]  # type: ignore[arg-type]
        self.build.instructions.append(
            Instr(instr.op, tuple(args), instr.settings, instr.outs, instr.several)
        )
        for out in instr.outs:
            self.terms[out] = {out: Factor(1.0, None)}
            self.computed[out] = out

    # ------------------------------------------------------------ terms

    def _as_terms(self, instr: Instr) -> bool:
        """Writes an elementwise result as a sum of terms; False where it is none."""
        first, second = (*instr.args, None)[:2]
        found: Terms | None = None
        if instr.op in (MUL, DIV, NEG, ADD, SUB, WHERE):
            of = [a for a in instr.args if type(a) is Ref and a in self.linear]
            if any(a.type != instr.out.type for a in of):
                return False
            if instr.op is NEG:
                found = {base: Factor(-n, f) for base, (n, f) in self.terms[first].items()}  # type: ignore[index]
            elif instr.op in (ADD, SUB) and len(of) == 2:
                found = dict(self.terms[of[0]])
                sign = 1.0 if instr.op is ADD else -1.0
                for base, (n, f) in self.terms[of[1]].items():
                    found[base] = self._added(found.get(base, Factor(0.0, None)), Factor(sign * n, f))
            elif instr.op is MUL and len(of) == 1:
                found = self._scaled(of[0], second if of[0] is first else first, MUL)
            elif instr.op is DIV and of == [first]:
                found = self._scaled(of[0], second, DIV)
            elif instr.op is WHERE and first not in self.linear:
                found = self._chosen(first, *instr.args[1:])
        if found is None:
            return False
        self.terms[instr.out] = found
        return True

    def _scaled(self, gradient: Ref, by: Any, op: Any) -> Terms | None:
        if by is N or (type(by) is Ref and not self._is_factor(by)):
            return None
        ((base, (n, f)),) = self._as_one(gradient).items()
        if type(by) is not Ref:
            return {base: Factor(n * by if op is MUL else n / by, f)}
        if by.dtype.kind != "f":
            by = self._as_number(by, base)
        if f is None and op is MUL:
            return {base: Factor(n, by)}
        return {base: Factor(n, self._emit(op, 1.0 if f is None else f, by))}

    def _is_factor(self, r: Ref) -> bool:
        """Whether a forward value can be read by `factors`: it is one, or saved, or a constant."""
        return r in self.hoisted or r in self.given

    def _chosen(self, condition: Any, a: Any, b: Any) -> Terms | None:
        """where(condition, a, b), of which one may be zero."""
        if not self._is_factor(condition):
            return None
        sides = [self.terms.get(x) if type(x) is Ref else {} if x == 0 else None for x in (a, b)]
        if sides[0] is None or sides[1] is None:
            return None
        terms: Terms = {}
        for base in {**sides[0], **sides[1]}:
            (n, f), (m, g) = (side.get(base, Factor(0.0, None)) for side in sides if side is not None)
            if f is None and g is None:
                if n and m:  # two numbers: an array of them would have no type of its own
                    return None
                chosen = condition if n else self._emit(NOT, condition)
                terms[base] = Factor(n or m, self._as_number(chosen, base))
            else:
                parts = [x if y is None else self._multiplied(y, x) for x, y in ((n, f), (m, g))]
                terms[base] = Factor(1.0, self._emit(WHERE, condition, *parts))
        return terms

    def _as_number(self, x: Ref, gradient: Ref) -> Ref:
        """A boolean or an integer as a number to calculate with."""
        return self._emit(MUL, x, 1.0, dtype=gradient.dtype)

    def _as_one(self, gradient: Ref) -> Terms:
        """Terms of one gradient: a sum of several is computed, and is a gradient of its own."""
        if len(self.terms[gradient]) != 1:
            self.value(gradient)
            self.terms[gradient] = {self.computed[gradient]: Factor(1.0, None)}
        return self.terms[gradient]

    def _added(self, a: Factor, b: Factor) -> Factor:
        (n, f), (m, g) = a, b
        if n == 0 or f is g:
            return Factor(n + m, g)
        left, right = (1.0 if x is None else x for x in (f, g))
        if n == 1 and m == -1:
            return Factor(1.0, self._emit(SUB, left, right))
        if n == -1 and m == 1:
            return Factor(1.0, self._emit(SUB, right, left))
        if n != 1:
            left = n if f is None else self._multiplied(f, n)
        if m != 1:
            right = m if g is None else self._multiplied(g, m)
        return Factor(1.0, self._emit(ADD, left, right))

    def _multiplied(self, value: Ref, number: float) -> Ref:
        if number == 1:
            return value
        return self._emit(NEG, value) if number == -1 else self._emit(MUL, value, number)

    def _emit(self, op: Any, *operands: Any, dtype: Any = None) -> Ref:
        """A factor computed of others."""
        key = (op, dtype, *operands)
        if key not in self.known:
            refs = [r for r in operands if type(r) is Ref]
            dtype = dtype or next((r.dtype for r in refs if r.dtype.kind == "f"), refs[0].dtype)
            kind = Type(_broadcast([r.shape for r in refs]), dtype)
            if all(r in self.same for r in refs):  # of constants alone: the same at every step
                self.known[key] = self.fixed(op, *operands, type=kind)
                self.same.add(self.known[key])
            else:
                self.known[key] = self.factors(op, *operands, type=kind)
                self.hoisted.add(self.known[key])
        return self.known[key]

    # ------------------------------------------------------------ values

    def value(self, r: Ref) -> Ref:
        """A linear value, computed from its terms now if it was not yet."""
        if r in self.computed or r not in self.linear:
            return self.computed.get(r, r)
        terms = [(base, *factor) for base, factor in self.terms[r].items() if factor.number != 0]
        total: Ref | None = None
        for base, number, factor in terms:
            term, sign = base, number
            if factor is not None:
                term, sign = self.build(e.mul, base, self._multiplied(factor, number), type=r.type), 1.0
            elif number not in (1.0, -1.0) or (number == -1.0 and total is None):
                term, sign = self.build(e.mul, base, number, type=r.type), 1.0
            total = (
                term
                if total is None
                else self.build(e.add if sign == 1.0 else e.sub, total, term, type=r.type)
            )
        if total is None:
            total = self.build(e.mul, next(iter(self.terms[r])), 0.0, type=r.type)
        self.computed[r] = total
        return total

    def _side_by_side(self, concat: Instr) -> list[Any]:
        """The arguments of a concatenation. Neighbours that are one gradient times different factors are one
        product of all.
        """
        args: list[Any] = []
        run: list[tuple[Ref, Ref, Factor]] = []  # value, gradient, factor

        def finish() -> None:
            if len(run) > 1:
                (first, base, _), n = run[0], len(run)
                rows, width = first.shape
                kind = Type((n, rows, width), first.dtype)
                factor = self.factors(
                    below,
                    *(self._multiplied(f.value, f.number) for _, _, f in run if f.value is not None),
                    type=kind,
                )
                self.hoisted.add(factor)
                product = self.build(e.mul, base, factor, type=kind)
                for k, (r, _, _) in enumerate(run):
                    self.computed[r] = self.build(pick, product, index=k, type=r.type)
            args.extend(self.value(r) for r, _, _ in run)
            run.clear()

        values: Any = concat.args
        for a in values:
            terms = self.terms.get(a) if type(a) is Ref else None
            one = next(iter(terms.items())) if terms and len(terms) == 1 and a not in self.computed else None
            fits = (
                one is not None
                and one[1].value is not None
                and one[1].value.type == a.type
                and len(a.shape) == 2
                and concat.settings["axis"] == 1
            )
            if run and (not fits or one[0] is not run[-1][1] or a.type != run[-1][0].type):  # type: ignore[index]
                finish()
            if fits:
                run.append((a, *one))  # type: ignore[misc]
            else:
                args.append(self.value(a) if a in self.linear else a)
        finish()
        return args


def _broadcast(shapes: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The shape that arrays of these shapes broadcast to, which they are known to do."""
    n_axes = max(map(len, shapes))
    axes = zip(*[(1,) * (n_axes - len(shape)) + shape for shape in shapes], strict=True)
    return tuple([next((size for size in sizes if size != 1), 1) for sizes in axes])
