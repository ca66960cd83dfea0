"""Tensor: an array, its gradient, and the ops as operators and methods. Every line here calls an op or the
engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import backend, engine, ops
from .backend import array_module, dtypes
from .backend.capture import capturing, replacing
from .engine import GraphError, Leaf, Value, Vertex, mark_changed
from .printing import text_of

Size: type[tuple[int, ...]] = tuple  # of x.shape and x.size()


class Tensor(Value):
    """An array with a place in the graph of computations. Make one with `tensor`, `zeros`, `randn` and the
    like.

    `array` is the data as its library's own array, `grad` the gradient that `backward` added up (None
    before), `shape`, `ndim`, `dtype` and `device` describe it. Methods are the package's functions with the
    tensor as first argument.
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy's operators leave `np.float32(2) * tensor` to the tensor
    __array_priority__ = 1000

    array: Any
    vertex: Vertex | None

    def __init__(self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> None:
        if isinstance(dtype, int):
            raise TypeError(
                f"Tensor({data!r}, {dtype!r}, ...): it takes data, not sizes; empty(...) takes sizes"
            )
        if type(self) is Tensor:  # a Parameter is a leaf, which says so
            ops.warn_of_constant("Tensor", data)
        self.array = ops.as_array(data, dtype, device)
        self.vertex = None
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def _of(cls, array: Any, vertex: Vertex | None = None) -> Any:
        """A tensor around an array as it is: no check, no copy."""
        self = cls.__new__(cls)
        self.array, self.vertex = array, vertex
        return self

    # ------------------------------------------------------------ what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def device(self) -> backend.device:
        return backend.device_of(self.array)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.array.nbytes

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.array.shape if dim is None else self.array.shape[ops.axis_of("size", dim, self.ndim)]

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

    def is_floating_point(self) -> bool:
        return self.array.dtype.kind == "f"

    def is_contiguous(self) -> bool:
        return bool(self.array.flags.c_contiguous)

    # ------------------------------------------------------------ the graph

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for it: it was asked for, or it was computed from such a tensor."""
        return self.vertex is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if type(self.vertex) not in (Leaf, type(None)):
            if not wanted:
                raise GraphError(
                    "requires_grad: this tensor was computed in the graph; detach() gives it without"
                )
            return
        if wanted and self.array.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: only floating tensors can require a gradient, this one is {self.array.dtype}"
            )
        if wanted and self.vertex is None:
            self.vertex = getattr(self, "frozen", None) or Leaf(self.array)
            self.view_of = None  # what it lies in is no matter of the graph any more
        elif not wanted and type(self.vertex) is Leaf:
            self.frozen, self.vertex = self.vertex, None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switches `requires_grad` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was given rather than computed in the graph: gradients end up in leaves that require
        one.
        """
        return self.vertex is None or type(self.vertex) is Leaf

    @property
    def grad_fn(self) -> engine.Function | None:
        """What made it, with `name()` and `next_functions`; None for a leaf."""
        return engine.grad_fn(self)

    def _has_grad(self) -> Vertex | None:
        """The vertex; that of before where requires_grad was switched off."""
        return self.vertex or getattr(self, "frozen", None)

    @property
    def grad(self) -> Any:
        """The gradient that `backward` added up here: a tensor of this one's shape and dtype, or None."""
        vertex = self._has_grad()
        current = capturing.get()
        if current is not None and type(vertex) is Leaf:
            current.reads_gradient(vertex)
        return None if vertex is None else vertex.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        vertex = self._has_grad()
        if vertex is None:
            if value is not None:
                raise GraphError("grad: this tensor does not require a gradient; set requires_grad first")
            return
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(f"grad: expected {self.dtype} {self.shape}, got {value.dtype} {value.shape}")
        current = capturing.get()
        if current is not None and type(vertex) is Leaf:
            current.sets_gradient(vertex)
        vertex.grad = value

    def retain_grad(self) -> None:
        """Keeps the gradient of this tensor too, though it is no leaf."""
        engine.retain_grad(self)

    def register_hook(self, hook: Any) -> engine.Handle:
        """Calls `hook(gradient)` at each backward, when the gradient of this tensor is complete; what it
        returns, if not None, takes its place. `remove()` of the result ends that."""
        return engine.register_hook(self, hook)

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """Adds the gradient of this tensor, times `gradient`, to the `.grad` of every leaf it was computed
        from.

        `gradient` has this tensor's shape and may be left out for a single element. Afterwards the graph is
        freed, unless `retain_graph`; with `create_graph` the gradients are tensors in a graph of their own.
        `inputs` limits the leaves. Raises GraphError where there is nothing to go back through.
        """
        if self.vertex is None:
            raise GraphError(
                "backward: this tensor does not require a gradient: nothing it was computed from does, "
                "or it was computed under no_grad() or came from detach()"
            )
        seed = _seed("backward", self, gradient, create_graph)
        settings: dict[str, Any] = {"retain_graph": bool(retain_graph), "create_graph": create_graph}
        if inputs is None:
            engine.backward([self], [seed], **settings)
            return
        inputs = _tensors("backward", "inputs", inputs)
        gradients = engine.backward([self], [seed], inputs=inputs, **settings)
        for x, g in zip(inputs, gradients, strict=True):
            if g is not None:
                g = g if isinstance(g, Tensor) else Tensor._of(g)
                x.grad = g if x.grad is None else x.grad + g

    def detach(self) -> Tensor:
        """The same data as a constant: what is computed from it sends no gradient back here."""
        return Tensor._of(self.array)

    def detach_(self) -> Tensor:
        """Makes this tensor itself a constant."""
        self.vertex = self.view_of = self.frozen = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory, outside the graph: `p.data.add_(...)` changes p."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        array = value.array if isinstance(value, Tensor) else Tensor(value).array
        if array is not self.array:  # as it is after p.data -= ...
            replacing()
        if type(self.vertex) is Leaf:
            if array.dtype.kind != "f":
                raise TypeError(
                    f"data: this tensor requires a gradient and stays floating; got {array.dtype}"
                )
            if (array.shape, array.dtype) != (self.array.shape, self.array.dtype):
                self.vertex = Leaf(array)
        elif self.vertex is not None:
            raise GraphError("data: this tensor was computed in the graph; detach() it first")
        if (array.shape, array.dtype) != (self.array.shape, self.array.dtype):
            self.frozen = None
        self.array, self.view_of = array, None

    def clone(self) -> Tensor:
        """A copy, with a gradient back to this tensor."""
        return ops.clone(self)

    # ------------------------------------------------------------ out of it

    def numpy(self) -> Any:
        """A NumPy array of the values: the same memory on the CPU (read-only where a graph may need it), else
        a copy.
        """
        array = _on_host(self.array)
        if self.vertex is not None and array is self.array:
            array = array.view()
            array.flags.writeable = False
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.numel() != 1:
            raise ValueError(f"item: expected one element, the tensor has shape {self.shape}")
        return _on_host(self.array).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return _on_host(self.array).tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false; use any() or all()")
        return bool(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu" or self.numel() != 1:
            raise TypeError(
                f"only an integer tensor of one element is an index, not {self.dtype} {self.shape}"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("a 0-d tensor has no length")
        return int(self.array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self.array.ndim:
            raise TypeError("a 0-d tensor cannot be iterated over")
        return iter(ops.unbind(self))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.numel() == 1 else repr(self)

    def __repr__(self) -> str:
        return text_of(self.array, self.device, self.grad_fn, self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "tensors are not pickled; tinygrad_rnn.save writes them to a file, .numpy() gives an array"
        )

    def __copy__(self) -> Tensor:
        return type(self)._of(self.array, self.vertex)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise GraphError("only leaves can be copied deeply; use clone(), or detach() first")
        copied: Tensor = type(self)._of(self.array.copy())
        copied.requires_grad = self.requires_grad
        if self.grad is not None:
            copied.grad = self.grad.detach().clone()
        memo[id(self)] = copied
        return copied

    # ------------------------------------------------------------ to another type or device

    def to(
        self, *to: Any, device: Any = None, dtype: Any = None, copy: bool = False, non_blocking: bool = False
    ) -> Tensor:
        """In another dtype, on another device, or both: `to("cuda")`, `to(float64)`, `to("cpu", float32)`,
        `to(other)`.

        The tensor itself where nothing changes. The gradient comes back in the type and to the device it
        left.
        """
        device, dtype = place_and_type(to, device, dtype)
        x = self
        if dtype is not None and dtypes.as_dtype(dtype) != x.dtype:
            x = ops.cast(x, dtype=dtypes.as_dtype(dtype))
        if device is not None:
            source, target = array_module(x.array), backend.find(device)
            if source is not target:
                x = ops.transfer(x, source=source, target=target)
        return x.clone() if copy and x is self else x

    def astype(self, dtype: Any) -> Tensor:
        """In another element type."""
        return self.to(dtype=dtype)

    def type(self, dtype: Any) -> Tensor:
        """In another element type."""
        return self.to(dtype=dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """In the type and on the device of `other`."""
        return self.to(other)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def float(self) -> Tensor:
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        return self.to(dtypes.float16)

    def long(self) -> Tensor:
        return self.to(dtypes.int64)

    def int(self) -> Tensor:
        return self.to(dtypes.int32)

    def short(self) -> Tensor:
        return self.to(dtypes.int16)

    def byte(self) -> Tensor:
        return self.to(dtypes.uint8)

    def bool(self) -> Tensor:
        return self.to(dtypes.bool_)

    # ------------------------------------------------------------ operators

    __add__: Any = ops.add
    __radd__: Any = ops.add
    __sub__: Any = ops.sub
    __mul__: Any = ops.mul
    __rmul__: Any = ops.mul
    __truediv__: Any = ops.div
    __pow__ = ops.pow
    __floordiv__ = ops.floor_divide
    __mod__ = remainder = ops.remainder
    __neg__ = neg = ops.neg
    __abs__ = abs = ops.abs
    __matmul__ = matmul = ops.matmul
    __lt__, __le__, __gt__, __ge__ = ops.lt, ops.le, ops.gt, ops.ge
    __and__ = __rand__ = ops.bitwise_and
    __or__ = __ror__ = ops.bitwise_or
    __xor__ = __rxor__ = ops.bitwise_xor
    __getitem__ = ops.getitem
    __hash__ = object.__hash__

    def __rsub__(self, other: Any) -> Any:
        return ops.sub(other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return ops.div(other, self)

    def __rpow__(self, other: Any) -> Any:
        return ops.pow(other, self)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __rfloordiv__(self, other: Any) -> Any:
        return ops.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Any:
        return ops.remainder(other, self)

    def __pos__(self) -> Tensor:
        return self

    def __invert__(self) -> Any:
        return ops.logical_not(self) if self.array.dtype.kind == "b" else ops.bitwise_xor(self, -1)

    def __eq__(self, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else ops.eq(self, other)

    def __ne__(self, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else ops.ne(self, other)

    # ------------------------------------------------------------ in place

    def _value(self, name: str, value: Any) -> Any:
        """A value for in-place use: a tensor on this one's device, or a number."""
        if isinstance(value, Value):
            here, there = array_module(self.array), array_module(value.array)
            if here is there:
                return value
            if there.device_type == "cpu" and not value.array.ndim:  # as good as a number
                return ops.transfer(value, source=there, target=here)
            raise engine.errors.mixed_devices(name, 1, here.name, there.name)
        return value if isinstance(value, (float, int, bool)) else Tensor(value, device=self.device)

    def _set(self, name: str, index: Any, value: Any) -> Tensor:
        """self[index] = value, for an index of arrays, slices, integers, None and Ellipsis."""
        value = self._value(name, value)
        if ops.is_tracked(name, self, value):
            if isinstance(value, Tensor):
                value = value.to(self.dtype)
                extra = value.ndim - self.array[index].ndim
                value = value.reshape(value.shape[extra:]) if extra > 0 else value
            ops.change(name, self, ops.set_item, value, index=index)
            return self
        value = ops.plain(value)
        self.array[index] = value
        mark_changed(self.array, value, index)
        return self

    def _replace(self, name: str, op: Any, *args: Any) -> Tensor:
        """op(self, *args) into this tensor's memory. None among the arguments stays."""
        args = tuple([a if a is None else self._value(name, a) for a in args])
        if ops.is_tracked(name, self, *args):
            ops.change(name, self, op, *args)
        else:
            self.array[...] = op(self.array, *[ops.plain(a) for a in args])
            mark_changed(self.array)
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        self._set("x[i] = v", ops.clean_index(self.array, index), value)

    def _apply(self, op: Any, name: str, ufunc: str, other: Any) -> Tensor:
        """ufunc(self, other), which is what op does, into this tensor's memory."""
        array, other = self.array, self._value(name, other)
        if array.dtype.kind in "iu" and (
            ufunc == "true_divide"
            or getattr(other, "dtype", array.dtype).kind == "f"
            or isinstance(other, float)
        ):
            raise TypeError(f"{name}: an integer tensor cannot hold the result; use x = x.float() first")
        if ops.is_tracked(name, self, other):
            ops.change(name, self, op, other)
        else:
            other = ops.plain(other)
            getattr(array_module(array), ufunc)(array, other, out=array)
            mark_changed(array, other)
        return self

    def _augment(self, op: Any, name: str, ufunc: str, other: Any) -> Tensor:
        now = engine.mode.current()
        if now.tracer is not None:
            return now.tracer.changed(self, op, other)
        if now.functional:  # a new tensor under the old name
            return op(self, other)
        return self._apply(op, name, ufunc, other)

    __iadd__: Any = lambda self, other: self._augment(ops.add, "+=", "add", other)
    __isub__: Any = lambda self, other: self._augment(ops.sub, "-=", "subtract", other)
    __imul__: Any = lambda self, other: self._augment(ops.mul, "*=", "multiply", other)
    __itruediv__: Any = lambda self, other: self._augment(ops.div, "/=", "true_divide", other)

    def _scaled(self, name: str, other: Any, alpha: Any) -> Any:
        alpha = self._value(name, alpha)
        return other if isinstance(alpha, int) and alpha == 1 else self._value(name, other) * alpha

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """Adds alpha * other in place."""
        return self._apply(ops.add, "add_", "add", self._scaled("add_", other, alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """Subtracts alpha * other in place."""
        return self._apply(ops.sub, "sub_", "subtract", self._scaled("sub_", other, alpha))

    def mul_(self, other: Any) -> Tensor:
        """Multiplies in place."""
        return self._apply(ops.mul, "mul_", "multiply", other)

    def div_(self, other: Any) -> Tensor:
        """Divides in place."""
        return self._apply(ops.div, "div_", "true_divide", other)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """Holds the elements between min and max, in place."""
        return self._replace("clamp_", ops.clip, min, max)

    def fill_(self, value: Any) -> Tensor:
        """Sets every element to a number."""
        return self._set("fill_", ..., value)

    def zero_(self) -> Tensor:
        """Sets every element to 0."""
        return self._set("zero_", ..., 0)

    def copy_(self, other: Any) -> Tensor:
        """Takes over the values of `other`, which must have this shape or broadcast to it."""
        return self._set("copy_", ..., other)

    def masked_fill_(self, mask: Any, value: Any) -> Tensor:
        """Sets the elements where the mask, which may broadcast, holds to a number."""
        return self._replace("masked_fill_", ops.masked_fill, mask, value)

    def scatter_(self, dim: Any, index: Tensor, src: Any) -> Tensor:
        """Puts `src`, a number or a tensor of the shape of `index`, where `gather(dim, index)` would read."""
        src = self._value("scatter_", src)
        if getattr(src, "shape", index.shape) != index.shape:
            raise ValueError(f"scatter_: src has shape {src.shape}, the index {index.shape}")
        return self._set("scatter_", ops.places_along("scatter_", self.array, dim, index.array), src)

    def uniform_(self, a: Any = 0.0, b: Any = 1.0, *, rng: Any = None) -> Tensor:
        """Fills with numbers drawn evenly from [a, b)."""
        return self._drawn(backend.default_rng(rng).uniform(a, b, self.shape))

    def normal_(self, mean: Any = 0.0, std: Any = 1.0, *, rng: Any = None) -> Tensor:
        """Fills with normally distributed numbers."""
        return self._drawn(backend.default_rng(rng).normal(mean, std, self.shape))

    def _drawn(self, host: Any) -> Tensor:
        drawn = array_module(self.array).from_numpy(host.astype(self.dtype))
        return self._set("a random fill", ..., Tensor._of(drawn))

    # ------------------------------------------------------------ ops as methods

    eq, ne, lt, le, gt, ge = ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    sub, subtract = ops.sub, ops.sub
    add, mul, multiply, div, divide, pow = ops.add, ops.mul, ops.mul, ops.div, ops.div, ops.pow
    exp, log, log1p, expm1, sqrt, sin, cos = (
        ops.exp,
        ops.log,
        ops.log1p,
        ops.expm1,
        ops.sqrt,
        ops.sin,
        ops.cos,
    )
    logaddexp, sign, floor, round = ops.logaddexp, ops.sign, ops.floor, ops.round
    logical_and, logical_or, logical_not = ops.logical_and, ops.logical_or, ops.logical_not
    isnan, isinf, isfinite = ops.isnan, ops.isinf, ops.isfinite
    tanh, sigmoid, relu, softmax, log_softmax = ops.tanh, ops.sigmoid, ops.relu, ops.softmax, ops.log_softmax
    maximum, minimum, clip, clamp, masked_fill = ops.maximum, ops.minimum, ops.clip, ops.clip, ops.masked_fill
    mm, bmm, dot, mv, outer = ops.matmul, ops.matmul, ops.matmul, ops.matmul, ops.outer
    square, reciprocal, rsqrt = ops.square, ops.reciprocal, ops.rsqrt
    select, narrow, masked_select = ops.select, ops.narrow, ops.masked_select
    equal, isclose, allclose = ops.equal, ops.isclose, ops.allclose
    sum, mean, var, std, prod, cumsum = ops.sum, ops.mean, ops.var, ops.std, ops.prod, ops.cumsum
    max, min, amax, amin, argmax, argmin = ops.max, ops.min, ops.amax, ops.amin, ops.argmax, ops.argmin
    logsumexp, norm, all, any = ops.logsumexp, ops.norm, ops.all, ops.any
    reshape, view, flatten, ravel, contiguous = (
        ops.reshape,
        ops.reshape,
        ops.flatten,
        ops.flatten,
        ops.contiguous,
    )
    permute, transpose, swapaxes, t = ops.permute, ops.transpose, ops.swapaxes, ops.t
    squeeze, unsqueeze, flip, repeat = ops.squeeze, ops.unsqueeze, ops.flip, ops.tile
    broadcast_to, expand, repeat_interleave = ops.broadcast_to, ops.expand, ops.repeat_interleave
    split, chunk, unbind = ops.split, ops.chunk, ops.unbind
    gather, take_along_axis, index_select = ops.gather, ops.take_along_axis, ops.index_select
    sort, argsort, topk, nonzero, multinomial = ops.sort, ops.argsort, ops.topk, ops.nonzero, ops.multinomial

    def where(self, condition: Any, other: Any) -> Any:
        """This tensor where the condition holds, else other."""
        return ops.where(condition, self, other)

    def view_as(self, other: Tensor) -> Any:
        """In the shape of `other`."""
        return ops.reshape(self, other.shape)

    reshape_as = view_as

    def expand_as(self, other: Tensor) -> Any:
        """Broadcast to the shape of `other`."""
        return ops.broadcast_to(self, other.shape)

    @property
    def T(self) -> Any:
        """The axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, -1, -2)

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """Zeros of another shape; without `dtype` or `device` in this tensor's type and on its device."""
        return self.new_full(ops.ints(size), 0, dtype=dtype, device=device)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """Ones of another shape; without `dtype` or `device` in this tensor's type and on its device."""
        return self.new_full(ops.ints(size), 1, dtype=dtype, device=device)

    new_empty = new_zeros

    def new_full(
        self, size: Sequence[Any], fill_value: Any, *, dtype: Any = None, device: Any = None
    ) -> Tensor:
        """One value in another shape; without `dtype` or `device` in this tensor's type and on its device."""
        ops.warn_of_constant("new_full", fill_value)
        kind = self.dtype if dtype is None else dtypes.as_dtype(dtype)
        xp = array_module(self.array) if device is None else backend.find(device)
        result: Tensor
        if isinstance(fill_value, Value):
            result = Tensor._of(xp.empty(tuple(size), kind)).fill_(Tensor._of(fill_value.array))
        else:
            result = Tensor._of(xp.full(tuple(size), fill_value, kind))
        return result

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        """`data`, without `dtype` or `device` in this tensor's type and on its device."""
        kind = self.dtype if dtype is None else dtype
        return Tensor(data, kind, self.device if device is None else device)


Value.result = Tensor


def _on_host(array: Any) -> Any:
    """A NumPy array of an array's values. A function that is traced may look at them, and change nothing."""
    tracer = engine.mode.current().tracer
    if tracer is None:
        return backend.to_numpy(array)
    tracer.asked = True
    array = backend.to_numpy(array).view()
    array.flags.writeable = False
    return array


def place_and_type(to: Sequence[Any], device: Any = None, dtype: Any = None) -> tuple[Any, Any]:
    """(device, dtype) from what `to(...)` is given in any order: names, devices, dtypes, a tensor like it."""
    for target in to:
        if isinstance(target, Tensor):
            device, dtype = target.device, target.dtype
        elif isinstance(target, backend.device) or (isinstance(target, str) and _names_device(target)):
            device = target
        elif target is not None:
            try:
                dtype = dtypes.as_dtype(target)
            except TypeError:
                raise TypeError(f"to: {target!r} is neither a device nor a dtype") from None
    return device, dtype


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether its elements are floating numbers."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def _names_device(name: str) -> bool:
    try:
        backend.device(name)
    except ValueError:
        return False
    return True


def _seed(name: str, output: Tensor, gradient: Any, create_graph: bool) -> Any:
    """The gradient with which to start at `output`: ones for a single element, else what the user gives."""
    xp = array_module(output.array)
    if gradient is None:
        if output.numel() != 1:
            raise ValueError(
                f"{name}: a tensor of shape {output.shape} needs a gradient of that shape; "
                "for a loss, take its mean or sum"
            )
        gradient = Tensor._of(xp.ones(output.shape, output.dtype))
    elif not isinstance(gradient, Tensor):
        gradient = Tensor(gradient, output.dtype, output.device)
    if gradient.shape != output.shape:
        raise ValueError(f"{name}: the tensor has shape {output.shape}, its gradient {gradient.shape}")
    if array_module(gradient.array) is not xp:
        raise engine.errors.mixed_devices(name, 1, xp.name, array_module(gradient.array).name)
    if gradient.dtype != output.dtype:
        gradient = gradient.astype(output.dtype)
    return gradient if create_graph else gradient.array


def _tensors(name: str, what: str, given: Any) -> list[Tensor]:
    """A tensor, or those of a sequence, as a list. Raises TypeError for anything else, with what to give."""
    if isinstance(given, Tensor):
        return [given]
    remedy = ""
    if callable(given) and not hasattr(given, "parameters"):
        remedy = f"; call it first: tinygrad_rnn.{name}(f(x), x)" if name == "grad" else "; call it first"
    elif hasattr(given, "parameters"):
        remedy = "; give list(module.parameters())"
    elif isinstance(given, Mapping):
        remedy = "; give list(d.values())"
    elif isinstance(given, Iterable) and not hasattr(given, "shape") and not isinstance(given, str):
        found = list(given)
        wrong = [value for value in found if not isinstance(value, Tensor)]
        if not wrong:
            return found
        given = wrong[0]
    if not remedy:
        remedy = "" if given is None else "; a gradient flows between tensors that require one"
    expected = "a tensor or a list of tensors"
    raise TypeError(f"{name}: {what} must be {expected}, got {engine.errors.kind(given)}{remedy}")


def grad(
    output: Any,
    inputs: Any,
    grad_output: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """The gradients of `output` (times `grad_output`) with respect to `inputs`; no `.grad` changes.

    `inputs` is a tensor, and so is the result; or a sequence, and the result a tuple. Tensors in the middle
    of the graph may be among them. `create_graph=True` makes results that have gradients themselves. `output`
    and `grad_output` may be sequences of several. Raises GraphError for an input that `output` does not
    depend on, unless `allow_unused`, which gives None for it.
    """
    outputs = _tensors("grad", "output", output)
    given = (
        [grad_output] * len(outputs)
        if grad_output is None or isinstance(output, Tensor)
        else list(grad_output)
    )
    if len(given) != len(outputs):
        raise ValueError(
            f"grad: grad_output has {len(given)} entries for {len(outputs)} outputs; give one for each"
        )
    wanted = _tensors("grad", "inputs", inputs)
    for tensor in (*outputs, *wanted):
        if tensor.vertex is None and not allow_unused:
            raise GraphError(
                "grad: an output or input does not require a gradient; set requires_grad before computing"
            )
    seeds = [_seed("grad", o, g, create_graph) for o, g in zip(outputs, given, strict=True)]
    found = engine.backward(
        outputs, seeds, inputs=wanted, retain_graph=retain_graph, create_graph=create_graph
    )
    if not allow_unused and any(g is None for g in found):
        raise GraphError(
            "grad: the output does not depend on one of the inputs; allow_unused=True gives None for it"
        )
    results = tuple(g if g is None or isinstance(g, Tensor) else Tensor._of(g) for g in found)
    return results[0] if isinstance(inputs, Tensor) else results
