"""Changes in place that gradients go back through.

A change makes a node like any op, whose result lies in the memory of its first argument, and the tensor that
was changed moves to the new vertex. What it is a view of moves too (`set_view`); other views of that memory
follow when they are used next (engine/versions.py). The gradient of `x[index] = v` is zero where v was put,
and may be written over where nobody else has it, so that T assignments to one tensor cost one array on the
way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array, array_module
from ..engine import GraphError, Leaf, Value, mark_changed, mode, primitive, versions, walk
from ..engine.core import wrap
from ..engine.errors import Mismatch
from .convert import cast
from .elementwise import where
from .index import pick

ViewOf = tuple[Any, dict[str, Any], "int | None"]  # an op, its settings, which of its results


def _set_item_gradient(g: Array, index: Any, needs: tuple[bool, ...], owned: bool = False) -> list[Array]:
    of_v = None
    if needs[1]:
        of_v = pick(g, index=index)
        if not isinstance(g, Value) and owned and needs[0]:
            of_v = array_module(g).array(of_v)
        won = _won(g, index)
        if won is not None:
            of_v = where(won, of_v, 0.0)
    if not needs[0]:
        return [None, of_v]
    if isinstance(g, Value):
        return [set_item(g, 0.0, index=index), of_v]
    of_x = g if owned else array_module(g).array(g)
    of_x[index] = 0
    return [of_x, of_v]


def _won(g: Array, index: Any) -> Array | None:
    """Where an index may name an element several times: which of the values stayed there."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(getattr(p, "size", 0) > 1 and p.dtype.kind in "iu" for p in parts):
        return None
    xp = array_module(g.array if isinstance(g, Value) else g)
    at = xp.full(g.shape, -1, "int64")
    shape = at[index].shape
    order = xp.arange(at[index].size).reshape(shape)
    at[index] = order
    return at[index] == order


@primitive(vjp=_set_item_gradient)
def set_item(xp: Any, x: Array, v: Array, *, index: Any, out: Array | None = None) -> Array:
    """x with x[index] = v; in the memory `out`, which may be that of x."""
    y = x.copy() if out is None else out
    if y is not x and out is not None:
        y[...] = x
    y[index] = v
    return y


def _looked_at(xp: Any, x: Array, view: ViewOf) -> Array:
    op, settings, k = view
    y = op.forward(xp, x, **settings)
    return y if k is None else y[k]


def _set_view_gradient(
    g: Array, view: ViewOf, needs: tuple[bool, ...], owned: bool = False
) -> list[Array | None]:
    op, settings, k = view
    if not isinstance(g, Value) and needs[0]:
        xp = array_module(g)
        of_x = g if owned else xp.array(g)
        part = _looked_at(xp, of_x, view)
        if part.base is not None and (part.base is of_x or part.base is of_x.base):
            of_v = xp.array(part)
            part[...] = 0
            return [of_x, of_v]
    of_x = of_v = None
    if needs[1]:
        of_v = op.call(g, **settings)
        of_v = of_v if k is None else of_v[k]
    if needs[0]:
        xp = array_module(g.array if isinstance(g, Value) else g)
        hidden = xp.zeros(g.shape, "bool")
        _looked_at(xp, hidden, view)[...] = True
        of_x = where(hidden, 0.0, g)
    return [of_x, of_v]


@primitive(vjp=_set_view_gradient)
def set_view(xp: Any, x: Array, v: Array, *, view: ViewOf, out: Array | None = None) -> Array:
    """x with v in place of what an op makes a view of; `out` is x where v lies in that place already."""
    if out is not None:
        return out
    y = xp.ascontiguousarray(x).copy().reshape(x.shape)
    _looked_at(xp, y, view)[...] = v
    return y


def is_tracked(name: str, x: Value, *args: Any) -> bool:
    """Whether a change of x in place, by these values, is one that gradients go back through. Raises
    GraphError where it may not be made."""
    array, now = x.array, mode.current()
    if now.tracer is not None:
        now.tracer.changes(name)
    if (
        0 in getattr(array, "strides", ())
        and array.size
        and any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True))
    ):
        raise GraphError(
            f"{name}: this tensor repeats elements of another (expand, broadcast_to) and cannot be changed "
            "in place; work on a clone()"
        )
    if not now.grad:
        return False
    own = versions.vertex_of(x)
    base = x
    while True:
        if type(base.vertex) is Leaf:
            what = "requires a gradient" if base is x else "is a view of one that requires a gradient"
            raise GraphError(
                f"{name}: this tensor {what} and cannot be changed in place. Use where, stack or concat to "
                "build a new one; or change parameters under no_grad() or through .data"
            )
        if base.vertex is not None and own is None:
            raise GraphError(
                f"{name}: this tensor is a view, taken under no_grad(), of one that was computed in the "
                "graph; take the view where gradients are on, or work on a clone()"
            )
        view = getattr(base, "view_of", None)
        if view is None:
            break
        base = view[0]
    tracked = own is not None or any(isinstance(a, Value) and versions.vertex_of(a) is not None for a in args)
    if tracked and now.functional:
        raise GraphError(
            f"{name}: a step that is read once may not change in place what gradients go back through; build "
            "a new tensor with where, stack or concat"
        )
    if tracked and array.dtype.kind != "f":
        raise GraphError(
            f"{name}: the value requires a gradient, which a tensor of {array.dtype} would lose; use a "
            "floating tensor, or detach() the value"
        )
    return tracked


def change(name: str, x: Value, op: Callable[..., Any], *args: Any, **settings: Any) -> None:
    """Puts op(x, *args, **settings) into the memory of x, and x at the vertex of that."""
    chain = [x]
    while getattr(chain[-1], "view_of", None) is not None:
        chain.append(chain[-1].view_of[0])  # type: ignore[index]
    before = [versions.vertex_of(value) for value in chain]
    if len(chain) > 1 or getattr(x, "viewed", False):
        versions.mark_moved(x.array)
    if op is set_item:
        old = wrap(x.array, before[0])
        settings["out"] = x.array
    else:
        old = wrap(x.array.copy() if _is_read(op) else x.array, before[0])
    y = op(old, *[old if a is x else a for a in args], **settings)
    if y.shape != x.array.shape:
        raise Mismatch(f"{name}: the result has shape {y.shape} and does not fit a tensor of {x.array.shape}")
    if y.dtype != x.array.dtype:
        y = cast(y, dtype=x.array.dtype)
    if y.array is not x.array:
        x.array[...] = y.array
    mark_changed(x.array)
    walk.move(x, before[0], y.vertex)
    for part, base, vertex in zip(chain, chain[1:], before[1:], strict=False):
        new = set_view(wrap(base.array, vertex), part, view=part.view_of[1:], out=base.array)  # type: ignore[index]
        walk.move(base, vertex, new.vertex)


def _is_read(op: Any) -> bool:
    """Whether a rule of the op reads its first argument."""
    spec = getattr(op, "primitive", None)
    return spec is None or 1 not in spec.find_drops((1 << len(spec.arguments)) - 1)
