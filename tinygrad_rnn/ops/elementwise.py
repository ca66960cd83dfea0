"""Functions of one element, or of elements at the same place: each with its derivative beside it.

Arguments broadcast against each other as in NumPy. A rule is written as if no broadcasting took place; the
engine sums each gradient back to the shape of its argument. In the rules `g` is the gradient of the result
`y`.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..engine import primitive
from ..engine.errors import Mismatch
from .arguments import widened

# ---------------------------------------------------------------- arithmetic


def _flat(g: Array) -> Array:
    """The gradient of what changes in steps alone: zero, be g infinite."""
    return where(False, g, 0.0)


@primitive(vjp=(lambda g: g, lambda g: g), elementwise=True, c="{0} + {1}", ufunc="add", cheap=True)
def add(xp: Any, a: Array, b: Array) -> Array:
    """a + b."""
    return a + b


@primitive(vjp=(lambda g: g, lambda g: -g), elementwise=True, c="{0} - {1}", ufunc="subtract", cheap=True)
def sub(xp: Any, a: Array, b: Array) -> Array:
    """a - b."""
    return a - b


@primitive(
    vjp=(lambda g, b: g * b, lambda g, a: g * a),
    elementwise=True,
    c="{0} * {1}",
    ufunc="multiply",
    cheap=True,
)
def mul(xp: Any, a: Array, b: Array) -> Array:
    """a * b."""
    return a * b


@primitive(
    vjp=(lambda g, b: g / b, lambda g, y, b: -(widened(g) * y / b)),
    elementwise=True,
    c="{0} / {1}",
    ufunc="true_divide",
)
def div(xp: Any, a: Array, b: Array) -> Array:
    """a / b, a floating result also for integers."""
    return xp.true_divide(a, b)


@primitive(vjp=(lambda g: -g,), elementwise=True, c="-{0}", ufunc="negative", cheap=True)
def neg(xp: Any, x: Array) -> Array:
    """-x."""
    return xp.negative(x)


def _pow_base(g: Array, a: Array, b: Array) -> Array:
    a = widened(a)
    if isinstance(b, (int, float)):  # the exponent is a setting of the user's: no 0 * inf at a = 0
        return _flat(g) if b == 0 else g * (b * a ** (b - 1))
    flat = b == 0  # where a ** 0 is 1 for every a; its slope in b is not flat in a, so b stays a factor
    base = where(logical_and(flat, logical_not(abs(a) < math.inf)), 1.0, a)
    exponent = where(logical_and(base == 0, flat), 1.0, b)
    return g * b * base ** (exponent - 1)


def _pow_exponent(g: Array, y: Array, a: Array, b: Array) -> Array:
    safe = where(logical_and(a == 0, b >= 0), 1.0, a)  # 0 ** b is flat in b for b > 0, and taken so at 0
    return g * y * log(safe)


@primitive(vjp=(_pow_base, _pow_exponent), elementwise=True, c="power({0}, {1})")
def pow(xp: Any, a: Array, b: Array) -> Array:
    """a to the power b. The gradient to b is defined for a >= 0; that of 0 ** 0 is 0 to both. Integers to a
    number below 0 are floats.
    """
    if type(b) is int and b < 0 and type(a) is xp.array_type and a.dtype.kind != "f":
        b = float(b)
    return xp.power(a, b)


@primitive(vjp=(_flat, _flat), elementwise=True, c="floor_divide({0}, {1})")
def floor_divide(xp: Any, a: Array, b: Array) -> Array:
    """a / b rounded down; the gradient is 0."""
    return xp.floor_divide(a, b)


@primitive(
    vjp=(lambda g: g, lambda g, a, b: -(g * floor_divide(a, b))), elementwise=True, c="remainder_of({0}, {1})"
)
def remainder(xp: Any, a: Array, b: Array) -> Array:
    """What is left of a after floor division by b, with b's sign: a - b * floor(a / b)."""
    return xp.remainder(a, b)


# ---------------------------------------------------------------- comparison and logic: no gradient


@primitive(vjp=None, elementwise=True, c="{0} == {1}")
def eq(xp: Any, a: Array, b: Array) -> Array:
    """a == b."""
    return xp.equal(a, b)


@primitive(vjp=None, elementwise=True, c="{0} != {1}")
def ne(xp: Any, a: Array, b: Array) -> Array:
    """a != b."""
    return xp.not_equal(a, b)


@primitive(vjp=None, elementwise=True, c="{0} < {1}")
def lt(xp: Any, a: Array, b: Array) -> Array:
    """a < b."""
    return xp.less(a, b)


