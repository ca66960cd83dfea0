"""A stand-in for CuPy that needs no GPU: NumPy underneath, and refusing what CuPy refuses.

    from tinygrad_rnn.testing import strict
    strict.install()
    with tg.use("strict"):
        ...

What runs here calls nothing that CuPy lacks, mixes no host arrays in, and converts nothing by accident. It
does not prove that a GPU does the same; it finds the mistakes that one would find there first.

`with strict.no_waits():` also refuses what makes the host wait for the GPU: `float(x)`, `if x`, `x.item()`,
boolean masks, `nonzero`, copies to the host.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..backend import segments
from ..backend.base import ArrayModule
from ..backend.capture import CannotCapture, Capture, capturing
from ..engine import Value
from . import streams
from .cpu_kernels import CpuKernel
from .pool import Block, Host, Loan, Pool
from .recording import Recording
from .streams import Stream

# Keywords that NumPy takes and CuPy does not.
REFUSED_KEYWORDS = {"where", "order", "initial", "mode", "correction", "min", "max", "subok", "like"}
# Names that NumPy has and CuPy 14 does not.
MISSING = {"errstate", "seterr", "block", "nditer", "vecdot", "matvec", "vecmat", "memmap", "ndenumerate"}
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

_waiting_allowed = True
_calls: set[Call] | None = None  # of the library's functions, where they are being collected


class Call(NamedTuple):
    """How a function of the library, or a method of its arrays, was called."""

    name: str
    is_method: bool
    n_positional: int
    keywords: tuple[str, ...]


@contextlib.contextmanager
def calls() -> Iterator[set[Call]]:
    """In this block, collects how functions of the library are called: to be held against the real one."""
    global _calls
    before, _calls = _calls, set()
    try:
        yield _calls
    finally:
        _calls = before


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """In this block, what would make the host wait for the GPU raises RuntimeError."""
    global _waiting_allowed
    before, _waiting_allowed = _waiting_allowed, False
    try:
        yield
    finally:
        _waiting_allowed = before


class _Here(threading.local):
    """Of this thread: the pool that new arrays come from, and the recording of the step that is captured."""

    pool: Pool
    recording: Recording | None = None

    def __init__(self) -> None:
        self.pool = POOL


POOL = Pool()  # of everything outside of captures
_here = _Here()


def _wait(what: str, array: StrictArray | None = None) -> None:
    if _here.recording is not None:
        raise CannotCapture(f"{what} makes the host wait for the GPU")
    if not _waiting_allowed:
        raise RuntimeError(f"strict: {what} makes the host wait for the GPU")
    if streams.n_streams:
        streams.current().uses(streams.marks_of(_blocks([] if array is None else [array])), [])
        streams.current().synchronize()


def _refuse_in_a_graph(name: str) -> None:
    if _here.recording is not None and name in NOT_IN_A_GRAPH:
        raise CannotCapture(f"CuPy's {name.strip('_')} cannot be captured")


class StrictArray:
    """An array on the pretended GPU. `_host` is a NumPy array at its place in the pool's memory, which
    belongs to it by `_loan`, or to its `base`, the array whose memory it looks into.
    """

    __slots__ = ("__weakref__", "_host", "_loan", "base")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Host, loan: Loan | None = None, base: StrictArray | None = None) -> None:
        self._host, self._loan, self.base = host, loan, base

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: self.transpose())

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("strict: implicit conversion to a NumPy array; move it with to_numpy")

    def __repr__(self) -> str:
        return f"strict({self._host!r})"

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[StrictArray]:
        return (self[i] for i in range(len(self._host)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.item().__index__()

    def __bool__(self) -> bool:
        _wait("a truth value", self)
        return bool(self._host)

    def item(self) -> Any:
        _wait("item()", self)
        return self._host.item()

    def tolist(self) -> Any:
        _wait("tolist()", self)
        return self._host.tolist()

    def __getitem__(self, index: Any) -> StrictArray:
        return _perform(_item, self, _checked_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_host("an assignment", value)
        checked = _checked_index(index)
        rows = checked[0] if len(checked) == 1 else None
        if isinstance(rows, StrictArray) and rows.dtype.kind in "iu":
            places = rows._host % max(1, self.shape[0])
            if len(np.unique(places)) != places.size:
                raise ValueError("strict: assigning twice to one place is undefined")
        _perform(_set_item, self, checked, value, changed=(self,))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in METHODS:
            raise AttributeError(f"strict: arrays have no {name!r}")
        return functools.partial(_guarded(name, getattr(np.ndarray, name), True), self)


METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum", "dot",
    "fill", "flatten", "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std",
    "sum", "swapaxes", "take", "trace", "transpose", "var", "view",
}  # fmt: skip


def _checked_index(index: Any) -> tuple[Any, ...]:
    """The parts of an index that CuPy would take. Masks make the host wait."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        _refuse_host("an index", part)
        if isinstance(part, list):
            raise TypeError("strict: an index may not be a list")
        if _is_mask(part):
            _wait("a boolean mask")
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


