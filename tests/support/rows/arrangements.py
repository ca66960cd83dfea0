"""Rows of what lays tensors beside each other, puts slices, orders, and of the losses of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array

from .. import strategies as s
from .dialect import along
from .row import Case, Row, unary


@s.composite
def alike(draw: s.Draw, /, n: int = 2, least: int = 0, domain: s.Domain = s.REAL, **more: Any) -> Case:
    """Arrays of one shape."""
    shape = draw(s.shapes(min_dims=least, min_side=1))
    drawn = {k: draw(v) if isinstance(v, s.Strategy) else v for k, v in more.items()}
    return Case(tuple(draw(s.arrays(shape, domain)) for _ in range(n)), drawn)


@s.composite
def slices(draw: s.Draw) -> Case:
    """An array, an index of slices along its first axis, each once, and what goes there."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1)))
    rng = np.random.default_rng(draw(s.integers(0, 2**32 - 1)))
    index = rng.permutation(len(x))[: draw(s.integers(1, len(x)))]
    return Case((x, index, draw(s.arrays((len(index), *x.shape[1:])))))


@s.composite
def pairs(draw: s.Draw, /, signs: bool = False, n: int = 2) -> Case:
    """Two matrices of rows that differ, and with `signs` 1 or -1 for each row."""
    shape = (draw(s.integers(1, 3)), draw(s.integers(1, 3)))
    given = [draw(s.arrays(shape, s.Domain(0.2, 2.0))) * (1 + 3 * k) for k in range(n)]
    if signs:
        return Case((*given, draw(s.integer_arrays((shape[0],), 0, 2)) * 2 - 1))
    return Case(tuple(given))


def _joined(function: Any) -> Any:
    return lambda *xs: function(list(xs))


def _put(x: Array, index: Array, v: Array) -> Array:
    y = x.copy()
    y[index] = v
    return y


def _added(x: Array, index: Array, v: Array) -> Array:
    y = x.copy()
    y[index] += v
    return y


def _filled(x: Array, index: Array, v: Array) -> Array:
    return _put(x, index, np.asarray(2.5))


def _embedded(x: Array, offset: int) -> Array:
    n = x.shape[-1] + abs(offset)
    y = np.zeros((*x.shape[:-1], n, n))
    rows = np.arange(x.shape[-1])
    y[..., rows - min(offset, 0), rows + max(offset, 0)] = x
    return y


def _kth(x: Array, axis: int, k: int) -> tuple[Array, Array]:
    at = np.take(np.argsort(x, axis=axis), [k - 1], axis=axis)
    return np.take_along_axis(x, at, axis).squeeze(axis), at.squeeze(axis)


def _extreme(function: Any) -> Any:
    def reference(x: Array, axis: int) -> tuple[Array, Array]:
        best = function.accumulate(x, axis=axis)
        places = np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
        return best, np.maximum.accumulate(np.where(x == best, places, 0), axis=axis)

    return reference


def _cosine(a: Array, b: Array, y: Array) -> Array:
    c = (a * b).sum(1) / np.sqrt(((a * a).sum(1) + 1e-12) * ((b * b).sum(1) + 1e-12))
    return np.where(y == 1, 1 - c, np.maximum(c - 0.1, 0)).mean()


def _triplet(a: Array, b: Array, c: Array) -> Array:
    near, far = (np.sqrt(((a - x + 1e-6) ** 2).sum(-1)) for x in (b, c))
    return np.maximum(near - far + 20.0, 0).mean()


