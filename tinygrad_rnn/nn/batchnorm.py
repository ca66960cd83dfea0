"""Batch normalization of features, and dropout of whole channels."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..backend import array_module, default_rng
from ..backend.naming import came
from ..creation import ones, tensor, zeros
from ..engine.errors import Mismatch, WrongKind
from ..tensor import Tensor
from . import init as start
from .functional import check_probability
from .module import Module, Parameter

__all__ = ["BatchNorm1d", "Dropout1d", "Dropout2d", "batch_norm", "dropout1d", "dropout2d"]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias for each place of axis 1, of (N, C) or (N, C, ...).

    In `training` mean and variance are the batch's, and the running ones go the part `momentum` of the way to
    them (the variance with division by n - 1); else they are the running ones (Ioffe & Szegedy 2015).
    """
    axes = tuple(i for i in range(input.ndim) if i != 1)
    shape = tuple(-1 if i == 1 else 1 for i in range(input.ndim))
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without training it needs running_mean and running_var")
        mean, var = running_mean.reshape(shape), running_var.reshape(shape)
    else:
        n = input.numel() // max(1, input.shape[1])
        if n < 2:
            raise ValueError(
                f"batch_norm: expected more than one value for each channel in training, got {input.shape}"
            )
        mean = ops.mean(input, axes, True)
        apart = input - mean
        var = ops.mean(apart * apart, axes, True)
        if running_mean is not None and running_var is not None:
            for running, now in ((running_mean, mean), (running_var, var * (n / (n - 1)))):
                running.data.mul_(1 - momentum).add_(now.detach().reshape(-1), alpha=momentum)
    y = (input - mean) / ops.sqrt(var + eps)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


class BatchNorm1d(Module):
    """`batch_norm` of (N, C) or (N, C, L) with its own weight (1 at first), bias (0) and running statistics.

    `momentum=None` averages over all batches; `affine=False` is without weight and bias,
    `track_running_stats=False` without running statistics.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(ones(num_features, **place)) if affine else None
        self.bias = Parameter(zeros(num_features, **place)) if affine else None
        tracks = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **place) if tracks else None)
        self.register_buffer("running_var", ones(num_features, **place) if tracks else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracks else None)

    def reset_running_stats(self) -> None:
        """Running statistics as at first."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weights of 1, biases of 0, running statistics as at first."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            start.ones_(self.weight)
            start.zeros_(self.bias)

    def forward(self, input: Tensor) -> Any:
        if input.ndim not in (2, 3) or input.shape[1] != self.num_features:
            raise Mismatch(
                f"BatchNorm1d: expected (N, C) or (N, C, L) with C = {self.num_features}, got {input.shape}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        alone = self.training or self.running_mean is None
        mean, var = self.running_mean, self.running_var
        return batch_norm(input, mean, var, self.weight, self.bias, alone, momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _channels(name: str, input: Tensor, p: float, training: bool, n_axes: int) -> Any:
    """The input without whole channels: of (C, ...) where it has no axis of samples, else (N, C, ...)."""
    check_probability(name, p)
    if not isinstance(input, Tensor) or not input.is_floating_point():
        raise WrongKind(f"{name}: expected a floating tensor, got {came(input)}")
    if not training or p == 0:
        return input
    shape = (*input.shape[:n_axes], *[1] * (input.ndim - n_axes))
    kept = array_module(input.array).fed(lambda: default_rng().random(shape, dtype="float32") >= p)
    return input * Tensor._of(kept.astype(input.dtype) * (1 / (1 - p) if p < 1 else 0.0))


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each channel of (N, C, L) or (C, L) zero with probability p, the others scaled by 1 / (1 - p)."""
    if input.ndim not in (2, 3):
        raise Mismatch(f"dropout1d: expected (N, C, L) or (C, L), got {input.shape}")
    return _channels("dropout1d", input, p, training, input.ndim - 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each channel of (N, C, H, W), or of (N, C, L), zero with probability p, the others scaled by 1 /
    (1 - p)."""
    return _channels("dropout2d", input, p, training, 2)


class Dropout1d(Module):
    """`dropout1d` in training; else the identity."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(type(self).__name__, p)
        self.p = p

    def forward(self, input: Tensor) -> Any:
        return dropout1d(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout1d):
    """`dropout2d` in training; else the identity."""

    def forward(self, input: Tensor) -> Any:
        return dropout2d(input, self.p, self.training)
