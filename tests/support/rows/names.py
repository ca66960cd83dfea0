"""Rows of the functions that are other ops under a name of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .row import Case, Row, unary


@s.composite
def stretch(draw: s.Draw) -> Case:
    """An array with an axis, where along it a stretch begins, and how long that is."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1)))
    axis = draw(s.integers(-x.ndim, x.ndim - 1))
    start = draw(s.integers(0, x.shape[axis]))
    return Case((x,), {"axis": axis, "start": start, "length": draw(s.integers(0, x.shape[axis] - start))})


@s.composite
def slice_of(draw: s.Draw) -> Case:
    """An array with an axis, and the place of a slice along it."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1)))
    axis = draw(s.integers(-x.ndim, x.ndim - 1))
    return Case((x,), {"axis": axis, "index": draw(s.integers(-x.shape[axis], x.shape[axis] - 1))})


@s.composite
def vectors(draw: s.Draw) -> Case:
    """Two vectors."""
    return Case(tuple(draw(s.arrays((draw(s.integers(0, 3)),))) for _ in range(2)))


@s.composite
def chosen(draw: s.Draw) -> Case:
    """An array, and a mask that broadcasts to it."""
    x = draw(s.arrays())
    shape = x.shape[draw(s.integers(0, x.ndim)) :]
    return Case((x, draw(s.integer_arrays(shape, 0, 2)) > 0))


@s.composite
def apart(draw: s.Draw) -> Case:
    """Input and target at distances away from the joints of the smooth L1 loss."""
    beta = draw(s.sampled_from([0.0, 0.5, 1.0]))
    target = draw(s.arrays(s.shapes(min_side=1)))
    distance = draw(s.arrays(target.shape, s.Domain(kinks=(-beta, 0.0, beta))))
    reduction = draw(s.sampled_from(["none", "mean", "sum"]))
    return Case((target + distance, target), {"beta": beta, "reduction": reduction})


def _narrow(x: Array, axis: int, start: int, length: int) -> Array:
    return np.take(x, range(start, start + length), axis=axis)


def _select(x: Array, axis: int, index: int) -> Array:
    return np.take(x, index, axis=axis)


def _masked(x: Array, mask: Array) -> Array:
    return x[np.broadcast_to(mask, x.shape)]


def _smooth_l1(x: Array, t: Array, beta: float, reduction: str) -> Array:
    d = abs(x - t)
    loss = d if beta == 0 else np.where(d < beta, d**2 / (2 * beta), d - beta / 2)
    reduce: Any = {"none": np.asarray, "mean": np.mean, "sum": np.sum}[reduction]
    return reduce(loss)


ROWS: dict[str, Row] = {
    "square": Row(ops.square, np.square, unary()),
    "reciprocal": Row(ops.reciprocal, np.reciprocal, unary(s.POSITIVE)),
    "rsqrt": Row(ops.rsqrt, lambda x: 1 / np.sqrt(x), unary(s.POSITIVE)),
    "outer": Row(ops.outer, np.outer, vectors()),
    "t": Row(ops.t, np.transpose, s.arrays(s.shapes(max_dims=2)).map(lambda x: Case((x,)))),
    "narrow": Row(ops.narrow, _narrow, stretch()),
    "select": Row(ops.select, _select, slice_of()),
    "masked_select": Row(ops.masked_select, _masked, chosen()),
    "smooth_l1_loss": Row(ops.smooth_l1_loss, _smooth_l1, apart()),
}
