"""Ops that are several others, taken apart: what compiles elementwise ops and sums compiles these, too."""

from __future__ import annotations

import functools
from typing import Any

from ..ir import Block, Builder, Instr, Ref, Type, replaced
from ..trace import trace
from .simplify import simplified


def taken_apart(block: Block) -> Block:
    """The block with the parts of each op that has some in its place."""
    if not any(i.op.parts for i in block.instructions):
        return block
    build = Builder(block)
    for instr in block.instructions:
        x = instr.args[0] if instr.args else None
        if instr.op.parts is None or type(x) is not Ref or x.dtype.kind != "f":
            build.instructions.append(instr)
            continue
        inside = trace(functools.partial(_parts, instr), [Type(x.shape, x.dtype)]).block
        names: dict[Ref, Ref] = {inside.params[0]: x}
        for part in inside.instructions:
            for out in part.outs:
                own = [r for r, result in zip(instr.outs, inside.results, strict=True) if result is out]
                names[out] = own[0] if own else build.new(out.type)
            build.instructions.append(replaced(part, names))
    return simplified(build.block(block.results))


def _parts(instr: Instr, x: Any) -> list[Any]:
    parts: Any = instr.op.parts
    found = parts(x, **instr.settings)
    return [*found] if instr.several else [found]
