"""What the host still does for a captured step: numbers and arrays that are new at each replay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any
from weakref import ref

import numpy as np

capturing: ContextVar[Capture | None] = ContextVar("tinygrad_rnn_capturing", default=None)


class CannotCapture(RuntimeError):
    """A step does something that no CUDA graph can hold: the reason, as a sentence."""


class Stale(Exception):
    """A captured step reads memory that is no longer in use: it has to be captured again."""


_replaced, _turned = 0, 0
_lock = threading.Lock()


def on_host() -> tuple[int, int]:
    """What captured steps cannot see: how many tensors have been given another array so far, and a number for
    which modules are in training and which in evaluation.
    """
    return _replaced, _turned


def replacing() -> None:
    """Says that a tensor is about to be given another array: graphs go on reading the one it had."""
    global _replaced
    if capturing.get() is not None:
        raise CannotCapture("`x.data = ...` gives a tensor another array; use x.data.copy_(...)")
    with _lock:
        _replaced += 1


def turning(module: object) -> None:
    """Says that a module goes from training to evaluation, or back."""
    global _turned
    with _lock:
        _turned ^= id(module)


class Capture:
    """A step while it is captured, and afterwards what is written into its memory before each replay.

    `static(array)` makes the memory, `write(memory, array)` fills it; `owns(array)` says whether an array was
    made while capturing. That memory must not be any that the
    captured step frees and takes again: at each replay it is filled first, and what the step computes before
    it reads it would be written over it.
    """

    def __init__(
        self,
        static: Callable[[Any], Any],
        write: Callable[[Any, Any], None],
        owns: Callable[[Any], bool] = lambda array: False,
    ) -> None:
        self._static, self._write, self._owns = static, write, owns
        self._feeds: list[tuple[Any, Callable[[], np.ndarray[Any, Any]] | None]] = []
        self._first: list[np.ndarray[Any, Any]] | None = []
        self._undo: list[Callable[[], None]] = []
        self._checks: list[Callable[[], None]] = []
        self._kept: dict[int, Any] = {}  # by id
        self._numbers: list[ref[Any]] = []
        self._gradients: dict[Any, Any] = {}  # by leaf: what its gradient was when it was first touched

    def feed(self, make: Callable[[], Any], constant: bool = False) -> Any:
        """The memory for what `make` gives: now, and unless it is constant, at each replay anew."""
        value = np.asarray(make())
        memory = self._static(value)
        self._feeds.append((memory, None if constant else make))
        if self._first is not None:
            self._first.append(value)
        return memory

    def feed_number(self, array: np.ndarray[Any, Any]) -> Any:
        """The memory for an array without axes on the host, which whoever has it may change in place. The
        graph does not hold it: where it is gone, another has taken its place.
        """
        reference = ref(array)

        def now() -> np.ndarray[Any, Any]:
            found = reference()
            if found is None:
                raise Stale
            return found.copy()

        self._numbers.append(reference)
        return self.feed(now)

    def end(self) -> None:
        """Called when the step has been gone through. Raises CannotCapture where it made tensors on the host
        that a graph would not make anew.
        """
        if any(reference() is None for reference in self._numbers):
            raise CannotCapture("a tensor on the host is made in the step; make it before, or on the GPU")

    def feed_numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> list[Any]:
        """These, with an array without axes for each float: at replays, what `again` gives at its place."""
        places = [i for i, x in enumerate(now) if type(x) is float]
        waiting = [now]

        def floats() -> np.ndarray[Any, Any]:
            values = waiting.pop() if waiting else again()
            return np.array([values[i] for i in places], "float64")

        memory, numbers = self.feed(floats), list(now)
        for k, i in enumerate(places):
            numbers[i] = memory[k]
        return numbers

    def keep(self, arrays: Iterable[Any]) -> None:
        """Says that the step uses arrays, among other things. Its graph goes on using the memory of those
        that there were before, and so holds them.
        """
        for array in arrays:
            if isinstance(array, (tuple, list)):  # several arguments, an index
                self.keep(array)
            elif hasattr(array, "strides") and id(array) not in self._kept and not self._owns(array):
                self._kept[id(array)] = array

    def check(self, still_valid: Callable[[], None]) -> None:
        """What is called before each replay, and raises Stale where the step must be captured again."""
        self._checks.append(still_valid)

    def reads_gradient(self, leaf: Any) -> None:
        """Says that the `.grad` of a leaf is about to be looked at or added to. Where it is not the step's
        own, a replay needs the one that there was at the capture.
        """
        if leaf not in self._gradients:
            before = leaf.grad
            self.sets_gradient(leaf)
            self.check(lambda: _check_gradient(leaf, before))

    def sets_gradient(self, leaf: Any) -> None:
        """Says that the `.grad` of a leaf is about to be another, whatever it was."""
        if leaf not in self._gradients:
            self._gradients[leaf] = before = leaf.grad
            self.on_failure(lambda: setattr(leaf, "grad", before))

    def gradients(self) -> list[tuple[Any, Any]]:
        """The leaves whose gradients were touched, and these as they are now."""
        return [(leaf, leaf.grad) for leaf in self._gradients]

    def made(self, leaf: Any, gradient: Any) -> bool:
        """Whether a leaf's gradient is one that the step has made, and not the one that there was before."""
        return gradient is not None and gradient is not self._gradients[leaf]

    def on_failure(self, undo: Callable[[], None]) -> None:
        """What takes back a change on the host that was made while capturing."""
        self._undo.append(undo)

    def fail(self) -> None:
        """Takes all of them back, the last first."""
        while self._undo:
            self._undo.pop()()

    def failed(self, error: Exception, used_bytes: Callable[[], int]) -> CannotCapture:
        """Takes everything back, and returns the reason. What was captured has never been computed: if there
        is memory of it still in use afterwards, somebody holds values that are none.
        """
        import traceback  # which takes time to import, and is seldom needed

        self.fail()
        for part in (self._checks, self._kept, self._gradients, self._feeds):
            part.clear()
        reason: BaseException | None = error
        while reason is not None:  # what its functions were working on
            traceback.clear_frames(reason.__traceback__)
            reason = reason.__cause__ or reason.__context__
        message = str(error).split("\n")[0]
        if used_bytes():
            gc.collect()
        if used_bytes():
            message += (
                "; tensors of the attempt are still in use and hold NaN: what a step hands on to the next "
                "(an attribute, an element of a list) must be an argument and a result"
            )
        return CannotCapture(message)

    def refill(self) -> None:
        """Writes what the next replay reads. The first runs on what was made while capturing, when the host
        did its part too.
        """
        first, self._first = self._first, None
        if first is not None:
            self._undo.clear()
            self._gradients.clear()  # a gradient of another graph would seem to be held
            for (memory, _), value in zip(self._feeds, first, strict=True):
                self._write(memory, value)
            return
        for still_valid in self._checks:
            still_valid()
        for memory, make in self._feeds:
            if make is not None:
                self._write(memory, np.asarray(make()))


def _check_gradient(leaf: Any, before: Any) -> None:
    if leaf.grad is not before:
        raise Stale