def _add_at(host: Host, parts: tuple[Any, ...], values: Host) -> None:
    np.add.at(host, _wrapped_index(parts, host.shape), values)


def _is_mask(part: Any) -> bool:
    return isinstance(part, StrictArray) and part.dtype.kind == "b"


def _refuse_host(where: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            raise TypeError(f"strict: {where} is given a NumPy array")
        if isinstance(value, Value):  # NumPy would ask it for its values, and CuPy does not know it
            raise TypeError(f"strict: {where} is given a tensor")


def _perform(
    function: Callable[..., Any], *args: Any, changed: Sequence[Any] | None = None, **keywords: Any
) -> Any:
    """Runs a function of NumPy arrays on what arrays of this kind hold, and wraps what it gives. Every
    operation comes by here, so that it can be recorded. One that changes an array in place gives nothing.
    """
    inputs: list[StrictArray] = []
    hosts = [_to_host(a, inputs) for a in args]
    if keywords:
        keywords = {name: _to_host(a, inputs) for name, a in keywords.items()}
    recording = _here.recording
    if recording is not None:
        recording.uses(_loans(inputs), _loans(changed or ()))
    elif streams.n_streams:
        streams.current().uses(*(streams.marks_of(_blocks(part)) for part in (inputs, changed or ())))
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


def _blocks(arrays: Iterable[StrictArray]) -> list[Block]:
    return [loan.block for loan in _loans(arrays)]


def _loans(arrays: Iterable[StrictArray]) -> Iterator[Loan]:
    for x in arrays:
        loan = _loan_of(x)
        if loan is not None:
            yield loan


def _loan_of(x: StrictArray) -> Loan | None:
    return x._loan if x.base is None else x.base._loan


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
            if x._host is result:
                return x
            if x._host.base is result.base and (len(inputs) == 1 or np.may_share_memory(result, _whole(x))):
                return StrictArray(result, None, x if x.base is None else x.base)
    array = _placed(result)
    made.append(array._host)
    return array


def _whole(x: StrictArray) -> Host:
    return (x if x.base is None else x.base)._host


def _placed(host: Host) -> StrictArray:
    """A copy of a NumPy array in memory of the pool."""
    if not host.size:
        return StrictArray(host.copy())
    flags = host.flags
    if not (flags.c_contiguous or (flags.f_contiguous and flags.owndata)):
        host = host.copy(order="K")
    stream = streams.current() if streams.n_streams else None
    loan = _here.pool.lend(host.nbytes, 0 if stream is None else stream.number)
    if stream is not None and _here.recording is None:
        stream.uses([], streams.marks_of([loan.block]))
    own = loan.array(host.shape, host.dtype, None if host.flags.c_contiguous else host.strides)
    own[...] = host
    return StrictArray(own, loan)


def _guarded(name: str, function: Callable[..., Any], is_method: bool) -> Callable[..., Any]:
    """A NumPy function that takes and gives arrays of this kind, and refuses what CuPy's would."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _calls is not None:
            _calls.add(Call(name, is_method, len(args) - is_method, tuple(sorted(kwargs))))
        refused = REFUSED_KEYWORDS.intersection(kwargs)
        if refused and name != "pad":
            raise TypeError(f"strict: {name} does not take {sorted(refused)[0]}=")
        if name in SIZED_BY_VALUES or (name == "where" and len(args) == 1):
            _wait(name)
        _refuse_in_a_graph(name)
        for value in (*args, *kwargs.values()):
            _refuse_host(name, value)
            if isinstance(value, (list, tuple)) and name in JOINING:
                _refuse_host(name, *value)
            elif isinstance(value, list) and name not in CREATION and name not in METHODS:
                raise TypeError(f"strict: {name} is given a list")
        fills = name in ("fill", "copyto")
        behind = isinstance(function, np.ufunc) and len(args) > function.nin  # where the result goes
        out = args[0] if fills else args[-1] if behind else kwargs.get("out")
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            found = _perform(function, *args, changed=None if out is None else (out,), **kwargs)
        return found if out is None or fills else out

    return call


def _to_host(value: Any, inputs: list[StrictArray]) -> Any:
    """A value with the NumPy arrays of arrays of this kind, which are appended to `inputs`."""
    kind = type(value)
    if kind is StrictArray:
        inputs.append(value)
        return value._host
    if kind is tuple or kind is list:
        return kind([_to_host(v, inputs) for v in value])
    return value


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name)
    in_place = name.startswith("__i") and name != "__invert__"

    def apply(self: StrictArray, *others: Any) -> Any:
        _refuse_in_a_graph(name)
        for other in others:
            _refuse_host(f"an operator ({name})", other)
            if isinstance(other, list):
                raise TypeError(f"strict: an operator ({name}) is given a list")
            if not isinstance(other, (StrictArray, int, float, bool, np.generic)):
                return NotImplemented
        with np.errstate(all="ignore"):
            if in_place:
                _perform(function, self, *others, changed=(self,))
                return self
            return _perform(function, self, *others)

    return apply


OPERATORS = """
    add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv mod rmod pow rpow
    matmul rmatmul neg pos abs invert and rand or ror xor rxor lt le gt ge eq ne
"""
for _name in OPERATORS.split():
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))


class StrictLibrary:
    """NumPy's functions on strict arrays, by name."""

    def __getattr__(self, name: str) -> Any:
        if name in MISSING or name.startswith("_"):
            raise AttributeError(f"strict: CuPy has no {name!r}")
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type):
            return value
        return _guarded(name, value, False)


