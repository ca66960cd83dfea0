"""Where there is nothing to compute, gradients are zeros: batches without rows, sequences without steps,
losses without elements. Every layer, and what is built on them.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence


class OwnCell(nn.Cell):
    """A cell as a user writes it: no projection, an operation on the whole batch."""

    def __init__(self):
        super().__init__(3, 5)
        self.w = nn.Parameter(tg.randn(8, 5))

    def step(self, x, h):
        return tg.tanh(tg.cat([x, h], 1) @ self.w)


LAYERS = {
    **{
        f"{kind.__name__} {settings}": lambda kind=kind, settings=settings: kind(3, 5, **settings)
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
        for settings in (
            {}, {"bidirectional": True}, {"num_layers": 2, "dropout": 0.5}, {"checkpoint_every": 2},
            {"learn_initial_state": True}, {"bidirectional": True, "num_layers": 2, "bias": False},
        )
    },
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "projected": lambda: nn.LSTM(3, 5, proj_size=2, num_layers=2),
    "reset after": lambda: nn.GRU(3, 5, reset_after=True),
    "reverse": lambda: nn.Recurrent(nn.GRUCell(3, 5), reverse=True),
    **{
        cell.__name__: lambda cell=cell: nn.Recurrent(cell(3, 5))
        for cell in (nn.LayerNormRNNCell, nn.LayerNormLSTMCell, nn.LayerNormGRUCell, nn.PeepholeLSTMCell)
    },
    **{
        around.__name__: lambda around=around: nn.Recurrent(around(nn.LSTMCell(3, 5)))
        for around in (nn.Zoneout, nn.RecurrentDropout, nn.WeightDrop)
    },
    "a user's cell": lambda: nn.Recurrent(OwnCell()),
    "a user's cell, checkpointed": lambda: nn.Recurrent(OwnCell(), reverse=True, checkpoint_every=1),
    **{
        f"Bidirectional {merge}": lambda merge=merge: nn.Bidirectional(nn.LSTM(3, 5, 2), merge=merge)
        for merge in ("concat", "sum", "mean", "product", None)
    },
}  # fmt: skip
# steps, rows, lengths
SIZES = [(4, 2, [0, 0]), (4, 0, None), (4, 0, []), (0, 2, None), (0, 2, [0, 0]), (0, 0, None), (5, 1, [0])]


def total(result):
    """The sum of everything in it."""
    if isinstance(result, (tuple, list)) and not isinstance(result, PackedSequence):
        return sum((total(part) for part in result), 0.0)
    return result.padded.sum() if isinstance(result, PackedSequence) else result.sum()


def assert_no_gradient(module, loss, *, but=()):
    module.zero_grad()
    loss.backward()
    for name, p in module.named_parameters():
        assert p.grad is not None, f"{name} has no gradient"
        assert p.grad.shape == p.shape
        if not name.startswith(but or ("-",)):
            assert not p.grad.numpy().any(), f"the gradient of {name}"


@pytest.mark.parametrize(("n_steps", "n_rows", "lengths"), SIZES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name, n_steps, n_rows, lengths):
    layer = LAYERS[name]()
    initial = ("initial_state",) if n_rows else ()  # which is what the state is
    x = tg.randn(n_steps, n_rows, 3, requires_grad=True)
    for call in (layer, lambda x, lengths: (*layer(x, lengths=lengths), layer.states(x, lengths=lengths))):
        results = call(x, lengths=lengths)
        for part in (results[:1], results, results[1:]):
            assert_no_gradient(layer, total(call(x, lengths=lengths)), but=initial)
            layer.zero_grad()
            total(part).backward(retain_graph=True)
            assert all(p.grad is not None for p in layer.parameters())
            assert x.grad is not None
            assert not x.grad.numpy().any()
    output = results[0][0] if isinstance(results[0], tuple) else results[0]
    assert output.shape[:2] == (n_steps, n_rows)
    assert not output.detach().numpy().any()


def test_a_given_state_comes_back_with_its_gradient():
    for layer in (
        nn.GRU(3, 5),
        nn.GRU(3, 5, checkpoint_every=2),
        nn.Recurrent(nn.GRUCell(3, 5), reverse=True),
    ):
        h = tg.randn(1, 2, 5, requires_grad=True)
        output, last = layer(tg.randn(4, 2, 3), h, lengths=[0, 0])
        np.testing.assert_array_equal(last.detach().numpy(), h.detach().numpy())
        (output.sum() + (last * 3.0).sum()).backward()
        np.testing.assert_array_equal(h.grad.numpy(), np.full((1, 2, 5), 3.0))


def test_shapes_in_which_a_layer_is_given_nothing():
    layer, first = nn.GRU(3, 5), nn.LSTM(3, 5, batch_first=True)
    assert_no_gradient(layer, total(layer(tg.randn(0, 3))))
    assert_no_gradient(layer, total(layer(tg.randn(4, 3), lengths=0)))
    assert_no_gradient(layer, total(layer(pack_padded_sequence(tg.randn(4, 2, 3), [0, 0]))))
    assert_no_gradient(layer, total(layer(pack_sequence([tg.randn(0, 3)] * 2))))
    assert_no_gradient(first, total(first(tg.randn(0, 4, 3))))
    assert_no_gradient(first, total(first(tg.randn(2, 0, 3))))


def test_cells_and_layers_of_no_rows():
    for cell in (nn.RNNCell(3, 5), nn.LSTMCell(3, 5), nn.GRUCell(3, 5), nn.PeepholeLSTMCell(3, 5), OwnCell()):
        assert_no_gradient(cell, total(cell(tg.randn(0, 3))))
    for layer in (nn.Linear(3, 4), nn.LayerNorm(3)):
        assert_no_gradient(layer, total(layer(tg.randn(2, 0, 3))))
    for layer in (nn.Embedding(5, 3), nn.Embedding(5, 3, padding_idx=0)):
        assert_no_gradient(layer, total(layer(tg.zeros(0, 2, dtype="int64"))))


@pytest.mark.parametrize(("n_steps", "n_rows", "lengths"), SIZES)
@pytest.mark.parametrize("make", [nn.LastPool, nn.MeanPool, nn.MaxPool, lambda: nn.AttentionPool(5)])
def test_a_pool(make, n_steps, n_rows, lengths):
    layer = nn.GRU(3, 5)
    layer.pool = make()
    pooled = layer.pool(layer(tg.randn(n_steps, n_rows, 3), lengths=lengths)[0], lengths)
    assert pooled.shape == (n_rows, 5)
    assert not pooled.detach().numpy().any()
    assert_no_gradient(layer, pooled.sum())
    if isinstance(layer.pool, nn.AttentionPool):
        assert layer.pool.weights(tg.randn(n_steps, n_rows, 5), lengths).shape == (n_steps, n_rows)


@pytest.mark.parametrize(("n_steps", "n_rows", "lengths"), SIZES)
@pytest.mark.parametrize("score", ["additive", "dot", "general", "scaled_dot"])
def test_attention(score, n_steps, n_rows, lengths):
    attention, keys = nn.Attention(5, 5, score=score), tg.randn(n_steps, n_rows, 5, requires_grad=True)
    for shape in ((n_rows, 5), (2, n_rows, 5), (0, n_rows, 5)):
        query = tg.randn(*shape, requires_grad=True)
        context, weights = attention(query, keys, lengths=lengths)
        assert (context.shape, weights.shape) == (shape, (*shape[:-1], n_steps))
        assert_no_gradient(attention, context.sum() + weights.sum())
        assert query.grad is not None
        assert not query.grad.numpy().any()


@pytest.mark.parametrize(("n_steps", "n_rows", "lengths"), SIZES)
def test_a_decoder_with_attention(n_steps, n_rows, lengths):
    attention = nn.Attention(6, 5)
    decoder = nn.AttentionDecoder(nn.Embedding(7, 4), nn.GRUCell(4 + 5, 6), attention, nn.Linear(6 + 5, 7))
    tokens = tg.zeros(3, n_rows, dtype="int64")
    logits, weights = decoder(tokens, tg.randn(n_steps, n_rows, 5), lengths=lengths)
    assert (logits.shape, weights.shape) == ((3, n_rows, 7), (3, n_rows, n_steps))
    assert_no_gradient(attention, logits.sum() + weights.sum())
    assert all(p.grad is not None for p in decoder.parameters())


LOSSES = {
    "mse": lambda y, r: F.mse_loss(y, tg.zeros_like(y), reduction=r),
    "l1": lambda y, r: F.l1_loss(y, tg.zeros_like(y), reduction=r),
    "huber": lambda y, r: F.huber_loss(y, tg.zeros_like(y), reduction=r),
    "smooth l1": lambda y, r: F.smooth_l1_loss(y, tg.zeros_like(y), reduction=r),
    "bce": lambda y, r: F.binary_cross_entropy(y.sigmoid(), tg.zeros_like(y), reduction=r),
    "bce with logits": lambda y, r: F.binary_cross_entropy_with_logits(y, tg.zeros_like(y), reduction=r),
    "classes": lambda y, r: F.cross_entropy(y, tg.zeros(0, dtype="int64"), reduction=r),
    "smoothed": lambda y, r: F.cross_entropy(y, tg.zeros(0, dtype="int64"), label_smoothing=0.1, reduction=r),
    "probabilities": lambda y, r: F.cross_entropy(y, tg.zeros_like(y), reduction=r),
}
IGNORED = {
    "classes": lambda y, r: F.cross_entropy(y, tg.tensor([-100, -100]), reduction=r),
    "smoothed": lambda y, r: F.cross_entropy(y, tg.tensor([-100, -100]), label_smoothing=0.1, reduction=r),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_no_elements(name, reduction):
    layer = nn.Linear(3, 4)
    assert_no_gradient(layer, LOSSES[name](layer(tg.randn(0, 3)), reduction).sum())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", IGNORED)
def test_a_loss_that_counts_no_target(name, reduction):
    layer = nn.Linear(3, 4)
    loss = IGNORED[name](layer(tg.randn(2, 3)), reduction)
    assert loss.isnan().all().item() == (reduction == "mean")  # 0 / 0, as in PyTorch
    assert_no_gradient(layer, loss.sum())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("n_steps", "n_rows"), [(4, 2), (4, 0), (0, 2), (0, 0)])
def test_ctc(n_steps, n_rows, reduction):
    layer, none = nn.Linear(3, 4), [0] * n_rows
    x = tg.randn(n_steps, n_rows, 3)
    loss = F.ctc_loss(
        layer(x).log_softmax(-1), tg.zeros(n_rows, 0, dtype="int64"), none, none, reduction=reduction
    )
    assert_no_gradient(layer, loss.sum())
    labels = tg.ones(n_rows, 1, dtype="int64")  # more of them than steps
    loss = F.ctc_loss(
        layer(x).log_softmax(-1), labels, none, [1] * n_rows, reduction=reduction, zero_infinity=True
    )
    assert_no_gradient(layer, loss.sum())


def test_softmax_of_nothing():
    x = tg.randn(2, 0, requires_grad=True)
    assert x.logsumexp(1).tolist() == [-np.inf, -np.inf]
    assert x.logsumexp((0, 1), keepdims=True).tolist() == [[-np.inf]]
    (x.softmax(1).sum() + x.log_softmax(1).sum()).backward()
    assert x.grad.shape == (2, 0)


def test_truncated_backpropagation_of_nothing():
    layer = nn.GRU(3, 5)
    assert list(nn.tbptt(layer, tg.randn(0, 2, 3), every=2)) == []
    for _, output, _ in nn.tbptt(layer, tg.randn(5, 0, 3), every=2):
        assert_no_gradient(layer, output.sum())
