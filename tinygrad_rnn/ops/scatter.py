"""Putting elements where others are named, out of place: assignment, and the gradient of picking."""

from __future__ import annotations

from typing import Any

from ..backend import Array, array_module
from ..engine.errors import Mismatch
from .arguments import axis_of, both_dialects, plain
from .assignment import set_item
from .elementwise import where
from .index import places_along, put
from .shape import broadcast_to

__all__ = [
    "add_at", "as_large_as", "index_add", "index_copy", "index_fill", "masked_scatter", "scatter",
    "scatter_add", "slices_along",
]  # fmt: skip


def as_large_as(name: str, src: Any, index: Any) -> Any:
    """The corner of `src` that has the shape of `index`; a number as it is. Raises where src is smaller."""
    shape, wanted = getattr(src, "shape", ()), tuple(plain(index).shape)
    if not shape:
        return src
    if len(shape) != len(wanted) or any(n < m for n, m in zip(shape, wanted, strict=True)):
        raise Mismatch(f"{name}: src has shape {tuple(shape)}, the index {wanted}; src must not be smaller")
    return src if tuple(shape) == wanted else src[tuple(slice(0, m) for m in wanted)]


def slices_along(name: str, x: Array, axis: int, index: Any) -> tuple[Any, ...]:
    """The index of the slices of `axis` that a 1-D `index` names."""
    axis = axis_of(name, axis, x.ndim)
    chosen = plain(index)
    if chosen.ndim > 1 or chosen.dtype.kind not in "iu":
        raise Mismatch(
            f"{name}: the index must be a vector of integers, got {chosen.dtype} {tuple(chosen.shape)}"
        )
    return (slice(None),) * axis + (chosen.reshape(-1),)


def add_at(x: Array, index: Any, values: Any) -> Array:
    """x with `values` added at an index: those that meet at one place are all added."""
    shape = plain(x)[index].shape
    if not hasattr(values, "shape"):
        values = array_module(plain(x)).full(shape, values, x.dtype)
    elif values.dtype != x.dtype:
        values = values.astype(x.dtype)
    return x + put(broadcast_to(values, shape), indices=[index], shape=tuple(x.shape))


@both_dialects
def scatter(
    x: Array, axis: int, index: Array, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Array:
    """x with `src`, a number or a tensor at least as large as `index`, put where `gather(axis, index)` would
    read; `reduce="add"` adds it. Where several meet at a place, the last one stays."""
    src = value if src is None else src
    if reduce == "add":
        return scatter_add(x, axis, index, src)
    if reduce is not None:
        raise Mismatch(f"scatter: reduce is {reduce!r}, expected None or 'add'")
    places = places_along("scatter", x, axis, plain(index))
    return set_item(x, _cast(as_large_as("scatter", src, index), x), index=places)


def _cast(value: Any, x: Array) -> Any:
    return value.astype(x.dtype) if getattr(value, "dtype", x.dtype) != x.dtype else value


@both_dialects
def scatter_add(x: Array, axis: int, index: Array, src: Any) -> Array:
    """x with `src`, at least as large as `index`, added where `gather(axis, index)` would read."""
    places = places_along("scatter_add", x, axis, plain(index))
    return add_at(x, places, as_large_as("scatter_add", src, index))


@both_dialects
def index_add(x: Array, axis: int, index: Array, source: Array, *, alpha: Any = 1) -> Array:
    """x with alpha times the slices of `source` added to those of `axis` that `index` names."""
    source = source if isinstance(alpha, int) and alpha == 1 else source * alpha
    return add_at(x, slices_along("index_add", x, axis, index), source)


@both_dialects
def index_copy(x: Array, axis: int, index: Array, source: Array) -> Array:
    """x with the slices of `source` where `index` names those of `axis`."""
    return set_item(x, _cast(source, x), index=slices_along("index_copy", x, axis, index))


@both_dialects
def index_fill(x: Array, axis: int, index: Array, value: Any) -> Array:
    """x with a number in the slices of `axis` that `index` names."""
    return set_item(x, value, index=slices_along("index_fill", x, axis, index))


@both_dialects
def masked_scatter(x: Array, mask: Array, source: Array) -> Array:
    """x with the first elements of `source`, in order, where the mask, which may broadcast, holds."""
    xp = array_module(plain(x))
    places = xp.broadcast_to(plain(mask), tuple(x.shape))
    order = xp.maximum(xp.cumsum(places.reshape(-1)) - 1, 0).reshape(tuple(x.shape))
    flat = source.reshape(-1)
    if int(places.sum()) > flat.shape[0]:
        raise Mismatch(
            f"masked_scatter: the mask holds at {int(places.sum())} places, source has {flat.shape[0]}"
        )
    return where(places, _cast(flat, x)[order], x) if flat.shape[0] else x + 0
