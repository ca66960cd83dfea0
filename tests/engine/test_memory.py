"""What graphs cost: no recursion, no cycles, memory that returns, and sums that are made once."""

from __future__ import annotations

import gc
import time
import tracemalloc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.engine import Leaf, Node, Output

LONG = 100_000


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive():
    ours = (Node, Leaf, Output, tg.Tensor)
    return sum(issubclass(type(o), ours) for o in gc.get_objects())  # isinstance would wake lazy objects


def test_a_chain_of_100_000_nodes(no_collector):
    before = alive()
    x = tg.ones(2, requires_grad=True)
    y = x
    for _ in range(LONG):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert y.tolist() == [LONG + 1.0] * 2
    del x, y
    assert alive() == before


def test_a_long_chain_is_freed_without_a_backward(no_collector):
    before = alive()
    x = tg.ones(2, requires_grad=True)
    y = x
    for _ in range(LONG):
        y = tg.tanh(y)
    assert alive() > LONG
    del x, y
    assert alive() == before


def loop(x, w, u):
    h = tg.zeros(*x.shape[1:])
    for t in range(len(x)):
        h = tg.tanh(x[t] @ w + h @ u)
    return h.sum()


def weights(size):
    return [(0.1 * tg.randn(size, size)).detach().requires_grad_() for _ in range(2)]


def many_things():
    """A graph with most kinds of node in it, gone through in every way, and an error."""
    w, u = weights(4)
    x = tg.randn(5, 2, 4, requires_grad=True)
    y = loop(x, w, u)
    y.backward(retain_graph=True)
    a, b = tg.split(x, 2, -1)
    a.retain_grad()
    g = tg.grad((tg.softmax(a * b, -1) ** 2).sum() + y, [x, w, a], create_graph=True)
    (g[0] ** 2).sum().backward()
    with pytest.raises(tg.GraphError):
        y.backward()
    lstm = tg.nn.LSTM(4, 3, num_layers=2, bidirectional=True)
    lstm(x)[0].sum().backward()


def test_nothing_stays_behind_and_there_is_no_garbage(no_collector):
    many_things()
    gc.collect()
    before = alive()
    many_things()
    assert alive() == before
    tg.randn(2, requires_grad=True).exp().sum().backward()
    loop(tg.randn(5, 2, 4), *weights(4)).backward()
    tg.grad(loop(tg.randn(5, 2, 4), *(ws := weights(4))), ws, create_graph=True)
    del ws
    assert alive() == before
    assert gc.collect() == 0


NUMPYS_DATA = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)


@pytest.mark.host
def test_bytes_return_to_where_they_were(no_collector):
    """The data of arrays, to the byte (the interpreter keeps a few empty tuples for later use)."""
    x, (w, u) = tg.randn(30, 8, 64), weights(64)

    def held():
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([NUMPYS_DATA]).traces)

    tracemalloc.start()
    try:
        loop(x, w, u).backward()
        before = held()
        for _ in range(5):
            loop(x, w, u).backward()
        assert held() == before == 2 * w.nbytes
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- deferred sums


def peak_of_backward(x, w, u):
    """Bytes that backward takes at most beyond what forward holds."""
    y = loop(x, w, u)
    tracemalloc.start()
    try:
        y.backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.host
@pytest.mark.parametrize("steps", [50, 200])
def test_backward_through_time_takes_a_few_buffers(steps):
    """T slices of x have one gradient, of x's size; a weight has one, not T."""
    x = tg.randn(steps, 8, 64, requires_grad=True)
    w, u = weights(64)
    peak = peak_of_backward(x, w, u)
    sequence, matrix, cost_of_a_step = x.nbytes, w.nbytes, 2500
    assert peak < 8 * sequence + 8 * matrix + cost_of_a_step * steps
    assert x.grad.shape == x.shape


@pytest.mark.host
def test_many_slices_of_a_large_tensor_cost_one_buffer():
    x = tg.randn(300, 1000, requires_grad=True)
    y = sum(x[t, :1].sum() for t in range(300))
    tracemalloc.start()
    y.backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * x.nbytes


@pytest.mark.host
def test_time_is_linear_in_the_steps(no_collector):
    """2000 steps take at most 11 times as long as 200.

    Without the interpreter's garbage collector, whose passes over all living objects are not linear.
    """
    w, u = weights(16)

    def seconds(steps):
        x = tg.randn(steps, 4, 16, requires_grad=True)
        start = time.thread_time()
        loop(x, w, u).backward()
        return time.thread_time() - start

    seconds(50)
    ratios = []
    while len(ratios) < 12 and min(ratios, default=99.0) > 11:  # a busy machine may disturb some pairs
        short = min(seconds(200) for _ in range(3))
        ratios.append(seconds(2000) / short)
    assert min(ratios) <= 11
