"""Picking elements: `x[...]`, gather, look-up of rows, sorting.

The gradient of picking is putting: zeros everywhere, and the gradient at the places picked. The rule does not
make that array of mostly zeros; it returns a `Picked`, and all that were picked from one tensor are put into
one array at the end. So T slices `x[t]` of a sequence cost one buffer, not T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..backend import Array, array_module, draw_from_rows, to_numpy
from ..backend.dtypes import ADDED_IN
from ..backend.naming import came
from ..engine import Deferred, Look, Value, primitive
from ..engine.errors import Mismatch, WrongKind, mixed_devices
from .arguments import axis_of, both_dialects, plain, scalars_too
from .elementwise import where
from .shape import reshape


class ValuesAndIndices(NamedTuple):
    """What `max`, `min`, `sort` and `topk` return along an axis: the values, and where they stood."""

    values: Array
    indices: Array


class Picked(Deferred):
    """Zeros of `shape` with `g` added at `index`, not yet made."""

    __slots__ = ("g", "index", "shape")

    def __init__(self, g: Array, index: Any, shape: tuple[int, ...]) -> None:
        self.g, self.index, self.shape = g, index, shape

    @classmethod
    def total(cls, terms: list[Picked]) -> Array:
        pieces = [t.g for t in terms]
        where: dict[str, Any] = {"indices": [t.index for t in terms], "shape": terms[0].shape}
        if any(isinstance(g, Value) for g in pieces):
            return put(*pieces, **where)
        return _put(array_module(pieces[0]), *pieces, **where)

    @classmethod
    def add_to(cls, array: Array, terms: list[Picked]) -> bool:
        if any(ADDED_IN.get(t.g.dtype, t.g.dtype) != array.dtype for t in terms):
            return False
        for t in terms:
            if _is_basic(t.index):
                array[t.index] += t.g
            else:
                array_module(array).scatter_add(array, t.index, t.g.astype(array.dtype, copy=False))
        return True


def _pick_again(g: Array, indices: Sequence[Any]) -> list[Array]:
    return [pick(g, index=index) for index in indices]


def _put(xp: Any, *pieces: Array, indices: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` with each piece added at its index."""
    kind = pieces[0].dtype
    axis = _tiled_axis(indices, shape)
    if axis is not None:
        return xp.concatenate(
            [p[None] if type(i) is int else p for p, i in zip(pieces, indices, strict=True)], axis
        )
    total = xp.zeros(shape, ADDED_IN.get(kind, kind))
    for piece, index in zip(pieces, indices, strict=True):
        if _is_basic(index):
            total[index] += piece
        else:
            xp.scatter_add(total, index, piece.astype(total.dtype, copy=False))
    return total.astype(kind, copy=False)


put = primitive(vjp=_pick_again)(_put)


def _view_index(settings: dict[str, Any], k: int) -> Any:
    index = settings["index"]
    parts = index if type(index) is tuple else (index,)
    return (
        parts if all(isinstance(i, (int, slice)) or i is None or i is Ellipsis for i in parts) else Look.never
    )


@primitive(vjp=(lambda g, index, x_shape: Picked(g, index, x_shape),), view=_view_index)
def pick(xp: Any, x: Array, *, index: Any) -> Array:
    """x[index], where the index holds arrays of x's library, slices, integers, None and Ellipsis."""
    y = x[index]
    if type(y) is not xp.array_type:  # a scalar of NumPy's, which is a copy
        y = x[(*index, ...) if type(index) is tuple else (index, ...)]
    return y


def _tiled_axis(indices: Sequence[Any], shape: tuple[int, ...]) -> int | None:
    """The axis along which these indices lie one behind the other and leave nothing out, if there is one."""
    if type(indices[0]) is int:
        return 0 if len(indices) == shape[0] and all(i == k for k, i in enumerate(indices)) else None
    end, axis = 0, None
    for index in indices:
        if type(index) is not tuple or any(
            type(part) is not slice or part.step is not None for part in index
        ):
            return None
        cut = [k for k, part in enumerate(index) if part.start is not None or part.stop is not None]
        if len(cut) != 1 or (axis is not None and cut[0] != axis):
            return None
        (axis,) = cut
        start, stop, _ = index[axis].indices(shape[axis])
        if start != end or stop < start:
            return None
        end = stop
    return axis if axis is not None and end == shape[axis] else None


