"""What scripts ask `torch.cuda` for and is asked otherwise here, or has nothing to answer."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from .. import backend
from ..backend import get_rng_state, manual_seed, set_rng_state
from . import switches, types

__all__ = ["found"]


class DeviceProperties(NamedTuple):
    """What is known of the GPU: its name, and the bytes of its memory."""

    name: str
    total_memory: int
    major: int = 0
    minor: int = 0
    multi_processor_count: int = 0


def _gpu(name: str) -> Any:
    try:
        return backend.find("cupy")
    except RuntimeError as reason:
        raise RuntimeError(f"cuda.{name}: {reason}") from reason


def current_device() -> int:
    """0: one GPU is used. Raises RuntimeError where there is none."""
    _gpu("current_device")
    return 0


def get_device_properties(device: Any = None) -> DeviceProperties:
    """The GPU's name and memory. Raises RuntimeError where there is none."""
    gpu = _gpu("get_device_properties")
    return DeviceProperties(gpu.device_name(), int(gpu.library.cuda.runtime.memGetInfo()[1]))


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability, (9, 0) for an H100. Raises RuntimeError where there is no GPU."""
    text = str(_gpu("get_device_capability").library.cuda.Device().compute_capability)
    return int(text[:-1]), int(text[-1])


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, and all. Raises RuntimeError where there is no GPU."""
    free, total = _gpu("mem_get_info").library.cuda.runtime.memGetInfo()
    return int(free), int(total)


def memory_reserved(device: Any = None) -> int:
    """Bytes that CuPy holds, for arrays that are there or to come; 0 without a GPU."""
    try:
        return int(backend.find("cupy").library.get_default_memory_pool().total_bytes())
    except RuntimeError:
        return 0


def max_memory_allocated(device: Any = None) -> int:
    """`memory_reserved`: CuPy does not note the most that was in use."""
    return memory_reserved()


def _nothing(*args: Any, **settings: Any) -> None:
    """Has no effect here."""


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no bfloat16."""
    return False


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """One line about the memory."""
    return f"{memory_reserved():,} bytes are held"


@contextlib.contextmanager
def _block(*args: Any, **settings: Any) -> Any:
    """A block that changes nothing: one GPU and one stream are used."""
    yield


NAMES: dict[str, Any] = {
    "current_device": current_device, "get_device_properties": get_device_properties,
    "get_device_capability": get_device_capability, "mem_get_info": mem_get_info,
    "memory_reserved": memory_reserved, "memory_cached": memory_reserved,
    "max_memory_allocated": max_memory_allocated, "max_memory_reserved": max_memory_allocated,
    "max_memory_cached": max_memory_allocated, "memory_summary": memory_summary,
    "reset_peak_memory_stats": _nothing, "reset_max_memory_allocated": _nothing, "ipc_collect": _nothing,
    "set_device": _nothing, "init": _nothing, "is_bf16_supported": is_bf16_supported, "device": _block,
    "stream": _block, "get_rng_state": get_rng_state, "set_rng_state": set_rng_state,
    "get_rng_state_all": get_rng_state, "set_rng_state_all": set_rng_state, "seed": switches.seed,
    "seed_all": switches.seed, "manual_seed_all": manual_seed, "OutOfMemoryError": MemoryError,
}  # fmt: skip


def found(name: str) -> Any:
    """What a name of `torch.cuda` means here. Raises AttributeError for one that means nothing."""
    if name in NAMES:
        return NAMES[name]
    if name in types.TYPE_NAMES:
        return types.typed(name, "cuda")
    if name == "amp":
        from . import amp

        return amp
    if name == "is_initialized":
        return lambda: backend.current().device_type == "cuda"
    raise AttributeError(f"module 'tinygrad_rnn.cuda' has no attribute {name!r}")
