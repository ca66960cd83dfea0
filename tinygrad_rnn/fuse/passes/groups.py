"""Elementwise instructions that a kernel does in one pass: maximal groups of them, as one instruction each.

A group is what can run together: instructions of one shape, such that no other instruction stands between two
of them. Views that take apart what is computed element by element are done to its arguments instead, so that
a sum of projections and the gates that are its pieces are one group.
"""

from __future__ import annotations

from typing import Any

from ...backend import array_module
from ...engine import Look, Primitive
from ...ops.index import pick
from ..ir import Block, Instr, Ref, Type, resolved
from .place import is_view, view_index
from .simplify import simplified

PICK = pick.primitive  # type: ignore[attr-defined]


class Group(Primitive):
    """The op of a group. It writes to arrays that it is given, for each result one or None."""

    writes_all = True

    def __init__(self, block: Block) -> None:
        self.block = block
        self.launcher: Any = None

        def group(xp: Any, *arrays: Any, out: Any = None) -> tuple[Any, ...]:
            """Elementwise instructions in one pass."""
            return self._run(xp, arrays, out or [None] * len(block.results))

        none = {"elementwise": False, "c": None, "ufunc": None, "product": False, "view": Look.never}
        super().__init__(group, None, **none, floating=False, rowwise=False, cheap=False, parts=None)
        self.call = lambda *arrays: group(array_module(*arrays), *arrays)

    def _run(self, xp: Any, arrays: tuple[Any, ...], out: list[Any]) -> tuple[Any, ...]:
        if xp.language == "cuda":
            from ..lower.cuda import Launcher  # only where there is a GPU

            if self.launcher is None:
                self.launcher = Launcher("group", self.block)
            return tuple(self.launcher(xp, arrays, out))
        env = dict(zip(self.block.params, arrays, strict=True))
        for instr in self.block.instructions:
            args = [resolved(a, env, 0) for a in instr.args]
            env[instr.out] = instr.op.forward(xp, *args, **instr.settings)
        results: list[Any] = [env[r] for r in self.block.results]  # type: ignore[index]
        for k, given in enumerate(out):
            if given is not None:
                given[...] = results[k]
                results[k] = given
        return tuple(results)


def grouped(block: Block, columns: bool = False) -> Block:
    """The block with its elementwise instructions in groups; with `columns` these may read (n, 1) beside
    (n, m).
    """
    block = simplified(views_first(block))
    kinds = {id(i): _kind(i, columns) for i in block.instructions}
    phases = _phases(block, kinds)
    groups: dict[Any, list[Instr]] = {}  # in the order of the first instruction of each phase
    for instr in sorted(block.instructions, key=lambda i: phases[id(i)]):
        kind = kinds[id(instr)]
        key = (phases[id(instr)], kind) if kind is not None else id(instr)
        groups.setdefault(key, []).append(instr)
    readers, results = block.readers(), {*block.results}
    instructions = []
    for own in groups.values():
        if kinds[id(own[0])] is None:
            instructions += own
        else:
            inside = {id(i) for i in own}
            wanted = [
                i.out
                for i in own
                if i.out in results or any(id(j) not in inside for j in readers.get(i.out, ()))
            ]
            instructions.append(_as_one(own, wanted))
    return Block(block.params, block.constants, instructions, block.results)


def _as_one(own: list[Instr], wanted: list[Ref]) -> Instr:
    made = {i.out for i in own}
    read = [r for r in dict.fromkeys(r for i in own for r in i.reads()) if r not in made]
    return Instr(Group(Block(read, [], own, [*wanted])), tuple(read), {}, tuple(wanted), several=True)


