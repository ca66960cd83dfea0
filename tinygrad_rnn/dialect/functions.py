"""Functions of PyTorch's that are a line or two of others, and no op of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backend, ops
from ..backend import dtypes
from ..creation import arange, as_tensor, empty, linspace, randint, tensor, zeros_like
from ..nn.functional import cosine_similarity, dropout
from ..tensor import Tensor
from .arithmetic import addmm, div, mode

__all__ = [
    "aminmax",
    "asarray",
    "baddbmm",
    "bitwise_not",
    "bucketize",
    "cartesian_prod",
    "cdist",
    "chain_matmul",
    "clamp_max",
    "clamp_min",
    "cosine_similarity",
    "deg2rad",
    "diagflat",
    "dist",
    "dropout",
    "empty_strided",
    "erfc",
    "fliplr",
    "flipud",
    "fmax",
    "fmin",
    "fmod",
    "histc",
    "hsplit",
    "hypot",
    "is_complex",
    "is_nonzero",
    "is_same_size",
    "is_signed",
    "isneginf",
    "isposinf",
    "logspace",
    "mode",
    "nanmean",
    "nansum",
    "pairwise_distance",
    "poisson",
    "promote_types",
    "rad2deg",
    "randint_like",
    "range",
    "relu_",
    "result_type",
    "rms_norm",
    "rot90",
    "rsub",
    "scalar_tensor",
    "sigmoid_",
    "std_mean",
    "take",
    "tanh_",
    "tensordot",
    "tril_indices",
    "triu_indices",
    "typename",
    "var_mean",
    "vdot",
    "vsplit",
    "xlogy",
]

baddbmm = addmm
asarray = as_tensor
vdot = ops.matmul
_range = range


def clamp_min(input: Tensor, min: Any) -> Any:
    """The elements held above min."""
    return ops.clip(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Any:
    """The elements held below max."""
    return ops.clip(input, max=max)


def bitwise_not(input: Tensor) -> Any:
    """~input."""
    return ~input


def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha * input."""
    return other - input * alpha


def fmod(input: Any, other: Any) -> Any:
    """What is left of division rounded towards 0, with the sign of `input`."""
    return input - div(input, other, rounding_mode="trunc") * other


def xlogy(input: Any, other: Any) -> Any:
    """input * log(other); 0 where input is 0."""
    return ops.where(input == 0, 0.0, input * ops.log(ops.where(input == 0, 1.0, other)))


def isposinf(input: Tensor) -> Any:
    """Where it is plus infinity."""
    return input == math.inf


def isneginf(input: Tensor) -> Any:
    """Where it is minus infinity."""
    return input == -math.inf


def is_complex(input: Tensor) -> bool:
    """False: there are no complex tensors."""
    return False


def is_signed(input: Tensor) -> bool:
    """Whether its type holds negative numbers."""
    return input.is_signed()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return input.is_same_size(other)


def is_nonzero(input: Tensor) -> bool:
    """Whether its only element is not 0."""
    return bool(input)


def take(input: Tensor, index: Tensor) -> Any:
    """The elements at places of the flat tensor."""
    return ops.reshape(input, -1)[index]


def fliplr(input: Tensor) -> Any:
    """The second axis reversed."""
    return ops.flip(input, 1)


def flipud(input: Tensor) -> Any:
    """The first axis reversed."""
    return ops.flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    """Turned by 90 degrees, k times, from the first to the second of two axes."""
    i, j = dims
    for _ in _range(k % 4):
        input = ops.flip(ops.swapaxes(input, i, j), i)
    return input


def std_mean(input: Tensor, dim: Any = None, **settings: Any) -> tuple[Any, Any]:
    """`(std, mean)`."""
    keep = bool(settings.get("keepdim", False))
    return ops.std(input, dim, **settings), ops.mean(input, dim, keep)


