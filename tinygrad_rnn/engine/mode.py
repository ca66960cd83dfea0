"""Switches of the engine, local to a thread or task: whether a graph is built, checked, and run fused."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..deprecation import warn_once

if TYPE_CHECKING:
    from .arguments import Call
    from .core import Node
    from .gradients import Results
    from .rules import Primitive

F = TypeVar("F", bound=Callable[..., Any])
Observer = Callable[["Primitive", "Call", "Results", "Node | None"], None]
Reads = Callable[[Sequence[object]], None]


class Mode(NamedTuple):
    """The switches. Equal ones without onlookers are one object, so that they can be told apart by `is`."""

    grad: bool = True  # results remember how they were made
    debug: bool = False  # every result is checked for NaN and infinity
    fused: bool = True  # pointwise functions run as one node, and so do loops
    observers: tuple[Observer, ...] = ()  # told of every op that is given values: (op, call, out, node)
    reads: Reads | None = None  # is told of what every op is given, also where that is arrays
    tracer: Any = None  # calls of ops are not run, but given to its `emit(op, args, settings)`
    functional: bool = False  # a step is being recorded: in-place changes make new arrays
    frees: bool = False  # a backward is under way that frees each node before its rules run
    plain: bool = True  # nobody looks on, so that fast.py may take short ways; follows from the others


USUAL = Mode()
_known: dict[Mode, Mode] = {USUAL: USUAL}
_mode: ContextVar[Mode] = ContextVar("tinygrad_rnn_mode", default=USUAL)
current = _mode.get
enter = _mode.set  # until `stop` is given what it returned
stop = _mode.reset


def _changed(**fields: object) -> Mode:
    """The mode with other fields."""
    changed = current()._replace(**fields)  # type: ignore[arg-type]
    watched = bool(changed.observers) or changed.tracer is not None or changed.reads is not None
    plain = not (watched or changed.debug)
    if changed.plain is not plain:
        changed = changed._replace(plain=plain)
    return changed if watched else _known.setdefault(changed, changed)


def observe(observer: Observer, **fields: object) -> Token[Mode]:
    """From here on the observer is told of every op; `stop` ends it."""
    return enter(_changed(observers=(*current().observers, observer), **fields))


def trace(tracer: Any) -> Token[Mode]:
    """From here on calls of ops are given to the tracer; `stop` ends it."""
    return enter(_changed(tracer=tracer))


@contextlib.contextmanager
def reading(reads: Reads) -> Iterator[None]:
    """In this block `reads(arrays)` is called with what every op is given: its arrays, and numbers."""
    token = enter(_changed(reads=reads))
    try:
        yield
    finally:
        stop(token)


_BACK = {(grad, frees): _changed(grad=grad, frees=frees) for grad in (False, True) for frees in (False, True)}


class going_back:
    """In this block a backward runs rules: on arrays, or where it makes a graph of them, on tensors."""

    def __init__(self, create_graph: bool, frees: bool) -> None:
        self._create_graph, self._frees = create_graph, frees

    def __enter__(self) -> None:
        now = current()
        back = _BACK.get((self._create_graph, self._frees)) if now is USUAL else None
        self._token = enter(back or _changed(grad=self._create_graph, frees=self._frees))

    def __exit__(self, *_: object) -> None:
        stop(self._token)


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
        self._tokens.append(enter(_changed(**{self.field: self.value})))

    def __exit__(self, *_: object) -> None:
        stop(self._tokens.pop())

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
        super().__init__(function)
        warn_once("unfused", "unfused() is called eager() now")


class set_grad_enabled:
    """`set_grad_enabled(False)`, as a statement, a `with` block or a decorator: graph building on or off."""

    def __init__(self, mode: bool) -> None:
        self._before, self._wanted = current().grad, bool(mode)
        enter(_changed(grad=self._wanted))

    def __call__(self, function: F) -> F:
        enter(_changed(grad=self._before))  # it turns out to be a decorator
        switch: Any = enable_grad if self._wanted else no_grad
        return switch()(function)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        enter(_changed(grad=self._before))


def is_grad_enabled() -> bool:
    """Whether results remember how they were made, here and now."""
    return current().grad
