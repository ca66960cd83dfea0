"""NumPy: the reference. What it does is what the other libraries are held against."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import memory
from .base import Array, ArrayModule
from .native import ENOUGH, native

LARGE = 1 << 17  # numbers in a product from which on fresh memory for it is slow
SHORT = 256  # numbers in a short buffer
PIECE = 4096  # numbers that float32 adds up
TINY = 1e-24  # sums of squares below it may have lost squares that float32 cannot hold
LONG = 64  # numbers from which on BLAS adds them up faster


class NumPyModule(ArrayModule):
    name = "numpy"
    device_type = "cpu"
    array_type = np.ndarray
    library = np

    lend = staticmethod(memory.lend)  # fresh memory is slow here
    aligned = staticmethod(memory.aligned)  # operations on two arrays take half the time there
    matmul_into: Any = staticmethod(np.matmul)

    def below(self, arrays: Sequence[Array]) -> Array:
        """In memory that is lent."""
        if any(a.dtype != arrays[0].dtype for a in arrays):
            return super().below(arrays)
        n = sum(a.shape[0] for a in arrays)
        return np.concatenate(arrays, 0, out=memory.lend((n, *arrays[0].shape[1:]), arrays[0].dtype))

    def product(self, a: Array, b: Array, add: Array | None = None) -> Array:
        """Large products are written to memory that is lent."""
        n, m = a.shape[0], b.shape[1]
        if n * m * a.shape[1] >= ENOUGH and native.works:
            y, adds = memory.lend((n, m), a.dtype), add is not None and add.dtype == a.dtype
            if adds:
                y[...] = add
            if native.multiply(a, b, y, adds):
                return y if adds or add is None else y + add
        if n * m < LARGE and add is None:
            return np.matmul(a, b)
        if n * m < LARGE or a.dtype != b.dtype or (add is not None and add.dtype != a.dtype):
            return super().product(a, b, add)
        y = np.matmul(a, b, out=memory.lend((n, m), a.dtype))
        return y if add is None else np.add(y, add, out=y)

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        return array

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        return array

    def scalar(self, array: Array) -> Any:
        return array.item()  # an array would count as strongly typed

    def sigmoid(self, x: Array) -> Array:
        """In one piece of memory. Where exp(-x) overflows, its reciprocal is the zero that it should be, but
        for halves, which are computed in float32.
        """
        if not x.ndim:
            return super().sigmoid(x)
        if x.dtype == np.float16:
            return self.sigmoid(x.astype(np.float32)).astype(np.float16)
        y = np.negative(x)
        with np.errstate(over="ignore"):
            np.exp(y, out=y)
        np.add(y, 1, out=y)
        return np.reciprocal(y, out=y)

    def broadcasting_in(self, x: Array) -> AbstractContextManager[None]:
        """NumPy copies what is broadcast, piece by piece, to a buffer, unless that is shorter than a row. For
        large arrays it pays to make it so.
        """
        return _ShortBuffer() if x.size >= LARGE >> 3 and x.shape[-1] >= SHORT else _NO_CHANGE

    def row_sums(self, x: Array, y: Array | None = None) -> Array:
        """Long rows by BLAS, which is several times faster than adding along them."""
        if x.ndim != 2 or x.shape[1] < LONG or x.dtype.itemsize < 4:
            return super().row_sums(x, y)
        if y is None:
            return np.matmul(x, _ones(x.shape[1], x.dtype)[:, None])
        return np.vecdot(x, y)[:, None]

    def column_sums(self, x: Array) -> Array:
        """Of many rows by BLAS, in half the time."""
        m = x.shape[-1]
        if m < 2 or x.size < LONG * m or x.dtype.itemsize < 4 or x.strides[-1] != x.dtype.itemsize:
            return super().column_sums(x)
        rows = x.reshape(-1, m)
        return np.matmul(_ones(rows.shape[0], x.dtype), rows)

    def square_sum(self, x: Array) -> Array:
        """By BLAS in float32 over pieces, which are added up in float64; where squares leave the range of
        float32, all in float64.
        """
        n = x.size // PIECE * PIECE
        if n and x.dtype == np.float32:
            flat = x.ravel(order="K")
            pieces, rest = flat[:n].reshape(-1, PIECE), flat[n:]
            with np.errstate(over="ignore"):
                total = np.sum(np.vecdot(pieces, pieces), dtype="float64") + np.float64(np.vecdot(rest, rest))
            if TINY < total < np.inf:
                return total
        return super().square_sum(x)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        rows = _one_integer_array(index)
        if rows is None or rows.ndim == 0 or values.ndim == rows.ndim:
            np.add.at(target, index, values)
            return
        # add.at walks element by element; sorting the rows and adding each run at once is several times
        # faster.
        flat = rows.reshape(-1) % target.shape[0]
        if flat.size == 0 or target.size == 0:
            return
        block = np.broadcast_to(values, rows.shape + target.shape[1:]).reshape(flat.size, -1)
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        sums = np.add.reduceat(block[order], starts, axis=0)
        target[ordered[starts]] += sums.reshape(-1, *target.shape[1:])


@functools.lru_cache(maxsize=16)
def _ones_before(n: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def _ones(n: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A vector of ones, to add up by a product; the same again and again where it is short."""
    return _ones_before(n, dtype) if n <= PIECE else np.ones(n, dtype)


_NO_CHANGE = nullcontext()


class _ShortBuffer:
    """A block in which NumPy's buffer for elementwise operations is as short as it may be."""

    def __enter__(self) -> None:
        self._before = np.setbufsize(SHORT)

    def __exit__(self, *_: object) -> None:
        np.setbufsize(self._before)


def _one_integer_array(index: Any) -> Any:
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    return index if isinstance(index, np.ndarray) and index.dtype.kind in "iu" else None


module = NumPyModule()