@primitive(vjp=None, elementwise=True, c="{0} <= {1}")
def le(xp: Any, a: Array, b: Array) -> Array:
    """a <= b."""
    return xp.less_equal(a, b)


@primitive(vjp=None, elementwise=True, c="{0} > {1}")
def gt(xp: Any, a: Array, b: Array) -> Array:
    """a > b."""
    return xp.greater(a, b)


@primitive(vjp=None, elementwise=True, c="{0} >= {1}")
def ge(xp: Any, a: Array, b: Array) -> Array:
    """a >= b."""
    return xp.greater_equal(a, b)


@primitive(vjp=None, elementwise=True, c="!({0} != 0)")
def logical_not(xp: Any, x: Array) -> Array:
    """True where x is zero or False."""
    return xp.logical_not(x)


@primitive(vjp=None, elementwise=True, c="{0} != 0 && {1} != 0")
def logical_and(xp: Any, a: Array, b: Array) -> Array:
    """True where both are nonzero."""
    return xp.logical_and(a, b)


@primitive(vjp=None, elementwise=True, c="{0} != 0 || {1} != 0")
def logical_or(xp: Any, a: Array, b: Array) -> Array:
    """True where one or both are nonzero."""
    return xp.logical_or(a, b)


@primitive(vjp=None, elementwise=True, c="{0} & {1}")
def bitwise_and(xp: Any, a: Array, b: Array) -> Array:
    """a & b of booleans or integers."""
    return xp.bitwise_and(a, b)


@primitive(vjp=None, elementwise=True, c="{0} | {1}")
def bitwise_or(xp: Any, a: Array, b: Array) -> Array:
    """a | b of booleans or integers."""
    return xp.bitwise_or(a, b)


@primitive(vjp=None, elementwise=True, c="{0} ^ {1}")
def bitwise_xor(xp: Any, a: Array, b: Array) -> Array:
    """a ^ b of booleans or integers."""
    return xp.bitwise_xor(a, b)


@primitive(vjp=None, elementwise=True, c="{0} != {0}")
def isnan(xp: Any, x: Array) -> Array:
    """True where x is NaN."""
    return xp.isnan(x)


@primitive(vjp=None, elementwise=True, c="{0} - {0} != 0 && {0} == {0}")
def isinf(xp: Any, x: Array) -> Array:
    """True where x is infinite."""
    return xp.isinf(x)


@primitive(vjp=None, elementwise=True, c="{0} - {0} == 0")
def isfinite(xp: Any, x: Array) -> Array:
    """True where x is neither NaN nor infinite."""
    return xp.isfinite(x)


# ---------------------------------------------------------------- exponentials and powers


@primitive(vjp=(lambda g, y: g * y,), floating=True, elementwise=True, c="exp({0})", ufunc="exp")
def exp(xp: Any, x: Array) -> Array:
    """e to the power x."""
    return xp.exp(x)


@primitive(vjp=(lambda g, x: g / x,), floating=True, elementwise=True, c="log({0})", ufunc="log")
def log(xp: Any, x: Array) -> Array:
    """Natural logarithm; x > 0."""
    return xp.log(x)


@primitive(vjp=(lambda g, x: g / (x + 1),), floating=True, elementwise=True, c="log1p({0})", ufunc="log1p")
def log1p(xp: Any, x: Array) -> Array:
    """log(1 + x), exact for small x; x > -1."""
    return xp.log1p(x)


@primitive(vjp=(lambda g, y: g * (y + 1),), floating=True, elementwise=True, c="expm1({0})", ufunc="expm1")
def expm1(xp: Any, x: Array) -> Array:
    """exp(x) - 1, exact for small x."""
    return xp.expm1(x)


@primitive(vjp=(lambda g, y: g / (y + y),), floating=True, elementwise=True, c="sqrt({0})", ufunc="sqrt")
def sqrt(xp: Any, x: Array) -> Array:
    """Square root; the gradient at 0 is infinite."""
    return xp.sqrt(x)


@primitive(vjp=(_flat,), elementwise=True, c="sign_of({0})")
def sign(xp: Any, x: Array) -> Array:
    """-1, 0 or 1; the gradient is 0."""
    return xp.sign(x)


@primitive(vjp=(lambda g, x: g * sign(x),), elementwise=True, c="fabs({0})", ufunc="abs")
def abs(xp: Any, x: Array) -> Array:
    """|x|; the gradient at 0 is 0."""
    return xp.abs(x)


