"""The layers against their equations, and what must not change a result: padding, cutting, fusing."""

import gc
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.cells import map_state

LAYERS = {
    "rnn": nn.RNN,
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "gru_reset_after": lambda *a, **k: nn.GRU(*a, reset_after=True, **k),
}


@pytest.fixture(autouse=True)
def _double():
    tg.set_default_dtype("float64")
    tg.manual_seed(0)
    yield
    tg.set_default_dtype("float32")


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def random_state(layer, batch, n):
    h = [tg.randn(n, batch, layer.hidden_size, requires_grad=True) for _ in range(2)]
    return nn.LSTMState(*h) if isinstance(layer, nn.LSTM) else h[0]


def results(layer, x, state=None, lengths=None, loss="all"):
    """Output, final state, and the gradients of a loss on them to x, the initial state and the weights."""
    output, final = layer(x, state, lengths)
    tensors = {
        "all": [output, *parts(final)],
        "output": [output],
        "h": parts(final)[:1],
        "c": parts(final)[-1:],
    }
    rng = np.random.default_rng(7)
    value = sum((t * tg.tensor(rng.standard_normal(t.shape))).sum() for t in tensors[loss])
    inputs = [x, *(parts(state) if state is not None else []), *layer.parameters()]
    return [output, *parts(final), *tg.grad(value, inputs, allow_unused=True)]


def assert_equal(a, b, tolerance=1e-12):
    for p, q in zip(a, b, strict=True):
        if p is None or q is None:
            other = q if p is None else p
            assert other is None or not other.numpy().any()
        else:
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- the equations of the notes, with concat


def literal_step(kind, cell, x, state):
    """One step exactly as the papers write it: W [h, x] + b with a concat and one matrix for each gate."""
    n = cell.hidden_size

    def gate(k, left, weight_hh):
        columns = slice(k * n, (k + 1) * n)
        w = tg.concat([weight_hh, cell.weight_ih[:, columns]], axis=0)
        return tg.concat([left, x], axis=-1) @ w + cell.bias[columns]

    if kind in ("rnn", "relu"):
        return (tg.tanh if kind == "rnn" else tg.relu)(gate(0, state, cell.weight_hh))
    if kind == "lstm":
        h, c = state
        i, f, g, o = (gate(k, h, cell.weight_hh[:, k * n : (k + 1) * n]) for k in range(4))
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        return nn.LSTMState(tg.sigmoid(o) * tg.tanh(c), c)
    r = tg.sigmoid(gate(0, state, cell.weight_hh[:, :n]))
    z = tg.sigmoid(gate(1, state, cell.weight_hh[:, n : 2 * n]))
    if kind == "gru":
        candidate = tg.tanh(gate(2, r * state, cell.weight_hn))
    else:
        inside = x @ cell.weight_ih[:, 2 * n :] + cell.bias[2 * n :]
        candidate = tg.tanh(inside + r * (state @ cell.weight_hh[:, 2 * n :] + cell.bias_hh))
    return z * candidate + (1 - z) * state


def literal(kind, layer):
    """A layer of one cell as a plain loop over the literal step."""

    def run(x, state=None, lengths=None):
        state = map_state(lambda s: s[0], state)
        outputs = []
        for t in range(x.shape[0]):
            state = literal_step(kind, layer.cells[0], x[t], state)
            outputs.append(parts(state)[0])
        return tg.stack(outputs), map_state(lambda s: s.unsqueeze(0), state)

    run.parameters = layer.parameters
    return run


