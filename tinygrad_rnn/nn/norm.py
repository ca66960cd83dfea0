"""Layer normalization, and that by the root mean square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy import finfo

from ..creation import ones, zeros
from ..ops import ints, mean, rsqrt
from ..tensor import Tensor
from . import functional as F
from . import init as start
from .module import Module, Parameter


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) over the last axes, then * weight + bias (Ba et al. 2016, eq. 4).

    `normalized_shape` are the sizes of these axes, or one size; weight (starts at 1) and bias (0) have that
    shape.
    `elementwise_affine=False` leaves both out, `bias=False` the bias.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = ints((normalized_shape,))
        if not self.normalized_shape or min(self.normalized_shape) < 1:
            raise ValueError(f"LayerNorm: sizes must be positive, got normalized_shape = {normalized_shape}")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        shape, place = self.normalized_shape, {"dtype": dtype, "device": device}
        self.weight = Parameter(ones(shape, **place)) if elementwise_affine else None
        self.bias = Parameter(zeros(shape, **place)) if elementwise_affine and bias else None

    def reset_parameters(self) -> None:
        """Weights of 1, biases of 0."""
        if self.weight is not None:
            start.ones_(self.weight)
        if self.bias is not None:
            start.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """x over the root of the mean of its squares along the last axes, then * weight, which starts at 1
    (Zhang & Sennrich 2019). `eps` is by default the type's unit of rounding."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = ints((normalized_shape,))
        self.eps, self.elementwise_affine = eps, elementwise_affine
        place = {"dtype": dtype, "device": device}
        self.weight = Parameter(ones(self.normalized_shape, **place)) if elementwise_affine else None

    def reset_parameters(self) -> None:
        """Weights of 1."""
        if self.weight is not None:
            start.ones_(self.weight)

    def forward(self, x: Tensor) -> Any:
        axes = tuple(range(-len(self.normalized_shape), 0))
        eps = float(finfo(x.dtype).eps) if self.eps is None else self.eps
        y = x * rsqrt(mean(x * x, axes, True) + eps)
        return y if self.weight is None else y * self.weight

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
