"""PyTorch's place for questions about whatever GPU there is."""

from __future__ import annotations

from typing import Any

from . import backend, cuda
from .cuda import device_count, empty_cache, is_available, manual_seed_all, memory_allocated, synchronize

__all__ = [
    "current_accelerator", "current_device_index", "device_count", "empty_cache", "is_available",
    "manual_seed_all", "memory_allocated", "set_device_index", "synchronize",
]  # fmt: skip


def current_accelerator(check_available: bool = False) -> backend.device | None:
    """The GPU, or None where there is none."""
    return backend.device("cuda") if cuda.is_available() else None


def current_device_index() -> int:
    """0: one GPU is used."""
    return 0


def set_device_index(device: Any) -> None:
    """Has no effect: one GPU is used."""
