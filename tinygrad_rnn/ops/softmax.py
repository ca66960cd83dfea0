"""Probabilities of scores, and their logarithms: of scores of any size, because the largest is subtracted
first, exactly.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..engine import primitive
from .arguments import axis_of, both_dialects, scalars_too, widened
from .elementwise import exp
from .reduce import amax, powers_but_one, sums_along


def _softmax_gradient(g: Array, y: Array, axis: int) -> Array:
    g, y = widened(g), widened(y)
    return y * (g - sums_along(g, (axis,), y))


def _softmax_parts(x: Any, *, axis: int) -> Any:
    y = exp(x - amax(x, axis, True))
    return y / y.sum(axis=(axis,), keepdims=True)


@primitive(vjp=(_softmax_gradient,), floating=True, parts=_softmax_parts)
def _softmax(xp: Any, x: Array, *, axis: int) -> Array:
    y = _below_top(xp, x, axis)
    xp.exp(y, out=y)
    y /= sums_along(y, (axis,))
    return y.astype(x.dtype, copy=False)


def _log_softmax_gradient(g: Array, y: Array, axis: int) -> Array:
    g = widened(g)
    return g - exp(widened(y)) * sums_along(g, (axis,))


@primitive(vjp=(_log_softmax_gradient,), floating=True)
def _log_softmax(xp: Any, x: Array, *, axis: int) -> Array:
    y = _below_top(xp, x, axis)  # exactly, however large x is
    if x.size:
        y -= xp.log1p(powers_but_one(xp, y, (axis,)))
    return y.astype(x.dtype, copy=False)


def _below_top(xp: Any, x: Array, axis: int) -> Array:
    """x less its largest element along an axis, in memory of its own."""
    x = widened(x)
    return x - x.max(axis=axis, keepdims=True) if x.size else x.copy()


@both_dialects
@scalars_too
def softmax(x: Array, axis: int = -1, *, dtype: Any = None) -> Array:
    """exp(x) over its sum along `axis`, computed without overflow."""
    x = x if dtype is None else x.astype(dtype)
    return _softmax(x, axis=axis_of("softmax", axis, x.ndim))


@both_dialects
@scalars_too
def log_softmax(x: Array, axis: int = -1, *, dtype: Any = None) -> Array:
    """The logarithms of `softmax`, right to the last digits also where they are close to 0."""
    x = x if dtype is None else x.astype(dtype)
    return _log_softmax(x, axis=axis_of("log_softmax", axis, x.ndim))