class StrictModule(ArrayModule):
    name = "strict"
    device_type = "cuda"
    array_type = StrictArray
    library = StrictLibrary()

    def to_numpy(self, array: Any) -> np.ndarray[Any, Any]:
        _wait("a copy to the host", array)
        return array._host.copy()

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Any:
        if self.capturing is not None:
            raise CannotCapture("an array comes from the host; give it to the step as an argument")
        return _placed(np.asarray(array))

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        _refuse_host("scatter_add", target, values)
        _perform(_add_at, target, _checked_index(index), values, changed=(target,))

    def erf(self, x: Any) -> Any:
        return _perform(backend.find("numpy").erf, x)

    def fed(self, make: Callable[[], Any]) -> Any:
        return self.from_numpy(make()) if self.capturing is None else self.capturing.feed(make)

    def numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        return now if self.capturing is None else self.capturing.feed_numbers(now, again)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        token, before = capturing.set(None), (_here.pool, _here.recording)
        _here.pool, _here.recording = POOL, None
        try:
            yield
        finally:
            capturing.reset(token)
            _here.pool, _here.recording = before

    def capture(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        recording = Recording()

        def owns(x: Any) -> bool:
            return type(x) is not StrictArray or recording.owns(_loan_of(x))

        capture = Capture(functools.partial(_static, recording.feeds), _write, owns)
        token, before = capturing.set(capture), _here.pool
        _here.pool, _here.recording = recording.pool, recording
        try:
            result = run()
        except Exception as error:
            raise capture.failed(error, recording.pool.used_bytes) from error
        finally:
            capturing.reset(token)
            _here.pool, _here.recording = before, None
            recording.undo()  # and with it, what was made holds NaN

        turn = _Turn()

        def replay(fill: Callable[[], None] = _nothing, read: Callable[[], Any] = _nothing) -> Any:
            with turn:
                fill()
                capture.refill()
                recording.replay()
                return read()

        return result, replay


def _nothing() -> None:
    """What there is to do before or after a replay that is called for its own sake."""


class _Turn:
    """What uses the memory of a graph goes on in turn, from whichever threads and streams."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = streams.current().record()

    def __enter__(self) -> None:
        self._lock.acquire()
        streams.current().wait_event(self._event)

    def __exit__(self, *_: object) -> None:
        self._event = streams.current().record()
        self._lock.release()


def _static(feeds: Pool, value: np.ndarray[Any, Any]) -> StrictArray:
    loan = feeds.lend(value.nbytes)
    return StrictArray(loan.array(value.shape, value.dtype), loan)


def _write(memory: StrictArray, value: np.ndarray[Any, Any]) -> None:
    if streams.n_streams:
        streams.current().uses([], streams.marks_of(_blocks([memory])))
    memory._host[...] = value


class KernelModule(StrictModule):
    """The stand-in with the GPU's kernels, compiled for the CPU. `launched` counts their calls by name."""

    language = "cuda"

    def __init__(self) -> None:
        self.launched: Counter[str] = Counter()

    def kernel(self, source: str, name: str) -> Any:
        kernel = CpuKernel(source, name)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            self.launched[name] += 1
            arrays = [a for a in arguments if isinstance(a, StrictArray)]
            _perform(functools.partial(kernel, grid, block), arguments, changed=arrays)

        return launch

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        if backend.deterministic.on:
            segments.scatter_add(self, target, index, values)
        else:
            super().scatter_add(target, index, values)


@contextlib.contextmanager
def own_pool() -> Iterator[Pool]:
    """In this block new arrays of this thread come from a pool of their own, which begins empty: as it never
    gives anything back, its `total_bytes()` are the most that were in use at once, and what did not fit.
    """
    before, _here.pool = _here.pool, Pool()
    try:
        yield _here.pool
    finally:
        _here.pool = before


def new_streams(n: int) -> list[Stream]:
    """Streams as `with` blocks (streams.py); what was begun before is done."""
    made = [Stream() for _ in range(n)]
    streams.current().synchronize()
    return made


module = StrictModule()
_with_kernels = KernelModule()


@contextlib.contextmanager
def kernels() -> Iterator[KernelModule]:
    """In this block the stand-in runs fused functions by the GPU's own kernels; needs a C++ compiler."""
    before = backend.MODULES.get(module.array_type, module)  # another thread may be in such a block, too
    _with_kernels.launched.clear()
    backend.register(_with_kernels)
    try:
        with backend.use("strict"):
            yield _with_kernels
    finally:
        backend.register(before)


def install() -> None:
    """Makes "strict" a backend: `tg.use("strict")`, `x.to("strict")`."""
    backend.register(module)
