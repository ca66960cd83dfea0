"""What is told of each call of an op: `debug`. Others are functions in `Mode.observers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from .arguments import Call
    from .core import Node
    from .gradients import Results
    from .rules import Primitive


def debug(op: Primitive, call: Call, out: Results, node: Node | None) -> None:
    """Raises FloatingPointError where a result is not finite, and notes the line that called the op."""
    for part in out if type(out) is tuple else (out,):
        array = part.array if call.wrapped else part
        if array.dtype.kind == "f" and not bool(call.xp.isfinite(array).all()):
            raise errors.not_finite(op.name, call.arrays, call.xp)
    if node is not None:
        node.line = errors.caller()  # type: ignore[assignment]
