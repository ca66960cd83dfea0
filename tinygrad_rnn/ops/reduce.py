"""Ops that make one number of many along axes.

`axis` is an integer, several, or None for all axes; `keepdims` leaves them with size 1. `dim` and
`keepdim` are the same.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array, array_module, dtypes
from ..backend.dtypes import ADDED_IN
from ..engine import Value, primitive
from ..engine.errors import Mismatch
from .arguments import axes_of, axis_of, both_dialects, plain, reduced_axes, scalars_too, wide, widened
from .elementwise import abs as abs_
from .elementwise import exp, maximum, minimum, sign, sqrt, where
from .index import ValuesAndIndices, take_along_axis
from .shape import broadcast_to, flip, reshape


def _spread(g: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The gradient of a reduction back in the shape that was reduced, as a view."""
    return broadcast_to(_kept_axes(g, shape, axes), shape)


def _kept_axes(y: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """A result without its reduced axes, with them back as size 1."""
    return reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))


@primitive(vjp=(lambda g, x_shape, axes: _spread(g, x_shape, axes),))
def _sum(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    if x.dtype.kind == "f" and x.ndim > 1 and axes == tuple(range(x.ndim - 1)) and x.dtype not in ADDED_IN:
        return xp.column_sums(x).reshape(x.shape[-1:] if not keepdims else (1,) * (x.ndim - 1) + x.shape[-1:])
    wide = ADDED_IN.get(x.dtype)
    if wide is None:
        return x.sum(axis=axes, keepdims=keepdims)
    total = x.sum(axis=axes, keepdims=keepdims, dtype=wide)
    return total.astype(x.dtype) if x.dtype.kind == "f" else total


@both_dialects
def sum(x: Array, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Array:
    """The sum, of integers and booleans in int64; with `dtype` the sum of the elements in that type."""
    if dtype is None:
        return _sum(x, axes=reduced_axes("sum", axis, x.ndim), keepdims=bool(keepdims))
    total = sum(x.astype(dtype), axis, keepdims)
    return total.astype(dtype)


def _count(x: Array, axes: tuple[int, ...]) -> int:
    return x.shape[axes[0]] if len(axes) == 1 else math.prod(x.shape[i] for i in axes)


@both_dialects
def mean(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The arithmetic mean; NaN of no elements."""
    axes = reduced_axes("mean", axis, x.ndim)
    count = _count(x, axes)
    if x.dtype == dtypes.float16:  # whose range many a sum leaves
        return mean(x.astype(dtypes.float32), axes, keepdims).astype(dtypes.float16)
    return _sum(x, axes=axes, keepdims=bool(keepdims)) * (1.0 / count if count else math.nan)


@both_dialects
@wide(integers=True)
def var(
    x: Array,
    axis: Any = None,
    unbiased: bool = True,
    keepdims: bool = False,
    *,
    correction: int | None = None,
) -> Array:
    """The mean squared distance from the mean, divided by the count less `correction`.

    The correction is 1 as in PyTorch (NumPy's is 0); `unbiased=False` is `correction=0`.
    """
    if correction is None:
        correction = 1 if unbiased else 0
    axes = reduced_axes("var", axis, x.ndim)
    x = x - _amid(plain(x), axes)  # a variance is the same wherever it is counted from
    apart = x - mean(x, axes, keepdims=True)
    left = _count(x, axes) - correction
    return sum(apart * apart, axes, keepdims=keepdims) * (1.0 / left if left > 0 else math.nan)


def _amid(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean as a constant, no further out than the extremes: so equal elements lie nowhere but on it."""
    if x.dtype.kind != "f" or 0 in x.shape:
        return 0
    middle = mean(x, axes, keepdims=True)
    return array_module(x).clip(middle, amin(x, axes, keepdims=True), amax(x, axes, keepdims=True))


@both_dialects
@wide(integers=True)
def std(
    x: Array,
    axis: Any = None,
    unbiased: bool = True,
    keepdims: bool = False,
    *,
    correction: int | None = None,
) -> Array:
    """The square root of the variance. Where all are equal the gradient is 0."""
    if correction is None:
        correction = 1 if unbiased else 0
    axes = reduced_axes("std", axis, x.ndim)
    left = _count(x, axes) - correction
    x = x - _amid(plain(x), axes)
    apart = x - mean(x, axes, keepdims=True)
    return norm(apart, 2, axes, keepdims) / (left**0.5 if left > 0 else math.nan)


def _to_extremes(g: Array, x: Array, y: Array, axes: tuple[int, ...]) -> Array:
    hit = x == broadcast_to(_kept_axes(y, x.shape, axes), x.shape)
    share = _kept_axes(g, x.shape, axes) / hit.sum(axis=axes, keepdims=True)  # a count, in int64
    return cast_like(hit, g) * cast_like(share, g)


def cast_like(x: Array, like: Array) -> Array:
    """x in the element type of `like`."""
    return x.astype(like.dtype)


@primitive(vjp=(_to_extremes,))
def _amax(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    return x.max(axis=axes, keepdims=keepdims)


@primitive(vjp=(_to_extremes,))
def _amin(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    return x.min(axis=axes, keepdims=keepdims)


@both_dialects
def amax(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The largest element; equal ones share the gradient."""
    return _amax(x, axes=_not_empty("amax", x, axis), keepdims=bool(keepdims))


@both_dialects
def amin(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The smallest element; equal ones share the gradient."""
    return _amin(x, axes=_not_empty("amin", x, axis), keepdims=bool(keepdims))


def _not_empty(name: str, x: Array, axis: Any) -> tuple[int, ...]:
    axes = reduced_axes(name, axis, x.ndim)
    if 0 in [x.shape[i] for i in axes]:
        raise Mismatch(f"{name}: no elements along axis {axis} of shape {tuple(x.shape)}")
    return axes


def _extremes(name: str, x: Array, axis: Any, keepdims: bool) -> Any:
    if hasattr(axis, "shape"):
        return (maximum if name == "max" else minimum)(x, axis)
    if axis is not None and not x.ndim:  # a number counts as a row of one
        found = _extremes(name, reshape(x, (1,)), axis, False)
        return ValuesAndIndices(*[reshape(part, ()) for part in found])
    axes = _not_empty(name, x, axis)
    if axis is None or axis == ():
        return (amax if name == "max" else amin)(x, None, keepdims)
    if len(axes) > 1:
        raise Mismatch(f"{name}: one axis, or none for all; amax and amin take several")
    indices = (argmax if name == "max" else argmin)(x, axes[0], keepdims=True)
    values = take_along_axis(x, indices, axes[0])
    if not keepdims:
        shape = (*x.shape[: axes[0]], *x.shape[axes[0] + 1 :])
        values, indices = reshape(values, shape), reshape(indices, shape)
    return ValuesAndIndices(values, indices)


@both_dialects
def max(x: Array, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element; along an axis `(values, indices)`; of two tensors the elementwise maximum.

    So it is in PyTorch; NumPy's `max` along axes is `amax`.
    """
    return _extremes("max", x, axis, keepdims)


@both_dialects
def min(x: Array, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element; along an axis `(values, indices)`; of two tensors the elementwise minimum.

    So it is in PyTorch; NumPy's `min` along axes is `amin`.
    """
    return _extremes("min", x, axis, keepdims)


@primitive(vjp=None)
def _argmax(xp: Any, x: Array, *, axis: int | None) -> Array:
    return xp.argmax(x, axis)


@primitive(vjp=None)
def _argmin(xp: Any, x: Array, *, axis: int | None) -> Array:
    return xp.argmin(x, axis)


def _arg(op: Any, name: str, x: Array, axis: int | None, keepdims: bool) -> Array:
    axis = None if axis is None else axis_of(name, axis, x.ndim)
    axes = _not_empty(name, x, axis)
    found = op(x, axis=axis)
    return _kept_axes(found, x.shape, axes) if keepdims else found


@both_dialects
@scalars_too
def argmax(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the largest element stands, the first of equal ones; without an axis, in the flat tensor."""
    return _arg(_argmax, "argmax", x, axis, keepdims)


@both_dialects
@scalars_too
def argmin(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the smallest element stands, the first of equal ones; without an axis, in the flat tensor."""
    return _arg(_argmin, "argmin", x, axis, keepdims)


def _others_product(g: Array, x: Array, axis: int) -> Array:
    """The gradient of a product along an axis: at each place the product of the others; some may be zero."""
    size = x.shape[axis]
    if size == 0:
        return x
    row = reshape(x.swapaxes(axis, -1), (-1, size))
    # Row i of the square holds x with a one at place i.
    square = broadcast_to(row[:, None, :], (row.shape[0], size, size))
    diagonal = array_module(plain(x)).eye(size, dtype="bool")
    others = _prod(where(diagonal, 1.0, square), axis=2)
    last = x.swapaxes(axis, -1).shape
    return reshape(others, last).swapaxes(axis, -1) * g


@primitive(vjp=(_others_product,))
def _prod(xp: Any, x: Array, *, axis: int) -> Array:
    return x.prod(axis=axis, keepdims=True, dtype=ADDED_IN.get(x.dtype))


@both_dialects
@wide(integers=False)
def prod(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The product, of integers and booleans in int64; the gradient is right also where factors are zero."""
    axes = reduced_axes("prod", axis, x.ndim)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    for i in axes:
        x = _prod(x, axis=i)
    return x if keepdims else reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))


@primitive(vjp=(lambda g, axis: flip(cumsum(flip(g, axis), axis), axis),))
def _cumsum(xp: Any, x: Array, *, axis: int) -> Array:
    total = xp.cumsum(x, axis, dtype=ADDED_IN.get(x.dtype))
    return total.astype(x.dtype, copy=False) if x.dtype.kind == "f" else total


@both_dialects
@scalars_too
def cumsum(x: Array, axis: int) -> Array:
    """Running sums along `axis`, of integers and booleans in int64."""
    return _cumsum(x, axis=axis_of("cumsum", axis, x.ndim))


def _top(xp: Any, x: Array, axes: tuple[int, ...]) -> Array:
    """The largest elements, without the axes that stay; 0 for infinite ones, which nothing is subtracted
    from.
    """
    top = x.max(axis=axes, keepdims=True)
    return xp.where(xp.isfinite(top), top, 0.0)


def powers_but_one(xp: Any, x: Array, axes: tuple[int, ...]) -> Array:
    """The sums of exp(x) less 1, where the largest of x are 0: as if one of those were not there, so that the
    last digits of small others count.
    """
    largest, powers = x == 0, xp.exp(x)
    powers -= largest
    return sums_along(powers, axes) + (largest.sum(axis=axes, keepdims=True) - 1).astype(x.dtype)


def _logsumexp_gradient(g: Array, x: Array, axes: tuple[int, ...]) -> Array:
    x = widened(x)  # by way of x, because the result has lost the last digits of large ones
    powers = exp(x - _top(array_module(plain(x)), plain(x), axes))
    total = powers.sum(axis=axes, keepdims=True)
    return _kept_axes(g, x.shape, axes) * (powers / where(total == 0, 1.0, total))  # of -inf alone: none


@primitive(vjp=(_logsumexp_gradient,), floating=True)
def _logsumexp(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    if 0 in [x.shape[i] for i in axes]:  # of nothing the sum is 0
        return x.sum(axis=axes, keepdims=keepdims) - math.inf
    kind, x = x.dtype, widened(x)
    top = _top(xp, x, axes)
    more = powers_but_one(xp, x - top, axes)
    none = more == -1  # every element is -inf, and so is the result
    y = xp.where(none, -math.inf, xp.log1p(xp.where(none, 0.0, more)) + top).astype(kind, copy=False)
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in axes])


@both_dialects
def logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))), computed without overflow; -inf of no elements."""
    return _logsumexp(x, axes=reduced_axes("logsumexp", axis, x.ndim), keepdims=bool(keepdims))


def _standardize_gradient(g: Any, y: Any, axes: tuple[int, ...], out: Any = None) -> tuple[Any]:
    of_y, of_scale = g
    y, scale = y
    if y.dtype == dtypes.float16:  # whose range a sum leaves
        y, scale = y.astype(dtypes.float32), scale.astype(dtypes.float32)
        of_y = None if of_y is None else of_y.astype(dtypes.float32)
    per_element = 1.0 / (_count(y, axes) or 1)
    found: Any = None
    if of_y is not None:
        along, mean = sums_along(of_y, axes, y) * per_element, sums_along(of_y, axes) * per_element
        if isinstance(along, Value):
            found = (of_y - mean - y * along) * scale
        else:  # in one piece of memory
            xp = array_module(y)
            with xp.broadcasting_in(y):
                found = xp.multiply(y, -along, out=out)
                found += of_y
                found -= mean
                found *= scale
    if of_scale is not None:  # only where gradients have gradients
        other = y * (scale * scale * of_scale * -per_element)
        found = other if found is None else found + other
    return (found,)


def sums_along(x: Any, axes: tuple[int, ...], y: Any = None) -> Any:
    """The sums of x, or of x * y, over some axes, which stay."""
    if isinstance(x, Value) or axes != (x.ndim - 1,):
        return (x if y is None else x * y).sum(axis=axes, keepdims=True)
    return array_module(x).row_sums(x, y)


def _standardize_parts(x: Any, *, axes: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    per_element = 1.0 / (_count(x, axes) or 1)
    first = tuple([slice(0, 1) if i in axes else slice(None) for i in range(x.ndim)])
    apart = x - x[first]
    apart = apart - apart.sum(axis=axes, keepdims=True) * per_element
    scale = 1.0 / sqrt((apart * apart).sum(axis=axes, keepdims=True) * per_element + eps)
    return apart * scale, scale


@primitive(vjp=_standardize_gradient, floating=True, parts=_standardize_parts)
def _standardize(
    xp: Any, x: Array, *, axes: tuple[int, ...], eps: float, out: Array | None = None
) -> tuple[Array, Array]:
    per_element = 1.0 / (_count(x, axes) or 1)
    kind = x.dtype
    x = x.astype(dtypes.float32) if kind == dtypes.float16 else x  # whose range a sum of squares leaves
    with xp.broadcasting_in(x):
        first = tuple([slice(0, 1) if i in axes else slice(None) for i in range(x.ndim)])
        apart = xp.subtract(x, x[first], out=out)  # so that equal elements are 0, however large
        apart -= sums_along(apart, axes) * per_element
        scale = (sums_along(apart, axes, apart) * per_element + eps) ** -0.5
        apart *= scale
    return (apart, scale) if apart.dtype == kind else (apart.astype(kind), scale.astype(kind))


def standardize(x: Array, axis: Any, eps: float) -> Array:
    """(x - mean) / sqrt(var + eps) over some axes: what layer normalisation does."""
    y: Array = _standardize(x, axes=axes_of("standardize", axis, x.ndim), eps=float(eps))[0]
    return y


@primitive(vjp=None)
def _all(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    return xp.all(x, axis=axes, keepdims=keepdims)


@primitive(vjp=None)
def _any(xp: Any, x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    return xp.any(x, axis=axes, keepdims=keepdims)


@both_dialects
def all(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """True where every element is nonzero."""
    return _all(x, axes=axes_of("all", axis, x.ndim), keepdims=bool(keepdims))


@both_dialects
def any(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """True where some element is nonzero."""
    return _any(x, axes=axes_of("any", axis, x.ndim), keepdims=bool(keepdims))


def _norm_gradient(g: Array, y: Array, x: Array, p: float, axes: tuple[int, ...]) -> Array:
    g, y = _kept_axes(g, x.shape, axes), _kept_axes(y, x.shape, axes)
    zero = y == 0
    part, g = x / where(zero, 1.0, y), where(zero, 0.0, g)
    if p == 2:
        return g * part
    zero = x == 0  # where powers may have no slope
    return g * where(zero, 0.0, sign(x) * abs_(where(zero, 1.0, part)) ** (p - 1))


@primitive(vjp=(_norm_gradient,))
def _norm(xp: Any, x: Array, *, p: float, axes: tuple[int, ...], keepdims: bool) -> Array:
    if not x.size:
        return xp.abs(x).sum(axis=axes, keepdims=keepdims)
    size = xp.abs(x)
    # A power of two below the largest, so that no power of what is left overflows or vanishes.
    unit = xp.ldexp(xp.ones((), x.dtype), xp.frexp(size.max(axis=axes, keepdims=True))[1] - 1)
    size /= unit
    total = (size * size if p == 2 else size**p).sum(axis=axes, keepdims=True)
    y = (xp.sqrt(total) if p == 2 else total ** (1.0 / p)) * unit
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in axes])


@both_dialects
@wide(integers=True)
def norm(x: Array, p: Any = 2, axis: Any = None, keepdims: bool = False) -> Array:
    """The p-norm of the elements: (sum |x|^p)^(1/p). p may be any number: math.inf is the largest |x|,
    -math.inf the least, 0 how many are not 0; "fro" is 2. An element that is 0 has no gradient, whatever p.
    """
    p = 2 if p is None or p == "fro" else p
    if math.isnan(p):
        raise Mismatch(f"norm: p must be a number, got {p}")
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs_(x), axis, keepdims)
    axes = reduced_axes("norm", axis, x.ndim)
    if p == 0:
        return sum(abs_(sign(x)), axes, keepdims)
    if p == 1:
        return sum(abs_(x), axes, keepdims)
    if p < 0:
        size = abs_(x)
        absent = size == 0  # whose power is infinite
        total = sum(where(absent, math.inf, where(absent, 1.0, size) ** p), axes, keepdims)
        return where(total == math.inf, 0.0, where(total == math.inf, 1.0, total) ** (1.0 / p))
    return _norm(x, p=float(p), axes=axes, keepdims=bool(keepdims))
