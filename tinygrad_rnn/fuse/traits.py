"""What the package's own ops are, for the passes and lowerings: traits that stand here until each op says
them where it is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine import REGISTRY, Primitive
from ..ops.cuda_source import EXPRESSIONS

NO_VIEW = object()  # what a view op says of a result that is a copy
UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide", "neg": "negative", "exp": "exp",
    "log": "log", "log1p": "log1p", "expm1": "expm1", "sqrt": "sqrt", "abs": "abs", "sin": "sin",
    "cos": "cos", "tanh": "tanh", "maximum": "maximum", "minimum": "minimum", "logaddexp": "logaddexp",
}  # fmt: skip
CHEAP = {"add", "sub", "mul", "neg"}
PRODUCTS = {"matmul", "addmm"}
ALWAYS_VIEWS = {"permute", "broadcast_to"}  # whatever the layout of their argument
View = Callable[[Any, int], Any]  # of an instruction and which of its results: the index that leads to it


def _split_index(instr: Any, k: int) -> Any:
    axis, sizes = instr.settings["axis"], instr.settings["sizes"]
    start = sum(sizes[:k])
    return (slice(None),) * axis + (slice(start, start + sizes[k]),)


def _pick_index(instr: Any, k: int) -> Any:
    index = instr.settings["index"]
    parts = index if type(index) is tuple else (index,)
    if not all(isinstance(i, (int, slice)) or i is None or i is Ellipsis for i in parts):
        return NO_VIEW
    return parts


def _by_a_view(instr: Any, k: int) -> Any:
    """It is a view by no index."""
    return None


VIEWS: dict[str, View] = {
    "split": _split_index, "pick": _pick_index,
    "reshape": _by_a_view, "permute": _by_a_view, "broadcast_to": _by_a_view,
}  # fmt: skip


def view_of(op: Primitive) -> View | None:
    """How the results of a view op lie in the first argument; None for other ops."""
    return VIEWS.get(op.name) if op is REGISTRY.get(op.name) else None


def writes_all(op: Primitive) -> bool:
    """Whether an op takes memory, or None, for each of its results."""
    return bool(getattr(op, "writes_all", False))


for _name, _op in [*REGISTRY.items()]:
    _op.elementwise = _name == "cast" or _op.forward.__module__ == f"{__name__.split('.')[0]}.ops.elementwise"
    _op.ufunc = UFUNCS.get(_name) if _op.elementwise else None
    _op.c = "{0}" if _name == "cast" else EXPRESSIONS.get(_name)
    _op.cheap, _op.product = _name in CHEAP, _name in PRODUCTS
