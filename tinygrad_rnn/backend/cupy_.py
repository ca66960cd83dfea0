"""CuPy: NumPy's functions on a CUDA GPU. Imported only when somebody asks for it.

Each method here is a difference between the two libraries; the comment says which.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import cupy
import numpy as np

from . import cublas, segments
from .base import Array, ArrayModule
from .capture import CannotCapture, Capture, capturing
from .switches import allow_tf32, deterministic

# The stream and the allocator of whoever called the step that is being captured.
_outside: ContextVar[tuple[Any, Any]] = ContextVar("tinygrad_rnn_outside")


class CuPyModule(ArrayModule):
    name = "cupy"
    device_type = "cuda"
    array_type = cupy.ndarray
    library = cupy
    language = "cuda"

    def __init__(self) -> None:
        # By device: streams whose graphs are gone, to capture others on. cuBLAS has a workspace for each.
        self._idle: defaultdict[int, list[tuple[Any, _Turn]]] = defaultdict(list)

    def is_available(self) -> bool:
        # cupy imports without a driver; only the driver knows whether there is a GPU.
        return bool(cupy.cuda.is_available())

    def kernel(self, source: str, name: str) -> Any:
        # RawKernel rather than ElementwiseKernel: nothing is broadcast or looked up at a call, which costs
        # the host less, and the text it compiles is all there is, so that it can be tested without a GPU.
        return cupy.RawKernel(source, name)

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        if self.capturing is not None:
            raise CannotCapture("values of the GPU are read on the host (item(), float(), numpy(), print)")
        return cupy.asnumpy(array)

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        if self.capturing is not None:  # its values would stay those of now, which is seldom meant
            raise CannotCapture("an array comes from the host; give it to the step as an argument")
        return cupy.asarray(array)

    def asarray(self, data: Any, dtype: Any = None) -> Array:
        # Lists come from the host too. In a captured step they are constants: lengths and the like.
        if isinstance(data, (list, tuple)) and self.capturing is not None:
            return self.capturing.feed(lambda: np.asarray(data, dtype), constant=True)
        return cupy.asarray(data, dtype)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        # add.at exists, but adds in no fixed order: sums may differ in the last bit from run to run.
        if deterministic.on:
            segments.scatter_add(self, target, index, values)
        else:
            cupy.add.at(target, index, values)

    def synchronize(self) -> None:
        cupy.cuda.get_current_stream().synchronize()

    def memory_allocated(self) -> int:
        return int(cupy.get_default_memory_pool().used_bytes())

    def empty_cache(self) -> None:
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()

    def device_name(self) -> str:
        name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"]
        return name.decode() if isinstance(name, bytes) else str(name)

    def erf(self, x: Array) -> Array:
        # CuPy has it as one kernel, in a module that costs time to import.
        from cupyx.scipy.special import erf

        return erf(x)

    # ------------------------------------------------------------ products

    @functools.cached_property
    def _products(self) -> cublas.Cublas | None:
        library = cublas.find_library()
        return None if library is None else cublas.Cublas(library, _address, _workspace)

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        # CuPy's cannot be captured into a graph.
        products, c = self._products, None
        if products is not None:
            stream = cupy.cuda.get_current_stream().ptr
            handle = products.handle((cupy.cuda.runtime.getDevice(), stream), stream)
            tf32 = allow_tf32.on
            c = cublas.matmul(self, a, b, lambda a, b, c: products.product(handle, a, b, c, tf32), out)
        return cupy.matmul(a, b) if c is None else c

    def matmul_into(self, a: Array, b: Array, out: Array) -> None:
        made = self.matmul(a, b, out if out.flags.c_contiguous else None)
        if made is not out:
            cupy.copyto(out, made)

    # ------------------------------------------------------------ captured steps

    def fed(self, make: Callable[[], Any]) -> Array:
        return self.from_numpy(make()) if self.capturing is None else self.capturing.feed(make)

    def numbers(self, now: Sequence[Any], again: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        # In a graph the arguments of a kernel are what they were at the capture, so there they are memory.
        return now if self.capturing is None else self.capturing.feed_numbers(now, again)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        # On the stream from which the step is called: what is replayed there comes later. A capture of CuPy's
        # is a relaxed one, in which other streams may do anything.
        if self.capturing is None:
            yield
            return
        stream, allocator = _outside.get()
        token = capturing.set(None)
        try:
            with stream, cupy.cuda.using_allocator(allocator):
                yield
        finally:
            capturing.reset(token)

    def capture(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        if self._products is None:
            raise CannotCapture("cuBLAS was not found, and CuPy's own calls of it cannot be captured")
        # A stream, and memory, that nobody else uses: the graph writes there at each replay.
        device = cupy.cuda.runtime.getDevice()
        idle = self._idle[device]
        stream, turn = idle.pop() if idle else (cupy.cuda.Stream(non_blocking=True), _Turn())
        memory = _GraphMemory()
        capture = Capture(memory.feed, _write, memory.owns)
        self._products.handle((device, stream.ptr), stream.ptr)
        outside = cupy.cuda.get_current_stream(), cupy.cuda.get_allocator()
        with stream, cupy.cuda.using_allocator(memory.pool.malloc):
            token, usual = capturing.set(capture), _outside.set(outside)
            try:
                stream.begin_capture()
                result = run()
                graph = stream.end_capture()
            except BaseException as error:
                self._abandon(device, stream, turn)
                if isinstance(error, Exception):
                    raise capture.failed(error, functools.partial(memory.left, outside[0])) from error
                capture.fail()
                raise
            finally:
                capturing.reset(token)
                _outside.reset(usual)
        with turn:  # replays on other streams come after what has been made at once on this one
            pass

        def replay(
            fill: Callable[[], None] = _nothing,
            read: Callable[[], Any] = _nothing,
            _kept_alive: Any = (stream, memory, result),
        ) -> Any:
            with turn:
                fill()
                capture.refill()
                graph.launch()
                return read()

        weakref.finalize(replay, idle.append, (stream, turn)).atexit = False
        return result, replay

    def _abandon(self, device: int, stream: Any, turn: _Turn) -> None:
        """Ends a capture that failed. The stream is of use again where it ends well."""
        try:
            stream.end_capture()
        except Exception:  # it has been broken off by what was not allowed, or never begun
            assert self._products is not None
            self._products.forget((device, stream.ptr))
        else:
            self._idle[device].append((stream, turn))


def _address(array: Array) -> int:
    return array.data.ptr


def _workspace() -> tuple[int, int, Any]:
    """Memory for a handle of cuBLAS: what its documentation recommends, 32 MiB from Hopper on, else 4."""
    n_bytes = (32 if int(cupy.cuda.Device().compute_capability) >= 90 else 4) << 20
    memory = cupy.cuda.alloc(n_bytes)
    return memory.ptr, n_bytes, memory


def _nothing() -> None:
    """What there is to do before or after a replay that is called for its own sake."""


class _Turn:
    """What uses the memory of a graph goes on in turn, from whichever threads and streams: CUDA orders the
    launches of one graph, but not what is written before them and read afterwards. Graphs that were captured
    on one stream, one after the other, share its workspace of cuBLAS, and so have one turn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = cupy.cuda.Event(disable_timing=True)

    def __enter__(self) -> None:
        self._lock.acquire()
        cupy.cuda.get_current_stream().wait_event(self._event)

    def __exit__(self, *_: object) -> None:
        cupy.cuda.get_current_stream().record(self._event)
        self._lock.release()


