"""Tensors from data, from a shape, from chance. The only functions that ask which library is in use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from . import backend
from .backend import default_rng, dtypes
from .backend.naming import came
from .engine import Value
from .engine.rules import parameter_names
from .ops import as_array, ints, warn_of_constant
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def _in_pytorchs_words(function: F) -> F:
    """Lets a function that makes tensors be called with PyTorch's other settings: `generator` is `rng`,
    `out` takes the values, and `layout`, `pin_memory` and `memory_format` have no effect."""
    takes_grad = "requires_grad" in parameter_names(function)

    @functools.wraps(function)
    def make(
        *args: Any,
        out: Any = None,
        layout: Any = None,
        pin_memory: Any = False,
        memory_format: Any = None,
        generator: Any = None,
        **settings: Any,
    ) -> Any:
        if generator is not None:
            settings["rng"] = generator
        wanted = False if takes_grad else settings.pop("requires_grad", False)
        made = function(*args, **settings)
        if wanted:
            made.requires_grad = True
        return made if out is None else out.resize_(made.shape).copy_(made)

    return make  # type: ignore[return-value]


@_in_pytorchs_words
def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested lists, arrays or tensors, whose gradients it leaves
    behind, with a warning where there are any.
    """
    warn_of_constant("tensor", data)
    return _made(as_array(data, dtype, device), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without a copy where there is no need of one. A tensor that fits is returned
    itself.
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    warn_of_constant("as_tensor", data)
    return _made(as_array(data, dtype, device, copy=False))


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of a NumPy array: a change in one is a change in the other."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {came(array).removeprefix('a ')}")
    return _made(as_array(array, device="cpu", copy=False))


def _made(array: Any, requires_grad: bool = False) -> Tensor:
    result: Tensor = Tensor._of(array)
    if requires_grad:
        result.requires_grad = True
    return result


def _place(dtype: Any, device: Any) -> tuple[Any, Any]:
    kind = dtypes.default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    return (backend.current() if device is None else backend.find(device)), kind


@_in_pytorchs_words
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the given shape: `zeros(2, 3)` or `zeros((2, 3))`."""
    xp, kind = _place(dtype, device)
    return _made(xp.zeros(ints(size), kind), requires_grad)


@_in_pytorchs_words
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the given shape."""
    xp, kind = _place(dtype, device)
    return _made(xp.ones(ints(size), kind), requires_grad)


@_in_pytorchs_words
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the given shape whose values are whatever was in memory."""
    xp, kind = _place(dtype, device)
    return _made(xp.empty(ints(size), kind), requires_grad)


@_in_pytorchs_words
def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value, a number or a tensor of one element, in every place; without `dtype`, that of the value."""
    warn_of_constant("full", fill_value)
    tensor = isinstance(fill_value, Tensor)
    if dtype is None:
        whole = dtypes.int64 if isinstance(fill_value, int) else None
        dtype = fill_value.dtype if tensor else bool if isinstance(fill_value, bool) else whole
    xp, kind = _place(dtype, device)
    if tensor:
        made = Tensor._of(xp.empty(ints((size,)), kind)).fill_(fill_value.detach())
        return _made(made.array, requires_grad)
    return _made(xp.full(ints((size,)), fill_value, kind), requires_grad)


@_in_pytorchs_words
def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The identity matrix (n, m)."""
    xp, kind = _place(dtype, device)
    return _made(xp.eye(n, m, dtype=kind))


@_in_pytorchs_words
def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """start, start + step, ... up to but without `end`; `arange(n)` starts at 0. Integers give int64."""
    warn_of_constant("arange", [start, end, step])
    if end is None:
        start, end = 0, start
    if dtype is None and all(isinstance(v, (int, np.integer)) for v in (start, end, step)):
        dtype = dtypes.int64
    xp, kind = _place(dtype, device)
    return _made(xp.from_numpy(np.arange(start, end, step).astype(kind)))


@_in_pytorchs_words
def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """`steps` numbers at equal distances, from `start` to `end`, both among them."""
    warn_of_constant("linspace", [start, end])
    xp, kind = _place(dtype, device)
    return _made(xp.from_numpy(np.linspace(start, end, steps).astype(kind)))


def _like(x: Any, make: Any, dtype: Any, device: Any, requires_grad: bool, *more: Any) -> Tensor:
    dtype = x.dtype if dtype is None else dtype
    device = backend.device_of(x.array if isinstance(x, Value) else x) if device is None else device
    return make(x.shape, *more, dtype=dtype, device=device, requires_grad=requires_grad)


@_in_pytorchs_words
def zeros_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, type and place of x."""
    return _like(x, zeros, dtype, device, requires_grad)


