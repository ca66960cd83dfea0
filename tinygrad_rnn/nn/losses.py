"""Losses as modules. Each is the function of its name in `nn.functional`, with its settings kept.

`reduction` is "mean", "sum" or "none" (one loss for each element), and is checked when the loss is made.
"""

from __future__ import annotations

from typing import Any

from ..ops.arguments import old_reduction
from ..tensor import Tensor
from . import functional as F
from .module import Module


class Loss(Module):
    """What the losses share: how they are reduced, and weights that move with the model."""

    weight: Tensor | None = None
    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str, weight: Tensor | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        if reduction not in self.reductions:
            raise ValueError(f"{name}: reduction is {reduction!r}, expected 'mean', 'sum' or 'none'")
        self.reduction = reduction
        if weight is not None:  # a buffer, so that it moves with the model
            self.register_buffer("weight", weight)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class NLLLoss(Loss):
    """Minus the log probability of each target class: input (N, C, ...) of log probabilities, target (N,
    ...) integers.

    weight: (C,), a factor for each class. Targets equal to `ignore_index` count nothing.
    """

    @old_reduction
    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction, weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        settings = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return F.nll_loss(input, target, self.weight, **settings)  # type: ignore[arg-type]


class CrossEntropyLoss(Loss):
    """Minus the log of the softmax at each target class: input (N, C, ...) of logits, target (N, ...)
    integers, or probabilities (N, C, ...).

    weight: (C,), a factor for each class. Targets equal to `ignore_index` count nothing. With
    `label_smoothing` s, targets are mixed with s parts of the uniform distribution (Szegedy et al. 2016).
    """

    @old_reduction
    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, weight)
        F.check_probability("CrossEntropyLoss", label_smoothing, "label_smoothing")
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MSELoss(Loss):
    """(input - target)^2."""

    @old_reduction
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """|input - target|."""

    @old_reduction
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """apart^2 / (2 * beta) up to a distance beta, then |apart| - beta / 2; with beta = 0 the L1 loss."""

    @old_reduction
    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"SmoothL1Loss: beta must not be negative, got {beta}")
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """apart^2 / 2 up to a distance delta, then delta * (|apart| - delta / 2) (Huber 1964)."""

    @old_reduction
    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss: delta must be positive, got {delta}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(Loss):
    """The cross-entropy of probabilities with targets, both in [0, 1]. weight: a factor for each element."""

    @old_reduction
    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction, weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)
        return loss


class BCEWithLogitsLoss(Loss):
    """The cross-entropy of sigmoid(input) with targets in [0, 1], from the logits: no overflow.

    weight: a factor for each element; pos_weight: a factor for the part of the targets that is 1.
    """

    pos_weight: Tensor | None = None

    @old_reduction
    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(reduction, weight)
        if pos_weight is not None:
            self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class CTCLoss(Loss):
    """Minus the log probability of labels of which it is not known when each was said: log_probs (T, N, C),
    targets (N, S) or one after the other, input_lengths and target_lengths N integers.

    Class `blank` is said between labels. "mean" is that of the losses over the lengths of their targets. With
    `zero_infinity` labels that do not fit into the steps count nothing.
    """

    @old_reduction
    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
