"""Values as JSON and arrays, and back: what a checkpoint's file is made of.

A list is a list; what JSON has no form for is a dictionary with one key that says what it is: {"dict":
pairs}, {"tensor": name}, {"module": ...}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import backend
from ..backend.naming import kind
from ..nn import Module, Parameter
from ..tensor import Tensor
from .archive import Damaged
from .modules import Classes, attributes, class_name, function_name, function_of

__all__ = ["Arrays", "Reader", "encoded"]

DEEPEST = 100  # how many lists and dictionaries may lie in each other


class Arrays(dict[str, Any]):
    """The arrays of a file by name, and the modules and parameters that were written, which may come
    again."""

    def __init__(self, modules: bool = False) -> None:
        super().__init__()
        self.modules = modules  # whether modules may be among what is written
        self.seen: dict[int, int] = {}


def encoded(value: Any, where: str, arrays: Arrays, depth: int = 0) -> Any:
    """A value as JSON. What JSON has no form for is a dictionary with one key that says what it is."""
    if depth > DEEPEST:
        raise ValueError(f"save: {where[:40]}... is nested more than {DEEPEST} deep, or holds itself")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"float": repr(value)}
    if arrays.modules and isinstance(value, (Module, Parameter)):
        return _part(value, where, arrays, depth)
    if isinstance(value, (Tensor, *backend.MODULES)):
        tensor = isinstance(value, Tensor)
        host = backend.to_numpy(value.array if isinstance(value, Tensor) else value)
        if host.dtype.kind not in "fiub":
            raise TypeError(f"save: {where or 'the value'} is an array of {host.dtype}, which is not plain")
        name = f"array{len(arrays)}"
        arrays[name] = host.astype(host.dtype.newbyteorder("<"), copy=False)
        return {"tensor" if tensor else "array": name}
    if isinstance(value, (list, tuple)):
        items = [encoded(v, f"{where}[{i}]", arrays, depth + 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        items = []
        for key, v in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(
                    f"save: {where or 'the value'} has the key {key!r}; keys are strings or integers"
                )
            items.append([key, encoded(v, f"{where}[{key!r}]" if where else str(key), arrays, depth + 1)])
        return {"dict": items}
    if isinstance(value, (np.dtype, backend.device)) or function_name(value):
        kind_of = "dtype" if isinstance(value, np.dtype) else "device" if not callable(value) else "function"
        return {kind_of: getattr(value, "__name__", None) or str(value)}
    remedy = "; tinygrad_rnn.tensor(...) makes a tensor of it" if hasattr(value, "__array__") else ""
    raise TypeError(
        f"save: {where or 'the value'} is {kind(value)}, which is not plain; give numbers, strings, lists, "
        f"dictionaries, arrays or tensors{remedy}"
    )


def _part(value: Any, where: str, arrays: Arrays, depth: int) -> Any:
    """A module or parameter, which may stand in several places and be one."""
    if id(value) in arrays.seen:
        return {"again": arrays.seen[id(value)]}
    number = arrays.seen[id(value)] = len(arrays.seen)
    if isinstance(value, Parameter):
        data = encoded(value.detach(), where, arrays, depth + 1)
        return {"parameter": [number, data, value.requires_grad]}
    pairs = []
    for name, v in attributes(value).items():
        pairs.append([name, encoded(v, f"{where}.{name}" if where else name, arrays, depth + 1)])
    return {"module": [number, class_name(value), pairs]}


class Reader:
    """What reads values that `encoded` wrote: `array` gives the array of a name, `classes` those of modules,
    and `library` is where tensors go, or None for the one in use. Raises Damaged."""

    def __init__(self, array: Callable[[Any], Any], classes: Classes, library: Any) -> None:
        self._array, self._classes = array, classes
        self._library = backend.current() if library is None else library
        self._again: list[Any] = []

    def decoded(self, value: Any, depth: int = 0) -> Any:
        """The value."""
        if depth > DEEPEST:
            raise Damaged(f"its structure is nested more than {DEEPEST} deep")
        if isinstance(value, list):
            return [self.decoded(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise Damaged("its structure is none that save writes")
        ((kind, inside),) = value.items()
        read = getattr(self, f"_read_{kind}", None) if kind in _KINDS else None
        if read is None:
            raise Damaged("its structure is none that save writes")
        return read(inside, depth)

    def _read_tensor(self, inside: Any, depth: int) -> Any:
        return Tensor._of(self._library.from_numpy(self._array(inside)))

    def _read_array(self, inside: Any, depth: int) -> Any:
        return self._array(inside)

    def _read_float(self, inside: Any, depth: int) -> float:
        if inside not in ("inf", "-inf", "nan"):
            raise Damaged("its structure is none that save writes")
        return float(inside)

    def _read_tuple(self, inside: Any, depth: int) -> Any:
        return tuple(self._list(inside, depth))

    def _list(self, inside: Any, depth: int) -> list[Any]:
        if not isinstance(inside, list):
            raise Damaged("its structure is none that save writes")
        return [self.decoded(v, depth + 1) for v in inside]

    def _read_dict(self, inside: Any, depth: int) -> dict[Any, Any]:
        if not isinstance(inside, list):
            raise Damaged("its structure is none that save writes")
        found: dict[Any, Any] = {}
        for pair in inside:
            if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise Damaged("its structure is none that save writes")
            if pair[0] in found:
                raise Damaged(f"its structure has the key {pair[0]!r} twice")
            found[pair[0]] = self.decoded(pair[1], depth + 1)
        return found

    def _read_dtype(self, inside: Any, depth: int) -> Any:
        if inside not in (
            "float16",
            "float32",
            "float64",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "bool",
        ):
            raise Damaged("its structure names a type that there is not")
        return np.dtype(inside)

    def _read_device(self, inside: Any, depth: int) -> Any:
        if inside not in ("cpu", "cuda", "cuda:0"):
            raise Damaged("its structure names a device that there is not")
        return backend.device(inside)

    def _read_function(self, inside: Any, depth: int) -> Any:
        found = function_of(inside)
        if found is None:
            raise Damaged("its structure names a function that there is not")
        return found

    def _numbered(self, inside: Any, length: int = 3) -> list[Any]:
        """The parts of a module or parameter, which are numbered one after the other."""
        if not isinstance(inside, list) or len(inside) != length or inside[0] != len(self._again):
            raise Damaged("its structure is none that save writes")
        self._again.append(None)
        return inside

    def _read_parameter(self, inside: Any, depth: int) -> Any:
        number, data, requires_grad = self._numbered(inside)
        value = self.decoded(data, depth + 1)
        if not isinstance(value, Tensor) or not isinstance(requires_grad, bool):
            raise Damaged("its structure is none that save writes")
        made = Parameter.__new__(Parameter)
        made.array, made.vertex = value.array, None
        if requires_grad and not value.is_floating_point():
            raise Damaged("a parameter of it requires a gradient and is not floating")
        made.requires_grad = requires_grad
        self._again[number] = made
        return made

    def _read_module(self, inside: Any, depth: int) -> Any:
        number, name, pairs = self._numbered(inside)
        module = self._again[number] = self._classes.new(name)
        for key, value in self._read_dict(pairs, depth + 1).items():
            if not isinstance(key, str):
                raise Damaged("its structure is none that save writes")
            vars(module)[key] = value
        return module

    def _read_again(self, inside: Any, depth: int) -> Any:
        known = type(inside) is int and 0 <= inside < len(self._again)
        if not known or self._again[inside] is None:
            raise Damaged("its structure names a part before it comes")
        return self._again[inside]


_KINDS = frozenset(name.removeprefix("_read_") for name in vars(Reader) if name.startswith("_read_"))
