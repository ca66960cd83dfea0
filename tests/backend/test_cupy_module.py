"""What backend/cupy_.py does around a capture, with pretended streams, pools and graphs: no GPU is needed."""

import contextlib
import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_rnn.backend import CannotCapture

pytest.importorskip("cupy")
from tinygrad_rnn.backend import cupy_

pytestmark = pytest.mark.host


class OutOfMemory(Exception):
    pass


class Driver:
    """CUDA as far as it is used here. It refuses what CUDA refuses, and counts."""

    def __init__(self):
        self.n_streams, self.current, self.launched, self.allocator = 0, None, [], None
        self.n_free, self.n_bytes, self.made, self.filled, self.events = 1 << 20, 0, [], [], []
        driver = self

        class Stream:
            def __init__(self, non_blocking):
                assert non_blocking  # the default stream's work would be refused while capturing
                driver.n_streams += 1
                self.ptr, self.capturing, self.breaks = driver.n_streams, False, False

            def __enter__(self):
                self.before, driver.current = driver.current, self

            def __exit__(self, *_):
                driver.current = self.before

            def begin_capture(self):
                if self.capturing:
                    raise RuntimeError("cudaErrorIllegalState")
                self.capturing = True

            def end_capture(self):
                if not self.capturing:
                    raise RuntimeError("cudaErrorIllegalState")
                self.capturing = False
                if self.breaks:
                    raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed")
                return SimpleNamespace(launch=lambda: driver.launched.append(driver.current))

            def record(self, event):
                driver.events.append(("record", driver.current))
                event.on = self

            def wait_event(self, event):
                driver.events.append(("wait", event.on))

        class Memory:
            def __init__(self, size):
                if driver.n_free < size:
                    raise OutOfMemory
                driver.n_free -= size
                driver.n_bytes += 4096
                self.ptr, self.size = driver.n_bytes, size

        class Pool:
            """Out of memory, it lets its free blocks go and tries again, as CuPy's."""

            def __init__(self, allocator=Memory):
                self.allocate, self.blocks, self.used = allocator, [], 0

            def malloc(self, size):
                try:
                    self.blocks.append(self.allocate(size))
                except OutOfMemory:
                    self.blocks.clear()
                    self.blocks.append(self.allocate(size))
                return self.blocks[-1]

            def used_bytes(self):
                return self.used

            def free_all_blocks(self):
                driver.n_free += 1000

        class Pointer:
            def __init__(self, memory, offset):
                self.memory, self.ptr = memory, memory.ptr + offset

            def memset_async(self, value, size, stream):
                driver.filled.append((self.ptr, value, size, stream))

        @contextlib.contextmanager
        def using_allocator(malloc):
            before, driver.allocator = driver.allocator, malloc
            try:
                yield
            finally:
                driver.allocator = before

        class Array:
            def __init__(self, ptr=0, size=1):
                self.data, self.size = SimpleNamespace(ptr=ptr), size

        def empty(shape, dtype):
            driver.made.append(getattr(driver.allocator, "__self__", None))
            return np.empty(shape, dtype)

        self.default = Stream(non_blocking=True)
        self.n_streams = 0
        self.library = SimpleNamespace(
            cuda=SimpleNamespace(
                Stream=Stream,
                MemoryPool=Pool,
                Memory=Memory,
                MemoryPointer=Pointer,
                Event=lambda disable_timing: SimpleNamespace(on="nothing"),
                get_current_stream=lambda: driver.current or driver.default,
                get_allocator=lambda: driver.allocator,
                using_allocator=using_allocator,
                runtime=SimpleNamespace(getDevice=lambda: 0, CUDARuntimeError=OutOfMemory),
            ),
            get_default_memory_pool=Pool,
            ndarray=Array,
            empty=empty,
            asarray=np.asarray,
        )


class Products:
    def __init__(self):
        self.handles = set()

    def handle(self, key, stream):
        self.handles.add(key)

    def forget(self, key):
        self.handles.remove(key)


@pytest.fixture
def driver(monkeypatch):
    found = Driver()
    monkeypatch.setattr(cupy_, "cupy", found.library)
    return found


@pytest.fixture
def module(driver):
    made = cupy_.CuPyModule()
    made._products = Products()
    return made


def test_a_capture_has_a_stream_a_pool_and_a_handle_of_its_own(driver, module):
    seen = []

    def run():
        assert module.capturing is not None
        seen.append((driver.current, driver.allocator.__self__))
        return "result"

    result, replay = module.capture(run)
    assert (result, len(seen), module.capturing, driver.current) == ("result", 1, None, None)
    (stream, pool), *_ = seen
    assert not stream.capturing
    assert pool is not None
    assert module._products.handles == {(0, stream.ptr)}
    replay()
    assert driver.launched == [None]  # on the stream of whoever replays it


def test_stream_pool_and_results_live_as_long_as_the_graph(driver, module):
    class Result:
        pass

    pools = []

    def run():
        pools.append(weakref.ref(driver.allocator.__self__))
        return Result()

    result, replay = module.capture(run)
    kept = weakref.ref(result)
    del result
    gc.collect()
    assert kept() is not None
    assert pools[0]() is not None
    del replay
    gc.collect()
    assert kept() is None
    assert pools[0]() is None


