"""What `fit` was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Settings:
    """The arguments of `fit`, under its names."""

    loss: Callable[[Any, Any], Any]
    batches: Any
    epochs: int | None
    seconds: float
    validate: Any
    metrics: dict[str, Callable[[Any, Any], Any]]
    monitor: str | None
    mode: str
    patience: int | None
    restore_best: bool
    checkpoint: Any
    extras: dict[str, Any]
    log: Any
    clip: float | None
    scheduler: Any
    scheduler_every: str
    callbacks: Sequence[Any]
    progress: bool


def is_function(thing: Any) -> bool:
    """Whether it is called to get something to iterate over, and not iterated over itself."""
    return callable(thing) and not hasattr(thing, "__iter__")