@pytest.mark.parametrize("loss", ["output", "h", "c", "all"])
@pytest.mark.parametrize("kind", LAYERS)
def test_layer_equals_its_equations(kind, loss):
    layer = LAYERS[kind](3, 4)
    for p in layer.parameters():
        p.data.normal_(0, 0.5)
    x, state = tg.randn(5, 2, 3, requires_grad=True), random_state(layer, 2, 1)
    expected = results(literal(kind, layer), x, state, loss=loss)
    assert_equal(results(layer, x, state, loss=loss), expected)
    with tg.eager():
        assert_equal(results(layer, x, state, loss=loss), expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_second_order(kind):
    layer = LAYERS[kind](2, 3)
    x, state = tg.randn(3, 2, 2, requires_grad=True), random_state(layer, 2, 1)

    def penalty(run):
        output, _ = run(x, state)
        (g,) = tg.grad((output * output).sum(), [x], create_graph=True)
        return tg.grad((g * g).sum(), [x, *parts(state), *layer.parameters()], allow_unused=True)

    expected = penalty(literal(kind, layer))
    assert_equal(penalty(layer), expected, 1e-10)
    with tg.eager():
        assert_equal(penalty(layer), expected, 1e-10)


def test_lstm_equals_hand_written_bptt():
    """Backpropagation through time as one derives it on paper, for the sum of all outputs."""
    layer, (n_steps, batch, n) = nn.LSTM(3, 4), (6, 2, 4)
    cell = layer.cells[0]
    x = tg.randn(n_steps, batch, 3, requires_grad=True)
    output, _ = layer(x)
    output.sum().backward()
    weight_ih, weight_hh, b, xs = (t.numpy() for t in (cell.weight_ih, cell.weight_hh, cell.bias, x))
    h, c, trace = np.zeros((batch, n)), np.zeros((batch, n)), []
    for t in range(n_steps):
        gates = xs[t] @ weight_ih + h @ weight_hh + b
        i, f, o = (1 / (1 + np.exp(-gates[:, k * n : (k + 1) * n])) for k in (0, 1, 3))
        g = np.tanh(gates[:, 2 * n : 3 * n])
        c_new = f * c + i * g
        trace.append((h, c, i, f, g, o, c_new))
        h, c = o * np.tanh(c_new), c_new
    dh, dc = np.zeros((batch, n)), np.zeros((batch, n))
    d_ih, d_hh, db, dx = (
        np.zeros_like(weight_ih),
        np.zeros_like(weight_hh),
        np.zeros_like(b),
        np.zeros_like(xs),
    )
    for t in reversed(range(n_steps)):
        h, c, i, f, g, o, c_new = trace[t]
        dh = dh + 1
        dc = dc + dh * o * (1 - np.tanh(c_new) ** 2)
        gates = [
            dc * g * i * (1 - i),
            dc * c * f * (1 - f),
            dc * i * (1 - g**2),
            dh * np.tanh(c_new) * o * (1 - o),
        ]
        d = np.concatenate(gates, axis=1)
        d_ih, d_hh, db, dx[t] = d_ih + xs[t].T @ d, d_hh + h.T @ d, db + d.sum(0), d @ weight_ih.T
        dh, dc = d @ weight_hh.T, dc * f
    for ours, by_hand in (
        (cell.weight_ih.grad, d_ih),
        (cell.weight_hh.grad, d_hh),
        (cell.bias.grad, db),
        (x.grad, dx),
    ):
        np.testing.assert_allclose(ours.numpy(), by_hand, rtol=1e-11, atol=1e-12)


# ---------------------------------------------------------------- lengths, direction, depth


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(LAYERS)),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.sampled_from(["all", "output", "h", "c"]),
)
def test_padding_changes_nothing(kind, depth, bidirectional, batch_first, lengths, loss):
    """Each row of a padded batch gives what that sequence gives alone; the padding has no effect."""
    tg.set_default_dtype("float64")
    tg.manual_seed(len(lengths))
    layer = LAYERS[kind](2, 3, depth, bidirectional=bidirectional, batch_first=batch_first)
    batch, n_steps, n_states = len(lengths), 5, depth * (2 if bidirectional else 1)
    data = np.random.default_rng(1).standard_normal((n_steps, batch, 2))
    for b, n in enumerate(lengths):
        data[n:, b] = np.nan  # padding is not even read
    x = tg.tensor(data.swapaxes(0, 1) if batch_first else data, requires_grad=True)
    state = random_state(layer, batch, n_states)
    output, final, *_ = layer(x, state, lengths)
    final = parts(final)
    time_first = output.numpy().swapaxes(0, 1) if batch_first else output.numpy()
    for b, n in enumerate(lengths):
        assert not time_first[n:, b].any()
        alone = map_state(lambda s, b=b: s[:, b], state)
        if n == 0:
            for f, s in zip(final, parts(alone), strict=True):
                np.testing.assert_array_equal(f.numpy()[:, b], s.numpy())
            continue
        o, f = layer(tg.tensor(data[:n, b]), alone)
        np.testing.assert_allclose(time_first[:n, b], o.numpy(), atol=1e-13)
        for whole, one in zip(final, parts(f), strict=True):
            np.testing.assert_allclose(whole.numpy()[:, b], one.numpy(), atol=1e-13)
    gradients = results(layer, x, state, lengths, loss)[1 + len(final) :]
    if gradients[0] is not None:
        g = gradients[0].numpy().swapaxes(0, 1) if batch_first else gradients[0].numpy()
        for b, n in enumerate(lengths):
            assert not g[n:, b].any()
    assert all(g is None or np.isfinite(g.numpy()).all() for g in gradients)