@_in_pytorchs_words
def ones_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, type and place of x."""
    return _like(x, ones, dtype, device, requires_grad)


@_in_pytorchs_words
def empty_like(x: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever was in memory, in the shape, type and place of x."""
    return _like(x, empty, dtype, device, requires_grad)


@_in_pytorchs_words
def full_like(
    x: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value in the shape, type and place of x."""
    return _like(x, full, dtype, device, requires_grad, fill_value)


# ---------------------------------------------------------------- chance: drawn on the host, so the same on
# every device


def _drawn(host: Any, dtype: Any, device: Any, requires_grad: bool = False) -> Tensor:
    xp, kind = _place(dtype, device)
    return _made(xp.from_numpy(np.asarray(host).astype(kind)), requires_grad)


@_in_pytorchs_words
def rand(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, rng: Any = None
) -> Tensor:
    """Numbers drawn evenly from [0, 1)."""
    return _drawn(default_rng(rng).random(ints(size)), dtype, device, requires_grad)


@_in_pytorchs_words
def randn(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, rng: Any = None
) -> Tensor:
    """Normally distributed numbers of mean 0 and variance 1."""
    return _drawn(default_rng(rng).standard_normal(ints(size)), dtype, device, requires_grad)


@_in_pytorchs_words
def randint(
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    rng: Any = None,
) -> Tensor:
    """Integers drawn evenly from low, ..., high - 1: `randint(low, high, size)` or `randint(high, size)`."""
    if high is None and size is not None:
        low, high = 0, low
    if size is None:
        if high is None or isinstance(high, int):
            raise TypeError("randint: give a shape last: randint(high, (2, 3)) or randint(low, high, (2, 3))")
        low, high, size = 0, low, high
    return _drawn(
        default_rng(rng).integers(low, high, ints((size,))), dtypes.int64 if dtype is None else dtype, device
    )


@_in_pytorchs_words
def randperm(n: int, *, device: Any = None, rng: Any = None) -> Tensor:
    """The integers 0 to n - 1 in an order drawn by chance."""
    return _drawn(default_rng(rng).permutation(n), dtypes.int64, device)


@_in_pytorchs_words
def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, dtype: Any = None, device: Any = None, rng: Any = None
) -> Tensor:
    """Normally distributed numbers: of a shape, or one for each element of `mean` or `std`, if tensors."""
    warn_of_constant("normal", [mean, std])
    tensors = [v for v in (mean, std) if isinstance(v, Tensor)]
    if not tensors and size is None:
        raise TypeError("normal: give a size, as in normal(0.0, 1.0, (2, 3)), or a tensor as mean or std")
    for given in tensors:
        dtype, device = dtype or given.dtype, device or backend.device_of(given.array)
    loc, scale = (backend.to_numpy(v.array) if isinstance(v, Value) else v for v in (mean, std))
    shape = None if size is None else ints((size,))
    return _drawn(default_rng(rng).normal(loc, scale, shape), dtype, device)


@_in_pytorchs_words
def bernoulli(p: Any, *, rng: Any = None) -> Tensor:
    """1 with the probability that each element of p names, else 0."""
    host = backend.to_numpy(p.array if isinstance(p, Value) else np.asarray(p))
    device = backend.device_of(p.array) if isinstance(p, Value) else None
    return _drawn(default_rng(rng).random(host.shape) < host, host.dtype, device)


@_in_pytorchs_words
def rand_like(x: Tensor, *, rng: Any = None) -> Tensor:
    """`rand` in the shape, type and place of x."""
    return rand(x.shape, dtype=x.dtype, device=x.device, rng=rng)


@_in_pytorchs_words
def randn_like(x: Tensor, *, rng: Any = None) -> Tensor:
    """`randn` in the shape, type and place of x."""
    return randn(x.shape, dtype=x.dtype, device=x.device, rng=rng)
