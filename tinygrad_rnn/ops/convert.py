"""Elements in another type, in other memory, on another device; and how anything becomes an array."""

from __future__ import annotations

import warnings
from typing import Any

from .. import backend
from ..backend import MODULES, Array, ArrayModule, array_module, dtypes
from ..backend.naming import no_array
from ..engine import Look, Value, is_grad_enabled, primitive


@primitive(vjp=(lambda g: g,), elementwise=True, c="{0}")
def _cast(xp: Any, x: Array, *, dtype: Any) -> Array:
    return x.astype(dtype)


def cast(x: Array, *, dtype: Any) -> Array:
    """x in another element type; the gradient comes back in x's. As integers or booleans it is a constant."""
    kind = dtypes.as_dtype(dtype)
    if kind.kind != "f" and isinstance(x, Value):
        return Value.result._of(x.array.astype(kind))
    return _cast(x, dtype=kind)


@primitive(vjp=(lambda g: g,), elementwise=True, c="{0}")
def clone(xp: Any, x: Array) -> Array:
    """A copy."""
    return x.copy()


@primitive(vjp=(lambda g: g,), view=Look.where_it_can)
def contiguous(xp: Any, x: Array) -> Array:
    """The same elements in row-major memory: x itself where they already lie so."""
    return x if x.flags.c_contiguous else xp.ascontiguousarray(x)  # which makes 0-d arrays 1-d


def _back(g: Array, source: ArrayModule, target: ArrayModule) -> Array:
    return transfer(g, source=target, target=source)


@primitive(vjp=(_back,), view=Look.where_it_can)
def transfer(xp: Any, x: Array, *, source: ArrayModule, target: ArrayModule) -> Array:
    """x moved from one array library to another; the gradient goes the way back."""
    if source.device_type == "cpu" and not x.ndim:  # a number, that a graph reads anew at each replay
        return target.number(x)
    return target.from_numpy(source.to_numpy(x))


def as_array(data: Any, dtype: Any = None, device: Any = None, copy: bool = True) -> Any:
    """`data` (numbers, nested lists, arrays, tensors) as an array of `device`'s library, or the one in use.

    Python's floats become the default floating type (float32), its integers int64; arrays keep their type.
    Without `device`, what comes from the host goes to the library in use, and what is elsewhere stays there.
    """
    kind = None if dtype is None else dtypes.as_dtype(dtype)
    tensor = isinstance(data, Value)
    if tensor:
        data = data.array
    array: Array
    if isinstance(data, tuple(MODULES)):
        source, array = array_module(data), data
        array = array.astype(kind, copy=copy) if kind is not None else array.copy() if copy else array
    else:
        array = backend.host_array(data, kind)
        source = array_module(array)
    if device is None and not tensor and source.device_type == "cpu":
        device = backend.current()
    if array.dtype.kind not in "fiub":
        raise no_array(array)
    target = source if device is None else backend.find(device)
    return array if target is source else target.from_numpy(source.to_numpy(array))


def warn_of_constant(name: str, data: Any) -> None:
    """Warns where the values of tensors that require a gradient are about to be copied without it."""
    if is_grad_enabled() and _requires_gradient(data):
        warnings.warn(
            f"{name}: what is given requires a gradient, and its values alone are copied, as a constant; "
            "clone(), stack and concat keep the gradient, detach() says that it is not wanted",
            UserWarning,
            stacklevel=3,
        )


def _requires_gradient(data: Any) -> bool:
    if isinstance(data, Value):
        return data.vertex is not None
    return isinstance(data, (list, tuple)) and any(map(_requires_gradient, data))
