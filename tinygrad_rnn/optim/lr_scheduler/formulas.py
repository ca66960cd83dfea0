"""Schedules that a formula gives: the rate of an epoch from its number, or from the rate before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import cos, pi

from ..optimizer import Optimizer
from .base import LRScheduler


class LambdaLR(LRScheduler):
    """The starting rate times `lr_lambda(epoch)`: one function, or a list of one per parameter group."""

    not_saved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        self.lr_lambdas = self._per_group("lr_lambda", lr_lambda)
        if not all(callable(f) for f in self.lr_lambdas):
            raise TypeError(f"{self._name}: lr_lambda must be a function of the epoch, or a list of them")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """The rate times `gamma` after every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self._check_whole("step_size", step_size, 1)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self.present_lrs()
        return [lr * self.gamma for lr in self.present_lrs()]

    def at(self, epoch: int) -> list[float]:
        return [base * self.gamma ** (epoch // self.step_size) for base in self.base_lrs]

    def restart(self) -> None:
        self.set_lrs(0, self.base_lrs)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the epochs in `milestones`."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        milestones = list(milestones)
        for milestone in milestones:
            self._check_whole("a milestone", milestone)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = self.gamma ** self.milestones.count(self.last_epoch)
        return [lr * factor for lr in self.present_lrs()]

    def at(self, epoch: int) -> list[float]:
        return [base * self.gamma ** bisect_right(self.milestones, epoch) for base in self.base_lrs]

    def restart(self) -> None:
        self.set_lrs(0, self.at(0))


class ConstantLR(LRScheduler):
    """The starting rate times `factor` for the first `total_iters` epochs."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self._check_whole("total_iters", total_iters)
        if not 0 < factor <= 1:
            raise ValueError(f"{self._name}: factor must be above 0 and at most 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self.present_lrs()]
        if self.last_epoch != self.total_iters:
            return self.present_lrs()
        return [lr * (1.0 / self.factor) for lr in self.present_lrs()]

    def restart(self) -> None:
        factor = self.factor if self.total_iters > 0 else 1.0
        self.set_lrs(0, [base * factor for base in self.base_lrs])


class LinearLR(LRScheduler):
    """The starting rate times a factor that goes evenly from `start_factor` to `end_factor` in `total_iters`
    epochs.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self._check_whole("total_iters", total_iters)
        if not 0 < start_factor <= 1:
            raise ValueError(f"{self._name}: start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"{self._name}: end_factor must be from 0 to 1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self.present_lrs()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self.present_lrs()
        change = self.end_factor - self.start_factor
        now = self.total_iters * self.start_factor + (self.last_epoch - 1) * change
        return [lr * (1.0 + change / now) for lr in self.present_lrs()]

    def restart(self) -> None:
        self.set_lrs(0, [base * self.start_factor for base in self.base_lrs])


class ExponentialLR(LRScheduler):
    """The rate times `gamma` after every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self.present_lrs() if self._is_initial else [lr * self.gamma for lr in self.present_lrs()]

    def restart(self) -> None:
        self.set_lrs(0, self.base_lrs)


class CosineAnnealingLR(LRScheduler):
    """From the starting rate to `eta_min` along half a cosine wave in `T_max` epochs, and back in as many.

    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self._check_whole("T_max", T_max, 1)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self.present_lrs()
        t, t_max, low = self.last_epoch, self.T_max, self.eta_min
        if (t - 1 - t_max) % (2 * t_max) == 0:  # from the minimum, where the quotient below would be 0 / 0
            rise = (1 - cos(pi / t_max)) / 2
            lrs = zip(self.present_lrs(), self.base_lrs, strict=True)
            return [lr + (base - low) * rise for lr, base in lrs]
        factor = (1 + cos(pi * t / t_max)) / (1 + cos(pi * (t - 1) / t_max))
        return [factor * (lr - low) + low for lr in self.present_lrs()]

    def at(self, epoch: int) -> list[float]:
        part = (1 + cos(pi * epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def restart(self) -> None:
        self.set_lrs(0, self.base_lrs)


class WarmupCosineLR(LRScheduler):
    """Evenly up to the starting rate in `warmup_steps` steps, then along half a cosine wave to `eta_min` at
    step `total_steps`, and `eta_min` from there on. Step t = 0, 1, ... of the warm-up has the rate (t + 1) /
    warmup_steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self._check_whole("warmup_steps", warmup_steps)
        self._check_whole("total_steps", total_steps, 1)
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"{self._name}: warmup_steps must be from 0 to below total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
        self.warmup_steps, self.total_steps, self.eta_min = warmup_steps, total_steps, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t < self.warmup_steps:
            return [base * (t + 1) / self.warmup_steps for base in self.base_lrs]
        share = min(1.0, (t - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return [self.eta_min + (base - self.eta_min) * (1 + cos(pi * share)) / 2 for base in self.base_lrs]
