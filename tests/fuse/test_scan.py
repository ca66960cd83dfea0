"""Steps that are read once and run as one node, against the same steps one by one."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.nn.test_loop import MAKERS
from tinygrad_rnn import nn
from tinygrad_rnn.fuse.scan import leaves, scan

pytestmark = pytest.mark.host
CELLS = {
    **MAKERS,
    "projected": lambda: nn.LSTMCell(3, 4, proj_size=2, dtype="float64"),
    "norm LSTM": lambda: nn.LayerNormLSTMCell(3, 2, dtype="float64"),
    "norm GRU": lambda: nn.LayerNormGRUCell(3, 2, dtype="float64"),
    "norm RNN": lambda: nn.LayerNormRNNCell(3, 2, dtype="float64"),
    "peepholes": lambda: nn.PeepholeLSTMCell(3, 2, dtype="float64"),
}


def over_time(cell, x, state, **settings):
    def step(x, state):
        new = cell.step(cell.project(x), state)
        return cell.output(new), new

    return scan(step, x, state, **settings)


def everything(cell, x, state, order, **settings):
    """Outputs, states and gradients; gradients of gradients for order 2."""
    named = [x, *cell.parameters(), *leaves(state)]
    output, final = over_time(cell, x, state, **settings)
    results = [output, *leaves(final)]
    rng = np.random.default_rng(1)
    loss = sum((r * tg.tensor(rng.standard_normal(r.shape))).sum() for r in results)
    first = tg.grad(loss, named, create_graph=order == 2, allow_unused=True)
    found = [*results, *(tg.zeros_like(p) if g is None else g for p, g in zip(named, first, strict=True))]
    if order == 2:
        squares = sum((g * g * g).sum() for g in first if g is not None)
        second = tg.grad(squares, named, allow_unused=True)
        found += [tg.zeros_like(p) if g is None else g for p, g in zip(named, second, strict=True)]
    return found


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    ("n_steps", "n", "lengths"),
    [
        (5, 3, None),
        (1, 2, None),
        (6, 1, None),
        (5, 4, [5, 0, 3, 3]),
        (4, 7, [1, 4, 4, 2, 3, 1, 4]),
        (3, 0, None),
    ],
)
def test_one_node_computes_what_the_steps_do(name, order, n_steps, n, lengths, fallbacks):
    for reverse in (False, True):
        cell = CELLS[name]()
        x = tg.randn(n_steps, n, 3, dtype="float64", requires_grad=True)
        state = nn.cells.map_state(lambda s: tg.randn(*s.shape, dtype="float64"), cell.initial_state(n, x))
        for s in leaves(state):
            s.requires_grad = True
        settings = {"lengths": lengths, "reverse": reverse}
        fast = everything(cell, x, state, order, **settings)
        with tg.eager():
            slow = everything(cell, x, state, order, **settings)
        assert not fallbacks
        for a, b in zip(fast, slow, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8, atol=1e-10)


def test_two_backwards_give_the_same_and_a_freed_graph_says_so():
    cell, x = nn.LSTMCell(3, 2), tg.randn(6, 4, 3)
    output, _ = over_time(cell, x, cell.initial_state(4, x))
    loss = output.square().sum()
    loss.backward(retain_graph=True)
    once = [p.grad.numpy().copy() for p in cell.parameters()]
    loss.backward()
    for p, g in zip(cell.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g, rtol=1e-6)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        loss.backward()


def test_states_and_outputs_of_any_structure():
    w = tg.randn(3, 3, requires_grad=True)

    def step(x, state):
        h = tg.tanh(x["a"] @ w + state["h"] @ w + x["b"])
        return (h, [h * 2, state["n"]]), {"h": h, "n": state["n"] + 1}

    x = {"a": tg.randn(5, 2, 3), "b": tg.randn(5, 2, 3)}
    state = {"h": tg.zeros(2, 3), "n": tg.zeros(2, 1, dtype="int64")}
    (h, [twice, n]), final = scan(step, x, state)
    with tg.eager():
        (h_, [twice_, n_]), final_ = scan(step, x, state)
    for a, b in ((h, h_), (twice, twice_), (n, n_), (final["h"], final_["h"]), (final["n"], final_["n"])):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    assert final["n"].tolist() == [[5], [5]]


def test_wrong_shapes():
    with pytest.raises(ValueError, match="one batch size"):
        scan(lambda x, s: (s, s), tg.zeros(5, 2, 3), tg.zeros(3, 3))
    with pytest.raises(TypeError, match="must be tensors"):
        scan(lambda x, s: (s, s), tg.zeros(5, 2, 3), None)


@pytest.mark.parametrize("lengths", [[5, 1, 1], [-1, 2, 3], [1, 2], [1, 2, 3, 4], [1.5, 2, 3], "abc", 3])
def test_wrong_lengths(lengths):
    with pytest.raises(ValueError, match="lengths must be 3 integers from 0 to 4"):
        scan(lambda x, s: (s, s), tg.zeros(4, 3, 2), tg.zeros(3, 2), lengths=lengths)


def test_wrong_states_and_outputs():
    x, h = tg.zeros(4, 3, 2), tg.zeros(3, 2)
    for returned, state, message in (
        (lambda x, s: (None, s), h, "output must be tensors"),
        (lambda x, s: (s.sum(), s), h, "output must be tensors"),
        (lambda x, s: (s[0], s[0]), (h, h), "2 parts"),
        (lambda x, s: (s[0], (s[0],)), (h, h), "2 parts"),
        (lambda x, s: (s["a"], {"b": s["a"]}), {"a": h}, "is a dict of"),
        (lambda x, s: (s, 1.0), h, "must be tensors as the state is"),
    ):
        with pytest.raises(ValueError, match=message):
            scan(returned, x, state)


def test_a_state_is_told_by_its_names():
    def step(x, s):
        h = tg.tanh(x + s["h"])
        return h, {"c": s["c"] * 0.5 + h, "h": h}  # in another order

    x, state = tg.randn(4, 3, 2), {"h": tg.randn(3, 2), "c": tg.randn(3, 2)}
    output, final = scan(step, x, state)
    np.testing.assert_array_equal(final["h"].numpy(), output[-1].numpy())
    c = state["c"]
    for h in output:
        c = c * 0.5 + h
    np.testing.assert_allclose(final["c"].numpy(), c.numpy(), rtol=1e-5)