def var_mean(input: Tensor, dim: Any = None, **settings: Any) -> tuple[Any, Any]:
    """`(var, mean)`."""
    keep = bool(settings.get("keepdim", False))
    return ops.var(input, dim, **settings), ops.mean(input, dim, keep)


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The sum of what is not NaN."""
    return ops.sum(ops.where(ops.isnan(input), 0.0, input), dim, keepdim)


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The mean of what is not NaN."""
    return nansum(input, dim, keepdim) / ops.sum(ops.logical_not(ops.isnan(input)), dim, keepdim)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Any:
    """The p-norm of the difference."""
    return ops.norm(input - other, p)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    """The p-norms of x1 - x2 + eps along the last axis."""
    return ops.norm(x1 - x2 + eps, p, -1, keepdim)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Any:
    """The p-norms between all rows of two matrices: (.., n, d) and (.., m, d) -> (.., n, m)."""
    return ops.norm(ops.unsqueeze(x1, -2) - ops.unsqueeze(x2, -3), p, -1)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Any:
    """Sums of products over the last `dims` axes of a and the first of b, or over two lists of axes."""
    if isinstance(dims, int):
        dims = (list(_range(a.ndim - dims, a.ndim)), list(_range(dims)))
    left, right = ([d % x.ndim for d in each] for x, each in zip((a, b), dims, strict=True))
    rest_a = [d for d in _range(a.ndim) if d not in left]
    rest_b = [d for d in _range(b.ndim) if d not in right]
    n = math.prod(a.shape[d] for d in left)
    x = a.permute(*rest_a, *left).reshape(-1, n)
    y = b.permute(*right, *rest_b).reshape(n, -1)
    return ops.matmul(x, y).reshape(*(a.shape[d] for d in rest_a), *(b.shape[d] for d in rest_b))


def chain_matmul(*matrices: Tensor) -> Any:
    """The product of several matrices, from the left."""
    y: Any = matrices[0]
    for x in matrices[1:]:
        y = ops.matmul(y, x)
    return y


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Any:
    """x over the root of the mean of its squares along the last axes, times weight (Zhang & Sennrich
    2019)."""
    axes = tuple(_range(-len(normalized_shape), 0))
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    y = input * ops.rsqrt(ops.mean(input * input, axes, True) + eps)
    return y if weight is None else y * weight


def erfc(input: Tensor) -> Any:
    """1 - erf(input)."""
    return 1 - ops.erf(input)


def deg2rad(input: Tensor) -> Any:
    """Degrees as radians."""
    return input * (math.pi / 180)


def rad2deg(input: Tensor) -> Any:
    """Radians as degrees."""
    return input * (180 / math.pi)


def hypot(input: Tensor, other: Tensor) -> Any:
    """The root of the sum of both squares."""
    return ops.sqrt(input * input + other * other)


def fmax(input: Tensor, other: Tensor) -> Any:
    """The larger of two; where one is NaN, the other."""
    return ops.where(ops.isnan(input), other, ops.where(ops.isnan(other), input, ops.maximum(input, other)))


def fmin(input: Tensor, other: Tensor) -> Any:
    """The smaller of two; where one is NaN, the other."""
    return -fmax(-input, -other)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Any, Any]:
    """`(min, max)`."""
    return ops.amin(input, dim, keepdim), ops.amax(input, dim, keepdim)


def diagflat(input: Tensor, offset: int = 0) -> Any:
    """A matrix with the elements on its diagonal."""
    return ops.diag(ops.reshape(input, -1), offset)


def hsplit(input: Tensor, indices_or_sections: Any) -> Any:
    """`tensor_split` along the second axis, or the only one."""
    return ops.tensor_split(input, indices_or_sections, 1 if input.ndim > 1 else 0)


def vsplit(input: Tensor, indices_or_sections: Any) -> Any:
    """`tensor_split` along the first axis."""
    return ops.tensor_split(input, indices_or_sections, 0)


def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return input.relu_()


