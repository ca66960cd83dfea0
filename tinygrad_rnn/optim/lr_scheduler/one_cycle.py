"""One rise and one fall of the learning rate, and of the momentum the other way."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi

from ..optimizer import Optimizer
from .base import LRScheduler


class OneCycleLR(LRScheduler):
    """One rise from max_lr / div_factor to `max_lr`, then a fall to that start / final_div_factor; one `step`
    a batch.

    Smith and Topin 2019, "Super-convergence". `total_steps`, or `epochs` times `steps_per_epoch`; `pct_start`
    of them rise. Momentum (or Adam's first beta) goes the other way, between `max_momentum` and
    `base_momentum`.
    """

    _momenta = ("momentum", "betas", "max_momentum", "base_momentum")
    options = ("lr", "initial_lr", "max_lr", "min_lr", *_momenta)

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(f"{self._name}: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self._check_whole("total_steps", total_steps, 1)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"{self._name}: pct_start must be from 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f'{self._name}: anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}'
            )
        self.total_steps, self.anneal_strategy, self.cycle_momentum = (
            total_steps,
            anneal_strategy,
            cycle_momentum,
        )
        self.pct_start, self.three_phase = pct_start, three_phase
        groups = optimizer.param_groups
        if last_epoch == -1:
            for group, top in zip(groups, self._per_group("max_lr", max_lr), strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            if not {"momentum", "betas"} & set(optimizer.defaults):
                raise ValueError(
                    f"{self._name}: {type(optimizer).__name__} has no momentum; pass cycle_momentum=False"
                )
            if last_epoch == -1:
                tops = self._per_group("max_momentum", max_momentum)
                bottoms = self._per_group("base_momentum", base_momentum)
                for group, top, bottom in zip(groups, tops, bottoms, strict=True):
                    group["max_momentum"], group["base_momentum"] = top, bottom
        super().__init__(optimizer, last_epoch)

    def options_set(self) -> tuple[str, ...]:
        return tuple(x for x in self.options if self.cycle_momentum or x not in self._momenta)

    def _phases(self) -> list[tuple[float, str, str, str, str]]:
        """Of each phase the last step, then the rate at its start and end, and the momentum."""
        up = self.pct_start * self.total_steps
        rise = (up - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if not self.three_phase:
            return [rise, (self.total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        return [
            rise,
            (2 * up - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
            (self.total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
        ]

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"{self._name}: step {t} was asked for, the schedule has {self.total_steps}")
        phases = self._phases()
        k = next((k for k, phase in enumerate(phases) if t <= phase[0]), len(phases) - 1)
        begin = phases[k - 1][0] if k else 0.0
        end, *names = phases[k]
        share = (t - begin) / (end - begin) if end != begin else 1.0
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._between(group[names[0]], group[names[1]], share))
            if self.cycle_momentum:
                momentum = self._between(group[names[2]], group[names[3]], share)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return lrs

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (cos(pi * share) + 1)
