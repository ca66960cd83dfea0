"""Arrays on the pretended GPU, and NumPy's functions of them: what CuPy refuses is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.backend.capture import CannotCapture
from tinygrad_rnn.engine import Value

from .. import streams
from ..pool import Block, Host, Loan
from . import conditions
from .conditions import Call, here

# Keywords that NumPy takes and CuPy does not.
REFUSED_KEYWORDS = {"where", "order", "initial", "mode", "correction", "min", "max", "subok", "like"}
# What CuPy refuses while a graph is captured: its sort, and products of its own (ours: backend/cublas.py).
NOT_IN_A_GRAPH = {
    "sort", "argsort", "lexsort", "partition", "argpartition", "dot", "vdot", "inner", "tensordot", "einsum",
    "__matmul__", "__rmatmul__",
}  # fmt: skip
# Functions whose result has a size that only the GPU knows.
SIZED_BY_VALUES = {"nonzero", "flatnonzero", "argwhere", "unique", "bincount"}
# The functions that may be given lists of numbers.
CREATION = {"array", "asarray", "ascontiguousarray"}
# The functions that take a sequence of arrays.
JOINING = {"concatenate", "stack", "vstack", "hstack", "column_stack"}


def wait(what: str, array: StrictArray | None = None) -> None:
    """Says that the host waits for the GPU, for all of it or for an array. Raises where that is refused."""
    if here.recording is not None:
        raise CannotCapture(f"{what} makes the host wait for the GPU")
    if not conditions.waits_allowed:
        raise RuntimeError(f"strict: {what} makes the host wait for the GPU")
    if streams.n_streams:
        streams.current().uses(streams.marks_of(blocks([] if array is None else [array])), [])
        streams.current().synchronize()


def _refuse_in_a_graph(name: str) -> None:
    if here.recording is not None and name in NOT_IN_A_GRAPH:
        raise CannotCapture(f"CuPy's {name.strip('_')} cannot be captured")


class StrictArray:
    """An array on the pretended GPU. `host` is a NumPy array at its place in the pool's memory, which
    belongs to it by `loan`, or to its `base`, the array whose memory it looks into.
    """

    __slots__ = ("__weakref__", "base", "host", "loan")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Host, loan: Loan | None = None, base: StrictArray | None = None) -> None:
        self.host, self.loan, self.base = host, loan, base

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    T = property(lambda self: self.transpose())

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("strict: implicit conversion to a NumPy array; move it with to_numpy")

    def __repr__(self) -> str:
        return f"strict({self.host!r})"

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[StrictArray]:
        return (self[i] for i in range(len(self.host)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.item().__index__()

    def __bool__(self) -> bool:
        wait("a truth value", self)
        return bool(self.host)

    def item(self) -> Any:
        wait("item()", self)
        return self.host.item()

    def tolist(self) -> Any:
        wait("tolist()", self)
        return self.host.tolist()

    def __getitem__(self, index: Any) -> StrictArray:
        return perform(_item, self, checked_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        refuse_host("an assignment", value)
        checked = checked_index(index)
        rows = checked[0] if len(checked) == 1 else None
        if isinstance(rows, StrictArray) and rows.dtype.kind in "iu":
            places = rows.host % max(1, self.shape[0])
            if len(np.unique(places)) != places.size:
                raise ValueError("strict: assigning twice to one place is undefined")
        perform(_set_item, self, checked, value, changed=(self,))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in METHODS:
            raise AttributeError(f"strict: arrays have no {name!r}")
        return functools.partial(guarded(name, getattr(np.ndarray, name), True), self)


METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum", "dot",
    "fill", "flatten", "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std",
    "sum", "swapaxes", "take", "trace", "transpose", "var", "view",
}  # fmt: skip


def checked_index(index: Any) -> tuple[Any, ...]:
    """The parts of an index that CuPy would take. Masks make the host wait."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        refuse_host("an index", part)
        if isinstance(part, list):
            raise TypeError("strict: an index may not be a list")
        if _is_mask(part):
            wait("a boolean mask")
    return parts