def sigmoid_(input: Tensor) -> Tensor:
    """`sigmoid` in place."""
    return input.sigmoid_()


def tanh_(input: Tensor) -> Tensor:
    """`tanh` in place."""
    return input.tanh_()


def typename(obj: Any) -> str:
    """The name of a tensor's type, "torch.FloatTensor", or of an object's class."""
    return str(obj.type()) if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__qualname__}"


# ---------------------------------------------------------------- made


def logspace(start: float, end: float, steps: int, base: float = 10.0, **settings: Any) -> Tensor:
    """`steps` numbers whose logarithms to the base are at equal distances."""
    y: Tensor = base ** linspace(start, end, steps, dtype="float64")
    return y.to(settings.pop("dtype", dtypes.default_dtype()), **settings)


def range(start: float = 0, end: float | None = None, step: float = 1, **settings: Any) -> Tensor:
    """start, start + step, ... up to `end`, which is among them: floats."""
    if end is None:
        start, end = 0, start
    settings.setdefault("dtype", dtypes.default_dtype())
    return arange(start, end + step / 2, step, **settings)


def scalar_tensor(s: Any, **settings: Any) -> Tensor:
    """A number as a tensor without axes, floating."""
    settings.setdefault("dtype", dtypes.default_dtype())
    return tensor(s, **settings)


def randint_like(input: Tensor, low: int, high: int | None = None, **settings: Any) -> Tensor:
    """Integers drawn evenly, from low to high - 1 or from 0 to low - 1, in the shape and type of input."""
    low, high = (low, high) if high is not None else (0, low)
    settings.setdefault("dtype", input.dtype)
    return randint(low, high, tuple(input.shape), **settings)


def poisson(input: Tensor, *, generator: Any = None) -> Tensor:
    """Numbers drawn from Poisson distributions of these rates."""
    drawn = backend.default_rng(generator).poisson(backend.to_numpy(input.array))
    return tensor(drawn, input.dtype, input.device)


def empty_strided(size: Sequence[int], stride: Sequence[int], **settings: Any) -> Tensor:
    """Whatever was in memory, of a shape. Strides are read and have no effect."""
    return empty(size, **settings)


def cartesian_prod(*tensors: Tensor) -> Any:
    """All combinations of the elements of vectors, a row each."""
    if len(tensors) == 1:
        return tensors[0]
    return ops.stack([x.reshape(-1) for x in ops.meshgrid(*tensors)], -1)


def tril_indices(row: int, col: int, offset: int = 0, **settings: Any) -> Tensor:
    """Where the lower triangle of a matrix is: (2, n) integers."""
    return tensor(np.stack(np.tril_indices(row, offset, col)), **settings)


def triu_indices(row: int, col: int, offset: int = 0, **settings: Any) -> Tensor:
    """Where the upper triangle of a matrix is: (2, n) integers."""
    return tensor(np.stack(np.triu_indices(row, offset, col)), **settings)


def bucketize(input: Tensor, boundaries: Tensor, *, right: bool = False) -> Any:
    """Between which boundaries each element lies, int64."""
    return ops.searchsorted(boundaries, input, right=right)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of so many parts of [min, max], or of the range they have."""
    host = backend.to_numpy(input.array)
    bounds = (float(host.min()), float(host.max())) if min == max == 0 else (min, max)
    counts = np.histogram(host, bins, bounds)[0]
    made: Tensor = zeros_like(input).new_tensor(counts)
    return made


def result_type(tensor1: Any, tensor2: Any) -> Any:
    """The type of the sum of two."""
    return (tensor1 + tensor2).dtype


def promote_types(type1: Any, type2: Any) -> Any:
    """The smallest type that both convert to; integers never widen a float."""
    a, b = dtypes.as_dtype(type1), dtypes.as_dtype(type2)
    if (a.kind == "f") != (b.kind == "f"):
        return a if a.kind == "f" else b
    return np.promote_types(a, b)
