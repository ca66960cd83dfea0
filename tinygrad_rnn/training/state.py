"""What a training has come to: what its loop changes, and its checkpoint saves."""

from __future__ import annotations

import math
import time
from typing import Any

from ..nn import Module
from ..tensor import Tensor
from .history import History
from .mean import Mean
from .randomness import generators_of
from .settings import Settings


class RunState:
    """A training's model, optimizer and settings; how far it is; its rows, losses and best weights."""

    def __init__(self, model: Module, optimizer: Any, settings: Settings) -> None:
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.history = History()
        self.epoch = self.step = 0
        # The rest is for the loop and its files.
        self.batch = 0  # how many of this epoch's batches are done
        self.mean = Mean()  # of this epoch's losses
        self.n_worse = 0  # epochs since the best one
        self.best_weights: dict[str, Tensor] | None = None
        self.best_step = -1
        self.epoch_start: Any = None  # random numbers before the first batch was drawn
        self.position: Any = None  # what a resumed run begins with, beside weights and optimiser
        self.n_changes, self.half_done = 0, False  # of the optimiser at `position`; whether books are kept
        self.was_native: Any = None  # whether that run had compiled code, where it said so
        self.resumed_at: Any = None  # that of the run that this one goes on with, until it has begun
        self.seconds_before, self._begin = 0.0, time.perf_counter()
        # Generators of layers' own (`Dropout(rng=...)`); one that two layers share is here twice: no harm.
        self.generators, self.unsaved = generators_of(model, settings.batches)

    @property
    def n_batches(self) -> int:
        """How many batches an epoch has; 0 where nobody knows."""
        try:
            return len(self.settings.batches)
        except TypeError:  # it has no length, or that of its samples is not known
            return 0

    @property
    def is_whole(self) -> bool:
        """Whether weights, optimiser, counts and `position` are of one moment: then they may be saved."""
        broken_off = self.half_done or getattr(self.optimizer, "torn", False)
        return not broken_off and self.n_changes == getattr(self.optimizer, "n_changes", 0)

    @property
    def seconds(self) -> float:
        """How long it has been training, in all resumed runs together."""
        return self.seconds_before + time.perf_counter() - self._begin

    def read_losses(self) -> None:
        """Reads the losses that wait on a GPU. Raises FloatingPointError for one that is NaN or infinite."""
        values = self.mean.read()
        for i, value in enumerate(values):
            self._check_finite(value, self.step - (len(values) - i - 1))

    def _check_finite(self, value: float, step: int) -> None:
        if not math.isfinite(value):
            batch = self.batch - (self.step - step)
            raise FloatingPointError(
                f"fit: the loss is {value} at step {step} (epoch {self.epoch + 1}, batch {batch}); "
                "`with tg.debug():` around fit names the operation that made it, and a lower learning rate, "
                "or clip=1.0, may avoid it"
            )
