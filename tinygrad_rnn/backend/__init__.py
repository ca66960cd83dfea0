"""Which array library is in use. The only place in the package that knows more than one.

The arrays decide: an op asks `array_module(*arrays)` and works in whatever library they come from. Only
creation has no arrays to ask, and takes the library chosen with `use("numpy")` or `use("cupy")`.
"""

from __future__ import annotations

import importlib
import os
import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

import numpy as np

from . import numpy_
from .base import Array, ArrayModule
from .capture import CannotCapture
from .dtypes import default_dtype
from .naming import no_array
from .random import (
    bits_of,
    default_rng,
    draw_from_rows,
    get_rng_state,
    initial_seed,
    manual_seed,
    set_rng_state,
)
from .switches import allow_tf32, deterministic

__all__ = [
    "MODULES",
    "Array",
    "ArrayModule",
    "CannotCapture",
    "allow_tf32",
    "array_module",
    "current",
    "default_rng",
    "deterministic",
    "device",
    "device_of",
    "draw_from_rows",
    "find",
    "get_rng_state",
    "host_array",
    "initial_seed",
    "manual_seed",
    "register",
    "set_rng_state",
    "to_numpy",
    "use",
]  # fmt: skip

MODULES: dict[type, ArrayModule] = {
    np.ndarray: numpy_.module
}  # by array type, filled as libraries are asked for
_loaded: dict[str, ArrayModule] = {"numpy": numpy_.module}
_aliases = {"cpu": "numpy", "cuda": "cupy", "gpu": "cupy"}
_lock = threading.Lock()


def register(module: ArrayModule) -> None:
    """Makes an array library known under its name and its array type."""
    _loaded[module.name] = module
    MODULES[module.array_type] = module


def find(name: str | device | ArrayModule) -> ArrayModule:
    """The library called `name` ("numpy" or "cpu", "cupy" or "cuda"), imported now if it was not yet.

    Raises ValueError for an unknown name, RuntimeError where the library or its hardware is missing.
    """
    if isinstance(name, ArrayModule):
        return name
    if isinstance(name, device):
        if name.module is not None:
            return name.module
        name = name.type
    name = str(name).split(":")[0]
    in_use = _here.get() or _everywhere
    if in_use is not None and name == in_use.device_type:
        return in_use
    name = _aliases.get(name, name)
    if name not in _loaded:
        if name != "cupy":
            known = ", ".join(repr(n) for n in sorted({*_loaded, "cupy", *_aliases}))
            raise ValueError(f"no backend is called {name!r}; there are {known}")
        try:
            register(importlib.import_module(".cupy_", __name__).module)
        except ImportError as error:
            raise RuntimeError(
                "the cupy backend needs CuPy, which is not installed: "
                "pip install '.[cuda12]' or '.[cuda13]' in this package's folder, after your CUDA driver"
            ) from error
    module = _loaded[name]
    if not module.is_available():
        raise RuntimeError(
            f"the {name} backend finds no CUDA GPU (is the driver installed?); use('numpy') goes on"
        )
    return module


_start = os.environ.get("TINYGRAD_RNN_BACKEND", "numpy")
_everywhere: ArrayModule | None = None if _aliases.get(_start, _start) != "numpy" else numpy_.module
_here: ContextVar[ArrayModule | None] = ContextVar("tinygrad_rnn_backend", default=None)


def current() -> ArrayModule:
    """The library in which new tensors are made."""
    global _everywhere
    local = _here.get()
    if local is not None:
        return local
    if _everywhere is None:
        _everywhere = find(_start)
    return _everywhere


class use:
    """Chooses the library for new tensors: `use("cupy")` from here on, everywhere; `with use("cupy"):` in a
    block.

    The block is local to its thread or task. Names: "numpy" or "cpu", "cupy" or "cuda".
    """

    def __init__(self, name: str | device | ArrayModule) -> None:
        global _everywhere
        self._module = find(name)
        with _lock:
            self._before, _everywhere = _everywhere, self._module

    def __enter__(self) -> ArrayModule:
        global _everywhere
        with _lock:  # it turns out to be a block: what the call changed everywhere is taken back
            _everywhere = self._before
        self._token: Token[ArrayModule | None] = _here.set(self._module)
        return self._module

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        _here.reset(self._token)


def array_module(*arrays: Array) -> ArrayModule:
    """The library that the arrays belong to; things that are no arrays (numbers) are passed over.

    Raises TypeError where they belong to two.
    """
    found = None
    for array in arrays:
        module = MODULES.get(type(array))
        if module is None and isinstance(array, np.ndarray):
            module = numpy_.module
        if module is None:
            continue
        if found is not None and module is not found:
            raise TypeError(
                f"arrays of two libraries: {found.name} and {module.name}; move one with .to(...)"
            )
        found = module
    return found if found is not None else current()


def host_array(data: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """Numbers, nested lists or another library's array as a NumPy array: Python's floats in the default
    floating type, PyTorch's tensors in their own.

    Raises TypeError where elements are no numbers, ValueError where rows differ in length; each says where.
    """
    is_torch = hasattr(data, "detach") and hasattr(data, "cpu")
    if is_torch:
        data = data.detach().cpu()
        data = (
            data.float() if str(data.dtype) == "torch.bfloat16" else data
        ).numpy()  # NumPy has no bfloat16
    try:
        array = np.array(data, dtype=dtype)
    except (ValueError, TypeError, OverflowError, RuntimeError) as reason:
        raise no_array(data, reason) from reason
    if array.dtype.kind not in "fiub":
        raise no_array(data)
    if dtype is None and array.dtype == np.float64 and not (is_torch or isinstance(data, np.generic)):
        array = array.astype(default_dtype())
    return array


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """A NumPy array of the same values; the same memory where it is one already."""
    return array_module(array).to_numpy(array)


class device:
    """Where a tensor's data lies: `device("cpu")` (NumPy) or `device("cuda")` (CuPy). `.type` and `.index`
    tell.
    """

    __slots__ = ("index", "module", "type")
    type: str
    index: int | None
    module: ArrayModule | None  # the library, where it is an array's device; else the one in use there

    def __init__(self, type: Any, index: int | None = None) -> None:
        self.module = None
        if isinstance(type, device):
            self.module = type.module
            type, index = type.type, type.index
        name, _, number = str(type).partition(":")
        known = {"numpy": "cpu", "cpu": "cpu", "cupy": "cuda", "cuda": "cuda", "gpu": "cuda"}
        known.update({m.name: m.device_type for m in _loaded.values()})
        if name not in known and name not in known.values():
            raise ValueError(
                f"device: {type!r} is unknown; expected 'cpu' (or 'numpy') or 'cuda' (or 'cupy')"
            )
        if number and not number.isdigit():
            raise ValueError(f"device: {type!r} should end in a device number, as in 'cuda:0'")
        self.type = known.get(name, name)
        self.index = int(number) if number else index

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            try:
                other = device(other)
            except ValueError:
                return False
        if not isinstance(other, device):
            return NotImplemented
        return self.type == other.type and (self.index or 0) == (other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        inside = f"type={self.type!r}" + ("" if self.index is None else f", index={self.index}")
        return f"device({inside})"


def device_of(array: Array) -> device:
    """The device of an array."""
    found = device(array_module(array).device_type)
    found.module = array_module(array)
    return found
