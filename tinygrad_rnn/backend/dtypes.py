"""The element types a tensor may have, under NumPy's names and PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

dtype = np.dtype  # the type of the types: isinstance(x.dtype, dtype)
DType = np.dtype[Any]  # and for signatures
float16 = half = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
bool_ = np.dtype(np.bool_)

_default = float32

# The types in which sums of others are made. Halves add up in float32, where sums neither overflow nor stall,
# and are rounded once, at the end; integers and booleans add up to int64.
ADDED_IN: dict[np.dtype[Any], np.dtype[Any]] = {float16: float32}
ADDED_IN.update({np.dtype(name): int64 for name in ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]})


def default_dtype() -> np.dtype[Any]:
    """The type of new floating tensors, and of what floating functions make of integers."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Sets the type of new floating tensors: float32 at the start, float64 for checks of gradients."""
    global _default
    dtype = as_dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"set_default_dtype: expected a floating type, got {dtype}")
    _default = dtype


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """A NumPy dtype for whatever names one: `tg.float32`, `"float32"`, `float` (the default float), `int`,
    `bool`.
    """
    if dtype is float:
        return _default
    try:
        found: np.dtype[Any] | None = np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found.kind not in "fiub":
        raise TypeError(f"{dtype!r} is no dtype; use one such as tinygrad_rnn.float32 or 'int64'")
    return found


def result_dtype(arrays: list[Any]) -> np.dtype[Any]:
    """The floating type of an operation on `arrays`: the widest among those with axes, else among 0-d ones.

    Integers and booleans never widen a float (float32 with int64 stays float32), and a 0-d array never widens
    one with axes: PyTorch's rule, which keeps a float32 model float32.
    """
    found: Any = None
    for with_axes in (True, False):
        for array in arrays:
            if array.dtype.kind == "f" and (array.ndim > 0) == with_axes:
                found = array.dtype if found is None else np.promote_types(found, array.dtype)
        if found is not None:
            return np.dtype(found)
    return _default
