"""Parts of a graph that are computed again in backward: the same values and gradients, in less memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.memory_tools import peak_bytes
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F

quick = settings(max_examples=15, deadline=None, database=None)


def same(a, b):
    assert (a is None) == (b is None)
    if a is not None:
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_values_and_gradients_are_those_of_the_plain_call():
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
    found = []
    for call in (lambda f, x: f(x), nn.checkpoint):
        tg.manual_seed(3)
        x = tg.ones(4, 3).requires_grad_()
        net.zero_grad()
        y = call(net, x * 2)
        after = tg.rand(2)
        (y * y).sum().backward()
        found.append([y, x.grad, *(p.grad for p in net.parameters()), after, tg.rand(2)])
    for a, b in zip(*found, strict=True):
        same(a, b)


def test_generators_of_layers_draw_the_same_again():
    drop = nn.Dropout(0.5, rng=0)
    x = tg.ones(50).requires_grad_()
    y = nn.checkpoint(drop, x)
    drop(x)  # the generator goes on
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_a_seed_in_between_does_no_harm():
    x = tg.ones(50).requires_grad_()
    y = nn.checkpoint(F.dropout, x, 0.5, True)
    tg.manual_seed(1)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    first = tg.rand(3)
    tg.manual_seed(1)
    same(first, tg.rand(3))


def test_nests_of_arguments_and_results():
    def step(pair, *, scale):
        h, c = pair["state"]
        return nn.cells.LSTMState(h * scale, c + h), [h - c, "text"], h

    h, c, scale = (tg.randn(2, 3).requires_grad_() for _ in range(3))
    for order in (1, 2):
        results = []
        for call in (lambda f, *a, **k: f(*a, **k), nn.checkpoint):
            state, (d, text), passed = call(step, {"state": (h, c)}, scale=scale)
            assert type(state) is nn.cells.LSTMState
            assert text == "text"
            assert passed is h
            loss = (state.h * state.c * d).sum()
            first = tg.grad(loss, [h, c, scale], create_graph=order == 2)
            if order == 2:
                first = tg.grad(sum((g * g).sum() for g in first), [h, c, scale])
            results.append(first)
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_what_is_reached_from_within_counts_once():
    w = tg.randn(3).requires_grad_()
    a = w * 2
    b = a * a  # reached too, and computed from the other
    found = []
    for call in (lambda f: f(), nn.checkpoint):
        (g,) = tg.grad(call(lambda: (a * b).sum()), [w], retain_graph=True)
        found.append(g)
    np.testing.assert_allclose(found[0].numpy(), 3 * 2**3 * w.numpy() ** 2, rtol=1e-5)
    same(*found)


def test_nested_and_without_gradients():
    x = tg.randn(4).requires_grad_()

    def inner(x):
        return F.dropout(x.exp(), 0.5, True)

    tg.manual_seed(0)
    y = nn.checkpoint(lambda x: nn.checkpoint(inner, x) * 2, x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.numpy(), rtol=1e-6)
    with tg.no_grad():
        assert not nn.checkpoint(inner, x).requires_grad
    assert not nn.checkpoint(inner, tg.ones(3)).requires_grad


def test_another_result_the_second_time_is_one_sentence():
    shapes = iter([2, 3])
    x = tg.ones(3).requires_grad_()
    y = nn.checkpoint(lambda: x[: next(shapes)] * 2)
    with pytest.raises(RuntimeError, match="run again, the function returned other tensors"):
        y.sum().backward()


def test_changed_arguments_are_noticed():
    x = tg.ones(3).requires_grad_()
    z = tg.ones(3)
    y = nn.checkpoint(lambda x, z: x * z, x, z)
    z += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


CELLS = {
    "RNN": lambda: nn.RNNCell(3, 4),
    "LSTM": lambda: nn.LSTMCell(3, 4),
    "GRU": lambda: nn.GRUCell(3, 4),
    "GRU after": lambda: nn.GRUCell(3, 4, reset_after=True),
}


def everything(layer, x, state, lengths):
    leaves = [x, *layer.parameters()]
    output, final = layer(x, state, lengths)
    results = [output, *tg.nn.scan.flattened(final)]
    loss = sum((r * r).sum() for r in results)
    return results, tg.grad(loss, leaves, allow_unused=True)


@pytest.mark.parametrize("name", CELLS)
@quick
@given(data=st.data())
def test_layers_in_stretches(name, data):
    """Values are bit-equal. So are the gradients of those states and inputs; those of weights are sums over
    the stretches, where the plain run sums over all steps at once: equal up to rounding.
    """
    n_steps, n = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    two = data.draw(st.booleans())
    cells = [CELLS[name]() for _ in range(2 if two else 1)]
    settings_ = {"bidirectional": two, "batch_first": data.draw(st.booleans())}
    x = tg.randn(n, n_steps, 3) if settings_["batch_first"] else tg.randn(n_steps, n, 3)
    x.requires_grad = True
    lengths = data.draw(st.none() | st.lists(st.integers(0, n_steps), min_size=n, max_size=n))
    plain = nn.Recurrent(*cells, **settings_)
    saving = nn.Recurrent(*cells, checkpoint_every=data.draw(st.integers(1, 13)), **settings_)
    values, gradients = everything(plain, x, None, lengths)
    others, found = everything(saving, x, None, lengths)
    for a, b in zip(values, others, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients, found, strict=True):
        if a is None or b is None:
            assert all(g is None or not g.numpy().any() for g in (a, b))
            continue
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


def test_memory_is_of_the_order_of_the_root():
    """Counted are bytes of the arrays' own memory, on a GPU with what its pool adds to each (up to 512).

    Linear in the number of steps T are the outputs, once by themselves in each stretch and once joined. With
    k = root(T), the rest is k times what a step of one stretch keeps, and T / k = k times the state with
    which each stretch begins, however large the pool makes either: four times the steps take twice of it.
    Were it linear, they would take four times of it; the line is drawn between, at twice the root of two.
    """
    outputs = 2 * 900 * 4 * 16 * 4

    def beyond_the_outputs(n_steps, every):
        layer = nn.LSTM(16, 16, checkpoint_every=every)
        x = tg.randn(n_steps, 4, 16)

        def run():
            layer(x)[0].sum().backward()

        run()  # compiles what is compiled, and makes what is kept from call to call
        return peak_bytes(run) - 2 * x.nbytes

    short, long = beyond_the_outputs(225, 15), beyond_the_outputs(900, 30)
    assert long < 2 * 2**0.5 * short
    plain = beyond_the_outputs(900, None)
    assert long < 0.1 * plain  # k steps and k states of 900 steps with theirs: at most 2 / 30
    assert long + outputs < 0.4 * (plain + outputs)


def test_wrong_settings():
    with pytest.raises(ValueError, match="LSTM: checkpoint_every must be a positive integer or None, got 0"):
        nn.LSTM(2, 2, checkpoint_every=0)
