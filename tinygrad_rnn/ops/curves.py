"""More functions of one element: those that recurrent nets seldom need, and that loops run op by op."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..engine import primitive
from .arguments import both_dialects, wide
from .elementwise import cos, where
from .elementwise import exp as exp_
from .elementwise import log as log_

__all__ = [
    "acos", "asin", "atan", "atan2", "ceil", "cosh", "exp2", "frac", "log2", "log10", "logit", "sinh", "tan",
    "trunc",
]  # fmt: skip


def _flat(g: Array) -> Array:
    return where(False, g, 0.0)


@primitive(vjp=(_flat,))
def ceil(xp: Any, x: Array) -> Array:
    """The smallest integer not below x; the gradient is 0."""
    return xp.ceil(x) if x.dtype.kind == "f" else x.copy()


@primitive(vjp=(_flat,))
def trunc(xp: Any, x: Array) -> Array:
    """x without its fraction; the gradient is 0."""
    return xp.trunc(x) if x.dtype.kind == "f" else x.copy()


def frac(x: Array) -> Array:
    """The fraction of x, with its sign: x - trunc(x)."""
    return x - trunc(x)


@primitive(vjp=(lambda g, x: g / (cos(x) * cos(x)),), floating=True)
def tan(xp: Any, x: Array) -> Array:
    """Tangent; x in radians."""
    return xp.tan(x)


@primitive(vjp=(lambda g, x: g / (1 + x * x),), floating=True)
def atan(xp: Any, x: Array) -> Array:
    """The angle in (-pi/2, pi/2) whose tangent is x."""
    return xp.arctan(x)


@primitive(
    vjp=(lambda g, a, b: g * b / (a * a + b * b), lambda g, a, b: -(g * a / (a * a + b * b))), floating=True
)
def atan2(xp: Any, a: Array, b: Array) -> Array:
    """The angle of the point (b, a), in (-pi, pi]."""
    return xp.arctan2(a, b)


@primitive(vjp=(lambda g, x: g / (1 - x * x) ** 0.5,), floating=True)
def asin(xp: Any, x: Array) -> Array:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1."""
    return xp.arcsin(x)


@primitive(vjp=(lambda g, x: -(g / (1 - x * x) ** 0.5),), floating=True)
def acos(xp: Any, x: Array) -> Array:
    """The angle in [0, pi] whose cosine is x; NaN beyond 1."""
    return xp.arccos(x)


def _cosh(x: Array) -> Array:
    return cosh(x)


@primitive(vjp=(lambda g, x: g * _cosh(x),), floating=True)
def sinh(xp: Any, x: Array) -> Array:
    """Hyperbolic sine."""
    return xp.sinh(x)


@primitive(vjp=(lambda g, x: g * sinh(x),), floating=True)
def cosh(xp: Any, x: Array) -> Array:
    """Hyperbolic cosine."""
    return xp.cosh(x)


@primitive(vjp=(lambda g, x: g / (x * math.log(2)),), floating=True)
def log2(xp: Any, x: Array) -> Array:
    """The logarithm to the base 2."""
    return xp.log2(x)


@primitive(vjp=(lambda g, x: g / (x * math.log(10)),), floating=True)
def log10(xp: Any, x: Array) -> Array:
    """The logarithm to the base 10."""
    return xp.log10(x)


@both_dialects
@wide(integers=True)
def logit(x: Array, eps: float | None = None) -> Array:
    """log(x / (1 - x)), of x held between eps and 1 - eps."""
    x = x if eps is None else x.clip(eps, 1 - eps)
    return log_(x / (1 - x))


@wide(integers=True)
def exp2(x: Array) -> Array:
    """2 to the power x."""
    return exp_(x * math.log(2))
