"""Blocks of elementwise instructions as CUDA kernels: what interpret.py is for NumPy, for a GPU.

A block becomes one kernel: each thread reads its elements, runs the instructions in registers and writes the
results, so that the whole function costs one pass over its arguments. The C of each instruction is a trait of
its op, `c`. Arguments need not be contiguous: gates that are the pieces of one (batch, 4 * hidden) buffer are
read where they lie, `p[row * stride + column]`, and gradients are written into such pieces likewise.

float16 is loaded into float32, computed with, and rounded once, when it is stored.

The kernels are plain CUDA C++ without headers. So the text that a GPU runs can be compiled by NVRTC where
there is no GPU, and, with a few macros, by a C++ compiler (`tests/support/cpu_kernels.py`), where its values
are compared with NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...backend import Array
from ...backend.segments import COMPUTED, STORED, conversions
from ...engine import REGISTRY
from ..ir import Block, Instr, Ref
from ..passes.factors import CONCAT
from ..passes.place import is_view, view_index
from ..trace import CREATED
from .functions import HELPERS

BROADCAST = REGISTRY["broadcast_to"]
BLOCK = 256  # threads in a block
MAX_BLOCKS = 1 << 16  # from there on a thread has several elements
_NARROW = 1 << 31  # element numbers below this are computed in 32 bits


class NoKernel(Exception):
    """Why a block is no kernel, as a sentence."""


# Device functions that these use, and load and store, which are there for each type of the data.
class Variant(NamedTuple):
    """What of the arguments goes into the text of a kernel: bytes per element, whether element numbers fit 32
    bits, and for each array, arguments then results, how it is read: "c" one element after the other, "s"
    rows with a stride, "z" one element for all.
    """

    itemsize: int
    narrow: bool
    access: tuple[str, ...]


# ---------------------------------------------------------------- the C of an instruction


def kind_of(r: Ref) -> str:
    """The C type in which a value is computed."""
    return "bool" if r.dtype.kind == "b" else "T"


def literal(x: Any) -> str:
    """A number as it stands in C."""
    if isinstance(x, bool):
        return "true" if x else "false"
    if not isinstance(x, (int, float)):
        raise NoKernel(f"{x!r} has no spelling in C")
    if math.isnan(x):
        return "(infinite() - infinite())"
    if math.isinf(x):
        return "infinite()" if x > 0 else "(-infinite())"
    return f"T({float(x)!r})"


def statement(instr: Instr, names: dict[Ref, str]) -> str:
    """The line of C that computes an instruction; `names` are those of the values."""
    operands = [names[a] if type(a) is Ref else literal(a) for a in instr.args]
    text = str(instr.op.c)
    named = {k: v for k, v in instr.settings.items() if v is not None and f"{{{k}}}" in text}
    settings = {k: v if type(v) is str else literal(v) for k, v in named.items()}
    if "min" in instr.settings:
        settings = {"min": "-infinite()", "max": "infinite()", **settings}
    return f"const {kind_of(instr.out)} {names[instr.out]} = {text.format(*operands, **settings)};"


def used_helpers(body: str) -> Iterable[str]:
    """The device functions whose names are called in a text, as lines of C."""
    return [f"__device__ {text}" for name, text in HELPERS.items() if f"{name}(" in body]


# ---------------------------------------------------------------- a block as a kernel


class Source(NamedTuple):
    """What a kernel reads: a parameter of the block, or a view of one."""

    param: int
    index: Any  # None: all of it


class Launcher:
    """A block of elementwise instructions, and the kernels made from it, by layout of the arguments. Its
    parameters may be taken apart by views; its results may be values side by side, along the last axis.

    Raises NoKernel where the block has anything else in it.
    """

    def __init__(self, name: str, block: Block) -> None:
        self.name = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "pointwise"
        self.block = block
        self.names = {r: f"a{k}" for k, r in enumerate(block.params)}
        self.sources = {r: Source(k, None) for k, r in enumerate(block.params)}
        self.literals: dict[Ref, str] = {}
        self.steps: list[Instr] = []
        self.joined: dict[Ref, tuple[Any, ...]] = {}
        for instr in block.instructions:
            self._take(instr)
        # Each result, and each part of a joined one, is a place that the kernel writes to.
        self.made = [*dict.fromkeys(r for r in block.results if r is not None and r not in self.sources)]
        self.written: list[Ref] = [p for r in self.made for p in self.joined.get(r, (r,))]
        read = {a for i in self.steps for a in i.reads()} | {*self.written}
        self.arguments = [r for r in self.sources if r in read]
        self.results = list(block.results)
        floats = [k for k, r in enumerate(block.params) if r.dtype.kind == "f"]
        self._float = (floats or [0])[0]  # an argument that has the type of the results
        self._kernels: dict[Variant, Any] = {}
        self._ready: dict[Any, Any] = {}

    def _take(self, instr: Instr) -> None:
        op: Any = instr.op
        args: Any = instr.args
        if op is CONCAT and instr.settings["axis"] == instr.out.ndim - 1:
            self.joined[instr.out] = args
        elif op is CREATED and instr.settings["function"] == "full":
            self.literals[instr.out] = literal(instr.settings["arguments"][1])
        elif op is BROADCAST and args[0] in self.literals:
            self.literals[instr.out] = self.literals[args[0]]
        elif is_view(instr) and args[0] in self.sources:
            whole = self.sources[args[0]]
            for k, out in enumerate(instr.outs):
                index = view_index(instr, k)
                if index is None or whole.index is not None or not all(map(_is_fixed, index)):
                    raise NoKernel(f"{op.name} is a view that no kernel has")
                self.sources[out] = Source(whole.param, index)
                self.names[out] = f"{self.names[args[0]]}_{k}"
        elif op.elementwise and op.c and all(type(a) is Ref or isinstance(a, (int, float)) for a in args):
            if instr.out.dtype.kind not in "fb":
                raise NoKernel(f"{op.name} makes {instr.out.dtype}")
            self.names[instr.out] = f"v{len(self.steps)}"
            self.steps.append(instr)
        else:
            raise NoKernel(f"{op.name} is not done element by element")

    def _name(self, r: Ref) -> str:
        return self.literals.get(r) or self.names[r]

    def text_for(self, variant: Variant) -> str:
        """The kernel's source for a layout.

        Its parameters: a pointer for each argument and each result, the number of elements, the number of
        columns, and a stride in elements for each array that is read in rows.
        """
        names = {**self.names, **self.literals}
        arguments, results = [names[a] for a in self.arguments], [f"y{k}" for k in range(len(self.written))]
        access = dict(zip([*arguments, *results], variant.access, strict=True))
        parameters = [f"const {_stored(a)}* p_{names[a]}" for a in self.arguments]
        parameters += [f"{_stored(r)}* p_y{k}" for k, r in enumerate(self.written)]
        rows = [a for a, how in access.items() if how == "s"]
        parameters += ["long long n", "long long columns", *(f"long long stride_{a}" for a in rows)]
        index = {"c": "[i]", "z": "[0]"}

        def place(a: str) -> str:
            return f"p_{a}" + index.get(access[a], f"[row * (I)stride_{a} + column]")

        lines = ["const I row = i / (I)columns, column = i % (I)columns;"] if rows else []
        for r, a in zip(self.arguments, arguments, strict=True):
            value = place(a) if kind_of(r) == "bool" else f"load({place(a)})"
            lines.append(f"const {kind_of(r)} {a} = {value};")
        lines += [statement(instr, names) for instr in self.steps]
        for k, r in enumerate(self.written):
            lines.append(f"{place(f'y{k}')} = {names[r] if kind_of(r) == 'bool' else f'store({names[r]})'};")
        body = "\n".join(f"    {line}" for line in lines)
        signature = ",\n    ".join(", ".join(parameters[i : i + 4]) for i in range(0, len(parameters), 4))
        return "\n".join([
            f"typedef {COMPUTED[variant.itemsize]} T;  // computed in",
            f"typedef {STORED[variant.itemsize]} S;  // stored as",
            f"typedef {'int' if variant.narrow else 'long long'} I;  // counts elements",
            conversions(variant.itemsize),
            *used_helpers(body),
            f'extern "C" __global__ void {self.name}(',
            f"    {signature}) {{",
            "  for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < n;",
            "       k += gridDim.x * (long long)blockDim.x) {",
            "    const I i = k;",
            body,
            "  }",
            "}\n",
        ])  # fmt: skip

    @property
    def n_arrays(self) -> int:
        """How many arrays a kernel is given."""
        return len(self.arguments) + len(self.written)

    @property
    def source(self) -> str:
        """The kernel for float32 arguments that lie in rows, as pieces of one buffer do."""
        return self.text_for(Variant(4, True, ("s",) * self.n_arrays))

    # ------------------------------------------------------------ running

    def __call__(self, xp: Any, arrays: Sequence[Array], into: Sequence[Array | None] = ()) -> list[Any]:
        """The results of one launch on the values of the block's parameters, those for which there is an
        array in `into` written there.
        """
        read = [self.sources[r] for r in self.arguments]
        values = [arrays[i] if index is None else arrays[i][index] for i, index in read]
        dtype = arrays[self._float].dtype
        key: Any = [dtype]
        for v in values:
            key += v.shape, v.strides
        for given in into:
            key.append(None if given is None else given.strides)
        key = tuple(key)
        ready = self._ready.get(key)
        if ready is None:
            if len(self._ready) > 4096:  # of blocks that run on ever new shapes
                self._ready.clear()
            shape = max((v.shape for v in values), key=len, default=())
            made = self._memory(xp, shape, dtype, into)
            ready = self._ready[key] = (shape, *self._prepare(xp, shape, values, self._places(made)))
        shape, kernel, grid, numbers, misfits = ready
        made = self._memory(xp, shape, dtype, into)
        places = self._places(made)
        if grid[0] and misfits:
            self._launch_copied(xp, kernel, grid, numbers, misfits, values, places)
        elif grid[0]:
            kernel(grid, (BLOCK,), (*values, *places, *numbers))
        return [r if r is None else made[r] if r in made else self._handed(arrays, r) for r in self.results]

    def _handed(self, arrays: Sequence[Array], r: Ref) -> Array:
        """An argument, or a view of one, as a result."""
        i, index = self.sources[r]
        return arrays[i] if index is None else arrays[i][index]

    def _memory(
        self, xp: Any, shape: tuple[int, ...], dtype: Any, into: Sequence[Array | None]
    ) -> dict[Ref, Array]:
        """The arrays of the results."""
        given = {r: a for r, a in zip(self.results, into, strict=False) if a is not None}
        made = {}
        for r in self.made:
            own = shape
            if r in self.joined:
                own = (*shape[:-1], sum(p.shape[-1] for p in self.joined[r]))
            made[r] = given[r] if r in given else xp.empty(own, r.dtype if r.dtype.kind == "b" else dtype)
        return made

    def _places(self, made: dict[Ref, Array]) -> list[Array]:
        """What the kernel writes to: the results, of joined ones each part."""
        places = []
        for r in self.made:
            start = 0
            for part in self.joined.get(r, ()):
                places.append(made[r][..., start : start + part.shape[-1]])
                start += part.shape[-1]
            if r not in self.joined:
                places.append(made[r])
        return places

    def _prepare(
        self, xp: Any, shape: tuple[int, ...], values: Sequence[Array], places: Sequence[Array]
    ) -> Any:
        """Everything about a call that follows from shapes and strides: kernel, grid, numbers, what must be
        copied.
        """
        n, arrays = math.prod(shape), [*values, *places]
        layout = layout_of(shape, [a.dtype.itemsize for a in arrays], [a.strides for a in arrays])
        reach = max(map(abs, layout.strides), default=1) * (n // max(1, layout.columns) + 1) + layout.columns
        narrow = max(n, reach) + BLOCK * MAX_BLOCKS < _NARROW
        itemsize = next((a.dtype.itemsize for a in arrays if a.dtype.kind == "f"), 4)
        variant = Variant(itemsize, narrow, layout.access)
        kernel = self._kernels.get(variant)
        if kernel is None:
            kernel = self._kernels[variant] = xp.kernel(self.text_for(variant), self.name)
        grid = (min(-(-n // BLOCK), MAX_BLOCKS) if places else 0,)
        return kernel, grid, (n, max(1, layout.columns), *layout.strides), layout.misfits

    def _launch_copied(
        self, xp: Any, kernel: Any, grid: tuple[int], numbers: Any, misfits: Sequence[int],
        values: Sequence[Array], places: Sequence[Array],
    ) -> None:  # fmt: skip
        """A launch for which arrays are copied that lie in memory in no way that a kernel knows."""
        arrays = [*values, *places]
        shape = max((v.shape for v in values), key=len)
        for k in misfits:
            if k < len(values):
                arrays[k] = xp.ascontiguousarray(xp.broadcast_to(arrays[k], shape))
            else:
                arrays[k] = xp.empty(shape, arrays[k].dtype)
        kernel(grid, (BLOCK,), (*arrays, *numbers))
        for k in misfits:
            if k >= len(values):
                places[k - len(values)][...] = arrays[k]


def _stored(r: Ref) -> str:
    return "bool" if r.dtype.kind == "b" else "S"


def _is_fixed(part: Any) -> bool:
    """Whether a part of an index is the same for every batch size."""
    parts = (part.start, part.stop, part.step) if type(part) is slice else (part,)
    return all(p is None or type(p) is int for p in parts)


# ---------------------------------------------------------------- how arrays lie in memory


class Layout(NamedTuple):
    """How arrays of one shape are walked through: columns per row, the way of each array ("c", "s" or "z"),
    the strides in elements of those that go by rows, and which must be copied first because none will do.
    """

    columns: int
    access: tuple[str, ...]
    strides: tuple[int, ...]
    misfits: tuple[int, ...]


def layout_of(shape: tuple[int, ...], itemsizes: Sequence[int], strides: Sequence[tuple[int, ...]]) -> Layout:
    """The layout of arrays by their strides in bytes. An array with an axis less lacks the first."""
    n_axes = len(shape)
    steps = [
        [0 if size == 1 else s for s, size in zip((0,) * (n_axes - len(ss)) + tuple(ss), shape, strict=True)]
        for ss in strides
    ]
    whole = [_fits(shape, step, item, 0) for step, item in zip(steps, itemsizes, strict=True)]
    by_rows = [k for k, step in enumerate(steps) if whole[k] is None and any(step)]
    best = max(
        range(1, n_axes) if n_axes > 1 else [0],
        key=lambda axis: sum(_fits(shape, steps[k], itemsizes[k], axis) is not None for k in by_rows),
    )
    access, row_strides, misfits = [], [], []
    for k, step in enumerate(steps):
        stride = None if whole[k] is not None else _fits(shape, step, itemsizes[k], best)
        if whole[k] is not None:
            access.append("c")
        elif not any(step):
            access.append("z")
        elif stride is not None and stride % itemsizes[k] == 0:
            access.append("s")
            row_strides.append(stride // itemsizes[k])
        else:
            access.append("c")
            misfits.append(k)
    return Layout(math.prod(shape[best:]), tuple(access), tuple(row_strides), tuple(misfits))


def _fits(shape: tuple[int, ...], step: Sequence[int], itemsize: int, axis: int) -> int | None:
    """The stride in bytes of rows that are the axes before `axis`, where those from there on are contiguous
    and those before it are evenly apart; else None. With axis 0 everything is one contiguous row.
    """
    expected = itemsize
    for size, s in zip(reversed(shape[axis:]), reversed(step[axis:]), strict=True):
        if size != 1 and s != expected:
            return None
        expected *= size
    stride = None
    for size, s in zip(reversed(shape[:axis]), reversed(step[:axis]), strict=True):
        if size == 1:
            continue
        if stride is None:
            stride, expected = s, s
        if s != expected:
            return None
        expected *= size
    return 0 if stride is None else stride
