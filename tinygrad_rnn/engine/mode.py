"""Switches of the engine, local to a thread or task: whether a graph is built, checked, and run fused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Mode(NamedTuple):
    grad: bool = True  # results remember how they were made
    debug: bool = False  # every result is checked for NaN and infinity
    fused: bool = True  # pointwise functions run as one node, and so do loops
    record: Callable[..., None] | None = None  # is told of every op that is given tensors
    frees: bool = False  # a backward is under way that frees each node after its rules have run
    reads: Callable[..., None] | None = None  # is told of the arrays that every op is given


USUAL = Mode()
_mode: ContextVar[Mode] = ContextVar("tinygrad_rnn_mode", default=USUAL)
current = _mode.get


def _changed(**fields: Any) -> Mode:
    """The mode with other fields; USUAL itself where it is like that, so that it can be asked for by `is`."""
    changed = _mode.get()._replace(**fields)
    return USUAL if changed == USUAL else changed


def start_recording(record: Callable[..., None]) -> Token[Mode]:
    """From here on `record(op, args, settings, results)` is called for every op, which builds a graph."""
    return _mode.set(_changed(grad=True, record=record))


def stop_recording(token: Token[Mode]) -> None:
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


class going_back:
    """In this block a backward runs rules: on arrays, or where it makes a graph of them, on tensors."""

    def __init__(self, create_graph: bool, frees: bool) -> None:
        self._create_graph, self._frees = create_graph, frees

    def __enter__(self) -> None:
        changed = _changed(grad=self._create_graph, frees=self._frees)
        self._token = _mode.set(changed)

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


class unfused(_Switch):
    """`with unfused():` pointwise functions run op by op: slower, the same values, and every step can be
    looked at.
    """

    field, value = "fused", False


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
