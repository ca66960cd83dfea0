"""How things are called in errors, and where in nested lists something is no number."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

_LIBRARIES = {
    "numpy", "cupy", "torch", "jax", "jaxlib", "tensorflow", "keras", "mygrad", "autograd", "pandas",
}  # fmt: skip


def kind(value: Any) -> str:
    """An object by its type: "a list"; with the library where its things have our names: "a torch.Tensor"."""
    library, name = type(value).__module__.partition(".")[0], type(value).__name__
    return f"a {library}.{name}" if library in _LIBRARIES else f"a {name}"


def describe(value: Any) -> str:
    """How an argument is called in an error: an array by its type and shape, anything else by its type."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or not hasattr(dtype, "kind"):  # another library's array has a dtype of its own kind
        return repr(value) if isinstance(value, (int, float, bool)) else kind(value)
    return f"{dtype} {tuple(shape)}"


def came(value: Any, arrays: bool = False) -> str:
    """What came where a tensor is expected (with `arrays`, or an array); and what makes a tensor of it."""
    is_array = hasattr(getattr(value, "dtype", None), "kind")
    if hasattr(value, "vertex") or (is_array and arrays):
        return describe(value)
    return (describe(value) if arrays else kind(value)) + tensor_of(value)


def tensor_of(value: Any) -> str:
    """How a tensor is made of what holds numbers, as the end of a sentence."""
    is_data = isinstance(value, (int, float, list, tuple)) or hasattr(value, "__array__")
    return "; tinygrad_rnn.tensor(...) makes a tensor of it" if is_data else ""


def no_array(data: Any, reason: Exception | None = None) -> TypeError | ValueError:
    """The error about data that make no array of numbers: which element is none, or which rows differ."""
    for where, value in _leaves(data, ""):
        if not _is_number(value):
            what = repr(value) if isinstance(value, str) and len(value) < 20 else _named(value)
            at = where and f" at {where}"
            return TypeError(f"tensor: elements must be numbers or booleans, got {what}{at}{_remedy(value)}")
    uneven = _uneven(data, "")
    if uneven is not None:
        return ValueError(f"tensor: {uneven}")
    text = str(reason).split("\n")[0] if reason else f"elements must be numbers or booleans, got {kind(data)}"
    return (TypeError if reason is None else ValueError)(f"tensor: {text}")


def _is_row(value: Any) -> bool:
    return isinstance(value, (list, tuple, range))


def _leaves(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not _is_row(data):
        yield where, data
        return
    for i, value in enumerate(data):
        yield from _leaves(value, f"{where}[{i}]")


def _is_number(value: Any) -> bool:
    """Whether an element is a number that a tensor holds, or an array of such."""
    if isinstance(value, (bool, float)):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return getattr(dtype, "kind", "f") in "fiub"
    return hasattr(value, "__array__") or (
        isinstance(value, numbers.Number) and not isinstance(value, complex)
    )


def _named(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, int):
        return "an integer that no integer type holds"
    dtype = getattr(value, "dtype", None)
    return kind(value) if dtype is None else f"an array of {dtype}"


def _remedy(value: Any) -> str:
    """What makes numbers of an element, as the end of a sentence."""
    if isinstance(value, int):
        return "; write it as a float"
    if isinstance(value, dict):
        return "; list(d.values()) are its values"
    return "; make a list of it" if hasattr(value, "__next__") or isinstance(value, (set, frozenset)) else ""


def _shape(value: Any) -> tuple[int, ...]:
    if _is_row(value):
        return (len(value), *(_shape(value[0]) if len(value) else ()))
    return tuple(getattr(value, "shape", ()))


def _uneven(data: Any, where: str) -> str | None:
    """Two rows that differ in shape, innermost first; None where there are none."""
    if not _is_row(data):
        return None
    for i, row in enumerate(data):
        inside = _uneven(row, f"{where}[{i}]")
        if inside is not None:
            return inside
    shapes = [_shape(row) for row in data]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            hint = "; nn.utils.rnn.pad_sequence fills rows up" if len(shape) == len(shapes[0]) else ""
            return (
                f"rows of different lengths: shape {shapes[0]} at {where}[0], {shape} at {where}[{i}]{hint}"
            )
    return None
