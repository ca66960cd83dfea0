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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..backend import segments
from ..backend.base import ArrayModule
from ..backend.capture import CannotCapture, Capture, capturing
from .cpu_kernels import CpuKernel
from .recording import Recording, root

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
_recording: Recording | None = None  # of the step that is being captured


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


def _nothing(_: Any) -> None:
    """What a computation gives that changes an array in place."""


def _wait(what: str) -> None:
    if _recording is not None:
        raise CannotCapture(f"{what} makes the host wait for the GPU")
    if not _waiting_allowed:
        raise RuntimeError(f"strict: {what} makes the host wait for the GPU")


def _refuse_in_a_graph(name: str) -> None:
    if _recording is not None and name in NOT_IN_A_GRAPH:
        raise CannotCapture(f"CuPy's {name.strip('_')} cannot be captured")


class StrictArray:
    """An array on the pretended GPU. `_host` is the NumPy array that holds its values."""

    __slots__ = ("__weakref__", "_host", "base")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Any, base: StrictArray | None = None) -> None:
        self._host: np.ndarray[Any, Any] = np.asarray(host)  # NumPy makes scalars of arrays without axes
        self.base = base  # the array whose memory this one looks into

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
        _wait("a truth value")
        return bool(self._host)

    def item(self) -> Any:
        _wait("item()")
        return self._host.item()

    def tolist(self) -> Any:
        _wait("tolist()")
        return self._host.tolist()

    def __getitem__(self, index: Any) -> StrictArray:
        return _perform(lambda: _picked(self._host, _host_index(index, self.shape)), [self])

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_host("an assignment", value)
        host_index = _host_index(index, self.shape)
        rows = host_index if isinstance(host_index, np.ndarray) and host_index.dtype.kind in "iu" else None
        if rows is not None and len(np.unique(rows)) != rows.size:
            raise ValueError("strict: assigning twice to one place is undefined")
        _perform(lambda: self._host.__setitem__(_host_index(index, self.shape), _to_host(value)), [], [self])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in METHODS:
            raise AttributeError(f"strict: arrays have no {name!r}")
        method = getattr(self._host, name)
        return _guarded(name, method, [self])


METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum", "dot",
    "fill", "flatten", "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std",
    "sum", "swapaxes", "take", "trace", "transpose", "var", "view",
}  # fmt: skip


def _host_index(index: Any, shape: tuple[int, ...]) -> Any:
    """An index for the NumPy array. Integer arrays wrap silently, masks make the host wait."""
    parts = index if isinstance(index, tuple) else (index,)
    axis = 0
    host: list[Any] = []
    n_real = sum(p.ndim if _is_mask(p) else p is not None and p is not Ellipsis for p in parts)
    for part in parts:
        _refuse_host("an index", part)
        if isinstance(part, list):
            raise TypeError("strict: an index may not be a list")
        if part is Ellipsis:
            axis += len(shape) - n_real
            host.append(part)
            continue
        if isinstance(part, StrictArray):
            if _is_mask(part):
                _wait("a boolean mask")
                axis += part.ndim
                host.append(part._host)
                continue
            host.append(part._host % max(1, shape[axis]))  # out of range: no error there either
        else:
            host.append(part)
        axis += part is not None
    return tuple(host) if isinstance(index, tuple) else host[0]


def _is_mask(part: Any) -> bool:
    return isinstance(part, StrictArray) and part.dtype.kind == "b"


