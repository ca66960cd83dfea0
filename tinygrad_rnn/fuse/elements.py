"""What may be in a function of elements, and what may not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..engine import Primitive, Value
from .ir import Block, Ref, Type
from .passes.gates import SPLIT
from .passes.place import is_view
from .passes.simplify import simplified
from .trace import Tracer, Untraceable, trace


class OpByOp(Untraceable):
    """The arguments are none that a function is fused for."""


class NotElementwise(Untraceable):
    """What in a function does not work element by element, as a sentence."""


class Elements(Tracer):
    """Writes down a pointwise function, and says what in it does not work element by element."""

    def __init__(self, follows: bool = False, pieces: dict[int, int] | None = None) -> None:
        super().__init__(follows)
        self.pieces = (
            {} if pieces is None else pieces
        )  # by number of the argument: into how many it is taken apart
        self.whole: set[Ref] = set()

    def operand(self, x: Any) -> Any:
        found = super().operand(x)
        if type(found) is Ref and any(found is c for c in self.block.constants):
            raise NotElementwise(
                f"pointwise: an op is given a {type(x).__name__} from outside the function; "
                "what is not a number must come in as an argument"
            )
        return found

    def emit(self, op: Primitive, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        if op is SPLIT:
            self._split(args[0].array, settings)
        elif not op.elementwise:
            raise NotElementwise(
                f"pointwise: {op.name} does not work element by element; call it outside the function"
            )
        else:
            self.whole.update(a.array for a in args if isinstance(a, Value) and type(a.array) is Ref)
        params = self.block.params
        if any(k in self.pieces and params[k] in self.whole for k in range(len(params))):
            raise NotElementwise("pointwise: an argument is used both in chunks and whole")
        return super().emit(op, args, settings)

    def _split(self, x: Ref, settings: dict[str, Any]) -> None:
        if settings["axis"] != x.ndim - 1:
            raise NotElementwise(
                f"pointwise: chunk works along the last axis, axis=-1, got axis={settings['axis']}"
            )
        numbers = [k for k, p in enumerate(self.block.params) if p is x]
        if not numbers:
            raise NotElementwise("pointwise: chunk works on an argument")
        (k,) = numbers
        if self.pieces.setdefault(k, len(settings["sizes"])) != len(settings["sizes"]):
            raise NotElementwise("pointwise: chunk works on each argument into one number of chunks")
        if len({*settings["sizes"]}) != 1:
            raise OpByOp


def elements_block(
    function: Callable[..., Sequence[Any]], types: Sequence[Type], pieces: dict[int, int] | None = None
) -> Block:
    """The block of a function of elements; `pieces` is told into how many chunks it takes each argument
    apart.
    """
    return simplified(trace(function, types, lambda follows: Elements(follows, pieces)).block)


def fits(block: Block, whole: Sequence[bool]) -> bool:
    """Whether all values have the shape of the elements, or lack its first axis, and results have it."""
    elements = {r.shape for i in block.instructions for r in i.outs}
    elements |= {
        p.shape for p in block.params if not any(p in i.reads() and is_view(i) for i in block.instructions)
    }
    kinds = {r.dtype for i in block.instructions for r in i.outs} - {block.params[0].dtype}
    most = max(map(len, elements))
    (shape, *others) = [s for s in elements if len(s) == most]
    full = block.depending_on(p for p, w in zip(block.params, whole, strict=True) if w)
    return (
        not others and elements <= {shape, shape[1:]} and all(k.kind != "f" for k in kinds)
        and all(r in full for r in block.results)
    )  # fmt: skip
