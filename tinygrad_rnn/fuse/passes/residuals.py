"""Which values of the forward are saved for the reverse, and which are computed again there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..ir import Block, Instr, Ref, replaced
from ..reverse import Reverse
from .simplify import simplified


def recomputed(forward: Block, rev: Reverse, saved: Collection[Ref] | None = None) -> Reverse:
    """A reverse that computes again what is cheaper to compute than to save: 1 - z beside z. With `saved`,
    all that is not among these.
    """
    makers, results = forward.makers(), {*forward.results}
    n_seeds = len(rev.block.params) - len(rev.saved)
    stand_in = dict(zip(rev.saved, rev.block.params[n_seeds:], strict=True))
    stand_in.update({v: p for v, p in zip(rev.constants, rev.block.constants, strict=True) if type(v) is Ref})
    constants = dict(zip(rev.block.constants, rev.constants, strict=True))
    again: list[Instr] = []
    todo, kept = [*rev.saved], []
    fixed = {*forward.constants}
    while todo:
        r = todo.pop(0)
        maker = makers.get(r)
        cheap = maker is not None and maker.op.cheap and len([*maker.reads()]) == 1 and r not in results
        if maker is None or not (cheap if saved is None else r not in saved):
            kept.append(r)
            continue
        for read in dict.fromkeys(maker.reads()):
            if read not in stand_in:
                stand_in[read] = Ref(-1 - len(stand_in), read.type)
                if read in fixed:
                    constants[stand_in[read]] = read
                else:
                    todo.append(read)
        again.append(maker)
    if not again:
        return rev
    order = {id(i): k for k, i in enumerate(forward.instructions)}
    again = [*{id(i): i for i in sorted(again, key=lambda i: order[id(i)])}.values()]
    instructions, given, n_names = [], {*kept}, len(stand_in)
    for maker in again:
        unread = [out for out in maker.outs if out in given or out not in stand_in]
        names = {out: Ref(-1 - n_names - k, out.type) for k, out in enumerate(unread)}  # of their own
        n_names += len(unread)
        instructions.append(replaced(maker, {**stand_in, **names}))
    instructions += rev.block.instructions
    params = rev.block.params[:n_seeds] + [stand_in[r] for r in kept]
    block = simplified(Block(params, [*constants], instructions, rev.block.results))
    return replace(rev, block=block, saved=kept, constants=[*constants.values()])
