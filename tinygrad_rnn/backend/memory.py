"""Memory that is used again.

The system clears each page of fresh memory when it is first touched, which for the arrays of all time steps
of a recurrent layer costs up to a fifth of a training step. So their memory is lent: when the last array or
view that looks at it is gone, it waits here for the next step. Up to `LIMIT` bytes wait.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LINE = 64  # bytes of a line of the cache
TINY = 1 << 14  # below this many bytes it does not matter where they lie
SMALL = 1 << 16  # below this many bytes there is nothing to gain
LIMIT = 1 << 28
waiting: list[np.ndarray[Any, Any]] = []  # appended to and popped from, which threads may do at once


# The C library of Linux gives free pieces of memory from 128 KiB on, and the free end of the heap, back to
# the system, which clears their pages when they are touched again; until a larger piece is freed that was not
# in the heap, which it takes as a sign that such pieces come and go. This one is as large as may be, and
# costs nothing, for nobody touches it. (man mallopt, M_MMAP_THRESHOLD)
np.empty((32 << 20) - (64 << 10), np.uint8)


class Loan:
    """A stretch of memory, as NumPy's array interface has it. It goes back when no array looks at it."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory = memory
        start, _ = memory.__array_interface__["data"]
        place = (start + -start % LINE, False)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": place}

    def __del__(self, waiting: list[Any] = waiting, limit: int = LIMIT) -> None:
        waiting.append(self.memory)
        while sum(m.nbytes for m in [*waiting]) > limit:
            waiting.pop(0)


def lend(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array with any values in it, in memory that was used before if some of that size waits."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return aligned(shape, dtype)
    return np.asarray(Loan(_taken(size + LINE), shape, dtype))


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array with any values in it, which begins where a line of the processor's cache does."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < TINY:
        return np.empty(shape, dtype)
    memory = np.empty(size + LINE, np.uint8)
    skip = -memory.__array_interface__["data"][0] % LINE
    return np.ndarray(shape, dtype, memory, skip)


def _taken(size: int) -> np.ndarray[Any, Any]:
    fitting = [(m.nbytes, k) for k, m in enumerate([*waiting]) if size <= m.nbytes <= 2 * size]
    if fitting:
        try:
            memory = waiting.pop(min(fitting)[1])
        except IndexError:  # another thread was faster
            return np.empty(size, np.uint8)
        if memory.nbytes >= size:
            return memory
        waiting.append(memory)
    return np.empty(size, np.uint8)
