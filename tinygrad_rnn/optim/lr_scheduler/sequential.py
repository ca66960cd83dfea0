"""One schedule after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler
from .plateau import ReduceLROnPlateau


class SequentialLR(LRScheduler):
    """One schedule after the other: the next one begins, at its own epoch 0, at each of the epochs in
    `milestones`.
    """

    not_saved = ("optimizer", "schedulers")

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        if not schedulers:
            raise ValueError(f"{self._name}: got no schedules")
        for scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{self._name}: ReduceLROnPlateau needs a metric at each step; call it by itself"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"{self._name}: its {scheduler._name} belongs to another optimiser")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{self._name}: {len(schedulers)} schedules need {len(schedulers) - 1} milestones, got "
                f"{len(milestones)}"
            )
        for milestone in milestones:
            self._check_whole("a milestone", milestone)
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self.schedulers:  # their own first steps, at construction, do not count
            scheduler.unbegin()
        first = self.schedulers[bisect_right(self.milestones, 0)]
        first.begin()
        self._last_lr = first.get_last_lr()

    def unbegin(self) -> None:
        self.schedulers[0].unbegin()

    def begin(self) -> None:
        self.schedulers[0].begin()

    def restart(self) -> None:
        self.last_epoch = 0
        self.schedulers[0].restart()
        self._last_lr = self.present_lrs()

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        k = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[k]
        if k and self.milestones[k - 1] == self.last_epoch:
            scheduler.restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def check_state(self, state_dict: Mapping[str, Any]) -> None:
        theirs = state_dict.get("schedulers", ()) if isinstance(state_dict, Mapping) else self.schedulers
        if len(theirs) != len(self.schedulers):
            raise ValueError(
                f"{self._name}.load_state_dict: {len(self.schedulers)} schedules here, {len(theirs)} in the "
                "dict"
            )
        super().check_state(state_dict)
        for scheduler, state in zip(self.schedulers, theirs, strict=True):
            scheduler.check_state(state)

    def take_state(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.take_state(state)
        super().take_state(state_dict)
