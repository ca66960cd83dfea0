"""The base of the schedules: setting the rates of an optimiser, epoch by epoch, and saving where one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...backend.naming import describe, kind
from ...deprecation import join_former_names
from ...states import reading_state
from ..optimizer import Optimizer
from ..saved import is_alike


class LRScheduler:
    """The base of the schedules. `last_epoch` is the number of the last epoch, -1 at the start of a training.

    A schedule of your own defines `get_lr`, which returns the learning rate of each group for
    `self.last_epoch`; it may use `self.base_lrs`, the rates at the start of the training, and those of the
    moment in `self.optimizer`. `options` names what it sets in the optimiser's groups: saved with the
    schedule and put back with it, because making a schedule sets them, too; `not_saved` names attributes that
    are no part of its state. Where the rate is made of the one before, `restart` says what it is at epoch 0.
    """

    options: ClassVar[tuple[str, ...]] = ("lr", "initial_lr")
    not_saved: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        join_former_names(cls, FORMER_NAMES, SUBJECT)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: group {i} has no initial_lr to go on from epoch {last_epoch}; load the "
                    "optimiser's state first, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self.begin()

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _checked(self, optimizer: Any) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected an optimiser, got {kind(optimizer)}")
        return optimizer

    def _check_whole(self, name: str, value: Any, least: int = 0) -> None:
        """Raises TypeError for what counts epochs or steps and is no integer, ValueError below `least`."""
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{self._name}: {name} must be an integer, got {describe(value)}")
        if value < least:
            raise ValueError(f"{self._name}: {name} must be at least {least}, got {value}")

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """One value for each parameter group, from one for all or from a list."""
        n = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * n
        if len(values) != n:
            raise ValueError(
                f"{self._name}: {name} has {len(values)} entries for {n} parameter groups; give one for each"
            )
        return values

    def begin(self) -> None:
        """Takes the step to epoch 0, as a schedule does when it is made."""
        self._is_initial = True
        LRScheduler.step(self)
        self._is_initial = False

    def unbegin(self) -> None:
        """Takes that step back, for a schedule that begins later."""
        self.last_epoch -= 1

    def present_lrs(self) -> list[float]:
        """The learning rate that each group has at the moment."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The learning rate of each group for `self.last_epoch`."""
        raise NotImplementedError(f"{self._name} must define get_lr")

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group as this schedule set it last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Goes on to the next epoch, or to the one that is given, and sets the optimiser's learning rates."""
        if epoch is None:
            self.set_lrs(self.last_epoch + 1)
            return
        self.last_epoch = epoch
        self.set_lrs(epoch, self.at(epoch))

    def at(self, epoch: int) -> list[float] | None:
        """The rates of an epoch, whatever they are at the moment; None: `get_lr` gives them."""
        return None

    def restart(self) -> None:
        """Sets the rates of epoch 0, whatever they are at the moment."""
        self.set_lrs(0)

    def set_lrs(self, epoch: int, lrs: Sequence[float] | None = None) -> None:
        """Goes to an epoch, with these rates or those of `get_lr`."""
        self.last_epoch = epoch
        groups = self.optimizer.param_groups
        for group, lr in zip(groups, self.get_lr() if lrs is None else lrs, strict=True):
            group["lr"] = lr
        self._last_lr = self.present_lrs()

    def _attributes(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if name not in self.not_saved and not name.startswith("_is_")
        }

    def options_set(self) -> tuple[str, ...]:
        """Those of `options` that this schedule sets."""
        return self.options

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, as plain numbers, strings and lists; of the optimiser under "groups"
        what the schedule sets in it, as it is now. Functions given to it are not saved.
        """
        groups = [
            {name: _listed(group[name]) for name in self.options_set() if name in group}
            for group in self.optimizer.param_groups
        ]
        return {**{name: _listed(value) for name, value in self._attributes().items()}, "groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave, and sets the optimiser's learning rates to those of that moment:
        the order in which optimiser and schedule are made and loaded does not matter.

        Raises ValueError, and changes nothing, for the state of another schedule or of other groups.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{self._name}.load_state_dict: expected a dict, as state_dict() gives, got "
                f"{kind(state_dict)}"
            )
        with reading_state(f"{self._name}.load_state_dict"):
            self.check_state(state_dict)
            self.take_state(state_dict)

    def check_state(self, state_dict: Mapping[str, Any]) -> None:
        """Raises where a dict is not the state of such a schedule, for such an optimiser."""
        name = f"{self._name}.load_state_dict"
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{name}: expected a dict, as state_dict() gives, got {kind(state_dict)}")
        wrong = [key for key, value in self._attributes().items() if not is_alike(value, state_dict.get(key))]
        if wrong:
            raise ValueError(f"{name}: {wrong[0]} is {kind(state_dict[wrong[0]])}")
        missing = [attribute for attribute in self._attributes() if attribute not in state_dict]
        if missing:
            raise ValueError(f"{name}: {missing[0]!r} is missing; is it the state of another schedule?")
        n, groups = len(self.optimizer.param_groups), _groups(state_dict)
        if any(not isinstance(group, Mapping) for group in groups):
            raise ValueError(f"{name}: its groups are no dictionaries")
        if len(groups) != n:
            raise ValueError(
                f"{name}: the optimiser has {n} parameter groups, the dict is of one with {len(groups)}"
            )

    def take_state(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state that `check_state` has looked at."""
        vars(self).update({name: _copied(state_dict[name]) for name in self._attributes()})
        for group, saved in zip(self.optimizer.param_groups, _groups(state_dict), strict=True):
            for name, value in saved.items():
                group[name] = tuple(value) if isinstance(group.get(name), tuple) else _copied(value)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _groups(state_dict: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What a saved schedule set in each group. PyTorch saves only the rates that it set last."""
    groups: Sequence[Mapping[str, Any]] | None = state_dict.get("groups")
    return [{"lr": lr} for lr in state_dict["_last_lr"]] if groups is None else groups


FORMER_NAMES = {
    "_hidden": "not_saved",
    "_begin": "begin",
    "_unbegin": "unbegin",
    "_restart": "restart",
    "_lrs": "present_lrs",
    "_set": "set_lrs",
    "_options": "options_set",
    "_check_state": "check_state",
    "_take_state": "take_state",
}  # what subclasses defined in version 0.1, and what they define now
SUBJECT = "former names of a schedule's methods"
join_former_names(LRScheduler, FORMER_NAMES, SUBJECT)
