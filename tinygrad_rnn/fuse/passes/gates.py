"""Gates: neighbouring pieces of a value, or of a sum of values, that go through sigmoid or tanh.

All of them go through one tanh: a sigmoid is a tanh, scaled and moved, 0.5 * tanh(0.5 * x) + 0.5. The last
pass lays the pieces below each other, where the rows of each follow each other: what reads them is then
several times faster than on pieces of longer rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...engine import REGISTRY, primitive
from ...ops import elementwise as e
from ...ops.index import pick
from ..ir import Block, Builder, Instr, Ref, Type, primitive_of

SIGMOID, TANH, ADD, SPLIT = *map(primitive_of, (e.sigmoid, e.tanh, e.add)), REGISTRY["split"]
RESHAPE, PERMUTE = REGISTRY["reshape"], REGISTRY["permute"]


@primitive(vjp=None)
def by_piece(xp: Any, *, values: tuple[float, ...], shape: tuple[int, ...], stacked: bool, dtype: Any) -> Any:
    """An array with a number for each of equal pieces along the last axis, or the first if `stacked`."""
    row = xp.asarray(values, dtype=dtype)
    made = xp.aligned(shape, dtype)
    if stacked:
        made[...] = row.reshape(-1, *[1] * (len(shape) - 1))
    else:
        made.reshape(*shape[:-1], len(values), shape[-1] // len(values))[...] = row[:, None]
    return made


class Gate(NamedTuple):
    """An activation of a piece, or of the sum of pieces: each a value and which piece of it."""

    instr: Instr
    pieces: tuple[tuple[Ref, int], ...]
    sums: tuple[Instr, ...]


def gates_of(block: Block) -> list[list[Gate]]:
    """The gates of a block, those that are computed at once in a list each."""
    return [*_neighbours([g for g in map(_Finder(block).gate, block.instructions) if g is not None])]


def activated_at_once(block: Block) -> Block:
    """The block with gates that are computed at once, and every other sigmoid as a tanh."""
    groups = gates_of(block)
    gone = {id(i) for group in groups for gate in group for i in (gate.instr, *gate.sums)}
    position = {r: k for k, i in enumerate(block.instructions) for r in i.outs}
    due: dict[int, list[list[Gate]]] = {}  # the groups that can be computed after an instruction
    for group in groups:
        due.setdefault(max(position.get(base, -1) for base, _ in group[0].pieces), []).append(group)
    build = Builder(block)
    for group in due.get(-1, ()):
        _emit(build, group)
    for k, instr in enumerate(block.instructions):
        if instr.op is SIGMOID and id(instr) not in gone:
            (x,), out = instr.args, instr.out
            half = build(e.mul, x, 0.5, type=out.type)
            half = build(e.mul, build(e.tanh, half, type=out.type), 0.5, type=out.type)
            build(e.add, half, 0.5, outs=(out,))
        elif id(instr) not in gone:
            build.instructions.append(instr)
        for group in due.get(k, ()):
            _emit(build, group)
    return build.block(block.results)


class _Finder:
    """Finds the gates among the instructions of a block."""

    def __init__(self, block: Block) -> None:
        self.makers, self.readers, self.results = block.makers(), block.readers(), {*block.results}

    def gate(self, instr: Instr) -> Gate | None:
        if instr.op not in (SIGMOID, TANH) or len(instr.out.shape) != 2:
            return None
        pieces, sums, todo = [], [], [instr.args[0]]
        while todo:
            r = todo.pop(0)
            if (
                type(r) is not Ref
                or len(self.readers[r]) != 1
                or r in self.results
                or r.type != instr.out.type
            ):
                return None
            maker = self.makers.get(r)
            if maker is not None and maker.op is SPLIT and len({*maker.settings["sizes"]}) == 1:
                pieces.append((maker.args[0], maker.outs.index(r)))
            elif maker is not None and maker.op is ADD:
                sums.append(maker)
                todo += maker.args
            else:
                return None
        if len({base for base, _ in pieces}) != len(pieces):
            return None
        pieces.sort(key=lambda piece: piece[0].id)  # type: ignore[union-attr]
        return Gate(instr, tuple(pieces), tuple(sums))  # type: ignore[arg-type]


def _neighbours(gates: list[Gate]) -> Iterator[list[Gate]]:
    """Groups of two or more gates whose pieces follow each other in every value that they are summed from."""
    group: list[Gate] = []
    for gate in sorted(gates, key=lambda g: [(base.id, k) for base, k in g.pieces]):
        after = group and tuple((base, k + 1) for base, k in group[-1].pieces)
        if after != gate.pieces:
            if len(group) > 1:
                yield group
            group = []
        group.append(gate)
    if len(group) > 1:
        yield group


def _emit(build: Builder, group: list[Gate]) -> None:
    first, n = group[0], len(group)
    rows, width = first.instr.out.shape
    kind, wide = first.instr.out.dtype, Type((rows, n * width), first.instr.out.dtype)
    parts: list[Ref] = []
    for base, k in first.pieces:
        index = (slice(None), slice(k * width, (k + n) * width))
        parts.append(base if base.type == wide else build(pick, base, index=index, type=wide))
    x = parts[0]
    for part in parts[1:]:
        x = build(e.add, x, part, type=wide)
    is_sigmoid = [gate.instr.op is SIGMOID for gate in group]

    def numbers(of_sigmoid: float, of_tanh: float, type: Type, stacked: bool) -> Any:
        """A number where a gate is a sigmoid and another where it is a tanh; an array only if both occur."""
        if all(is_sigmoid):
            return of_sigmoid
        values = tuple(of_sigmoid if s else of_tanh for s in is_sigmoid)
        return build(by_piece, values=values, shape=type.shape, stacked=stacked, dtype=kind, type=type)

    if any(is_sigmoid):
        scale = numbers(0.5, 1.0, wide, False)
        x = build(e.mul, x, scale, type=wide)
        x = build(e.tanh, x, type=wide)
        x = build(e.mul, x, scale, type=wide)
    x = build(RESHAPE, x, shape=(rows, n, width), type=Type((rows, n, width), kind))
    below = Type((n, rows, width), kind)
    x = build(PERMUTE, x, axes=(1, 0, 2), type=below)
    x = (
        build(e.add, x, numbers(0.5, 0.0, below, True), type=below)
        if any(is_sigmoid)
        else build(e.tanh, x, type=below)
    )
    for k, gate in enumerate(group):
        build(pick, x, index=k, outs=(gate.instr.out,))
