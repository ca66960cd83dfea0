"""Switches of the engine, local to a thread or task: whether a graph is built, checked, and run fused."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .arguments import Call
    from .core import Node

F = TypeVar("F", bound=Callable[..., Any])
Observer = Callable[[Any, "Call", Any, "Node | None"], None]


class Mode(NamedTuple):
    """The switches. Equal ones without onlookers are one object, so that they can be told apart by `is`."""

    grad: bool = True  # results remember how they were made
    debug: bool = False  # every result is checked for NaN and infinity
    fused: bool = True  # pointwise functions run as one node, and so do loops
    observers: tuple[Observer, ...] = ()  # told of every op that is given values: (op, call, out, node)
    reads: Callable[..., None] | None = None  # is told of what every op is given, also where that is arrays
    tracer: Any = None  # calls of ops are not run, but given to its `emit(op, args, settings)`
    functional: bool = False  # a step is being recorded: in-place changes make new arrays
    frees: bool = False  # a backward is under way that frees each node before its rules run
    plain: bool = True  # nobody looks on, so that fast.py may take short ways; follows from the others


USUAL = Mode()
_known: dict[Mode, Mode] = {USUAL: USUAL}
_mode: ContextVar[Mode] = ContextVar("tinygrad_rnn_mode", default=USUAL)
current = _mode.get


def _changed(**fields: Any) -> Mode:
    """The mode with other fields."""
    changed = _mode.get()._replace(**fields)
    watched = bool(changed.observers) or changed.tracer is not None or changed.reads is not None
    plain = not (watched or changed.debug)
    if changed.plain is not plain:
        changed = changed._replace(plain=plain)
    return changed if watched else _known.setdefault(changed, changed)


def observe(observer: Observer, **fields: Any) -> Token[Mode]:
    """From here on the observer is told of every op; `stop` ends it."""
    return _mode.set(_changed(observers=(*current().observers, observer), **fields))


def trace(tracer: Any) -> Token[Mode]:
    """From here on calls of ops are given to the tracer; `stop` ends it."""
    return _mode.set(_changed(tracer=tracer))


def stop(token: Token[Mode]) -> None:
    """Back to what was before."""
    _mode.reset(token)


class reading:
    """In this block `reads(arrays)` is called with what every op is given: its arrays, and numbers."""

    def __init__(self, reads: Callable[..., None]) -> None:
        self._reads = reads

    def __enter__(self) -> None:
        self._token = _mode.set(_changed(reads=self._reads))

    def __exit__(self, *_: object) -> None:
        _mode.reset(self._token)


_BACK = {(grad, frees): _changed(grad=grad, frees=frees) for grad in (False, True) for frees in (False, True)}


class going_back:
    """In this block a backward runs rules: on arrays, or where it makes a graph of them, on tensors."""

    def __init__(self, create_graph: bool, frees: bool) -> None:
        self._create_graph, self._frees = create_graph, frees

    def __enter__(self) -> None:
        now = _mode.get()
        back = _BACK.get((self._create_graph, self._frees)) if now is USUAL else None
        self._token = _mode.set(back or _changed(grad=self._create_graph, frees=self._frees))

    def __exit__(self, *_: object) -> None:
        _mode.reset(self._token)


class _Switch:
    """A context manager, also a decorator, under which one field of the mode has another value."""

    field: str
    value: bool

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self._tokens: list[Token[Mode]] = []
        self._function = function

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        if function is not None:  # written without parentheses above a def
            return cls()(function)
        return super().__new__(cls)

    def __enter__(self) -> None:
        changed = _changed(**{self.field: self.value})
        self._tokens.append(_mode.set(changed))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        _mode.reset(self._tokens.pop())

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


class no_grad(_Switch):
    """`with no_grad():` or `@no_grad()`: results do not remember how they were made, and cost no memory for
    it.
    """

    field, value = "grad", False


class enable_grad(_Switch):
    """Undoes `no_grad` in a block."""

    field, value = "grad", True


class debug(_Switch):
    """`with debug():` the first NaN or infinity raises FloatingPointError, naming the op and the line that
    called it.
    """

    field, value = "debug", True


class eager(_Switch):
    """`with eager():` pointwise functions and loops run op by op: slower, the same values, and every step can
    be looked at.
    """

    field, value = "fused", False


class unfused(eager):
    """The old name of `eager`."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        global _said
        super().__init__(function)
        if not _said:
            _said = True
            warnings.warn("unfused() is called eager() now", DeprecationWarning, stacklevel=2)


_said = False


class set_grad_enabled:
    """`set_grad_enabled(False)`, as a statement, a `with` block or a decorator: graph building on or off."""

    def __init__(self, mode: bool) -> None:
        self._before, self._wanted = _mode.get().grad, bool(mode)
        _mode.set(_changed(grad=self._wanted))

    def __call__(self, function: F) -> F:
        _mode.set(_changed(grad=self._before))  # it turns out to be a decorator
        switch: Any = enable_grad if self._wanted else no_grad
        return switch()(function)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        _mode.set(_changed(grad=self._before))


def is_grad_enabled() -> bool:
    """Whether results remember how they were made, here and now."""
    return _mode.get().grad
