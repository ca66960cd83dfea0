"""Traces that are used again: what a trace rests on, and whether that is still the same.

A trace costs some hundred microseconds, a call of a small layer not much more. So a layer remembers its
traces, and uses one again where everything that it rests on can be compared in a few microseconds: the
attributes of modules, by value; and by identity the closure cells, globals, attributes of modules and classes
that the code names, its own and that of the functions which it calls, as far as they are Python. Where
anything else was read that can change, a mutable object or a value of a tensor, it is traced anew at each
call.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from opcode import opmap
from typing import Any

import numpy as np

from ..backend.dtypes import default_dtype
from ..engine import Value, mode
from ..ops import Size
from .effects import HARMLESS, MISSING, MOST_LOOKED_AT, MOST_PARTS, assign, namespace
from .ir import Block, each_part
from .trace import Traced, Untraceable

PACKAGE = __name__.partition(".")[0]
TRUSTED = {
    PACKAGE,
    *["numpy", "math", "builtins", "functools", "itertools", "operator", "typing", "collections", "abc"],
}
TRUSTED |= {"_operator", "_functools"}
OF_THE_ENGINE = tuple([f"{PACKAGE}.{name}" for name in ("engine", "backend", "ops", "fuse")])
PLAIN = {int, float, bool, str, bytes, complex, type(None), type(Ellipsis), range}
METHODS = ("forward", "__call__", "project", "step", "output", "dropped")  # of ours, to be replaced
UNSEEN = {"globals", "eval", "exec", "locals", "vars", "__dict__", "array"}  # read what code does not name
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
    space = getattr(x, "__globals__", None)  # a function may bear the name of the module of another, by wraps
    name = space.get("__name__") if type(space) is dict else getattr(x, "__module__", None)
    return type(name) is str and name.partition(".")[0] in TRUSTED


def is_module(x: Any) -> bool:
    """Whether it is a Module of nn/, which is above this package."""
    return hasattr(type(x), "named_modules")


class Basis:
    """What traces of functions of an owner rest on, beside the owner's attributes: a walk through everything
    that can be reached from them.

    `mutable` says what of it can change unseen, if anything. `modules` and `parts` are what a step could
    change.
    """

    def __init__(
        self, owner: Any, functions: Iterable[Callable[..., Any]], mutable: str | None = None
    ) -> None:
        self.mutable = mutable
        self.names: list[tuple[Any, str, Any]] = []  # a namespace, a name in it, what it was
        self.cells: list[tuple[Any, Any]] = []  # of closures
        self.functions: list[tuple[Any, Any, Any, Any]] = []  # with their code and defaults
        self.classes: list[tuple[Any, int]] = []  # namespaces of classes, and how many names they had
        self.tensors: list[Any] = []  # globals and the like
        self.others: list[Any] = []  # modules that are no part of the owner
        self.modules: list[Any] = []  # all modules
        self.parts: list[Any] = []  # lists, dicts, sets and objects: what is mutable
        self.generators: list[Any] = []
        self.own_cells: list[tuple[Any, Any]] = []  # whose values are attributes of the owner
        self._seen: dict[Any, Any] = {}  # by id: held, so that no id is given twice
        self._names: frozenset[str] = frozenset()  # that the code names in which a value was found
        self._owned = _is_namespace(owner)  # its closure is the owner
        try:
            self._attribute(owner)
            for function in functions:
                self._function(function, is_root=True)
        except RecursionError:
            self._changes("what it reads lies deep in other objects")
        del self._seen

    def _changes(self, reason: str) -> None:
        self.mutable = self.mutable or reason

    def _is_new(self, x: Any) -> bool:
        if id(x) in self._seen:
            return False
        self._seen[id(x)] = x
        return True

    # ------------------------------------------------------------ the walk

    def _attribute(self, x: Any) -> None:
        """A value that `_signature` compares; what it cannot is looked at like any other."""
        kind = type(x)
        if kind in PLAIN or isinstance(x, Value):
            return
        if is_module(x):
            if self._is_new(x):
                self.modules.append(x)
                self._class(kind)
                for name, value in vars(x).items():
                    if name not in HARMLESS:
                        self._attribute(value)
        elif kind in (tuple, Size, list, dict) or _is_namespace(x):
            if self._is_new(x):
                self.parts.append(x)
                for part in _inside(x):
                    self._attribute(part)
        elif not isinstance(x, (np.generic, np.dtype)):
            self._value("an attribute", x)

    def _function(self, f: Any, is_root: bool = False) -> None:
        f = getattr(f, "__func__", f)
        f = getattr(f, "__wrapped__", f) if not isinstance(f, types.FunctionType) else f
        if not isinstance(f, types.FunctionType):
            if not (is_trusted(f) or is_trusted(type(f))):
                self._changes(f"it calls a {type(f).__name__}")
            return
        if is_trusted(f) or not self._is_new(f):
            return
        code, before = f.__code__, self._names
        self._names = names = frozenset(_names_in(code))
        if not UNSEEN.isdisjoint(names) or _imports(code):
            self._changes(f"{f.__name__} reads what it does not name")
        if not (is_root and self._owned):
            self.functions.append((f, code, f.__defaults__, f.__kwdefaults__))
            for default in f.__defaults__ or ():
                self._value("a default", default)
            for name, value in (f.__kwdefaults__ or {}).items():
                self._note(f.__kwdefaults__, name, value)
        for name, value in vars(f).items():
            self._note(vars(f), name, value)
        for name in names:
            if name in f.__globals__:
                self._note(f.__globals__, name, f.__globals__[name])
            elif hasattr(builtins, name):
                self.names.append((f.__globals__, name, MISSING))
        for cell in f.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # a name that nothing was assigned to yet
                value = MISSING
            if is_root and self._owned:
                self.own_cells.append((cell, value))
                continue
            self.cells.append((cell, value))
            if value is not MISSING:
                self._value("a closure", value)
        self._names = before

    def _note(self, space: Any, name: str, value: Any) -> None:
        self.names.append((space, name, value))
        self._value(name, value)

    def _value(self, name: str, value: Any) -> None:
        kind = type(value)
        if kind in PLAIN or isinstance(value, (np.generic, np.dtype, np.ufunc)):
            return
        if isinstance(value, (types.FunctionType, staticmethod, classmethod)):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._function(value)
            self._value(name, value.__self__)
        elif isinstance(value, property):
            for accessor in (value.fget, value.fset):
                if accessor is not None:
                    self._function(accessor)
        elif isinstance(value, types.BuiltinFunctionType):
            if not isinstance(value.__self__, (types.ModuleType, type, type(None))):
                self._value(name, value.__self__)
            elif not is_trusted(value):
                self._changes(f"it calls {name}, which may return something else each time")
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args):
                self._value(name, part)
            for key, part in value.keywords.items():
                self._note(value.keywords, key, part)
        elif isinstance(value, Value):
            if self._is_new(value):
                self.tensors.append(value)
        elif isinstance(value, types.ModuleType):
            self._namespace(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, (tuple, frozenset)):
            if kind not in (tuple, Size, frozenset):
                self._class(kind)
            for part in value:
                self._value(name, part)
        elif is_module(value):
            if id(value) not in self._seen:
                self.others.append(value)
                self._attribute(value)
        elif is_trusted(kind) and hasattr(value, "function"):  # a pointwise function
            self._function(value.function)
        elif is_trusted(kind) and hasattr(value, "__wrapped__"):
            self._function(value)
        elif kind.__module__.startswith(OF_THE_ENGINE) or (
            is_trusted(kind) and callable(value) and not kind.__module__.startswith((PACKAGE, "operator"))
        ):
            return
        else:
            self._object(name, value)

    def _object(self, name: str, value: Any) -> None:
        """What may change unseen; and what can be reached from there."""
        kind = type(value)
        self._changes(f"it reads {name}, a {kind.__name__}, which may change")
        if not self._is_new(value):
            return
        if any(hasattr(kind, name) for name in ("bit_generator", "getstate", "get_state")):
            self.generators.append(value)
            return
        if hasattr(kind, "__next__") and not hasattr(kind, "read"):
            raise Untraceable(
                f"it reads {name}, a {kind.__name__}, which may give something else at each step"
            )
        if not (is_trusted(kind) or isinstance(value, Exception)):
            self._class(kind)
        if len(self.parts) < MOST_PARTS:
            self.parts.append(value)
            for part in _inside(value):
                self._value(name, part)

    def _namespace(self, module: types.ModuleType) -> None:
        """A module of Python's: what the code names of it."""
        space, is_known = vars(module), module.__name__.partition(".")[0] in TRUSTED
        for name in self._names:
            if (id(module), name) in self._seen:
                continue
            self._seen[id(module), name] = module
            value = space.get(name, MISSING)
            if value is MISSING:
                if not is_known and "__getattr__" in space:
                    self._changes(f"it reads the module {module.__name__}, which may change")
                continue
            self.names.append((space, name, value))
            if isinstance(value, types.ModuleType):
                self._namespace(value)
            elif (
                not is_known
                or isinstance(value, types.FunctionType)
                or hasattr(getattr(value, "__self__", None), "get_state")  # NumPy's first generator
            ):
                self._value(name, value)

    def _class(self, cls: type) -> None:
        for each in (*cls.__mro__, type(cls)):
            space = vars(each)
            if each in (object, type) or not self._is_new(each):
                continue
            if is_trusted(each):
                if hasattr(each, "named_modules"):
                    self.classes.append((space, len(space)))
                    for name in METHODS:
                        if name in space:
                            self._note(space, name, space[name])
                continue
            self.classes.append((space, len(space)))
            for name, value in space.items():
                if name == "__init__" and hasattr(each, "named_modules"):
                    self.names.append((space, name, value))  # which no step calls
                elif isinstance(value, types.FunctionType) or not name.startswith(("__", "_abc")):
                    self._note(space, name, value)

    # ------------------------------------------------------------ whether it holds

    def is_unchanged(self) -> bool:
        for space, name, value in self.names:
            if space.get(name, MISSING) is not value:
                return False
        for cell, value in self.cells:
            if _contents(cell) is not value:
                return False
        for f, code, defaults, of_keywords in self.functions:
            if (
                f.__code__ is not code
                or f.__defaults__ is not defaults
                or f.__kwdefaults__ is not of_keywords
            ):
                return False
        return all(len(space) == n for space, n in self.classes)

    def put_back(self) -> str | None:
        """Undoes what a trace has changed of names and cells; returns one of them."""
        changed = None
        for space, name, value in self.names:
            if space.get(name, MISSING) is not value and type(space) is dict:
                changed = name
                assign(space, name, value)
        for cell, value in (*self.cells, *self.own_cells):
            if _contents(cell) is not value:
                changed = "a closure"
                if value is MISSING:
                    del cell.cell_contents
                else:
                    cell.cell_contents = value
        return changed

    def forget(self) -> None:
        """Lets go of what was held to be put back."""
        for own in (self.modules, self.parts, self.generators, self.own_cells):
            own.clear()

    def signature(self, seen: dict[int, int], tensors: list[Any]) -> Any:
        """The state of other modules and of tensors as something to compare. Adds tensors to a list."""
        return tuple([_signature(x, seen, tensors) for x in (*self.others, *self.tensors)])