@primitive(vjp=(_flat,), elementwise=True, c="floor({0})")
def floor(xp: Any, x: Array) -> Array:
    """The largest integer not above x; the gradient is 0."""
    return xp.floor(x) if x.dtype.kind == "f" else x.copy()  # integers stay what they are, exactly


@primitive(vjp=(_flat,), elementwise=True, c="rint({0})")
def round(xp: Any, x: Array) -> Array:
    """The nearest integer, halves to the even one; the gradient is 0."""
    return xp.rint(x) if x.dtype.kind == "f" else x.copy()


def _sin_gradient(g: Array, x: Array) -> Array:
    return g * cos(x)


@primitive(vjp=(_sin_gradient,), floating=True, elementwise=True, c="sin({0})", ufunc="sin")
def sin(xp: Any, x: Array) -> Array:
    """Sine; x in radians."""
    return xp.sin(x)


@primitive(vjp=(lambda g, x: -(g * sin(x)),), floating=True, elementwise=True, c="cos({0})", ufunc="cos")
def cos(xp: Any, x: Array) -> Array:
    """Cosine; x in radians."""
    return xp.cos(x)


# ---------------------------------------------------------------- activations


@primitive(vjp=(lambda g, y: g * (1 - y * y),), floating=True, elementwise=True, c="tanh({0})", ufunc="tanh")
def tanh(xp: Any, x: Array) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(x)


@primitive(vjp=(lambda g, y: g * (y * (1 - y)),), floating=True, elementwise=True, c="sigmoid({0})")
def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + exp(-x)), computed without overflow for any x."""
    return xp.sigmoid(x)


@primitive(vjp=(lambda g, y: where(y > 0, g, 0.0),), elementwise=True, c="{0} < 0 ? T(0) : {0}")
def relu(xp: Any, x: Array) -> Array:
    """max(x, 0); the gradient at 0 is 0."""
    return xp.maximum(x, 0)


@primitive(
    vjp=(lambda g, x, negative_slope: where(x > 0, g, g * negative_slope),),
    floating=True,
    elementwise=True,
    c="{0} > 0 ? {0} : {0} * {negative_slope}",
)
def leaky_relu(xp: Any, x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where positive, else negative_slope * x (Maas et al. 2013)."""
    return xp.where(x > 0, x, x * negative_slope)


def _elu_gradient(g: Array, x: Array, alpha: float) -> Array:
    return g * where(x > 0, 1.0, alpha * exp(minimum(widened(x), 0.0)))


@primitive(vjp=(_elu_gradient,), floating=True, elementwise=True, c="{0} > 0 ? {0} : {alpha} * expm1({0})")
def elu(xp: Any, x: Array, *, alpha: float = 1.0) -> Array:
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


def _softplus_gradient(g: Array, x: Array, beta: float) -> Array:
    return g * sigmoid(x if beta == 1 else clip(widened(x), -_far(beta), _far(beta)) * beta)


def _far(beta: float) -> float:
    """From where on beta * x can do no more to a sigmoid, and might overflow."""
    return min(1e4 / beta, 1e38)


@primitive(
    vjp=(_softplus_gradient,),
    floating=True,
    elementwise=True,
    c="larger({0}, T(0)) + log1p(exp(-fabs({0}) * {beta})) / {beta}",
)
def softplus(xp: Any, x: Array, *, beta: float = 1.0) -> Array:
    """log(1 + exp(beta * x)) / beta, computed without overflow: a smooth relu, the closer the larger beta."""
    if beta == 1:
        return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))
    near = xp.minimum(xp.abs(widened(x)), _far(beta))
    return (xp.maximum(x, 0) + xp.log1p(xp.exp(near * -beta)) / beta).astype(x.dtype, copy=False)


