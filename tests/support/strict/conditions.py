"""Under which conditions the stand-in runs: whether the host may wait, whether calls are collected, and where
this thread's new arrays lie.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from ..pool import Pool
from ..recording import Recording

waits_allowed = True
collected: set[Call] | None = None  # calls of the library's functions, where they are being collected


class Call(NamedTuple):
    """How a function of the library, or a method of its arrays, was called."""

    name: str
    is_method: bool
    n_positional: int
    keywords: tuple[str, ...]


@contextlib.contextmanager
def calls() -> Iterator[set[Call]]:
    """In this block, collects how functions of the library are called: to be held against the real one."""
    global collected
    before, collected = collected, set()
    try:
        yield collected
    finally:
        collected = before


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """In this block, what would make the host wait for the GPU raises RuntimeError."""
    global waits_allowed
    before, waits_allowed = waits_allowed, False
    try:
        yield
    finally:
        waits_allowed = before


class Here(threading.local):
    """Of this thread: the pool that new arrays come from, and the recording of the step that is captured."""

    pool: Pool
    recording: Recording | None = None

    def __init__(self) -> None:
        self.pool = POOL


POOL = Pool()  # of everything outside of captures
here = Here()


@contextlib.contextmanager
def own_pool() -> Iterator[Pool]:
    """In this block new arrays of this thread come from a pool of their own, which begins empty: as it never
    gives anything back, its `total_bytes()` are the most that were in use at once, and what did not fit.
    """
    before, here.pool = here.pool, Pool()
    try:
        yield here.pool
    finally:
        here.pool = before
