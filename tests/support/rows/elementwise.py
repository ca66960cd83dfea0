"""Rows of the functions of one element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .row import Case, Row, binary, integer_pair, unary


@s.composite
def unequal(draw: s.Draw) -> Case:
    """Two arrays none of whose elements are equal to each other."""
    a, b = draw(s.broadcast_shapes(2, max_dims=2))
    rng = np.random.default_rng(draw(s.integers(0, 2**32 - 1)))
    n_a, n_b = math.prod(a), math.prod(b)
    values = s.DISTINCT.sample((n_a + n_b,), rng)
    layout = draw(s.layouts())
    return Case((s.laid_out(values[:n_a].reshape(a), layout), values[n_a:].reshape(b)))


@s.composite
def between_steps(draw: s.Draw) -> Case:
    """Dividends and divisors whose quotients are away from integers."""
    shape, other = draw(s.broadcast_shapes(2, max_dims=2))
    b = draw(s.arrays(other, s.Domain(0.5, 2.0)))
    quotients = draw(
        s.arrays(np.broadcast_shapes(shape, other), s.Domain(-2.9, 2.9, kinks=(-2.0, -1.0, 0.0, 1.0, 2.0)))
    )
    b = -b if draw(s.booleans()) else b
    return Case((quotients * b, b))


@s.composite
def special(draw: s.Draw) -> Case:
    """An array in which some elements are NaN or infinite."""
    x = draw(s.arrays())
    marks = draw(s.integer_arrays(x.shape, 0, 4))
    return Case((np.choose(marks, [x, np.full(x.shape, np.nan), np.full(x.shape, np.inf), -x]),))


@s.composite
def chosen(draw: s.Draw) -> Case:
    """A condition and two arrays, all three broadcast against each other."""
    c, a, b = draw(s.broadcast_shapes(3, max_dims=2))
    condition = draw(s.integer_arrays(c, 0, 2))
    return Case((condition > 0, draw(s.arrays(a)), draw(s.arrays(b))))


@s.composite
def filled(draw: s.Draw) -> Case:
    """An array, a mask that broadcasts to it, and a value."""
    x = draw(s.arrays())
    mask = draw(s.integer_arrays(x.shape[draw(s.integers(0, x.ndim)) :], 0, 2)) > 0
    return Case((x, mask), {"value": draw(s.sampled_from([0.0, -1e9, 3]))})


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + np.reshape([math.erf(v / math.sqrt(2)) for v in x.flat], x.shape))


def _leaky(x: Array, negative_slope: float = 0.01) -> Array:
    return np.maximum(x, 0) + negative_slope * np.minimum(x, 0)


def _clipped(x: Array, min: Any = None, max: Any = None) -> Array:
    return np.clip(x, min, max)


def _filled(x: Array, mask: Array, value: Any) -> Array:
    return np.where(mask, np.asarray(value, x.dtype), x)


WIDE = s.Domain(-3.0, 3.0)
ROUNDED = s.Domain(-2.3, 2.3, kinks=(-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2))
BOUNDS = s.Domain(kinks=(-0.5, 0.75))
bounds = {"min": s.sampled_from([-0.5]), "max": s.sampled_from([0.75])}

ROWS: dict[str, Row] = {
    "add": Row(ops.add, np.add, binary(), ("add",)),
    "sub": Row(ops.sub, np.subtract, binary(), ("sub",)),
    "mul": Row(ops.mul, np.multiply, binary(), ("mul",)),
    "div": Row(ops.div, np.divide, binary(s.REAL, s.AWAY_FROM_ZERO), ("div",)),
    "neg": Row(ops.neg, np.negative, unary(), ("neg",)),
    "pow": Row(ops.pow, np.power, binary(s.POSITIVE, s.REAL), ("pow",)),
    "pow of a number": Row(
        lambda x, b: x**b,
        lambda x, b: np.power(x, b),
        unary(s.AWAY_FROM_ZERO, b=s.sampled_from([-2, -1, 0, 1, 2, 3])),
    ),
    "root by pow": Row(
        lambda x, b: x**b, lambda x, b: np.power(x, b), unary(s.POSITIVE, b=s.sampled_from([0.5, -0.5]))
    ),
    "number to the pow": Row(lambda x, b: b**x, lambda x, b: np.power(b, x), unary(b=2.5)),
    "floor_divide": Row(ops.floor_divide, np.floor_divide, between_steps(), ("floor_divide",)),
    "floor_divide of integers": Row(ops.floor_divide, np.floor_divide, integer_pair(), order=0),
    "remainder": Row(ops.remainder, np.remainder, between_steps(), ("remainder",)),
    "remainder of integers": Row(ops.remainder, np.remainder, integer_pair(-3, 4), order=0),
    "remainder of a number": Row(
        lambda x: x % 2.5 + 7.5 % (x + 4.0),
        lambda x: np.remainder(x, 2.5) + np.remainder(7.5, x + 4.0),
        unary(s.Domain(-2.0, 2.0, kinks=(-1.5, -0.25, 0.0))),
    ),
    "eq": Row(ops.eq, np.equal, integer_pair(), ("eq",), 0),
    "ne": Row(ops.ne, np.not_equal, integer_pair(), ("ne",), 0),
    "lt": Row(ops.lt, np.less, binary(), ("lt",), 0),
    "le": Row(ops.le, np.less_equal, integer_pair(), ("le",), 0),
    "gt": Row(ops.gt, np.greater, binary(), ("gt",), 0),
    "ge": Row(ops.ge, np.greater_equal, integer_pair(), ("ge",), 0),
    "logical_not": Row(
        ops.logical_not, np.logical_not, unary(s.Domain(-1, 1, kinks=(0,))), ("logical_not",), 0
    ),
    "logical_and": Row(ops.logical_and, np.logical_and, integer_pair(boolean=True), ("logical_and",), 0),
    "logical_or": Row(ops.logical_or, np.logical_or, integer_pair(), ("logical_or",), 0),
    "bitwise_and": Row(ops.bitwise_and, np.bitwise_and, integer_pair(), ("bitwise_and",), 0),
    "bitwise_or": Row(ops.bitwise_or, np.bitwise_or, integer_pair(boolean=True), ("bitwise_or",), 0),
    "bitwise_xor": Row(ops.bitwise_xor, np.bitwise_xor, integer_pair(), ("bitwise_xor",), 0),
    "isnan": Row(ops.isnan, np.isnan, special(), ("isnan",), 0),
    "isinf": Row(ops.isinf, np.isinf, special(), ("isinf",), 0),
    "isfinite": Row(ops.isfinite, np.isfinite, special(), ("isfinite",), 0),
    "exp": Row(ops.exp, np.exp, unary(), ("exp",)),
    "log": Row(ops.log, np.log, unary(s.POSITIVE), ("log",)),
    "log1p": Row(ops.log1p, np.log1p, unary(s.Domain(-0.7, 3)), ("log1p",)),
    "expm1": Row(ops.expm1, np.expm1, unary(), ("expm1",)),
    "sqrt": Row(ops.sqrt, np.sqrt, unary(s.POSITIVE), ("sqrt",)),
    "sign": Row(ops.sign, np.sign, unary(s.AWAY_FROM_ZERO), ("sign",)),
    "abs": Row(ops.abs, np.abs, unary(s.AWAY_FROM_ZERO), ("abs",)),
    "floor": Row(ops.floor, np.floor, unary(ROUNDED), ("floor",)),
    "round": Row(ops.round, np.rint, unary(ROUNDED), ("round",)),
    "sin": Row(ops.sin, np.sin, unary(WIDE), ("sin",)),
    "cos": Row(ops.cos, np.cos, unary(WIDE), ("cos",)),
    "tanh": Row(ops.tanh, np.tanh, unary(), ("tanh",)),
    "sigmoid": Row(ops.sigmoid, _sigmoid, unary(s.Domain(-4, 4)), ("sigmoid",)),
    "relu": Row(ops.relu, lambda x: np.maximum(x, 0), unary(s.AWAY_FROM_ZERO), ("relu",)),
    "leaky_relu": Row(
        ops.leaky_relu,
        _leaky,
        unary(s.AWAY_FROM_ZERO, negative_slope=s.sampled_from([0.01, 0.3])),
        ("leaky_relu",),
    ),
    "elu": Row(ops.elu, _elu, unary(s.AWAY_FROM_ZERO, alpha=s.sampled_from([1.0, 0.5])), ("elu",)),
    "softplus": Row(ops.softplus, lambda x: np.log(1 + np.exp(x)), unary(), ("softplus",)),
    "softplus with beta": Row(
        ops.softplus,
        lambda x, beta: np.log(1 + np.exp(beta * x)) / beta,
        unary(beta=s.sampled_from([0.5, 3.0])),
    ),
    "logaddexp": Row(ops.logaddexp, lambda a, b: np.log(np.exp(a) + np.exp(b)), binary(), ("logaddexp",)),
    "erf": Row(ops.erf, lambda x: np.reshape([math.erf(v) for v in x.flat], x.shape), unary(), ("erf",)),
    "gelu": Row(ops.gelu, _gelu, unary(approximate=s.sampled_from(["none", "tanh"])), ("gelu",)),
    "maximum": Row(ops.maximum, np.maximum, unequal(), ("maximum",)),
    "minimum": Row(ops.minimum, np.minimum, unequal(), ("minimum",)),
    "clip": Row(ops.clip, _clipped, unary(BOUNDS, **bounds), ("clip",)),
    "clip from below": Row(ops.clip, _clipped, unary(BOUNDS, min=-0.5)),
    "clip from above": Row(ops.clip, _clipped, unary(BOUNDS, max=0.75)),
    "clip by a tensor": Row(lambda x, low: ops.clip(x, min=low), np.maximum, unequal()),
    "where": Row(ops.where, np.where, chosen(), ("where",)),
    "masked_fill": Row(ops.masked_fill, _filled, filled()),
}
