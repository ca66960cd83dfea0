"""Tensors by type, as PyTorch once named them: `FloatTensor([1, 2])`, `LongTensor(2, 3)`, and what asks for
them, `isinstance(x, FloatTensor)`, `x.type(LongTensor)`.
"""

from __future__ import annotations

from typing import Any

from .. import backend
from ..backend import dtypes
from ..engine import Value
from .casts import TYPE_NAMES, made_of

__all__ = [
    "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor",
    "LongTensor", "ShortTensor", "TypedTensor", "set_default_tensor_type",
]  # fmt: skip


class TypedTensor(type):
    """The class of these names: calling one makes a Tensor, and tensors of that type are its instances. One
    without "cuda" in its name makes them where the library in use does."""

    dtype: Any
    device_type: str

    def __call__(cls, *args: Any, device: Any = None) -> Any:
        place = device if device is not None or cls.device_type == "cpu" else cls.device_type
        return Value.result._of(made_of(cls.__name__, args, cls.dtype, place))

    def __instancecheck__(cls, x: Any) -> bool:
        if not isinstance(x, Value.result) or x.dtype != cls.dtype:
            return False
        here = backend.current().device_type if cls.device_type == "cpu" else cls.device_type
        return x.device.type in (cls.device_type, here)

    def __repr__(cls) -> str:
        return f"<class 'torch.{'cuda.' * (cls.device_type == 'cuda')}{cls.__name__}'>"


def typed(name: str, device_type: str = "cpu") -> TypedTensor:
    """The constructor of a name in `TYPE_NAMES`, for a device."""
    kind = dtypes.as_dtype(TYPE_NAMES[name])
    made = TypedTensor(name, (), {"dtype": kind, "device_type": device_type, "__module__": __name__})
    made.__doc__ = f"Tensors of {kind}: of data, or uninitialised of sizes."
    return made


FloatTensor, DoubleTensor, HalfTensor = typed("FloatTensor"), typed("DoubleTensor"), typed("HalfTensor")
LongTensor, IntTensor, ShortTensor = typed("LongTensor"), typed("IntTensor"), typed("ShortTensor")
CharTensor, ByteTensor, BoolTensor = typed("CharTensor"), typed("ByteTensor"), typed("BoolTensor")


def set_default_tensor_type(t: Any) -> None:
    """Sets the type of new floating tensors: `DoubleTensor`, or its name, "torch.DoubleTensor". One of
    the GPU, "torch.cuda.FloatTensor", makes new tensors there, too."""
    from ..backend import use

    name = t if isinstance(t, str) else t.__name__
    short = name.rpartition(".")[2]
    if short not in TYPE_NAMES:
        raise TypeError(f"set_default_tensor_type: {name!r} is no type of tensors, such as FloatTensor")
    dtypes.set_default_dtype(TYPE_NAMES[short])
    if "cuda" in name or getattr(t, "device_type", "cpu") == "cuda":
        use("cupy")
