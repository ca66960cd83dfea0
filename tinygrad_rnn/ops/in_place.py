"""Changes of a tensor's memory, with gradients where there are any (assignment.py): the ways to write them.

`put` is x[index] = v, `replace` is x[...] = op(x, ...), `update` the same with a function of the array
library that writes where it is told to.
"""

from __future__ import annotations

from typing import Any, TypeVar

from ..backend import array_module, device_of
from ..engine import Value, mark_changed, mode
from ..engine.errors import Mismatch, WrongKind, mixed_devices
from .arguments import plain
from .assignment import change, is_tracked, set_item
from .convert import as_array, cast, transfer
from .shape import reshape

V = TypeVar("V", bound=Value)

__all__ = ["operand", "put", "replace", "update"]


def operand(name: str, x: Value, value: Any) -> Any:
    """A value that x is changed by: a tensor on its device, or a number."""
    if isinstance(value, Value):
        here, there = array_module(x.array), array_module(value.array)
        if here is there:
            return value
        if there.device_type == "cpu" and not value.array.ndim:  # as good as a number
            return transfer(value, source=there, target=here)
        raise mixed_devices(name, 1, here.name, there.name)
    if isinstance(value, (float, int, bool)):
        return value
    return Value.result._of(as_array(value, None, device_of(x.array)))


def put(name: str, x: V, index: Any, value: Any) -> V:
    """x[index] = value, for an index of arrays, slices, integers, None and Ellipsis. Returns x."""
    value = operand(name, x, value)
    if is_tracked(name, x, value):
        if isinstance(value, Value):
            value = cast(value, dtype=x.array.dtype) if value.array.dtype != x.array.dtype else value
            extra = value.array.ndim - x.array[index].ndim
            value = reshape(value, value.array.shape[extra:]) if extra > 0 else value
        change(name, x, set_item, value, index=index)
        return x
    value = plain(value)
    try:
        x.array[index] = value
    except ValueError as reason:
        raise Mismatch(f"{name}: {_complaint(x, value, reason)}") from reason
    mark_changed(x.array, value, index)
    return x


def _complaint(x: Value, value: Any, reason: ValueError) -> str:
    if "read-only" in str(reason):
        return "this memory may not be written to; work on a clone()"
    return f"{str(reason).partition(chr(10))[0]} (the tensor has shape {tuple(x.array.shape)})"


def replace(name: str, x: V, op: Any, *args: Any) -> V:
    """op(x, *args) into the memory of x. None among the arguments stays. Returns x."""
    args = tuple([a if a is None else operand(name, x, a) for a in args])
    if is_tracked(name, x, *args):
        change(name, x, op, *args)
        return x
    result = op(x.array, *[plain(a) for a in args])
    if result.dtype.kind == "f" and x.array.dtype.kind != "f":
        raise WrongKind(
            f"{name}: a tensor of {x.array.dtype} cannot hold the result; use x = x.float() first"
        )
    try:
        x.array[...] = result
    except ValueError as reason:
        raise Mismatch(
            f"{name}: the result has shape {tuple(result.shape)} and does not fit a tensor of "
            f"{tuple(x.array.shape)}"
        ) from reason
    mark_changed(x.array)
    return x


def update(name: str, x: V, op: Any, ufunc: str, other: Any) -> V:
    """ufunc(x, other), which is what op does, into the memory of x. Returns x."""
    array, other = x.array, operand(name, x, other)
    if array.dtype.kind in "iub" and (
        ufunc == "true_divide" or getattr(other, "dtype", array.dtype).kind == "f" or isinstance(other, float)
    ):
        raise WrongKind(f"{name}: an integer tensor cannot hold the result; use x = x.float() first")
    if is_tracked(name, x, other):
        change(name, x, op, other)
        return x
    other = plain(other)
    try:
        getattr(array_module(array), ufunc)(array, other, out=array)
    except ValueError as reason:
        raise Mismatch(
            f"{name}: {tuple(getattr(other, 'shape', ()))} does not fit a tensor of {tuple(array.shape)}"
        ) from reason
    mark_changed(array, other)
    return x


def augmented(x: V, op: Any, name: str, ufunc: str, other: Any) -> Any:
    """x += other and the like. In a step that is being read it is a new tensor under the old name."""
    now = mode.current()
    if now.tracer is not None:
        return now.tracer.changed(x, op, other)
    if now.functional:
        return op(x, other)
    return update(name, x, op, ufunc, other)