@pytest.mark.parametrize("kind", LAYERS)
def test_chunks_without_detach_equal_the_whole(kind):
    layer = LAYERS[kind](3, 4, 2)
    x, state = tg.randn(7, 2, 3, requires_grad=True), random_state(layer, 2, 2)

    def in_chunks(x, state=None, lengths=None):
        first, state = layer(x[:3], state)
        second, state = layer(x[3:], state)
        return tg.concat([first, second]), state

    in_chunks.parameters = layer.parameters
    assert_equal(results(in_chunks, x, state), results(layer, x, state))


def test_detach_cuts_the_graph():
    layer = nn.LSTM(2, 3)
    _, state = layer(tg.randn(4, 1, 2))
    assert state.h.requires_grad
    assert not any(s.requires_grad for s in nn.detach(state))
    assert nn.detach(None) is None


@pytest.mark.parametrize("kind", LAYERS)
def test_bidirectional_is_two_layers(kind):
    layer = LAYERS[kind](3, 4, bidirectional=True)
    ahead = nn.Recurrent(layer.cells[0])
    behind = nn.Recurrent(layer.cells[1], reverse=True)
    both = nn.Bidirectional(ahead, behind)
    x, state, lengths = tg.randn(5, 3, 3, requires_grad=True), random_state(layer, 3, 2), [2, 5, 0]
    assert_equal(results(both, x, state, lengths), results(layer, x, state, lengths))
    o, _ = nn.Bidirectional(LAYERS[kind](3, 4))(x)
    assert o.shape == (5, 3, 8)


def test_bidirectional_twin_starts_elsewhere_and_keeps_depth():
    layer = nn.Bidirectional(nn.LSTM(3, 4, 2))
    assert not np.allclose(
        layer.forward_layer.cells[0].weight_ih.numpy(), layer.backward_layer.cells[0].weight_ih.numpy()
    )
    output, state = layer(tg.randn(5, 2, 3))
    assert output.shape == (5, 2, 8)
    assert state.h.shape == (4, 2, 4)
    again, _ = layer(tg.randn(5, 2, 3), state)
    assert again.shape == (5, 2, 8)


def test_packed_sequence_in_and_out():
    layer, x = nn.GRU(2, 3, bidirectional=True), tg.randn(5, 3, 2)
    lengths = [3, 5, 1]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, state = layer(packed)
    padded, n = nn.utils.rnn.pad_packed_sequence(output)
    expected, expected_state = layer(x, lengths=lengths)
    np.testing.assert_array_equal(padded.numpy(), expected.numpy())
    np.testing.assert_array_equal(state.numpy(), expected_state.numpy())
    assert n.tolist() == lengths
    with pytest.raises(ValueError, match="has its lengths already"):
        layer(packed, lengths=lengths)


