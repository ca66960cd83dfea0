"""A step as portable C99: a traced block of one row, its weights in it, without any library but C's own.

Values are followed by their addresses: a value is an array of numbers that say where each of its elements
lies, so that views, pieces and joined arrays cost nothing and need no rules; what is computed is printed as
loops over such addresses. Sums of products are one product each, elementwise instructions one loop for each
group. Nothing here knows a cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...engine import REGISTRY
from ..ir import Block, Instr, Ref, refs_in
from ..passes.groups import Group, grouped
from ..passes.parts import taken_apart
from ..passes.place import is_view
from ..passes.simplify import simplified
from ..passes.sums import ADDMM, MATMUL, quantised, rounded, sums_of, with_sums, without_fixed
from ..trace import PICK
from .addresses import MOST_RUNS, Addressed, Buffer, Line, NotPortable
from .c import NotLowerable, literal, statement

__all__ = ["Portable", "Table"]

SUM, AMAX, AMIN, LOGSUMEXP = (REGISTRY[name] for name in ("sum", "amax", "amin", "logsumexp"))
LOG_SOFTMAX, PAD = REGISTRY["log_softmax"], REGISTRY["pad"]
MOVES = {REGISTRY[name] for name in ("concat", "stack", "take_rows", "clone")}
FEW = 3  # rows of a weight that no loop goes over
PANEL = 64  # columns of a matrix that lie together


class Table(NamedTuple):
    """Numbers that stand in the file: an array of T, or of int8."""

    name: str
    values: Any
    comment: str


SLOW = re.compile("exp|tanh|sigmoid|log|pow|erf|sin|cos|gelu")


class Portable(Addressed):
    """What a step is in C. `block`: params x and states, results y and the new states, of one row; `values`:
    of its constants, NumPy arrays. With `int8` matrices are of bytes with a scale for each column.

    `tables` are the numbers, `lines` the statements; they name x, y, `state->s0`, ... and `work`, of
    `n_work` elements. `run` computes in Python what the statements do. Raises NotLowerable.
    """

    def __init__(self, block: Block, values: Sequence[Any], int8: bool = False) -> None:
        self.int8 = int8
        self.values: dict[Ref, Any] = dict(zip(block.constants, values, strict=True))
        block = without_fixed(taken_apart(simplified(block)), self.values)
        block = with_sums(block, self.values)
        self.block = rounded(block, self.values) if int8 else block
        kinds = {r.dtype for i in self.block.instructions for r in i.outs if r.dtype.kind == "f"}
        kinds |= {r.dtype for r in self.block.params if r.dtype.kind == "f"}
        if len(kinds) != 1 or not kinds <= {np.dtype("float32"), np.dtype("float64")}:
            names = ", ".join(sorted(map(str, kinds)))
            raise NotLowerable(f"its numbers are {names}; float32 alone or float64 alone is written")
        self.dtype = kinds.pop()
        self.pad = 32 // self.dtype.itemsize  # columns of a matrix are a multiple of it
        self.tables: list[Table] = []
        self.lines: list[str] = []
        super().__init__()
        self.env: dict[Ref, Any] = {}
        self._tables: dict[Any, str] = {}
        self._emit(grouped(self.block, columns=True))
        self.place(self.pad)

    def run(self, arguments: Sequence[Any]) -> list[Any]:
        """The results for these arrays, by NumPy, with the weights as they are written."""
        return self.block.run(arguments, [self.values[c] for c in self.block.constants], 1)

    # ------------------------------------------------------------ what is read

    def _line(self, addresses: Any) -> Line:
        """Addresses as one line; what lies otherwise is copied first."""
        runs = self.runs(addresses)
        if len(runs) == 1:
            return runs[0][2]
        size = int(np.asarray(addresses).size)
        to = self.scratch(size)
        for first, n, line in runs:
            self._loop(n, [f"{Line(to, first, 1).at()} = {self._read(line)};"])
        self.n_phases += 1
        return Line(to, 0, 1)

    def _read(self, line: Line, same_place: bool = False, column: str = "c") -> str:
        """An element of a line as it is read; a number where a constant has one value alone."""
        values = line.buffer.values
        if values is not None:
            if not line.stride or (line.buffer.size < 4096 and np.all(values == values.reshape(-1)[0])):
                value = float(values.reshape(-1)[line.start])
                if math.isfinite(value):
                    return literal(value)
            if not line.buffer.name:
                line.buffer.name = self._table(values, "")
        line.buffer.reads.append((self.n_phases, same_place and line.start == 0 and line.stride == 1))
        return line.at(column)

    def _table(self, values: Any, comment: str, key: Any = None) -> str:
        key = id(values) if key is None else key
        if key not in self._tables:
            self._tables[key] = f"w{len(self._tables)}"
            self.tables.append(Table(self._tables[key], values, comment))
        return self._tables[key]

    # ------------------------------------------------------------ statements

    def _emit(self, block: Block) -> None:
        for k, p in enumerate(block.params):
            name = f"state->s{k - 1}" if k else "x"
            self.env[p] = self.addresses(self.buffer(name, math.prod(p.shape)), p.shape)
        self.states = self.buffers[1:]
        for c in block.constants:
            values = np.ascontiguousarray(self.values[c])
            self.env[c] = self.addresses(self.buffer("", values.size, values), values.shape)
        absorbed, self.terms = sums_of(block)
        for instr in block.instructions:
            if instr.out not in absorbed:
                try:
                    self._instruction(instr)
                except NotLowerable as reason:
                    raise NotPortable(str(reason), instr.op.name) from reason
                self.n_phases += 1
        self._results(block)

    def _instruction(self, instr: Instr) -> None:
        op, settings = instr.op, instr.settings
        dynamic = any(refs_in(v) for v in settings.values())
        if isinstance(op, Group):
            inside = op.block
            names = dict(zip(inside.params, instr.args, strict=True))
            self._elements(inside.instructions, names, dict(zip(inside.results, instr.outs, strict=True)))
        elif op is PICK and dynamic:
            self._pick(instr)
        elif (is_view(instr) or op in MOVES) and not dynamic:
            made = op.call(*(self.env[a] for a in instr.args), **settings)  # type: ignore[index]
            self.env.update(zip(instr.outs, made if instr.several else (made,), strict=True))
        elif op is PAD:
            around = self.buffer("", 1, np.array([settings["value"]], self.dtype))
            at, widths = self.addresses(around, (1,))[0], settings["widths"]
            self.env[instr.out] = np.pad(self.env[instr.args[0]], widths, constant_values=at)  # type: ignore[index]
        elif op.elementwise and op.c and len(instr.outs) == 1:
            self._elements([instr], {}, {instr.out: instr.out})
        elif op in (MATMUL, ADDMM):
            self._product(instr)
        elif op in (SUM, AMAX, AMIN, LOGSUMEXP):
            self._reduced(instr, settings["axes"])
        elif op is LOG_SOFTMAX:
            self._reduced(instr, (settings["axis"],))
        else:
            raise NotLowerable(f"{op.name} is not written in C")

    def _loop(
        self, n: int, body: Sequence[str], before: Sequence[str] = (), after: Sequence[str] = ()
    ) -> None:
        """Lines for each of n columns."""
        inside = "\n".join(f"    {line}" for line in body)
        loop = f"  for (c = 0; c < {n}; c++) {{\n{inside}\n  }}"
        self.lines += [*(f"  {x}" for x in before), loop, *(f"  {x}" for x in after)]

    def _out(self, r: Ref, size: int | None = None) -> Buffer:
        """Memory for a result, in rows."""
        n = math.prod(r.shape)
        to = self.scratch(n if size is None else size)
        self.env[r] = self.addresses(to, r.shape)
        return to

    def _elements(self, instructions: Sequence[Instr], given: dict[Ref, Any], wanted: dict[Any, Ref]) -> None:
        """Instructions of one shape, in one loop for each of their levels."""
        levels = _levels(instructions)
        last = max(levels.values())
        for level in range(last + 1):
            own = [i for i in instructions if levels[i.out] == level]
            later = {a for i in instructions if levels[i.out] > level for a in i.args if type(a) is Ref}
            results = {i.out: wanted.get(i.out, i.out) for i in own if i.out in wanted or i.out in later}
            self._in_one_loop(own, given, results)
            given = {**given, **results}
            self.n_phases += level < last

    def _in_one_loop(
        self, instructions: Sequence[Instr], given: dict[Ref, Any], wanted: dict[Any, Ref]
    ) -> None:
        """Instructions of one shape in one pass over its elements."""
        shape = instructions[0].out.shape
        read = [given.get(a, a) for i in instructions for a in i.args if type(a) is Ref]
        inner = {i.out for i in instructions}
        lines_of = {
            r: self._line(np.broadcast_to(self.env[r], shape)) for r in dict.fromkeys(read) if r not in inner
        }
        names: dict[Ref, str] = {}
        body: list[str] = []

        def name(x: Any) -> str:
            if type(x) is not Ref:
                return literal(x)
            if x not in names:
                outer = given.get(x, x)
                names[x] = f"v{len(names)}"
                kind = "int" if outer.dtype.kind == "b" else "T"
                value = self._read(lines_of[outer], same_place=True)
                cast = "" if outer.dtype.kind == "f" else f"({kind})"
                body.append(f"const {kind} {names[x]} = {cast}{value};")
            return names[x]

        for i in instructions:
            args = [name(a) for a in i.args]
            names[i.out] = f"v{len(names)}"
            body.append(statement(i, args, names[i.out]))
        for r, out in wanted.items():
            cast = "" if out.dtype.kind == "f" else "(T)"
            body.append(f"{self._out(out).name}[c] = {cast}{names[r]};")
        self._loop(math.prod(shape), body)

    def _pick(self, instr: Instr) -> None:
        """A row of a table, named by a number that is computed or given."""
        table, index = instr.args[0], instr.settings["index"]
        parts = list(index) if type(index) is tuple else [index]
        if (
            type(table) is not Ref
            or table not in self.values
            or type(parts[0]) is not Ref
            or any(p not in (slice(None), Ellipsis) for p in parts[1:])
            or math.prod(parts[0].shape) != 1
        ):
            raise NotLowerable("it takes elements at places that are computed")
        values = self.values[table]
        n, width = len(values), math.prod(values.shape[1:])
        at = self._read(self._line(self.env[parts[0]]), column="0")
        before = [f"r = row((int){at}, {n}) * {width};"]
        to = self._out(instr.out)
        if self.int8 and values.ndim == 2:
            q, scale = self._scaled(values)
            body = f"{to.name}[c] = {scale}[c] * (T){q}[r + c];"
        else:
            body = f"{to.name}[c] = {self._table(values, f'{n} rows of {width}')}[r + c];"
        self._loop(width, [body], before)

    def _scaled(self, values: Any) -> tuple[str, str]:
        """A matrix of int8 and the scales of its columns, by name."""
        q, scale = quantised(values)
        name = self._table(q, f"{q.shape[0]} rows of {q.shape[1]}, int8", (id(values), "q"))
        return name, self._table(scale, f"scales of the columns of {name}", (id(values), "scale"))

    def _product(self, instr: Instr) -> None:
        """A sum of products with weights, and of what is added to them."""
        terms, added = self.terms[instr.out]
        shape = instr.out.shape
        m = shape[-1]
        if math.prod(shape) != m or any(w not in self.values or self.values[w].ndim != 2 for _, w in terms):
            raise NotLowerable("a product of two values that change, or of several rows")
        pieces = []  # (place, how many, where from, weight)
        for left, w in terms:
            runs = self.runs(self.env[left])
            if len(runs) > 8 or any(line.stride != 1 and n > 1 for _, n, line in runs):
                runs = [(0, math.prod(left.shape), self._line(self.env[left]))]
                if runs[0][2].stride != 1 and runs[0][1] > 1:
                    raise NotLowerable("a product of elements that do not follow each other")
            pieces += [(first, n, line, self.values[w]) for first, n, line in runs]
        lines = [self._line(np.broadcast_to(self.env[a], shape)) for a in added]
        start = [self._read(line) for line in lines]
        to = self._out(instr.out, -(-m // self.pad) * self.pad)
        before: list[str] = []
        for first, n, line, w in pieces:
            if n <= FEW and not self.int8:  # of few rows: beside what is added
                start += self._few(line, w, range(first, first + n), before)
        self._loop(m, [f"{to.name}[c] = {' + '.join(start) or '0'};"], before)
        if to.size > m and m >= self.pad:
            self._loop(to.size - m, [f"{Line(to, m, 1).at()} = 0;"])
        for first, n, line, w in pieces:
            if n > FEW or self.int8:
                self._read(line)
                x = f"{line.buffer.name} + {line.start}" if line.start else line.buffer.name
                self.lines.append(self._multiplied(x, w, slice(first, first + n), to.name))

    def _few(self, line: Line, w: Any, rows: range, before: list[str]) -> list[str]:
        """Products of single elements with a row of a weight."""
        found = []
        for k, row in enumerate(rows):
            name = f"u{self.n_phases}_{len(before)}"
            before.append(f"const T {name} = {self._read(line, column=str(k))};")
            values = np.ascontiguousarray(w[row])
            found.append(f"{name} * {self._table(values, '', (id(w), row))}[c]")
        return found

    def _multiplied(self, x: str, whole: Any, rows: slice, to: str) -> str:
        """The call that adds a product with some rows of a weight (k, m)."""
        w, key = whole[rows], (id(whole), rows.start, rows.stop)
        k, m = w.shape
        if self.int8:
            q, scale = quantised(whole)
            q = q[rows]
            packed = np.concatenate([q[:, j : j + PANEL].reshape(-1) for j in range(0, m, PANEL)])
            name = self._table(packed, f"{k} rows of {m}, int8, {PANEL} columns at a time", (*key, "q"))
            scales = self._table(scale, f"scales of the columns of {name}", (*key, "scale"))
            return f"  scaled_product({x}, {k}, {name}, {scales}, {m}, {to});"
        if m < self.pad:
            name = self._table(np.ascontiguousarray(w.T), f"{m} columns of {k}", (*key, "columns"))
            return "\n".join(f"  {to}[{j}] += dot({x}, {k}, {name} + {j * k});" for j in range(m))
        wide = np.pad(w, ((0, 0), (0, -m % self.pad)))
        packed = np.concatenate([wide[:, j : j + PANEL].reshape(-1) for j in range(0, m, PANEL)])
        name = self._table(packed, f"{k} rows of {wide.shape[1]}, {PANEL} columns at a time", (*key, "w"))
        return f"  product({x}, {k}, {name}, {wide.shape[1]}, {to});"

    def _reduced(self, instr: Instr, axes: Sequence[int]) -> None:
        """A sum, a maximum or the logarithms of a softmax along axes."""
        x = self.env[instr.args[0]]  # type: ignore[index]
        axes = [a % x.ndim for a in axes]
        outer = [a for a in range(x.ndim) if a not in axes]
        rows = x.transpose(outer + axes).reshape(math.prod(x.shape[a] for a in outer), -1)
        if len(rows) > MOST_RUNS:
            raise NotLowerable(f"{instr.op.name} of more than {MOST_RUNS} rows")
        found = [self._line(row) for row in rows]
        to, n = self._out(instr.out), rows.shape[1]
        places = self.env[instr.out]
        if instr.op is LOG_SOFTMAX:
            places = places.transpose(outer + axes)
        places = places.reshape(len(rows), -1)
        for line, place in zip(found, places, strict=True):
            self._along(instr.op, n, self._read(line), self._line(place))
        assert to.phase == self.n_phases

    def _along(self, op: Any, n: int, value: str, to: Line) -> None:
        if op is SUM:
            self._loop(n, [f"a += {value};"], ["a = 0;"], [f"{to.at('0')} = a;"])
            return
        side, start = ("smaller", "infinite()") if op is AMIN else ("larger", "-infinite()")
        extreme = [f"a = {side}({value}, a);"]
        if op in (AMAX, AMIN):
            self._loop(n, extreme, [f"a = {start};"], [f"{to.at('0')} = a;"])
            return
        self._loop(n, extreme, [f"a = {start};"])
        self._loop(n, [f"b += exp({value} - a);"], ["b = 0;"], ["b = log(b);"])
        if op is LOGSUMEXP:
            self.lines.append(f"  {to.at('0')} = a + b;")
        else:
            self._loop(n, [f"{to.at()} = {value} - a - b;"])

    # ------------------------------------------------------------ results

    def _results(self, block: Block) -> None:
        """y, then the new states: in place where nobody reads the old one any more, else copied."""
        found = [self._line(self.env[r]) for r in block.results]  # type: ignore[index]
        self.n_phases += 1
        sizes = [int(self.env[r].size) for r in block.results]  # type: ignore[index]
        for k, line in enumerate(found[1:], 1):  # what lies in a state that is written, too
            if line.buffer in self.states and line.buffer is not self.states[k - 1]:
                to = self.scratch(sizes[k])
                self._loop(sizes[k], [f"{to.name}[c] = {self._read(line)};"])
                self.n_phases += 1
                found[k] = Line(to, 0, 1)
        self._loop(sizes[0], [f"y[c] = {self._read(found[0])};"])
        self.n_phases += 1
        for state, line, n in zip(self.states, found[1:], sizes[1:], strict=True):
            made = line.buffer
            if made is state and line == Line(state, 0, 1):
                continue
            if (
                line == Line(made, 0, 1)
                and made.size == n
                and made.phase >= 0
                and made.name not in self.in_place
                and all(k < made.phase or (k == made.phase and same) for k, same in state.reads)
            ):
                self.in_place[made.name] = state.name
            else:
                self._loop(n, [f"{state.name}[c] = {self._read(line)};"])
        self.n_phases += 1


def _levels(instructions: Sequence[Instr]) -> dict[Ref, int]:
    """How many functions that take long are computed one of the other before each value, or as many more as
    those that read it allow: a processor works at values of one level side by side.
    """
    slow = {i.out: int(bool(SLOW.search(str(i.op.c)))) for i in instructions}
    levels: dict[Ref, int] = {}
    for i in instructions:
        before = max((levels.get(a, 0) for a in i.args if type(a) is Ref), default=0)
        levels[i.out] = before + slow[i.out]
    most: dict[Ref, int] = {}  # that the readers of a value allow
    for i in reversed(instructions):
        levels[i.out] = max(levels[i.out], most.get(i.out, 0))
        for a in i.args:
            if type(a) is Ref:
                most[a] = min(most.get(a, levels[i.out]), levels[i.out] - slow[i.out])
    known = sorted({*levels.values()})
    return {r: known.index(level) for r, level in levels.items()}
