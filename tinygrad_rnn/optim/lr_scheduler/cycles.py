"""More schedules of PyTorch's: rates that go up and down in cycles, and schedules of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, floor, log, pi
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler
from .plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "CosineAnnealingWarmRestarts", "CyclicLR", "MultiplicativeLR", "PolynomialLR"]


class MultiplicativeLR(LRScheduler):
    """The rate times `lr_lambda(epoch)` after each epoch: one function, or a list of one per parameter
    group."""

    not_saved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        self.lr_lambdas = self._per_group("lr_lambda", lr_lambda)
        if not all(callable(f) for f in self.lr_lambdas):
            raise TypeError(f"{self._name}: lr_lambda must be a function of the epoch, or a list of them")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self.present_lrs()
        return [lr * f(self.last_epoch) for lr, f in zip(self.present_lrs(), self.lr_lambdas, strict=True)]


class PolynomialLR(LRScheduler):
    """The starting rate times (1 - epoch / total_iters)^power, 0 from `total_iters` on."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self._check_whole("total_iters", total_iters, 1)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self._is_initial or self.last_epoch > self.total_iters:
            return self.present_lrs()
        t, n = self.last_epoch, self.total_iters
        factor = ((1 - t / n) / (1 - (t - 1) / n)) ** self.power
        return [lr * factor for lr in self.present_lrs()]

    def at(self, epoch: int) -> list[float]:
        factor = (1 - min(self.total_iters, epoch) / self.total_iters) ** self.power
        return [base * factor for base in self.base_lrs]

    def restart(self) -> None:
        self.set_lrs(0, self.base_lrs)


class CosineAnnealingWarmRestarts(LRScheduler):
    """From the starting rate to `eta_min` along half a cosine wave in T_0 epochs, then from the start
    again in T_mult times as many.

    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts". `step(epoch)` takes
    fractions of epochs.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self._check_whole("T_0", T_0, 1)
        self._check_whole("T_mult", T_mult, 1)
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        part = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def begin(self) -> None:
        self._is_initial = True
        self.step(0 if self.last_epoch < 0 else None)
        self._is_initial = False

    def step(self, epoch: float | None = None) -> None:
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"{self._name}: an epoch is not negative, got {epoch}")
        elif epoch < self.T_0 or self.T_mult == 1:
            self.T_i, self.T_cur = self.T_0, epoch % self.T_0
        else:
            n = int(log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
        self.set_lrs(floor(epoch))

    def restart(self) -> None:
        self.step(0)


class CyclicLR(LRScheduler):
    """Between `base_lr` and `max_lr`, up in `step_size_up` steps and down in `step_size_down`; momentum
    goes the other way. Smith 2017, "Cyclical learning rates for training neural networks".

    mode: "triangular"; "triangular2" halves the height after each cycle; "exp_range" multiplies it by `gamma`
    at each step; or `scale_fn` of the number of the cycle or, with `scale_mode="iterations"`, of the step.
    """

    options = ("lr", "initial_lr", "momentum", "betas")
    not_saved = ("optimizer", "scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"{self._name}: mode is {mode!r}, expected 'triangular', 'triangular2' or 'exp_range'"
            )
        lows = self._per_group("base_lr", base_lr)
        self.max_lrs = self._per_group("max_lr", max_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, lows, strict=True):
                group["lr"] = group["initial_lr"] = lr
        up, down = float(step_size_up), float(step_size_up if step_size_down is None else step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        self.mode, self.gamma, self.scale_fn = mode, gamma, scale_fn
        self.scale_mode = "iterations" if mode == "exp_range" and scale_fn is None else scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            if not {"momentum", "betas"} & set(optimizer.defaults):
                raise ValueError(
                    f"{self._name}: the optimiser has no momentum to cycle; give cycle_momentum=False"
                )
            self.base_momentums = self._per_group("base_momentum", base_momentum)
            self.max_momentums = self._per_group("max_momentum", max_momentum)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def _scale(self, x: float) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(x)
        if self.mode == "triangular2":
            return float(1 / 2.0 ** (x - 1))
        return float(self.gamma**x) if self.mode == "exp_range" else 1.0

    def _height(self) -> float:
        """How far up the cycle is, in parts of its whole height."""
        cycle = floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        part = x / self.step_ratio if rising else (x - 1) / (self.step_ratio - 1)
        return part * self._scale(cycle if self.scale_mode == "cycle" else self.last_epoch)

    def get_lr(self) -> list[float]:
        height = self._height()
        if self.cycle_momentum:
            each = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in each:
                momentum = high - (high - low) * height
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class ChainedScheduler(LRScheduler):
    """Several schedules of one optimiser, each of which makes a step at every step."""

    not_saved = ("optimizer", "schedulers")

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self.schedulers = list(schedulers)
        if not self.schedulers:
            raise ValueError(f"{self._name}: got no schedules")
        self.optimizer = self._checked(self.schedulers[0].optimizer if optimizer is None else optimizer)
        for scheduler in self.schedulers:
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(f"{self._name}: its {type(scheduler).__name__} belongs to another optimiser")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{self._name}: ReduceLROnPlateau needs a metric at each step; call it by itself"
                )
        self.last_epoch = 0
        self._last_lr = self.present_lrs()

    def step(self, epoch: int | None = None) -> None:
        for scheduler in self.schedulers:
            scheduler.step(epoch)
        self.last_epoch += 1
        self._last_lr = self.present_lrs()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for scheduler, state in zip(self.schedulers, state_dict.get("schedulers", ()), strict=True):
            scheduler.load_state_dict(state)
        self._last_lr = self.present_lrs()
