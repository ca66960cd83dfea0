"""Tensor's methods that give it in another type or on another device; and what types are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import backend, ops
from ..backend import array_module, dtypes
from ..engine import Value
from ..ops import Size, as_array

__all__ = ["TYPE_NAMES", "Casts", "made_of", "place_and_type"]

TYPE_NAMES = {
    "FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16", "LongTensor": "int64",
    "IntTensor": "int32", "ShortTensor": "int16", "CharTensor": "int8", "ByteTensor": "uint8",
    "BoolTensor": "bool",
}  # fmt: skip


class Casts(Value):
    """A tensor in another element type, or in another library's memory. Gradients come back in the type and
    to the device they left."""

    __slots__ = ()

    def to(
        self, *to: Any, device: Any = None, dtype: Any = None, copy: Any = False, non_blocking: Any = False
    ) -> Any:
        """In another dtype, on another device, or both: `to("cuda")`, `to(float64)`, `to("cpu", float32)`,
        `to(other)`.

        The tensor itself where nothing changes. The gradient comes back in the type and to the device it
        left.
        """
        device, dtype = place_and_type(to, device, dtype)
        x: Any = self
        if dtype is not None and dtypes.as_dtype(dtype) != x.array.dtype:
            x = ops.cast(x, dtype=dtypes.as_dtype(dtype))
        if device is not None:
            source, target = array_module(x.array), backend.find(device)
            if source is not target:
                x = ops.transfer(x, source=source, target=target)
        return ops.clone(x) if copy and x is self else x

    def astype(self, dtype: Any) -> Any:
        """In another element type."""
        return self.to(dtype=dtype)

    def cpu(self, memory_format: Any = None) -> Any:
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: Any = False) -> Any:
        return self.to("cuda")

    def float(self) -> Any:
        return self.to(dtypes.float32)

    def double(self) -> Any:
        return self.to(dtypes.float64)

    def half(self) -> Any:
        return self.to(dtypes.float16)

    def long(self) -> Any:
        return self.to(dtypes.int64)

    def int(self) -> Any:
        return self.to(dtypes.int32)

    def short(self) -> Any:
        return self.to(dtypes.int16)

    def char(self) -> Any:
        return self.to(dtypes.int8)

    def byte(self) -> Any:
        return self.to(dtypes.uint8)

    def bool(self) -> Any:
        return self.to(dtypes.bool_)

    def type(self, dtype: Any = None, non_blocking: Any = False) -> Any:
        """In another element type, named by a dtype, `torch.LongTensor` or "torch.LongTensor"; or, without
        one, the name of this tensor's type."""
        if dtype is None:
            name = next(n for n, kind in TYPE_NAMES.items() if kind == self.array.dtype.name)
            return f"torch.{'' if backend.device_of(self.array).type == 'cpu' else 'cuda.'}{name}"
        name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "")
        short = name.rpartition(".")[2]
        if short not in TYPE_NAMES and short != "Tensor":
            return self.to(dtype=dtype)
        kind = TYPE_NAMES.get(short, dtypes.default_dtype())
        on_gpu = ".cuda." in name or getattr(dtype, "device_type", "") == "cuda"
        return self.to(dtype=kind, device="cuda" if on_gpu else None)

    def type_as(self, other: Value) -> Any:
        """In the type and on the device of `other`."""
        return self.to(other)


def place_and_type(to: Sequence[Any], device: Any = None, dtype: Any = None) -> tuple[Any, Any]:
    """(device, dtype) from what `to(...)` is given in any order: names, devices, dtypes, a tensor like it."""
    for target in to:
        if isinstance(target, Value):
            device, dtype = backend.device_of(target.array), target.array.dtype
        elif isinstance(target, backend.device) or (isinstance(target, str) and _names_device(target)):
            device = target
        elif target is not None:
            try:
                dtype = dtypes.as_dtype(target)
            except TypeError:
                raise TypeError(f"to: {target!r} is neither a device nor a dtype") from None
    return device, dtype


def _names_device(name: str) -> bool:
    try:
        backend.device(name)
    except ValueError:
        return False
    return True


def made_of(name: str, args: tuple[Any, ...], dtype: Any, device: Any) -> Any:
    """The array that PyTorch's old constructors make: of sizes, given one by one or as a Size, uninitialised;
    of data, converted to their type."""
    if not args or isinstance(args[0], Size) or all(hasattr(a, "__index__") and not ndim(a) for a in args):
        xp = backend.current() if device is None else backend.find(device)
        return xp.empty(
            tuple(args[0]) if args and isinstance(args[0], Size) else ops.ints(args or (0,)), dtype
        )
    if len(args) > 1:
        raise TypeError(f"{name}: give sizes, which are integers, or data as one list or array; got {args!r}")
    ops.warn_of_constant(name, args[0])
    return as_array(args[0], dtype, device)


def ndim(value: Any) -> bool:
    """Whether it is data, a list or an array, rather than a size."""
    return isinstance(value, Value) or (
        hasattr(value, "shape") and hasattr(value, "tolist") and value.shape != ()
    )
