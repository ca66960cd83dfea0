"""Containers: modules in order and by name, parameters in order and by name."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar

from ..tensor import Tensor
from .loading import kind_or_none
from .module import Module, Parameter

M = TypeVar("M", bound=Module)


class Ordered(Module):
    """Children in order, under the names "0", "1", ... or names given."""

    def _items(self) -> list[tuple[str, Any]]:
        return self._own(Module)

    def _set_items(self, values: Iterable[Any]) -> None:
        """Replaces the children by these, named by their places."""
        values = list(values)
        for value in values:
            if not isinstance(value, Module):
                raise TypeError(f"{type(self).__name__}: expected modules, got {kind_or_none(value)}")
        for name, _ in self._items():
            delattr(self, name)
        for k, value in enumerate(values):
            setattr(self, str(k), value)

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter([value for _, value in self._items()])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(*self._arguments(self._items()[index]))
        return self._items()[self._place(index)][1]

    def _arguments(self, items: list[tuple[str, Any]]) -> tuple[Any, ...]:
        return ([value for _, value in items],)

    def _place(self, index: Any) -> int:
        n = len(self)
        if not hasattr(index, "__index__"):
            raise TypeError(
                f"{type(self).__name__}: an index is an integer or a slice, got {kind_or_none(index)}"
            )
        if not -n <= index.__index__() < n:
            raise IndexError(f"{type(self).__name__}: index {index} is outside its {n} parts")
        return int(index.__index__() % n)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, Module):
            raise TypeError(f"{type(self).__name__}: expected a module, got {kind_or_none(value)}")
        setattr(self, self._items()[self._place(index)][0], value)

    def __delitem__(self, index: Any) -> None:
        values = list(self)
        del values[index if isinstance(index, slice) else self._place(index)]
        self._set_items(values)

    def append(self: M, module: Module) -> M:
        """Adds one at the end. Returns the container."""
        return self.extend([module])  # type: ignore[attr-defined]

    def extend(self: M, modules: Iterable[Module]) -> M:
        """Adds several at the end. Returns the container."""
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__}: expected a module, got {kind_or_none(module)}")
            self.add_module(str(len(self)), module)  # type: ignore[arg-type]
        return self

    def insert(self: M, index: int, module: Module) -> M:
        """Puts one before the place `index`. Returns the container."""
        values = list(self)  # type: ignore[call-overload]
        values.insert(index, module)
        self._set_items(values)  # type: ignore[attr-defined]
        return self

    def pop(self, index: Any = -1) -> Module:
        """Takes one out, and returns it."""
        found: Module = self[index]
        del self[index]
        return found

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


class ModuleList(Ordered):
    """A list of modules whose parameters are the list's: `ModuleList([Linear(4, 4) for _ in range(3)])`."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)


class Sequential(Ordered):
    """Modules one after the other: each is given what the one before returned.

    `Sequential(Linear(4, 8), Tanh(), Linear(8, 1))`, or with names `Sequential({"hidden": Linear(4, 8),
    ...})`.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def _arguments(self, items: list[tuple[str, Any]]) -> tuple[Any, ...]:
        return (dict(items),)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential: only another Sequential can be added, got {kind_or_none(other)}")
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential: only another Sequential can be added, got {kind_or_none(other)}")
        return self.extend(other)

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*(list(self) * self._times(other)))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Sequential:
        return self.extend(list(self) * (self._times(other) - 1))

    @staticmethod
    def _times(other: Any) -> int:
        if not isinstance(other, int):
            raise TypeError(f"Sequential: it takes an integer number of times, got {kind_or_none(other)}")
        if other <= 0:
            raise ValueError(f"Sequential: it is repeated at least once, got {other}")
        return other

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


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


class ParameterDict(Module):
    """Parameters by name, which are the container's; floating tensors that are given become parameters."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[Any] = ()) -> None:
        super().__init__()
        self.update(parameters)

    def _dict(self) -> dict[str, Any]:
        return dict(self._own(Tensor))

    def update(self, parameters: Mapping[str, Any] | Iterable[Any]) -> None:
        """Adds or replaces parameters, from a dict or from pairs (name, parameter)."""
        for key, value in dict(parameters).items():
            self[key] = value

    def __getitem__(self, key: str) -> Any:
        found = self._dict()
        if key not in found:
            raise KeyError(f"ParameterDict: there is no {key!r} among {', '.join(found) or 'no parameters'}")
        return found[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterDict: {key} must be a Parameter or Tensor, got {kind_or_none(value)}")
        self.register_parameter(str(key), value if isinstance(value, Parameter) else Parameter(value))

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._dict())

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict())

    def __contains__(self, key: object) -> bool:
        return key in self._dict()

    def keys(self) -> Iterable[str]:
        return self._dict().keys()

    def values(self) -> Iterable[Any]:
        return self._dict().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._dict().items()

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of that name, or the default."""
        return self._dict().get(key, default)

    def pop(self, key: str) -> Any:
        """Takes a parameter out, and returns it."""
        found = self[key]
        del self[key]
        return found

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
