"""A placed block as one C function over all time steps: what interpret.py is, without Python between calls.

A step is a list of phases, one for each instruction: a product with a matrix that is packed once, a loop over
what is computed element by element (a group of instructions, in registers), a sum along rows. Each thread
does all phases of all steps for its rows of the batch, so that threads never wait for each other. Nothing
here knows a cell.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...backend import find
from ...backend.native import native
from ...engine import REGISTRY, Look
from ..ir import Block, Instr, N, Ref
from ..passes.groups import Group
from ..passes.place import Cut, Memory, Place, Placement
from .calls import Calls
from .functions import HELPERS

RUNTIME = Path(__file__).with_name("runtime.h")
SUM, AMAX, BROADCAST, PUT = (REGISTRY[name] for name in ("sum", "amax", "broadcast_to", "put"))
LINEAR = REGISTRY["linear"]
LONG = 1 << 31  # multiplications of one call: some tenths of a second, so that Ctrl-C is soon served
MOVING, FIXED, MATRIX, OWN, PACKED, ROWS = range(6)  # kinds of slots, as in pool.c
WAITS = 1 << 24  # bytes of memory of its own up to which it waits for the next run
HEAD = object.__basicsize__  # bytes in front of what an object has
FLOATS = {"float32": "", "float64": "#define DOUBLE\n"}


class NotLowerable(Exception):
    """Why a block is not compiled, as a sentence."""


class Field(NamedTuple):
    """Where the rows of a value lie: which memory, from where on in its rows, how many elements; `steps` of
    the memory for each row of the batch: none for what is the same for all.
    """

    memory: int
    offset: int
    width: int
    by_row: bool


class CLoop:
    """The C of a placed block, and its runs."""

    def __init__(self, block: Block, placement: Placement, has_steps: bool = True) -> None:
        """Without `has_steps` it runs once, and arrays have no axis of time."""
        self.block, self.placement, self.places = block, placement, placement.places
        self.moving = MOVING if has_steps else ROWS
        refs = [*block.params, *block.constants, *(o for i in block.instructions for o in i.outs)]
        kinds = {r.dtype.name for r in refs if r.dtype.kind != "b"}
        if len(kinds) != 1 or not kinds <= FLOATS.keys():
            raise NotLowerable(f"values are {', '.join(sorted(kinds))}; float32 alone or float64 alone is")
        if not all(r.dtype.isnative for r in refs):
            raise NotLowerable("numbers in another byte order")
        self.dtype = np.dtype(kinds.pop())
        self.slots: dict[Any, int] = {}  # of memories (a carry is two), constants and packed matrices
        self.packed: dict[tuple[Ref, bool], int] = {}  # by matrix and whether it is turned around
        self.packs: list[str] = []
        self.read: set[Ref] = set()  # element by element
        self.work = 0  # multiplications in a row of a step
        self.uniform = {o: i for i in placement.uniform for o in i.outs}
        self._uniform = Calls(Block([], block.constants, placement.uniform, [*self.uniform]))
        phases = [*self._copies(-1)]
        position = {id(i): k for k, i in enumerate(block.instructions)}
        for instr in placement.instructions:
            phases += self._phase(instr)
            phases += self._copies(position[id(instr)])
        phases += self._copies(len(block.instructions))
        if any(matrix in self.read for matrix, _ in self.packed):
            raise NotLowerable("a matrix that is read element by element, too")
        self.source = self._source(phases)

    # ------------------------------------------------------------ text

    def _source(self, phases: Sequence[str]) -> str:
        body = "\n".join(phases)
        start = [self._begin(key, k) for key, k in self.slots.items()]
        return "\n".join([
            *preamble(self.dtype, body), "/* the loop */",
            "EXPORT void prepare(const Call* call) {", "  (void)call;", *self.packs, "}", "",
            "EXPORT void rows(const Call* call, Index r0, Index r1) {",
            "  const Index n = call->n;", "  (void)n;",
            "  for (Index s = 0; s < call->n_steps; s++) {",
            "    const Index t = call->first + s * call->by, turn = (call->done + s) & 1;",
            "    (void)t, (void)turn;", *start, body, "  }", "}\n",
        ])  # fmt: skip

    def _begin(self, key: Any, k: int) -> str:
        """The line that says where a memory lies at a step."""
        kind = "unsigned char" if self._is_bool(key) else "T"
        time = "0"
        if type(key) is tuple and type(key[0]) is Memory:
            memory, side = key
            if memory.kind == "carry":  # the value before the first step lies where the time begins
                is_before = side == "before"
                if memory.stored:
                    time = f"t + (call->by {'<' if is_before else '>'} 0)"
                else:
                    time = "turn" if is_before else "1 - turn"
            elif memory.kind not in ("scratch", "fresh"):
                time = "t"
        return (
            f"    {kind}* const m{k} = ({kind}*)call->memory[{k}] + ({time}) * call->step[{k}]; "
            f"const Index d{k} = call->row[{k}]; (void)m{k}, (void)d{k};"
        )

    def _is_bool(self, key: Any) -> bool:
        kind = (
            key[0].type.dtype
            if type(key) is tuple and type(key[0]) is Memory
            else getattr(key, "dtype", self.dtype)
        )
        return bool(kind.kind == "b")

    def _slot(self, key: Any) -> int:
        return self.slots.setdefault(key, len(self.slots))

    def _copies(self, position: int) -> list[str]:
        return [self._copy(r, place) for k, r, place in self.placement.copies if k == position]

    def _copy(self, r: Ref, place: Place) -> str:
        to, inner = self._field_of(place), r.shape[1:]
        if r.shape[:1] != (N,) or to.width != math.prod(inner):
            raise NotLowerable("a copy of what is no row for each of the batch")
        return (
            f"    for (Index r = r0; r < r1; r++)\n      for (Index c = 0; c < {to.width}; c++)\n"
            f"        {self._at(to)} = {self._operand(r, inner)};"
        )

    # ------------------------------------------------------------ where values lie

    def _field(self, r: Ref) -> Field:
        place = self.places[r]
        if place.memory.kind == "constant":
            by_row = r.ndim > 0 and r.shape[0] is N
            return Field(self._slot(r), 0, math.prod(r.shape[1:] if by_row else r.shape), by_row)
        return self._field_of(place)

    def _field_of(self, place: Place) -> Field:
        memory = place.memory
        shape, strides, offset = [*memory.type.shape], [], 0
        if not shape or shape[0] is not N or N in shape[1:]:
            raise NotLowerable("a value that is no row for each of the batch")
        strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]  # type: ignore[arg-type]
        for view in place.views:
            if type(view) is tuple:
                shape, strides, offset = _cut(view, shape, strides, offset)
            elif isinstance(view, Instr) and view.op.view is Look.where_it_can and _follow(shape, strides):
                shape = [*view.out.shape]
                strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]  # type: ignore[arg-type]
                if shape[0] is not N or N in shape[1:]:
                    raise NotLowerable("rows are laid out otherwise")
            elif isinstance(view, Instr) and view.op is BROADCAST and all(s == 1 for s in shape[1:]):
                continue  # a number for each row, wherever it is read
            else:
                raise NotLowerable("a view that is no piece of rows")
        if not _follow(shape, strides):
            raise NotLowerable("a view of pieces that do not follow each other")
        return Field(self._slot((memory, place.side)), offset, math.prod(shape[1:]), True)  # type: ignore[arg-type]

    def _at(self, f: Field, column: str = "c") -> str:
        row = f"r * d{f.memory} + " if f.by_row else ""
        return f"m{f.memory}[{row}{f.offset} + {column}]"

    def _operand(self, x: Any, inner: tuple[Any, ...]) -> str:
        """An argument of an elementwise instruction whose rows have the shape `inner`."""
        if type(x) is not Ref:
            return literal(x)
        f, width = self._field(x), math.prod(inner)
        self.read.add(x)
        own = x.shape[1:] if f.by_row or (x.ndim > len(inner) and x.shape[0] == 1) else x.shape
        if f.width == 1 and width != 1:
            return self._at(f, "0")
        if f.width != width or tuple(s for s in own if s != 1) != tuple(s for s in inner if s != 1):
            raise NotLowerable("a broadcast along an axis in the middle")
        return self._at(f)

    # ------------------------------------------------------------ phases

    def _phase(self, instr: Instr) -> list[str]:
        if instr in self.placement.joined:
            return []
        if isinstance(instr.op, Group):
            names = dict(zip(instr.op.block.params, instr.args, strict=True))
            wanted = dict(zip(instr.op.block.results, instr.outs, strict=True))
            return [self._elements(instr.op.block.instructions, names, wanted)]
        if instr.op.elementwise and instr.op.c and len(instr.outs) == 1:
            return [self._elements([instr], {}, {instr.out: instr.out})]
        if instr.op.product or instr.op is LINEAR:
            return [self._product(instr)]
        if instr.op.view is Look.where_it_can and type(instr.args[0]) is Ref:
            return [self._in_order(instr.args[0], instr.out)]
        if instr.op is PUT:
            return [self._put(instr)]
        if instr.op in (SUM, AMAX) and instr.settings["axes"] and 0 not in instr.settings["axes"]:
            return [self._along_rows(instr)]
        raise NotLowerable(f"{instr.op.name} is not written in C")

    def _elements(
        self, instructions: Sequence[Instr], given: Mapping[Ref, Any], wanted: Mapping[Any, Ref]
    ) -> str:
        """Instructions of one shape in one pass over its elements."""
        inner = instructions[0].out.shape[1:]
        if instructions[0].out.shape[:1] != (N,) or N in inner:
            raise NotLowerable("a value that is no row for each of the batch")
        width, names, lines = math.prod(inner), {}, []  # type: ignore[var-annotated]

        def name(x: Any) -> str:
            if type(x) is not Ref:
                return literal(x)
            if x not in names:
                names[x] = f"v{len(names)}"
                lines.append(f"const {_kind(x)} {names[x]} = {self._operand(given.get(x, x), inner)};")
            return names[x]

        for i in instructions:
            args = [name(a) for a in i.args]
            names[i.out] = f"v{len(names)}"
            lines.append(statement(i, args, names[i.out]))
        for r, out in wanted.items():
            to = self._field(out)
            if to.width != width:
                raise NotLowerable("a result of another shape")
            lines.append(f"{self._at(to)} = {names[r]};")
        text = "\n".join(f"        {line}" for line in lines)
        loop = f"      for (Index c = 0; c < {width}; c++) {{\n{text}\n      }}"
        return f'    for (Index r = r0; r < r1; r++) {{\n      _Pragma("GCC ivdep")\n{loop}\n    }}'

    def _in_order(self, x: Ref, out: Ref) -> str:
        """The same elements of each row, in another shape."""
        a, y = self._field(x), self._field(out)
        if not a.by_row or a.width != y.width:
            raise NotLowerable("rows are laid out otherwise")
        return (
            f"    for (Index r = r0; r < r1; r++)\n      for (Index c = 0; c < {y.width}; c++)\n"
            f"        {self._at(y)} = {self._at(a)};"
        )

    def _put(self, instr: Instr) -> str:
        """Zeros, with pieces of rows added where they belong."""
        out, lines = self._field(instr.out), []
        strides = [math.prod(instr.out.shape[k + 1 :]) for k in range(instr.out.ndim)]
        for piece, index in zip(instr.args, instr.settings["indices"], strict=True):
            parts = index if type(index) is tuple else (index,)
            cuts = tuple([Cut(p.start, p.stop, p.step) if type(p) is slice else p for p in parts])
            shape, own, offset = _cut(cuts, [*instr.out.shape], strides, 0)
            width = math.prod(shape[1:])
            if type(piece) is not Ref or piece.shape[:1] != (N,) or not _follow(shape, own):
                raise NotLowerable("pieces that do not follow each other")
            to = self._at(out._replace(offset=out.offset + offset))
            lines.append(
                f"      for (Index c = 0; c < {width}; c++) {to} += {self._operand(piece, shape[1:])};"
            )
        zeros = f"      for (Index c = 0; c < {out.width}; c++) {self._at(out)} = 0;"
        return "\n".join(["    for (Index r = r0; r < r1; r++) {", zeros, *lines, "    }"])

    def _product(self, instr: Instr) -> str:
        left, right = instr.args[-2:]
        if type(left) is not Ref or type(right) is not Ref or left.ndim != 2 or right.ndim != 2:
            raise NotLowerable("a product of other than two matrices")
        if (
            self.places[right].memory.kind != "constant"
            or N in right.shape
            or self.places[left].memory.kind == "constant"
        ):
            raise NotLowerable("a product of two values that change")
        turned = instr.op is LINEAR  # x @ weight^T
        (k, m), a, y = right.shape[:: -1 if turned else 1], self._field(left), self._field(instr.out)
        if (a.width, y.width) != (k, m):
            raise NotLowerable("a product of a number for each row")
        matrix = self._slot(right)
        if (right, turned) not in self.packed:
            packed = self.packed[right, turned] = self._slot(("packed", right, turned))
            down, across = f"call->step[{matrix}]", f"call->row[{matrix}]"
            ways = f"{across}, {down}" if turned else f"{down}, {across}"
            self.packs.append(f"  pack(call->memory[{matrix}], {ways}, {k}, {m}, call->memory[{packed}]);")
        self.work += k * m
        plus = "0, 0"
        if len(instr.args) == 3:
            added = instr.args[0]
            if type(added) is not Ref or added.shape[-1:] != (m,):
                raise NotLowerable("a sum of a product and a number")
            f = self._field(added)
            plus = f"m{f.memory} + {f.offset}" + (f" + r0 * d{f.memory}, d{f.memory}" if f.by_row else ", 0")
        one, other = (f"m{f.memory} + r0 * d{f.memory} + {f.offset}, d{f.memory}" for f in (a, y))
        return f"    product({one}, m{self.packed[right, turned]}, {k}, {m}, {other}, {plus}, r1 - r0);"

    def _along_rows(self, instr: Instr) -> str:
        """A sum or a maximum of each row."""
        x, y = instr.args[0], self._field(instr.out)
        if type(x) is not Ref or y.width != 1:
            raise NotLowerable("a sum along a part of the rows")
        f = self._field(x)
        if not f.by_row or f.width != math.prod(x.shape[1:]):
            raise NotLowerable("a sum of what is the same for all rows, or all along them")
        if instr.op is SUM:
            pragma, start, more = '_Pragma("omp simd reduction(+ : total)") ', "0", "total += x;"
        else:
            pragma, start, more = "", "-infinite()", "total = x > total || x != x ? x : total;"
        return "\n".join([
            "    for (Index r = r0; r < r1; r++) {", f"      T total = {start};",
            f"      {pragma}for (Index c = 0; c < {f.width}; c++) {{ const T x = {self._at(f)}; {more} }}",
            f"      {self._at(y, '0')} = total;", "    }",
        ])  # fmt: skip

    # ------------------------------------------------------------ runs

    def compile(self) -> None:
        """Raises OSError where that cannot be done."""
        library = native.load(self.source)
        self.functions = tuple(ctypes.cast(f, ctypes.c_void_p).value for f in (library.prepare, library.rows))
        self._library = library  # which lives as long as its functions are called
        slots: list[int] = []
        self._memories: list[tuple[int, Memory, bool]] = []  # slots of memory that is brought; if by the user
        # Slots of constants: which of these and of what is uniform, the type, if they may lie as they like.
        self._fixed: list[tuple[int, int, Any, bool]] = []
        positions = {r: k for k, r in enumerate([*self.block.constants, *self.uniform])}
        for key, k in self.slots.items():
            kind, item, row = self._described(key)
            slots += [kind, item, row]
            if kind in (MOVING, ROWS):
                self._memories.append((k, key[0], key[0].kind == "given"))
            elif kind in (FIXED, MATRIX):
                self._fixed.append((k, positions[key], key.dtype, kind == MATRIX))
        self._blank = array("q", bytes(8 * len(self.slots)))
        self.table = array("q", slots)
        self._waiting: dict[int, list[Any]] = {}  # memory of its own for a number of rows, between two runs

    def _described(self, key: Any) -> tuple[int, int, int]:
        """A slot for pool.c: its kind, the bytes of an element, the elements of a row."""
        if type(key) is Ref:
            rows = key.shape[1:] if key.ndim and key.shape[0] is N else key.shape
            return MATRIX if self._is_matrix(key) else FIXED, key.dtype.itemsize, math.prod(rows)
        if key[0] == "packed":
            k, m = key[1].shape[:: -1 if key[2] else 1]
            return PACKED, self.dtype.itemsize, k * (-(-m // 16) * 16)
        memory, row = key[0], math.prod(key[0].type.shape[1:])
        return OWN if memory.kind in ("scratch", "fresh") else self.moving, memory.type.dtype.itemsize, row

    def _is_matrix(self, key: Ref) -> bool:
        """Whether it comes to products, and as it lies."""
        return (key, False) in self.packed or (key, True) in self.packed

    def run(
        self,
        arrays: Mapping[Any, Any],
        values: Sequence[Any],
        n: int,
        first: int,
        by: int,
        n_steps: int,
    ) -> None:
        """Runs over n_steps steps, at the times first, first + by, ... `arrays`, by memory: of all steps
        (time, n, ...); of stored carries one more, the value before the first step, which lies in front, or
        at the end where time runs backwards; of other carries (2, n, ...). `values`: of the constants.
        """
        objects, held = self.objects(arrays, values, n)
        if len(self._waiting) > 8:  # other numbers of rows
            self._waiting.clear()
        waiting = self._waiting.setdefault(n, [])
        try:
            own = waiting.pop()
        except IndexError:  # none waits, or another thread was faster
            own = self.own_memory(n)
        each = max(1, LONG // max(1, n * self.work))
        for done in range(0, n_steps, each):
            count = min(each, n_steps - done)
            failed = native.run_loop(
                objects.buffer_info()[0], HEAD, self.table.buffer_info()[0], len(self.slots), own[1],
                *self.functions, n, first + by * done, by, count, done,
                native.threads_for(n, count * n * self.work),
            )  # fmt: skip
            if failed:
                raise MemoryError
        del held  # not before
        if own[0].nbytes <= WAITS:
            waiting.append(own)

    def objects(self, arrays: Mapping[Any, Any], values: Sequence[Any], n: int) -> tuple[Any, list[Any]]:
        """The arrays by slot, as pool.c takes them, which are to be held as long as these are used: what was
        made here is returned with them.
        """
        held: list[Any] = []
        if self.placement.uniform:
            held += self._uniform(values, n, find("numpy"))
            values = [*values, *held]
        objects = self._blank[:]
        axes = 2 if self.moving == MOVING else 1
        for k, memory, is_given in self._memories:
            x = arrays[memory]
            if is_given and not (x.flags.aligned and (x.flags.c_contiguous or _in_rows(x, axes))):
                x = np.array(x, order="C")
                held.append(x)
            objects[k] = id(x)
        for k, position, dtype, anyhow in self._fixed:
            x = values[position]
            flags = x.flags
            if x.dtype is not dtype or not (anyhow or flags.c_contiguous) or not flags.aligned:
                x = np.array(x, dtype, order="C")
                held.append(x)
            objects[k] = id(x)
        return objects, held

    def own_memory(self, n: int) -> tuple[Any, int]:
        """Memory for all that is neither given nor wanted, and where it begins."""
        size = 64
        for kind, item, row in zip(*[iter(self.table)] * 3, strict=True):
            if kind in (OWN, PACKED):
                size += -(-row * item * (n if kind == OWN else 1) // 64) * 64
        memory = np.empty(size, np.uint8)
        return memory, -(-memory.ctypes.data // 64) * 64


def preamble(dtype: Any, body: str) -> list[str]:
    """What stands before a text in C that computes in a type: runtime.h, and what it calls of HELPERS."""
    helpers = [
        f"static inline {text}" for name, text in HELPERS.items() if f"{name}(" in body and name != "infinite"
    ]
    return [FLOATS[dtype.name] + RUNTIME.read_text(), *helpers, ""]


def statement(instr: Instr, args: Sequence[str], name: str) -> str:
    """The line of C that computes an elementwise instruction of these operands."""
    text = str(instr.op.c)
    named = {k: v for k, v in instr.settings.items() if k != "dtype" and f"{{{k}}}" in text}
    settings = {k: v if type(v) is str else literal(v) for k, v in named.items()}
    return f"const {_kind(instr.out)} {name} = {text.format(*args, **settings)};"


def _in_rows(array: Any, axes: int) -> bool:
    """Whether the elements behind the first axes follow each other."""
    expected = array.dtype.itemsize
    for size, stride in zip(array.shape[: axes - 1 : -1], array.strides[: axes - 1 : -1], strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return not any(s % array.dtype.itemsize for s in array.strides)


def _cut(view: tuple[Any, ...], shape: list[Any], strides: list[int], offset: int) -> Any:
    """A shape, strides and offset after an index of slices and integers, none of them of the rows."""
    new_shape, new_strides, axis = [], [], 0
    parts = [*view]
    if Ellipsis in parts:
        k = parts.index(Ellipsis)
        parts[k : k + 1] = [Cut(None, None)] * (len(shape) - len(parts) + 1)
    for part in parts:
        if type(part) is Cut and part.step in (None, 1):
            size = shape[axis]
            if axis == 0:
                if part.start not in (None, 0) or part.stop not in (None, N):
                    raise NotLowerable("a part of the rows")
                start, stop = 0, size
            else:
                start, stop, _ = slice(part.start, part.stop).indices(size)
            offset += start * strides[axis]
            new_shape.append(size if axis == 0 else stop - start)
            new_strides.append(strides[axis])
        elif type(part) is int and axis:
            offset += (part + shape[axis] if part < 0 else part) * strides[axis]
        else:
            raise NotLowerable("an index that is no piece of rows")
        axis += 1
    return new_shape + shape[axis:], new_strides + strides[axis:], offset


def _follow(shape: Sequence[Any], strides: Sequence[int]) -> bool:
    """Whether the elements of a row follow each other."""
    expected = 1
    for size, stride in zip(reversed(shape[1:]), reversed(strides[1:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _kind(r: Ref) -> str:
    return "int" if r.dtype.kind == "b" else "T"


def literal(x: Any) -> str:
    """A number as it stands in C."""
    if x is N:
        return "T(n)"
    if isinstance(x, bool):
        return "1" if x else "0"
    if isinstance(x, int | float):
        if math.isnan(x):
            return "(infinite() - infinite())"
        return f"T({float(x)!r})" if math.isfinite(x) else "infinite()" if x > 0 else "(-infinite())"
    raise NotLowerable(f"a setting that is a {type(x).__name__}")
