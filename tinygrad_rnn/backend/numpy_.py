"""NumPy: the reference. What it does is what the other libraries are held against."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import memory
from .base import Array, ArrayModule


class NumPyModule(ArrayModule):
    name = "numpy"
    device_type = "cpu"
    array_type = np.ndarray
    library = np

    lend = staticmethod(memory.lend)  # fresh memory is slow here

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        return array

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        return array

    def scalar(self, array: Array) -> Any:
        return array.item()  # an array would count as strongly typed

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


def _one_integer_array(index: Any) -> Any:
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    return index if isinstance(index, np.ndarray) and index.dtype.kind in "iu" else None


module = NumPyModule()
