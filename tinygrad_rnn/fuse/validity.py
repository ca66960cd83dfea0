"""Traces that are used again: what a trace rests on, and whether that is still the same.

A trace costs some hundred microseconds, a call of a small layer not much more. So a layer remembers its
traces, and uses one again where everything that it rests on can be compared in a few microseconds: the
attributes of modules, by value; and by identity the closure cells and globals that the code names, its own
and that of the functions which it calls, as far as they are Python. Where anything else was read that can
change, a mutable object or another program's module, it is traced anew at each call.
"""

from __future__ import annotations

import builtins
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..backend.dtypes import default_dtype
from ..engine import Value, mode
from .ir import Block
from .trace import Traced, Untraceable

PACKAGE = __name__.partition(".")[0]
TRUSTED = {
    PACKAGE,
    "numpy",
    "math",
    "builtins",
    "functools",
    "itertools",
    "operator",
    "typing",
    "collections",
}
PLAIN = {int, float, bool, str, bytes, complex, type(None), type(Ellipsis)}
HARMLESS = {
    "_fitting",
    "_rng",
}  # attributes of modules that no step reads; a generator that draws ends the trace
MOST = 256  # traces that are remembered


class _Same:
    """Equal where it is the same object, which it holds: what comes later is another."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __hash__(self) -> int:
        return id(self.x)

    def __eq__(self, other: object) -> bool:
        return type(other) is _Same and other.x is self.x


class _Mutable(Exception):
    """What a trace rests on can change unseen: the reason."""


def is_trusted(x: Any) -> bool:
    """Whether what belongs to a module of this name does not change."""
    return (getattr(x, "__module__", None) or "").partition(".")[0] in TRUSTED


def is_module(x: Any) -> bool:
    """Whether it is a Module of nn/, which is above this package."""
    return hasattr(type(x), "named_modules")


class Basis:
    """What traces of functions of a module rest on, beside the state of the module."""

    def __init__(
        self, owner: Any, functions: Iterable[Callable[..., Any]], mutable: str | None = None
    ) -> None:
        self.owner, self.roots = owner, [owner]
        self.names: list[
            tuple[Any, str, Any]
        ] = []  # a namespace or a closure cell, a name in it, what it was
        self.tensors: list[Any] = []  # globals and the like
        self.mutable = mutable
        self._seen: set[int] = set()
        try:
            for function in functions:
                self._function(function)
            self._classes(owner)
        except _Mutable as reason:
            self.mutable = self.mutable or str(reason)
        self.others = self.roots[1:]  # modules that are no part of the owner
        del self.owner, self.roots

    def _classes(self, module: Any) -> None:
        for each in modules_of(module):
            for cls in type(each).__mro__:
                if is_trusted(cls) or id(cls) in self._seen:
                    continue
                self._seen.add(id(cls))
                for name, value in vars(cls).items():
                    if isinstance(value, (types.FunctionType, property, staticmethod, classmethod)) or (
                        not name.startswith("__") and not name.startswith("_abc")
                    ):
                        self._note(vars(cls), name, value)

    def _function(self, f: Any) -> None:
        f = getattr(f, "__func__", f)
        f = getattr(f, "__wrapped__", f) if not isinstance(f, types.FunctionType) else f
        if isinstance(f, property):
            for part in (f.fget, f.fset):
                if part is not None:
                    self._function(part)
            return
        if not isinstance(f, types.FunctionType):
            if is_trusted(f) or is_trusted(type(f)):
                inner = getattr(f, "function", None)  # a pointwise function
                if inner is not None:
                    self._function(inner)
                return
            raise _Mutable(f"it calls a {type(f).__name__}")
        if id(f) in self._seen or is_trusted(f):
            return
        self._seen.add(id(f))
        for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self._value("a default", default)
        for name in _names_in(f.__code__):
            if name in f.__globals__:
                self._note(f.__globals__, name, f.__globals__[name])
            elif hasattr(builtins, name):
                continue
        for cell, name in zip(f.__closure__ or (), f.__code__.co_freevars, strict=True):
            self._note(cell, name, cell.cell_contents)

    def _note(self, space: Any, name: str, value: Any) -> None:
        self.names.append((space, name, value))
        self._value(name, value)

    def _value(self, name: str, value: Any) -> None:
        kind = type(value)
        if kind in PLAIN or isinstance(value, types.BuiltinFunctionType):
            return
        if isinstance(value, (types.FunctionType, types.MethodType, property, staticmethod, classmethod)):
            self._function(value)
        elif isinstance(value, Value):
            self.tensors.append(value)
        elif isinstance(value, types.ModuleType):
            if value.__name__.partition(".")[0] not in TRUSTED:
                raise _Mutable(f"it reads the module {value.__name__}, which may change")
        elif isinstance(value, type):
            if not (
                is_trusted(value)
                or (issubclass(value, tuple) and hasattr(value, "_fields"))
                or is_module_class(value)
            ):
                raise _Mutable(f"it uses the class {value.__name__}, which may change")
        elif kind is tuple or kind is frozenset:
            for part in value:
                self._value(name, part)
        elif is_module(value):
            inside = {id(module) for module in modules_of(self.owner)}
            if id(value) not in inside and all(value is not root for root in self.roots):
                self.roots.append(value)
                self._classes(value)
        elif is_trusted(kind) and (callable(value) or kind.__module__.startswith(("numpy", PACKAGE))):
            if hasattr(value, "__array_interface__") and getattr(value, "ndim", None):
                raise _Mutable(f"it reads {name}, an array, which may change")
            self._function(value)
        else:
            raise _Mutable(f"it reads {name}, a {kind.__name__}, which may change")

    def is_unchanged(self) -> bool:
        return all(_now(space, name) is value for space, name, value in self.names)

    def changed(self) -> list[tuple[Any, str, Any]]:
        return [(s, name, value) for s, name, value in self.names if _now(s, name) is not value]

    def signature(self, tensors: list[Any]) -> Any:
        """The state of other modules as something to compare. Adds tensors in it and globals to a list."""
        parts = tuple([_signature(module, tensors) for module in self.others])
        tensors += self.tensors
        return parts


def is_module_class(cls: type) -> bool:
    return hasattr(cls, "named_modules")


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names_in(const)


def _now(space: Any, name: str) -> Any:
    if type(space) is types.CellType:
        try:
            return space.cell_contents
        except ValueError:
            return None
    return space.get(name)


def modules_of(root: Any) -> list[Any]:
    """A module and those in it."""
    found = {id(root): root} if is_module(root) else {}
    todo = [root]
    while todo:
        for value in vars(todo.pop()).values():
            for part in value if type(value) in (list, tuple) else (value,):
                if is_module(part) and id(part) not in found:
                    found[id(part)] = part
                    todo.append(part)
    return [*found.values()]


def _signature(x: Any, tensors: list[Any]) -> Any:
    kind = type(x)
    if kind in PLAIN:
        return kind, x
    if isinstance(x, Value):
        tensors.append(x)
        return kind, x.array.shape, x.array.dtype
    if kind is tuple or kind is list:
        return kind, tuple([_signature(part, tensors) for part in x])
    if kind is dict:
        return kind, tuple([(k, _signature(v, tensors)) for k, v in x.items()])
    if is_module(x) or kind is types.SimpleNamespace:
        return kind, tuple([(k, _signature(v, tensors)) for k, v in vars(x).items() if k not in HARMLESS])
    if isinstance(x, (types.FunctionType, types.BuiltinFunctionType, type)) or (
        is_trusted(kind) and callable(x)
    ):
        return kind, _Same(x)
    if kind.__name__ == "Generator" and kind.__module__.startswith("numpy"):
        return None
    raise _Mutable(f"it has a {kind.__name__}, which may change")


class watched:
    """In this block a function of the module `owner` is traced. What it changes, of modules, globals or
    closures, is put back, and ends the trace.
    """

    def __init__(self, owner: Any, basis: Basis) -> None:
        self.before = [(module, dict(vars(module))) for module in (*modules_of(owner), *basis.others)]
        self.basis = basis

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for module, before in self.before:
            now = vars(module)
            names = [
                k
                for k in {**before, **now}
                if k not in HARMLESS and now.get(k, now) is not before.get(k, now)
            ]
            if names:
                now.clear()
                now.update(before)
                raise Untraceable(f"it changes {names[0]!r} of the module {type(module).__name__}")
        changed = self.basis.changed()
        for space, name, value in changed:
            if type(space) is types.CellType:
                space.cell_contents = value
            elif type(space) is dict:
                space[name] = value
        if changed:
            raise Untraceable(f"it changes {changed[0][1]!r}, which is no attribute of its own")


class _Entry(NamedTuple):
    """What is known of an owner in a certain state: a block and which tensors its constants are; or why there
    is no block; or None, where it must be traced at each call. It holds while the basis and `others` are
    unchanged.
    """

    basis: Basis
    others: Any
    found: tuple[Block, list[int], Any] | Untraceable | None


_known: OrderedDict[Any, _Entry] = OrderedDict()


def remembered(
    owner: Any, functions: Sequence[Callable[..., Any]], key: Any, make: Callable[[Basis], Traced]
) -> Traced:
    """The trace of functions of the module `owner`: one that was made before where it still holds, else what
    `make` returns. Raises Untraceable where that did.
    """
    tensors: list[Any] = []
    try:
        now = mode.current()
        state = (key, _signature(owner, tensors), now.grad, now.functional, default_dtype())
    except _Mutable as reason:
        return make(Basis(owner, functions, str(reason)))
    entry = _known.get(state)
    if entry is not None and entry.basis.is_unchanged():
        try:
            others = entry.basis.signature(tensors)
        except _Mutable:
            others = None
        if others == entry.others and others is not None:
            if isinstance(entry.found, Untraceable):
                raise entry.found
            if entry.found is not None:
                block, places, note = entry.found
                return Traced(block, [tensors[k] for k in places], note)
            return make(entry.basis)
    basis = Basis(owner, functions)
    del tensors[:]
    _signature(owner, tensors)
    try:
        others = basis.signature(tensors)
    except _Mutable as reason:
        basis.mutable, others = str(reason), None
    found: Any = None
    try:
        traced = make(basis)
        index = {id(t): k for k, t in reversed([*enumerate(tensors)])}  # the first place of each
        if basis.mutable is None and all(id(v) in index for v in traced.constants):
            found = (traced.block, [index[id(v)] for v in traced.constants], traced.note)
        return traced
    except Untraceable as reason:
        found = reason
        raise
    finally:
        _known[state] = _Entry(basis, others, found)
        while len(_known) > MOST:
            _known.popitem(last=False)
