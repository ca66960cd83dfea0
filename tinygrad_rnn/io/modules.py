"""Whole modules as plain data: the name of the class, and the attributes. A file only names a class;
which one that is, the reader's own tables say, so that nothing is imported because of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import nn
from ..nn import Module
from ..ops import Size

__all__ = ["Classes", "class_name", "function_name", "function_of"]

_UNSAVED = frozenset({"_fitting"})  # what a cell has looked at last


def class_name(module: Module) -> str:
    """The name under which a module's class is written: "LSTM" for nn's, else with its own module."""
    kind = type(module)
    if getattr(nn, kind.__name__, None) is kind:
        return kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def attributes(module: Module) -> dict[str, Any]:
    """What is saved of a module: its own generator of random numbers is not, the package's takes its
    place."""
    return {
        name: None if name == "_rng" else tuple(value) if type(value) is Size else value
        for name, value in vars(module).items()
        if name not in _UNSAVED and not name.startswith("_hooks")
    }


def function_name(value: Any) -> str | None:
    """The name of a function of nn.functional or the package's ops; None for anything else."""
    name = getattr(value, "__name__", "")
    return name if callable(value) and function_of(name) is value else None


def function_of(name: Any) -> Any:
    """The function of that name: of nn.functional or the ops; None where there is none."""
    from .. import ops

    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return None
    found = getattr(nn.functional, name, None) or getattr(ops, name, None)
    return found if callable(found) and not isinstance(found, type) else None


class Classes:
    """The classes that a file may name: nn's, and those that the user gives."""

    def __init__(self, name: str, given: Iterable[type] | Mapping[str, type], weights_only: bool) -> None:
        self.name, self.weights_only = name, weights_only
        kinds = [*given.values()] if isinstance(given, Mapping) else [*given]
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Module)):
                raise TypeError(f"load: classes are subclasses of nn.Module, got {kind!r}")
        self._given = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in kinds}
        self._given |= {kind.__name__: kind for kind in kinds}
        if isinstance(given, Mapping):
            self._given |= given

    def new(self, written: Any) -> Module:
        """An instance of the class of that name, without attributes. Raises ValueError for one unknown."""
        if self.weights_only:
            raise ValueError(f"load: {self.name} holds a module; weights_only=False reads it")
        kind = self._given.get(written) or self._given.get(str(written).rpartition(".")[2])
        if kind is None and isinstance(written, str) and written.isidentifier():
            kind = vars(nn).get(written)
        if not (isinstance(kind, type) and issubclass(kind, Module)):
            short = str(written).rpartition(".")[2][:40]
            raise ValueError(
                f"load: {self.name} holds a module of the class {str(written)[:80]!r}; load(..., "
                f"classes=[{short}]) reads it, or save and load its state_dict()"
            )
        made: Module = kind.__new__(kind)
        return made
