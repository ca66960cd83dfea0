"""Tensor: an array, its gradient, and the ops as operators and methods. Every line here calls an op or the
engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import backend, engine, ops
from .backend import dtypes
from .backend.capture import capturing, replacing
from .dialect.casts import made_of
from .dialect.in_place import InPlace
from .differentiation import seed_of, tensors_in
from .engine import GraphError, Leaf, Value, Vertex
from .engine.errors import Mismatch, WrongKind
from .ops import Size
from .printing import text_of


class Tensor(InPlace):
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

    def __init__(
        self, *data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> None:
        kind = dtypes.default_dtype() if dtype is None else dtype
        self.array = made_of("Tensor", data, kind, device)
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
    def shape(self) -> Size:
        return Size(self.array.shape)

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
            raise WrongKind(
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
            if value is None:
                return
            vertex = self.frozen = Leaf(self.array)  # a constant, to which somebody has put a gradient
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise Mismatch(f"grad: expected {self.dtype} {self.shape}, got {value.dtype} {value.shape}")
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

    def register_post_accumulate_grad_hook(self, hook: Any) -> engine.Handle:
        """Calls `hook(self)` at each backward, when the `.grad` of this leaf is there. `remove()` of the
        result ends that."""
        return engine.register_post_accumulate_grad_hook(self, hook)

    @property
    def retains_grad(self) -> bool:
        """Whether `backward` leaves its gradient here though it is no leaf: `retain_grad` was called."""
        return engine.retains_grad(self)

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
        seed = seed_of("backward", self, gradient, create_graph)
        settings: dict[str, Any] = {"retain_graph": bool(retain_graph), "create_graph": create_graph}
        if inputs is None:
            engine.backward([self], [seed], **settings)
            return
        inputs = tensors_in("backward", "inputs", inputs)
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
        array = value.array if isinstance(value, Tensor) else ops.as_array(value)
        if array is not self.array:  # as it is after p.data -= ...
            replacing()
        if type(self.vertex) is Leaf:
            if array.dtype.kind != "f":
                raise WrongKind(
                    f"data: this tensor requires a gradient and stays floating; got {array.dtype}"
                )
            if (array.shape, array.dtype) != (self.array.shape, self.array.dtype):
                self.vertex = Leaf(array)
        elif self.vertex is not None:
            raise GraphError("data: this tensor was computed in the graph; detach() it first")
        if (array.shape, array.dtype) != (self.array.shape, self.array.dtype):
            self.frozen = None
        self.array, self.view_of = array, None

    def clone(self, *, memory_format: Any = None) -> Tensor:
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
            raise Mismatch(f"item: expected one element, the tensor has shape {self.shape}")
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
            raise Mismatch(f"a tensor of shape {self.shape} is neither true nor false; use any() or all()")
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

    # ------------------------------------------------------------ operators

    __add__: Any = ops.add
    __radd__: Any = ops.add
    __sub__: Any = ops.sub
    __mul__: Any = ops.mul
    __rmul__: Any = ops.mul
    __truediv__: Any = ops.div
    __pow__ = ops.pow
    __floordiv__ = ops.floor_divide
    __mod__ = ops.remainder
    __neg__ = ops.neg
    __abs__ = ops.abs
    __matmul__ = ops.matmul
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


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether its elements are floating numbers."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()
