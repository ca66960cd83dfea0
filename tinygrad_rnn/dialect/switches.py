"""Names of PyTorch's that say how to compute, and not what. What has a counterpart here is that; the others
are read and have nothing to switch.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import randbits
from typing import Any, TypeVar

import numpy as np

from .. import backend
from ..backend import deterministic
from ..backend.native import native

T = TypeVar("T")

__all__ = [
    "are_deterministic_algorithms_enabled",
    "compile",
    "finfo",
    "get_default_device",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "iinfo",
    "seed",
    "set_default_device",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_interop_threads",
    "set_printoptions",
    "set_warn_always",
    "use_deterministic_algorithms",
]  # fmt: skip

strided, contiguous_format = "strided", "contiguous_format"  # layouts of memory: here there is one
preserve_format, channels_last = "preserve_format", "channels_last"
_chosen: dict[str, Any] = {"precision": "highest", "deterministic": False}


def set_default_device(device: Any) -> None:
    """Makes new tensors on a device from now on, "cpu" or "cuda": `tinygrad_rnn.use`. None is the CPU."""
    kind = backend.device("cpu" if device is None else device).type
    backend.use("numpy" if kind == "cpu" else "cupy")


def get_default_device() -> backend.device:
    """Where new tensors are made."""
    return backend.device(backend.current().device_type)


def get_num_threads() -> int:
    """How many threads compiled loops and products use."""
    return native.n_threads


def get_num_interop_threads() -> int:
    """1: ops run one after the other."""
    return 1


def set_num_interop_threads(n: int) -> None:
    """Has no effect: ops run one after the other."""


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Takes sums in one order: `tinygrad_rnn.deterministic(mode)`."""
    _chosen["deterministic"] = bool(mode)
    deterministic(bool(mode))


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told last."""
    return bool(_chosen["deterministic"])


def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """`use_deterministic_algorithms` by PyTorch's other name: 0 or "default" is off."""
    use_deterministic_algorithms(debug_mode not in (0, "default"))


def set_float32_matmul_precision(precision: str) -> None:
    """ "high" and "medium" let products on a GPU round their factors: `cuda.allow_tf32`; "highest" does
    not."""
    if precision not in ("highest", "high", "medium"):
        raise ValueError(
            f"set_float32_matmul_precision: {precision!r} is none of 'highest', 'high' and 'medium'"
        )
    _chosen["precision"] = precision
    backend.allow_tf32(precision != "highest")


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last."""
    return str(_chosen["precision"])


def set_printoptions(**options: Any) -> None:
    """Has no effect: tensors print as NumPy's arrays; numpy.set_printoptions changes both."""


def set_flush_denormal(mode: bool) -> bool:
    """Has no effect, and says so: False."""
    return False


def set_warn_always(b: bool) -> None:
    """Has no effect: Python's own filter of warnings decides."""


def seed() -> int:
    """Begins random numbers anew, from a seed that nobody chose. Returns it."""
    chosen = randbits(63)
    backend.manual_seed(chosen)
    return chosen


def initial_seed() -> int:
    """The seed that `manual_seed` was given last; a fixed number before."""
    return backend.initial_seed()


class _DefaultGenerator:
    """The package's own generator, under PyTorch's name for it."""

    def manual_seed(self, seed: int) -> Any:
        """Begins anew from a seed."""
        return backend.manual_seed(seed)

    def seed(self) -> int:
        """Begins anew from a seed that nobody chose. Returns it."""
        return seed()

    def initial_seed(self) -> int:
        """The seed it was given last."""
        return initial_seed()

    def get_state(self) -> Any:
        """Its state, as `get_rng_state` gives it."""
        return backend.get_rng_state()

    def set_state(self, new_state: Any) -> None:
        """Puts it back to a state."""
        backend.set_rng_state(new_state)


default_generator = _DefaultGenerator()


def compile(model: T | None = None, **settings: Any) -> T | Callable[[T], T]:
    """The model or function itself: recurrent layers are compiled without being asked."""
    return (lambda given: given) if model is None else model


class finfo:
    """What a floating type can hold: eps, max, min, tiny, resolution, bits, all Python numbers."""

    def __init__(self, type: Any = None) -> None:
        kind = backend.dtypes.default_dtype() if type is None else backend.dtypes.as_dtype(type)
        if kind.kind != "f":
            raise TypeError(f"finfo: {kind} is no floating type; iinfo says what integers hold")
        about = np.finfo(kind)
        self.bits, self.dtype = int(about.bits), kind.name
        self.eps, self.max, self.min = float(about.eps), float(about.max), float(about.min)
        self.tiny = self.smallest_normal = float(about.tiny)
        self.resolution = float(about.resolution)

    def __repr__(self) -> str:
        return f"finfo(min={self.min:g}, max={self.max:g}, eps={self.eps:g}, dtype={self.dtype})"


class iinfo:
    """What an integer type can hold: max, min, bits."""

    def __init__(self, type: Any) -> None:
        kind = backend.dtypes.as_dtype(type)
        if kind.kind not in "iu":
            raise TypeError(f"iinfo: {kind} is no integer type; finfo says what floats hold")
        about = np.iinfo(kind)
        self.bits, self.dtype, self.max, self.min = about.bits, kind.name, about.max, about.min

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
