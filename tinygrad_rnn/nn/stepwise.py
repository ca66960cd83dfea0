"""A model as one step: a copy whose cells take their state from outside, and say what it has become."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend.naming import kind
from ..creation import tensor
from ..engine import Primitive
from ..fuse.trace import Tracer, Untraceable
from ..tensor import Tensor
from .cell import Cell
from .module import Module
from .recurrent import Recurrent
from .scan import flattened
from .state import State, map_state

__all__ = ["Refused", "StepCopy", "called", "shown"]


class Refused(Untraceable):
    """Why a model is not exported, as a sentence that names a module."""


class Kept:
    """The state of a cell: what it begins with, and in a trace the one before and after the step."""

    def __init__(self, name: str, start: State) -> None:
        self.name, self.start = name, start
        self.before: State = None
        self.after: State = None


class StepCopy:
    """A model in eval mode whose cells begin with the state that they are given from outside. The weights are
    the model's own. `blamed` has the innermost module that an error came of.
    """

    def __init__(self, model: Module, dtype: Any, follows: bool = True) -> None:
        """Without `follows` cells begin as they are."""
        self.follows = follows
        self.kept: list[Kept] = []
        self.blamed: list[str] = []
        self.inside: list[str] = []  # the modules that are being called
        self.makers: dict[str, str] = {}  # of ops, by name: the first module that calls each
        self.dtype = dtype
        self.known: dict[int, Any] = {}
        self.model = self._copied(model, "", follows)
        self.names = [k.name for k in self.kept for _ in flattened(k.start)]

    def step(self, x: Tensor, *states: Tensor) -> list[Tensor]:
        """[y, *new states] of one step, for a tracer."""
        following = iter(states)
        try:
            for k in self.kept:
                k.before, k.after = map_state(lambda _: next(following), k.start), None
            y = shown(self.model(x))
            new = [s for k in self.kept for s in flattened(k.before if k.after is None else k.after)]
            return [y.reshape(1, -1), *new]
        finally:
            for k in self.kept:
                k.before = k.after = None

    def tracer(self, follows: bool) -> Tracer:
        """What writes down the ops of a step, and notes who calls them."""
        return _Noting(follows, self)

    def _copied(self, part: Any, path: str, follows: bool) -> Any:
        """A copy of a module and of all below it; what is no module stays."""
        if type(part) in (list, tuple, dict):
            pairs = part.items() if isinstance(part, dict) else enumerate(part)
            parts = [(k, self._copied(p, f"{path}.{k}", follows)) for k, p in pairs]
            return type(part)(parts) if isinstance(part, dict) else type(part)(p for _, p in parts)
        if not isinstance(part, Module):
            return part
        if id(part) in self.known:
            return self.known[id(part)]
        new = self.known[id(part)] = copy.copy(part)
        is_cell = isinstance(part, Cell) and follows
        own = vars(new)
        for name, value in vars(part).items():
            inside = f"{path}.{name}" if path else name
            own[name] = self._copied(value, inside, follows and not is_cell)
        own["training"] = False
        if isinstance(part, Recurrent) and part.initial_state is not None and self.follows:
            own["initial_state"] = None
            self._learned(part)
        where = called(path, part)
        kept = self._starting(part, where) if is_cell else None
        object.__setattr__(new, "__class__", _class_of(part, where, self, kept))
        return new

    def _starting(self, cell: Cell, where: str) -> Kept:
        like = tensor(np.zeros((1, cell.input_size), self.dtype))
        self.kept.append(Kept(where, cell.initial_state(1, like)))
        self.known[id(cell), "kept"] = self.kept[-1]  # type: ignore[index]
        return self.kept[-1]

    def _learned(self, layer: Recurrent) -> None:
        """Cells of a layer that has learned where to begin begin there."""
        learned = iter(layer.initial_state or ())
        for cell in layer.cells:
            kept = self.known[id(cell), "kept"]  # type: ignore[index]
            kept.start = map_state(lambda _: next(learned).unsqueeze(0), kept.start)


def _class_of(module: Module, where: str, of: StepCopy, kept: Kept | None) -> Any:
    """The class of a copy: errors and ops are noted as its own, and a cell's state is the one in `kept`."""
    inner: Any = type(module)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _within(where, of):
            return inner.__call__(self, *args, **kwargs)

    def initial_state(self: Any, batch_size: int, like: Tensor) -> State:
        before = kept.before if kept is not None else None
        return inner.initial_state(self, batch_size, like) if before is None else before

    def step(self: Any, px: Tensor, state: State) -> State:
        assert kept is not None
        if kept.after is not None:
            raise Refused(f"{where} is called more than once in a step")
        pairs = [*zip(flattened(state), flattened(kept.before), strict=False)]
        if not pairs or any(a.array is not b.array for a, b in pairs):
            raise Refused(
                f"{where} is given its state by what is around it; one that is kept it makes itself"
            )
        with _within(where, of):
            kept.after = inner.step(self, px, state)
        return kept.after

    def for_sequence(self: Any, batch_size: int, like: Tensor) -> Cell:
        cell: Cell = inner.for_sequence(self, batch_size, like)
        if cell is not self and type(cell) is not made:
            cell = copy.copy(cell)
            object.__setattr__(cell, "__class__", _class_of(cell, where, of, kept))
        return cell

    methods: dict[str, Any] = {"__call__": call, "__module__": inner.__module__}
    if kept is not None:
        methods |= {"initial_state": initial_state, "step": step, "for_sequence": for_sequence}
    made = type(inner.__name__, (inner,), methods)
    return made


@contextlib.contextmanager
def _within(where: str, of: StepCopy) -> Iterator[None]:
    """What happens in this block happens in a module."""
    of.inside.append(where)
    try:
        yield
    except Exception:
        if not of.blamed:
            of.blamed.append(where)
        raise
    finally:
        of.inside.pop()


class _Noting(Tracer):
    def __init__(self, follows: bool, of: StepCopy) -> None:
        super().__init__(follows)
        self.of = of

    def emit(self, op: Primitive, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        if self.of.inside:
            self.of.makers.setdefault(op.name, self.of.inside[-1])
        return super().emit(op, args, settings)


def shown(y: Any) -> Tensor:
    """What a model shows: a tensor, or the first of a tuple."""
    while isinstance(y, (tuple, list)) and y:
        y = y[0]
    if not isinstance(y, Tensor):
        raise Refused(f"it returns {kind(y)}, and a step has a tensor, or a tuple that begins with one")
    return y


def called(path: str, module: Module) -> str:
    return f"{path} ({type(module).__name__})" if path else type(module).__name__