def test_unbatched_and_batch_first():
    for batch_first in (False, True):
        layer = nn.LSTM(2, 3, 2, batch_first=batch_first)
        x = tg.randn(4, 2)
        output, state = layer(x)
        assert output.shape == (4, 3)
        assert state.h.shape == (2, 3)
        batch, _ = layer(x.unsqueeze(0 if batch_first else 1))
        np.testing.assert_array_equal(output.numpy(), batch.numpy().reshape(4, 3))
        again, _ = layer(x, state)
        assert again.shape == (4, 3)


@pytest.mark.parametrize(("n_steps", "batch"), [(0, 2), (3, 0), (0, 0)])
def test_nothing_in_gives_nothing_out(n_steps, batch):
    output, state = nn.LSTM(2, 3, 2, bidirectional=True)(tg.zeros(n_steps, batch, 2))
    assert output.shape == (n_steps, batch, 6)
    assert state.h.shape == (4, batch, 3)
    output, state = nn.GRU(2, 3)(tg.zeros(4, 2, 2), lengths=[0, 0])
    assert output.shape == (4, 2, 3)
    assert not output.numpy().any()


def test_dropout_between_layers_in_training_only():
    layer, x = nn.LSTM(2, 3, 2, dropout=0.5, rng=3), tg.randn(4, 2, 2)
    a, b = layer(x)[0].numpy(), layer(x)[0].numpy()
    assert not np.array_equal(a, b)
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


