"""What backend/cupy_.py does around a capture, with pretended streams, pools and graphs: no GPU is needed."""

import contextlib
import gc
import importlib
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from tests.extras import extra
from tinygrad_rnn.backend import CannotCapture

extra("cupy")
cupy_ = importlib.import_module("tinygrad_rnn.backend.cupy_")

pytestmark = [pytest.mark.host, pytest.mark.extras("cupy")]


class Driver:
    """CUDA as far as it is used here. It refuses what CUDA refuses, and counts."""

    def __init__(self):
        self.n_streams, self.current, self.launched, self.allocator = 0, None, [], None
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

        class Pool:
            def malloc(self, size):
                raise NotImplementedError

        @contextlib.contextmanager
        def using_allocator(malloc):
            driver.allocator = weakref.ref(malloc.__self__)
            try:
                yield
            finally:
                driver.allocator = None

        self.library = SimpleNamespace(
            cuda=SimpleNamespace(
                Stream=Stream,
                MemoryPool=Pool,
                using_allocator=using_allocator,
                runtime=SimpleNamespace(getDevice=lambda: 0),
            ),
            empty=np.empty,
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
        seen.append((driver.current, driver.allocator()))
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
        pools.append(driver.allocator)
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
