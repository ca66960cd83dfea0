"""Elements moved: rolled, cut to triangles, taken from diagonals, laid beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array, array_module
from ..engine.errors import Mismatch
from .arguments import along, axes_of, axis_of, both_dialects, ints, plain, several
from .elementwise import where
from .index import getitem, put
from .shape import broadcast_to, concat, pad, permute, reshape, unsqueeze

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_tensors",
    "column_stack",
    "diag",
    "diag_embed",
    "diagonal",
    "dstack",
    "hstack",
    "meshgrid",
    "movedim",
    "roll",
    "shifted",
    "tensor_split",
    "tril",
    "triu",
    "unflatten",
    "unfold",
    "vstack",
]  # fmt: skip


@both_dialects
def roll(x: Array, shifts: Any, axis: Any = None) -> Array:
    """The elements moved on by `shifts` along `axis`, those at the end to the beginning; without an axis as
    if they lay in a row."""
    if axis is None:
        return reshape(roll(reshape(x, -1), shifts, 0), tuple(x.shape))
    axes, steps = axes_of("roll", axis, x.ndim), ints((shifts,))
    if len(axes) != len(steps):
        raise Mismatch(f"roll: {len(steps)} shifts for {len(axes)} axes")
    for i, k in zip(axes, steps, strict=True):
        k = k % x.shape[i] if x.shape[i] else 0
        if k:
            at = x.shape[i] - k
            x = concat([getitem(x, along(i, slice(at, None))), getitem(x, along(i, slice(0, at)))], i)
    return x


def _below(name: str, x: Array, diagonal: int) -> Array:
    """Where the elements of matrices are not above a diagonal."""
    if x.ndim < 2:
        raise Mismatch(f"{name}: expected at least two axes, got shape {tuple(x.shape)}")
    xp = array_module(plain(x))
    n, m = x.shape[-2:]
    return xp.arange(n)[:, None] + diagonal >= xp.arange(m)[None, :]


def _zero(x: Array) -> Any:
    return {"f": 0.0, "b": False}.get(x.dtype.kind, 0)


@both_dialects
def tril(x: Array, diagonal: int = 0) -> Array:
    """The lower triangles of matrices (..., n, m); zeros above the diagonal, counted to the right."""
    return where(_below("tril", x, diagonal), x, _zero(x))


@both_dialects
def triu(x: Array, diagonal: int = 0) -> Array:
    """The upper triangles of matrices (..., n, m); zeros below the diagonal, counted to the right."""
    return where(_below("triu", x, diagonal - 1), _zero(x), x)


def _places(shape: tuple[int, int], offset: int, xp: Any) -> tuple[Array, Array]:
    n = max(0, min(shape[0] + min(offset, 0), shape[1] - max(offset, 0)))
    first = xp.arange(n)
    return first - min(offset, 0), first + max(offset, 0)


@both_dialects
def diagonal(x: Array, offset: int = 0, axis0: int = 0, axis1: int = 1) -> Array:
    """The diagonals of the matrices that lie along two axes, which become one, the last."""
    i, j = axis_of("diagonal", axis0, x.ndim), axis_of("diagonal", axis1, x.ndim)
    rest = [k for k in range(x.ndim) if k not in (i, j)]
    x = permute(x, (*rest, i, j))
    rows, columns = _places(x.shape[-2:], offset, array_module(plain(x)))
    return getitem(x, (slice(None),) * len(rest) + (rows, columns))


@both_dialects
def diag(x: Array, diagonal: int = 0) -> Array:
    """The diagonal of a matrix, (n, m) -> (k,); or a matrix with this diagonal, (n,) -> (n, n)."""
    xp = array_module(plain(x))
    if x.ndim == 1:
        n = x.shape[0] + abs(diagonal)
        return put(x, indices=[_places((n, n), diagonal, xp)], shape=(n, n))
    if x.ndim != 2:
        raise Mismatch(f"diag: expected a vector or a matrix, got shape {tuple(x.shape)}")
    return getitem(x, _places(x.shape, diagonal, xp))


@both_dialects
def diag_embed(x: Array, offset: int = 0) -> Array:
    """Matrices with these diagonals: (..., n) -> (..., n + |offset|, n + |offset|)."""
    xp, n = array_module(plain(x)), x.shape[-1] + abs(offset)
    rows, columns = _places((n, n), offset, xp)
    lead = (slice(None),) * (x.ndim - 1)
    return put(x, indices=[(*lead, rows, columns)], shape=(*x.shape[:-1], n, n))


@both_dialects
def unfold(x: Array, axis: int, size: int, step: int) -> Array:
    """Windows of `size` elements along `axis`, one every `step`: (.., n, ..) -> (.., windows, .., size)."""
    axis = axis_of("unfold", axis, x.ndim)
    if not 0 < size <= x.shape[axis] or step < 1:
        raise Mismatch(
            f"unfold: windows of {size}, one every {step}, do not fit axis {axis} of {tuple(x.shape)}"
        )
    xp = array_module(plain(x))
    starts = xp.arange((x.shape[axis] - size) // step + 1) * step
    y = getitem(x, along(axis, starts[:, None] + xp.arange(size)))
    return movedim(y, axis + 1, -1)


@both_dialects
def movedim(x: Array, source: Any, destination: Any) -> Array:
    """Axes moved to other places, the rest in order."""
    old, new = axes_of("movedim", source, x.ndim), axes_of("movedim", destination, x.ndim)
    order = [k for k in range(x.ndim) if k not in old]
    for target, origin in sorted(zip(new, old, strict=True)):
        order.insert(target, origin)
    return permute(x, tuple(order))


@both_dialects
def unflatten(x: Array, axis: int, sizes: Any) -> Array:
    """One axis made several, of these sizes; one may be -1."""
    axis, sizes = axis_of("unflatten", axis, x.ndim), ints((sizes,))
    if -1 in sizes:
        known = 1
        for n in sizes:
            known *= n if n != -1 else 1
        sizes = tuple(x.shape[axis] // max(1, known) if n == -1 else n for n in sizes)
    return reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


@both_dialects
def tensor_split(x: Array, indices_or_sections: Any, axis: int = 0) -> tuple[Array, ...]:
    """Views along `axis`: so many of nearly equal size, the first ones larger, or cut at these indices."""
    axis = axis_of("tensor_split", axis, x.ndim)
    n = x.shape[axis]
    if hasattr(indices_or_sections, "__index__"):
        k = int(indices_or_sections)
        ends = [i * (n // k) + min(i, n % k) for i in range(1, k)]
    else:
        ends = [int(i) for i in indices_or_sections]
    return tuple(getitem(x, along(axis, slice(a, b))) for a, b in zip([0, *ends], [*ends, n], strict=True))


# ---------------------------------------------------------------- several arrays


def _all(name: str, tensors: Any) -> tuple[Any, ...]:
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    return several(name, tensors)[0]


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Array, ...]:
    """Vectors as grids (n1, n2, ...): the i-th result varies along axis i alone; "xy" exchanges the first
    two axes."""
    if indexing not in ("ij", "xy"):
        raise Mismatch(f"meshgrid: indexing is {indexing!r}, expected 'ij' or 'xy'")
    given = [reshape(x, -1) for x in _all("meshgrid", tensors)]
    order = list(range(len(given)))
    if indexing == "xy" and len(given) > 1:
        order[:2] = [1, 0]
    shape = tuple(given[k].shape[0] for k in order)
    at = {k: axis for axis, k in enumerate(order)}
    return tuple(
        broadcast_to(reshape(x, tuple(-1 if i == at[k] else 1 for i in range(len(given)))), shape)
        for k, x in enumerate(given)
    )


def broadcast_tensors(*tensors: Any) -> tuple[Array, ...]:
    """The tensors in the one shape that they broadcast to."""
    given = _all("broadcast_tensors", tensors)
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in given))
    return tuple(broadcast_to(x, shape) for x in given)


@both_dialects
def atleast_1d(x: Array) -> Array:
    """x with at least one axis."""
    return x if x.ndim else reshape(x, 1)


@both_dialects
def atleast_2d(x: Array) -> Array:
    """x with at least two axes: new ones come first."""
    return x if x.ndim >= 2 else reshape(x, (1, -1))


@both_dialects
def atleast_3d(x: Array) -> Array:
    """x with at least three axes: a new one before, then one behind."""
    return x if x.ndim >= 3 else unsqueeze(atleast_2d(x), -1)


def hstack(tensors: Sequence[Array]) -> Array:
    """Side by side: vectors joined, others along their second axis."""
    given = [atleast_1d(x) for x in _all("hstack", (tensors,))]
    return concat(given, 0 if given[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Array]) -> Array:
    """Below each other: vectors as rows, others along their first axis."""
    return concat([atleast_2d(x) for x in _all("vstack", (tensors,))], 0)


def dstack(tensors: Sequence[Array]) -> Array:
    """Behind each other, along a third axis."""
    return concat([atleast_3d(x) for x in _all("dstack", (tensors,))], 2)


def column_stack(tensors: Sequence[Array]) -> Array:
    """Vectors as columns side by side; matrices as they are."""
    return hstack([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in _all("column_stack", (tensors,))])


def shifted(x: Array, axis: int, by: int, fill: float) -> Array:
    """The elements moved on by `by` along an axis, `fill` in the places before."""
    kept = getitem(x, along(axis, slice(0, x.shape[axis] - by)))
    return pad(kept, [(by, 0) if i == axis else (0, 0) for i in range(x.ndim)], fill)
