"""The stand-in as a backend: its library, what it does in place of CUDA graphs, and the GPU's own kernels."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import backend
from tinygrad_rnn.backend import segments
from tinygrad_rnn.backend.base import ArrayModule
from tinygrad_rnn.backend.capture import CannotCapture, Capture, capturing

from .. import streams
from ..cpu_kernels import CpuKernel
from ..pool import Pool
from ..recording import Recording
from ..streams import Stream
from .arrays import (
    StrictArray,
    add_at,
    blocks,
    checked_index,
    guarded,
    loan_of,
    perform,
    placed,
    refuse_host,
    wait,
)
from .conditions import POOL, here

# Names that NumPy has and CuPy 14 does not.
MISSING = {"errstate", "seterr", "block", "nditer", "vecdot", "matvec", "vecmat", "memmap", "ndenumerate"}


class StrictLibrary:
    """NumPy's functions on strict arrays, by name."""

    def __getattr__(self, name: str) -> Any:
        if name in MISSING or name.startswith("_"):
            raise AttributeError(f"strict: CuPy has no {name!r}")
        value = getattr(np, name)
        if not callable(value) or isinstance(value, type):
            return value
        return guarded(name, value, False)


class StrictModule(ArrayModule):
    name = "strict"
    device_type = "cuda"
    array_type = StrictArray
    library = StrictLibrary()

    def to_numpy(self, array: Any) -> np.ndarray[Any, Any]:
        wait("a copy to the host", array)
        return array.host.copy()

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Any:
        if self.capturing is not None:
            raise CannotCapture("an array comes from the host; give it to the step as an argument")
        return placed(np.asarray(array))

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        refuse_host("scatter_add", target, values)
        perform(add_at, target, checked_index(index), values, changed=(target,))

    def erf(self, x: Any) -> Any:
        return perform(backend.find("numpy").erf, x)

    def fed(self, make: Callable[[], Any]) -> Any:
        return self.from_numpy(make()) if self.capturing is None else self.capturing.feed(make)

    def numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        return now if self.capturing is None else self.capturing.feed_numbers(now, again)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        token, before = capturing.set(None), (here.pool, here.recording)
        here.pool, here.recording = POOL, None
        try:
            yield
        finally:
            capturing.reset(token)
            here.pool, here.recording = before

    def capture(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        recording = Recording()

        def owns(x: Any) -> bool:
            return type(x) is not StrictArray or recording.owns(loan_of(x))

        capture = Capture(functools.partial(_static, recording.feeds), _write, owns)
        token, before = capturing.set(capture), here.pool
        here.pool, here.recording = recording.pool, recording
        try:
            result = run()
        except Exception as error:
            raise capture.failed(error, recording.pool.used_bytes) from error
        finally:
            capturing.reset(token)
            here.pool, here.recording = before, None
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
        streams.current().uses([], streams.marks_of(blocks([memory])))
    memory.host[...] = value


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
            perform(functools.partial(kernel, grid, block), arguments, changed=arrays)

        return launch

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        if backend.deterministic.on:
            segments.scatter_add(self, target, index, values)
        else:
            super().scatter_add(target, index, values)


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
