"""Rows of the reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .row import Case, Row, reduced


@s.composite
def along_one(draw: s.Draw, domain: s.Domain = s.REAL, least: int = 0, keepdims: bool = True) -> Case:
    """An array with one of its axes."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=least), domain))
    axis = draw(s.integers(-x.ndim, x.ndim - 1))
    return Case((x,), {"axis": axis, "keepdims": draw(s.booleans())} if keepdims else {"axis": axis})


@s.composite
def with_zeros(draw: s.Draw) -> Case:
    """Factors, some of them zero."""
    case: Case = draw(reduced())
    x = case.arrays[0]
    return Case((np.where(draw(s.integer_arrays(x.shape, 0, 4)) == 0, 0.0, x),), case.settings)


@s.composite
def normed(draw: s.Draw) -> Case:
    """Numbers with a p, their sizes not zero and not equal."""
    signs = draw(s.sampled_from([-1.0, 1.0]))
    case: Case = draw(reduced(s.Domain(0.2, 2, distinct=True), empty=False))
    return Case(
        (case.arrays[0] * signs,), {**case.settings, "p": draw(s.sampled_from([1, 2, 3, 1.5, 0.5, np.inf]))}
    )


@s.composite
def spread(draw: s.Draw) -> Case:
    """Numbers along axes with at least two elements each, with a correction."""
    case: Case = draw(reduced(s.DISTINCT, least=2).filter(lambda c: c.arrays[0].ndim > 0))
    return Case(case.arrays, {**case.settings, "correction": draw(s.sampled_from([0, 1]))})


@s.composite
def truths(draw: s.Draw) -> Case:
    """Booleans or integers with axes to reduce."""
    case: Case = draw(reduced())
    x = draw(s.integer_arrays(case.arrays[0].shape, 0, 2))
    return Case((x > 0 if draw(s.booleans()) else x,), case.settings)


def _logsumexp(x: Array, axis: Any, keepdims: bool) -> Array:
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def _norm(x: Array, p: float, axis: Any, keepdims: bool) -> Array:
    if p == np.inf:
        return abs(x).max(axis=axis, keepdims=keepdims)
    return (abs(x) ** p).sum(axis=axis, keepdims=keepdims) ** (1 / p)


def _extremes(values: Any, places: Any) -> Any:
    def reference(x: Array, axis: int, keepdims: bool) -> tuple[Array, Array]:
        return values(x, axis=axis, keepdims=keepdims), places(x, axis=axis, keepdims=keepdims)

    return reference


def _variance(x: Array, axis: Any, keepdims: bool, correction: int) -> Array:
    return np.var(x, axis=axis, keepdims=keepdims, ddof=correction)


def _deviation(x: Array, axis: Any, keepdims: bool, correction: int) -> Array:
    return np.std(x, axis=axis, keepdims=keepdims, ddof=correction)


ROWS: dict[str, Row] = {
    "sum": Row(ops.sum, np.sum, reduced(), ("sum",)),
    "mean": Row(ops.mean, np.mean, reduced(empty=False)),
    "var": Row(ops.var, _variance, spread()),
    "std": Row(ops.std, _deviation, spread()),
    "amax": Row(ops.amax, np.max, reduced(s.DISTINCT, empty=False), ("amax",)),
    "amin": Row(ops.amin, np.min, reduced(s.DISTINCT, empty=False), ("amin",)),
    "max": Row(ops.max, _extremes(np.max, np.argmax), along_one(s.DISTINCT, 1)),
    "min": Row(ops.min, _extremes(np.min, np.argmin), along_one(s.DISTINCT, 1)),
    "argmax": Row(ops.argmax, np.argmax, along_one(s.DISTINCT, 1), ("argmax",), 0),
    "argmin": Row(ops.argmin, np.argmin, along_one(s.DISTINCT, 1), ("argmin",), 0),
    "prod": Row(ops.prod, np.prod, reduced(), ("prod",)),
    "prod with zeros": Row(ops.prod, np.prod, with_zeros()),
    "cumsum": Row(ops.cumsum, np.cumsum, along_one(keepdims=False), ("cumsum",)),
    "logsumexp": Row(ops.logsumexp, _logsumexp, reduced(empty=False), ("logsumexp",)),
    "all": Row(ops.all, np.all, truths(), ("all",), 0),
    "any": Row(ops.any, np.any, truths(), ("any",), 0),
    "norm": Row(ops.norm, _norm, normed(), ("norm",)),
}