def _put_rows(g: Array, x_shape: tuple[int, ...], rows: Array) -> Array:
    return place_rows(g, rows=rows, n=x_shape[0])


@primitive(vjp=(_put_rows,))
def take_rows(xp: Any, x: Array, *, rows: Array) -> Array:
    """x[rows] for a 1-D array of rows, each named once: so the gradient is put in place, not added."""
    return xp.take(x, rows, axis=0)


@primitive(vjp=(lambda g, rows: take_rows(g, rows=rows),))
def place_rows(xp: Any, x: Array, *, rows: Array, n: int) -> Array:
    """Zeros of n rows, with x in the rows named: (len(rows), ...) -> (n, ...). Each is named once."""
    y = xp.zeros((n, *x.shape[1:]), x.dtype)
    y[rows] = x
    return y


def _is_basic(index: Any) -> bool:
    parts = index if type(index) is tuple else (index,)
    return all(isinstance(i, (int, slice)) or i is None or i is Ellipsis for i in parts)


def getitem(x: Array, index: Any) -> Array:
    """x[index] with integers, slices, None, Ellipsis, integer arrays or tensors, masks, as in NumPy."""
    if type(index) is int:  # x[t], the commonest, first
        if not -x.shape[0] <= index < x.shape[0] if x.ndim else True:
            raise IndexError(f"index {index} is outside a tensor of shape {tuple(x.shape)}")
        return pick(x, index=index)
    if _is_ready(index, x.ndim):
        return pick(x, index=index)
    return pick(x, index=clean_index(plain(x), index))


_FIXED = (int, type(None))


def _is_ready(index: Any, n_axes: int) -> bool:
    """Whether an index is slices with plain bounds and nothing else, which need no look."""
    parts = index if type(index) is tuple else (index,)
    if len(parts) > n_axes:
        return False
    for part in parts:
        if type(part) is not slice or type(part.start) not in _FIXED or type(part.stop) not in _FIXED:
            return False
        if type(part.step) not in _FIXED:
            return False
    return True


def clean_index(x: Array, index: Any) -> Any:
    """An index with tensors as arrays of x's library, and wrong integers found (CuPy wraps them around)."""
    parts = index if isinstance(index, tuple) else (index,)
    cleaned = tuple(_clean_part(x, part) for part in parts)
    axis = 0
    n_known = sum(_axes_taken(p) for p in cleaned)
    if n_known > x.ndim:
        raise IndexError(f"an index for {n_known} axes is too long for a tensor of shape {tuple(x.shape)}")
    for part in cleaned:
        if part is Ellipsis:
            axis += x.ndim - n_known
            continue
        if type(part) is int and not -x.shape[axis] <= part < x.shape[axis]:
            raise IndexError(f"index {part} is outside axis {axis} of a tensor of shape {tuple(x.shape)}")
        axis += _axes_taken(part)
    return cleaned if isinstance(index, tuple) else cleaned[0]


def _axes_taken(part: Any) -> int:
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return int(part.ndim) if getattr(part, "dtype", None) is not None and part.dtype.kind == "b" else 1


def _clean_part(x: Array, part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, bool):
        return part
    if isinstance(part, slice):
        return slice(*(None if p is None else int(plain(p)) for p in (part.start, part.stop, part.step)))
    xp = array_module(x)
    if isinstance(part, Value):
        part = part.array
        if array_module(part) is not xp and part.ndim:
            raise mixed_devices("x[i]", 1, xp.name, array_module(part).name)
    elif isinstance(part, (list, range)):
        part = xp.asarray(list(part)) if len(part) else xp.zeros(0, "int64")
    elif hasattr(part, "ndim") and part.ndim and type(part) is not xp.array_type:
        part = xp.from_numpy(to_numpy(part))  # an array from the host goes where x is
    kind = getattr(getattr(part, "dtype", None), "kind", None)
    if kind is None and hasattr(part, "__index__"):
        return part.__index__()
    if kind is None or kind not in "iub":
        came = f"{type(part).__name__} of {part.dtype}" if kind else type(part).__name__
        raise IndexError(f"a tensor is indexed by integers, slices, booleans, None or Ellipsis, not {came}")
    if part.ndim == 0 and kind in "iu" and array_module(part).device_type != "traced":
        return int(part)
    return part


