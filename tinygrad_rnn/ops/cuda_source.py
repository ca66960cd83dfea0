"""Programs of elementwise operations as CUDA kernels: what codegen.py is for NumPy, for a GPU.

A program becomes one kernel: each thread reads its elements, runs the steps in registers and writes the
results, so that the whole function costs one pass over its arguments. Arguments need not be contiguous: gates
that are the pieces of one (batch, 4 * hidden) buffer are read where they lie, `p[row * stride + column]`, and
gradients are written into such pieces likewise.

float16 is loaded into float32, computed with, and rounded once, when it is stored.

The kernels are plain CUDA C++ without headers. So the text that a GPU runs can be compiled by NVRTC where
there is no GPU, and, with a few macros, by a C++ compiler (`testing/cpu_kernels.py`), where its values are
compared with NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from ..backend import Array
from ..backend.segments import COMPUTED, STORED, conversions
from .codegen import LOGICAL, Program, Step

# A reverse program works intermediate values out again: on a GPU that is cheaper than writing them to memory
# and reading them back.
RECOMPUTES = True

BLOCK = 256  # threads in a block
MAX_BLOCKS = 1 << 16  # from there on a thread has several elements
_NARROW = 1 << 31  # element numbers below this are computed in 32 bits

# The C of each operation: {0}, {1}, ... are the operands, {name} a setting.
EXPRESSIONS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "pow": "power({0}, {1})", "floor_divide": "floor_divide({0}, {1})", "remainder": "remainder_of({0}, {1})",
    "eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "logical_not": "!({0} != 0)", "logical_and": "{0} != 0 && {1} != 0",
    "logical_or": "{0} != 0 || {1} != 0",
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}",
    "isnan": "{0} != {0}", "isinf": "{0} - {0} != 0 && {0} == {0}", "isfinite": "{0} - {0} == 0",
    "exp": "exp({0})", "log": "log({0})", "log1p": "log1p({0})", "expm1": "expm1({0})", "sqrt": "sqrt({0})",
    "sign": "sign_of({0})", "abs": "fabs({0})", "floor": "floor({0})", "round": "rint({0})",
    "sin": "sin({0})", "cos": "cos({0})", "tanh": "tanh({0})", "erf": "erf({0})",
    "sigmoid": "sigmoid({0})", "relu": "{0} < 0 ? T(0) : {0}",
    "leaky_relu": "{0} > 0 ? {0} : {0} * {negative_slope}",
    "elu": "{0} > 0 ? {0} : {alpha} * expm1({0})",
    "softplus": "larger({0}, T(0)) + log1p(exp(-fabs({0}) * {beta})) / {beta}",
    "gelu": "gelu_{approximate}({0})",
    "logaddexp": "log_of_sum({0}, {1})",
    "maximum": "larger({0}, {1})", "minimum": "smaller({0}, {1})",
    "clip": "clipped({0}, {min}, {max})", "where": "{0} != 0 ? {1} : {2}",
}  # fmt: skip

# Device functions that these use, and load and store, which are there for each type of the data.
HELPERS = {
    "larger": "T larger(T a, T b) { return a > b || a != a ? a : b; }  // NaN wins, as in NumPy",
    "smaller": "T smaller(T a, T b) { return a < b || a != a ? a : b; }",
    "clipped": "T clipped(T x, T low, T high) { x = x < low ? low : x; return x > high ? high : x; }",
    "log_of_sum": (
        "T log_of_sum(T a, T b) {\n"
        "  const T d = a == b ? T(0) : fabs(a - b);  // of equal infinities too\n"
        "  return (a > b || a != a ? a : b) + log1p(exp(-d));\n"
        "}"
    ),
    "sign_of": "T sign_of(T x) { return x != x ? x : T((x > 0) - (x < 0)); }",
    "sigmoid": "T sigmoid(T x) { const T e = exp(-fabs(x)); return (x < 0 ? e : T(1)) / (T(1) + e); }",
    "power": "T power(T a, T b) { return b == T(2) ? a * a : pow(a, b); }",
    "remainder_of": (
        "T remainder_of(T a, T b) {\n"
        "  const T m = fmod(a, b);\n"
        "  return m != 0 && (m < 0) != (b < 0) ? m + b : m;\n"
        "}"
    ),
    "floor_divide": (
        "T floor_divide(T a, T b) {\n"
        "  const T m = fmod(a, b), q = (a - (m != 0 && (m < 0) != (b < 0) ? m + b : m)) / b;\n"
        "  return b == 0 ? a / b : rint(q);\n"
        "}"
    ),
    "gelu_none": (
        "T gelu_none(T x) {\n"
        "  return (x < -40 ? T(-40) : x) * (T(0.5) * (T(1) + erf(x * T(0.7071067811865476))));\n"
        "}"
    ),
    "gelu_tanh": (
        "T gelu_tanh(T x) {\n"
        "  const T z = x < -40 ? T(-40) : x > 40 ? T(40) : x;\n"
        "  const T u = T(1.5957691216057308) * (z + T(0.044715) * (z * z * z)), e = exp(-fabs(u));\n"
        "  return (x < -40 ? T(-40) : x) * ((u < 0 ? e : T(1)) / (T(1) + e));\n"
        "}"
    ),
    "infinite": "T infinite() { return __longlong_as_double(0x7ff0000000000000LL); }",
}


class Variant(NamedTuple):
    """What of the arguments goes into the text of a kernel: bytes per element, whether element numbers fit 32
    bits, and for each array, arguments then results, how it is read: "c" one element after the other, "s"
    rows with a stride, "z" one element for all.
    """

    itemsize: int
    narrow: bool
    access: tuple[str, ...]


def kinds_of(program: Program, booleans: Iterable[str] = ()) -> dict[str, str]:
    """ "bool" for each value that is no number: `booleans` among those from outside, and what follows."""
    kinds = dict.fromkeys(booleans, "bool")
    for step in program.steps:
        name = step.op.name
        chosen = step.operands[1:] if name == "where" else ()
        truths = bool(chosen) and all(_is_bool(o, kinds) for o in chosen)
        if truths or name in LOGICAL or name.startswith("bitwise_"):
            kinds[step.name] = "bool"
    return kinds


def _is_bool(operand: str | float, kinds: dict[str, str]) -> bool:
    return isinstance(operand, bool) or kinds.get(operand) == "bool"  # type: ignore[arg-type]


def statement(step: Step, kinds: dict[str, str]) -> str:
    """The line of C that computes one step."""
    operands = [literal(o) for o in step.operands]
    settings = {k: literal(v) for k, v in step.settings.items() if v is not None}
    if step.op.name == "clip":
        settings = {"min": "-infinite()", "max": "infinite()", **settings}
    expression = EXPRESSIONS[step.op.name].format(*operands, **settings)
    return f"const {kinds.get(step.name, 'T')} {step.name} = {expression};"


def literal(operand: str | float) -> str:
    """An operand as it stands in C."""
    if isinstance(operand, str):
        return operand
    if isinstance(operand, bool):
        return "true" if operand else "false"
    if math.isnan(operand):
        return "(infinite() - infinite())"
    if math.isinf(operand):
        return "infinite()" if operand > 0 else "(-infinite())"
    return f"T({float(operand)!r})"


def used_helpers(body: str) -> Iterable[str]:
    """The device functions whose names are called in a text, as lines of C."""
    return [f"__device__ {text}" for name, text in HELPERS.items() if f"{name}(" in body]


def kernel_source(
    name: str,
    program: Program,
    arguments: Sequence[str],
    results: Sequence[str],
    kinds: dict[str, str],
    variant: Variant,
) -> str:
    """The text of a kernel for arguments, those that the program reads, that lie in memory as `variant` says.

    Its parameters: a pointer for each argument and each result, the number of elements, the number of
    columns, and a stride in elements for each array that is read in rows.
    """
    access = dict(zip([*arguments, *(f"y{k}" for k in range(len(results)))], variant.access, strict=True))
    parameters = [f"const {kinds.get(a, 'S')}* p_{a}" for a in arguments]
    parameters += [f"{kinds.get(r, 'S')}* p_y{k}" for k, r in enumerate(results)]
    rows = [a for a, how in access.items() if how == "s"]
    parameters += ["long long n", "long long columns", *(f"long long stride_{a}" for a in rows)]
    index = {"c": "[i]", "z": "[0]"}

    def place(a: str) -> str:
        return f"p_{a}" + index.get(access[a], f"[row * (I)stride_{a} + column]")

    lines = ["const I row = i / (I)columns, column = i % (I)columns;"] if rows else []
    loads = [(kinds.get(a, "T"), a, _loaded(place(a), a, kinds)) for a in arguments]
    lines += [f"const {kind} {a} = {value};" for kind, a, value in loads]
    lines += [statement(step, kinds) for step in program.steps]
    for k, r in enumerate(results):
        value = r if kinds.get(r) == "bool" else f"store({r})"
        lines.append(f"{place(f'y{k}')} = {value};")
    body = "\n".join(f"    {line}" for line in lines)
    signature = ",\n    ".join(", ".join(parameters[i : i + 4]) for i in range(0, len(parameters), 4))
    return "\n".join(
        [
            f"typedef {COMPUTED[variant.itemsize]} T;  // computed in",
            f"typedef {STORED[variant.itemsize]} S;  // stored as",
            f"typedef {'int' if variant.narrow else 'long long'} I;  // counts elements",
            conversions(variant.itemsize),
            *used_helpers(body),
            f'extern "C" __global__ void {name}(',
            f"    {signature}) {{",
            "  for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < n;",
            "       k += gridDim.x * (long long)blockDim.x) {",
            "    const I i = k;",
            body,
            "  }",
            "}\n",
        ]
    )


def _loaded(place: str, name: str, kinds: dict[str, str]) -> str:
    return place if kinds.get(name) == "bool" else f"load({place})"


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


# ---------------------------------------------------------------- running


def compiled(
    program: Program,
    outside: Sequence[str] = (),
    into: Sequence[int] = (),
    small: Collection[str] = (),
    name: str = "pointwise",
) -> Callable[..., Any]:
    """The program as a function of (xp, [inputs, outside values]) and, with `into`, arrays for these results:
    what `codegen.compiled` makes for NumPy. It launches one kernel, made for the layout of its arguments and
    kept.
    """
    return Launcher(name, program, outside, into)


class Launcher:
    """A program and the kernels made from it, by layout of the arguments."""

    def __init__(self, name: str, program: Program, outside: Sequence[str], into: Sequence[int]) -> None:
        self.name = "".join(c if c.isalnum() else "_" for c in name).strip("_") or "pointwise"
        self.program, self.outside, self.into = program, list(outside), list(into)
        self.kinds = kinds_of(program)
        given = [*program.inputs, *outside]
        places = {a: i for i, a in enumerate(given)}
        # Of chunks that nobody reads None may be given: the kernel has no parameter for them.
        read = {operand for step in program.steps for operand in step.reads()}
        self.arguments = [a for a in given if a in read]
        self.reads = None if len(self.arguments) == len(given) else [places[a] for a in self.arguments]
        # Results that are computed, each once; others are arguments handed through, or zero.
        self.computed = list(dict.fromkeys(r for r in program.results if r is not None and r not in places))
        self.handed = {r: places[r] for r in program.results if r in places}
        self.lent: dict[str, int] = {}  # computed results that have a place given
        for n, k in enumerate(self.into):
            r = program.results[k]
            if r in self.computed and r not in self.lent:
                self.lent[r] = n
        self._kernels: dict[Variant, Any] = {}
        self._ready: dict[Any, Any] = {}

    def text_for(self, variant: Variant) -> str:
        """The kernel's source for a layout."""
        return kernel_source(self.name, self.program, self.arguments, self.computed, self.kinds, variant)

    @property
    def source(self) -> str:
        """The kernel for float32 arguments that lie in rows, as pieces of one buffer do."""
        return self.text_for(Variant(4, True, ("s",) * (len(self.arguments) + len(self.computed))))

    def __call__(self, xp: Any, values: Sequence[Any], into: Sequence[Array] = ()) -> list[Any]:
        """The results for `values`, the inputs and outside values: arrays, or None for those not read."""
        read = values if self.reads is None else [values[i] for i in self.reads]
        made: list[Any] = []
        if self.computed:
            key = (
                read[0].shape if self.reads is None else tuple([v.shape for v in read]),
                read[0].dtype,
                tuple([v.strides for v in read]),
                tuple([p.strides for p in into]),
            )
            ready = self._ready.get(key)
            if ready is None:
                if len(self._ready) > 4096:  # of programs that run on ever new shapes
                    self._ready.clear()
                ready = self._ready[key] = self._prepare(xp, read, into)
            kernel, grid, shape, numbers, misfits, kinds = ready
            made = [
                into[self.lent[r]] if r in self.lent else xp.empty(shape, kind)
                for r, kind in zip(self.computed, kinds, strict=True)
            ]
            if grid[0]:
                if misfits:
                    self._launch_copied(xp, kernel, grid, shape, numbers, misfits, read, made)
                else:
                    kernel(grid, (BLOCK,), (*read, *made, *numbers))
        found = dict(zip(self.computed, made, strict=True))
        results = [
            None if r is None else values[self.handed[r]] if r in self.handed else found[r]
            for r in self.program.results
        ]
        for n, k in enumerate(self.into):
            if results[k] is not into[n]:
                into[n][...] = 0 if results[k] is None else results[k]
                results[k] = into[n]
        return results

    def _prepare(self, xp: Any, values: Sequence[Array], into: Sequence[Array]) -> Any:
        """Everything about a call that follows from shapes and strides: kernel, grid, numbers."""
        first = max(values, key=lambda v: v.ndim)  # others may be rows, that lack the first axis
        shape, n = first.shape, math.prod(first.shape)
        self.kinds = kinds_of(
            self.program, [a for a, v in zip(self.arguments, values, strict=True) if v.dtype.kind == "b"]
        )
        kinds = [first.dtype if r not in self.kinds else "bool" for r in self.computed]
        contiguous = xp.empty(shape, "bool").strides
        out = []
        for r in self.computed:
            if r in self.lent:
                out.append(into[self.lent[r]].strides)
            else:
                out.append(tuple(s * (1 if r in self.kinds else first.itemsize) for s in contiguous))
        itemsizes = [v.dtype.itemsize for v in values] + [
            1 if r in self.kinds else first.itemsize for r in self.computed
        ]
        layout = layout_of(shape, itemsizes, [*(v.strides for v in values), *out])
        reach = max(map(abs, layout.strides), default=1) * (n // max(1, layout.columns) + 1) + layout.columns
        narrow = max(n, reach) + BLOCK * MAX_BLOCKS < _NARROW
        variant = Variant(first.dtype.itemsize, narrow, layout.access)
        kernel = self._kernels.get(variant)
        if kernel is None:
            kernel = self._kernels[variant] = xp.kernel(self.text_for(variant), self.name)
        grid = (min(-(-n // BLOCK), MAX_BLOCKS),)
        return kernel, grid, shape, (n, max(1, layout.columns), *layout.strides), layout.misfits, kinds

    def _launch_copied(
        self,
        xp: Any,
        kernel: Any,
        grid: tuple[int],
        shape: tuple[int, ...],
        numbers: Any,
        misfits: Sequence[int],
        values: Sequence[Array],
        made: Sequence[Array],
    ) -> None:
        """A launch for which arrays are copied that lie in memory in no way that a kernel knows."""
        arrays = [*values, *made]
        for k in misfits:
            if k < len(values):
                arrays[k] = xp.ascontiguousarray(xp.broadcast_to(arrays[k], shape))
            else:
                arrays[k] = xp.empty(shape, arrays[k].dtype)
        kernel(grid, (BLOCK,), (*arrays, *numbers))
        for k in misfits:
            if k >= len(values):
                made[k - len(values)][...] = arrays[k]
