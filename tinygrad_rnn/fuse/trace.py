"""Reading a function: it is called on tensors whose arrays are Refs, and every op that it calls is written
down.

It is called twice, at two batch sizes. A number that moved with the size is the batch size; where anything
else differs, the function does not do the same for every batch, and cannot be read once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ..backend import MODULES, ArrayModule, dtypes, find
from ..backend.random import noting_draws
from ..engine import Look, Primitive, Value, mode, primitive
from ..ops import elementwise as e
from ..ops.arguments import Size
from ..ops.convert import cast
from ..ops.index import getitem, pick
from ..ops.reduce import amax
from ..ops.shape import broadcast_to, reshape
from .ir import Block, Instr, N, Ref, Type, each_part, refs_in

SIZES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43)


class tracing:
    """In this block ops are written down by a tracer; with None they run, also inside of such a block."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    def __enter__(self) -> None:
        self._token = mode.trace(self._tracer)

    def __exit__(self, *_: object) -> None:
        mode.stop(self._token)


class Untraceable(Exception):
    """Why a function cannot be read once, as a sentence."""


class Traced(NamedTuple):
    """A block, the values of its constants, and what else is to be remembered with it. `asked`: values of
    a tensor from outside were asked for, and are numbers of the block now.
    """

    block: Block
    constants: list[Any]
    note: Any = None
    asked: bool = False


@primitive(vjp=None)
def created(xp: Any, *, function: str, arguments: tuple[Any, ...], dtype: Any) -> Any:
    """An array that is made of numbers alone, by a function of the library: zeros, arange, eye."""
    return getattr(xp, function)(*arguments, dtype=dtype)


CREATED: Primitive = created.primitive  # type: ignore[attr-defined]
PICK: Primitive = pick.primitive  # type: ignore[attr-defined]


@primitive(vjp=None, elementwise=True, c="{0}", ufunc="positive")
def detached(xp: Any, x: Any) -> Any:
    """The same numbers, through which no gradient goes: what `detach` and `no_grad` are in a block."""
    return xp.positive(x)


DETACHED: Primitive = detached.primitive  # type: ignore[attr-defined]


