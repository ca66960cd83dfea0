"""What the rest of the package may ask of an array library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .capture import CannotCapture, Capture, capturing
from .dtypes import ADDED_IN

Array = Any  # an array of the library in use: numpy.ndarray, cupy.ndarray, ...


# Chebyshev coefficients of log(erfc(z) exp(z^2) / t) in 4 t - 2, t = 2 / (2 + z) (Numerical Recipes, 6.2).
_ERFC = (
    -1.3026537197817094, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632,
    -0.0009465953444820369, 0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05,
    -1.6242900046470256e-06, 1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08,
    6.5290544390988515e-09, 5.059343495551469e-09, -9.91364156493033e-10, -2.273651222931836e-10,
    9.646791102015527e-11, 2.3940380830391146e-12, -6.886027526497553e-12, 8.944879273090725e-13,
    3.130921399342958e-13, -1.1270822361367252e-13, 3.810905255189232e-16, 7.106097613609237e-15,
    -1.5230282014571043e-15, -9.457494571291233e-17,
)  # fmt: skip


class ArrayModule:
    """An array library as ops see it: its own functions by name (`xp.tanh`), and the few on which libraries
    differ.

    The first use of a function looks it up in the library and keeps it, so that later uses cost an attribute
    access. A function that a library lacks or spells differently is a method of the subclass, with the reason
    beside it.
    """

    name: str  # "numpy", "cupy"
    device_type: str  # "cpu", "cuda"
    array_type: type
    library: Any
    language = "python"  # what fused functions are made into: "python", calls of the library, or "cuda"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "library":
            raise AttributeError(name)
        value = getattr(self.library, name)
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return f"<array module {self.name}>"

    def is_available(self) -> bool:
        """Whether arrays can be made here and now."""
        return True

    def owner(self, array: Array) -> Array:
        """The array that owns the memory `array` looks into: itself, or the one it is a view of."""
        base = array.base
        return base if isinstance(base, self.array_type) else array

    def lend(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An empty array for the values of many time steps."""
        return self.empty(shape, dtype)

    def aligned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An empty array at a place in memory that is best for elementwise operations."""
        return self.empty(shape, dtype)

    def below(self, arrays: Sequence[Array]) -> Array:
        """Matrices below each other."""
        return self.concatenate(arrays, 0)

    def product(self, a: Array, b: Array, add: Array | None = None) -> Array:
        """a @ b of two matrices, and the sum of that and `add`, which may be a row."""
        y = self.matmul(a, b)
        return y if add is None else self.add(y, add, out=y) if y.dtype == add.dtype else y + add

    def matmul_into(self, a: Array, b: Array, out: Array) -> None:
        """Writes a @ b of two matrices into `out`."""
        self.copyto(out, self.matmul(a, b))

    def broadcasting_in(self, x: Array) -> AbstractContextManager[None]:
        """In this block a column is broadcast along the rows of x, or a row to each of them."""
        return nullcontext()

    def row_sums(self, x: Array, y: Array | None = None) -> Array:
        """The sums of x, or of x * y, along the last axis, which stays."""
        total: Array = (x if y is None else x * y).sum(axis=-1, keepdims=True)
        return total

    def column_sums(self, x: Array) -> Array:
        """The sums of floats over all axes but the last: (..., m) -> (m,)."""
        total = x.sum(axis=tuple(range(x.ndim - 1)), dtype=ADDED_IN.get(x.dtype))
        return total.astype(x.dtype, copy=False)

    def square_sum(self, x: Array) -> Array:
        """The sum of the squares of all elements, in float64."""
        return self.sum(self.square(x, dtype="float64"))

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        raise NotImplementedError

    def kernel(self, source: str, name: str) -> Any:
        """The CUDA function `name` of a source text, to be called with (grid, block, arguments): arrays are
        passed as pointers, integers as long long, floats as double. For libraries whose language is "cuda".
        """
        raise NotImplementedError

    @property
    def capturing(self) -> Capture | None:
        """The step that is being captured in this thread, if one is."""
        return capturing.get()

    def fed(self, make: Callable[[], Any]) -> Array:
        """What the host makes, such as random numbers, as an array of the library. A step that is captured
        has it made again at each replay.
        """
        return self.from_numpy(make())

    def number(self, array: np.ndarray[Any, Any]) -> Array:
        """An array without axes on the host as one of the library. Where a step is being captured, it is read
        anew at each replay.
        """
        current = capturing.get()
        return self.from_numpy(array) if current is None else current.feed_number(array)

    def numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """The numbers of a step: themselves. In a step that is captured, arrays without axes for the floats
        among them, which at each replay have the values that `again` gives then.
        """
        return now

    def at_once(self) -> AbstractContextManager[None]:
        """In this block work is done here and now, in memory of the usual kind, also where a step is being
        captured: for what is made once and outlives the step, such as the state of an optimiser. Made in the
        graph, it would be made anew at each replay, and hold nothing before the first.
        """
        return nullcontext()

    def kept(
        self, make: Callable[[], Sequence[Array]], before: Sequence[Array] | None = None
    ) -> Sequence[Array]:
        """Arrays that are kept from step to step and may be let go: `before`, or where there are none those
        that `make` gives. A graph that is being captured holds them, as it will go on using their memory.
        """
        if before is None:
            with self.at_once():
                before = make()
        current = capturing.get()
        if current is not None:
            current.keep(before)
        return before

    def scalar(self, array: Array) -> Any:
        """An array without axes as a factor for arrays: a Python number where reading it costs nothing."""
        return array

    def capture(self, run: Callable[[], Any]) -> Any:
        """Runs a function without executing it, and returns (its result, what executes it each time that it
        is called). Raises CannotCapture.
        """
        raise CannotCapture(f"arrays of {self.name} are computed at once; there is nothing to capture")

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """`target[index] += values` in place, where `index` may name a place many times."""
        raise NotImplementedError

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x)) to the last digits, also far below zero, so that it has a logarithm: with e =
        exp(-|x|), which cannot overflow, it is 1 / (1 + e) on one side of zero and e / (1 + e) on the other.
        """
        e = self.exp(-self.abs(x))
        return self.maximum(e, x >= 0) / (1 + e)

    def erf(self, x: Array) -> Array:
        """The error function, to the last digit or two: 1 - t exp(-z^2 + p(t)) for z = |x|, and its power
        series for small x, where that cancels.
        """
        kind = x.dtype
        z = self.minimum(self.abs(x), 30.0)  # from where on it is 1
        if kind == "float16":
            z = z.astype("float32")
        t = 2 / (2 + z)
        u = 4 * t - 2
        d = dd = self.zeros_like(z)
        for c in _ERFC[:0:-1] if kind == "float64" else _ERFC[12:0:-1]:  # Clenshaw's recurrence
            d, dd = u * d - dd + c, d
        tail = t * self.exp(0.5 * (_ERFC[0] + u * d) - dd - z * z)
        square, near = self.minimum(z, 0.5) ** 2, 0.0
        for k in range(12 if kind == "float64" else 6, -1, -1):
            near = (-1) ** k * 2 / math.sqrt(math.pi) / (math.factorial(k) * (2 * k + 1)) + near * square
        return (self.sign(x) * self.where(z < 0.5, z * near, 1 - tail)).astype(kind)
