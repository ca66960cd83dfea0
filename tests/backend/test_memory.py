"""Memory that is lent for the arrays of all time steps, and used again."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from tinygrad_rnn.backend import memory

pytestmark = pytest.mark.host
LARGE = (1 << 20,)


@pytest.fixture(autouse=True)
def _nothing_waits(monkeypatch):
    before, memory.waiting[:] = memory.waiting[:], []
    yield
    memory.waiting[:] = before


def address(array):
    return array.__array_interface__["data"][0]


def test_it_comes_back_when_nobody_looks_at_it():
    first = memory.lend(LARGE, np.float32)
    assert first.shape == LARGE
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert first.flags.writeable
    place, view = address(first), first[4:].reshape(-1, 3)
    view[...] = 7
    del first
    gc.collect()
    second = memory.lend(LARGE, np.float32)
    assert address(second) != place  # the view still looks there
    assert (view == 7).all()
    del view
    assert address(memory.lend(LARGE, np.float32)) == place


def test_it_may_be_smaller_and_of_another_type():
    place = address(memory.lend(LARGE, np.float32))
    smaller = memory.lend((1 << 18, 3), np.float32)
    assert address(smaller) == place
    del smaller
    assert address(memory.lend((1 << 19,), np.float64)) == place
    assert address(memory.lend((1 << 22,), np.uint8)) == place
    far_smaller = memory.lend((1 << 17,), np.float32)  # would keep eight times what it needs
    assert address(far_smaller) != place


@pytest.mark.parametrize("shape", [(1,), (3, 5), (100, 50), (50, 128), (1 << 18, 3), (0, 4)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_large_arrays_begin_with_a_line_of_the_cache(shape, kind):
    for make in (memory.lend, memory.aligned):
        array = make(shape, kind)
        array[...] = 1
        assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, kind, True)
        if array.nbytes >= memory.TINY:
            assert address(array) % memory.LINE == 0


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_pages_stay_when_arrays_come_and_go():
    program = """
import resource, numpy, tinygrad_rnn
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for k in range(60):
    if k == 10:
        before = faults()
    a, b = numpy.ones(20_000), numpy.ones(100_000)  # 160 and 800 kB, that is 234 pages
    del a, b
print(faults() - before)
"""
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(found.stdout) < 50 * 234 / 10


def test_small_arrays_are_ordinary():
    memory.lend((4, 4), np.float32)
    assert memory.waiting == []


def test_what_waits_is_limited(monkeypatch):
    held = [memory.lend((memory.LIMIT // 8,), np.float32) for _ in range(4)]  # each half of the limit
    del held
    assert sum(m.nbytes for m in memory.waiting) <= memory.LIMIT


def test_no_two_threads_get_the_same():
    wrong = []

    def work(k):
        for _ in range(300):
            mine = memory.lend((1 << 16,), np.float32)
            mine[:] = k
            mine[:] += 1
            if not (mine == k + 1).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
