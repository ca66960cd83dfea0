"""Streams of the stand-in: they compute at once, and note which work would be in order on a GPU.

    one, other = Stream(), Stream()
    with one: x = tg.ones(3)
    with other: x + 1                   # RuntimeError: nothing says that x has been written by then
    with other:
        other.wait_event(one.record())  # now it has
        x + 1

Work on one stream is in order; work on two is where one waits for an event of the other, or the host waits
between (`synchronize`, a copy to the host). Noted are, for each block of memory, which stream wrote it last,
and which have read it since. Nothing is noted as long as there is no stream but the default one: with the
first other one a new epoch begins, and what was noted before it counts no more.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

_numbers = itertools.count(1)
_host: dict[int, int] = {}  # how far the host knows that streams have come
n_streams = 0  # that there are beside the default one
_epoch = 0
_lock = threading.RLock()


class Marks:
    """Who used a stretch of memory: the last writer and its time, and the readers since."""

    __slots__ = ("epoch", "reads", "wrote")

    def __init__(self) -> None:
        self.epoch = _epoch
        self.wrote: tuple[int, int] | None = None
        self.reads: dict[int, int] = {}


class Stream:
    """`with stream:` work of this thread goes to it. `record` and `wait_event` are CuPy's."""

    def __init__(self, number: int | None = None) -> None:
        global n_streams, _epoch
        self.number = next(_numbers) if number is None else number
        _epoch += self.number > 0 and not n_streams
        self._time, self._knows = 0, dict[int, int]()
        self._before: list[Stream] = []
        n_streams += self.number > 0

    def __del__(self) -> None:
        global n_streams
        n_streams -= self.number > 0

    def __enter__(self) -> Stream:
        self._before.append(_here.stream)
        _here.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        _here.stream = self._before.pop()

    def record(self) -> dict[int, int]:
        """An event: how far this stream has come, and what it waited for."""
        with _lock:
            return {**self._knows, self.number: self._time}

    def wait_event(self, event: dict[int, int]) -> None:
        """What is given to this stream from here on comes after the event."""
        _merge(self._knows, event)

    def synchronize(self) -> None:
        """The host waits until everything is done, so that whatever it starts from here on comes after."""
        _merge(_host, self.record())

    def uses(self, read: Iterable[Marks], written: Iterable[Marks]) -> None:
        """Work that reads and writes memory. Raises RuntimeError where it may come too early."""
        with _lock:
            self._uses([*read], [*written])

    def _uses(self, read: list[Marks], written: list[Marks]) -> None:
        for marks in (*read, *written):
            if marks.epoch != _epoch:
                marks.epoch, marks.wrote = _epoch, None
                marks.reads.clear()
        _merge(self._knows, _host)
        self._time += 1
        for marks in read:
            if marks.wrote is not None and not self._comes_after(*marks.wrote):
                raise RuntimeError("strict: a stream uses memory that another has written; let it wait")
            marks.reads[self.number] = self._time
        for marks in written:
            if marks.wrote is not None and not self._comes_after(*marks.wrote):
                raise RuntimeError("strict: a stream changes memory that another has written; let it wait")
            if not all(self._comes_after(*reader) for reader in marks.reads.items()):
                raise RuntimeError("strict: a stream changes memory that another has read; let it wait")
            marks.wrote = self.number, self._time
            marks.reads.clear()

    def _comes_after(self, number: int, time: int) -> bool:
        return number == self.number or self._knows.get(number, 0) >= time


def _merge(known: dict[int, int], event: dict[int, int]) -> None:
    with _lock:
        for number, time in event.items():
            if known.get(number, 0) < time:
                known[number] = time


def current() -> Stream:
    """The stream of this thread."""
    return _here.stream


def marks_of(blocks: Iterable[Any]) -> list[Marks]:
    """The marks of blocks of memory, made where there are none yet."""
    blocks = [*blocks]
    for block in blocks:
        if block.marks is None:
            block.marks = Marks()
    return [block.marks for block in blocks]


class _Here(threading.local):
    stream = Stream(0)


_here = _Here()
