"""Tensor's methods under PyTorch's names: ops with the tensor as their first argument, and what they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from .. import backend, ops
from ..backend import array_module, dtypes
from ..engine import Value
from ..ops import Size, as_array
from .arithmetic import add, addmm, div, mode, sub
from .casts import Casts, made_of

S = TypeVar("S", bound="Methods")

__all__ = ["Methods"]


class Methods(Casts):
    """What a tensor is asked, made into, and combined with, in PyTorch's words."""

    __slots__ = ()

    # ------------------------------------------------------------ what it is

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        shape = self.array.shape
        return Size(shape) if dim is None else shape[ops.axis_of("size", dim, len(shape))]

    def dim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.array.shape)

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.array.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How many elements lie between neighbours along each axis, or along one."""
        steps = tuple(s // self.array.dtype.itemsize for s in self.array.strides)
        return steps if dim is None else steps[ops.axis_of("stride", dim, len(steps))]

    def is_floating_point(self) -> bool:
        return self.array.dtype.kind == "f"

    def is_complex(self) -> bool:
        return False

    def is_signed(self) -> bool:
        return self.array.dtype.kind in "if"

    def is_contiguous(self, **memory_format: Any) -> bool:
        return bool(self.array.flags.c_contiguous)

    is_cpu = property(lambda self: backend.device_of(self.array).type == "cpu")
    is_sparse = is_quantized = is_meta = is_mkldnn = is_mps = is_xla = is_nested = is_xpu = False
    itemsize = property(lambda self: self.array.dtype.itemsize)
    output_nr = property(lambda self: getattr(self.vertex, "k", 0))
    name = None

    def is_inference(self) -> bool:
        return False

    def storage_offset(self) -> int:
        """How many elements of its memory come before its first one."""
        base = array_module(self.array).owner(self.array)
        return int(self.data_ptr() - Value.result._of(base).data_ptr()) // self.array.dtype.itemsize

    def is_same_size(self, other: Value) -> bool:
        """Whether the shapes are equal."""
        return tuple(self.array.shape) == tuple(other.array.shape)

    def is_pinned(self) -> bool:
        """Whether it lies in pinned memory: there is none here."""
        return False

    def is_shared(self) -> bool:
        """Whether it lies in memory that processes share: there is none here."""
        return False

    def data_ptr(self) -> int:
        """The address of its first element, as a number to tell memory apart by."""
        array = self.array
        return int(array.ctypes.data if hasattr(array, "ctypes") else array.data.ptr)

    def get_device(self) -> int:
        """The number of its GPU, -1 on the CPU."""
        where = backend.device_of(self.array)
        return -1 if where.type == "cpu" else where.index or 0

    def pin_memory(self: S, device: Any = None) -> S:
        """Itself: there is no pinned memory here."""
        return self

    def share_memory_(self: S) -> S:
        """Itself: processes share no memory here."""
        return self

    # ------------------------------------------------------------ ops as methods

    eq, ne, lt, le, gt, ge = ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    not_equal, less, less_equal, greater, greater_equal = ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    mul, multiply, pow, true_divide = ops.mul, ops.mul, ops.pow, ops.div
    floor_divide, remainder, neg, negative, matmul = (
        ops.floor_divide,
        ops.remainder,
        ops.neg,
        ops.neg,
        ops.matmul,
    )
    abs = absolute = ops.abs
    lerp, addcmul, addcdiv = ops.lerp, ops.addcmul, ops.addcdiv
    exp, log, log1p, expm1, sqrt, sin, cos = (
        ops.exp, ops.log, ops.log1p, ops.expm1, ops.sqrt, ops.sin, ops.cos,
    )  # fmt: skip
    tan, atan, arctan, atan2, asin, acos = ops.tan, ops.atan, ops.atan, ops.atan2, ops.asin, ops.acos
    sinh, cosh, log2, log10, exp2, logit = ops.sinh, ops.cosh, ops.log2, ops.log10, ops.exp2, ops.logit
    logaddexp, sign, floor, round, erf = ops.logaddexp, ops.sign, ops.floor, ops.round, ops.erf
    ceil, trunc, fix, frac, sgn = ops.ceil, ops.trunc, ops.trunc, ops.frac, ops.sign
    logical_and, logical_or, logical_not, logical_xor = (
        ops.logical_and, ops.logical_or, ops.logical_not, ops.logical_xor,
    )  # fmt: skip
    bitwise_and, bitwise_or, bitwise_xor = ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor
    isnan, isinf, isfinite, nan_to_num = ops.isnan, ops.isinf, ops.isfinite, ops.nan_to_num
    tanh, sigmoid, relu, softmax, log_softmax = ops.tanh, ops.sigmoid, ops.relu, ops.softmax, ops.log_softmax
    prelu = ops.prelu
    maximum, minimum, clip, clamp, masked_fill = ops.maximum, ops.minimum, ops.clip, ops.clip, ops.masked_fill
    mm, bmm, dot, mv, outer, inner, ger = (
        ops.matmul, ops.matmul, ops.matmul, ops.matmul, ops.outer, ops.matmul, ops.outer,
    )  # fmt: skip
    square, reciprocal, rsqrt = ops.square, ops.reciprocal, ops.rsqrt
    select, narrow, masked_select = ops.select, ops.narrow, ops.masked_select
    equal, isclose, allclose = ops.equal, ops.isclose, ops.allclose
    sum, mean, var, std, prod, cumsum = ops.sum, ops.mean, ops.var, ops.std, ops.prod, ops.cumsum
    cumprod, cummax, cummin, logcumsumexp, diff = (
        ops.cumprod, ops.cummax, ops.cummin, ops.logcumsumexp, ops.diff,
    )  # fmt: skip
    max, min, amax, amin, argmax, argmin = ops.max, ops.min, ops.amax, ops.amin, ops.argmax, ops.argmin
    median, kthvalue, quantile, count_nonzero = ops.median, ops.kthvalue, ops.quantile, ops.count_nonzero
    logsumexp, norm, all, any = ops.logsumexp, ops.norm, ops.all, ops.any
    reshape, flatten, ravel, unflatten = ops.reshape, ops.flatten, ops.flatten, ops.unflatten
    permute, transpose, swapaxes, swapdims, t = (
        ops.permute, ops.transpose, ops.swapaxes, ops.swapaxes, ops.t,
    )  # fmt: skip
    movedim, moveaxis, roll, unfold = ops.movedim, ops.movedim, ops.roll, ops.unfold
    squeeze, unsqueeze, flip, repeat, tile = ops.squeeze, ops.unsqueeze, ops.flip, ops.tile, ops.tile
    broadcast_to, expand, repeat_interleave = ops.broadcast_to, ops.expand, ops.repeat_interleave
    split, chunk, unbind, tensor_split = ops.split, ops.chunk, ops.unbind, ops.tensor_split
    split_with_sizes = ops.split
    tril, triu, diag, diagonal, diag_embed, trace = (
        ops.tril, ops.triu, ops.diag, ops.diagonal, ops.diag_embed, ops.trace,
    )  # fmt: skip
    gather, take_along_axis, take_along_dim, index_select = (
        ops.gather, ops.take_along_axis, ops.take_along_dim, ops.index_select,
    )  # fmt: skip
    scatter, scatter_add, masked_scatter = ops.scatter, ops.scatter_add, ops.masked_scatter
    index_add, index_copy, index_fill = ops.index_add, ops.index_copy, ops.index_fill
    sort, argsort, topk, nonzero, multinomial = ops.sort, ops.argsort, ops.topk, ops.nonzero, ops.multinomial
    argwhere, unique, unique_consecutive, bincount = (
        ops.nonzero, ops.unique, ops.unique_consecutive, ops.bincount,
    )  # fmt: skip

    def add(self, other: Any, *, alpha: Any = 1) -> Any:
        """self + alpha * other."""
        return add(self, other, alpha=alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Any:
        """self - alpha * other."""
        return sub(self, other, alpha=alpha)

    subtract = sub

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Any:
        """self / other; rounded down, "floor", or towards 0, "trunc"."""
        return div(self, other, rounding_mode=rounding_mode)

    divide = div

    def view(self, *shape: Any) -> Any:
        """The same elements in another shape, as `reshape`; of a dtype, the same memory read as that type."""
        if len(shape) == 1 and isinstance(shape[0], (np.dtype, str)):
            return Value.result._of(self.array.view(dtypes.as_dtype(shape[0])))
        return ops.reshape(self, *shape)

    def contiguous(self, **memory_format: Any) -> Any:
        """The same elements in row-major memory: itself where they already lie so."""
        return ops.contiguous(self)

    def clamp_min(self, min: Any) -> Any:
        """The elements held above min."""
        return ops.clip(self, min=min)

    def clamp_max(self, max: Any) -> Any:
        """The elements held below max."""
        return ops.clip(self, max=max)

    def mode(self, dim: int = -1, keepdim: bool = False) -> Any:
        """`(values, indices)` of the commonest element along `dim`."""
        return mode(self, dim, keepdim)

    def addmm(self, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """beta * self + alpha * mat1 @ mat2."""
        return addmm(self, mat1, mat2, beta=beta, alpha=alpha)

    def baddbmm(self, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        """beta * self + alpha * batch1 @ batch2."""
        return addmm(self, batch1, batch2, beta=beta, alpha=alpha)

    addmv = addmm

    def bernoulli(self, p: Any = None, *, generator: Any = None) -> Any:
        """1 with the probability that each element names, or p, else 0."""
        like = ops.clone(self) if not isinstance(self, Value) else Value.result._of(self.array.copy())
        return like.bernoulli_(self if p is None else p, generator=generator)

    def dist(self, other: Value, p: float = 2) -> Any:
        """The p-norm of the difference."""
        return ops.norm(self - other, p)  # type: ignore[operator]

    def sum_to_size(self, *size: Any) -> Any:
        """Summed over axes until it has this shape, to which it must have been broadcast."""
        shape, x = ops.ints(size), self
        extra = self.array.ndim - len(shape)
        axes = [*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1)]
        return ops.reshape(ops.sum(x, tuple(axes), True) if axes else x, shape)

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where the condition holds, else other."""
        return ops.where(condition, self, other)

    def view_as(self, other: Value) -> Any:
        """In the shape of `other`."""
        return ops.reshape(self, other.array.shape)

    reshape_as = view_as

    def expand_as(self, other: Value) -> Any:
        """Broadcast to the shape of `other`."""
        return ops.broadcast_to(self, other.array.shape)

    @property
    def T(self) -> Any:
        """The axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, -1, -2)

    def take(self, index: Any) -> Any:
        """The elements at places of the flat tensor."""
        return ops.reshape(self, -1)[index]

    def index_put(self, indices: tuple[Any, ...], values: Any, accumulate: bool = False) -> Any:
        """A copy with values at an index; with `accumulate` they are added."""
        index = ops.clean_index(self.array, tuple(indices))
        if accumulate:
            return ops.add_at(self, index, values)
        return ops.set_item(self, values, index=index)

    def fmod(self, other: Any) -> Any:
        """What is left of division rounded towards 0."""
        return ops.sub(self, div(self, other, rounding_mode="trunc") * other)

    def nansum(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The sum of what is not NaN."""
        return ops.sum(ops.where(ops.isnan(self), 0.0, self), dim, keepdim)

    def nanmean(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The mean of what is not NaN."""
        return self.nansum(dim, keepdim) / ops.sum(ops.logical_not(ops.isnan(self)), dim, keepdim)

    def bitwise_not(self) -> Any:
        """~self."""
        return ~self  # type: ignore[operator]

    def apply_(self: S, callable: Any) -> S:
        """Puts what a function makes of each element in its place: slow, and on the CPU alone."""
        made = np.vectorize(callable, otypes=[self.array.dtype])(backend.to_numpy(self.array))
        return self.copy_(Value.result._of(array_module(self.array).from_numpy(made)))  # type: ignore[attr-defined]

    # ------------------------------------------------------------ others like it

    def new_zeros(
        self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        """Zeros of another shape; without `dtype` or `device` in this tensor's type and on its device."""
        return self.new_full(ops.ints(size), 0, dtype=dtype, device=device, requires_grad=requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        """Ones of another shape; without `dtype` or `device` in this tensor's type and on its device."""
        return self.new_full(ops.ints(size), 1, dtype=dtype, device=device, requires_grad=requires_grad)

    new_empty = new_zeros

    def new_full(
        self,
        size: Sequence[Any],
        fill_value: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Any:
        """One value in another shape; without `dtype` or `device` in this tensor's type and on its device."""
        size = size if type(size) is tuple else ops.ints((size,))  # as new_zeros gives it
        if type(fill_value) is not int:
            ops.warn_of_constant("new_full", fill_value)
        kind = self.array.dtype if dtype is None else dtypes.as_dtype(dtype)
        xp = array_module(self.array) if device is None else backend.find(device)
        if isinstance(fill_value, Value):
            made = Value.result._of(xp.empty(size, kind))
            made.fill_(Value.result._of(fill_value.array))
        else:
            made = Value.result._of(xp.full(size, fill_value, kind))
        return made.requires_grad_() if requires_grad else made

    def new_tensor(
        self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        """A copy of `data`, without `dtype` or `device` in this tensor's type and on its device."""
        ops.warn_of_constant("new_tensor", data)
        kind = self.array.dtype if dtype is None else dtype
        place = backend.device_of(self.array) if device is None else device
        made = Value.result._of(as_array(data, kind, place))
        return made.requires_grad_() if requires_grad else made

    def new(self, *args: Any) -> Any:
        """Of this type and device, uninitialised of sizes, `x.new(2, 3)`, or of data, `x.new([1, 2])`."""
        return Value.result._of(made_of("new", args, self.array.dtype, backend.device_of(self.array)))
