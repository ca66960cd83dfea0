"""What is dropped of states and weights, by the literal equations."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_gru_multiplies_what_is_left_of_its_state(reset_after):
    """The reset gate too; the old state itself stays whole."""
    n = 5
    cell = nn.GRUCell(3, n, reset_after=reset_after, dtype="float64")
    for p in cell.parameters():
        p.data = tg.randn(*p.shape, dtype="float64")
    x, h = tg.randn(4, 2, 3, dtype="float64"), tg.randn(1, 2, n, dtype="float64")
    _, found = nn.Recurrent(nn.RecurrentDropout(cell, 0.5, rng=7))(x, h)
    mask = F.dropout(tg.ones(2, n, dtype="float64"), 0.5, True, rng=tg.default_rng(7)).numpy()
    assert 0 < (mask == 0).sum() < mask.size
    state, w, u = h.numpy()[0], cell.weight_ih.numpy(), cell.weight_hh.numpy()
    for t in range(4):
        xr, xz, xn = np.split(x.numpy()[t] @ w + cell.bias.numpy(), 3, axis=1)
        left = state * mask
        if reset_after:
            ur, uz, un = np.split(left @ u, 3, axis=1)
            new = np.tanh(xn + sigmoid(xr + ur) * (un + cell.bias_hh.numpy()))
        else:
            ur, uz = np.split(left @ u, 2, axis=1)
            new = np.tanh(xn + (sigmoid(xr + ur) * left) @ cell.weight_hn.numpy())
        z = sigmoid(xz + uz)
        state = z * new + (1 - z) * state
    np.testing.assert_allclose(found.numpy()[0], state, rtol=1e-10)


def test_rows_that_end_early_leave_the_others_their_masks():
    cell = nn.RNNCell(1, 30, nonlinearity="relu")
    for p in cell.parameters():
        p.data.zero_()
    cell.weight_hh.data = tg.eye(30)
    layer = lambda: nn.Recurrent(nn.RecurrentDropout(cell, 0.5, rng=3))
    x, h = tg.zeros(5, 4, 1), tg.ones(1, 4, 30)
    _, whole = layer()(x, h)
    lengths = [5, 4, 2, 1]
    _, short = layer()(x, h, lengths=lengths)
    for row, n in enumerate(lengths):
        kept = whole.numpy()[0, row] != 0
        assert 0 < kept.sum() < 30
        np.testing.assert_array_equal(short.numpy()[0, row], np.where(kept, 2.0**n, 0.0))


def test_weights_are_whole_in_evaluation():
    cell = nn.LSTMCell(2, 6)
    dropped, plain = nn.Recurrent(nn.WeightDrop(cell, 0.5)), nn.Recurrent(cell)
    x, state = tg.randn(5, 3, 2), None
    expected = plain(x, state)[0].numpy()
    dropped.train()
    assert not np.array_equal(dropped(x)[0].numpy(), expected)
    dropped.eval()
    np.testing.assert_array_equal(dropped(x)[0].numpy(), expected)
