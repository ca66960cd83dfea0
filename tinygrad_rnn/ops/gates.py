"""Gates: neighbouring chunks of an argument, or of a sum of arguments, that go through sigmoid or tanh."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .codegen import Program, Step


class Gates:
    """Chunks beside each other, of which each goes through sigmoid or tanh and nothing else; they may be
    sums, x_k + u_k, of chunks of several arguments.

    That is done to all of them at once: a sigmoid is a tanh, scaled and moved, 0.5 * tanh(0.5 * x) + 0.5, so
    one tanh over the whole array serves both. The last pass may write each chunk to a place of its own, where
    its rows follow each other: what reads them is then several times faster than on pieces of longer rows.
    """

    def __init__(
        self,
        arguments: tuple[tuple[str, int], ...],
        n_chunks: int,
        sums: list[str],
        values: list[str],
        is_sigmoid: list[bool],
    ) -> None:
        self.arguments = arguments  # names, and of each the number of the first chunk
        self.n_chunks = n_chunks  # of each argument
        self.sums = sums  # names of the sums, where there are several arguments
        self.values, self.is_sigmoid = values, is_sigmoid  # the activated chunks
        self.beside: tuple[str, ...] = ()  # other values, laid below the chunks where these have a place

    @property
    def of_all(self) -> str | None:
        """The argument of which these are all the chunks, if it is one."""
        ((name, _), *more) = self.arguments
        return name if not more and len(self.values) == self.n_chunks else None

    @functools.cached_property
    def constants(self) -> Callable[..., tuple[Any, Any]]:
        """A function of (xp, shape and type of an argument, whether chunks get places of their own): scale
        and shift for each element, because rows that are broadcast take twice the time.
        """
        latest: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()

        def constants(xp: Any, shape: tuple[int, ...], dtype: Any, apart: bool) -> tuple[Any, Any]:
            key = (xp, shape[1:], dtype, apart)
            found = latest.get(key)
            n, size = shape[0], shape[-1] // self.n_chunks
            if found is not None and found[0].shape[0] < n:
                found = None

            def make() -> tuple[Any, Any]:
                row = xp.asarray(
                    [0.5 if s else 0.0 for s in self.is_sigmoid for _ in range(size)], dtype=dtype
                )
                wide = (*shape[:-1], row.shape[0])
                scale, shift = xp.aligned(wide, dtype), xp.aligned(wide, dtype)
                scale[...], shift[...] = 1 - row, row
                if apart:
                    shift = shift.reshape(n, len(self.values), size).swapaxes(0, 1)
                    shift, beside = xp.aligned(shift.shape, dtype), shift
                    shift[...] = beside
                return scale, shift

            if found is None or xp.device_type != "cpu":
                found = latest[key] = xp.kept(make, found)
                while len(latest) > 4:  # as large as a step's gates: some shapes at a time
                    latest.popitem(last=False)
            scale, shift = found
            if scale.shape[0] == n:
                return found
            return scale[:n], shift[:, :n] if apart else shift[:n]  # fewer rows than before

        return constants

    def whole(self) -> str:
        """The name of the array of all activated chunks."""
        name, first = self.arguments[0]
        return f"w_{name}_{first}"

    def setup(self, apart: bool) -> list[str]:
        """The lines that need nothing of the arguments but their shape and type."""
        w, a = self.whole(), self.arguments[0][0]
        lines = [] if self.of_all else [f"m_{w} = {a}.shape[-1] // {self.n_chunks}"]
        if any(self.is_sigmoid):
            lines.append(f"scale_{w}, shift_{w} = constants_{w}(xp, {a}.shape, {a}.dtype, {apart})")
        return lines

    def shape(self) -> str:
        """The expression of the shape of all of them side by side."""
        a = self.arguments[0][0]
        return f"{a}.shape" if self.of_all else f"(*{a}.shape[:-1], {len(self.values)} * m_{self.whole()})"

    def forward(self, place: str | None, scratch: bool) -> list[str]:
        """The lines that compute the values: chunk by chunk below each other in `place`, if that is given; in
        the memory of the argument, if that is `scratch`.
        """
        w, n = self.whole(), len(self.values)
        place = f"{place}[:{n}]" if place and self.beside else place
        lines, source = self._summed()
        to = f", out={source if lines or (scratch and self.of_all) else f't_{w}'}"
        side_by_side = f"{{}}.reshape({{}}.shape[0], {n}, -1).swapaxes(0, 1)"
        if any(self.is_sigmoid):
            lines.append(f"{w} = xp.multiply({source}, scale_{w}{to})")
            lines += [f"xp.tanh({w}, out={w})", f"xp.multiply({w}, scale_{w}, out={w})"]
            done = side_by_side.format(w, w) if place else w
            lines.append(f"{w} = xp.add({done}, shift_{w}, out={place or w})")
        else:
            given = side_by_side.format(source, source) if place else source
            lines.append(f"{w} = xp.tanh({given}, out={place})" if place else f"{w} = xp.tanh({source}{to})")
        if place:
            return [*lines, *(f"{name} = {w}[{k}]" for k, name in enumerate(self.values))]
        lines.append(f"n_{w} = {w}.shape[-1] // {n}")
        return lines + [
            f"{name} = {w}[..., {k} * n_{w}:{k + 1} * n_{w}]" for k, name in enumerate(self.values)
        ]

    def _summed(self) -> tuple[list[str], str]:
        """The lines that add up the arguments in memory of their own, and the expression of the sum; of a
        single argument its chunks.
        """
        w, n = self.whole(), len(self.values)
        if self.of_all:
            return [], self.of_all
        parts = [f"{a}[..., {k} * m_{w}:{k + n} * m_{w}]" for a, k in self.arguments]
        if len(parts) == 1:
            return [], parts[0]
        lines = [f"{w} = xp.add({parts[0]}, {parts[1]}, out=t_{w})"]
        return lines + [f"xp.add({w}, {part}, out={w})" for part in parts[2:]], w


def find_gates(program: Program, small: set[str]) -> list[Gates]:
    """The gates of a program: chunks beside each other in all arguments that they are sums of."""
    place = {
        piece: (argument, k) for argument, pieces in program.packs.items() for k, piece in enumerate(pieces)
    }
    readers: dict[str, list[Step]] = {}
    for step in program.steps:
        for name in step.reads():
            readers.setdefault(name, []).append(step)
    found: list[Gates] = []
    for step in program.steps:
        if step.op.name not in ("sigmoid", "tanh"):
            continue
        chunks, sums = _summands(step, program, place, readers, small)
        if not chunks:
            continue
        n_chunks = len(program.packs[place[chunks[0]][0]])
        arguments = tuple(place[c] for c in chunks)
        found.append(Gates(arguments, n_chunks, sums, [step.name], [step.op.name == "sigmoid"]))
    joined = _joined(found)
    return [g for g in joined if len(g.values) > 1]


def _summands(
    step: Step,
    program: Program,
    place: dict[str, tuple[str, int]],
    readers: dict[str, list[Step]],
    small: set[str],
) -> tuple[list[str], list[str]]:
    """The chunks that a step reads, itself or their sum, and nobody else does, and the names of the sums."""
    (operand,) = step.operands
    made = {s.name: s for s in program.steps}
    chunks, sums, todo = [], [], [operand]
    while todo:
        name = todo.pop(0)
        if not isinstance(name, str) or len(readers[name]) != 1 or name in program.results or name in small:
            return [], []
        if name in place:
            chunks.append(name)
        elif name in made and made[name].op.name == "add":
            sums.append(name)
            todo += made[name].operands
        else:
            return [], []
    if len({len(program.packs[place[c][0]]) for c in chunks}) != 1 or len({*chunks}) != len(chunks):
        return [], []
    return sorted(chunks, key=lambda c: place[c]), sums


def _joined(gates: list[Gates]) -> list[Gates]:
    """Gates whose chunks follow each other in every argument are one."""
    found: list[Gates] = []
    for own in sorted(gates, key=lambda g: [(name, k) for name, k in g.arguments]):
        before = found[-1] if found else None
        after = before and tuple((name, k + len(before.values)) for name, k in before.arguments)
        if before is not None and after == own.arguments and own.n_chunks == before.n_chunks:
            found[-1] = Gates(
                before.arguments,
                before.n_chunks,
                before.sums + own.sums,
                before.values + own.values,
                before.is_sigmoid + own.is_sigmoid,
            )
        else:
            found.append(own)
    return found
