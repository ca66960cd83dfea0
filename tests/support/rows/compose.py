"""Rows of matrix products and of what is built of other ops: softmax, losses, normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .row import Case, Row

SUBSCRIPTS = ("ij,jk->ik", "bij,bjk->bik", "bi,ij->bj", "ij->ji", "ij->", "i,j->ij", "bi,bi->b",
              "bi,ij,bj->b", "...i,ij->...j", "ij,jk", "bhqd,bhkd->bhqk")  # fmt: skip


@s.composite
def factors(draw: s.Draw) -> Case:
    """Two arrays whose matrix product exists: vectors, matrices, and leading axes that broadcast."""
    n, k, m = (draw(s.integers(0, 3)) for _ in range(3))
    lead_a, lead_b = draw(s.broadcast_shapes(2, max_dims=2, max_side=2))
    a = (k,) if draw(s.integers(0, 3)) == 0 else (*lead_a, n, k)
    b = (k,) if draw(s.integers(0, 3)) == 0 else (k, m) if draw(s.booleans()) else (*lead_b, k, m)
    return Case((draw(s.arrays(a)), draw(s.arrays(b))))


@s.composite
def added(draw: s.Draw) -> Case:
    """An array that broadcasts to the matrix product of the two others."""
    a, b = draw(factors()).arrays
    whole = np.matmul(a, b).shape
    shape = tuple(n if draw(s.booleans()) else 1 for n in whole[draw(s.integers(0, len(whole))) :])
    return Case((draw(s.arrays(shape)), a, b))


@s.composite
def mapped(draw: s.Draw) -> Case:
    """Inputs (..., k) and the weight of a linear map, (m, k)."""
    x = draw(s.arrays(s.shapes(min_dims=1)))
    return Case((x, draw(s.arrays((draw(s.integers(0, 3)), x.shape[-1])))))


@s.composite
def contracted(draw: s.Draw) -> Case:
    """Subscripts and arrays for them."""
    subscripts = draw(s.sampled_from(SUBSCRIPTS))
    sizes = {c: draw(s.integers(1, 3)) for c in sorted(set(subscripts)) if c.isalpha()}
    shapes = [
        tuple(sizes[c] for c in term.replace("...", "b") if c in sizes)
        if "..." not in term
        else (2, 1, sizes["i"])
        for term in subscripts.partition("->")[0].split(",")
    ]
    return Case(tuple(draw(s.arrays(shape)) for shape in shapes), {"subscripts": subscripts})


@s.composite
def along(draw: s.Draw, domain: s.Domain = s.REAL) -> Case:
    """An array without empty axes, and an axis."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1), domain))
    return Case((x,), {"axis": draw(s.integers(-x.ndim, x.ndim - 1))})


REDUCTIONS = s.sampled_from(["mean", "sum", "none"])


@s.composite
def pair(draw: s.Draw, /, first: s.Domain = s.REAL, second: s.Domain = s.REAL, **settings: Any) -> Case:
    """Input and target of one shape, and a reduction."""
    shape = draw(s.shapes(min_side=1))
    drawn = {name: draw(value) for name, value in settings.items()}
    return Case((draw(s.arrays(shape, first)), draw(s.arrays(shape, second))), drawn)


@s.composite
def apart(draw: s.Draw, /, **settings: Any) -> Case:
    """Input and target at distances away from 0 and 1."""
    case: Case = draw(pair(s.REAL, s.REAL, **settings))
    distance = draw(s.arrays(case.arrays[0].shape, s.Domain(kinks=(-1, 0, 1))))
    return Case((case.arrays[1] + distance, case.arrays[1]), case.settings)


@s.composite
def classified(draw: s.Draw, soft: bool = False) -> Case:
    """Scores (N, C), (C,) or (N, C, d), classes for them, and perhaps weights; some targets count nothing."""
    n, c, d = draw(s.integers(1, 3)), draw(s.integers(1, 4)), draw(s.integers(1, 2))
    shape = draw(s.sampled_from([(n, c), (c,), (n, c, d)]))
    axis = 0 if len(shape) == 1 else 1
    x = draw(s.arrays(shape))
    settings: dict[str, Any] = {"reduction": draw(REDUCTIONS)}
    if soft:
        return Case((x, draw(s.arrays(shape, s.Domain(0, 1)))), settings)
    target = np.array(draw(s.integer_arrays((*shape[:axis], *shape[axis + 1 :]), 0, c)))
    if draw(s.booleans()) and target.size > 1:
        target.flat[0] = -100
    if draw(s.booleans()):
        return Case((x, target, np.linspace(0.5, 1.5, c)), settings)
    return Case((x, target), settings)