@both_dialects
def take_along_axis(x: Array, indices: Array, axis: int) -> Array:
    """result[i][j] = x[i][indices[i][j]] for axis 1 of two, and likewise: the index runs along `axis`.

    `indices` is an integer tensor with as many axes as x; its other sizes are x's (or 1).
    """
    axis = axis_of("take_along_axis", axis, x.ndim)
    chosen = plain(indices)
    fits = chosen.ndim == x.ndim and all(
        i == axis or n in (1, x.shape[i]) for i, n in enumerate(chosen.shape)
    )
    if not fits:
        raise Mismatch(
            f"take_along_axis: indices of shape {tuple(chosen.shape)} do not fit a tensor of shape "
            f"{tuple(x.shape)} along axis {axis}; the other axes are the tensor's, or 1"
        )
    sizes = [n if i == axis else x.shape[i] for i, n in enumerate(chosen.shape)]
    return pick(x, index=_along("take_along_axis", sizes, chosen, axis))


@both_dialects
def take_along_dim(x: Array, indices: Array, axis: int | None = None) -> Array:
    """`take_along_axis`; without an axis, of the flat tensor."""
    if axis is None:
        return pick(reshape(x, -1), index=reshape(plain(indices), -1))
    return take_along_axis(x, indices, axis)


@both_dialects
def gather(x: Array, axis: int, index: Array, *, sparse_grad: bool = False) -> Array:
    """PyTorch's spelling of take_along_axis; `index` may also be smaller than x along other axes."""
    return pick(x, index=places_along("gather", x, axis, plain(index)))


def places_along(name: str, x: Array, axis: int, chosen: Array) -> tuple[Array, ...]:
    """The index of the elements that `chosen` names along `axis`, for `gather` and `scatter_`."""
    axis = axis_of(name, axis, x.ndim)
    if chosen.ndim != x.ndim or any(
        n > m for i, (n, m) in enumerate(zip(chosen.shape, x.shape, strict=False)) if i != axis
    ):
        raise Mismatch(
            f"{name}: index of shape {tuple(chosen.shape)} does not fit a tensor of shape {tuple(x.shape)} "
            f"along axis {axis}; the other axes are at most the tensor's"
        )
    return _along(name, chosen.shape, chosen, axis)


def _along(name: str, sizes: Sequence[int], chosen: Array, axis: int) -> tuple[Array, ...]:
    """An index array for each axis: `chosen` for one, and along each other 0, 1, ... to its size."""
    if chosen.dtype.kind not in "iu":
        raise WrongKind(f"{name}: indices must be integers, got {chosen.dtype}")
    xp, n_axes = array_module(chosen), len(sizes)
    return tuple(
        chosen
        if i == axis
        else reshape(xp.arange(sizes[i]), [sizes[i] if j == i else 1 for j in range(n_axes)])
        for i in range(n_axes)
    )


@both_dialects
@scalars_too
def index_select(x: Array, dim: int, index: Array) -> Array:
    """The slices of x along `dim` that the 1-D `index` names."""
    axis = axis_of("index_select", dim, x.ndim)
    return getitem(x, (slice(None),) * axis + (index,))


def embedding(indices: Array, weight: Array, padding_idx: int | None = None) -> Array:
    """Rows of `weight` (num_embeddings, embedding_dim) by integer indices: (...) -> (..., embedding_dim).

    The row `padding_idx` receives no gradient. Raises IndexError for an index outside the table.
    """
    chosen = plain(indices)
    if getattr(getattr(chosen, "dtype", None), "kind", "") not in ("i", "u"):
        raise WrongKind(f"embedding: indices must be a tensor of integers, got {came(indices, True)}")
    if weight.ndim != 2:
        raise Mismatch(
            f"embedding: weight must be (num_embeddings, embedding_dim), got {tuple(weight.shape)}"
        )
    n_rows = weight.shape[0]
    if padding_idx is not None and not -n_rows <= padding_idx < n_rows:
        raise IndexError(f"embedding: padding_idx {padding_idx} is outside the table of {n_rows} rows")
    xp = array_module(chosen)
    if xp is not array_module(plain(weight)) and xp.device_type != "traced":  # where weights lie as they are
        raise mixed_devices("embedding", 1, xp.name, array_module(plain(weight)).name)
    if xp.device_type == "cpu" and chosen.size and (chosen.max() >= n_rows or chosen.min() < 0):
        raise IndexError(
            f"embedding: indices run from {int(chosen.min())} to {int(chosen.max())}, "
            f"the table has {n_rows} rows, counted from 0"
        )
    rows = pick(weight, index=chosen)
    if padding_idx is None:
        return rows
    return _stop_gradient_at(rows, chosen == padding_idx % n_rows)


