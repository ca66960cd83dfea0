"""Ops that move elements and change none: reshaping, joining, splitting. Most give views and copy nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import Array, array_module, to_numpy
from ..engine import Look, primitive
from ..engine.errors import Mismatch
from .arguments import along, axes_of, axis_of, both_dialects, ints, plain, scalars_too, several

# ---------------------------------------------------------------- one array


def _in_former_shape(g: Array, x_shape: tuple[int, ...]) -> Array:
    return in_shape(g, shape=x_shape)


@primitive(vjp=(_in_former_shape,), view=Look.where_it_can)
def _reshape(xp: Any, x: Array, *, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)


in_shape: Callable[..., Any] = _reshape  # for a shape that is known to fit


@both_dialects
def reshape(x: Array, *shape: Any) -> Array:
    """The same elements in another shape; one size may be -1, and is worked out."""
    return _reshape(x, shape=_fill_in(x.shape, ints(shape)))


def _fill_in(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    size, known = math.prod(old), math.prod(n for n in new if n != -1)
    if new.count(-1) == 1 and known and size % known == 0:
        return tuple(size // known if n == -1 else n for n in new)
    if new.count(-1) or min(new, default=0) < 0 or known != size:
        raise Mismatch(f"reshape: {size} elements of shape {tuple(old)} do not fit shape {new}")
    return new


@primitive(
    vjp=(lambda g, axes: permute(g, tuple(axes.index(i) for i in range(len(axes)))),), view=Look.always
)
def _permute(xp: Any, x: Array, *, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes)


@both_dialects
def permute(x: Array, *axes: Any) -> Array:
    """The axes in another order: the result's axis i is x's axis axes[i]."""
    order = axes_of("permute", ints(axes), x.ndim)
    if len(order) != x.ndim:
        raise Mismatch(f"permute: {order} names {len(order)} axes, the tensor has {x.ndim}")
    return _permute(x, axes=order)


@both_dialects
@scalars_too
def swapaxes(x: Array, axis0: int, axis1: int) -> Array:
    """Two axes exchanged."""
    i, j = axis_of("swapaxes", axis0, x.ndim), axis_of("swapaxes", axis1, x.ndim)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return _permute(x, axes=tuple(order))


@both_dialects
def transpose(x: Array, *axes: Any, axis0: Any = None, axis1: Any = None) -> Array:
    """All axes reversed; with two integers, these exchanged (PyTorch); a sequence is their order (NumPy)."""
    if axis0 is not None:
        axes = (*axes, axis0, axis1) if axis1 is not None else (*axes, axis0)
    if not axes or axes == (None,):
        return _permute(x, axes=tuple(reversed(range(x.ndim))))
    if len(axes) == 2:
        return swapaxes(x, *axes)
    return permute(x, *axes)


@both_dialects
def t(x: Array) -> Array:
    """The transpose of a matrix."""
    if x.ndim > 2:
        raise Mismatch(f"t: expected at most 2 axes, got {x.ndim}; use swapaxes or permute")
    return transpose(x)


@both_dialects
def squeeze(x: Array, axis: Any = None) -> Array:
    """Without the axes of size 1: all of them, or those given (which stay if they are longer)."""
    axes = axes_of("squeeze", axis, x.ndim)
    return _reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if not (n == 1 and i in axes)))


@both_dialects
def unsqueeze(x: Array, axis: int) -> Array:
    """With a new axis of size 1 at `axis`, counted in the result."""
    axis = axis_of("unsqueeze", axis, x.ndim + 1)
    return _reshape(x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))


@both_dialects
def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The axes from start_dim to end_dim made one."""
    if x.ndim == 0:
        return _reshape(x, shape=(1,))
    i, j = axis_of("flatten", start_dim, x.ndim), axis_of("flatten", end_dim, x.ndim)
    if i > j:
        raise Mismatch(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in {x.ndim} axes")
    return _reshape(x, shape=(*x.shape[:i], math.prod(x.shape[i : j + 1]), *x.shape[j + 1 :]))


@primitive(vjp=(lambda g: g,), view=Look.always)  # the engine sums back over broadcast axes
def _broadcast_to(xp: Any, x: Array, *, shape: tuple[int, ...]) -> Array:
    return xp.broadcast_to(x, shape)


@both_dialects
def broadcast_to(x: Array, *shape: Any) -> Array:
    """x repeated, without a copy, along new leading axes and axes of size 1."""
    target = ints(shape)
    pairs = zip(reversed(x.shape), reversed(target), strict=False)
    if len(target) < x.ndim or min(target, default=0) < 0 or any(n not in (1, m) for n, m in pairs):
        raise Mismatch(f"broadcast_to: shape {tuple(x.shape)} does not broadcast to {target}")
    return _broadcast_to(x, shape=target)


@both_dialects
def expand(x: Array, *shape: Any) -> Array:
    """PyTorch's broadcast_to: -1 keeps an axis as it is."""
    sizes = ints(shape)
    new = len(sizes) - x.ndim
    if new < 0 or -1 in sizes[:new]:
        raise Mismatch(
            f"expand: shape {tuple(x.shape)} does not expand to {sizes}; -1 keeps an axis that is there"
        )
    return broadcast_to(x, tuple(x.shape[i - new] if n == -1 else n for i, n in enumerate(sizes)))


@primitive(vjp=(lambda g, axes: flip(g, axes),), view=Look.always)
def _flip(xp: Any, x: Array, *, axes: tuple[int, ...]) -> Array:
    return xp.flip(x, axes)


@both_dialects
def flip(x: Array, *axes: Any, axis: Any = None) -> Array:
    """Elements in reverse order along axes, `flip(x, 0, 1)` or `flip(x, (0, 1))`; or along all."""
    if axes:
        axis = axes[0] if len(axes) == 1 else axes
    return _flip(x, axes=axes_of("flip", axis, x.ndim))


def _unpad(g: Array, x_shape: tuple[int, ...], widths: tuple[tuple[int, int], ...]) -> Array:
    return g[tuple(slice(before, before + n) for (before, _), n in zip(widths, x_shape, strict=True))]


@primitive(vjp=(_unpad,))
def _pad(xp: Any, x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    return xp.pad(x, widths, constant_values=value) if widths else x.copy()


@both_dialects
def pad(x: Array, widths: Any, value: float = 0.0) -> Array:
    """x with `widths[i] = (before, after)` elements of `value` added along each axis i, as NumPy's pad."""
    pairs = tuple((int(a), int(b)) for a, b in widths)
    if len(pairs) != x.ndim or any(a < 0 or b < 0 for a, b in pairs):
        raise Mismatch(f"pad: expected {x.ndim} pairs (before, after) of sizes >= 0, got {widths}")
    return _pad(x, widths=pairs, value=value)


@both_dialects
def repeat_interleave(
    x: Array, repeats: Any, axis: int | None = None, *, output_size: int | None = None
) -> Array:
    """Each slice along `axis` `repeats` times in a row, an integer or one for each; without an axis,
    each element of the flat tensor."""
    if axis is None:
        x, axis = flatten(x), 0
    axis = axis_of("repeat_interleave", axis, x.ndim)
    if getattr(repeats, "ndim", 0) or isinstance(repeats, (list, tuple)):
        times = to_numpy(plain(repeats)) if hasattr(repeats, "ndim") else np.asarray(repeats)
        xp = array_module(plain(x))
        return x[along(axis, xp.from_numpy(np.repeat(np.arange(x.shape[axis]), times)))]
    repeats = int(repeats)
    if repeats < 0:
        raise Mismatch(f"repeat_interleave: repeats must be >= 0, got {repeats}")
    shape = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
    wide = _broadcast_to(unsqueeze(x, axis + 1), shape=shape)
    return _reshape(wide, shape=(*x.shape[:axis], x.shape[axis] * repeats, *x.shape[axis + 1 :]))


@both_dialects
def tile(x: Array, *repeats: Any) -> Array:
    """x laid out `repeats[i]` times along each axis i (PyTorch's Tensor.repeat)."""
    times = ints(repeats)
    if min(times, default=0) < 0:
        raise Mismatch(f"tile: repeats must be >= 0, got {times}")
    x = _reshape(x, shape=(1,) * (len(times) - x.ndim) + tuple(x.shape))
    times = (1,) * (x.ndim - len(times)) + times
    apart = tuple(n for size in x.shape for n in (1, size))
    wide = _broadcast_to(
        _reshape(x, shape=apart), shape=tuple(n for r, s in zip(times, x.shape, strict=True) for n in (r, s))
    )
    return _reshape(wide, shape=tuple(r * s for r, s in zip(times, x.shape, strict=True)))


# ---------------------------------------------------------------- several arrays


def _cut(g: Array, xs_shape: tuple[tuple[int, ...], ...], axis: int) -> list[Array]:
    pieces, start = [], 0
    for shape in xs_shape:
        pieces.append(g[along(axis, slice(start, start + shape[axis]))])
        start += shape[axis]
    return pieces


@primitive(vjp=_cut)
def _concat(xp: Any, *xs: Array, axis: int) -> Array:
    return xp.concatenate(xs, axis)


@both_dialects
def concat(tensors: Sequence[Array], axis: int = 0) -> Array:
    """Joined along an axis they have; the other axes must agree. `cat` is the same."""
    tensors, shapes = several("concat", tensors)
    axis = axis_of("concat", axis, len(shapes[0]))
    rest = [(*shape[:axis], *shape[axis + 1 :]) for shape in shapes]
    if any(r != rest[0] for r in rest):
        came = ", ".join(str(tuple(shape)) for shape in shapes)
        raise Mismatch(f"concat: shapes {came} differ on an axis other than {axis}")
    return _concat(*tensors, axis=axis)


cat = concat


def _unstack(g: Array, xs_shape: tuple[tuple[int, ...], ...], axis: int) -> list[Array]:
    return [g[along(axis, i)] for i in range(len(xs_shape))]


@primitive(vjp=_unstack)
def _stack(xp: Any, *xs: Array, axis: int) -> Array:
    return xp.stack(xs, axis)


@both_dialects
def stack(tensors: Sequence[Array], axis: int = 0) -> Array:
    """Joined along a new axis; all must have one shape."""
    tensors, shapes = several("stack", tensors)
    if any(shape != shapes[0] for shape in shapes):
        raise Mismatch(f"stack: shapes differ: {', '.join(str(tuple(shape)) for shape in shapes)}")
    return _stack(*tensors, axis=axis_of("stack", axis, len(shapes[0]) + 1))


def _join(
    g: tuple[Array | None, ...], x_shape: tuple[int, ...], sizes: tuple[int, ...], axis: int
) -> list[Array]:
    present = next(piece for piece in g if piece is not None)
    pieces = []
    for piece, size in zip(g, sizes, strict=True):
        if piece is None:
            shape = (*x_shape[:axis], size, *x_shape[axis + 1 :])
            xp = array_module(plain(present))
            piece = xp.broadcast_to(xp.zeros((), present.dtype), shape)
        pieces.append(piece)
    return [concat(pieces, axis)]


def _piece(settings: dict[str, Any], k: int) -> Any:
    sizes = settings["sizes"]
    start = sum(sizes[:k])
    return along(settings["axis"], slice(start, start + sizes[k]))


@primitive(vjp=_join, view=_piece)
def _split(xp: Any, x: Array, *, sizes: tuple[int, ...], axis: int) -> tuple[Array, ...]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(x[along(axis, slice(start, start + size))])
        start += size
    return tuple(pieces)


@both_dialects
def split(x: Array, split_size_or_sections: Any, axis: int = 0) -> tuple[Array, ...]:
    """Views along `axis`: pieces of the given size (the last may be smaller), or of a list of sizes.

    This is PyTorch's split; NumPy's, into a number of pieces, is `chunk`.
    """
    axis = axis_of("split", axis, x.ndim)
    n = x.shape[axis]
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = ints(tuple(split_size_or_sections))
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise Mismatch(f"split: sizes {sizes} add up to {sum(sizes)}, axis {axis} has {n}")
    else:
        size = int(split_size_or_sections)
        if size <= 0:
            raise Mismatch(f"split: the size of a piece must be positive, got {size}")
        sizes = tuple(min(size, n - start) for start in range(0, n, size)) or (0,)
    return _split(x, sizes=sizes, axis=axis)


@both_dialects
def chunk(x: Array, chunks: int, axis: int = 0) -> tuple[Array, ...]:
    """`chunks` views of equal size along `axis` (the last smaller where it does not divide)."""
    if chunks < 1:
        raise Mismatch(f"chunk: expected at least 1 chunk, got {chunks}")
    axis = axis_of("chunk", axis, x.ndim)
    n = x.shape[axis]
    size = -(-n // chunks)
    if size * chunks == n:  # also where there is nothing to share out
        return _split(x, sizes=(size,) * chunks, axis=axis)
    return split(x, size, axis)


@both_dialects
def unbind(x: Array, axis: int = 0) -> tuple[Array, ...]:
    """The slices along `axis`, each without it."""
    axis = axis_of("unbind", axis, x.ndim)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return tuple(_reshape(piece, shape=shape) for piece in _split(x, sizes=(1,) * x.shape[axis], axis=axis))
