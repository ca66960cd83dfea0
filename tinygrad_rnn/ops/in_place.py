"""Equations that change arrays in place: the update of a parameter, as code for NumPy and for a GPU.

    def update(numbers, p, g, b):          # new values from old ones, as in the paper
        b = numbers[0] * b + g
        return p - numbers[1] * b, b

`InPlace("SGD", update, numbers, 3)` reads the equation as `pointwise` does. The values that it returns go
into the arrays it was given: p and b here; g, the second, is only read. What is a Python float among the
numbers may be another at each call; None, True and the like belong to the equation, which may ask for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array
from ..backend.segments import COMPUTED, STORED
from .codegen import Program, code_of_step
from .pointwise import Symbol

LIST = 16  # parameters that one kernel changes
_BLOCK = 256  # threads in a block
_MAX_BLOCKS = 1024  # for each of them
READ_ONLY = 1  # the place of the gradient among the arrays


class InPlace:
    """An equation read for `n_arrays` arrays (parameter, gradient, buffers) and one pattern of numbers."""

    def __init__(
        self, name: str, equation: Callable[..., Any], numbers: Sequence[Any], n_arrays: int
    ) -> None:
        self.name = name
        self.arrays = [f"a{i}" for i in range(n_arrays)]
        self.given = [i for i, x in enumerate(numbers) if is_number(x)]
        scalars = [f"n{i}" for i in self.given]
        self.program = Program([*self.arrays, *scalars], "v")
        symbols = [Symbol(self.program, a) for a in self.arrays]
        read = [Symbol(self.program, f"n{i}") if i in self.given else x for i, x in enumerate(numbers)]
        results = equation(read, *symbols)
        self.targets = [a for i, a in enumerate(self.arrays) if i != READ_ONLY]
        if not isinstance(results, tuple) or len(results) != len(self.targets):
            raise TypeError(f"{name}: the update must return a tuple of {len(self.targets)} new values")
        self.program.results = [r.name for r in results]
        self.program = self.program.without_dead_steps()
        for step in self.program.steps:
            if not set(step.reads()) - set(scalars):
                raise TypeError(f"{name}: {step.op.name} of numbers alone; work it out before the update")
        self._run: Callable[..., Any] | None = None
        self._kernels: dict[Any, Any] = {}

    # ------------------------------------------------------------ for whole-array operations

    @property
    def run(self) -> Callable[..., Any]:
        """run(xp, arrays, numbers, scratch): `scratch(n)` gives n arrays like the parameter to write to."""
        if self._run is None:
            self.source, constants = self._python()
            exec(compile(self.source, f"<{self.name}>", "exec"), constants)
            self._run = constants["run"]
        return self._run

    def _python(self) -> tuple[str, dict[str, Any]]:
        """The code: each step writes into memory whose value nobody reads any more; results into their
        arrays.
        """
        program = self.program
        last = {name: i for i, step in enumerate(program.steps) for name in step.reads()}
        target = dict(zip(program.results, self.targets, strict=True))
        holder: dict[str, str | None] = {a: a for a in self.targets}  # memory: the value in it
        place = {a: a for a in self.targets}  # value: its memory
        n_scratch, lines = 0, []
        constants: dict[str, Any] = {}

        def is_free(memory: str, step: int, reads: Sequence[str]) -> bool:
            value = holder[memory]
            if value is None or last.get(value, -1) < step:
                return value not in target
            return last[value] == step and value in reads and value not in target

        for i, step in enumerate(program.steps):
            reads = step.reads()
            own = target.get(step.name)
            if own is not None and is_free(own, i, reads):
                out = own
            else:
                scratch = [m for m in holder if m.startswith("s") and is_free(m, i, reads)]
                mine = [place[r] for r in reads if r in place and is_free(place[r], i, reads)]
                out = (mine or scratch or [""])[0]
                if not out:
                    out, n_scratch = f"s{n_scratch}", n_scratch + 1
            holder[out], place[step.name] = step.name, out
            lines += code_of_step(step, out, constants)
        for result, a in zip(program.results, self.targets, strict=True):
            if place.get(str(result)) != a:  # computed elsewhere, or the gradient itself
                if place.get(str(result)) in self.targets:
                    raise TypeError(f"{self.name}: the new value of {a} is in the memory of another")
                lines.append(f"{a}[...] = {result}")
        head = [
            "def run(xp, arrays, numbers, scratch):",
            f"    {', '.join(self.arrays)}, = arrays",
            *(
                [f"    {', '.join(f's{k}' for k in range(n_scratch))}, = scratch({n_scratch})"]
                if n_scratch
                else []
            ),
            *(f"    n{i} = numbers[{i}]" for i in self.given),
        ]
        return "\n".join([*head, *(f"    {line}" for line in lines)]), constants

    # ------------------------------------------------------------ for a GPU

    def launch(self, xp: Any, parameters: Sequence[Sequence[Array]], numbers: Sequence[Any]) -> None:
        """Changes the arrays of many parameters (lists as for `run`, alike in their types) by one kernel for
        each LIST of them. Numbers may be floats, or float64 arrays without axes on the GPU.
        """
        for start in range(0, len(parameters), LIST):
            part = parameters[start : start + LIST]
            given = [numbers[i] for i in self.given]
            itemsizes = tuple([a.dtype.itemsize for a in part[0]])
            by_value = tuple([type(x) is float for x in given])
            key = (itemsizes, by_value, len(part), xp)
            kernel = self._kernels.get(key)
            if kernel is None:
                kernel = self._kernels[key] = xp.kernel(self.kernel_source(*key[:3]), self.kernel_name)
            copied, lists = [], []
            for arrays in part:
                own = [a if a.flags.c_contiguous else xp.ascontiguousarray(a) for a in arrays]
                copied += [(a, b) for k, (a, b) in enumerate(zip(arrays, own, strict=True))
                           if a is not b and k != READ_ONLY]  # fmt: skip
                lists += [*own, own[0].size]
            most = max(arrays[0].size for arrays in part)
            if most:
                grid = (min(-(-most // _BLOCK), _MAX_BLOCKS), len(part))
                kernel(grid, (_BLOCK,), (*lists, *given))
            for array, changed in copied:
                array[...] = changed

    @property
    def kernel_name(self) -> str:
        return f"{self.name.lower()}_update"

    def kernel_source(self, itemsizes: Sequence[int], by_value: Sequence[bool], count: int) -> str:
        """The kernel for `count` parameters whose arrays have elements of these sizes; a number comes by
        value or from memory.
        """
        from .cuda_source import kinds_of, literal, statement, used_helpers  # only where there is a GPU

        kinds = kinds_of(self.program)
        stored = [STORED[n] for n in itemsizes]
        constant = ["const " if i == READ_ONLY else "" for i in range(len(stored))]
        arrays = [f"{c}{s}* " for c, s in zip(constant, stored, strict=True)]
        numbers = [f"n{i}" for i in self.given]
        parameters = [
            ", ".join([*(f"{kind}{a}_{k}" for kind, a in zip(arrays, self.arrays, strict=True)),
                       f"long long n_{k}"])
            for k in range(count)
        ]  # fmt: skip
        parameters += [
            f"double {n}_given" if value else f"const double* {n}_given"
            for n, value in zip(numbers, by_value, strict=True)
        ]
        cases = [
            f"    case {k}: " + " ".join([*(f"p_{a} = {a}_{k};" for a in self.arrays), f"n = n_{k}; break;"])
            for k in range(count)
        ]
        lines = [f"const T {a} = load(p_{a}[i]);" for a in self._read()]
        lines += [statement(step, kinds) for step in self.program.steps]
        lines += [
            f"put(&p_{a}[i], {literal(r)});"
            for a, r in zip(self.targets, self.program.results, strict=True)
            if r is not None and r != a
        ]
        body = "\n".join(f"    {line}" for line in lines)
        signature = ",\n    ".join(parameters)
        pointers = [f"  {kind}p_{a} = 0;" for kind, a in zip(arrays, self.arrays, strict=True)]
        return "\n".join(
            [
                f"typedef {COMPUTED[max(itemsizes)]} T;  // computed in",
                *dict.fromkeys(_MOVES[kind] for kind in stored),
                *used_helpers(body),
                f'extern "C" __global__ void {self.kernel_name}(\n    {signature}) {{',
                *pointers,
                "  long long n = 0;",
                "  switch (blockIdx.y) {  // a parameter for each row of blocks",
                *cases,
                "  }",
                *(
                    f"  const T {n} = {'' if value else '*'}{n}_given;"
                    for n, value in zip(numbers, by_value, strict=True)
                ),
                "  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n;",
                "       i += gridDim.x * (long long)blockDim.x) {",
                body,
                "  }",
                "}\n",
            ]
        )

    def _read(self) -> list[str]:
        read = {o for step in self.program.steps for o in step.reads()} | set(self.program.results)
        return [a for a in self.arrays if a in read]


# A half is moved as 16 bits and converted by the machine's own instructions, which needs no header.
_MOVES = {
    "unsigned short": (
        "#ifdef __CUDACC__\n"
        '__device__ T load(unsigned short h) { float x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));'
        " return x; }\n"
        "__device__ void put(unsigned short* p, T x) {\n"
        '  unsigned short h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); *p = h;\n'
        "}\n"
        "#endif"
    ),
    "float": "__device__ T load(float x) { return x; }\n__device__ void put(float* p, T x) { *p = x; }",
    "double": "__device__ T load(double x) { return x; }\n__device__ void put(double* p, T x) { *p = x; }",
}


def is_number(x: Any) -> bool:
    """Whether a number of an update comes at each call: a float, or an array without axes."""
    return type(x) is float or hasattr(x, "dtype")
