"""What PyTorch has a name for and other ops say already; and comparisons of whole tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, array_module
from ..backend.naming import describe
from ..engine import Value
from ..engine.errors import Mismatch, WrongKind
from .arguments import axis_of, both_dialects, plain, wide
from .elementwise import sqrt
from .elementwise import where as choose
from .index import getitem, nonzero
from .rearrange import diag


def square(x: Array) -> Array:
    """x * x."""
    return x * x


def reciprocal(x: Array) -> Array:
    """1 / x."""
    return 1 / x


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x); NaN of negative x, -inf too."""
    return 1 / sqrt(x)


def outer(x: Array, y: Array) -> Array:
    """x_i * y_j of two vectors: (n,) and (m,) -> (n, m)."""
    if getattr(x, "ndim", 0) != 1 or getattr(y, "ndim", 0) != 1:
        raise Mismatch(f"outer: expected two vectors, got {describe(x)} and {describe(y)}")
    return x[:, None] * y[None, :]


def masked_select(x: Array, mask: Array) -> Array:
    """The elements of x where the mask holds, in a vector; the mask broadcasts to x."""
    if getattr(getattr(mask, "dtype", None), "kind", "") != "b":
        raise WrongKind(f"masked_select: the mask must be a tensor of booleans, got {describe(mask)}")
    array = plain(mask)
    return getitem(x, array_module(array).broadcast_to(array, tuple(x.shape)))


@both_dialects
def select(x: Array, axis: int, index: int) -> Array:
    """The slice `index` along `axis`, without that axis."""
    return getitem(x, (slice(None),) * axis_of("select", axis, x.ndim) + (index,))


@both_dialects
def narrow(x: Array, axis: int, start: int, length: int) -> Array:
    """The `length` elements from `start` on along `axis`."""
    axis = axis_of("narrow", axis, x.ndim)
    start = start + x.shape[axis] if start < 0 else start
    if not 0 <= start <= start + length <= x.shape[axis]:
        raise IndexError(
            f"narrow: {length} elements from {start} on are more than axis {axis} of {tuple(x.shape)} has"
        )
    return getitem(x, (slice(None),) * axis + (slice(start, start + length),))


@both_dialects
def where(condition: Array, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; or of a condition alone `nonzero(as_tuple=True)`."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return choose(condition, input, other)


@wide(integers=True)
def lerp(x: Array, end: Array, weight: Any) -> Array:
    """The part `weight` of the way from x to `end`."""
    return x + (end - x) * weight


def addcmul(x: Array, tensor1: Array, tensor2: Array, *, value: Any = 1) -> Array:
    """x + value * tensor1 * tensor2."""
    return x + tensor1 * tensor2 * value


def addcdiv(x: Array, tensor1: Array, tensor2: Array, *, value: Any = 1) -> Array:
    """x + value * tensor1 / tensor2."""
    return x + tensor1 / tensor2 * value


def logical_xor(x: Array, y: Array) -> Array:
    """Where one of the two holds and not both: booleans."""
    return (x != 0) != (y != 0)


@both_dialects
def nan_to_num(x: Array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Array:
    """x with numbers in place of NaN and infinity: by default 0 and the largest that the type holds."""
    if x.dtype.kind != "f":
        return x
    largest = float(np.finfo(x.dtype).max)
    y = choose(x != x, nan, x)
    y = choose(y == math.inf, largest if posinf is None else posinf, y)
    return choose(y == -math.inf, -largest if neginf is None else neginf, y)


@both_dialects
def trace(x: Array) -> Array:
    """The sum of the diagonal of a matrix."""
    return diag(x).sum()


# ---------------------------------------------------------------- without gradients


def isclose(x: Array, y: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """Where |x - y| <= atol + rtol * |y|: booleans."""
    a, b = plain(x), plain(y)
    close = array_module(a, b).isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return Value.result._of(close) if isinstance(x, Value) or isinstance(y, Value) else close


def allclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere, as a Python bool."""
    return bool(plain(isclose(x, y, rtol, atol, equal_nan)).all())


@both_dialects
def equal(x: Array, y: Array) -> bool:
    """Whether the shapes and all elements are equal, as a Python bool."""
    a, b = plain(x), plain(y)
    return tuple(a.shape) == tuple(b.shape) and bool((a == b).all())