class Followed:
    """The vertex of a traced value that gradients go through. There is no graph behind it to look at."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Untraceable("it asks for the graph of a value that is not computed yet")


FOLLOWED: Any = Followed()


class Tracer:
    """Writes down the ops that are called while it is the mode's tracer.

    With `follows` it notes which values gradients go through, as the engine does, so that a step may ask for
    it, and may detach.
    """

    def __init__(self, follows: bool = False) -> None:
        self.block, self.n = Block(), 0  # n: the batch size of this trace
        self.follows = follows
        self._followed: set[Ref] = set()
        self._detached: dict[Ref, Ref] = {}
        self.values: list[Any] = []  # of the constants; held, so that no id is given twice
        self._constants: dict[int, Ref] = {}
        self._n_refs = 0
        self.made: list[Any] = []  # weak references to the tensors that the function was given
        self.is_real = False  # whether there are batches of this size, and not for a trace alone
        self.asked = False  # whether values of a tensor from outside were asked for

    def ref(self, type: Type) -> Ref:
        self._n_refs += 1
        return Ref(self._n_refs - 1, type)

    def param(self, type: Type) -> Value:
        """A new parameter, as a tensor."""
        self.block.params.append(self.ref(type))
        return self.tensor(self.block.params[-1], self.follows and type.dtype.kind == "f")

    def tensor(self, r: Ref, followed: bool = False) -> Value:
        """A value of the block as a tensor."""
        made: Value = Value.result._of(r, FOLLOWED if followed else None)
        if followed:
            self._followed.add(r)
        self.made.append(ref(made))
        return made

    def operand(self, x: Any) -> Any:
        """What stands for an argument of an op in the block."""
        if isinstance(x, Value) and type(x.array) is Ref:
            r: Ref = x.array
            if r in self._followed and (x.vertex is not FOLLOWED or not mode.current().grad):
                return self._without_gradient(r)
            return r
        if type(x) in (float, int, bool, Ref):
            return x
        if not isinstance(x, Value) and type(x) not in MODULES:
            if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):
                return x.item()
            raise Untraceable(f"an op is given a {type(x).__name__}")
        if id(x) not in self._constants:
            array = x.array if isinstance(x, Value) else x
            self._constants[id(x)] = r = self.ref(Type(tuple(array.shape), array.dtype))
            self.block.constants.append(r)
            self.values.append(x)
            if self.follows and getattr(x, "vertex", None) is not None:
                self._followed.add(r)
        r = self._constants[id(x)]
        return r if r not in self._followed or mode.current().grad else self._without_gradient(r)

    def _without_gradient(self, r: Ref) -> Ref:
        if r not in self._detached:
            self._detached[r] = self.ref(r.type)
            self.block.instructions.append(Instr(DETACHED, (r,), {}, (self._detached[r],)))
        return self._detached[r]

    def emit(self, op: Primitive, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Called in the place of an op: its results."""
        operands = tuple([self.operand(a) for a in args])
        if op.name == "cast" and type(operands[0]) is Ref and operands[0].dtype == settings["dtype"]:
            return args[0]  # which it is already
        chosen = {**op.defaults, **settings}
        if any(r.dtype.kind == "b" for v in chosen.values() for r in refs_in(v)):
            raise Untraceable(f"the shape of what {op.name} returns depends on values")
        types, several = result_types(op, self._long_enough(op, operands, chosen), chosen)
        outs = tuple([self.ref(t) for t in types])
        self.block.instructions.append(Instr(op, operands, chosen, outs, several))
        if not any(isinstance(a, Value) for a in args):
            found: list[Any] = [*outs]
        else:
            goes = op.has_rules and not self._followed.isdisjoint(r for r in operands if type(r) is Ref)
            found = [self.tensor(r, goes and r.dtype.kind == "f") for r in outs]
        return tuple(found) if several else found[0]

    def changed(self, x: Any, op: Callable[..., Any], other: Any) -> Any:
        """`x += other` and the like: the tensor is another value from here on. Where others look at the same
        memory this is not what the op does to them, and the trace ends.
        """
        r, instructions = x.array, self.block.instructions
        if type(r) is not Ref or not any(
            any(r is o for o in i.outs) and i.op.view is Look.never for i in instructions
        ):
            raise Untraceable("it changes a value in place that others may look at")
        if any(i.op.view is not Look.never and i.args[0] is r for i in instructions):
            raise Untraceable("it changes a value in place of which a view was taken")
        new = op(x, other)
        if (new.shape, new.dtype) != (x.shape, x.dtype):
            raise Untraceable("it changes a value in place to another shape or type")
        x.array, x.vertex = new.array, new.vertex
        return x

    def changes(self, name: str) -> None:
        """Called before a tensor is changed in its memory."""
        raise Untraceable(f"{name}: it changes a tensor in place")

    def _long_enough(self, op: Primitive, operands: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """The operands; a constant that is cut to [:n] has a row for each of this trace's batch."""
        if self.is_real or op is not PICK or not any(operands[0] is c for c in self.block.constants):
            return operands
        (shape, dtype), index = operands[0].type, settings["index"]
        first = index[0] if type(index) is tuple and index else index
        if not shape or not 1 < shape[0] < self.n or type(first) is not slice or first != slice(self.n):
            return operands
        return (Ref(-1, Type((self.n, *shape[1:]), dtype)), *operands[1:])


class TracedArrays(ArrayModule):
    """The array library of Refs: what may be asked of a value that is not computed yet."""

    name = "traced"
    device_type = "traced"
    array_type = Ref
    library: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Untraceable(f"it asks for {name!r} of a value that is not computed yet")

    def _created(self, function: str, *arguments: Any, dtype: Any = None) -> Any:
        settings = {"function": function, "arguments": arguments, "dtype": dtype and np.dtype(dtype)}
        return mode.current().tracer.emit(CREATED, (), settings)

    def full(self, shape: Any, value: float, dtype: Any = None) -> Any:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return self._created("full", shape, value, dtype=dtype if dtype is not None else "float64")

    def arange(self, n: int, dtype: Any = None) -> Any:
        return self._created("arange", n, dtype=dtype)

    def eye(self, n: int, dtype: Any = "float64") -> Any:
        return self._created("eye", n, dtype=dtype)

    def zeros(self, shape: Any, dtype: Any = "float64") -> Any:
        return self.full(shape, 0, dtype)

    def ones(self, shape: Any, dtype: Any = "float64") -> Any:
        return self.full(shape, 1, dtype)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return e.where(condition, a, b)

    def isfinite(self, x: Any) -> Any:
        return e.isfinite(x)

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        return e.clip(x, low, high)

    def to_numpy(self, array: Any) -> Any:
        raise Untraceable("it asks for a value that is not computed yet")

    def from_numpy(self, array: Any) -> Any:
        return array

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        if type(x) is Ref and dtype in (None, x.dtype):
            return x
        return find("numpy").asarray(x, dtype=dtype)

    def broadcast_to(self, x: Any, shape: Any) -> Any:
        return broadcast_to(x, tuple(shape))


MODULES[Ref] = TracedArrays()
_METHODS = (e.add, e.sub, e.mul, e.remainder, e.eq, e.ne, e.lt, e.le, e.gt, e.ge, e.logical_or, e.logical_and)
Ref.methods.update(
    {op.__name__: op for op in (*_METHODS, reshape, getitem)},
    astype=lambda x, dtype, copy=True: cast(x, dtype=dtypes.as_dtype(dtype)),
    max=lambda x, axis, keepdims=False: amax(x, axis, keepdims),
)
_known_types: dict[Any, Any] = {}


def result_types(
    op: Primitive, operands: tuple[Any, ...], settings: dict[str, Any]
) -> tuple[list[Type], bool]:
    """The types of an op's results, and whether they come as a tuple: it is run on arrays of ones."""

    def stand_in(x: Any) -> Any:
        return x.type if type(x) is Ref else (type(x), x)  # 1 == 1.0

    key: Any = (op, each_part(operands, stand_in), tuple(each_part([*settings.items()], stand_in)))
    try:
        if key in _known_types:
            return _known_types[key]
    except TypeError:  # a setting that cannot be a key
        key = None
    with tracing(None), np.errstate(all="ignore"):
        given = each_part(operands, lambda x: np.ones(x.shape, x.dtype) if type(x) is Ref else x)
        chosen = each_part(
            [*settings.values()], lambda x: np.zeros(x.shape, x.dtype) if type(x) is Ref else x
        )
        y = op.call(*given, **dict(zip(settings, chosen, strict=True)))
    several = type(y) is tuple
    found = [Type(tuple(a.shape), a.dtype) for a in (y if several else (y,))], several
    if key is not None:
        _known_types[key] = found
    return found


def trace(
    function: Callable[..., Sequence[Any]],
    types: Sequence[Type],
    tracer: Callable[[bool], Tracer] = Tracer,
    also: Iterable[int] = (),
) -> Traced:
    """The block of `function`, which is given a tensor of each type and returns a list of tensors.

    Raises Untraceable with the reason where there is no such block. `tracer` makes what writes down the ops.
    `also`: other batch sizes at which it must be the same block.
    """
    sizes = sizes_for(types)
    follows = mode.current().grad
    one, other = (_trace_at(n, function, types, tracer(follows)) for n in sizes)
    found = unified((one, other), sizes)
    for n in also:
        if not n:
            continue
        real = tracer(follows)
        real.is_real = True
        there = _trace_at(n, function, types, real)
        twin, size = (one, sizes[0]) if n == sizes[1] else (other, sizes[1])
        if unified((there, twin), (n, size)).block.key != found.block.key:
            raise Untraceable(f"it does something else for a batch size of {n}")
    return found


def sizes_for(types: Iterable[Type]) -> tuple[int, int]:
    """Two batch sizes that no axis of these types has: what compares sizes takes them for what they are."""
    taken = {size for t in types for size in t.shape}
    one, other, *_ = [n for n in SIZES if n not in taken]
    return one, other


def _trace_at(
    n: int, function: Callable[..., Sequence[Any]], types: Sequence[Type], tracer: Tracer
) -> Traced:
    tracer.n = n
    with noting_draws() as draws, tracing(tracer):
        try:
            results = function(*(tracer.param(Type(t.at(n), t.dtype)) for t in types))
            tracer.block.results = [None if r is None else tracer.operand(r) for r in results]
        except Untraceable:
            raise
        except Exception as error:  # whatever it is, running the function says it again
            raise Untraceable(_reason(error)) from error
        finally:
            draws.undo()
            results = ()
    if draws.states:
        raise Untraceable("it draws random numbers")
    if any(made() is not None for made in tracer.made):
        gc.collect()  # a function that calls itself is in a cycle, and holds what it was given
    if any(made() is not None for made in tracer.made):
        _take_back([made() for made in tracer.made])
        raise Untraceable("a value of one call is held after it, by a list, an attribute or a closure")
    return Traced(tracer.block, tracer.values, asked=tracer.asked)


def _reason(error: Exception) -> str:
    if isinstance(error, AttributeError) and type(getattr(error, "obj", None)) is Ref:
        return f"it asks for {error.name!r} of a value that is not computed yet"
    return f"{type(error).__name__}: {error}"


def _take_back(tensors: list[Any]) -> None:
    """Removes tensors of a trace from the lists, dicts and sets that hold them."""
    for tensor in tensors:
        for holder in gc.get_referrers(tensor) if tensor is not None else ():
            if holder is tensors:
                continue
            if type(holder) is list:
                holder[:] = [x for x in holder if x is not tensor]
            elif type(holder) is dict:
                for key in [k for k, v in holder.items() if v is tensor]:
                    del holder[key]
            elif type(holder) is set:
                holder.discard(tensor)


def unified(traced: Sequence[Traced], sizes: tuple[int, int]) -> Traced:
    """The block that two are at two batch sizes."""
    one, other = traced
    return _Unifier(one, other, sizes).unify()


def _numbers_in(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


class _Unifier:
    def __init__(self, one: Traced, other: Traced, sizes: tuple[int, int]) -> None:
        self.one, self.other, self.sizes = one, other, sizes
        self.block = Block()
        self.values: list[Any] = []
        self.refs: dict[Ref, Ref] = {}  # of `one`: those of the new block
        self.twins: dict[Ref, Ref] = {}  # of `one`: those of `other`

    def unify(self) -> Traced:
        a, b = self.one.block, self.other.block
        if [i.op for i in a.instructions] != [i.op for i in b.instructions]:
            raise Untraceable("it calls other ops for another batch size")
        if len(a.constants) != len(b.constants):
            raise Untraceable("it reads other tensors for another batch size")
        self.block.params = [self._new(r, s) for r, s in zip(a.params, b.params, strict=True)]
        for pair in zip(a.constants, b.constants, self.one.constants, self.other.constants, strict=True):
            self._constant(*pair)
        for i, j in zip(a.instructions, b.instructions, strict=True):
            args = self._merged(i.args, j.args, i.op.name)
            settings = {k: self._merged(v, j.settings[k], i.op.name) for k, v in i.settings.items()}
            outs = tuple([self._new(r, s) for r, s in zip(i.outs, j.outs, strict=True)])
            self.block.instructions.append(Instr(i.op, args, settings, outs, i.several))
            self._check_view(self.block.instructions[-1])
        self.block.results = self._merged(a.results, b.results, "return")
        return Traced(self.block, self.values, asked=self.one.asked or self.other.asked)

    def _check_view(self, instr: Instr) -> None:
        """What is taken apart must be so where no number is in the way that moves with the batch size."""
        if not isinstance(instr.op.view, Look) and any(
            x is N for x in _numbers_in(instr.settings.get("sizes"))
        ):
            raise Untraceable(f"{instr.op.name} takes rows of a batch apart")

    def _new(self, r: Ref, s: Ref) -> Ref:
        shape = self._merged(r.shape, s.shape, "a value")
        self.refs[r] = Ref(len(self.refs), Type(shape, r.dtype))
        self.twins[r] = s
        return self.refs[r]

    def _constant(self, r: Ref, s: Ref, value: Any, other: Any) -> None:
        if value is other:
            self.block.constants.append(self._new(r, s))
            self.values.append(value)
            return
        x, y = (v.array if isinstance(v, Value) else v for v in (value, other))
        if x.shape == y.shape and x.dtype == y.dtype and bool((x == y).all()):
            self.block.constants.append(self._new(r, s))
            self.values.append(value)
            return
        number = float(x.reshape(-1)[0]) if x.size else 0.0
        if not all(bool((each == number).all()) for each in (x, y)):
            raise Untraceable("it makes a tensor that is another for another batch size")
        out = self._new(r, s)  # one number in every place
        settings = {"function": "full", "arguments": (out.shape, number), "dtype": r.dtype}
        self.block.instructions.append(Instr(CREATED, (), settings, (out,)))

    def _merged(self, x: Any, y: Any, name: str) -> Any:
        """A setting of both, with N for what moved with the batch size."""
        x, y = (tuple(v) if type(v) is Size else v for v in (x, y))
        if type(x) is not type(y):
            raise Untraceable(f"{name} differs with the batch size: {x!r} and {y!r}")
        if type(x) in (tuple, list) and len(x) == len(y):
            return type(x)(self._merged(p, q, name) for p, q in zip(x, y, strict=True))
        if type(x) is slice:
            return slice(
                *(self._merged(getattr(x, k), getattr(y, k), name) for k in ("start", "stop", "step"))
            )
        if type(x) is Ref:
            if self.twins.get(x) is not y:
                raise Untraceable(f"{name} reads another value for another batch size")
            return self.refs[x]
        if type(x) is int and (x, y) == self.sizes:
            return N
        if (
            x is y
            or (hasattr(x, "dtype") and hasattr(x, "shape") and bool((x == y).all()))
            or x == y
            or x != x
        ):
            return x
        raise Untraceable(f"{name} differs with the batch size: {x!r} and {y!r}")