@primitive(
    vjp=(lambda g, a, b: g * sigmoid(widened(a) - b), lambda g, a, b: g * sigmoid(widened(b) - a)),
    floating=True,
    elementwise=True,
    c="log_of_sum({0}, {1})",
    ufunc="logaddexp",
)
def logaddexp(xp: Any, a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)), computed without overflow: a sum of numbers that are kept as logarithms."""
    return xp.logaddexp(a, b)


def _bell(x: Array) -> Array:
    """exp(-x^2); the square does not overflow where that is 0 already."""
    z = clip(x, -40.0, 40.0)
    return exp(-(z * z))


@primitive(
    vjp=(lambda g, x: g * (2 / math.sqrt(math.pi) * _bell(x)),), floating=True, elementwise=True, c="erf({0})"
)
def erf(xp: Any, x: Array) -> Array:
    """The error function: twice the integral of exp(-t^2) from 0 to x, over the root of pi."""
    return xp.erf(x)


# The tanh formula, x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + _CUBE * x^3), is x * sigmoid(2 * u), in
# which nothing cancels.
_SCALE, _CUBE = 2 * math.sqrt(2 / math.pi), 0.044715
_FAR = 40.0  # from where on both forms are x or 0, in every type


def _gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    x = clip(widened(x), -_FAR, _FAR)
    if approximate == "none":
        below = 0.5 * (1.0 + erf(x * math.sqrt(0.5)))
        return g * (below + x * (1 / math.sqrt(2 * math.pi) * _bell(x * math.sqrt(0.5))))
    s = sigmoid(_SCALE * (x + _CUBE * (x * x * x)))
    return g * (s + x * ((s * (1.0 - s)) * (_SCALE + 3 * _SCALE * _CUBE * (x * x))))


@primitive(vjp=(_gelu_gradient,), floating=True, elementwise=True, c="gelu_{approximate}({0})")
def _gelu(xp: Any, x: Array, *, approximate: str = "none") -> Array:
    kind, x = x.dtype, widened(x)
    z = xp.clip(x, -_FAR, _FAR)
    if approximate == "none":
        part = 0.5 * (1.0 + xp.erf(z * math.sqrt(0.5)))
    else:
        part = xp.sigmoid(_SCALE * (z + _CUBE * (z * z * z)))
    return (xp.maximum(x, -_FAR) * part).astype(kind, copy=False)


def gelu(x: Array, approximate: str = "none") -> Array:
    """x times the normal distribution function at x (Hendrycks & Gimpel 2016); with approximate="tanh" by a
    formula close to it.
    """
    if approximate not in ("none", "tanh"):
        raise Mismatch(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    return _gelu(x, approximate=approximate)


# ---------------------------------------------------------------- choosing


def _share(g: Array, chosen: Array, other: Array) -> Array:
    """The gradient to `chosen`, the larger (or smaller) of two; where they are equal each gets half."""
    return where(chosen == other, 0.5 * g, g)


@primitive(vjp=(
    lambda g, a, b: where(a >= b, _share(g, a, b), 0.0),
    lambda g, a, b: where(b >= a, _share(g, b, a), 0.0),
), elementwise=True, c="larger({0}, {1})", ufunc="maximum")  # fmt: skip
def maximum(xp: Any, a: Array, b: Array) -> Array:
    """The larger of a and b; equal ones share the gradient."""
    return xp.maximum(a, b)


@primitive(vjp=(
    lambda g, a, b: where(a <= b, _share(g, a, b), 0.0),
    lambda g, a, b: where(b <= a, _share(g, b, a), 0.0),
), elementwise=True, c="smaller({0}, {1})", ufunc="minimum")  # fmt: skip
def minimum(xp: Any, a: Array, b: Array) -> Array:
    """The smaller of a and b; equal ones share the gradient."""
    return xp.minimum(a, b)


def _inside(g: Array, x: Array, min: float | None, max: float | None) -> Array:
    if min is not None:
        g = where(x >= min, g, 0.0)
    return g if max is None else where(x <= max, g, 0.0)


@primitive(vjp=(_inside,), elementwise=True, c="clipped({0}, {min}, {max})")
def _clip(xp: Any, x: Array, *, min: float | None, max: float | None) -> Array:
    return xp.clip(x, min, max)


def clip(x: Array, min: Any = None, max: Any = None) -> Array:
    """x held between `min` and `max`: numbers, tensors, or None for no bound; the gradient is 0 outside."""
    if min is None and max is None:
        raise Mismatch("clip: give min, max or both")
    if any(hasattr(bound, "shape") for bound in (min, max)):
        x = x if min is None else maximum(x, min)
        return x if max is None else minimum(x, max)
    return _clip(x, min=min, max=max)


@primitive(vjp=(
    None,
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
), elementwise=True, c="{0} != 0 ? {1} : {2}")  # fmt: skip
def _where(xp: Any, condition: Array, a: Array, b: Array) -> Array:
    condition = xp.asarray(condition)
    return xp.where(condition if condition.dtype.kind == "b" else condition != 0, a, b)


def where(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds, else b."""
    return _where(condition, a, b)


def masked_fill(x: Array, mask: Array, value: Any) -> Array:
    """x with `value` where the mask holds."""
    return where(mask, value, x)
