"""Rows of picking, sorting and looking up."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.backend import Array, array_module
from tinygrad_rnn.engine import REGISTRY
from tinygrad_rnn.ops.arguments import plain
from tinygrad_rnn.ops.index import place_rows, take_rows

from .. import strategies as s
from .row import Case, Row


@s.composite
def indexed(draw: s.Draw) -> Case:
    """An array with an index: integers, slices, None, Ellipsis, integer arrays, masks, mixtures."""
    x = draw(s.arrays(s.shapes(min_side=1)))
    parts: list[Any] = []
    axis = 0
    while axis < x.ndim and draw(s.integers(0, 4)):
        n = x.shape[axis]
        kind = draw(s.sampled_from(["integer", "slice", "array", "mask", "list", "new"]))
        if kind == "integer":
            parts.append(draw(s.integers(-n, n - 1)))
        elif kind == "slice":
            ends = s.sampled_from([None, *range(-n - 1, n + 2)])
            parts.append(slice(draw(ends), draw(ends), draw(s.sampled_from([None, 1, 2, -1, -2]))))
        elif kind == "array":  # one number or three: several arrays then broadcast
            parts.append(draw(s.integer_arrays(draw(s.sampled_from([(1,), (3,), (2, 1)])), -n, n)))
        elif kind == "mask":
            mask = np.zeros(n, bool)
            mask[draw(s.integers(0, n - 1))] = True
            parts.append(mask)
        elif kind == "list":
            parts.append([n - 1, 0, n - 1])
        else:
            parts.append(None)
            continue
        axis += 1
    if draw(s.booleans()):
        parts.insert(draw(s.integers(0, len(parts))) if axis == x.ndim else len(parts), Ellipsis)
    return Case((x,), {"index": parts[0] if len(parts) == 1 else tuple(parts)})


@s.composite
def masked(draw: s.Draw) -> Case:
    """An array with a mask over some of its leading axes."""
    x = draw(s.arrays())
    shape = x.shape[: draw(s.integers(0, x.ndim))]
    return Case((x,), {"index": draw(s.integer_arrays(shape, 0, 2)) > 0})


@s.composite
def placed(draw: s.Draw) -> Case:
    """Rows to be put into zeros, the same place named more than once."""
    rows = draw(s.integers(1, 4))
    g = draw(s.arrays((rows,) + draw(s.shapes(max_dims=1))))
    return Case((g,), {"places": draw(s.integer_arrays((rows,), 0, 3)), "n": 3})


@s.composite
def along(draw: s.Draw, smaller: bool = False) -> Case:
    """An array with indices along one of its axes."""
    x = draw(s.arrays(s.shapes(min_dims=1, min_side=1)))
    axis = draw(s.integers(0, x.ndim - 1))
    shape = [draw(s.integers(1, n)) if smaller else n for n in x.shape]
    shape[axis] = draw(s.integers(0, 4))
    return Case((x, draw(s.integer_arrays(tuple(shape), 0, x.shape[axis]))), {"axis": axis})


@s.composite
def table(draw: s.Draw) -> Case:
    """Integer indices, a table of rows, and perhaps a row for padding."""
    weight = draw(s.arrays((draw(s.integers(1, 4)), draw(s.integers(0, 3)))))
    indices = draw(s.integer_arrays(s.shapes(max_dims=2), 0, weight.shape[0]))
    return Case((indices, weight))


@s.composite
def distinct_rows(draw: s.Draw, n: int = 4) -> Case:
    """A matrix with some of the numbers 0 to n - 1, each once."""
    rows = np.array(draw(s.permutations(range(n)))[: draw(s.integers(0, n))], "int64")
    return Case((draw(s.arrays((n, draw(s.integers(0, 3))))),), {"rows": rows})


@s.composite
def fitting_rows(draw: s.Draw) -> Case:
    """As many rows as places for them."""
    case: Case = draw(distinct_rows())
    rows = case.settings["rows"]
    return Case((draw(s.arrays((len(rows), 2))),), {"rows": rows, "n": 4})


@s.composite
def ordered(draw: s.Draw, k: bool = False, descending: bool = True) -> Case:
    """An array without equal elements, an axis, and how to order along it."""
    x = draw(s.arrays(s.shapes(min_dims=1), s.DISTINCT))
    settings: dict[str, Any] = {"axis": draw(s.integers(-x.ndim, x.ndim - 1))}
    if k:
        settings["k"] = draw(s.integers(0, x.shape[settings["axis"]]))
        settings["largest"] = draw(s.booleans())
    else:
        settings["descending"] = draw(s.booleans())
    return Case((x,), settings)


@s.composite
def assigned(draw: s.Draw) -> Case:
    """A matrix, an index, and what is put there, which broadcasts. Integer arrays name each row once: what
    several values at one place make is NumPy's alone (tests/engine/test_in_place.py).
    """
    n = draw(s.integers(1, 4))
    x = draw(s.arrays((n, 3)))
    first = draw(s.integers(0, n - 1))
    rows = np.array([first, (first + draw(s.integers(1, max(1, n - 1)))) % n - n])[: min(n, 2)]
    index: Any
    index, shape = draw(s.sampled_from([
        (n - 1, (3,)), ((0, 1), ()), (slice(None, None, 2), (1, 3)), ((..., slice(1, None)), (n, 2)),
        (Ellipsis, (1,)), (rows, (len(rows), 3)), ((rows, rows * 0), (len(rows),)), ((None, 0), (1, 3)),
    ]))  # fmt: skip
    return Case((x, draw(s.arrays(shape))), {"index": index})


@s.composite
def with_a_view(draw: s.Draw) -> Case:
    """A matrix, one of its two halves along an axis, and what is put in place of that."""
    axis = draw(s.integers(0, 1))
    shape = [draw(s.integers(1, 3)), draw(s.integers(1, 3))]
    v = draw(s.arrays(tuple(shape)))
    shape[axis] *= 2
    return Case((draw(s.arrays(tuple(shape))), v), {"axis": axis, "k": draw(s.integers(0, 1))})


def _set_item(x: Array, v: Array, index: Any) -> Array:
    y = x.copy()
    y[index] = v
    return y


def _set_view_op(x: Array, v: Array, axis: int, k: int) -> Array:
    size = x.shape[axis] // 2
    view = (REGISTRY["split"], {"sizes": (size, size), "axis": axis}, k)
    return ops.assignment.set_view(x, v, view=view)


def _set_view(x: Array, v: Array, axis: int, k: int) -> Array:
    parts = np.split(x, 2, axis)
    parts[k] = v
    return np.concatenate(parts, axis)


def _gather(x: Array, index: Array, axis: int) -> Array:
    y = np.empty(index.shape, x.dtype)
    for place in np.ndindex(index.shape):
        y[place] = x[place[:axis] + (index[place],) + place[axis + 1 :]]
    return y


def _argsort(x: Array, axis: int, descending: bool) -> Array:
    return np.argsort(-x if descending else x, axis=axis, kind="stable")


def _sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    places = _argsort(x, axis, descending)
    return np.take_along_axis(x, places, axis), places


def _topk(x: Array, axis: int, k: int, largest: bool) -> tuple[Array, Array]:
    values, places = _sort(x, axis, largest)
    return np.take(values, range(k), axis), np.take(places, range(k), axis)


def _put(g: Array, places: Array, n: int) -> Array:
    y = np.zeros((n, *g.shape[1:]), g.dtype)
    np.add.at(y, places, g)
    return y


def _put_op(g: Array, places: Array, n: int) -> Array:
    return ops.index.put(g, indices=(places,), shape=(n, *g.shape[1:]))


def _place_rows(x: Array, rows: Array, n: int) -> Array:
    y = np.zeros((n, *x.shape[1:]), x.dtype)
    y[rows] = x
    return y


def _none_stopped(x: Array) -> Array:
    nowhere = array_module(plain(x)).zeros(x.shape[:-1], bool)
    return REGISTRY["stop_gradient_at"].call(x, nowhere)  # which has no public name


def _getitem(x: Array, index: Any) -> Array:
    return np.array(x[index])


ROWS: dict[str, Row] = {
    "getitem": Row(ops.getitem, _getitem, indexed(), ("pick",)),
    "getitem by a mask": Row(ops.getitem, _getitem, masked()),
    "set_item": Row(ops.set_item, _set_item, assigned(), ("set_item",)),
    "set_view": Row(_set_view_op, _set_view, with_a_view(), ("set_view",)),
    "put": Row(_put_op, _put, placed(), ("put",)),
    "take_rows": Row(take_rows, lambda x, rows: x[rows], distinct_rows(), ("take_rows",)),
    "place_rows": Row(place_rows, _place_rows, fitting_rows(), ("place_rows",)),
    "take_along_axis": Row(ops.take_along_axis, np.take_along_axis, along()),
    "gather": Row(lambda x, index, axis: ops.gather(x, axis, index), _gather, along(smaller=True)),
    "index_select": Row(
        lambda x, index: ops.index_select(x, 0, index), lambda x, index: x[index],
        table().map(lambda c: Case((c.arrays[1], c.arrays[0].reshape(-1)))),
    ),
    "embedding": Row(ops.embedding, lambda i, w: w[i], table()),
    "stop_gradient_at, where it stops none": Row(
        _none_stopped, np.copy, s.arrays(s.shapes(min_dims=1)).map(lambda x: Case((x,))),
        ("stop_gradient_at",),
    ),
    "argsort": Row(ops.argsort, _argsort, ordered(), ("argsort",), 0),
    "sort": Row(ops.sort, _sort, ordered()),
    "topk": Row(ops.topk, _topk, ordered(k=True)),
}  # fmt: skip
