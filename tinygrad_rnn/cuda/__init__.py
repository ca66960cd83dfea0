"""What scripts ask about the GPU, under PyTorch's names, and a training step as one CUDA graph.

device = "cuda" if tg.cuda.is_available() else "cpu"
"""

from __future__ import annotations

from typing import Any

from .. import backend
from ..backend import allow_tf32, manual_seed
from .graphs import Graphed, graphed


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


def synchronize(device: Any = None) -> None:
    """Waits until the GPU has done what it was given: for measuring times. Without a GPU nothing waits."""
    if is_available():
        backend.find("cupy").synchronize()


def memory_allocated(device: Any = None) -> int:
    """Bytes of the GPU's memory that arrays hold; 0 without a GPU."""
    return backend.find("cupy").memory_allocated() if is_available() else 0


def empty_cache() -> None:
    """Gives memory back that CuPy holds for arrays to come: to other programs, or after running out of it."""
    if is_available():
        backend.find("cupy").empty_cache()


def get_device_name(device: Any = None) -> str:
    """The name of the GPU, such as "NVIDIA H100". Raises RuntimeError where there is none."""
    name: str = backend.find("cupy").device_name()
    return name


manual_seed_all = manual_seed  # numbers are drawn on the host: there is one generator for every device


def __getattr__(name: str) -> Any:
    """The typed constructors of the GPU, `cuda.FloatTensor`; and names of the dialect's."""
    from ..dialect import cuda

    return cuda.found(name)
