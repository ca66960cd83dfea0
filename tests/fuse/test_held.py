"""What loops hold and share: memory of results, of layers that are gone, reference cycles, threads."""

from __future__ import annotations

import copy
import gc
import random
import sys
import threading
import tracemalloc
from weakref import ref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.fuse import stretch, validity
from tinygrad_rnn.fuse.scan import scan

pytestmark = pytest.mark.host


def small():
    return tg.randn(4, 3, 2), tg.zeros(3, 2), tg.tensor(np.eye(2, dtype="float32") * 0.5, requires_grad=True)


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("which", range(6))
def test_no_two_results_share_memory(which, needs):
    x, h0, w = small()
    w.requires_grad = needs

    def step(x, h):
        h = tg.tanh(x + h @ w)
        a, b = tg.chunk(x * 3, 2, -1)
        return (h, h, x, h[:, :1], a, b), h

    outputs, final = scan(step, x, h0)
    results = [*outputs, final, x]
    before = [y.numpy().copy() for y in results]
    results[which].data.mul_(2.0)
    for k, (y, was) in enumerate(zip(results, before, strict=True)):
        np.testing.assert_array_equal(y.numpy(), was * 2 if k == which else was)


@pytest.mark.parametrize("of", ["x", "w", "output"])
def test_what_is_saved_and_changed_says_so(of):
    x, h0, w = small()
    output, _ = scan(lambda x, h: (tg.tanh(x * w[0] + h @ w),) * 2, x, h0)
    with tg.no_grad():
        {"x": x, "w": w, "output": output}[of].data.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        output.sum().backward()


def layouts():
    base = np.random.default_rng(0).standard_normal((3, 2, 4)).astype("float32")
    x = base.transpose(2, 0, 1)
    still = base.copy()
    still.flags.writeable = False
    yield "transposed", x, base[:, :, 1]
    yield "backwards", x[::-1, ::-1, ::-1], base[::-1, ::-1, 1]
    yield "repeated", np.broadcast_to(base[:1, :, 0], (4, 3, 2)), np.broadcast_to(base[:1, :, 2], (3, 2))
    yield "read-only", still.transpose(2, 0, 1), still[:, :, 1]
    yield "of another byte order", x.astype(">f4"), base[:, :, 1].copy()
    yield "both of another byte order", x.astype(">f4"), base[:, :, 1].astype(">f4")
    yield "every other", np.repeat(x, 2, 2)[:, :, ::2], np.repeat(base, 2, 1)[:, ::2, 1]


@pytest.mark.parametrize(("name", "x", "h"), [*layouts()])
def test_arrays_as_users_have_them(name, x, h):
    w = tg.randn(2, 2, requires_grad=True)
    before = x.copy(), h.copy()

    def run():
        given = tg.from_numpy(x), tg.from_numpy(h)
        output, final = scan(lambda x, h: (tg.tanh(x @ w + h @ w),) * 2, *given)
        return output.numpy(), final.numpy(), tg.grad((output * output).sum() + final.sum(), [w])[0].numpy()

    fast = run()
    with tg.eager():
        slow = run()
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(h, before[1])


def test_one_tensor_as_input_state_and_constant():
    t = tg.randn(3, 3, 2, dtype="float64", requires_grad=True)

    def step(x, h):
        y = tg.tanh(x + h[0] * t[0, 0] + h[1])
        return y, (y, h[0])

    def run():
        output, (h, before) = scan(step, t, (t[1], t[1]))
        return output.numpy(), tg.grad(output.sum() + before.sum() + (h * h).sum(), [t])[0].numpy()

    fast = run()
    with tg.eager():
        slow = run()
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b)


class Knotted(nn.Cell):
    """Leads back to itself, and to the layer that runs it."""

    def __init__(self):
        super().__init__(2, 2)
        self.inner = nn.GRUCell(2, 2)
        self.links = [self, {"self": self}]

    def step(self, px, h):
        return tg.tanh(px + self.inner(px, h))


def test_a_cell_that_leads_back_to_itself():
    cell, x = Knotted(), tg.randn(4, 3, 2)
    layer = nn.Recurrent(cell)
    object.__setattr__(cell, "layer", layer)
    fast = [layer(x)[0].numpy() for _ in range(2)]
    with tg.eager():
        slow = layer(x)[0].numpy()
    for y in fast:
        np.testing.assert_allclose(y, slow, rtol=1e-5, atol=1e-6)


