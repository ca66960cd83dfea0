"""How a tensor prints: like an array, with what the graph knows about it behind."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import Array, dtypes, to_numpy


def text_of(x: Array, device: Any, grad_fn: Any, requires_grad: bool) -> str:
    """`tensor([[1., 2.]], requires_grad=True)`: the text of a tensor around the array x, with type and device
    only where they are unusual.
    """
    prefix = "tensor("
    parts = [np.array2string(to_numpy(x), separator=", ", prefix=prefix, precision=4, threshold=1000)]
    if not x.size and x.ndim != 1:
        parts.append(f"shape={x.shape}")
    if x.dtype not in (dtypes.default_dtype(), dtypes.int64, dtypes.bool_):
        parts.append(f"dtype={x.dtype}")
    if device.type != "cpu":
        parts.append(f"device='{device}'")
    if grad_fn is not None:
        parts.append(f"grad_fn={grad_fn}")
    elif requires_grad:
        parts.append("requires_grad=True")
    return prefix + ", ".join(parts) + ")"