def _refuse_host(where: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            raise TypeError(f"strict: {where} is given a NumPy array")


def _perform(compute: Callable[[], Any], inputs: list[Any], changed: Iterable[StrictArray] = ()) -> Any:
    """Runs a computation on NumPy arrays, and wraps what it gives. Every operation comes by here, so that it
    can be recorded.
    """
    if _recording is not None:
        _recording.changes(x._host for x in changed)
    result = _wrapped(compute(), inputs)
    if _recording is not None:
        parts = result if isinstance(result, (tuple, list)) else (result,)
        hosts = [r._host for r in parts if isinstance(r, StrictArray)]
        _recording.note(compute, hosts, [x._host for x in inputs if isinstance(x, StrictArray)])
    return result


def _picked(host: np.ndarray[Any, Any], index: Any) -> np.ndarray[Any, Any]:
    """host[index]; an element too as a view, as on a GPU."""
    y = host[index]
    if isinstance(y, np.ndarray):
        return y
    return host[(*index, ...) if isinstance(index, tuple) else (index, ...)]


def _wrapped(result: Any, inputs: list[Any]) -> Any:
    """Results as arrays of this kind, 0-d instead of scalars; views know whose memory they look into."""
    if isinstance(result, (tuple, list)):
        return type(result)(_wrapped(r, inputs) for r in result)
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if not isinstance(result, np.ndarray):
        return result
    whole = root(result)
    for x in inputs:
        if isinstance(x, StrictArray) and root(x._host) is whole:
            return x if x._host is result else StrictArray(result, x if x.base is None else x.base)
    return StrictArray(result)


def _guarded(name: str, function: Callable[..., Any], owners: list[Any]) -> Callable[..., Any]:
    """A NumPy function that takes and gives arrays of this kind, and refuses what CuPy's would."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if _calls is not None:
            _calls.add(Call(name, bool(owners), len(args), tuple(sorted(kwargs))))
        refused = REFUSED_KEYWORDS.intersection(kwargs)
        if refused and name != "pad":
            raise TypeError(f"strict: {name} does not take {sorted(refused)[0]}=")
        if name in SIZED_BY_VALUES or (name == "where" and len(args) == 1):
            _wait(name)
        _refuse_in_a_graph(name)
        out = kwargs.get("out")
        values = [*args, *kwargs.values()]
        inputs = [*owners]
        for value in values:
            _refuse_host(name, value)
            if isinstance(value, (list, tuple)) and name in JOINING:
                _refuse_host(name, *value)
                inputs += value
            elif isinstance(value, list) and name not in CREATION and name not in METHODS:
                raise TypeError(f"strict: {name} is given a list")
            inputs.append(value)
        keywords = {k: _to_host(v) for k, v in kwargs.items()}
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            if out is not None or name == "fill":
                _perform(
                    lambda: _nothing(function(*map(_to_host, args), **keywords)),
                    [],
                    owners if out is None else [out],
                )
                return out
            return _perform(lambda: function(*map(_to_host, args), **keywords), inputs)

    return call


def _to_host(value: Any) -> Any:
    if isinstance(value, StrictArray):
        return value._host
    if isinstance(value, (list, tuple)) and any(isinstance(v, StrictArray) for v in value):
        return type(value)(_to_host(v) for v in value)
    return value


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name)

    def apply(self: StrictArray, *others: Any) -> Any:
        _refuse_in_a_graph(name)
        for other in others:
            _refuse_host(f"an operator ({name})", other)
            if isinstance(other, list):
                raise TypeError(f"strict: an operator ({name}) is given a list")
            if not isinstance(other, (StrictArray, int, float, bool, np.generic)):
                return NotImplemented
        with np.errstate(all="ignore"):
            if name.startswith("__i") and name not in ("__invert__",):
                _perform(lambda: _nothing(function(self._host, *map(_to_host, others))), [], [self])
                return self
            return _perform(lambda: function(self._host, *map(_to_host, others)), [])

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
        return _guarded(name, value, [])


class StrictModule(ArrayModule):
    name = "strict"
    device_type = "cuda"
    array_type = StrictArray
    library = StrictLibrary()

    def to_numpy(self, array: Any) -> np.ndarray[Any, Any]:
        _wait("a copy to the host")
        return array._host.copy()

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Any:
        if self.capturing is not None:
            raise CannotCapture("an array comes from the host; give it to the step as an argument")
        return StrictArray(np.array(array))

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        _refuse_host("scatter_add", target, values)
        _perform(
            lambda: np.add.at(target._host, _host_index(index, target.shape), values._host), [], [target]
        )

    def erf(self, x: Any) -> Any:
        return _perform(lambda: backend.find("numpy").erf(x._host), [])

    def fed(self, make: Callable[[], Any]) -> Any:
        return self.from_numpy(make()) if self.capturing is None else self.capturing.feed(make)

    def numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        return now if self.capturing is None else self.capturing.feed_numbers(now, again)

    def capture(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        global _recording
        recording = _recording = Recording()

        def static(value: np.ndarray[Any, Any]) -> StrictArray:
            array = StrictArray(value.copy())
            recording.makes(array._host)
            return array

        def write(memory: StrictArray, value: np.ndarray[Any, Any]) -> None:
            memory._host[...] = value

        capture = Capture(static, write)
        token = capturing.set(capture)
        try:
            result = run()
        except Exception as error:
            capture.fail()
            raise CannotCapture(str(error).split("\n")[0]) from error
        finally:
            capturing.reset(token)
            _recording = None
            recording.undo()

        def replay() -> None:
            capture.refill()
            recording.replay()

        return result, replay


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
            _perform(lambda: kernel(grid, block, arguments), [], arrays)

        return launch

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        if backend.deterministic.on:
            segments.scatter_add(self, target, index, values)
        else:
            super().scatter_add(target, index, values)


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
