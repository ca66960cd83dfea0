"""Tensor's methods that change it in place: PyTorch's names with an underscore at their end."""

from __future__ import annotations

from typing import Any, TypeVar

from .. import backend, ops
from ..backend import array_module
from ..engine import GraphError, Leaf, Value, mode
from ..engine.errors import Mismatch, WrongKind
from ..ops import in_place
from ..ops.in_place import augmented
from .arithmetic import addmm
from .methods import Methods

S = TypeVar("S", bound="InPlace")

__all__ = ["InPlace"]


class InPlace(Methods):
    """What changes a tensor's memory: values, and how its axes lie.

    Gradients go back through changes of what is not a leaf that requires one; the value before must not have
    been saved by anybody who still needs it. A leaf may be changed under no_grad() or through `.data`.
    """

    __slots__ = ()

    def __setitem__(self, index: Any, value: Any) -> None:
        in_place.put("x[i] = v", self, ops.clean_index(self.array, index), value)

    __iadd__: Any = lambda self, other: augmented(self, ops.add, "+=", "add", other)
    __isub__: Any = lambda self, other: augmented(self, ops.sub, "-=", "subtract", other)
    __imul__: Any = lambda self, other: augmented(self, ops.mul, "*=", "multiply", other)
    __itruediv__: Any = lambda self, other: augmented(self, ops.div, "/=", "true_divide", other)

    def __ipow__(self, other: Any) -> Any:
        return (
            ops.pow(self, other)
            if mode.current().functional
            else in_place.replace("**=", self, ops.pow, other)
        )

    # ------------------------------------------------------------ arithmetic

    def _scaled(self, name: str, other: Any, more: tuple[Any, ...], alpha: Any) -> Any:
        """alpha * other; or, as PyTorch once had it, `add_(alpha, other)`."""
        if more:
            other, alpha = more[0], other
        alpha = in_place.operand(name, self, alpha)
        plain = isinstance(alpha, int) and alpha == 1
        return other if plain else in_place.operand(name, self, other) * alpha

    def add_(self: S, other: Any, *more: Any, alpha: Any = 1) -> S:
        """Adds alpha * other in place; also written `add_(alpha, other)`."""
        return in_place.update("add_", self, ops.add, "add", self._scaled("add_", other, more, alpha))

    def sub_(self: S, other: Any, *more: Any, alpha: Any = 1) -> S:
        """Subtracts alpha * other in place; also written `sub_(alpha, other)`."""
        return in_place.update("sub_", self, ops.sub, "subtract", self._scaled("sub_", other, more, alpha))

    def mul_(self: S, other: Any) -> S:
        """Multiplies in place."""
        return in_place.update("mul_", self, ops.mul, "multiply", other)

    def div_(self: S, other: Any) -> S:
        """Divides in place."""
        return in_place.update("div_", self, ops.div, "true_divide", other)

    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_

    def addcmul_(self: S, *args: Any, value: Any = 1) -> S:
        """Adds value * tensor1 * tensor2 in place; also written `addcmul_(value, tensor1, tensor2)`."""
        value, first, second = args if len(args) == 3 else (value, *args)
        return in_place.update("addcmul_", self, ops.add, "add", first * second * value)

    def addcdiv_(self: S, *args: Any, value: Any = 1) -> S:
        """Adds value * tensor1 / tensor2 in place; also written `addcdiv_(value, tensor1, tensor2)`."""
        value, first, second = args if len(args) == 3 else (value, *args)
        return in_place.update("addcdiv_", self, ops.add, "add", first / second * value)

    def lerp_(self: S, end: Any, weight: Any) -> S:
        """Goes the part `weight` of the way to `end`, in place."""
        return in_place.update("lerp_", self, ops.add, "add", (end - self) * weight)

    def pow_(self: S, exponent: Any) -> S:
        """To a power, in place."""
        return in_place.replace("pow_", self, ops.pow, exponent)

    def remainder_(self: S, other: Any) -> S:
        """What is left after division, in place."""
        return in_place.replace("remainder_", self, ops.remainder, other)

    def neg_(self: S) -> S:
        return in_place.replace("neg_", self, ops.neg)

    def abs_(self: S) -> S:
        return in_place.replace("abs_", self, ops.abs)

    def exp_(self: S) -> S:
        return in_place.replace("exp_", self, ops.exp)

    def log_(self: S) -> S:
        return in_place.replace("log_", self, ops.log)

    def sqrt_(self: S) -> S:
        return in_place.replace("sqrt_", self, ops.sqrt)

    def rsqrt_(self: S) -> S:
        return in_place.replace("rsqrt_", self, ops.rsqrt)

    def reciprocal_(self: S) -> S:
        return in_place.replace("reciprocal_", self, ops.reciprocal)

    def square_(self: S) -> S:
        return in_place.replace("square_", self, ops.square)

    def sign_(self: S) -> S:
        return in_place.replace("sign_", self, ops.sign)

    def floor_(self: S) -> S:
        return in_place.replace("floor_", self, ops.floor)

    def round_(self: S) -> S:
        return in_place.replace("round_", self, ops.round)

    def ceil_(self: S) -> S:
        return in_place.replace("ceil_", self, ops.ceil)

    def trunc_(self: S) -> S:
        return in_place.replace("trunc_", self, ops.trunc)

    def erf_(self: S) -> S:
        return in_place.replace("erf_", self, ops.erf)

    def log1p_(self: S) -> S:
        return in_place.replace("log1p_", self, ops.log1p)

    def expm1_(self: S) -> S:
        return in_place.replace("expm1_", self, ops.expm1)

    def cumsum_(self: S, dim: int) -> S:
        """The sums of all elements up to each, in place."""
        return in_place.replace("cumsum_", self, lambda x: ops.cumsum(x, dim))

    def addmm_(self: S, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> S:
        """beta * self + alpha * mat1 @ mat2, in place."""
        return in_place.put("addmm_", self, ..., addmm(self, mat1, mat2, beta=beta, alpha=alpha))

    def tanh_(self: S) -> S:
        return in_place.replace("tanh_", self, ops.tanh)

    def sigmoid_(self: S) -> S:
        return in_place.replace("sigmoid_", self, ops.sigmoid)

    def relu_(self: S) -> S:
        return in_place.replace("relu_", self, ops.relu)

    def sin_(self: S) -> S:
        return in_place.replace("sin_", self, ops.sin)

    def cos_(self: S) -> S:
        return in_place.replace("cos_", self, ops.cos)

    def clamp_(self: S, min: Any = None, max: Any = None) -> S:
        """Holds the elements between min and max, in place."""
        return in_place.replace("clamp_", self, ops.clip, min, max)

    clip_ = clamp_

    def clamp_min_(self: S, min: Any) -> S:
        """Holds the elements above min, in place."""
        return in_place.replace("clamp_min_", self, ops.clip, min)

    def clamp_max_(self: S, max: Any) -> S:
        """Holds the elements below max, in place."""
        return in_place.replace("clamp_max_", self, ops.clip, None, max)

    # ------------------------------------------------------------ values put

    def fill_(self: S, value: Any) -> S:
        """Sets every element to a number."""
        return in_place.put("fill_", self, ..., value)

    def zero_(self: S) -> S:
        """Sets every element to 0."""
        return in_place.put("zero_", self, ..., 0)

    def copy_(self: S, other: Any, non_blocking: bool = False) -> S:
        """Takes over the values of `other`, which must have this shape or broadcast to it."""
        return in_place.put("copy_", self, ..., other)

    def masked_fill_(self: S, mask: Any, value: Any) -> S:
        """Sets the elements where the mask, which may broadcast, holds to a number."""
        if self.array.dtype.kind in "iu" and isinstance(value, float) and value.is_integer():
            value = int(value)
        return in_place.replace("masked_fill_", self, ops.masked_fill, mask, value)

    def masked_scatter_(self: S, mask: Any, source: Value) -> S:
        """Puts the first elements of `source` where the mask, which may broadcast, holds."""
        places = array_module(self.array).broadcast_to(ops.plain(mask), self.array.shape)
        n = int(places.sum())
        if n > source.array.size:
            raise Mismatch(f"masked_scatter_: the mask holds at {n} places, source has {source.array.size}")
        return in_place.put("masked_scatter_", self, places, ops.reshape(source, -1)[:n])

    def scatter_(
        self: S, dim: Any, index: Value, src: Any = None, *, value: Any = None, reduce: Any = None
    ) -> S:
        """Puts `src`, a number or a tensor at least as large as `index`, where `gather(dim, index)` would
        read; `reduce="add"` adds it."""
        src = in_place.operand("scatter_", self, value if src is None else src)
        if reduce == "add":
            return self.scatter_add_(dim, index, src)
        if reduce is not None:
            raise ValueError(f"scatter_: reduce is {reduce!r}, expected None or 'add'")
        places = ops.places_along("scatter_", self.array, dim, index.array)
        return in_place.put("scatter_", self, places, ops.as_large_as("scatter_", src, index))

    def scatter_add_(self: S, dim: Any, index: Value, src: Any) -> S:
        """Adds `src` where `gather(dim, index)` would read: several may meet at one place."""
        return in_place.replace("scatter_add_", self, lambda x, s: ops.scatter_add(x, dim, index, s), src)

    def index_fill_(self: S, dim: int, index: Value, value: Any) -> S:
        """Sets the slices of `dim` that `index` names to a number."""
        return in_place.put(
            "index_fill_", self, ops.slices_along("index_fill_", self.array, dim, index), value
        )

    def index_copy_(self: S, dim: int, index: Value, source: Value) -> S:
        """Puts the slices of `source` where `index` names those of `dim`."""
        return in_place.put(
            "index_copy_", self, ops.slices_along("index_copy_", self.array, dim, index), source
        )

    def index_add_(self: S, dim: int, index: Value, source: Value, *, alpha: Any = 1) -> S:
        """Adds alpha times the slices of `source` to those of `dim` that `index` names."""
        return in_place.replace(
            "index_add_", self, lambda x, s: ops.index_add(x, dim, index, s, alpha=alpha), source
        )

    def index_put_(self: S, indices: tuple[Any, ...], values: Any, accumulate: bool = False) -> S:
        """self[indices] = values, or with `accumulate` adds them."""
        index = ops.clean_index(self.array, tuple(indices))
        if not accumulate:
            return in_place.put("index_put_", self, index, values)
        return in_place.replace("index_put_", self, lambda x, v: ops.add_at(x, index, v), values)

    def fill_diagonal_(self: S, fill_value: Any) -> S:
        """Sets the diagonal of a matrix to a number."""
        n = min(self.array.shape)
        places = array_module(self.array).arange(n)
        return in_place.put("fill_diagonal_", self, (places,) * self.array.ndim, fill_value)

    def tril_(self: S, diagonal: int = 0) -> S:
        """Zeros above the diagonal, in place."""
        return in_place.replace("tril_", self, lambda x: ops.tril(x, diagonal))

    def triu_(self: S, diagonal: int = 0) -> S:
        """Zeros below the diagonal, in place."""
        return in_place.replace("triu_", self, lambda x: ops.triu(x, diagonal))

    # ------------------------------------------------------------ chance

    def uniform_(self: S, a: Any = 0.0, b: Any = 1.0, *, generator: Any = None, rng: Any = None) -> S:
        """Fills with numbers drawn evenly from [a, b)."""
        return self._drawn("uniform_", _rng(generator, rng).uniform(a, b, self.array.shape))

    def normal_(self: S, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None, rng: Any = None) -> S:
        """Fills with normally distributed numbers."""
        return self._drawn("normal_", _rng(generator, rng).normal(mean, std, self.array.shape))

    def bernoulli_(self: S, p: Any = 0.5, *, generator: Any = None, rng: Any = None) -> S:
        """Fills with 1, drawn with probability p (a number, or one for each element), and 0."""
        chance = backend.to_numpy(p.array) if isinstance(p, Value) else p
        return self._drawn("bernoulli_", _rng(generator, rng).random(self.array.shape) < chance)

    def exponential_(self: S, lambd: float = 1.0, *, generator: Any = None, rng: Any = None) -> S:
        """Fills with exponentially distributed numbers of mean 1 / lambd."""
        return self._drawn("exponential_", _rng(generator, rng).exponential(1 / lambd, self.array.shape))

    def random_(
        self: S, low: int = 0, high: int | None = None, *, generator: Any = None, rng: Any = None
    ) -> S:
        """Fills with integers drawn evenly: from low to high - 1, from 0 to low - 1, or of all that the type
        holds exactly."""
        if high is None:
            low, high = (0, low) if low else (0, _largest(self.array.dtype) + 1)
        return self._drawn("random_", _rng(generator, rng).integers(low, high, self.array.shape))

    def _drawn(self: S, name: str, host: Any) -> S:
        drawn = array_module(self.array).from_numpy(backend.host_array(host, self.array.dtype))
        return in_place.put(name, self, ..., Value.result._of(drawn))

    # ------------------------------------------------------------ how the axes lie

    def unsqueeze_(self: S, dim: int) -> S:
        """A new axis of size 1, in place."""
        return self._laid("unsqueeze_", lambda x: ops.unsqueeze(x, dim))

    def squeeze_(self: S, dim: Any = None) -> S:
        """Without its axes of size 1, or without one of them, in place."""
        return self._laid("squeeze_", lambda x: ops.squeeze(x, dim))

    def t_(self: S) -> S:
        """Transposed, in place."""
        return self._laid("t_", ops.t)

    def transpose_(self: S, dim0: int, dim1: int) -> S:
        """With two axes exchanged, in place."""
        return self._laid("transpose_", lambda x: ops.swapaxes(x, dim0, dim1))

    swapaxes_ = swapdims_ = transpose_

    def resize_(self: S, *size: Any) -> S:
        """Another shape, in place: the same elements in a row, cut off or followed by zeros. Of data."""
        shape = ops.ints(size)
        if self.vertex is not None:
            raise GraphError("resize_: this tensor requires a gradient; reshape(...) makes another of it")
        xp, old = array_module(self.array), self.array.reshape(-1)
        new = xp.zeros(shape, old.dtype)
        n = min(new.size, old.size)
        new.reshape(-1)[:n] = old[:n]
        self.array, self.view_of = (old.reshape(shape) if new.size == old.size else new), None
        return self

    def resize_as_(self: S, other: Value) -> S:
        """`resize_` to the shape of `other`."""
        return self.resize_(tuple(other.array.shape))

    def set_(self: S, source: Value) -> S:
        """Shares the memory of `source` from now on. Of data alone."""
        if self.vertex is not None:
            raise GraphError("set_: this tensor requires a gradient; assign to its data")
        self.array, self.view_of = source.array, None
        return self

    def _laid(self: S, name: str, op: Any) -> S:
        """Looks at the same elements as op does, from now on."""
        if type(self.vertex) is Leaf and mode.current().grad:
            raise GraphError(
                f"{name}: this tensor is a leaf that requires a gradient and cannot be changed in place; "
                "change it under no_grad() or through .data"
            )
        if getattr(self, "viewed", False) and self.vertex is not None:
            raise GraphError(
                f"{name}: other tensors look into this one; use {name[:-1]}(...), which makes another"
            )
        if type(self.vertex) is Leaf:
            self.data = op(Value.result._of(self.array))
            return self
        before = Value.result._of(self.array, self.vertex)
        if getattr(self, "view_of", None) is not None:
            before.view_of = self.view_of
        y = op(before)
        self.array, self.vertex = y.array, y.vertex
        self.view_of = getattr(y, "view_of", None)
        return self


def _rng(generator: Any, rng: Any) -> Any:
    """The generator that is given under either name, or the package's own."""
    return backend.default_rng(generator if rng is None else rng)


def _largest(dtype: Any) -> int:
    """The largest integer to which all are held exactly by a type."""
    if dtype.kind == "b":
        return 1
    if dtype.kind == "f":
        return 1 << {2: 11, 4: 24, 8: 53}[dtype.itemsize]
    return int((1 << (8 * dtype.itemsize - (dtype.kind == "i"))) - 1)


def check_writable(name: str, x: Value) -> None:
    """Raises WrongKind where memory may not be written to."""
    if not getattr(x.array.flags, "writeable", True):
        raise WrongKind(f"{name}: this memory may not be written to; work on a clone()")
