"""Optimizer: parameter groups, state, and the walk over parameters. The methods themselves are in their own
files.

An optimiser says three things: which arrays it keeps for a parameter (`buffer_names`), the numbers of a step
(`coefficients`), and the equation of the update (`update`, new values from old ones). `step` here does the
rest. From the equation ops/in_place.py makes code that changes arrays in place: for
NumPy, operations on pieces that stay in the processor's cache, so that a dozen of them read the main memory
once; for a GPU one kernel, which changes many parameters at a time.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar

from ..backend import Array, ArrayModule, array_module, dtypes
from ..backend.capture import Stale, capturing
from ..creation import tensor
from ..deprecation import warn_once
from ..engine import enable_grad, mark_changed
from ..engine.errors import came, kind, reading_state
from ..fuse.lower.update import InPlace, is_number
from ..ops import where
from ..tensor import Tensor
from .hooks import OptimizerHooks
from .signals import signals_wait

# Elements of a piece: of float32, four arrays and two for scratch are 768 KiB, within a second-level cache.
_BLOCK = 1 << 15


class Optimizer(OptimizerHooks):
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
    state_names: ClassVar[frozenset[str] | None] = (
        None  # what a state that is loaded may hold; None: anything
    )
    master_weights = False  # whether float16 parameters have a float32 copy, which is what is updated
    torn = False  # whether a step was broken off in its middle
    n_changes = 0  # how many steps have begun to change something
    scaling: tuple[Array, Array] | None = None  # of nn.amp.GradScaler: 1 / scale, and 1 where a step is void

    def __init_subclass__(cls, marks_changes: bool = False, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        _join_former_names(cls)
        if "step" in vars(cls) and not marks_changes:  # nobody knows when it changes what
            cls.step = _whole(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._scratch: dict[tuple[str, Any], list[Array]] = {}
        self._equations: dict[Any, InPlace] = {}
        name = self._name
        if isinstance(params, Tensor) or (isinstance(params, Mapping) and "params" in params):
            what = "a single tensor" if isinstance(params, Tensor) else "a dict"
            raise TypeError(
                f"{name}: params must be a list of tensors or of dicts, got {what}; put it in a list"
            )
        given = self._in_order(params)
        if not given:
            raise ValueError(f"{name}: got an empty parameter list; has the model any parameters?")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)
        everything = [p for group in self.param_groups for p in group["params"]]
        if not everything:
            raise ValueError(f"{name}: the parameter groups are all empty; has the model any parameters?")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # ------------------------------------------------------------ groups

    def _in_order(self, params: Any) -> list[Any]:
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self._name}: parameters need an order that is the same in each run; got a set")
        if (
            not isinstance(params, Iterable)
            or isinstance(params, (str, Mapping))
            or hasattr(params, "parameters")
        ):
            hint = "; the parameters come first, then lr" if isinstance(params, (int, float)) else ""
            if callable(params) or isinstance(params, Mapping):
                hint = "; model.parameters() gives them"
            raise TypeError(f"{self._name}: params must be a list of tensors, got {kind(params)}{hint}")
        return list(params)

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
        group["params"] = params = [params] if isinstance(params, Tensor) else self._in_order(params)
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
            self._check_parameter(i, p)
            if id(p) in taken:
                raise ValueError(f"{name}: parameter {i} of the group, of shape {p.shape}, was given before")
            taken.add(id(p))
        self.check_options(group)
        self.param_groups.append(group)

    def _check_parameter(self, i: int, p: Any) -> None:
        name = self._name
        if not isinstance(p, Tensor):
            hint = "; give model.parameters(), without names" if isinstance(p, tuple) else ""
            raise TypeError(
                f"{name}: parameter {i} must be a tensor, got {kind(p) if hint else came(p)}{hint}"
            )
        if not p.is_leaf:
            raise ValueError(
                f"{name}: parameter {i}, of shape {p.shape}, was computed by {p.grad_fn} and is no leaf; "
                "give the tensors it was computed from"
            )

    def check_options(self, group: dict[str, Any]) -> None:
        """Raises ValueError where an option of a group is out of its range; override it for what else must
        hold.
        """
        for option, (low, high) in self.option_ranges.items():
            value = group[option]
            for number in value if isinstance(value, (tuple, list)) else (value,):
                is_number = hasattr(number, "__float__")
                if not is_number or not low <= float(number) < high:
                    below = "" if high == math.inf else f" and below {high:g}"
                    hint = "" if is_number else f"; {kind(number)} is no number"
                    if not is_number and hasattr(number, "__iter__") and not isinstance(number, str):
                        hint += ", and the parameters come first"
                    raise ValueError(
                        f"{self._name}: {option} must be at least {low:g}{below}, got {value}{hint}"
                    )

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

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the arrays kept for each parameter of a group, in the order in which `update` takes
        them.
        """
        return ()

    def buffer_start(self, group: dict[str, Any]) -> float:
        """The number that these arrays hold at first."""
        return 0.0

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers of this step for one parameter: Python floats; None for one that is not needed, and
        booleans, are part of the equation. Counts the step in `state` where one does.
        """
        raise NotImplementedError(f"{self._name} must define coefficients and update, or step")

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        """The new values of a parameter and its buffers: arithmetic and the functions of ops/elementwise.py.

        `numbers` are those of `coefficients`; numbers are not combined with each other here.
        """
        raise NotImplementedError(f"{self._name} must define coefficients and update, or step")

    def _step_group(self, i: int, group: dict[str, Any], params: Sequence[Tensor]) -> None:
        """Changes parameters of the i-th group: on a GPU those that are alike together."""
        names = self.buffer_names(group)
        together: dict[Any, list[tuple[Tensor, list[Array]]]] = {}
        update, of_numbers = None, None
        for p in params:
            xp, state = self._module(p), self.state[p]
            if xp.capturing is not None:
                xp.capturing.on_failure(functools.partial(_put_back, state, dict(state)))
            numbers = self.coefficients(group, state)
            if xp.capturing is not None:
                xp.capturing.check(functools.partial(self._check_numbers, i, p, _pattern(numbers)))
            array, kind = p.array, working_type(p.array)
            arrays = [array, p.grad.array]
            arrays += [self._buffer(xp, p, state, kind, self.buffer_start(group), name) for name in names]
            if self._keeps_master(array):
                arrays.append(self._buffer(xp, p, state, kind, None, "master"))
            if xp.capturing is not None:
                xp.capturing.keep([*arrays, *(self.scaling or ())])
                xp.capturing.check(functools.partial(self._check_arrays, i, p, arrays[:1] + arrays[2:]))
            if xp.language == "cuda":
                together.setdefault((xp, numbers, *[a.dtype for a in arrays]), []).append((p, arrays))
            elif self.scaling is not None or xp.capturing is not None:
                again = functools.partial(self._numbers_again, i, [p])
                self._run_with_arrays(xp, xp.numbers(numbers, again), arrays, len(names))
            else:
                if numbers != of_numbers:  # as a rule the same for all of a group
                    update, of_numbers = self._equation(numbers, len(names), 2 + len(names)).run, numbers
                self._run_in_pieces(xp, update, numbers, arrays, kind)
            mark_changed(array)
        for (xp, numbers, *_), members in together.items():
            lists = [arrays for _, arrays in members]
            if self._keeps_master(lists[0][0]):  # it is what is updated, and the parameter its copy
                lists = [[master, g, *buffers, p] for p, g, *buffers, master in lists]
            again = functools.partial(self._numbers_again, i, [p for p, _ in members])
            all_numbers = xp.numbers(numbers, again)
            all_numbers = (*all_numbers, *(self.scaling or ()))
            self._equation(all_numbers, len(names), len(lists[0])).launch(xp, lists, all_numbers)

    def _module(self, p: Tensor) -> ArrayModule:
        xp = array_module(p.array)
        if array_module(p.grad.array) is not xp:
            raise TypeError(
                f"{self._name}: a parameter of shape {p.shape} is on {xp.name}, its gradient on "
                f"{array_module(p.grad.array).name}; call zero_grad() after moving a model"
            )
        return xp

    def _numbers_again(self, i: int, params: Sequence[Tensor]) -> tuple[Any, ...]:
        """The numbers of one more step of a captured graph."""
        numbers: tuple[Any, ...] = ()
        for p in params:  # each counts its own steps; the numbers are the same for all
            numbers = self.coefficients(self.param_groups[i], self.state[p])
        return numbers

    def _check_numbers(self, i: int, p: Tensor, pattern: tuple[Any, ...]) -> None:
        """Raises Stale where an option has become zero, or is so no longer: the equation is another then."""
        if _pattern(self.coefficients(self.param_groups[i], dict(self.state[p]))) != pattern:
            raise Stale

    def _check_arrays(self, i: int, p: Tensor, arrays: Sequence[Array]) -> None:
        """Raises Stale where a captured step works on arrays that are no longer the parameter's."""
        names = [*self.buffer_names(self.param_groups[i]), "master"]
        kept = [self.state[p][name].array for name in names if name in self.state[p]]
        if [id(p.array), *map(id, kept)] != [*map(id, arrays)]:
            raise Stale

    def _keeps_master(self, array: Array) -> bool:
        return self.master_weights and array.dtype.itemsize == 2

    def _equation(self, numbers: Sequence[Any], n_buffers: int, n_arrays: int) -> InPlace:
        """The code of the update for numbers of this pattern."""
        key = _pattern(numbers), n_arrays
        found = self._equations.get(key)
        if found is None:
            scaled = self.scaling is not None

            def equation(numbers: Any, p: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
                inverse, void = numbers[-2:] if scaled else (None, None)
                own = numbers[:-2] if scaled else numbers
                buffers = rest[:n_buffers]
                new = self.update(own, p, g if inverse is None else g * inverse, *buffers)
                if void is not None:
                    new = tuple(where(void, old, x) for old, x in zip((p, *buffers), new, strict=True))
                return (*new, *(new[:1] * (n_arrays - 2 - n_buffers)))  # the copy of master weights

            found = self._equations[key] = InPlace(self._name, equation, numbers, n_arrays)
        return found

    def _run_with_arrays(
        self, xp: ArrayModule, numbers: Sequence[Any], arrays: Sequence[Array], n_buffers: int
    ) -> None:
        """Changes one parameter where arrays without axes are among the numbers."""
        kind = working_type(arrays[0])
        scaling = tuple(map(xp.scalar, self.scaling or ()))
        if scaling and type(scaling[1]) is float:  # a number, where the host can read it
            if scaling[1]:
                return
            scaling = (scaling[0], None)
        numbers = [x.astype(kind) if hasattr(x, "dtype") else x for x in (*numbers, *scaling)]
        run = self._equation(numbers, n_buffers, 2 + n_buffers).run
        self._run_in_pieces(xp, run, numbers, arrays, kind)

    def _run_in_pieces(
        self, xp: ArrayModule, run: Any, numbers: Sequence[Any], arrays: Sequence[Array], kind: Any
    ) -> None:
        """Changes one parameter by operations on whole arrays, piece by piece."""
        if arrays[0].dtype == kind:
            for part in _blocks(xp, arrays):
                run(xp, part, numbers, functools.partial(self._scratch_like, xp, kind, part[0]))
            return
        master = self._keeps_master(arrays[0])  # float16, worked on in float32
        for p, g, *rest in _blocks(xp, arrays):
            g_wide, wide = self._scratch_like(xp, kind, p, 2)
            g_wide[...] = g
            if master:
                wide = rest.pop()
            else:
                wide[...] = p

            def scratch(n: int, like: Array = p) -> list[Array]:
                return self._scratch_like(xp, kind, like, n + 2)[2:]

            run(xp, (wide, g_wide, *rest), numbers, scratch)
            p[...] = wide

    def _buffer(
        self, xp: ArrayModule, p: Tensor, state: dict[str, Any], kind: Any, start: float | None, name: str
    ) -> Array:
        """The array kept under `name`: made at first, of `start` or for None of the parameter; and moved or
        cast when the parameter has been.
        """
        if name not in state:
            with xp.at_once():
                new = p.array.astype(kind) if start is None else xp.full(p.shape, start, kind)
            state[name] = Tensor._of(new)
        array = state[name].array
        if array_module(array) is not xp or array.dtype != kind:
            with xp.at_once():
                state[name] = tensor(array, kind, p.device)
            array = state[name].array
        if array.shape != p.shape:
            raise ValueError(
                f"{self._name}: a parameter's shape has become {p.shape}, its {name} is {array.shape}"
            )
        return array

    def _scratch_like(self, xp: ArrayModule, kind: Any, part: Array, n: int) -> list[Array]:
        """`n` arrays of a piece's shape over memory that is kept from step to step."""
        memory = self._scratch.get((xp.name, kind), [])
        size = max([part.size, *(m.size for m in memory[:1])])
        if len(memory) < n or memory[0].size < size or xp.device_type != "cpu":

            def make() -> list[Array]:
                return [xp.empty(size, kind) for _ in range(max(n, len(memory)))]

            fits = len(memory) >= n and memory[0].size == size
            memory = self._scratch[xp.name, kind] = [*xp.kept(make, memory if fits else None)]
        return [m[: part.size].reshape(part.shape) for m in memory[:n]]

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
                f"{_hint(state_dict)}"
            )
        state_dict = self.before_loading(state_dict)
        with reading_state(name):
            self.param_groups, self.state = self._read_state(name, state_dict)
        self.torn = False
        self.after_loading()

    def _read_state(self, name: str, state_dict: Mapping[str, Any]) -> tuple[Any, Any]:
        """Groups and state that were saved, for the parameters here."""
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"{name}: {len(self.param_groups)} parameter groups here, {len(saved)} in the dict"
            )
        groups: list[dict[str, Any]] = []
        numbered: dict[int, Tensor] = {}
        for i, (mine, theirs) in enumerate(zip(self.param_groups, saved, strict=True)):
            missing = [option for option in self.defaults if option not in theirs | _YOUNG_OPTIONS]
            if missing:
                raise ValueError(
                    f"{name}: group {i} lacks {missing[0]!r}; is it the state of another optimiser?"
                )
            wrong = [k for k, v in theirs.items() if k in mine and k != "params" and not is_alike(mine[k], v)]
            if wrong:
                raise ValueError(f"{name}: {wrong[0]} of group {i} is {kind(theirs[wrong[0]])}")
            if len(mine["params"]) != len(theirs["params"]):
                raise ValueError(
                    f"{name}: group {i} has {len(mine['params'])} parameters here, {len(theirs['params'])} "
                    "in the dict"
                )
            tuples = {k for k, v in mine.items() if isinstance(v, tuple)}
            taken = {k: tuple(v) if k in tuples else v for k, v in theirs.items()}
            group = {
                **mine,
                **taken,
            }  # what a schedule here has noted stays where the dict has nothing for it
            group["params"] = mine["params"]
            self.check_options(group)
            groups.append(group)
            numbered.update(zip(map(int, theirs["params"]), mine["params"], strict=True))
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


