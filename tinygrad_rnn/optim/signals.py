"""Signals wait while something changes that is to be whole: a step of an optimiser, the books of a training.

Python runs a signal's handler between any two operations of the main thread, and what it raises breaks off
what was going on there. In `signals_wait` every handler that is written in Python, whoever has installed it,
is put off until the end; in `users_code` inside it, where nothing is half done, handlers run at once.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

# What the module signal wraps: it makes enums of its results, which takes ten times the time.
_signal: Any = importlib.import_module("_signal")
_HERE = (__file__, contextlib.__file__)

# What programs have handlers for; the others stop or end a process at once, or report its errors.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGBREAK")
NUMBERS = tuple(int(getattr(signal, name)) for name in NAMES if hasattr(signal, name))


class _Waiting:
    """The handlers that are put off, and the signals that have come meanwhile: of the main thread alone."""

    def __init__(self) -> None:
        self.depth = 0  # of blocks of `signals_wait` in each other
        self.open_at = 0  # the depth at which handlers run at once: that of a block of `users_code`
        self.handlers: dict[int, Callable[..., Any]] = {}
        self.came: list[tuple[int, Any]] = []

    def begin(self) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        for number in NUMBERS:
            handler = _signal.getsignal(number)
            if callable(handler) and handler != self.on_signal:
                self.handlers[number] = handler
                _signal.signal(number, self.on_signal)

    def end(self, depth: int, open_at: int) -> None:
        """Back to what was."""
        self.depth, self.open_at = depth, open_at
        if not depth:
            for number, handler in self.handlers.items():
                if _signal.getsignal(number) == self.on_signal:  # or another one has been installed since
                    _signal.signal(number, handler)
        if depth == self.open_at:
            self.deliver()

    def on_signal(self, number: int, frame: Any) -> None:
        """At once where nothing is half done. One that comes for the third time waits no longer: a step that
        hangs can be left, and is torn.
        """
        self.came.append((number, frame))
        entering = frame is not None and frame.f_code.co_filename in _HERE  # a block, or leaving one
        if (self.depth == self.open_at and not entering) or [n for n, _ in self.came].count(number) > 2:
            self.deliver()

    def deliver(self) -> None:
        """Runs the handlers of what has come. What one raises stands for all that came of its signal."""
        while self.came:
            number, frame = self.came.pop(0)
            try:
                self.handlers[number](number, frame)
            except BaseException:
                self.came = [(n, where) for n, where in self.came if n != number]
                raise


waiting = _Waiting()


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Handlers of signals run when the block has ended, however it ends."""
    if not _in_main_thread():  # where Python runs no handlers
        yield
        return
    before = waiting.depth, waiting.open_at
    try:
        waiting.begin()
        yield
    finally:
        waiting.end(*before)


@contextlib.contextmanager
def users_code() -> Iterator[None]:
    """Inside `signals_wait`: those that wait run now, and those that come in the block at once."""
    if not _in_main_thread() or not waiting.depth:
        yield
        return
    before, waiting.open_at = waiting.open_at, waiting.depth
    try:
        waiting.deliver()
        yield
    finally:
        waiting.open_at = before