@pytest.mark.parametrize("kind", LAYERS)
def test_same_seed_same_start(kind):
    a, b = LAYERS[kind](3, 4, 2, rng=5), LAYERS[kind](3, 4, 2, rng=5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    weights = [p.numpy() for p in a.parameters() if p.ndim == 2]
    assert not any(p.shape == q.shape and np.array_equal(p, q) for p, q in itertools.combinations(weights, 2))


def test_starting_values():
    cell = nn.LSTMCell(5, 4)
    assert cell.bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    for k in range(4):
        block = cell.weight_hh.numpy()[:, 4 * k : 4 * k + 4]
        np.testing.assert_allclose(block.T @ block, np.eye(4), atol=1e-12)
        assert abs(cell.weight_ih.numpy()[:, 4 * k : 4 * k + 4]).max() <= (6 / 9) ** 0.5
    torch_like = nn.GRUCell(5, 4, reset_after=True, init="torch")
    assert all(abs(p.numpy()).max() <= 0.5 for p in torch_like.parameters())
    assert abs(torch_like.bias.numpy()).max() > 0


# ---------------------------------------------------------------- cells by users


class Leaky(nn.Cell):
    """A cell without project and with a state of two unequal parts."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(tg.randn(input_size, hidden_size))

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, self.hidden_size), like.new_zeros(batch_size, 1)

    def step(self, x, state):
        h, count = state
        return 0.5 * h + tg.tanh(x @ self.w), count + 1


def test_any_cell_over_time():
    layer = nn.Recurrent(Leaky(2, 3), Leaky(2, 3), Leaky(6, 3), Leaky(6, 3), bidirectional=True)
    output, (h, count) = layer(tg.randn(5, 3, 2), lengths=[5, 0, 2])
    assert output.shape == (5, 3, 6)
    assert h.shape == (4, 3, 3)
    assert count.numpy()[..., 0].tolist() == [[5, 0, 2]] * 4


def test_cell_alone():
    cell = nn.LSTMCell(2, 3)
    state = cell(tg.randn(4, 2))
    h, c = cell(tg.randn(4, 2), state)
    assert h.shape == c.shape == (4, 3)
    h, c = cell(tg.randn(4, 2), (h, c))
    assert nn.GRUCell(2, 3)(tg.randn(2)).shape == (3,)


# ---------------------------------------------------------------- memory and time


def test_time_is_linear_in_the_number_of_steps():
    """A plain loop over x[t]: ten times the steps cost at most eleven times the time."""
    cell = nn.GRUCell(8, 8)

    def run(n):
        x = tg.randn(n, 2, 8, requires_grad=True)
        start = time.process_time()  # not what other processes take
        h = tg.zeros(2, 8)
        for t in range(n):
            h = cell(x[t], h)
        h.sum().backward()
        return time.process_time() - start

    run(50)
    gc.collect()
    gc.freeze()  # what other tests left is not to be searched for garbage meanwhile
    try:
        ratios = []
        while len(ratios) < 12 and min(ratios, default=99) > 11:  # a busy machine may disturb some pairs
            short = min(run(200), run(200), run(200))
            ratios.append(run(2000) / short)
    finally:
        gc.unfreeze()
    assert min(ratios) <= 11


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(tg.zeros(5, 2, 7)), ValueError, "LSTM: x has 7 features .* expected input_size = 3"),
        (lambda m: m(tg.zeros(5)), ValueError, r"LSTM: x has shape \(5,\)"),
        (lambda m: m([1.0]), TypeError, "LSTM: x must be a Tensor"),
        (lambda m: m(tg.zeros(5, 2, 3, dtype="int64")), TypeError, "LSTM: x must be floating"),
        (lambda m: m(tg.zeros(5, 2, 3), lengths=[6, 1]), ValueError, "between 0 and the 5 time steps"),
        (lambda m: m(tg.zeros(5, 2, 3), lengths=[-1, 1]), ValueError, "between 0 and the 5 time steps"),
        (lambda m: m(tg.zeros(5, 2, 3), lengths=[1]), ValueError, "1 lengths for a batch of 2"),
        (lambda m: m(tg.zeros(5, 2, 3), lengths=[1.5, 2]), TypeError, "lengths must be integers"),
        (lambda m: m(tg.zeros(5, 2, 3), tg.zeros(1, 2, 4)), TypeError, r"state must be a tuple \(h, c\)"),
        (lambda m: m(tg.zeros(5, 2, 3), (tg.zeros(1, 2, 4),)), TypeError, "got a tuple of 1"),
        (
            lambda m: m(tg.zeros(5, 2, 3), (tg.zeros(1, 3, 4),) * 2),
            ValueError,
            r"state has shape \(1, 3, 4\), expected \(1, 2, 4\)",
        ),
        (lambda m: nn.LSTM(0, 4), ValueError, "input_size must be a positive integer"),
        (lambda m: nn.LSTM(3, 4, 0), ValueError, "num_layers must be a positive integer"),
        (lambda m: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "expected 'tanh' or 'relu'"),
        (lambda m: nn.GRU(3, 4, init="zeros"), ValueError, "expected 'default' or 'torch'"),
        (lambda m: nn.Recurrent(), TypeError, "expected one or more cells"),
        (lambda m: nn.Recurrent(nn.GRUCell(2, 3), bidirectional=True), ValueError, "need pairs of cells"),
        (lambda m: nn.Bidirectional(nn.LSTM(2, 3, bidirectional=True)), TypeError, "reads forwards"),
        (lambda m: nn.LSTMCell(2, 3)(tg.zeros(4, 5)), ValueError, r"LSTMCell: x has shape \(4, 5\)"),
        (lambda m: nn.GRUCell(2, 3)(tg.zeros(4, 2), tg.zeros(3, 3)), ValueError, r"GRUCell: state has shape"),
        (lambda m: nn.Cell(2, 3)(tg.zeros(4, 2)), NotImplementedError, "must define step"),
    ],
)
def test_bad_input_is_one_sentence(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(nn.LSTM(3, 4))
    assert "\n" not in str(caught.value)
