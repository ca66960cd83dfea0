"""What the code of the way back is written with: its lines, and the values that they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .plan import Recorded


class Writer:
    """Lines before the loop, for each block of steps, for each step, and after the loop."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.head: list[str] = []
        self.of_block: list[str] = []
        self.lines: list[str] = []
        self.tail: list[str] = []
        self.scope: dict[str, Any] = {}
        self.sizes: list[str] = []  # how many numbers a block has for each of its steps
        self.read: set[int] = set()  # slots whose values the code reads at each step
        self.read_whole: set[int] = set()  # and for many steps at once

    def value(self, slot: int) -> str:
        """The value of a slot at a step."""
        self.read.add(slot)
        return f"s{slot}"

    def values(self, slot: int) -> str | None:
        """The values of a slot at the steps of a block, where they lie below each other."""
        recorded = self.recorded
        if not recorded.varies(slot):
            return self.value(slot)
        if (
            slot not in recorded.chunks
            and recorded.stored.get(slot) != "rows"
            and slot not in recorded.befores
        ):
            return None
        self.read_whole.add(slot)
        return f"{'P' if slot in recorded.befores else 'S'}{slot}[block]"

    def piece(self, call: Any, i: int, value: Callable[[int], str | None]) -> str | None:
        """What a reverse program reads: a result, an argument, or a piece of one."""
        n_outputs = len(call.op.outputs)
        if i < n_outputs:
            return value(call.outs[i])
        i -= n_outputs
        for ref, n in zip(call.refs, call.op.pieces, strict=True):
            if i < n:
                name = value(ref)
                m = f"shapes[{ref}][-1] // {n}"
                return name if n == 1 or name is None else f"{name}[..., {i} * ({m}):{i + 1} * ({m})]"
            i -= n
        raise AssertionError("a place beyond the arguments")
