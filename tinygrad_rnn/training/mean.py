"""Means of numbers that may still be on their way on a GPU."""

from __future__ import annotations

import time
from typing import Any

from .. import ops
from ..tensor import Tensor


class Mean:
    """The weighted mean of scalars. Those on a GPU are read together when somebody asks, in one transfer.

    Read values are added in their order in float64, so that it does not depend on when they were read.
    """

    def __init__(self) -> None:
        self.total, self.weight = 0.0, 0.0
        self.last = float("nan")  # the latest value that was read
        self._waiting: list[tuple[Any, float]] = []
        self._read_at = time.monotonic()

    @classmethod
    def of(cls, state: list[float]) -> Mean:
        """The one whose `state()` this is."""
        mean = cls()
        mean.total, mean.weight, mean.last = state
        return mean

    def state(self) -> list[float]:
        """Plain numbers, for a checkpoint."""
        self.read()
        return [self.total, self.weight, self.last]

    def add(self, value: Any, weight: float) -> None:
        """One more scalar, a number or a tensor of one element."""
        self._waiting.append((value, weight))

    @property
    def n_waiting(self) -> int:
        """How many have not been read."""
        return len(self._waiting)

    @property
    def age(self) -> float:
        """Seconds since the last reading."""
        return time.monotonic() - self._read_at

    @property
    def weighs(self) -> bool:
        """Whether there is anything to take the mean of."""
        return self.weight != 0 or any(weight for _, weight in self._waiting)

    def read(self) -> list[float]:
        """Reads what waits, and returns it. Broken off in its middle it has read nothing."""
        waiting, total, weight_of_all = self._waiting, self.total, self.weight
        if not waiting:
            return []
        if all(isinstance(value, Tensor) for value, _ in waiting):
            values = ops.stack([value.detach().reshape(()) for value, _ in waiting]).tolist()
        else:
            values = [float(value) for value, _ in waiting]
        for value, (_, weight) in zip(values, waiting, strict=True):
            total += value * weight
            weight_of_all += weight
        self._read_at = time.monotonic()
        self.total, self.weight, self.last, self._waiting = total, weight_of_all, values[-1], []
        return values

    @property
    def value(self) -> float:
        """The mean of all; NaN of none."""
        self.read()
        return self.total / self.weight if self.weight else float("nan")
