"""Learning rates that change with training. Call `scheduler.step()` after the optimiser's steps, once an
epoch or, for warm-ups and one-cycle schedules, once a step. Names, defaults and numbers are PyTorch's;
`WarmupCosineLR` is ours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import cos, inf, pi
from typing import Any, ClassVar

from ..engine.errors import describe, kind, reading_state
from .optimizer import Optimizer, is_alike


class LRScheduler:
    """The base of the schedules. `last_epoch` is the number of the last epoch, -1 at the start of a training.

    A schedule of your own defines `get_lr`, which returns the learning rate of each group for
    `self.last_epoch`; it may use `self.base_lrs`, the rates at the start of the training, and those of the
    moment in `self.optimizer`. `options` names what it sets in the optimiser's groups: saved with the
    schedule and put back with it, because making a schedule sets them, too.
    """

    options: ClassVar[tuple[str, ...]] = ("lr", "initial_lr")
    _hidden: tuple[str, ...] = ("optimizer",)  # attributes that are no part of the state

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: group {i} has no initial_lr to go on from epoch {last_epoch}; load the "
                    "optimiser's "
                    "state first, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._begin()

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

    def _begin(self) -> None:
        self._is_initial = True
        LRScheduler.step(self)
        self._is_initial = False

    def _unbegin(self) -> None:
        self.last_epoch -= 1

    def _lrs(self) -> list[float]:
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
            self._set(self.last_epoch + 1)
            return
        self.last_epoch = epoch
        self._set(epoch, self.at(epoch))

    def at(self, epoch: int) -> list[float] | None:
        """The rates of an epoch, whatever they are at the moment; None: `get_lr` gives them."""
        return None

    def _restart(self) -> None:
        """Sets the rates of epoch 0 without looking at what they are at the moment."""
        self._set(0)

    def _set(self, epoch: int, lrs: Sequence[float] | None = None) -> None:
        self.last_epoch = epoch
        groups = self.optimizer.param_groups
        for group, lr in zip(groups, self.get_lr() if lrs is None else lrs, strict=True):
            group["lr"] = lr
        self._last_lr = self._lrs()

    def _attributes(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if name not in self._hidden and not name.startswith("_is_")
        }

    def _options(self) -> tuple[str, ...]:
        """Those of `options` that this schedule sets."""
        return self.options

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, as plain numbers, strings and lists; of the optimiser under "groups"
        what the schedule sets in it, as it is now. Functions given to it are not saved.
        """
        groups = [
            {name: _listed(group[name]) for name in self._options() if name in group}
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
            self._check_state(state_dict)
            self._take_state(state_dict)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
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

    def _take_state(self, state_dict: Mapping[str, Any]) -> None:
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


class LambdaLR(LRScheduler):
    """The starting rate times `lr_lambda(epoch)`: one function, or a list of one per parameter group."""

    _hidden = ("optimizer", "lr_lambdas")

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
            return self._lrs()
        return [lr * self.gamma for lr in self._lrs()]

    def at(self, epoch: int) -> list[float]:
        return [base * self.gamma ** (epoch // self.step_size) for base in self.base_lrs]

    def _restart(self) -> None:
        self._set(0, self.base_lrs)


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
        return [lr * factor for lr in self._lrs()]

    def at(self, epoch: int) -> list[float]:
        return [base * self.gamma ** bisect_right(self.milestones, epoch) for base in self.base_lrs]

    def _restart(self) -> None:
        self._set(0, self.at(0))


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
            return [lr * self.factor for lr in self._lrs()]
        if self.last_epoch != self.total_iters:
            return self._lrs()
        return [lr * (1.0 / self.factor) for lr in self._lrs()]

    def _restart(self) -> None:
        factor = self.factor if self.total_iters > 0 else 1.0
        self._set(0, [base * factor for base in self.base_lrs])


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
            return [lr * self.start_factor for lr in self._lrs()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._lrs()
        change = self.end_factor - self.start_factor
        now = self.total_iters * self.start_factor + (self.last_epoch - 1) * change
        return [lr * (1.0 + change / now) for lr in self._lrs()]

    def _restart(self) -> None:
        self._set(0, [base * self.start_factor for base in self.base_lrs])


class ExponentialLR(LRScheduler):
    """The rate times `gamma` after every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._lrs() if self._is_initial else [lr * self.gamma for lr in self._lrs()]

    def _restart(self) -> None:
        self._set(0, self.base_lrs)


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
            return self._lrs()
        t, t_max, low = self.last_epoch, self.T_max, self.eta_min
        if (t - 1 - t_max) % (2 * t_max) == 0:  # from the minimum, where the quotient below would be 0 / 0
            rise = (1 - cos(pi / t_max)) / 2
            return [lr + (base - low) * rise for lr, base in zip(self._lrs(), self.base_lrs, strict=True)]
        factor = (1 + cos(pi * t / t_max)) / (1 + cos(pi * (t - 1) / t_max))
        return [factor * (lr - low) + low for lr in self._lrs()]

    def at(self, epoch: int) -> list[float]:
        part = (1 + cos(pi * epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def _restart(self) -> None:
        self._set(0, self.base_lrs)


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

    def _options(self) -> tuple[str, ...]:
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


class SequentialLR(LRScheduler):
    """One schedule after the other: the next one begins, at its own epoch 0, at each of the epochs in
    `milestones`.
    """

    _hidden = ("optimizer", "schedulers")

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
            scheduler._unbegin()
        first = self.schedulers[bisect_right(self.milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def _unbegin(self) -> None:
        self.schedulers[0]._unbegin()

    def _begin(self) -> None:
        self.schedulers[0]._begin()

    def _restart(self) -> None:
        self.last_epoch = 0
        self.schedulers[0]._restart()
        self._last_lr = self._lrs()

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        k = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[k]
        if k and self.milestones[k - 1] == self.last_epoch:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        theirs = state_dict.get("schedulers", ()) if isinstance(state_dict, Mapping) else self.schedulers
        if len(theirs) != len(self.schedulers):
            raise ValueError(
                f"{self._name}.load_state_dict: {len(self.schedulers)} schedules here, {len(theirs)} in the "
                "dict"
            )
        super()._check_state(state_dict)
        for scheduler, state in zip(self.schedulers, theirs, strict=True):
            scheduler._check_state(state)

    def _take_state(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler._take_state(state)
        super()._take_state(state_dict)


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
        self._last_lr = self._lrs()

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
        self._last_lr = self._lrs()

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * metric > sign * (self.best * (1 + sign * self.threshold))
        return sign * metric > sign * (self.best + sign * self.threshold)