@s.composite
def smoothed(draw: s.Draw) -> Case:
    """As `classified`, with label smoothing."""
    case: Case = draw(classified())
    return Case(case.arrays, {**case.settings, "label_smoothing": draw(s.sampled_from([0.0, 0.1]))})


@s.composite
def normalised(draw: s.Draw) -> Case:
    """An array, and weight and bias for its last axis."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=2), s.DISTINCT))
    return Case((x, draw(s.arrays(x.shape[-1:])), draw(s.arrays(x.shape[-1:]))))


def _reduced(losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    return np.mean(losses) if reduction == "mean" else np.sum(losses)


def _log_softmax(x: Array, axis: int = -1) -> Array:
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _nll(
    logs: Array, target: Array, weight: Any = None, reduction: str = "mean", label_smoothing: float = 0.0
) -> Array:
    axis = 0 if logs.ndim == 1 else 1
    moved = np.moveaxis(logs, axis, -1)
    weight = np.ones(moved.shape[-1]) if weight is None else weight
    losses, total = np.zeros(target.shape), 0.0
    for place in np.ndindex(target.shape):
        right = int(target[place])
        if right == -100:
            continue
        spread = (moved[place] * weight).mean() * label_smoothing
        losses[place] = -(1 - label_smoothing) * moved[place][right] * weight[right] - spread
        total += weight[right]
    return losses.sum() / total if reduction == "mean" else _reduced(losses, reduction)


def _cross_entropy(x: Array, target: Array, weight: Any = None, **settings: Any) -> Array:
    return _nll(_log_softmax(x, 0 if x.ndim == 1 else 1), target, weight, **settings)


def _soft_cross_entropy(x: Array, target: Array, reduction: str) -> Array:
    axis = 0 if x.ndim == 1 else 1
    return _reduced(-(_log_softmax(x, axis) * target).sum(axis=axis), reduction)


def _bce(p: Array, t: Array, reduction: str) -> Array:
    return _reduced(-(t * np.log(p) + (1 - t) * np.log(1 - p)), reduction)


def _huber(x: Array, t: Array, reduction: str) -> Array:
    d = abs(x - t)
    return _reduced(np.where(d < 1, d * d / 2, d - 0.5), reduction)


def _layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


PROBABILITY = s.Domain(0.1, 0.9)
ROWS: dict[str, Row] = {
    "addmm": Row(ops.addmm, lambda x, a, b: x + np.matmul(a, b), added(), ("addmm",)),
    "matmul": Row(ops.matmul, np.matmul, factors(), ("matmul",)),
    "linear": Row(ops.linalg.linear, lambda x, w: x @ w.T, mapped(), ("linear",)),
    "einsum": Row(
        lambda *xs, subscripts: ops.einsum(subscripts, *xs),
        lambda *xs, subscripts: np.array(np.einsum(subscripts, *xs)),
        contracted(),
    ),
    "softmax": Row(ops.softmax, lambda x, axis: np.exp(_log_softmax(x, axis)), along(), ("softmax",)),
    "log_softmax": Row(ops.log_softmax, _log_softmax, along(), ("log_softmax",)),
    "mse_loss": Row(
        ops.mse_loss, lambda x, t, reduction: _reduced((x - t) ** 2, reduction), pair(reduction=REDUCTIONS)
    ),
    "l1_loss": Row(
        ops.l1_loss, lambda x, t, reduction: _reduced(abs(x - t), reduction), apart(reduction=REDUCTIONS)
    ),
    "huber_loss": Row(ops.huber_loss, _huber, apart(reduction=REDUCTIONS)),
    "binary_cross_entropy": Row(
        ops.binary_cross_entropy,
        _bce,
        pair(PROBABILITY, PROBABILITY, reduction=REDUCTIONS),
        ("binary_cross_entropy",),
    ),
    "binary_cross_entropy_with_logits": Row(
        ops.binary_cross_entropy_with_logits,
        lambda x, t, reduction: _bce(1 / (1 + np.exp(-x)), t, reduction),
        pair(s.REAL, PROBABILITY, reduction=REDUCTIONS),
    ),
    "nll_loss": Row(ops.nll_loss, _nll, classified()),
    "cross_entropy": Row(ops.cross_entropy, _cross_entropy, smoothed()),
    "cross_entropy of probabilities": Row(ops.cross_entropy, _soft_cross_entropy, classified(soft=True)),
    "normalize": Row(
        ops.normalize, lambda x, axis: x / np.sqrt((x * x).sum(axis=axis, keepdims=True)), along(s.POSITIVE)
    ),
    "layer_norm": Row(
        lambda x, w, b: ops.layer_norm(x, x.shape[-1], w, b), _layer_norm, normalised(), ("standardize",)
    ),
}
