"""The gradients of one pointwise function, as sums of gradients times factors, in the code of a loop."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..codegen import Program, compiled
from ..factored import Factored, Terms
from .text import call_of
from .writer import Writer


class Place(NamedTuple):
    """Where the gradients of a slot go, at every step: into piece `j` of `n` of the array `rows`."""

    rows: str
    j: int = 0
    n: int = 1

    def whole(self) -> str:
        """The piece at all steps."""
        return self.rows if self.n == 1 else f"{self.rows}_{self.j}"

    def at_step(self) -> str:
        return f"{self.whole()}[t]"

    def wide(self, n: int) -> str:
        """This piece and those that follow, n together, below each other."""
        apart = f"{self.rows}.reshape(*{self.rows}.shape[:-1], {self.n}, -1)"
        return f"{apart}[..., {self.j}:{self.j + n}, :].swapaxes(1, 2)"

    def cuts(self, size: str) -> list[str]:
        """The lines that make views of the pieces, for all steps."""
        pieces = [f"{self.rows}_{j} = {self.rows}[..., {j} * m:{j + 1} * m]" for j in range(self.n)]
        return [f"m = {size} // {self.n}", *pieces] if self.n > 1 else []


class Factors:
    """Gradients of one call as sums of gradients times factors."""

    def __init__(
        self,
        back: Writer,
        number: int,
        call: Any,
        form: Factored,
        gradients: dict[str, str],
        where: dict[str, int],
    ) -> None:
        self.back, self.number, self.call, self.form = back, number, call, form
        self.gradients, self.where = gradients, where
        self.computed = {step.name for step in form.factors.steps}
        self.wanted: list[tuple[str, str]] = []  # factors, and where their values for a block go
        self.single: dict[str, str] = {}  # factors that lie by themselves
        self.puts: list[tuple[Place, str, str]] = []  # place, gradient, factor: products to come
        self.n_names = 0

    def _name(self) -> str:
        self.n_names += 1
        return f"v{self.number}_{self.n_names}"

    def _memory(self, n: int) -> str:
        """Memory for n factors of a block."""
        name, out = self._name().upper(), self.call.outs[0]
        pieces = f"{n}, " if n > 1 else ""
        self.back.head.append(f"{name} = xp.aligned((n_block, {pieces}*shapes[{out}]), dtypes[{out}])")
        self.back.sizes.append(f"{n} * size(shapes[{out}])")
        self.back.scope["size"] = math.prod
        return name

    def _factor(self, name: str) -> str:
        """The expression of a factor at a step."""
        if name not in self.computed:
            return str(self.back.piece(self.call, self.where[name], self.back.value))
        if name not in self.single:
            self.single[name] = self._memory(1)
            self.wanted.append((name, f"{self.single[name]}[:end - begin]"))
        return f"{self.single[name]}[t - first]"

    def total(self, terms: Terms, name: str = "", out: str = "") -> str:
        """The lines that add up terms, and the expression of the sum, which may be a gradient itself."""
        name = name or self._name()
        to = f", out={out}" if out else ""
        lines, sum_ = self.back.lines, ""
        for base, (number, factor) in terms.items():
            g = self.gradients[base]
            if factor is not None:
                lines.append(f"p = x_multiply({g}, {self._factor(factor)}{to if not sum_ else ''})")
                g = "p"
            elif number not in (1.0, -1.0) or (number == -1.0 and not sum_):
                lines.append(f"p = x_multiply({g}, {number!r}{to if not sum_ else ''})")
                g, number = "p", 1.0
            if not sum_:
                sum_ = g
            else:
                ufunc, to_p = "add" if number == 1.0 else "subtract", ", out=p" if g == "p" else ""
                lines.append(f"{name} = x_{ufunc}({sum_}, {g}{to or to_p})")
                sum_ = name
            if sum_ == "p":
                lines.append(f"{name} = p")
                sum_ = name
        if out and sum_ != name:
            lines.append(f"{out} = {sum_}")
        return sum_

    def put(self, terms: Terms | None, place: Place) -> None:
        """Sums terms up where they are wanted; a product of a gradient and a factor at the end, with those
        that go beside it.
        """
        if terms is None:
            self.back.head.append(f"{place.whole()}[...] = 0")
            return
        ((base, (_, factor)), *more) = terms.items()
        if more or factor is None:
            self.total(terms, out=place.at_step())
        else:
            self.puts.append((place, base, factor))

    def dead_gates(self, n: int, to_places: Iterable[Terms | None]) -> int | None:
        """The slot of gates with n chunks at least that are kept as a whole, where nothing reads them after
        the factors and the sums of a step are known; `to_places` are the products that are written last.
        """
        call, recorded = self.call, self.back.recorded
        fitting = [w for w, _, size in call.op.chunks.values() if n <= size]
        if not fitting:
            return None
        slot: int = call.outs[len(call.op.outputs) + fitting[0]]
        named = {f for terms in to_places if terms for _, f in terms.values() if f is not None}
        direct = {self.where[name] for name in named - self.computed}
        return None if slot not in recorded.stored or direct.intersection(call.op.chunks) else slot

    def finish(self, reads: Sequence[str], values: Sequence[str]) -> None:
        """Writes the products, and the code of the factors."""
        lines = self.back.lines
        self.puts.sort(key=lambda put: (put[0].rows, put[0].j))
        for base, places in self._neighbours():
            g = self.gradients[base]
            (first, factor), n = places[0], len(places)
            if n == 1:
                lines.append(f"x_multiply({g}, {self._factor(factor)}, out={first.at_step()})")
                continue
            memory = self._memory(n)
            self.wanted += [(factor, f"{memory}[:end - begin, {k}]") for k, (_, factor) in enumerate(places)]
            view = f"E{self.number}_{self.n_names}"
            self.back.head.append(f"{view} = {first.wide(n)}")
            lines.append(f"x_multiply({g}, {memory}[t - first], out={view}[t])")
        if self.wanted:
            program = Program([], "k", self.form.factors.steps, [name for name, _ in self.wanted])
            small = {
                *self.call.op.small,
                *(r for r, v in zip(reads, values, strict=True) if "block" not in v),
            }
            program = program.without_dead_steps()
            outside = program.outside()
            run = compiled(program, outside, range(len(self.wanted)), program.only_from(small))
            of, out, name = dict(zip(reads, values, strict=True)), self.call.outs[0], f"c{self.number}"
            given, into = [of[r] for r in outside], [place for _, place in self.wanted]
            like = f"(n_block, *shapes[{out}])", f"dtypes[{out}]"
            setup, block, _ = call_of(run, name, given, into, len(into), self.back.scope, like)
            self.back.head += setup
            self.back.of_block += [re.sub(r"out=(c\d+_t_\w+)", r"out=\1[:end - begin]", b) for b in block]

    def _neighbours(self) -> Iterable[tuple[str, list[tuple[Place, str]]]]:
        """Products by the same gradient whose places are beside each other."""
        run: list[tuple[Place, str]] = []
        before = ""
        flat = self.back.recorded.ndims[self.call.outs[0]] != 2
        for place, base, factor in self.puts:
            if run and (flat or (place.rows, place.j, base) != (run[-1][0].rows, run[-1][0].j + 1, before)):
                yield before, run
                run = []
            run.append((place, factor))
            before = base
        if run:
            yield before, run
