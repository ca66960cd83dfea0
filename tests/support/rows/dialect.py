"""Rows of what PyTorch's scripts ask for beside the ops of recurrent nets: most are made of other ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .row import Case, Row, binary, unary

NOT_WHOLE = s.Domain(-2.9, 2.9, kinks=(-2.0, -1.0, 0.0, 1.0, 2.0))
WITHIN_ONE = s.Domain(-0.9, 0.9)
KINKS = s.Domain(-8.0, 8.0, kinks=(-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0))


@s.composite
def along(draw: s.Draw, /, least: int = 1, **more: Any) -> Case:
    """An array whose elements all differ, with an axis; settings that are strategies are drawn."""
    shape = draw(s.shapes(min_dims=1, min_side=least))
    rng = np.random.default_rng(draw(s.integers(0, 2**32 - 1)))
    x = s.DISTINCT.sample(shape, rng)
    drawn = {k: draw(v) if isinstance(v, s.Strategy) else v for k, v in more.items()}
    return Case((x,), {"axis": draw(s.integers(-len(shape), len(shape) - 1)), **drawn})


@s.composite
def matrices(draw: s.Draw, name: str = "diagonal", exact: bool = False) -> Case:
    """Matrices, one or several, with the number of a diagonal."""
    shape = draw(s.shapes(min_dims=2, max_dims=2 if exact else 3, min_side=1))
    return Case((draw(s.arrays(shape)),), {name: draw(s.integers(-2, 2))})


@s.composite
def put_along(draw: s.Draw) -> Case:
    """An array, an index that names places along an axis, each once, and what is put there."""
    shape = draw(s.shapes(min_dims=1, min_side=1))
    axis = draw(s.integers(0, len(shape) - 1))
    rng = np.random.default_rng(draw(s.integers(0, 2**32 - 1)))
    order = np.argsort(rng.random(shape), axis=axis)
    index = np.take(order, range(draw(s.integers(1, shape[axis]))), axis=axis)
    return Case((draw(s.arrays(shape)), index, draw(s.arrays(index.shape))), {"axis": axis})


@s.composite
def halves(draw: s.Draw) -> Case:
    """An array whose last axis is even."""
    x = draw(s.arrays(s.shapes(min_dims=1)))
    return Case((np.concatenate([x, x + 1], -1),))


@s.composite
def windows(draw: s.Draw) -> Case:
    """An array with an axis, and the size and step of windows along it."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1)))
    axis = draw(s.integers(0, x.ndim - 1))
    return Case(
        (x,), {"axis": axis, "size": draw(s.integers(1, x.shape[axis])), "step": draw(s.integers(1, 2))}
    )


def _putting(function: Any) -> Any:
    def op(x: Array, index: Array, src: Array, axis: int) -> Array:
        return function(x, axis, index, src)

    return op


def _scatter(x: Array, index: Array, src: Array, axis: int) -> Array:
    y = x.copy()
    np.put_along_axis(y, index, src, axis)
    return y


def _scatter_add(x: Array, index: Array, src: Array, axis: int) -> Array:
    zeros = np.zeros_like(x)
    np.put_along_axis(zeros, index, src, axis)
    return x + zeros


def _diag(x: Array, diagonal: int) -> Array:
    return np.diagonal(x, diagonal)


def _unfold(x: Array, axis: int, size: int, step: int) -> Array:
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    return view[(slice(None),) * axis + (slice(None, None, step),)]


def _median(x: Array, axis: int) -> tuple[Array, Array]:
    at = np.take(np.argsort(x, axis=axis), [(x.shape[axis] - 1) // 2], axis=axis)
    return np.take_along_axis(x, at, axis).squeeze(axis), at.squeeze(axis)


def _logcumsumexp(x: Array, axis: int) -> Array:
    return np.log(np.cumsum(np.exp(x), axis))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _selu(x: Array) -> Array:
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))


def _glu(x: Array) -> Array:
    a, b = np.split(x, 2, -1)
    return a * _sigmoid(b)