def _is_namespace(x: Any) -> bool:
    return type(x) is types.SimpleNamespace


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names_in(const)
        elif type(const) is str and const.isidentifier():  # for getattr
            yield const


def _imports(code: types.CodeType) -> bool:
    """Whether the code imports a module when it runs."""
    return opmap["IMPORT_NAME"] in code.co_code[::2] or any(
        _imports(const) for const in code.co_consts if isinstance(const, types.CodeType)
    )


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _inside(x: Any) -> list[Any]:
    """What a mutable object holds."""
    if isinstance(x, (list, tuple, set, deque)):
        return [*x] if len(x) < MOST_LOOKED_AT else []
    if isinstance(x, np.ndarray):
        return []
    if isinstance(x, dict):
        return [*x.values()] if len(x) < MOST_LOOKED_AT else []
    return [*(namespace(x) or {}).values()]


def _signature(x: Any, seen: dict[int, int], tensors: list[Any]) -> Any:
    """The state of an owner as something to compare. Adds the tensors in it to a list, each once; one that
    comes again is told by its number.
    """
    kind = type(x)
    if kind in PLAIN:
        return kind, x if x or kind is not float else str(x)  # 0.0 == -0.0
    if isinstance(x, Value):
        k = seen.get(id(x))
        if k is None:
            seen[id(x)] = k = len(tensors)
            tensors.append(x)
        return kind, x.array.shape, x.array.dtype, k, x.vertex is not None
    if kind is tuple or kind is list or kind is Size:
        return kind, tuple([_signature(part, seen, tensors) for part in x])
    if kind is dict:
        return kind, tuple([(k, _signature(v, seen, tensors)) for k, v in x.items()])
    if _is_namespace(x) and any(type(v) is types.FunctionType and v.__closure__ for v in vars(x).values()):
        raise _Mutable("it calls a function that was made for it")  # and is not to be held
    if is_module(x) or _is_namespace(x):
        k = seen.get(id(x))
        if k is not None:
            return kind, k
        seen[id(x)] = len(seen)
        return kind, tuple(
            [(k, _signature(v, seen, tensors)) for k, v in vars(x).items() if k not in HARMLESS]
        )
    if isinstance(x, types.MethodType):
        return kind, _Same(x.__func__), _signature(x.__self__, seen, tensors)
    if isinstance(x, functools.partial):
        return kind, tuple([_signature(part, seen, tensors) for part in (x.func, x.args, x.keywords)])
    if isinstance(x, (types.FunctionType, types.BuiltinFunctionType, type)) or (
        is_trusted(kind) and callable(x)
    ):
        return kind, _Same(x)
    if isinstance(x, np.generic):
        return kind, x.tobytes()
    if isinstance(x, np.dtype):
        return kind, x
    raise _Mutable(f"it has a {kind.__name__}, which may change")


