"""A block of elementwise instructions in C, run once for each call: pointwise functions outside of loops."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..backend import find
from .ir import Block, Instr, N, Ref
from .lower.c import CLoop, NotLowerable
from .lower.calls import Calls
from .lower.interpret import viewed
from .passes.place import Memory, Placer
from .steps import cached, in_groups

ENOUGH = 1 << 14  # elements of an argument from which on C is faster, and worth compiling


class Once:
    """The function of a block: in C what has rows, with the array library what is made of these, such as sums
    over the rows. Raises NotLowerable or OSError where there is none.
    """

    def __init__(self, block: Block) -> None:
        self.whole = [p.shape[:1] == (N,) for p in block.params]
        whole = [p for p, w in zip(block.params, self.whole, strict=True) if w]
        rows = [p for p, w in zip(block.params, self.whole, strict=True) if not w]
        if not whole or block.constants:
            raise NotLowerable("it has no argument with rows")
        first, rest = _apart(block.instructions)
        made = {o for i in first for o in i.outs}
        read = [r for i in rest for r in i.reads()] + [r for r in block.results if r is not None]
        results: list[Any] = [*dict.fromkeys(r for r in read if r in made)]
        self.block = in_groups(Block(whole, rows, first, results), "c")
        placer = Placer(self.block, whole, [], results)
        placement = placer.placement()
        self.given = [placement.places[p].memory for p in whole]
        self.places = [placer.stored_copies.get(r) or placement.places[r] for r in results]
        self.made = [m for m in dict.fromkeys(p.memory for p in self.places) if m not in self.given]
        self.loop = CLoop(self.block, placement, has_steps=False)
        self.loop.compile()
        self.rest = Calls(Block([*block.params, *results], [], rest, block.results))

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The results, in memory of their own, on the values of the block's parameters."""
        xp = find("numpy")
        brought = [a for a, w in zip(arrays, self.whole, strict=True) if w]
        memories: dict[Memory, Any] = dict(zip(self.given, brought, strict=True))
        n = brought[0].shape[0]
        for m in self.made:
            memories[m] = xp.lend(m.type.at(n), m.type.dtype)
        held = [a for a, w in zip(arrays, self.whole, strict=True) if not w]
        self.loop.run(memories, held, n, 0, 1, 1)
        found = [viewed(memories[p.memory], p.views, 0, n, xp) for p in self.places]
        return self.rest([*arrays, *found], n, xp)


def _apart(instructions: Sequence[Instr]) -> tuple[list[Instr], list[Instr]]:
    """What is computed row by row of such, and the rest."""
    first, rest, others = [], [], set[Ref]()
    for i in instructions:
        by_row = all(o.shape[:1] == (N,) and N not in o.shape[1:] for o in i.outs)
        if by_row and others.isdisjoint(i.reads()):
            first.append(i)
        else:
            rest.append(i)
            others.update(i.outs)
    return first, rest


_known: OrderedDict[Any, Once | None] = OrderedDict()


def once(block: Block, n: int) -> Once | None:
    """The function of a block for so many rows; None where the array library is to do it."""
    if max(math.prod(p.type.at(n)) for p in block.params) < ENOUGH:
        return None
    found: Once | None = cached(_known, block.key, lambda: _made(block))
    return found


def _made(block: Block) -> Once | None:
    try:
        return Once(block)
    except (NotLowerable, OSError):
        return None