def _kind(instr: Instr, columns: bool = False) -> tuple[Any, Any] | None:
    """The shape and the floats of an elementwise instruction that a kernel can do, which those of a group
    share.
    """
    op, out = instr.op, instr.out
    if not (op.elementwise and op.c) or len(instr.outs) != 1 or out.dtype.kind not in "fb" or not out.shape:
        return None
    refs = [a for a in instr.args if type(a) is Ref]
    floats = {r.dtype for r in (out, *refs) if r.dtype.kind != "b"}
    if (
        len(floats) != 1
        or floats.pop().kind != "f"
        or any(type(a) not in (Ref, int, float, bool) for a in instr.args)
    ):
        return None
    column = (*out.shape[:-1], 1)
    if any(r.shape != out.shape[out.ndim - r.ndim :] and not (columns and r.shape == column) for r in refs):
        return None
    return out.shape, next(r.dtype for r in (out, *refs) if r.dtype.kind == "f")


def _phases(block: Block, kinds: dict[int, Any]) -> dict[int, int]:
    """A number for each instruction, such that those of a group have the same and what depends on a group,
    and is not in it, a larger one. Elementwise instructions come as late as their readers allow.
    """
    makers, readers = block.makers(), block.readers()
    phases: dict[int, int] = {}

    def apart(one: Instr, other: Instr) -> int:
        """How far the phases of an instruction and a reader of it must be apart."""
        mine, its = kinds[id(one)], kinds[id(other)]
        return 0 if mine == its else 1

    for instr in block.instructions:
        before = [makers[r] for r in instr.reads() if r in makers]
        phases[id(instr)] = max((phases[id(m)] + apart(m, instr) for m in before), default=0)
    for instr in reversed(block.instructions):
        after = readers.get(instr.out, ())
        if kinds[id(instr)] is not None and after and instr.out not in block.results:
            phases[id(instr)] = min(phases[id(j)] - apart(instr, j) for j in after)
    return phases


def views_first(block: Block) -> Block:
    """Values that are computed element by element and only read in pieces: each piece from pieces."""
    while True:
        changed = _once(block)
        if changed is None:
            return block
        block = changed


def _once(block: Block) -> Block | None:
    makers, readers, results = block.makers(), block.readers(), {*block.results}
    known = (r.id for r in (*block.params, *block.constants, *makers))
    count = max(known, default=0)
    done: set[Ref] = set()
    instructions: list[Instr] = []
    for instr in block.instructions:
        base = instr.args[0] if instr.args and is_view(instr) else None
        maker = makers.get(base)  # type: ignore[arg-type]
        if maker is None or base in results or not _in_pieces(maker, readers[base]):  # type: ignore[index]
            instructions.append(instr)
            continue
        done.add(base)  # type: ignore[arg-type]
        for k, out in enumerate(instr.outs):
            index = view_index(instr, k)
            args: list[Any] = []
            for a in maker.args:
                if type(a) is not Ref or not a.shape:
                    args.append(a)
                    continue
                count += 1
                own = index[maker.out.ndim - a.ndim :]
                piece = Ref(count, Type(out.shape[len(out.shape) - _axes_left(a.ndim, own) :], a.dtype))
                instructions.append(Instr(PICK, (a,), {**PICK.defaults, "index": own}, (piece,)))
                args.append(piece)
            instructions.append(Instr(maker.op, tuple(args), maker.settings, (out,)))
    if not done:
        return None
    kept = [i for i in instructions if i.out not in done]
    return Block(block.params, block.constants, kept, block.results)


def _axes_left(n_axes: int, index: tuple[Any, ...]) -> int:
    return n_axes - sum(type(part) is int for part in index)


def _in_pieces(maker: Instr, readers: list[Instr]) -> bool:
    """Whether an elementwise value is read by views alone that do the same to its arguments."""
    if _kind(maker) is None:
        return False
    least = min(a.ndim for a in maker.args if type(a) is Ref)
    for reader in readers:
        if not is_view(reader) or reader.args[0] is not maker.out:
            return False
        for k in range(len(reader.outs)):
            index = view_index(reader, k)
            if index is None or index is Look.never or any(type(p) not in (int, slice) for p in index):
                return False
            leading = index[: maker.out.ndim - least]  # axes that a row does not have
            if any(p != slice(None) for p in leading):
                return False
    return True
