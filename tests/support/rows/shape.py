"""Rows of the ops that move elements, and of those that copy and convert them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array, find

from .. import strategies as s
from .row import Case, Row, unary


def axis_for(side: int = 0) -> s.Strategy[Case]:
    """An array with axes of size `side` at least, and one of them."""

    @s.composite
    def drawn(draw: s.Draw) -> Case:
        x = draw(s.arrays(s.shapes(min_dims=1, min_side=side)))
        return Case((x,), {"axis": draw(s.integers(-x.ndim, x.ndim - 1))})

    return drawn()


@s.composite
def new_axis(draw: s.Draw) -> Case:
    x = draw(s.arrays(s.shapes(max_dims=2)))
    return Case((x,), {"axis": draw(s.integers(-x.ndim - 1, x.ndim))})


@s.composite
def new_shape(draw: s.Draw) -> Case:
    x = draw(s.arrays())
    sizes = [tuple(reversed(x.shape)), (x.size,), (1, *x.shape), (*x.shape, 1)]
    return Case((x,), {"shape": draw(s.sampled_from(sizes + ([(-1,)] if x.size else [])))})


@s.composite
def new_order(draw: s.Draw) -> Case:
    x = draw(s.arrays())
    return Case((x,), {"axes": tuple(draw(s.permutations(range(x.ndim))))})


@s.composite
def two_axes(draw: s.Draw) -> Case:
    x = draw(s.arrays(s.shapes(min_dims=1)))
    ends = s.integers(-x.ndim, x.ndim - 1)
    return Case((x,), {"axis0": draw(ends), "axis1": draw(ends)})


@s.composite
def some_axes(draw: s.Draw) -> Case:
    x = draw(s.arrays())
    return Case((x,), {"axis": draw(s.axes(x.ndim))})


@s.composite
def wider(draw: s.Draw) -> Case:
    small, other = draw(s.broadcast_shapes(2))
    return Case((draw(s.arrays(small)),), {"shape": np.broadcast_shapes(small, other)})


@s.composite
def padded(draw: s.Draw) -> Case:
    x = draw(s.arrays(s.shapes(max_dims=2)))
    widths = [(draw(s.integers(0, 2)), draw(s.integers(0, 2))) for _ in x.shape]
    return Case((x,), {"widths": widths, "value": draw(s.sampled_from([0.0, 1.5]))})


@s.composite
def repeated(draw: s.Draw) -> Case:
    case: Case = draw(axis_for())
    axis = draw(s.sampled_from([None, case.settings["axis"]]))
    return Case(case.arrays, {"repeats": draw(s.integers(0, 3)), "axis": axis})


@s.composite
def tiled(draw: s.Draw) -> Case:
    x = draw(s.arrays(s.shapes(max_dims=2)))
    return Case((x,), {"repeats": tuple(draw(s.lists(s.integers(0, 2), min_size=1, max_size=3)))})


@s.composite
def several(draw: s.Draw, same: bool) -> Case:
    """One to three arrays that fit together along an axis."""
    shape = draw(s.shapes(min_dims=0 if same else 1, max_dims=2))
    ndim = len(shape) + same
    axis = draw(s.integers(-ndim, ndim - 1))
    sizes = draw(s.lists(s.integers(0, 3), min_size=1, max_size=3))
    place = axis % ndim
    arrays = [draw(s.arrays(shape if same else (*shape[:place], n, *shape[place + 1 :]))) for n in sizes]
    return Case(tuple(arrays), {"axis": axis})


@s.composite
def pieces(draw: s.Draw) -> Case:
    case: Case = draw(axis_for())
    return Case(case.arrays, {"size": draw(s.integers(1, 3)), **case.settings})


@s.composite
def sections(draw: s.Draw) -> Case:
    case: Case = draw(axis_for())
    n = case.arrays[0].shape[case.settings["axis"]]
    first = draw(s.integers(0, n))
    return Case(case.arrays, {"size": [first, 0, n - first], **case.settings})


def _reshape(x: Array, shape: Any) -> Array:
    return np.reshape(np.array(x, order="C"), shape)


def _pad(x: Array, widths: Any, value: float) -> Array:
    return np.pad(x, widths, constant_values=value) if x.ndim else x.copy()


def _split(x: Array, size: Any, axis: int) -> list[Array]:
    if isinstance(size, list):
        return np.split(x, np.cumsum(size)[:-1], axis)
    return np.split(x, range(size, x.shape[axis], size), axis)


def _chunk(x: Array, size: int, axis: int) -> list[Array]:
    n = x.shape[axis]
    if n == 0:
        return [x] * size
    return _split(x, math.ceil(n / size), axis)


def _unbind(x: Array, axis: int) -> list[Array]:
    return [np.take(x, i, axis) for i in range(x.shape[axis])]


def _flatten(x: Array, axis0: int, axis1: int) -> Array:
    i, j = sorted((axis0 % x.ndim, axis1 % x.ndim))
    return np.array(x, order="C").reshape(*x.shape[:i], math.prod(x.shape[i : j + 1]), *x.shape[j + 1 :])


def _flattened(x: Array, axis0: int, axis1: int) -> Array:
    i, j = sorted((axis0 % x.ndim, axis1 % x.ndim))
    return ops.flatten(x, i, j)


def _squeeze(x: Array, axis: Any) -> Array:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return np.squeeze(x, tuple({a % x.ndim for a in axes if x.shape[a] == 1}))


def _transfer(x: Array) -> Array:
    return ops.transfer(x, source=find("numpy"), target=find("numpy"))


def _expand(x: Array, shape: Any) -> Array:
    new = len(shape) - x.ndim
    kept = tuple(-1 if i >= new and x.shape[i - new] == n else n for i, n in enumerate(shape))
    return ops.expand(x, *kept)


def _cast(x: Array, dtype: str) -> Array:
    return ops.cast(x, dtype=dtype)


ROWS: dict[str, Row] = {
    "reshape": Row(lambda x, shape: ops.reshape(x, shape), _reshape, new_shape(), ("reshape",)),
    "permute": Row(lambda x, axes: ops.permute(x, axes), np.transpose, new_order(), ("permute",)),
    "transpose": Row(ops.transpose, np.transpose, unary()),
    "swapaxes": Row(ops.swapaxes, lambda x, axis0, axis1: np.swapaxes(x, axis0, axis1), two_axes()),
    "squeeze": Row(ops.squeeze, _squeeze, some_axes()),
    "unsqueeze": Row(ops.unsqueeze, np.expand_dims, new_axis()),
    "flatten": Row(_flattened, _flatten, two_axes()),
    "broadcast_to": Row(
        lambda x, shape: ops.broadcast_to(x, shape), np.broadcast_to, wider(), ("broadcast_to",)
    ),
    "expand": Row(_expand, np.broadcast_to, wider()),
    "flip": Row(ops.flip, np.flip, some_axes(), ("flip",)),
    "pad": Row(ops.pad, _pad, padded(), ("pad",)),
    "repeat_interleave": Row(ops.repeat_interleave, np.repeat, repeated()),
    "tile": Row(lambda x, repeats: ops.tile(x, *repeats), lambda x, repeats: np.tile(x, repeats), tiled()),
    "concat": Row(
        lambda *xs, axis: ops.concat(xs, axis), lambda *xs, axis: np.concatenate(xs, axis),
        several(same=False), ("concat",),
    ),
    "stack": Row(
        lambda *xs, axis: ops.stack(xs, axis), lambda *xs, axis: np.stack(xs, axis),
        several(same=True), ("stack",),
    ),
    "split": Row(lambda x, size, axis: ops.split(x, size, axis), _split, pieces(), ("split",)),
    "split in sections": Row(lambda x, size, axis: ops.split(x, size, axis), _split, sections()),
    "one piece of a split": Row(
        lambda x, size, axis: ops.split(x, size, axis)[1],
        lambda x, size, axis: _split(x, size, axis)[1],
        sections(),
    ),
    "chunk": Row(lambda x, size, axis: ops.chunk(x, size, axis), _chunk, pieces()),
    "unbind": Row(ops.unbind, _unbind, axis_for(side=1)),
    "cast": Row(_cast, lambda x, dtype: x.astype(dtype), unary(dtype="float64"), ("cast",)),
    "cast to integers": Row(_cast, lambda x, dtype: x.astype(dtype), unary(dtype="int64"), order=0),
    "clone": Row(ops.clone, np.copy, unary(), ("clone",)),
    "contiguous": Row(ops.contiguous, np.copy, unary(), ("contiguous",)),
    "transfer": Row(_transfer, np.copy, unary(), ("transfer",)),
}  # fmt: skip