def _masked(g: Array, stop: Array) -> Array:
    return where(stop[..., None], 0.0, g)


@primitive(vjp=(_masked, None), view=Look.where_it_can)
def _stop_gradient_at(xp: Any, x: Array, stop: Array) -> Array:
    return x


# ---------------------------------------------------------------- order, without gradients of the positions


@primitive(vjp=None)
def _argsort(xp: Any, x: Array, *, axis: int, descending: bool) -> Array:
    if descending:  # stable: equal elements stay in order
        n = x.shape[axis]
        backwards = xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)
        return n - 1 - backwards
    return xp.argsort(x, axis=axis, kind="stable")


@both_dialects
@scalars_too
def argsort(x: Array, axis: int = -1, descending: bool = False) -> Array:
    """The positions of the elements in rising (or falling) order along `axis`; equal ones stay in order."""
    return _argsort(x, axis=axis_of("argsort", axis, x.ndim), descending=bool(descending))


@both_dialects
@scalars_too
def sort(x: Array, axis: int = -1, descending: bool = False) -> Any:
    """`(values, indices)` in rising (or falling) order along `axis`."""
    axis = axis_of("sort", axis, x.ndim)
    places = argsort(x, axis, descending)
    return ValuesAndIndices(take_along_axis(x, places, axis), places)


@both_dialects
@scalars_too
def topk(x: Array, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """`(values, indices)` of the k largest (or smallest) elements along `axis`; in order, `sorted` or not."""
    axis = axis_of("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise Mismatch(f"topk: k = {k} is not between 0 and the {x.shape[axis]} elements along axis {axis}")
    places = argsort(x, axis, largest)[(slice(None),) * axis + (slice(0, k),)]
    return ValuesAndIndices(take_along_axis(x, places, axis), places)


@both_dialects
def nonzero(x: Array, as_tuple: bool = False) -> Any:
    """The indices of the nonzero elements: one row each, or with `as_tuple` one tensor per axis."""
    array = plain(x)
    xp = array_module(array)
    if array.ndim == 0:  # no index to give: one empty row, or none
        found: tuple[Array, ...] = ()
        rows = xp.zeros((int(array != 0), 0), "int64")
    else:
        found = xp.nonzero(array)
        rows = xp.stack(found, 1)
    new = Value.result._of if isinstance(x, Value) else (lambda a: a)
    return tuple(new(f) for f in found) if as_tuple else new(rows)


@both_dialects
def one_hot(x: Array, num_classes: int = -1) -> Array:
    """Integers as rows of zeros with a one, int64: (...) -> (..., num_classes); -1: the largest plus one."""
    array = plain(x)
    xp = array_module(array)
    if array.dtype.kind not in "iu":
        raise WrongKind(f"one_hot: expected integers, got {array.dtype}")
    top = int(array.max()) if array.size else -1
    if num_classes < 0:
        num_classes = top + 1
    if array.size and (top >= num_classes or int(array.min()) < 0):
        raise Mismatch(f"one_hot: values from {int(array.min())} to {top} do not fit {num_classes} classes")
    rows = (array[..., None] == xp.arange(num_classes)).astype("int64")
    return Value.result._of(rows) if isinstance(x, Value) else rows


@both_dialects
def multinomial(
    probs: Array, num_samples: int, replacement: bool = False, *, generator: Any = None, rng: Any = None
) -> Array:
    """`num_samples` indices drawn by the weights in each row of `probs`, which need not add to 1.

    (n,) -> (num_samples,) and (rows, n) -> (rows, num_samples), int64.
    Raises ValueError for negative or all-zero weights.
    """
    weights = to_numpy(plain(probs)).astype("float64")
    if num_samples < 0:
        raise Mismatch(f"multinomial: num_samples must be >= 0, got {num_samples}")
    if weights.ndim not in (1, 2) or weights.shape[-1] == 0:
        raise Mismatch(f"multinomial: expected weights of shape (n,) or (rows, n), got {weights.shape}")
    picked = draw_from_rows(
        weights.reshape(-1, weights.shape[-1]), num_samples, replacement, generator if rng is None else rng
    )
    moved = array_module(plain(probs)).from_numpy(picked.reshape(*weights.shape[:-1], num_samples))
    return Value.result._of(moved) if isinstance(probs, Value) else moved
