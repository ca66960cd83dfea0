"""Optimizer: parameter groups, steps that happen whole or not at all, state dicts. What a step does to arrays
is in update_rule.py, the methods themselves in their own files.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from ..backend.capture import Stale, capturing
from ..creation import tensor
from ..deprecation import join_former_names
from ..engine import enable_grad, mark_changed
from ..states import reading_state
from ..tensor import Tensor
from .groups import check_parameter, check_ranges, in_order
from .hooks import OptimizerHooks
from .saved import given_instead, read_groups
from .signals import signals_wait
from .update_rule import UpdateRule, working_type


class Optimizer(OptimizerHooks, UpdateRule):
    """The base of the optimisers. `params`: tensors, or dicts with "params" and options that differ from
    `defaults`.

    `param_groups` is a list of dicts, one for each group, with "params" (a list) and every option; an option
    may be changed between steps: `optimizer.param_groups[0]["lr"] = 1e-4`. `state[p]` is what is kept for the
    parameter p. Raises ValueError for no parameters, a parameter given twice, one that is no leaf or requires
    no gradient (a frozen `nn.Parameter` is left alone as long as another is not frozen), and an option out of
    its range.

    An optimiser of your own says what it keeps and what a step does to one parameter:

        class SignMomentum(tg.optim.Optimizer):
            option_ranges = {"lr": (0, float("inf")), "momentum": (0, 1)}
            state_names = frozenset({"average"})

            def __init__(self, params, lr=1e-3, momentum=0.9):
                super().__init__(params, {"lr": lr, "momentum": momentum})

            def buffer_names(self, group):
                return ("average",)

            def coefficients(self, group, state):
                return float(group["lr"]), 1 - float(group["momentum"])

            def update(self, numbers, p, g, average):
                lr, rate = numbers
                average = average + (g - average) * rate
                return p - tg.sign(average) * lr, average

    Or it overrides `step`, and changes `p.data` for the `p` in `self.param_groups`.

    The optimisers here read PyTorch's `foreach`, `fused`, `capturable` and `differentiable`, and have
    nothing to choose by them.

    A step happens whole or not at all: signals (Ctrl-C) wait for the end of what it changes, and where the
    closure raises nothing has changed. Whatever else breaks it off leaves `torn` true: the parameters are
    neither those before the step nor those after it, `state_dict` raises RuntimeError, so that nothing writes
    them to a file, and `load_state_dict` begins anew.
    """

    option_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}  # option: from, up to but without
    state_names: ClassVar[frozenset[str] | None] = None  # what a loaded state may hold; None: anything
    torn = False  # whether a step was broken off in its middle
    n_changes = 0  # how many steps have begun to change something

    def __init_subclass__(cls, marks_changes: bool = False, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        join_former_names(cls, FORMER_NAMES, SUBJECT)
        if "step" in vars(cls) and not marks_changes:  # nobody knows when it changes what
            cls.step = _whole(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = dict(defaults)
        super().__init__()
        name = self._name
        if isinstance(params, Tensor) or (isinstance(params, Mapping) and "params" in params):
            what = "a single tensor" if isinstance(params, Tensor) else "a dict"
            raise TypeError(
                f"{name}: params must be a list of tensors or of dicts, got {what}; put it in a list"
            )
        given = in_order(name, params)
        if not given:
            raise ValueError(f"{name}: got an empty parameter list; has the model any parameters?")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)
        everything = [p for group in self.param_groups for p in group["params"]]
        if not everything:
            raise ValueError(f"{name}: the parameter groups are all empty; has the model any parameters?")

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # ------------------------------------------------------------ groups

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Adds a group of parameters: a dict with "params" and options; what it leaves out is as in
        `defaults`.
        """
        name = self._name
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(
                f'{name}: a parameter group is a dict with "params", got a {type(param_group).__name__}'
            )
        group = {**self.defaults, **param_group}
        params = group["params"]
        used_up = isinstance(params, Iterator)
        group["params"] = params = [params] if isinstance(params, Tensor) else in_order(name, params)
        if used_up and not params:
            raise ValueError(
                f"{name}: the generator of a parameter group gave nothing; it is used up after one pass, so "
                "give list(model.parameters())"
            )
        for option in self.defaults:
            if option not in group:
                raise ValueError(f"{name}: the parameter group needs {option!r}")
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(params):
            check_parameter(name, i, p)
            if id(p) in taken:
                raise ValueError(f"{name}: parameter {i} of the group, of shape {p.shape}, was given before")
            taken.add(id(p))
        self.check_options(group)
        self.param_groups.append(group)

    def check_options(self, group: dict[str, Any]) -> None:
        """Raises ValueError where an option of a group is out of its range; override it for what else must
        hold.
        """
        check_ranges(self._name, self.option_ranges, group)

    # ------------------------------------------------------------ a step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the parameters; with `set_to_none=False` fills them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.array[...] = 0
                    mark_changed(p.grad.array)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient, in place. Returns the loss that `closure()` gives, if
        any.
        """
        with self.hooked(closure):
            return self._stepped(closure)

    def _stepped(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        current = capturing.get()
        if current is not None:
            current.check(functools.partial(self._check_parameters, self._learning()))
            current.on_failure(functools.partial(setattr, self, "torn", self.torn))
        with self.changing():
            for i, group in enumerate(self.param_groups):
                self._step_group(i, group, [p for p in group["params"] if p.grad is not None])
        return loss

    @contextlib.contextmanager
    def changing(self, put_back: Callable[[], None] | None = None) -> Iterator[None]:
        """The time in which parameters and state change. What breaks it off leaves `torn` true, unless
        `put_back` makes them what they were.
        """
        with signals_wait():
            before = self.torn, self.n_changes
            self.torn, self.n_changes = True, self.n_changes + 1
            try:
                yield
            except BaseException:
                if put_back is not None:
                    put_back()
                    self.torn, self.n_changes = before
                raise
            self.torn = before[0]

    def _learning(self) -> list[list[bool]]:
        """Which parameters learn, group by group."""
        return [[p.requires_grad for p in group["params"]] for group in self.param_groups]

    def _check_parameters(self, learning: list[list[bool]]) -> None:
        if self._learning() != learning:
            raise Stale

    # ------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of a parameter: its state}, "param_groups": [options and parameters' numbers]}.

        Numbers, strings, None, lists, dicts and tensors only. The tensors are the optimiser's own: copy what
        should not go on changing. Parameters are numbered in the order in which they were given. Raises
        RuntimeError where a step was broken off in its middle.
        """
        if self.torn:
            raise RuntimeError(
                f"{self._name}.state_dict: a step was broken off in its middle, and what it left is not to "
                "be saved; load the last whole checkpoint into the model and the optimizer"
            )
        self.before_state()
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            options = {k: list(v) if isinstance(v, tuple) else v for k, v in group.items() if k != "params"}
            groups.append(
                {**options, "params": [number.setdefault(id(p), len(number)) for p in group["params"]]}
            )
        state = {
            number[id(p)]: {k: list(v) if isinstance(v, list) else v for k, v in kept.items()}
            for p, kept in self.state.items()
            if kept and id(p) in number
        }
        return self.shown_state({"state": state, "param_groups": groups})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over options and state that `state_dict` gave: copies, in the parameters' types and on their
        devices.

        Raises ValueError, and changes nothing, where the groups, parameters, options or shapes do not fit.
        """
        name = f"{self._name}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(
                f'{name}: expected a dict with "state" and "param_groups", as state_dict() gives'
                f"{given_instead(state_dict)}"
            )
        state_dict = self.before_loading(state_dict)
        with reading_state(name):
            self.param_groups, self.state = self._read_state(name, state_dict)
        self.torn = False
        self.after_loading()

    def _read_state(self, name: str, state_dict: Mapping[str, Any]) -> tuple[Any, Any]:
        """Groups and state that were saved, for the parameters here."""
        groups, numbered = read_groups(
            name, self.param_groups, state_dict["param_groups"], self.defaults, self.check_options
        )
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for key, kept in state_dict["state"].items():
            p = numbered.get(int(key))
            if p is None:
                raise ValueError(
                    f"{name}: there is state for a parameter {key}, and none of the groups has it"
                )
            for what, value in kept.items():
                if self.state_names is not None and what not in self.state_names | {"master"}:
                    raise ValueError(
                        f"{name}: parameter {key} has state {what!r}; is it the state of another optimiser?"
                    )
                state[p][what] = self.loaded_entry(name, int(key), p, what, value)
        return groups, state

    def loaded_entry(self, name: str, number: int, p: Tensor, what: str, value: Any) -> Any:
        """One entry of a parameter's saved state, as it is kept."""
        if what == "step":
            return int(value)
        if not hasattr(value, "shape"):
            return value
        if tuple(value.shape) != p.shape:
            raise ValueError(
                f"{name}: {what} of parameter {number} has shape {tuple(value.shape)}, the parameter "
                f"{p.shape}"
            )
        return tensor(value, working_type(p.array), p.device)


def _whole(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that a class defines itself, from its beginning to its end."""

    @functools.wraps(step)
    def whole(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with self.hooked(*args, **kwargs), self.changing():
            return step(self, *args, **kwargs)

    return whole


FORMER_NAMES = {
    "_ranges": "option_ranges",
    "_names": "state_names",
    "_buffers": "buffer_names",
    "_start": "buffer_start",
    "_coefficients": "coefficients",
    "_update": "update",
    "_check_options": "check_options",
    "_loaded": "loaded_entry",
}  # what subclasses defined in version 0.1, and what they define now


SUBJECT = "former names of an optimiser's methods"
for _cls in (UpdateRule, Optimizer):
    join_former_names(_cls, FORMER_NAMES, SUBJECT)
