"""Functions that PyTorch gives more settings than an operator has."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..engine.errors import Mismatch

__all__ = ["add", "addmm", "div", "mode", "sub"]


def _is_one(number: Any) -> bool:
    return isinstance(number, int) and number == 1


def add(x: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """x + alpha * other; with `out` into that tensor."""
    y = ops.add(x, other if _is_one(alpha) else ops.mul(other, alpha))
    return y if out is None else out.copy_(y)


def sub(x: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """x - alpha * other; with `out` into that tensor."""
    y = ops.sub(x, other if _is_one(alpha) else ops.mul(other, alpha))
    return y if out is None else out.copy_(y)


def div(x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """x / other; rounded down, "floor", or towards 0, "trunc"."""
    if rounding_mode is None:
        return ops.div(x, other)
    if rounding_mode == "floor":
        return ops.floor_divide(x, other)
    if rounding_mode != "trunc":
        raise Mismatch(f"div: rounding_mode is {rounding_mode!r}, expected None, 'floor' or 'trunc'")
    y = ops.trunc(ops.div(x, other))
    whole = all(
        getattr(v, "dtype", np.dtype(int)).kind in "iu" and not isinstance(v, float) for v in (x, other)
    )
    return y.astype((x if hasattr(x, "dtype") else other).dtype) if whole else y


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """`(values, indices)` of the commonest element along `dim`, of several the smallest, where it stands
    last."""
    x = input.swapaxes(dim, -1)
    equal = x.unsqueeze(-1) == x.unsqueeze(-2)
    count = ops.sum(equal, -1)
    best = count == ops.amax(count, -1, keepdims=True)
    value = ops.amin(ops.where(best, x, ops.amax(x)), -1, keepdims=True)
    at = x.shape[-1] - 1 - ops.argmax(ops.flip(x == value, -1), -1, keepdims=True)
    values, places = value.swapaxes(dim, -1), at.swapaxes(dim, -1)
    pair = (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))
    return ops.ValuesAndIndices(*pair)


def addmm(x: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * x + alpha * mat1 @ mat2."""
    if _is_one(beta) and _is_one(alpha):
        return ops.addmm(x, mat1, mat2)
    product = ops.matmul(mat1, mat2)
    return ops.add(x if _is_one(beta) else x * beta, product if _is_one(alpha) else product * alpha)
