"""What scripts ask about the GPU, under PyTorch's names: `"cuda" if torch.cuda.is_available() else "cpu"`."""

from __future__ import annotations

from . import backend
from .backend import manual_seed


def is_available() -> bool:
    """Whether CuPy is installed and finds a GPU; asking imports CuPy."""
    try:
        backend.find("cupy")
    except RuntimeError:
        return False
    return True


def device_count() -> int:
    """How many GPUs this library uses: 1 where one is there, else 0."""
    return int(is_available())


manual_seed_all = manual_seed  # numbers are drawn on the host: there is one generator for every device
