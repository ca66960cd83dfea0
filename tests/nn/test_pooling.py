"""Pooling over time: each row as if it stood alone, whatever fills the padding."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.testing import gradcheck

POOLS = {
    "last": lambda **k: nn.LastPool(**k),
    "both_ends": lambda **k: nn.LastPool(bidirectional=True, **k),
    "mean": lambda **k: nn.MeanPool(**k),
    "max": lambda **k: nn.MaxPool(**k),
    "attention": lambda **k: nn.AttentionPool(4, 3, rng=1, **k),
}


@pytest.fixture(autouse=True)
def _double():
    tg.set_default_dtype("float64")
    yield
    tg.set_default_dtype("float32")


def alone(kind, pool, x):
    """What a pool makes of one sequence (n, H), as its definition says it."""
    if not len(x):
        return np.zeros(x.shape[1])
    if kind == "attention":
        w, b, v = (p.numpy() for p in (pool.w, pool.b, pool.v))
        scores = np.exp(np.tanh(x @ w + b) @ v)
        return (scores / scores.sum() * x).sum(0)
    half = x.shape[1] // 2
    both_ends = np.concatenate([x[-1, :half], x[0, half:]])
    return {"last": x[-1], "both_ends": both_ends, "mean": x.mean(0), "max": x.max(0)}[kind]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(POOLS)),
    st.lists(st.integers(0, 4), min_size=0, max_size=4),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([np.nan, np.inf, 7.0]),
    st.sampled_from(["list", "int32", "uint8", "tensor"]),
)
def test_padding_changes_nothing(kind, lengths, beyond, batch_first, filling, kind_of_lengths):
    tg.set_default_dtype("float64")
    n_steps = max(lengths, default=0) + beyond
    pool = POOLS[kind](batch_first=batch_first)
    values = np.random.default_rng(0).standard_normal((n_steps, len(lengths), 4))
    for b, n in enumerate(lengths):
        values[n:, b] = filling
    given_lengths = lengths
    if kind_of_lengths == "tensor":
        given_lengths = tg.tensor(lengths, dtype="int64")
    elif kind_of_lengths != "list":
        given_lengths = np.array(lengths, kind_of_lengths)
    x = tg.tensor(values.swapaxes(0, 1) if batch_first else values, requires_grad=True)
    pooled = pool(x, given_lengths)
    expected = [alone(kind, pool, values[:n, b]) for b, n in enumerate(lengths)]
    np.testing.assert_allclose(pooled.numpy(), np.reshape(expected, (-1, 4)), rtol=1e-12, atol=1e-14)

    up = tg.tensor(np.random.default_rng(1).standard_normal(pooled.shape))
    g, *of_weights = tg.grad((pooled * up).sum(), [x, *pool.parameters()], allow_unused=True)
    g = g.numpy().swapaxes(0, 1) if batch_first else g.numpy()
    totals = [np.zeros(p.shape) for p in pool.parameters()]
    for b, n in enumerate(lengths):
        assert not g[n:, b].any()
        one = tg.tensor(values[:n, b], requires_grad=True)
        same = POOLS[kind]()
        y = same(one)
        assert y.shape == (4,)
        single, *shares = tg.grad((y * up[b]).sum(), [one, *same.parameters()], allow_unused=True)
        np.testing.assert_allclose(g[:n, b], single.numpy(), rtol=1e-11, atol=1e-13)
        totals = [t if w is None else t + w.numpy() for t, w in zip(totals, shares, strict=True)]
    for whole, total in zip(of_weights, totals, strict=True):
        np.testing.assert_allclose(0 if whole is None else whole.numpy(), total, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", POOLS)
def test_gradients(kind):
    pool, lengths = POOLS[kind](), [3, 0, 1]
    names = [name for name, _ in pool.named_parameters()]

    def run(x, *weights):
        for name, w in zip(names, weights, strict=True):
            object.__setattr__(pool, name, w)
        return pool(x, lengths)

    x = np.random.default_rng(2).permutation(36).reshape(3, 3, 4) / 10  # no two equal: max has no kink near
    gradcheck(run, x, *(p.detach().numpy().copy() for p in pool.parameters()), order=2)


def test_attention_weights_are_the_weights_used():
    lengths = [3, 0, 2]
    for batch_first in (False, True):
        pool = nn.AttentionPool(4, batch_first=batch_first)
        x = tg.randn(3, 3, 4)
        weights = pool.weights(x, lengths)
        time_first = (weights.T if batch_first else weights).numpy()
        np.testing.assert_allclose(time_first.sum(0), [1, 0, 1], atol=1e-12)
        assert not time_first[2:, 2].any()
        axis = 1 if batch_first else 0
        expected = (weights.unsqueeze(-1) * x).sum(axis)
        np.testing.assert_allclose(pool(x, lengths).numpy(), expected.numpy(), atol=1e-12)
    assert nn.AttentionPool(4).weights(tg.randn(5, 4)).shape == (5,)
    assert nn.AttentionPool(4).weights(tg.randn(0, 2, 4)).shape == (0, 2)


def test_a_packed_sequence_brings_its_lengths():
    x, lengths = tg.randn(4, 2, 4), [2, 4]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    for make in POOLS.values():
        np.testing.assert_array_equal(make()(packed).numpy(), make()(x, lengths).numpy())
    with pytest.raises(ValueError, match="has its lengths already"):
        nn.MeanPool()(packed, lengths)


def test_last_step_is_the_final_state_of_the_layer():
    layer, lengths = nn.LSTM(3, 2, bidirectional=True), [4, 1, 3]
    output, state = layer(tg.randn(4, 3, 3), lengths=lengths)
    expected = tg.concat([state.h[0], state.h[1]], -1)
    np.testing.assert_array_equal(nn.LastPool(bidirectional=True)(output, lengths).numpy(), expected.numpy())


# ---------------------------------------------------------------- masks and masked means


@given(st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2), st.booleans())
@settings(max_examples=20, deadline=None)
def test_sequence_mask(lengths, beyond, batch_first):
    n_steps = max(lengths, default=0) + beyond
    mask = F.sequence_mask(lengths, n_steps, batch_first).numpy()
    assert mask.dtype == bool
    expected = np.array([[t < n for n in lengths] for t in range(n_steps)]).reshape(n_steps, len(lengths))
    np.testing.assert_array_equal(mask, expected.T if batch_first else expected)


def test_masked_mean_is_the_mean_of_what_is_real():
    values, lengths = np.random.default_rng(0).standard_normal((4, 3, 2)), [2, 0, 3]
    real = np.concatenate([values[:n, b] for b, n in enumerate(lengths)])
    for b, n in enumerate(lengths):
        values[n:, b] = np.nan
    for batch_first in (False, True):
        x = tg.tensor(values.swapaxes(0, 1) if batch_first else values, requires_grad=True)
        mean = F.masked_mean(x, lengths, batch_first)
        np.testing.assert_allclose(mean.item(), real.mean())
        mean.backward()
        np.testing.assert_allclose(x.grad.numpy().sum(), 1)
        assert np.isfinite(x.grad.numpy()).all()
    assert np.isnan(F.masked_mean(tg.ones(2, 2), [0, 0]).item())
    gradcheck(lambda v: F.masked_mean(v, [2, 0, 3]), np.nan_to_num(values), order=2)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.MeanPool()(tg.ones(3)), ValueError, "MeanPool: output has shape (3,), expected (time, "),
        (lambda: nn.MaxPool()([1.0]), TypeError, "MaxPool: output must be a floating Tensor, got a list"),
        (lambda: nn.MaxPool()(tg.ones(2, 1, 1), [3]), ValueError, "between 0 and the 2 time steps"),
        (lambda: nn.LastPool()(tg.ones(2, 1, 1), [1, 1]), ValueError, "LastPool: 2 lengths for a batch of 1"),
        (lambda: nn.LastPool(bidirectional=True)(tg.ones(2, 1, 3)), ValueError, "come in two halves, got 3"),
        (lambda: nn.AttentionPool(3)(tg.ones(2, 1, 4)), ValueError, "expected input_size = 3"),
        (lambda: nn.AttentionPool(0), ValueError, "AttentionPool: input_size must be a positive integer"),
        (lambda: F.masked_mean(tg.ones(3), [1]), ValueError, "values must be a tensor (time, batch, ...)"),
        (lambda: F.masked_mean(tg.ones(3, 1), [1.5]), TypeError, "masked_mean: lengths must be integers"),
        (lambda: F.sequence_mask([3], 2), ValueError, "between 0 and the 2 time steps"),
    ],
)
def test_bad_input_is_one_sentence(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_how_they_print():
    assert repr(nn.LastPool(True, bidirectional=True)) == "LastPool(batch_first=True, bidirectional=True)"
    assert repr(nn.AttentionPool(4)).startswith("AttentionPool(4, 4)")
    assert repr(nn.MaxPool()) == "MaxPool()"
