"""Equations that change arrays in place: the update of a parameter, as calls of NumPy and as a kernel of a
GPU.

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

import numpy as np

from ...backend import Array
from ...backend.segments import COMPUTED, STORED
from ...engine import Value
from ..elements import NotElementwise, elements_block
from ..ir import Block, Instr, N, Ref, Type, sub_block
from ..passes.gates import activated_at_once
from ..trace import Untraceable
from .interpret import GENERAL, UNARY, call_all, writing

LIST = 16  # parameters that one kernel changes
_BLOCK = 256  # threads in a block
_MAX_BLOCKS = 1024  # for each of them
READ_ONLY = 1  # the place of the gradient among the arrays
_FLOAT = np.dtype("float32")  # what an equation is read with; it holds for any


class InPlace:
    """An equation read for `n_arrays` arrays (parameter, gradient, buffers) and one pattern of numbers."""

    def __init__(
        self, name: str, equation: Callable[..., Any], numbers: Sequence[Any], n_arrays: int
    ) -> None:
        self.name = name
        self.given = [i for i, x in enumerate(numbers) if is_number(x)]
        n_targets = n_arrays - 1

        def function(*args: Any) -> Any:
            read = [*numbers]
            for i, value in zip(self.given, args[n_arrays:], strict=True):
                read[i] = value
            results = equation(read, *args[:n_arrays])
            if not isinstance(results, tuple) or len(results) != n_targets:
                raise NotElementwise(f"{name}: the update must return a tuple of {n_targets} new values")
            for result in results:
                if not isinstance(result, Value):
                    raise NotElementwise(
                        f"{name}: the update returns a {type(result).__name__}, not a computed value"
                    )
            return results

        types = [Type((N,), _FLOAT)] * n_arrays + [Type((), _FLOAT)] * len(self.given)
        try:
            block = elements_block(function, types)
        except NotElementwise as reason:
            raise TypeError(str(reason)) from reason
        except Untraceable as reason:
            raise TypeError(f"{name}: the update cannot be read: {reason}") from reason
        self.block = block
        self.arrays, self.scalars = block.params[:n_arrays], block.params[n_arrays:]
        for instr in block.instructions:
            if self.scalars and {*instr.reads()} <= {*self.scalars}:
                raise TypeError(f"{name}: {instr.op.name} of numbers alone; work it out before the update")
        targets = [a for i, a in enumerate(self.arrays) if i != READ_ONLY]
        self.targets = [(r, a) for r, a in zip(block.results, targets, strict=True) if r is not None]
        self.names = {a: f"a{i}" for i, a in enumerate(self.arrays)}
        self.names |= {r: f"n{i}" for i, r in zip(self.given, self.scalars, strict=True)}
        self.names |= {i.out: f"v{k}" for k, i in enumerate(block.instructions)}
        self._calls: dict[Any, InPlaceCalls] = {}
        self._kernels: dict[Any, Any] = {}
        self.compiled: dict[Any, Any] = {}  # by type: see c_update.py

    # ------------------------------------------------------------ for whole-array operations

    def calls(self, xp: Any) -> InPlaceCalls:
        """What `run` does, in an array library."""
        if xp not in self._calls:
            self._calls[xp] = InPlaceCalls(self, xp)
        return self._calls[xp]

    def run(
        self, xp: Any, arrays: Sequence[Array], numbers: Sequence[Any], scratch: Callable[[int], Any]
    ) -> None:
        """Changes the arrays of a parameter. `scratch(n)` gives n arrays like the parameter to write to."""
        calls = self._calls.get(xp) or self.calls(xp)
        env = [*arrays, *[numbers[i] for i in self.given], *calls.constants]
        if calls.n_scratch:
            env += scratch(calls.n_scratch)
        call_all(calls.calls, env)

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
        from .cuda import statement, used_helpers  # only where there is a GPU

        stored = [STORED[n] for n in itemsizes]
        constant = ["const " if i == READ_ONLY else "" for i in range(len(stored))]
        kinds = [f"{c}{s}* " for c, s in zip(constant, stored, strict=True)]
        names = [self.names[a] for a in self.arrays]
        numbers = [self.names[r] for r in self.scalars]
        parameters = [
            ", ".join([*(f"{kind}{a}_{k}" for kind, a in zip(kinds, names, strict=True)), f"long long n_{k}"])
            for k in range(count)
        ]
        parameters += [
            f"double {n}_given" if value else f"const double* {n}_given"
            for n, value in zip(numbers, by_value, strict=True)
        ]
        read = {r for i in self.block.instructions for r in i.reads()} | {*self.block.results}
        lines = [f"const T {self.names[a]} = load(p_{self.names[a]}[i]);" for a in self.arrays if a in read]
        lines += [statement(instr, self.names) for instr in self.block.instructions]
        lines += [f"put(&p_{self.names[a]}[i], {self.names[r]});" for r, a in self.targets if r is not a]
        body = "\n".join(f"    {line}" for line in lines)
        signature = ",\n    ".join(parameters)
        return "\n".join([
            f"typedef {COMPUTED[max(itemsizes)]} T;  // computed in",
            *dict.fromkeys(_MOVES[kind] for kind in stored),
            *used_helpers(body),
            f'extern "C" __global__ void {self.kernel_name}(\n    {signature}) {{',
            *(f"  {kind}p_{a} = 0;" for kind, a in zip(kinds, names, strict=True)),
            "  long long n = 0;",
            "  switch (blockIdx.y) {  // a parameter for each row of blocks",
            *(f"    case {k}: " + " ".join([*(f"p_{a} = {a}_{k};" for a in names), f"n = n_{k}; break;"])
              for k in range(count)),
            "  }",
            *(f"  const T {n} = {'' if value else '*'}{n}_given;"
              for n, value in zip(numbers, by_value, strict=True)),
            "  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n;",
            "       i += gridDim.x * (long long)blockDim.x) {",
            body,
            "  }",
            "}\n",
        ])  # fmt: skip


class InPlaceCalls:
    """An update as calls of an array library, places in a list of arrays: those of the parameter, the
    numbers, constants, scratch. Each value is written into memory whose value nobody reads any more; results
    into their arrays.
    """

    def __init__(self, update: InPlace, xp: Any) -> None:
        self.xp = xp
        self.calls: list[Any] = []
        self.constants: list[Any] = []
        block = activated_at_once(
            Block(update.block.params, [], update.block.instructions, update.block.results)
        )
        self.block = block = sub_block(block, block.results)
        self.target = dict(update.targets)
        self.last = {r: k for k, instr in enumerate(block.instructions) for r in instr.reads()}
        # A memory is an array, which may be written to, or the number of one of scratch; `holder` has the
        # value in it.
        self.holder: dict[Any, Ref | None] = {a: a for _, a in update.targets}
        self.place: dict[Ref, Any] = {a: a for _, a in update.targets}
        self.slots: dict[Any, int] = {r: k for k, r in enumerate(block.params)}
        self.n_scratch = 0
        chosen = [(instr, self._memory(k, instr)) for k, instr in enumerate(block.instructions)]
        self._number(block)
        for instr, memory in chosen:
            self.calls.append(self._call(instr, memory))
        for r, a in update.targets:
            if self.place.get(r) is not a:  # computed elsewhere, or the gradient itself
                if any(self.place.get(r) is other for _, other in update.targets):
                    raise TypeError(
                        f"{update.name}: the new value of {update.names[a]} is in the memory of another"
                    )
                self.calls.append((xp.copyto, self.slots[a], UNARY, self._slot(r)))
        self.constants += [None] * (self._n_fresh)

    def _is_free(self, memory: Any, k: int, instr: Instr) -> bool:
        """Whether the k-th instruction may write there."""
        value = self.holder[memory]
        if value is None or self.last.get(value, -1) < k:
            return value not in self.target
        return self.last[value] == k and value in instr.reads() and value not in self.target

    def _memory(self, k: int, instr: Instr) -> Any:
        """Where the result of the k-th instruction is written to; None: the op makes an array."""
        r = instr.out
        own = self.target.get(r)
        if own is not None and self._is_free(own, k, instr):
            memory: Any = own
        elif not _is_ufunc(instr):
            return None
        else:
            scratch = [m for m in self.holder if type(m) is int and self._is_free(m, k, instr)]
            mine = [
                self.place[x]
                for x in instr.reads()
                if x in self.place and self._is_free(self.place[x], k, instr)
            ]
            memory = next(iter((*mine, *scratch)), None)
            if memory is None:
                memory = self.n_scratch
                self.n_scratch += 1
        self.holder[memory], self.place[r] = r, memory
        return memory

    def _number(self, block: Block) -> None:
        """Numbers the places: constants and what ops make after the arrays and numbers, scratch last."""
        numbers = [a for i in block.instructions for a in i.args if type(a) is not Ref]
        for key in dict.fromkeys(("number", type(x), x) for x in numbers):
            self.slots[key] = len(self.slots)
            self.constants.append(key[2])
        fresh = [i.out for i in block.instructions if i.out not in self.place]
        self._n_fresh = len(fresh)
        for x in (*fresh, *range(self.n_scratch)):
            self.slots[x] = len(self.slots)

    def _slot(self, x: Any) -> int:
        if type(x) is not Ref:
            return self.slots["number", type(x), x]
        return self.slots[self.place.get(x, x)]

    def _call(self, instr: Instr, memory: Any) -> Any:
        xp, op, args = self.xp, instr.op, [self._slot(a) for a in instr.args]
        out = self.slots[instr.out if memory is None else memory]
        if _is_ufunc(instr):
            return writing(xp, str(op.ufunc)), args[0], args[1] if len(args) > 1 else UNARY, out
        forward, settings = op.forward, instr.settings

        def run(env: list[Any]) -> None:
            y = forward(xp, *[env[a] for a in args], **settings)
            if memory is None:
                env[out] = y
            else:
                env[out][...] = y

        return run, GENERAL, GENERAL, GENERAL


def _is_ufunc(instr: Instr) -> bool:
    """Whether it is a call of the library that takes the array to write to."""
    floats = (instr.out, *(a for a in instr.args if type(a) is Ref))
    return bool(instr.op.ufunc) and all(r.dtype.kind == "f" for r in floats)


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


def lie_plainly(arrays: Sequence[Any]) -> bool:
    """Whether the arrays of a parameter are as compiled code changes them: all float32 or all float64, their
    elements one behind the other.
    """
    dtype = arrays[0].dtype
    plain = dtype.kind == "f" and dtype.itemsize in (4, 8) and dtype.isnative
    return plain and all(a.dtype is dtype and a.flags.carray for a in arrays)


def is_number(x: Any) -> bool:
    """Whether a number of an update comes at each call: a float, or an array without axes."""
    return type(x) is float or hasattr(x, "dtype")
