"""PyTorch's place for processes, which share no tensors here: Python's own, and settings without effect."""

from __future__ import annotations

from multiprocessing import Process, Queue, cpu_count, get_context, set_start_method

__all__ = [
    "Process", "Queue", "cpu_count", "get_context", "get_sharing_strategy", "set_sharing_strategy",
    "set_start_method",
]  # fmt: skip


def set_sharing_strategy(new_strategy: str) -> None:
    """Has no effect: processes share no tensors."""


def get_sharing_strategy() -> str:
    """ "file_system": processes share files, and no tensors."""
    return "file_system"