ROWS: dict[str, Row] = {
    "ceil": Row(ops.ceil, np.ceil, unary(NOT_WHOLE), ("ceil",)),
    "trunc": Row(ops.trunc, np.trunc, unary(NOT_WHOLE), ("trunc",)),
    "tan": Row(ops.tan, np.tan, unary(s.Domain(-1.2, 1.2)), ("tan",)),
    "atan": Row(ops.atan, np.arctan, unary(), ("atan",)),
    "atan2": Row(ops.atan2, np.arctan2, binary(s.POSITIVE), ("atan2",)),
    "asin": Row(ops.asin, np.arcsin, unary(WITHIN_ONE), ("asin",)),
    "acos": Row(ops.acos, np.arccos, unary(WITHIN_ONE), ("acos",)),
    "sinh": Row(ops.sinh, np.sinh, unary(), ("sinh",)),
    "cosh": Row(ops.cosh, np.cosh, unary(), ("cosh",)),
    "log2": Row(ops.log2, np.log2, unary(s.POSITIVE), ("log2",)),
    "log10": Row(ops.log10, np.log10, unary(s.POSITIVE), ("log10",)),
    "exp2": Row(ops.exp2, np.exp2, unary()),
    "logit": Row(ops.logit, lambda x: np.log(x / (1 - x)), unary(s.Domain(0.1, 0.9))),
    "logsigmoid": Row(ops.logsigmoid, lambda x: np.log(_sigmoid(x)), unary()),
    "silu": Row(ops.silu, lambda x: x * _sigmoid(x), unary()),
    "mish": Row(ops.mish, lambda x: x * np.tanh(np.log1p(np.exp(x))), unary()),
    "hardtanh": Row(ops.hardtanh, lambda x: np.clip(x, -1, 1), unary(KINKS)),
    "relu6": Row(ops.relu6, lambda x: np.clip(x, 0, 6), unary(KINKS)),
    "hardsigmoid": Row(ops.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), unary(KINKS)),
    "hardswish": Row(ops.hardswish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), unary(KINKS)),
    "selu": Row(ops.selu, _selu, unary(KINKS)),
    "glu": Row(
        ops.glu, _glu, s.arrays(s.shapes(min_dims=1)).map(lambda x: Case((np.concatenate([x, x + 1], -1),)))
    ),
    "softsign": Row(ops.softsign, lambda x: x / (1 + np.abs(x)), unary(KINKS)),
    "tanhshrink": Row(ops.tanhshrink, lambda x: x - np.tanh(x), unary()),
    "softshrink": Row(ops.softshrink, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), unary(KINKS)),
    "hardshrink": Row(ops.hardshrink, lambda x: np.where(np.abs(x) > 0.5, x, 0), unary(KINKS)),
    "roll": Row(ops.roll, lambda x, shifts, axis: np.roll(x, shifts, axis), along(shifts=s.integers(-3, 3))),
    "tril": Row(ops.tril, lambda x, diagonal: np.tril(x, diagonal), matrices()),
    "triu": Row(ops.triu, lambda x, diagonal: np.triu(x, diagonal), matrices()),
    "diag": Row(ops.diag, _diag, matrices(exact=True)),
    "diagonal": Row(ops.diagonal, lambda x, offset: np.diagonal(x, offset), matrices("offset")),
    "unfold": Row(ops.unfold, _unfold, windows()),
    "scatter": Row(_putting(ops.scatter), _scatter, put_along()),
    "scatter_add": Row(_putting(ops.scatter_add), _scatter_add, put_along()),
    "cumprod": Row(ops.cumprod, np.cumprod, along()),
    "logcumsumexp": Row(ops.logcumsumexp, _logcumsumexp, along()),
    "median": Row(ops.median, _median, along()),
    "diff": Row(ops.diff, lambda x, axis: np.diff(x, axis=axis), along(least=2)),
    "frac": Row(ops.frac, lambda x: x - np.trunc(x), unary(NOT_WHOLE)),
    "lerp": Row(lambda a, b: ops.lerp(a, b, 0.3), lambda a, b: a + 0.3 * (b - a), binary()),
}
