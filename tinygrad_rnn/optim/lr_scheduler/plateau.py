"""A learning rate that falls where a metric has stopped getting better."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` once the metric given to `step` has not become better for more than `patience`
    epochs.

    Better means below ("min") or above ("max") the best so far by `threshold`, relative to it ("rel") or not
    ("abs"). After a change `cooldown` epochs do not count. No rate goes below `min_lr`, nor changes by `eps`
    or less.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
        *,
        verbose: Any = False,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        if not factor < 1:
            raise ValueError(f"{self._name}: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f'{self._name}: mode must be "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'{self._name}: threshold_mode must be "rel" or "abs", got {threshold_mode!r}')
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.threshold_mode, self.cooldown, self.eps = threshold_mode, cooldown, eps
        self.min_lrs = self._per_group("min_lr", min_lr)
        self.best = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self.present_lrs()

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Looks at the metric of one more epoch, a number or a tensor of one element."""
        metric = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, low)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self.present_lrs()

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * metric > sign * (self.best * (1 + sign * self.threshold))
        return sign * metric > sign * (self.best + sign * self.threshold)