def test_streams_and_their_workspaces_are_used_again(driver, module):
    """Else each capture would cost 32 MiB of a large GPU for good."""
    for _ in range(5):
        _, replay = module.capture(lambda: None)
        del replay
    assert driver.n_streams == len(module._products.handles) == 1
    together = [module.capture(lambda: None)[1] for _ in range(3)]
    assert driver.n_streams == len(together)


def fails(error):
    raise error


def test_a_failure_says_why_and_the_stream_is_free_again(driver, module):
    undone = []

    def run():
        module.capturing.on_failure(lambda: undone.append(True))
        fails(ValueError("no such thing\nand more"))

    with pytest.raises(CannotCapture, match=r"^no such thing$"):
        module.capture(run)
    assert undone == [True]
    assert (module.capturing, driver.current, driver.allocator) == (None, None, None)
    with pytest.raises(KeyboardInterrupt):  # is nobody's reason to go on
        module.capture(lambda: fails(KeyboardInterrupt()))
    module.capture(lambda: None)
    assert (driver.n_streams, module.capturing) == (1, None)


def test_a_capture_that_breaks_costs_its_stream_and_no_memory(driver, module):
    def run():
        driver.current.breaks = True

    for _ in range(2):
        with pytest.raises(CannotCapture, match="cudaErrorStreamCaptureInvalidated"):
            module.capture(run)
    assert driver.n_streams == 2
    assert module._products.handles == set()


def test_without_cublas_it_says_so(module):
    module._products = None
    with pytest.raises(CannotCapture, match="cuBLAS was not found"):
        module.capture(lambda: None)


def test_what_comes_from_the_host_is_written_before_each_replay(driver, module):
    numbers = iter([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    constants = []

    def run():
        constants.append(module.asarray([5, 6], "int64"))
        return module.fed(lambda: next(numbers))

    memory, replay = module.capture(run)
    replay()
    assert memory.tolist() == [1.0, 2.0]
    replay()
    assert memory.tolist() == [3.0, 4.0]
    assert constants[0].tolist() == [5, 6]
    assert len(driver.launched) == 2


@pytest.mark.parametrize("call", ["to_numpy", "from_numpy"])
def test_what_no_graph_can_hold_is_refused(module, call):
    with pytest.raises(CannotCapture, match="the host"):
        module.capture(lambda: getattr(module, call)(np.ones(2)))


def test_what_the_host_writes_is_in_no_memory_of_the_steps(driver, module):
    """A block that the step has freed would be written over before it is read, at each replay."""
    pools = []

    def run():
        pools.append(driver.allocator.__self__)
        module.fed(lambda: np.ones(2))
        module.asarray([1, 2], "int64")
        module.numbers((1.0, 2.0), lambda: (1.0, 2.0))
        driver.library.empty(2, "float32")
        assert driver.allocator.__self__ is pools[0]

    module.capture(run)
    *feeds, step = driver.made
    assert step is pools[0]
    assert len(feeds) == 3
    assert len({*map(id, feeds)}) == 1
    assert pools[0] not in feeds


def test_what_is_made_at_once_is_made_outside(driver, module):
    usual = driver.allocator = driver.library.cuda.MemoryPool().malloc

    def run():
        inside = driver.current, driver.allocator
        with module.at_once():
            assert module.capturing is None
            assert (driver.current, driver.allocator) == (driver.default, usual)
        assert (driver.current, driver.allocator) == inside
        assert module.capturing is not None

    module.capture(run)
    with module.at_once():
        assert (driver.current, driver.allocator) == (None, usual)


def test_memory_that_kernels_will_use_is_not_given_back(driver, module):
    """Out of memory, the graph's pool would; what is free elsewhere goes instead."""
    driver.n_free, blocks = 1500, []

    def run():
        malloc = driver.allocator
        blocks.append(weakref.ref(malloc(1000).memory))
        malloc(1000)
        assert blocks[0]() is not None
        own = driver.library.ndarray(blocks[0]().ptr + 999)
        assert module.capturing._owns(own)
        assert module.capturing._owns(3.0)
        assert not module.capturing._owns(driver.library.ndarray(blocks[0]().ptr + 1000))

    _, replay = module.capture(run)
    gc.collect()
    assert blocks[0]() is not None
    del replay
    gc.collect()
    assert blocks[0]() is None


def test_replays_wait_for_each_other_and_for_what_was_made_before(driver, module):
    _, replay = module.capture(lambda: None)
    assert driver.events == [("wait", "nothing"), ("record", None)]
    other = driver.library.cuda.Stream(non_blocking=True)
    driver.events.clear()
    with other:
        replay(lambda: driver.events.append("fill"), lambda: driver.events.append("read"))
    assert driver.events == [("wait", driver.default), "fill", "read", ("record", other)]
    del replay
    driver.events.clear()
    _, replay = module.capture(lambda: None)  # on the same stream, whose workspace may be in use
    replay()
    assert driver.events[0] == ("wait", other)


def test_what_a_failed_capture_leaves_is_named_and_made_nan(driver, module):
    def run(used):
        driver.allocator.__self__.used = used
        driver.allocator(512)
        fails(ValueError("no such thing"))

    with pytest.raises(CannotCapture, match=r"^no such thing$"):
        module.capture(lambda: run(0))
    assert driver.filled == []
    with pytest.raises(CannotCapture, match=r"^no such thing; tensors of the attempt .* hold NaN"):
        module.capture(lambda: run(512))
    assert {(value, size, stream) for _, value, size, stream in driver.filled} == {
        (0xFF, 512, driver.default)
    }