def _wrapped_index(parts: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    """An index for the NumPy array. Integer arrays wrap silently: out of range, there is no error there."""
    if not any(isinstance(part, np.ndarray) for part in parts):
        return parts
    axis = 0
    host: list[Any] = []
    masks = [isinstance(p, np.ndarray) and p.dtype.kind == "b" for p in parts]
    n_real = sum(
        p.ndim if mask else p is not None and p is not Ellipsis for p, mask in zip(parts, masks, strict=True)
    )
    for part, mask in zip(parts, masks, strict=True):
        host.append(part % max(1, shape[axis]) if isinstance(part, np.ndarray) and not mask else part)
        axis += len(shape) - n_real if part is Ellipsis else part.ndim if mask else part is not None
    return tuple(host) if len(host) > 1 else host[0]


def _item(host: Host, parts: tuple[Any, ...]) -> Any:
    """host[parts]; an element too as a view, as on a GPU."""
    index = _wrapped_index(parts, host.shape)
    y = host[index]
    if isinstance(y, np.ndarray):
        return y
    return host[(*index, ...) if isinstance(index, tuple) else (index, ...)]


def _set_item(host: Host, parts: tuple[Any, ...], value: Any) -> None:
    host[_wrapped_index(parts, host.shape)] = value


def add_at(host: Host, parts: tuple[Any, ...], values: Host) -> None:
    """host[parts] += values, with what comes several times to one place added up."""
    np.add.at(host, _wrapped_index(parts, host.shape), values)


def _is_mask(part: Any) -> bool:
    return isinstance(part, StrictArray) and part.dtype.kind == "b"


def refuse_host(where: str, *values: Any) -> None:
    """Raises TypeError where one of the values is a NumPy array or a tensor."""
    for value in values:
        if isinstance(value, np.ndarray):
            raise TypeError(f"strict: {where} is given a NumPy array")
        if isinstance(value, Value):  # NumPy would ask it for its values, and CuPy does not know it
            raise TypeError(f"strict: {where} is given a tensor")


def perform(
    function: Callable[..., Any], *args: Any, changed: Sequence[Any] | None = None, **keywords: Any
) -> Any:
    """Runs a function of NumPy arrays on what arrays of this kind hold, and wraps what it gives. Every
    operation comes by here, so that it can be recorded. One that changes an array in place gives nothing.
    """
    inputs: list[StrictArray] = []
    hosts = [_to_host(a, inputs) for a in args]
    if keywords:
        keywords = {name: _to_host(a, inputs) for name, a in keywords.items()}
    recording = here.recording
    if recording is not None:
        recording.uses(_loans(inputs), _loans(changed or ()))
    elif streams.n_streams:
        streams.current().uses(*(streams.marks_of(blocks(part)) for part in (inputs, changed or ())))
    result = function(*hosts, **keywords)
    if changed is not None:
        if recording is not None:
            recording.note(function, hosts, keywords, [])
        return None
    made: list[Host] = []
    result = _wrapped(result, inputs, made)
    if recording is not None and made:
        recording.note(function, hosts, keywords, made)
    return result


def blocks(arrays: Iterable[StrictArray]) -> list[Block]:
    """The blocks of memory in which arrays lie."""
    return [loan.block for loan in _loans(arrays)]


def _loans(arrays: Iterable[StrictArray]) -> Iterator[Loan]:
    for x in arrays:
        loan = loan_of(x)
        if loan is not None:
            yield loan


def loan_of(x: StrictArray) -> Loan | None:
    """The loan of the memory in which an array lies; None for one without elements."""
    return x.loan if x.base is None else x.base.loan


def _wrapped(result: Any, inputs: Sequence[StrictArray], made: list[Host]) -> Any:
    """Results as arrays of this kind, 0-d instead of scalars. Views know whose memory they look into; the
    others are put into memory of the pool, and into `made`.
    """
    if not isinstance(result, np.ndarray):
        if isinstance(result, (tuple, list)):
            return type(result)([_wrapped(r, inputs, made) for r in result])
        if not isinstance(result, np.generic):
            return result
        result = np.asarray(result)
    elif result.base is not None:
        for x in inputs:
            if x.host is result:
                return x
            if x.host.base is result.base and (len(inputs) == 1 or np.may_share_memory(result, _whole(x))):
                return StrictArray(result, None, x if x.base is None else x.base)
    array = placed(result)
    made.append(array.host)
    return array


def _whole(x: StrictArray) -> Host:
    return (x if x.base is None else x.base).host


def placed(host: Host) -> StrictArray:
    """A copy of a NumPy array in memory of the pool."""
    if not host.size:
        return StrictArray(host.copy())
    flags = host.flags
    if not (flags.c_contiguous or (flags.f_contiguous and flags.owndata)):
        host = host.copy(order="K")
    stream = streams.current() if streams.n_streams else None
    loan = here.pool.lend(host.nbytes, 0 if stream is None else stream.number)
    if stream is not None and here.recording is None:
        stream.uses([], streams.marks_of([loan.block]))
    own = loan.array(host.shape, host.dtype, None if host.flags.c_contiguous else host.strides)
    own[...] = host
    return StrictArray(own, loan)


def guarded(name: str, function: Callable[..., Any], is_method: bool) -> Callable[..., Any]:
    """A NumPy function that takes and gives arrays of this kind, and refuses what CuPy's would."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if conditions.collected is not None:
            conditions.collected.add(Call(name, is_method, len(args) - is_method, tuple(sorted(kwargs))))
        refused = REFUSED_KEYWORDS.intersection(kwargs)
        if refused and name != "pad":
            raise TypeError(f"strict: {name} does not take {sorted(refused)[0]}=")
        if name in SIZED_BY_VALUES or (name == "where" and len(args) == 1):
            wait(name)
        _refuse_in_a_graph(name)
        for value in (*args, *kwargs.values()):
            refuse_host(name, value)
            if isinstance(value, (list, tuple)) and name in JOINING:
                refuse_host(name, *value)
            elif isinstance(value, list) and name not in CREATION and name not in METHODS:
                raise TypeError(f"strict: {name} is given a list")
        fills = name in ("fill", "copyto")
        behind = isinstance(function, np.ufunc) and len(args) > function.nin  # where the result goes
        out = args[0] if fills else args[-1] if behind else kwargs.get("out")
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            found = perform(function, *args, changed=None if out is None else (out,), **kwargs)
        return found if out is None or fills else out

    return call


def _to_host(value: Any, inputs: list[StrictArray]) -> Any:
    """A value with the NumPy arrays of arrays of this kind, which are appended to `inputs`."""
    kind = type(value)
    if kind is StrictArray:
        inputs.append(value)
        return value.host
    if kind is tuple or kind is list:
        return kind([_to_host(v, inputs) for v in value])
    return value


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name)
    in_place = name.startswith("__i") and name != "__invert__"

    def apply(self: StrictArray, *others: Any) -> Any:
        _refuse_in_a_graph(name)
        for other in others:
            refuse_host(f"an operator ({name})", other)
            if isinstance(other, list):
                raise TypeError(f"strict: an operator ({name}) is given a list")
            if not isinstance(other, (StrictArray, int, float, bool, np.generic)):
                return NotImplemented
        with np.errstate(all="ignore"):
            if in_place:
                perform(function, self, *others, changed=(self,))
                return self
            return perform(function, self, *others)

    return apply


OPERATORS = """
    add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv mod rmod pow rpow
    matmul rmatmul neg pos abs invert and rand or ror xor rxor lt le gt ge eq ne
"""
for _name in OPERATORS.split():
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))
