"""Blocks into blocks that compute the same with less."""

from __future__ import annotations

from typing import Any

from ..ir import Block, Instr, Ref, frozen, replaced, sub_block


def simplified(block: Block) -> Block:
    """Without instructions that compute what is known already, and without those that nobody needs."""
    block = without_copies(block)
    return sub_block(block, block.results)


def without_copies(block: Block) -> Block:
    """Each value is computed once (common subexpressions). Of arrays laid side by side, a run of those of a
    longer row of arrays is a view of that.
    """
    known: dict[Any, Instr] = {}
    same: dict[Ref, Ref] = {}
    instructions: list[Instr] = []
    ids: dict[Ref, int] = {r: k for k, r in enumerate((*block.params, *block.constants))}
    for instr in block.instructions:
        instr = replaced(instr, same)
        for out in instr.outs:
            assert out not in ids, f"{out} is computed twice"
            ids[out] = len(ids)
        key = (instr.op, frozen(instr.args, ids), frozen(instr.settings, ids))
        before = known.setdefault(key, instr)
        if before is instr:
            instructions.append(instr)
        else:
            same.update(zip(instr.outs, before.outs, strict=True))
    results = [None if r is None else same.get(r, r) for r in block.results]
    return Block(block.params, block.constants, instructions, results)
