"""Running products and the like, order statistics, and what counts or finds values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, array_module, to_numpy
from ..engine import Value
from ..engine.errors import Mismatch
from .arguments import axis_of, both_dialects, plain, scalars_too, wide
from .elementwise import logaddexp, where
from .index import ValuesAndIndices, argsort, getitem, take_along_axis
from .rearrange import shifted
from .reduce import any as any_
from .reduce import argmax
from .reduce import sum as sum_
from .shape import reshape, squeeze, stack

__all__ = [
    "bincount", "count_nonzero", "cummax", "cummin", "cumprod", "diff", "isin", "kthvalue", "logcumsumexp",
    "median", "quantile", "searchsorted", "unique", "unique_consecutive",
]  # fmt: skip


def _running(x: Array, axis: int, op: Any, fill: float) -> Array:
    """op over all elements up to each, by doubling: log2(n) operations (Hillis & Steele 1986)."""
    step = 1
    while step < x.shape[axis]:
        x = op(x, shifted(x, axis, step, fill))
        step *= 2
    return x


@both_dialects
@scalars_too
def cumprod(x: Array, axis: int, *, dtype: Any = None) -> Array:
    """The products of all elements up to each along `axis`. Zeros among them do no harm to the gradient."""
    axis = axis_of("cumprod", axis, x.ndim)
    x = x if dtype is None else x.astype(dtype)
    x = x.astype("int64") if x.dtype.kind in "iub" else x
    return _running(x, axis, lambda a, b: a * b, 1)


@both_dialects
@scalars_too
@wide(integers=True)
def logcumsumexp(x: Array, axis: int) -> Array:
    """The logarithms of the sums of exp(x) up to each element along `axis`, without overflow."""
    return _running(x, axis_of("logcumsumexp", axis, x.ndim), logaddexp, -math.inf)


def _extreme(name: str, x: Array, axis: int, sign: int) -> Any:
    axis = axis_of(name, axis, x.ndim)
    array = plain(x)
    xp = array_module(array)
    best = array
    at = xp.broadcast_to(
        xp.arange(array.shape[axis]).reshape([-1 if i == axis else 1 for i in range(array.ndim)]), array.shape
    )
    step = 1
    while step < array.shape[axis]:
        later = (slice(None),) * axis + (slice(step, None),)
        before = (slice(None),) * axis + (slice(0, -step),)
        a, b = best[later], best[before]
        won = (b > a if sign > 0 else b < a) | ((b != b) & (a == a))
        new, place = best.copy(), at.copy()
        new[later], place[later] = xp.where(won, b, a), xp.where(won, at[before], at[later])
        best, at, step = new, place, 2 * step
    at = Value.result._of(at.copy()) if isinstance(x, Value) else at
    return ValuesAndIndices(take_along_axis(x, at, axis), at)


@both_dialects
@scalars_too
def cummax(x: Array, axis: int) -> Any:
    """`(values, indices)` of the largest element up to each along `axis`; of equal ones the latest."""
    return _extreme("cummax", x, axis, 1)


@both_dialects
@scalars_too
def cummin(x: Array, axis: int) -> Any:
    """`(values, indices)` of the smallest element up to each along `axis`; of equal ones the latest."""
    return _extreme("cummin", x, axis, -1)


@both_dialects
@scalars_too
def kthvalue(x: Array, k: int, axis: int = -1, keepdims: bool = False) -> Any:
    """`(values, indices)` of the k-th smallest element along `axis`, k from 1."""
    axis = axis_of("kthvalue", axis, x.ndim)
    if not 1 <= k <= x.shape[axis]:
        raise Mismatch(
            f"kthvalue: k = {k} is not between 1 and the {x.shape[axis]} elements along axis {axis}"
        )
    at = getitem(argsort(x, axis), (slice(None),) * axis + (slice(k - 1, k),))
    return _taken(x, at, axis, keepdims)


def _taken(x: Array, at: Array, axis: int, keepdims: bool) -> Any:
    values = take_along_axis(x, at, axis)
    return ValuesAndIndices(*[v if keepdims else squeeze(v, axis) for v in (values, at)])


@both_dialects
def median(x: Array, axis: int | None = None, keepdims: bool = False) -> Any:
    """The middle element in order, of an even number the lower of the two: of all elements; or along an axis
    `(values, indices)`. NaN where there is one."""
    if axis is None:
        return median(reshape(x, -1), 0)[0]
    if not x.ndim:
        return ValuesAndIndices(x, argsort(reshape(x, 1), 0).reshape(()))
    axis = axis_of("median", axis, x.ndim)
    n = x.shape[axis]
    if not n:
        raise IndexError(f"median: there are no elements along axis {axis}")
    k = (n - 1) // 2
    at = getitem(argsort(x, axis), (slice(None),) * axis + (slice(k, k + 1),))
    if x.dtype.kind == "f":
        wrong = x != x
        at = where(any_(wrong, axis, keepdims=True), argmax(wrong, axis, keepdims=True), at)
    return _taken(x, at, axis, keepdims)


@both_dialects
@wide(integers=True)
def quantile(x: Array, q: Any, axis: int | None = None, keepdims: bool = False) -> Array:
    """The element at the part `q` of the way through the elements in order, between two in proportion. With
    several q, in a vector, a new first axis."""
    if axis is None:
        shape = (1,) * x.ndim
        y = quantile(reshape(x, -1), q, 0)
        return reshape(y, (*y.shape, *shape)) if keepdims else y
    axis = axis_of("quantile", axis, x.ndim)
    if getattr(q, "ndim", 0) or isinstance(q, (list, tuple)):
        values = [quantile(x, float(each), axis, keepdims) for each in plain(q)]
        return stack(values)
    q = float(q)
    if not 0 <= q <= 1:
        raise Mismatch(f"quantile: q must be between 0 and 1, got {q}")
    ordered = take_along_axis(x, argsort(x, axis), axis)
    place = q * (x.shape[axis] - 1)
    low = math.floor(place)
    high, part = min(low + 1, x.shape[axis] - 1), place - low
    a, b = (getitem(ordered, (slice(None),) * axis + (slice(k, k + 1),)) for k in (low, high))
    y = a + (b - a) * part
    return y if keepdims else squeeze(y, axis)


@both_dialects
def diff(x: Array, n: int = 1, axis: int = -1) -> Array:
    """Each element less the one before along `axis`, n times."""
    axis = axis_of("diff", axis, x.ndim)
    for _ in range(n):
        after, before = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(0, -1),)
        x = getitem(x, after) - getitem(x, before)
    return x


# ---------------------------------------------------------------- without gradients


def _same(x: Any, array: Any) -> Any:
    """A result on the host as what x is: a tensor on its device, or an array."""
    moved = array_module(plain(x)).from_numpy(array)
    return Value.result._of(moved) if isinstance(x, Value) else moved


@both_dialects
def unique(
    x: Array, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, axis: Any = None
) -> Any:
    """The different values in order; with `return_inverse` also where each element stands among them, with
    `return_counts` how often each occurs. Along an axis the different slices."""
    found = np.unique(to_numpy(plain(x)), return_inverse=True, return_counts=True, axis=axis)
    values, inverse, counts = found
    inverse = inverse.reshape(tuple(x.shape) if axis is None else -1)
    wanted = [values, *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
    results = [_same(x, np.asarray(part)) for part in wanted]
    return results[0] if len(results) == 1 else tuple(results)


@both_dialects
def unique_consecutive(x: Array, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The elements in a row without those that are equal to the one before: what CTC reads of a path."""
    flat = to_numpy(plain(x)).reshape(-1)
    new = np.concatenate([np.ones(min(1, len(flat)), bool), flat[1:] != flat[:-1]])
    starts = np.flatnonzero(new)
    inverse = (np.cumsum(new) - 1).reshape(tuple(x.shape))
    counts = np.diff(np.append(starts, len(flat)))
    wanted = [flat[new], *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
    results = [_same(x, part) for part in wanted]
    return results[0] if len(results) == 1 else tuple(results)


@both_dialects
def bincount(x: Array, weights: Any = None, minlength: int = 0) -> Array:
    """How often each integer from 0 on occurs in a vector; or the sums of `weights` at each."""
    array = to_numpy(plain(x))
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise Mismatch(
            f"bincount: expected a vector of integers of at least 0, got {array.dtype} {array.shape}"
        )
    given = None if weights is None else to_numpy(plain(weights))
    counts = np.bincount(array, given, minlength)
    if given is not None and given.dtype == "float32":
        counts = counts.astype("float32")
    return _same(x, counts)


@both_dialects
def count_nonzero(x: Array, axis: Any = None) -> Array:
    """How many elements are not zero, in all or along axes, int64."""
    return sum_(x != 0, axis)


def isin(elements: Any, test_elements: Any) -> Array:
    """Which elements are among others: booleans."""
    given, others = (
        to_numpy(plain(v)) if isinstance(v, Value) else np.asarray(v) for v in (elements, test_elements)
    )
    return _same(
        elements if isinstance(elements, Value) else test_elements, np.asarray(np.isin(given, others))
    )


@both_dialects
def searchsorted(sorted_sequence: Array, x: Any, right: bool = False) -> Array:
    """Where values would be put into a rising vector, int64: before equal ones, or `right` of them."""
    given = to_numpy(plain(x)) if hasattr(x, "shape") else np.asarray(x)
    places = np.searchsorted(to_numpy(plain(sorted_sequence)), given, "right" if right else "left")
    return _same(sorted_sequence, np.asarray(places, "int64"))
