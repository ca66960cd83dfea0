"""The reverse of a pointwise function as sums of gradients times factors.

Reverse programs are linear in the gradients. So each result can be written as a sum of terms, a gradient
times a factor, where the factors are made of forward values alone. For an LSTM:

    d_c = g_c + g_h * [o * (1 - tanh(c)^2)]
    d_i, d_f, d_g = d_c * [g * i * (1 - i)], d_c * [c0 * f * (1 - f)], d_c * [i * (1 - g^2)]
    d_o, d_c0 = g_h * [tanh(c) * o * (1 - o)], d_c * [f]

Over many time steps the factors, in brackets, wait for no gradient: a loop works them out for many steps at
once, and is left with the few products that do wait (loop/backward.py).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from . import elementwise as e
from .codegen import Program, Step

Factor: TypeAlias = "tuple[float, str | None]"  # a number times a forward value; None is 1
Terms: TypeAlias = "dict[str, Factor]"  # by gradient


class Factored(NamedTuple):
    """`factors` makes the factors, its results in any order, of forward values. `sums`, in order, are further
    gradients; `results` are those of the reverse program, None where one is zero.
    """

    factors: Program
    sums: dict[str, Terms]
    results: list[Terms | None]


def factored(reverse: Program) -> Factored | None:
    """The same as a reverse program, with its operations sorted into factors and sums; None where it has an
    operation that cannot be.
    """
    return _Sorter(reverse).sort()


class _Sorter:
    def __init__(self, reverse: Program) -> None:
        self.reverse = reverse
        self.factors = Program([], "k")
        self.names: dict[str, str] = {}  # of steps that read no gradient: what computes them in `factors`
        self.terms: dict[str, Terms] = {name: {name: (1.0, None)} for name in reverse.inputs}
        self.sums: dict[str, Terms] = {}

    def sort(self) -> Factored | None:
        for step in self.reverse.steps:
            if not any(o in self.terms for o in step.reads()):
                operands = tuple(self.names.get(o, o) if isinstance(o, str) else o for o in step.operands)
                self.names[step.name] = self.factors.emit(step.op, operands, step.settings)
                continue
            terms = self._of_step(step)
            if terms is None:
                return None
            self.terms[step.name] = terms
        results: list[Terms | None] = []
        for name in self.reverse.results:
            if name is not None and name not in self.terms:  # a gradient that depends on none
                return None
            results.append(None if name is None else self.terms[name])
        named: dict[str, None] = {}
        for terms in (*self.sums.values(), *(r for r in results if r is not None)):
            for base, (number, name) in [*terms.items()]:
                if number == 0:
                    del terms[base]
                    continue
                if name is not None and number != 1.0:
                    name, number = self._multiplied(name, number), 1.0
                    terms[base] = (number, name)
                if name is not None:
                    named[name] = None
        self.factors.results = [*named]
        results = [r or None for r in results]
        return Factored(self.factors.without_dead_steps(), self.sums, results)

    def _of_step(self, step: Step) -> Terms | None:
        first, second = (*step.operands, None)[:2]
        if step.op.name == "neg":
            return {base: (-n, f) for base, (n, f) in self.terms[str(first)].items()}
        if step.op.name in ("add", "sub"):
            if first not in self.terms or second not in self.terms:
                return None
            sign = 1.0 if step.op.name == "add" else -1.0
            terms = dict(self.terms[str(first)])
            for base, (n, f) in self.terms[str(second)].items():
                terms[base] = self._added(terms.get(base, (0.0, None)), (sign * n, f))
            return terms
        if step.op.name == "mul" and (first in self.terms) != (second in self.terms):
            return self._scaled(*((first, second) if first in self.terms else (second, first)), e.mul)
        if step.op.name == "div" and second not in self.terms:
            return self._scaled(first, second, e.div)
        if step.op.name == "where" and first not in self.terms:
            return self._chosen(str(first), *step.operands[1:])
        return None

    def _scaled(self, gradient: object, by: object, op: object) -> Terms:
        terms = self._as_one(str(gradient))
        ((base, (n, f)),) = terms.items()
        if isinstance(by, (int, float)):
            return {base: (n * by if op is e.mul else n / by, f)}
        factor = self.names.get(str(by), str(by))
        if f is None and op is e.mul:
            return {base: (n, factor)}
        return {base: (n, self._emit(op, 1.0 if f is None else f, factor))}

    def _chosen(self, condition: str, a: object, b: object) -> Terms | None:
        """where(condition, a, b): of which one may be zero."""
        condition = self.names.get(condition, condition)
        sides = [self.terms.get(str(x)) if isinstance(x, str) else {} if x == 0 else None for x in (a, b)]
        if sides[0] is None or sides[1] is None:
            return None
        terms: Terms = {}
        for base in (*sides[0], *(name for name in sides[1] if name not in sides[0])):
            (n, f), (m, g) = (side.get(base, (0.0, None)) for side in sides if side is not None)
            if f is None and g is None:
                if n and m:  # two numbers: an array of them would have no type of its own
                    return None
                terms[base] = (n, condition) if n else (m, self._emit(e.logical_not, condition))
            else:
                parts = [x if y is None else self._multiplied(y, x) for x, y in ((n, f), (m, g))]
                terms[base] = (1.0, self._emit(e._where, condition, *parts))
        return terms

    def _as_one(self, gradient: str) -> Terms:
        """Terms of one gradient: a sum of several becomes a gradient of its own."""
        terms = self.terms[gradient]
        if len(terms) > 1:
            self.sums[gradient] = terms
            terms = self.terms[gradient] = {gradient: (1.0, None)}
        return terms

    def _added(self, a: Factor, b: Factor) -> Factor:
        (n, f), (m, g) = a, b
        if n == 0 or f == g:
            return (n + m, g)
        left, right = (1.0 if name is None else name for name in (f, g))
        if n == 1 and m == -1:
            return (1.0, self._emit(e.sub, left, right))
        if n == -1 and m == 1:
            return (1.0, self._emit(e.sub, right, left))
        if n != 1:
            left = n if f is None else self._multiplied(f, n)
        if m != 1:
            right = m if g is None else self._multiplied(g, m)
        return (1.0, self._emit(e.add, left, right))

    def _multiplied(self, name: str, number: float) -> str:
        if number == 1:
            return name
        return self._emit(e.neg, name) if number == -1 else self._emit(e.mul, name, number)

    def _emit(self, op: object, *operands: str | float) -> str:
        primitive = op.primitive  # type: ignore[attr-defined]
        return self.factors.emit(primitive, operands, dict(primitive.defaults))