# options that states written before they existed lack; all are off unless somebody asks for them
_YOUNG_OPTIONS = {"maximize": None, "decoupled_weight_decay": None, "amsgrad": None}


def is_alike(mine: Any, theirs: Any) -> bool:
    """Whether a saved value may stand where there is one here: a number for a number, a list for a list."""
    if mine is None or theirs is None:
        return True
    for kinds in (str, (bool, int, float), Mapping, (list, tuple)):
        if isinstance(mine, kinds):
            return isinstance(theirs, kinds) or (kinds == (bool, int, float) and hasattr(theirs, "__float__"))
    return True


def _whole(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that a class defines itself, from its beginning to its end."""

    @functools.wraps(step)
    def whole(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with self.hooked(*args, **kwargs), self.changing():
            return step(self, *args, **kwargs)

    return whole


_FORMER_NAMES = {
    "_ranges": "option_ranges",
    "_names": "state_names",
    "_buffers": "buffer_names",
    "_start": "buffer_start",
    "_coefficients": "coefficients",
    "_update": "update",
    "_check_options": "check_options",
    "_loaded": "loaded_entry",
}  # what subclasses defined in version 0.1, and what they define now


def _join_former_names(cls: type[Optimizer]) -> None:
    """A class that defines a method by one of its names has it by the other, too: ours by the former, which
    subclasses of users call; theirs by the present one, which is called here.
    """
    for before, now in _FORMER_NAMES.items():
        own = vars(cls)
        if now in own:
            setattr(cls, before, own[now])
        elif before in own:
            setattr(cls, now, own[before])
            message = f"{cls.__name__}: {before} is called {now} now; former names work for the time being"
            warn_once("former names of an optimiser's methods", message, stacklevel=3)


_join_former_names(Optimizer)


def _hint(given: Any) -> str:
    """What was given in place of an optimiser's state, as the end of a sentence."""
    if isinstance(given, (str, PathLike)):
        return f', got the name of a file; tinygrad_rnn.load({given!r})["optimizer"] is one'
    if isinstance(given, Mapping) and isinstance(given.get("optimizer"), Mapping):
        return ', got all that tinygrad_rnn.save wrote; give its ["optimizer"]'
    if isinstance(given, Mapping):
        return f", got one with {', '.join(repr(name) for name in list(given)[:3]) or 'nothing in it'}"
    return f", got {kind(given)}"


def _pattern(numbers: Sequence[Any]) -> tuple[Any, ...]:
    """What of the numbers of a step belongs to its equation: which are there, and those that are choices."""
    return tuple([0.0 if is_number(x) else x for x in numbers])


def _put_back(state: dict[str, Any], before: dict[str, Any]) -> None:
    state.clear()
    state.update(before)


def working_type(array: Array) -> Any:
    """The type in which a parameter's update is computed and its state kept: float32 for float16, whose range
    does not hold the squares of gradients, else its own.
    """
    return dtypes.float32 if array.dtype.itemsize == 2 else array.dtype


def _blocks(xp: ArrayModule, arrays: Sequence[Array]) -> Iterator[Sequence[Array]]:
    """Arrays of one shape in matching pieces that stay in the cache; on a GPU, where a call costs more than
    memory, whole.
    """
    first = arrays[0]
    if first.size <= _BLOCK or xp.device_type != "cpu":
        yield arrays
        return
    step = _BLOCK
    if all(a.flags.c_contiguous for a in arrays):
        arrays = [a.reshape(-1) for a in arrays]
    else:  # rows of an array that lies otherwise in memory
        step = max(1, _BLOCK * len(first) // first.size)
    for start in range(0, len(arrays[0]), step):
        yield [a[start : start + step] for a in arrays]