class _GraphMemory:
    """The memory of one graph. Its pool hands out what the captured step has freed, and each replay writes
    there again. What the host writes before a replay, the feeds, is from a pool of its own.
    """

    def __init__(self) -> None:
        self._segments: list[tuple[int, int, Any]] = []  # from where to where, and what holds them, in order
        self.pool = cupy.cuda.MemoryPool(functools.partial(_segment, self._segments))
        self._feeds = cupy.cuda.MemoryPool()

    def feed(self, value: np.ndarray[Any, Any]) -> Array:
        """Memory for what the host writes."""
        with cupy.cuda.using_allocator(self._feeds.malloc):
            return cupy.empty(value.shape, value.dtype)

    def owns(self, array: Any) -> bool:
        """Whether an array is from the pool, and so made by the step, or no array at all."""
        if not isinstance(array, cupy.ndarray):
            return True
        place = array.data.ptr
        before = bisect_right(self._segments, place, key=lambda segment: segment[0])
        return array.size == 0 or (before > 0 and place < self._segments[before - 1][1])

    def left(self, stream: Any) -> int:
        """After a failure: how many bytes of what was made are still in use. They are made NaN."""
        n_bytes: int = self.pool.used_bytes()
        for start, end, memory in self._segments if n_bytes else ():
            cupy.cuda.MemoryPointer(memory, 0).memset_async(0xFF, end - start, stream)
        return n_bytes


def _segment(segments: list[tuple[int, int, Any]], n_bytes: int) -> Any:
    """Memory of the device for the pool of a graph, which is held as long as the graph.

    Out of memory, CuPy's pool gives its free blocks back to the device and tries again, but here kernels have
    been captured that will use them. What is free in the pool of everything else may go.
    """
    try:
        memory = cupy.cuda.Memory(n_bytes)
    except cupy.cuda.runtime.CUDARuntimeError:
        cupy.get_default_memory_pool().free_all_blocks()
        memory = cupy.cuda.Memory(n_bytes)
    insort(segments, (memory.ptr, memory.ptr + n_bytes, memory), key=lambda segment: segment[0])
    return cupy.cuda.MemoryPointer(memory, 0)


def _write(memory: Array, value: np.ndarray[Any, Any]) -> None:
    # By way of memory that CuPy has pinned: a copy from elsewhere may wait for the stream.
    memory[...] = cupy.asarray(value)


module = CuPyModule()