class _Entry:
    """What is known of an owner in a certain state: a block, which tensors its constants are and what was
    noted; or why there is no block. It holds while the basis and `others` are unchanged, for the batch sizes
    that it was compared at.
    """

    def __init__(self, basis: Basis, others: Any, found: tuple[Block, list[int], Any] | str) -> None:
        self.basis, self.others, self.found = basis, others, found
        self.sizes: set[int] = set()
        self.failing: dict[int, str] = {}  # sizes for which the step does something else, and what

    def compare(self, make: Callable[[Basis, Sequence[int]], Traced], sizes: Iterable[int]) -> None:
        """Raises Untraceable where the step does something else for one of these sizes."""
        for n in sizes:
            if n in self.failing:
                raise Untraceable(self.failing[n])
            if n not in self.sizes:
                try:
                    make(self.basis, (n,))
                except Untraceable as reason:
                    self.failing[n] = str(reason)
                    raise
                self.sizes.add(n)


_known: OrderedDict[Any, _Entry] = OrderedDict()


def remembered(
    owner: Any,
    functions: Sequence[Callable[..., Any]],
    key: Any,
    make: Callable[[Basis, Sequence[int]], Traced],
    sizes: Sequence[int] = (),
) -> Traced:
    """The trace of functions of the module `owner`: one that was made before where it still holds, else what
    `make` returns, which is given a basis and batch sizes. Raises Untraceable where that did.
    """
    seen: dict[int, int] = {}
    tensors: list[Any] = []
    few = [n for n in sizes if n < 4 or n == sizes[0]]  # where it is traced anew at each call
    try:
        now = mode.current()
        state = (key, _signature(owner, seen, tensors), now.grad, now.functional, default_dtype())
        hash(state)
    except (_Mutable, RecursionError, TypeError) as reason:
        return make(Basis(owner, functions, str(reason)), few)
    entry, others = _known.get(state), None
    if entry is not None and entry.basis.is_unchanged():
        with contextlib.suppress(_Mutable):
            others = entry.basis.signature(seen, tensors)
        if others == entry.others and others is not None:
            if isinstance(entry.found, str):
                raise Untraceable(entry.found)
            if not entry.sizes.issuperset(sizes):
                entry.compare(make, sizes)
            block, places, note = entry.found
            return Traced(block, [tensors[k] for k in places], note)
    basis = Basis(owner, functions)
    seen, tensors, others = {}, [], None
    _signature(owner, seen, tensors)
    try:
        others = basis.signature(seen, tensors)
    except _Mutable as reason:
        basis.mutable = str(reason)
    _known.pop(state, None)
    found: Any = None
    try:
        if basis.mutable is not None:
            return make(basis, few)
        traced = make(basis, ())
        index = {id(t): k for k, t in enumerate(tensors)}
        if traced.asked or _has_arrays(traced.block) or any(id(v) not in index for v in traced.constants):
            return make(basis, few) if few else traced
        found = (traced.block, [index[id(v)] for v in traced.constants], traced.note)
    except Untraceable as reason:
        found = str(reason) if basis.mutable is None else None
        raise
    finally:
        basis.forget()
        if found is not None:
            _known[state] = entry = _Entry(basis, others, found)
        while len(_known) > MOST:
            _known.popitem(last=False)
    assert entry is not None
    entry.compare(make, sizes)
    return traced


def _has_arrays(block: Block) -> bool:
    """Whether an array is a setting, such as an index: the values of some tensor, perhaps."""
    found: list[Any] = []
    for instr in block.instructions:
        each_part([*instr.settings.values()], found.append)
    return any(isinstance(x, np.ndarray) or hasattr(x, "__array__") for x in found)
