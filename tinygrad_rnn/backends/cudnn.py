"""`torch.backends.cudnn`: settings of a library that is not used here. They can be set, and have no
effect."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["allow_tf32", "benchmark", "deterministic", "enabled", "flags", "is_available", "version"]

enabled = True
benchmark = False
deterministic = True
allow_tf32 = False
benchmark_limit = 10


def is_available() -> bool:
    """False: no layer calls cuDNN."""
    return False


def is_acceptable(tensor: Any) -> bool:
    """False: no layer calls cuDNN."""
    return False


def version() -> int | None:
    """None: no layer calls cuDNN."""
    return None


@contextlib.contextmanager
def flags(**settings: Any) -> Iterator[None]:
    """A block that changes nothing."""
    yield
