"""The IR: a function of arrays, read once, as a list of instructions.

    %3: float32[n, 64] = addmm(%0, %1, %2)
    %4, %5: float32[n, 32] = split(%3, sizes=(32, 32), axis=1)
    %6: float32[n, 32] = tanh(%4)
    return %6

Every value has a type, its shape and the kind of its numbers. `n` in a shape is the batch size: a block
serves any. `Block.run` is what a block means: it calls the ops, on arrays, on tensors, which builds a graph,
or, while another block is being traced, on values of that one. Everything else in this package makes blocks
(trace.py, reverse.py), turns blocks into blocks (passes/), or makes something faster of one (lower/).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..backend import array_module
from ..engine import Primitive, Value, mode


class Key:
    """A nested tuple that is hashed once."""

    __slots__ = ("_hash", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts, self._hash = parts, hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Key and self.parts == other.parts)


class _BatchSize:
    """The number that differs from run to run of a block."""

    def __repr__(self) -> str:
        return "n"


N = _BatchSize()
Size = int | _BatchSize


class Type(NamedTuple):
    """What is known of a value before it is computed."""

    shape: tuple[Size, ...]
    dtype: Any

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def at(self, n: int) -> tuple[int, ...]:
        """The shape where the batch size is n."""
        return tuple(n if size is N else size for size in self.shape)  # type: ignore[misc]


class Ref:
    """One value of a block, computed once. While a block is traced a Ref is the array of a tensor: it knows
    its shape and dtype, and asking for more ends the trace (trace.py).
    """

    __slots__ = ("__weakref__", "id", "type")

    def __init__(self, id: int, type: Type) -> None:
        self.id, self.type = id, type

    def __repr__(self) -> str:
        return f"%{self.id}"

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> int:
        return math.prod(self.type.shape)  # type: ignore[arg-type]  # while a block is traced, of numbers

    def __bool__(self) -> bool:
        raise TypeError("it branches on a value that is not computed yet")

    # What ops do with arrays by methods and operators emits instructions, too; trace.py says which.
    methods: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        method = self.methods.get(name)
        if method is None:
            raise AttributeError(f"a value that is not computed yet has no {name!r}", name=name, obj=self)
        return functools.partial(method, self)

    def __eq__(self, other: object) -> Any:
        """Whether it is the same value; while a block is traced, the op."""
        return self is other if mode.current().tracer is None else self.methods["eq"](self, other)

    def __ne__(self, other: object) -> Any:
        return self is not other if mode.current().tracer is None else self.methods["ne"](self, other)

    __hash__ = object.__hash__


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, other: self.methods[name](self, other)


for _symbol, _name in {
    "getitem": "getitem", "add": "add", "radd": "add", "mul": "mul", "rmul": "mul", "sub": "sub",
    "mod": "remainder", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "or": "logical_or",
    "and": "logical_and",
}.items():  # fmt: skip
    setattr(Ref, f"__{_symbol}__", _operator(_name))


def primitive_of(op: Any) -> Primitive:
    """The primitive behind an op."""
    spec: Primitive = op.primitive
    return spec


Operand = Ref | float | _BatchSize  # a value, or a number


@dataclass(frozen=True, eq=False)
class Instr:
    """outs = op(*args, **settings). Numbers in args and settings may be N; settings may hold Refs."""

    op: Primitive
    args: tuple[Operand, ...]
    settings: dict[str, Any]
    outs: tuple[Ref, ...]
    several: bool = False  # whether the op returns a tuple

    @property
    def out(self) -> Ref:
        """The result of an op that has one."""
        return self.outs[0]

    def reads(self) -> Iterator[Ref]:
        """The values that it reads."""
        for x in (*self.args, *self.settings.values()):
            yield from refs_in(x)

    def __str__(self) -> str:
        given = [*map(_text, self.args), *(f"{k}={_text(v)}" for k, v in self.settings.items())]
        return f"{', '.join(map(str, self.outs))}: {self.out.type} = {self.op.name}({', '.join(given)})"


@dataclass(eq=False)
class Block:
    """Parameters, constants, instructions in order, results. A constant is a value from outside that no
    parameter brings in: a weight. A result is None where there is none, such as a gradient that is zero.
    """

    params: list[Ref] = field(default_factory=list)
    constants: list[Ref] = field(default_factory=list)
    instructions: list[Instr] = field(default_factory=list)
    results: list[Ref | None] = field(default_factory=list)

    def run(self, arguments: Iterable[Any], constants: Iterable[Any], n: int, xp: Any = None) -> list[Any]:
        """Calls the ops one after the other and returns the results. `xp` is the array library, which is
        needed where nothing is given.
        """
        env: dict[Ref, Any] = dict(zip(self.params, arguments, strict=True))
        env.update(zip(self.constants, constants, strict=True))
        given = next(iter(env.values()), None)
        if given is not None:
            xp = array_module(getattr(given, "array", given))
        for instr in self.instructions:
            settings = {k: setting(v, env, n, xp) for k, v in instr.settings.items()}
            if instr.args:
                made = instr.op.call(*[resolved(a, env, n) for a in instr.args], **settings)
            else:  # of the library that the others are of
                made = instr.op.forward(xp, **settings)
            env.update(zip(instr.outs, made if instr.several else (made,), strict=True))
        return [None if r is None else env[r] for r in self.results]

    @functools.cached_property
    def key(self) -> Key:
        """Equal for blocks that do the same, whatever their Refs are called."""
        ids: dict[Ref, int] = {}
        for ref in (*self.params, *self.constants, *(o for i in self.instructions for o in i.outs)):
            ids[ref] = len(ids)
        return Key((
            tuple([r.type for r in self.params]), tuple([r.type for r in self.constants]),
            tuple([
                (i.op, frozen(i.args, ids), frozen(i.settings, ids), len(i.outs))
                for i in self.instructions
            ]),
            tuple([None if r is None else ids[r] for r in self.results]),
        ))  # fmt: skip

    def makers(self) -> dict[Ref, Instr]:
        """Which instruction computes each value."""
        return {out: instr for instr in self.instructions for out in instr.outs}

    def readers(self) -> dict[Ref, list[Instr]]:
        """Which instructions read each value."""
        found: dict[Ref, list[Instr]] = {}
        for instr in self.instructions:
            for ref in dict.fromkeys(instr.reads()):
                found.setdefault(ref, []).append(instr)
        return found

    def depending_on(self, refs: Iterable[Ref]) -> set[Ref]:
        """These values and all that are computed from them."""
        found = {*refs}
        for instr in self.instructions:
            if not found.isdisjoint(instr.reads()):
                found.update(instr.outs)
        return found

    def mentions(self, x: Any) -> bool:
        """Whether a number, such as N, occurs in the instructions or in the shapes of their results."""
        found: list[Any] = []
        for instr in self.instructions:
            each_part([instr.args, *instr.settings.values(), *(o.shape for o in instr.outs)], found.append)
        return any(part is x for part in found)

    def __str__(self) -> str:
        head = [f"({', '.join(f'{r}: {r.type}' for r in self.params)})"]
        if self.constants:
            head.append(f"constants {', '.join(f'{r}: {r.type}' for r in self.constants)}")
        return "\n".join(
            [*head, *(f"  {i}" for i in self.instructions), f"  return {_text(self.results)[1:-1]}"]
        )


class Builder:
    """Writes the instructions of a block that takes the place of another, with the same parameters."""

    def __init__(self, block: Block) -> None:
        self.params, self.constants = block.params, block.constants
        self.instructions: list[Instr] = []
        known = [*block.params, *block.constants, *(o for i in block.instructions for o in i.outs)]
        self._next = 1 + max((r.id for r in known), default=-1)

    def new(self, type: Type) -> Ref:
        self._next += 1
        return Ref(self._next - 1, type)

    def __call__(
        self, op: Any, *args: Any, type: Type | None = None, outs: tuple[Ref, ...] = (), **settings: Any
    ) -> Any:
        """Adds a call of an op, with a result of this type or into these values; returns the result."""
        spec = op if isinstance(op, Primitive) else op.primitive
        outs = outs or (self.new(type),)  # type: ignore[arg-type]
        self.instructions.append(Instr(spec, args, {**spec.defaults, **settings}, outs))
        return outs[0]

    def block(self, results: Sequence[Ref | None]) -> Block:
        return Block(self.params, self.constants, self.instructions, [*results])


def each_part(x: Any, change: Callable[[Any], Any]) -> Any:
    """A setting with `change` made of each of its parts: of tuples, lists and slices go what is in them."""
    if type(x) in (tuple, list):
        return type(x)(each_part(part, change) for part in x)
    if type(x) is slice:
        return slice(each_part(x.start, change), each_part(x.stop, change), each_part(x.step, change))
    return change(x)


def refs_in(x: Any) -> list[Ref]:
    """The values that an argument or a setting reads."""
    if type(x) is Ref:
        return [x]
    if type(x) not in (tuple, list, slice):
        return []
    found: list[Ref] = []
    each_part(x, lambda part: found.append(part) if type(part) is Ref else None)
    return found


def resolved(x: Operand, env: dict[Ref, Any], n: int) -> Any:
    """An argument as an op is given it."""
    return env[x] if type(x) is Ref else n if x is N else x


def setting(x: Any, env: dict[Ref, Any], n: int, xp: Any = None) -> Any:
    """A setting as an op is given it: with arrays in it, not tensors. What a trace has read of numbers, such
    as an index, is an array on the host, and comes to the library `xp`.
    """

    def part(p: Any) -> Any:
        if type(p) is not Ref:
            return n if p is N else xp.from_numpy(p) if type(p) is np.ndarray and xp is not None else p
        value = env[p]
        return value.array if isinstance(value, Value) else value

    return each_part(x, part)


def frozen(x: Any, ids: dict[Ref, int]) -> Any:
    """A hashable stand-in for arguments or settings; what has none is equal to itself alone."""
    if isinstance(x, dict):
        return tuple([(k, frozen(v, ids)) for k, v in x.items()])
    if type(x) in (tuple, list):
        return tuple([frozen(part, ids) for part in x])
    if type(x) is slice:
        return ("slice", frozen(x.start, ids), frozen(x.stop, ids), frozen(x.step, ids))
    if type(x) is Ref:
        return ("ref", ids[x])
    if type(x) is float and (not x or x != x):
        return (float, str(x))  # 0.0 == -0.0, and a NaN is not equal to another
    if type(x) is np.ndarray and not x.dtype.hasobject:
        return ("array", x.shape, x.dtype, x.tobytes())
    try:
        hash(x)
    except TypeError:
        return ("identity", id(x))
    return (type(x), x)


def _text(x: Any) -> str:
    if type(x) in (tuple, list):
        inside = ", ".join(map(_text, x))
        return f"[{inside}]" if type(x) is list else f"({inside}{',' * (len(x) == 1)})"
    if type(x) is slice:
        bounds = ["" if b is None else _text(b) for b in (x.start, x.stop)]
        return ":".join(bounds if x.step is None else [*bounds, _text(x.step)])
    return repr(x)


def replaced(instr: Instr, by: dict[Ref, Ref]) -> Instr:
    """The instruction with other values in the place of some that it reads or computes."""

    def part(x: Any) -> Any:
        return by.get(x, x) if type(x) is Ref else x

    settings = {k: each_part(v, part) for k, v in instr.settings.items()}
    return Instr(instr.op, each_part(instr.args, part), settings, tuple(map(part, instr.outs)), instr.several)


def sub_block(block: Block, results: Sequence[Ref | None], given: Iterable[Ref] = ()) -> Block:
    """What computes these results, from the values in `given` and the parameters and constants."""
    wanted = {r for r in results if r is not None}.difference(given)
    instructions: list[Instr] = []
    for instr in reversed(block.instructions):
        if not wanted.isdisjoint(instr.outs):
            instructions.append(instr)
            wanted.update(set(instr.reads()).difference(given))
    return Block(block.params, block.constants, instructions[::-1], list(results))
