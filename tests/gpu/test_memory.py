"""Memory of graphs on a GPU: whose it is, who writes over it, and numbers of the host beside a GPU's.

What the stand-in is asked at length (tests/test_graph_memory.py, tests/backend/test_host_numbers.py) is asked
here of the machine itself, a case of each kind. What a graph computes is the eager step's, bit for bit.
"""

import gc
import threading
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.backend import test_host_numbers as host
from tests.nn import test_loop
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import functional as F


@pytest.fixture(autouse=True)
def _in_one_order():
    with tg.deterministic():
        yield


def numbers(*tensors):
    return [t.numpy().copy() for t in tensors]


def assert_same(run):
    """A step as it is and as a graph, which must be captured without a warning."""
    found = []
    for wrap in (lambda step: step, tg.cuda.graphed):
        tg.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(run(wrap))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


STEPS = {
    "clipping": (optim.SGD, {}, {"clip": 0.1}),
    "Adam": (optim.Adam, {}, {}),
    "dropout": (optim.SGD, {"dropout": 0.4}, {}),
    "lengths": (optim.SGD, {}, {"lengths": [2, 5, 4]}),
    "all": (optim.AdamW, {"dropout": 0.4, "bidirectional": True}, {"clip": 0.1, "lengths": [2, 5, 4]}),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_the_host_feeds_a_graph_is_what_it_reads(gpu, name):
    kind, settings, options = STEPS[name]

    def run(wrap):
        layer = nn.LSTM(3, 4, num_layers=2, **settings)
        optimiser = kind(layer.parameters(), lr=0.05)

        def step(x):
            optimiser.zero_grad()
            loss = layer(x * 1.0, lengths=options.get("lengths"))[0].square().mean()
            loss.backward()
            if "clip" in options:
                nn.utils.clip_grad_norm_(layer.parameters(), options["clip"])
            optimiser.step()
            return loss

        step = wrap(step)
        return numbers(*[step(tg.randn(5, 3, 3)) for _ in range(6)], *layer.parameters())

    assert_same(run)


def test_a_feed_after_many_freed_blocks(gpu):
    def run(wrap):
        def step(x):
            y = x
            for k in range(50):
                y = y * 1.5 + k
            return F.dropout(y, 0.5) + F.dropout(y * 2, 0.25)

        step = wrap(step)
        return numbers(*[step(tg.ones(1000) * k) for k in range(5)])

    assert_same(run)


def test_state_that_begins_in_a_capture(gpu):
    def run(wrap):
        first, late = (nn.Parameter(tg.randn(3)) for _ in range(2))
        late.requires_grad_(False)
        optimiser, found = optim.Adam([first, late], lr=0.1), []

        def step(x):
            optimiser.zero_grad()
            ((first * late).square() * x).sum().backward()
            optimiser.step()

        step = wrap(step)
        for k in range(8):
            if k == 3:
                late.requires_grad_()
            step(tg.full((3,), k + 1.0))
            found += numbers(first, late)
        return found

    assert_same(run)


def test_gradients_that_are_held_and_a_graph_that_goes(gpu):
    def run(wrap):
        p, held = nn.Parameter(tg.randn(4)), []

        def step(x):
            p.grad = None
            (p * p * x).sum().backward()

        step = wrap(step)
        for k in range(6):
            step(tg.full((4,), k + 1.0))
            held += [p.grad, p.grad[1:3]]
        del step
        gc.collect()
        others = [tg.full((4,), 7.0) for _ in range(50)]  # take what is free
        return numbers(*held, p.grad, *others)

    assert_same(run)


def test_tensors_that_are_let_go_and_arguments_that_are_changed(gpu):
    table, p = [tg.arange(6).float(), tg.tensor([1, 3])], nn.Parameter(tg.ones(6))

    @tg.cuda.graphed
    def step(h, x):
        picked = (table[0] * p)[table[1]] + x
        h.mul_(2.0)
        return picked

    h = tg.ones(2)
    for _ in range(3):
        step(h, tg.ones(2))
    table[:] = [None, None]
    gc.collect()
    others = [tg.full((6,), 7.0) for _ in range(50)]
    assert step(h, tg.ones(2)).tolist() == [2.0, 4.0]
    assert h.tolist() == [16.0, 16.0]
    assert {x.item() for other in others for x in other} == {7.0}


def test_one_graph_on_two_streams_and_in_two_threads(gpu):
    net = nn.Linear(64, 64)
    step = tg.cuda.graphed(lambda x: (net(x) * 2, x))
    with tg.no_grad():
        for _ in range(2):
            step(tg.ones(32, 64))
        expected = [net(tg.full((32, 64), float(k))).numpy() * 2 for k in range(4)]
    wrong, streams = [], gpu.streams(2)

    def work(stream, ks):
        with gpu.in_use(), tg.deterministic(), tg.no_grad(), stream:
            for _ in range(50):
                for k in ks:
                    y, x = step(tg.full((32, 64), float(k)))
                    if not ((x.numpy() == k).all() and np.array_equal(y.numpy(), expected[k])):
                        wrong.append(k)

    work(streams[0], [0]), work(streams[1], [1])
    threads = [
        threading.Thread(target=work, args=(s, ks)) for s, ks in zip(streams, ([0, 1], [2, 3]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert step.n_graphs == 1


def test_values_that_a_failed_capture_left_behind_are_named(gpu):
    cell, kept = nn.GRUCell(2, 3), [tg.zeros(4, 3)]

    @tg.cuda.graphed
    def step(x):
        kept[0] = cell(x, kept[0]).detach()
        return kept[0].sum().item()

    step(tg.ones(4, 2))
    with pytest.warns(UserWarning, match="tensors of the attempt are still in use and hold NaN"):
        assert np.isnan(step(tg.ones(4, 2)))


@pytest.mark.parametrize("name", test_loop.MAKERS)
def test_loops_compute_what_they_do_on_the_host(gpu, name):
    found = []
    for there in (gpu.in_use(), tg.use("numpy")):
        with there:
            tg.manual_seed(0)
            layer = nn.Recurrent(test_loop.MAKERS[name]())
            x = tg.randn(14, 3, 3, dtype="float64", requires_grad=True)
            state = layer.cells[0].initial_state(3, x)
            state = nn.cells.map_state(lambda s: tg.randn(1, *s.shape, dtype="float64"), state)
            everything = test_loop.everything(layer, x, state, [5, 9, 14], 1)
            found.append([t if t is None else t.numpy() for t in everything])
    for a, b in zip(*found, strict=True):
        if a is not None or b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", host.OPERATIONS)
def test_a_number_on_the_host_is_as_good_as_a_number(gpu, name):
    operation, expected = host.OPERATIONS[name]
    y = operation(tg.tensor([1.0, 2.0, 3.0]), host.on_host(2.0))
    assert y.device.type == "cuda"
    np.testing.assert_allclose(y.numpy(), np.array(expected), rtol=1e-6)


def test_a_graph_reads_a_number_on_the_host_anew(gpu):
    n = host.on_host(2.0)
    step = tg.cuda.graphed(lambda x: x * n + x.clone().fill_(n))
    for k in range(5):
        n.fill_(float(k))
        assert step(tg.ones(2)).tolist() == [2.0 * k] * 2
    assert step.n_graphs == 1
