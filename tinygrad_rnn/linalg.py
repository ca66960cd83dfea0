"""PyTorch's place for linear algebra: the norms and products of it that have gradients here."""

from __future__ import annotations

from typing import Any

from . import ops
from .ops import diagonal, matmul
from .tensor import Tensor

__all__ = ["diagonal", "matmul", "multi_dot", "norm", "vecdot", "vector_norm"]


def vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The p-norm of the elements, p = `ord`, or along axes."""
    x = x if dtype is None else x.to(dtype=dtype)
    return ops.norm(x, ord, dim, keepdim)


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The 2-norm of all elements, or along axes, or of vectors another norm. Norms of matrices other than
    "fro" are not here."""
    matrices = (A.ndim == 2 if dim is None else isinstance(dim, (tuple, list))) and ord not in (None, "fro")
    if matrices or (isinstance(ord, str) and ord != "fro"):
        raise NotImplementedError(f"linalg.norm: the matrix norm {ord!r} is not here; None and 'fro' are")
    return vector_norm(A, 2 if ord in (None, "fro") else ord, dim, keepdim, dtype=dtype)


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices, from the left."""
    first, *rest = tensors
    for x in rest:
        first = ops.matmul(first, x)
    return first


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Any:
    """The sums of products along an axis."""
    return ops.sum(x * y, dim)