def _gauss(x: Array, t: Array, v: Array) -> Array:
    return (0.5 * (np.log(v) + (x - t) ** 2 / v)).mean()


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ROWS: dict[str, Row] = {
    "hstack": Row(_joined(ops.hstack), _joined(np.hstack), alike()),
    "vstack": Row(_joined(ops.vstack), _joined(np.vstack), alike()),
    "dstack": Row(_joined(ops.dstack), _joined(np.dstack), alike()),
    "column_stack": Row(
        _joined(ops.column_stack),
        lambda a, b: np.hstack([x.reshape(-1, 1) if x.ndim < 2 else x for x in (a, b)]),
        alike(),
    ),
    "atleast_1d": Row(ops.atleast_1d, np.atleast_1d, unary()),
    "atleast_2d": Row(ops.atleast_2d, np.atleast_2d, unary()),
    "atleast_3d": Row(ops.atleast_3d, np.atleast_3d, unary()),
    "broadcast_tensors": Row(
        ops.broadcast_tensors,
        lambda a, b: np.broadcast_arrays(a, b),
        alike().map(lambda c: Case((c.arrays[0], c.arrays[1][..., :1] if c.arrays[1].ndim else c.arrays[1]))),
    ),
    "meshgrid": Row(
        ops.meshgrid,
        lambda a, b: tuple(np.meshgrid(a, b, indexing="ij")),
        alike(least=1).map(lambda c: Case(tuple(x.reshape(-1)[:3] for x in c.arrays))),
    ),
    "movedim": Row(ops.movedim, np.moveaxis, alike(1, 2, source=0, destination=-1)),
    "tensor_split": Row(
        ops.tensor_split,
        lambda x, indices_or_sections: tuple(np.array_split(x, indices_or_sections)),
        alike(1, 1, indices_or_sections=s.integers(1, 3)),
    ),
    "unflatten": Row(
        ops.unflatten,
        lambda x, axis, sizes: x.reshape(1, -1, *x.shape[1:]),
        alike(1, 1, axis=0, sizes=(1, -1)),
    ),
    "trace": Row(ops.trace, np.trace, s.arrays((3, 2)).map(lambda x: Case((x,)))),
    "diag_embed": Row(ops.diag_embed, _embedded, alike(1, 1, offset=s.integers(-2, 2))),
    "take_along_dim": Row(
        ops.take_along_dim,
        lambda x, i: x.reshape(-1)[i],
        alike(1, 1).map(lambda c: Case((c.arrays[0], np.array([0])))),
    ),
    "index_add": Row(lambda x, i, v: ops.index_add(x, 0, i, v), _added, slices()),
    "index_copy": Row(lambda x, i, v: ops.index_copy(x, 0, i, v), _put, slices()),
    "index_fill": Row(lambda x, i, v: ops.index_fill(x, 0, i, 2.5), _filled, slices()),
    "masked_scatter": Row(
        lambda x, v: ops.masked_scatter(x, x > 0, v),
        lambda x, v: _put(x, x > 0, v.reshape(-1)[: int((x > 0).sum())]),
        alike(least=1),
    ),
    "kthvalue": Row(ops.kthvalue, _kth, along(k=1)),
    "cummax": Row(ops.cummax, _extreme(np.maximum), along()),
    "cummin": Row(ops.cummin, _extreme(np.minimum), along()),
    "quantile": Row(ops.quantile, lambda x, axis, q: np.quantile(x, q, axis=axis), along(q=0.3)),
    "addcmul": Row(
        lambda a, b, c: ops.addcmul(a, b, c, value=0.5), lambda a, b, c: a + b * c * 0.5, alike(3)
    ),
    "addcdiv": Row(
        lambda a, b, c: ops.addcdiv(a, b, c, value=2),
        lambda a, b, c: a + b / c * 2,
        alike(3, domain=s.POSITIVE),
    ),
    "nan_to_num": Row(ops.nan_to_num, np.nan_to_num, unary()),
    "celu": Row(
        lambda x: ops.celu(x, 2.0),
        lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)),
        unary(s.Domain(kinks=(0.0,))),
    ),
    "threshold": Row(
        lambda x: ops.threshold(x, 0.5, 3.0),
        lambda x: np.where(x > 0.5, x, 3.0),
        unary(s.Domain(kinks=(0.5,))),
    ),
    "prelu": Row(
        lambda x, w: ops.prelu(x, w.reshape(-1)[:1]),
        lambda x, w: np.where(x > 0, x, x * w.reshape(-1)[0]),
        alike(domain=s.Domain(kinks=(0.0,))),
    ),
    "kl_div": Row(ops.kl_div, lambda x, t: (t * (np.log(t) - x)).mean(), alike(domain=s.POSITIVE)),
    "gaussian_nll_loss": Row(ops.gaussian_nll_loss, _gauss, alike(3, 1, domain=s.POSITIVE)),
    "poisson_nll_loss": Row(ops.poisson_nll_loss, lambda x, t: (np.exp(x) - t * x).mean(), alike()),
    "soft_margin_loss": Row(ops.soft_margin_loss, lambda x, t: np.log1p(np.exp(-t * x)).mean(), alike()),
    "multilabel_soft_margin_loss": Row(
        ops.multilabel_soft_margin_loss,
        lambda x, t: -(t * np.log(_sigmoid(x)) + (1 - t) * np.log(_sigmoid(-x))).mean(-1).mean(),
        alike(least=1),
    ),
    "hinge_embedding_loss": Row(
        lambda a, b, y: ops.hinge_embedding_loss(b[:, 0], y, 20.0),
        lambda a, b, y: np.where(y == 1, b[:, 0], np.maximum(20.0 - b[:, 0], 0)).mean(),
        pairs(signs=True),
    ),
    "margin_ranking_loss": Row(
        lambda a, b, y: ops.margin_ranking_loss(a[:, 0], b[:, 0], y, 20.0),
        lambda a, b, y: np.maximum(20.0 - y * (a[:, 0] - b[:, 0]), 0).mean(),
        pairs(signs=True),
    ),
    "cosine_embedding_loss": Row(
        lambda a, b, y: ops.cosine_embedding_loss(a, b, y, 0.1), _cosine, pairs(True)
    ),
    "triplet_margin_loss": Row(lambda a, b, c: ops.triplet_margin_loss(a, b, c, 20.0), _triplet, pairs(n=3)),
}