def test_a_copy_has_weights_of_its_own():
    layer, x = nn.LSTM(2, 3, num_layers=2, bidirectional=True), tg.randn(4, 3, 2)
    before = layer(x)[0].numpy().copy()
    other = copy.deepcopy(layer)
    np.testing.assert_array_equal(other(x)[0].numpy(), before)
    for p in other.parameters():
        p.data.mul_(2.0)
    assert abs(other(x)[0].numpy() - before).max() > 1e-3
    np.testing.assert_array_equal(layer(x)[0].numpy(), before)


def by_layer():
    layer = nn.LSTM(2, 3)
    optimizer, x = tg.optim.Adam(layer.parameters()), tg.randn(4, 3, 2)

    def train():
        layer(x, lengths=[4, 2, 0])[0].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def by_scan():
    x, h0, w = small()

    def train():
        scan(lambda x, h: (tg.tanh(x + h @ w),) * 2, x, h0)[0].sum().backward()
        w.grad = None

    return train


def by_steps():
    x, h0, w = small()

    def step(x, h):
        h = tg.tanh(x + h @ w)
        return (h if h.sum().item() < 1e9 else -h), h

    def train():
        scan(step, x, h0)[0].sum().backward()
        w.grad = None

    return train


@pytest.mark.parametrize("make", [by_layer, by_scan, by_steps])
def test_a_training_step_leaves_no_cycles_and_no_memory(make):
    train = make()
    for _ in range(5):
        train()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(200):
            train()
        assert gc.collect() == 0
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()
        gc.enable()


def test_many_sizes_do_not_make_it_grow():
    layer, choose = nn.GRU(2, 3), random.Random(0)

    def run(k):
        n_steps, n = choose.randint(1, 12), choose.randint(0, 12)
        lengths = [choose.randint(0, n_steps) for _ in range(n)] if k % 2 else None
        layer(tg.randn(n_steps, n, 2), lengths=lengths)[0].sum().backward()

    for k in range(300):
        run(k)
    tracemalloc.start()
    try:
        for k in range(300):
            run(k)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_closures_that_are_gone_are_not_held():
    def run():
        w = tg.randn(2, 2)

        def helper(h):
            return h @ w

        def step(x, h):
            h = tg.tanh(x + helper(h) + h @ w)
            return h, h

        scan(step, tg.randn(3, 2, 2), tg.zeros(2, 2))
        return ref(w.array)

    assert [held for held in [run() for _ in range(3)] if held() is not None] == []


def test_a_layer_that_is_gone_is_not_held():
    layer = nn.LSTM(2, 3)
    layer(tg.randn(4, 3, 2))[0].sum().backward()
    array = ref(layer.cells[0].weight_ih.array)
    del layer
    gc.collect()
    assert array() is None


class Interrupted(nn.Cell):
    def step(self, px, h):
        self.n_calls = 1
        raise KeyboardInterrupt


def test_an_interrupt_is_not_taken_for_a_reason():
    cell = Interrupted(2, 2)
    with pytest.raises(KeyboardInterrupt):
        nn.Recurrent(cell)(tg.randn(4, 3, 2))
    assert not hasattr(cell, "n_calls")


@tg.pointwise
def mixed(a, b):
    return tg.tanh(a * b) + tg.sigmoid(a)


def test_threads_may_call_one_layer_at_once():
    layer = nn.LSTM(4, 6, num_layers=2)
    xs = [tg.randn(5 + k, 3, 4) for k in range(8)]

    def run(x):
        output = layer(x)[0]
        (g,) = tg.grad(mixed(output, output).sum(), [layer.cells[0].weight_hh])
        return np.concatenate([output.numpy().ravel(), g.numpy().ravel()])

    right, wrong = [run(x) for x in xs], []
    for known in (validity._known, stretch._plans, stretch._parts, mixed._ready, mixed._plans):
        known.clear()

    def work(k):
        try:
            for j in range(k, k + 25):
                np.testing.assert_array_equal(run(xs[j % 8]), right[j % 8])
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
