"""Containers of modules and parameters by name, and of parameters in order."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from ..tensor import Tensor
from .module import Module, Parameter


class ModuleDict(Module):
    """Modules by name, whose parameters are the container's: `ModuleDict({"encoder": LSTM(4, 8), ...})`.

    A name that is a method's (such as "train") raises KeyError.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        super().__init__()
        self.update(modules)

    def _dict(self) -> dict[str, Module]:
        return dict(self._own(Module))

    def __getitem__(self, key: str) -> Module:
        children = self._dict()
        if key not in children:
            raise KeyError(f"ModuleDict: there is no {key!r} among {', '.join(children) or 'no modules'}")
        return children[key]

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: {key} must be a Module, got a {type(module).__name__}")
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._dict())

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __contains__(self, key: object) -> bool:
        return key in self._dict()

    def keys(self) -> KeysView[str]:
        return self._dict().keys()

    def values(self) -> ValuesView[Module]:
        return self._dict().values()

    def items(self) -> ItemsView[str, Module]:
        return self._dict().items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds or replaces modules, from a dict or from pairs (name, module)."""
        for key, module in dict(modules).items():
            self[key] = module

    def pop(self, key: str) -> Module:
        """Takes a module out, and returns it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Takes all out."""
        for key in self._dict():
            delattr(self, key)


class ParameterList(Module):
    """A list of parameters; floating tensors that are given become parameters."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(values)

    def _list(self) -> list[Parameter]:
        return [parameter for _, parameter in self._own(Parameter)]

    def append(self, value: Any) -> ParameterList:
        """Adds one at the end. Returns the list."""
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterList: expected a Parameter or Tensor, got a {type(value).__name__}")
        self.register_parameter(str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Adds several at the end. Returns the list."""
        for value in values:
            self.append(value)
        return self

    def __getitem__(self, index: Any) -> Any:
        found = self._list()
        if isinstance(index, slice):
            return ParameterList(found[index])
        if not -len(found) <= index < len(found):
            raise IndexError(f"ParameterList: index {index} is outside its {len(found)} parameters")
        return found[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self[index]
        setattr(self, str(index % len(self)), value if isinstance(value, Parameter) else Parameter(value))

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._list())

    def extra_repr(self) -> str:
        return ", ".join(f"({k}): {p.dtype} {p.shape}" for k, p in enumerate(self))
