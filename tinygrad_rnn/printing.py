"""How a tensor prints: like an array, with what the graph knows about it behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .backend import dtypes, to_numpy

if TYPE_CHECKING:
    from .tensor import Tensor


def text_of(x: Tensor) -> str:
    """`tensor([[1., 2.]], requires_grad=True)`: type and device only where they are unusual."""
    prefix = "tensor("
    parts = [np.array2string(to_numpy(x.array), separator=", ", prefix=prefix, precision=4, threshold=1000)]
    if not x.numel() and x.ndim != 1:
        parts.append(f"shape={x.shape}")
    if x.dtype not in (dtypes.default_dtype(), dtypes.int64, dtypes.bool_):
        parts.append(f"dtype={x.dtype}")
    if x.device.type != "cpu":
        parts.append(f"device='{x.device}'")
    if x.grad_fn is not None:
        parts.append(f"grad_fn={x.grad_fn}")
    elif x.requires_grad:
        parts.append("requires_grad=True")
    return prefix + ", ".join(parts) + ")"
