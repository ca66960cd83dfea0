"""Sequences that arrive step by step: the numbers of the whole layer, whatever the pieces are."""

import tracemalloc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.backend import compiling
from tinygrad_rnn.backend.native import native
from tinygrad_rnn.nn.scan import flattened

pytestmark = pytest.mark.host
COMPILED = pytest.param(
    True, marks=pytest.mark.skipif(not compiling.compiler(), reason="no C compiler is installed")
)


@pytest.fixture(params=[COMPILED, False], ids=["compiled", "op by op"], autouse=True)
def compiled(request):
    with native(request.param):
        yield request.param


class Own(nn.Cell):
    """A cell of a user's, whose state has two parts of different sizes."""

    def __init__(self, n_in, n):
        super().__init__(n_in, n)
        self.w = nn.Parameter(tg.randn(n_in, n))
        self.u = nn.Parameter(tg.randn(n + 2, n))
        self.v = nn.Parameter(tg.randn(n, 2))

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, self.hidden_size), like.new_ones(batch_size, 2)

    def step(self, px, state):
        h, z = state
        h = tg.tanh(px @ self.w + tg.concat([h, z], -1) @ self.u)
        return h, tg.softmax(z + h @ self.v, -1)


class Asking(nn.RNNCell):
    """One that cannot be read."""

    def step(self, px, state):
        return super().step(px, state) * (2.0 if float(px.sum()) > 0 else 1.0)


LAYERS = {
    "LSTM": lambda: nn.LSTM(5, 7),
    "LSTM, three layers": lambda: nn.LSTM(5, 7, num_layers=3, dropout=0.5),
    "LSTM, projected": lambda: nn.LSTM(5, 7, proj_size=3),
    "GRU": lambda: nn.GRU(5, 7),
    "GRU, reset after": lambda: nn.GRU(5, 7, reset_after=True),
    "RNN": lambda: nn.RNN(5, 7, num_layers=2),
    "layer-normalised": lambda: nn.Recurrent(nn.LayerNormLSTMCell(5, 7)),
    "peephole": lambda: nn.Recurrent(nn.PeepholeLSTMCell(5, 7)),
    "zoneout": lambda: nn.Recurrent(nn.Zoneout(nn.LSTMCell(5, 7), 0.5)),
    "dropped states": lambda: nn.Recurrent(nn.RecurrentDropout(nn.GRUCell(5, 7), 0.5)),
    "learned start": lambda: nn.LSTM(5, 7, learn_initial_state=True),
    "a user's": lambda: nn.Recurrent(Own(5, 7)),
    "not to be read": lambda: nn.Recurrent(Asking(5, 7)),
}


def made(name, dtype="float32"):
    layer = LAYERS[name]().to(dtype)
    for p in layer.parameters():
        p.data.normal_(0, 0.5)
    return layer


def whole(layer, x, state=None):
    """What the layer makes of x (T, B, features) at once."""
    before = layer.training
    layer.eval()
    with tg.no_grad():
        y, state = layer(tg.tensor(x), state)
    layer.train(before)
    return y.numpy(), [s.numpy() for s in flattened(state)]


def inputs(*shape, dtype="float32"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def close(a, b, dtype="float32"):
    tolerance = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-2}[dtype]
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_and_blocks_make_what_the_layer_makes(name, dtype, compiled):
    layer, x = made(name, dtype), inputs(9, 3, 5, dtype=dtype)
    wanted, last = whole(layer, x)
    stream = layer.stream(3)
    assert ("compiled" in repr(stream)) == (compiled and dtype != "float16" and name != "not to be read")
    for pieces in ([1] * 9, [9], [2, 1, 1, 5], [0, 4, 0, 5]):
        stream.reset()
        start, found = 0, []
        for n in pieces:
            part = x[start : start + n]
            found.append(stream(part[0])[None].copy() if n == 1 else stream(part).copy())
            start += n
        close(np.concatenate(found), wanted, dtype)
        leaves = stream.state if isinstance(stream.state, tuple) else (stream.state,)
        for a, b in zip(leaves, last, strict=True):
            assert a.shape == b.shape
            assert a.dtype == np.dtype(dtype)
            close(a, b, dtype)


def test_it_is_the_layer_bit_for_bit(compiled):
    layer, x = made("LSTM"), inputs(20, 2, 5)
    stream = layer.stream(2)
    found = np.stack([stream(step).copy() for step in x])
    np.testing.assert_array_equal(found, whole(layer, x)[0])


@pytest.mark.parametrize("n", [1, 2, 33])
def test_batches_of_any_size(n):
    layer, x = made("GRU"), inputs(4, n, 5)
    close(layer.stream(n)(x), whole(layer, x)[0])


def test_batch_first():
    layer, x = nn.LSTM(5, 7, batch_first=True), inputs(4, 3, 5)
    stream = layer.stream(3)
    with tg.no_grad():
        wanted = layer(tg.tensor(x.swapaxes(0, 1)))[0].numpy()
    found = stream(np.ascontiguousarray(x.swapaxes(0, 1)))
    assert found.shape == (3, 4, 7)
    close(found, wanted)
    stream.reset()
    close(np.stack([stream(step).copy() for step in x], 1), wanted)
    stream.reset()
    out = np.zeros((3, 4, 7), "float32")
    assert stream(np.ascontiguousarray(x.swapaxes(0, 1)), out=out) is out
    close(out, wanted)


def test_one_sequence_may_do_without_the_axis_of_the_batch():
    layer, x = made("LSTM"), inputs(3, 1, 5)
    stream = layer.stream()
    found = [stream(step[0]).copy() for step in x]
    assert found[0].shape == (7,)
    close(np.stack(found), whole(layer, x)[0][:, 0])


def test_arrays_as_users_have_them():
    layer, x = made("LSTM"), inputs(6, 2, 5)
    wanted = whole(layer, x)[0]
    others = [
        np.asfortranarray(x), np.repeat(x, 2, 2)[..., ::2], x.astype("float64"), x.astype(">f4"),
        np.frombuffer(b"\0" + x.tobytes(), "float32", offset=1).reshape(x.shape), x.tolist(), tg.tensor(x),
        np.repeat(x, 2, 0)[::2], x[::-1].copy()[::-1],
    ]  # fmt: skip
    for other in others:
        stream = layer.stream(2)
        close(stream(other), wanted)
        stream.reset()
        for k, step in enumerate(other):
            close(stream(step), wanted[k])
    whole_numbers = (x * 3).astype("int64")
    close(layer.stream(2)(whole_numbers), whole(layer, whole_numbers.astype("float32"))[0])


def test_results_are_written_where_one_wants():
    layer, x = made("LSTM"), inputs(6, 2, 5)
    wanted = whole(layer, x)[0]
    stream, out = layer.stream(2), np.zeros((6, 2, 7), "float32")
    assert stream(x[0], out=out[0]) is not None
    assert stream(x[1:], out=out[1:]) is not None
    close(out, wanted)
    locked = np.zeros((2, 7), "float32")
    locked.flags.writeable = False
    for wrong in (np.zeros((2, 6), "float32"), np.zeros((2, 7)), np.zeros((7, 2), "float32").T, locked, [0]):
        with pytest.raises(ValueError, match="out must be a writable float32 array"):
            stream(x[0], out=wrong)


@pytest.mark.parametrize(
    "shape", [(2, 4), (1, 5), (5,), (3, 1, 5), (3, 2, 4), (2,), (), (1, 1, 2, 5)], ids=str
)
def test_wrong_shapes_are_said_and_lose_nothing(shape):
    layer, x = made("LSTM"), inputs(4, 2, 5)
    stream = layer.stream(2)
    stream(x[:2])
    with pytest.raises(
        ValueError, match=r"stream: x has shape .* expected \(2, 5\) for a step or \(time, 2, 5\)"
    ):
        stream(np.zeros(shape, "float32"))
    close(stream(x[2:]), whole(layer, x)[0][2:])


def test_what_are_no_numbers_is_said():
    stream = nn.LSTM(5, 7).stream()
    for wrong in (np.zeros((1, 5), complex), np.array([["a"] * 5]), None):
        with pytest.raises((TypeError, ValueError), match="stream: x"):
            stream(wrong)


def test_nan_stays_in_its_sequence():
    layer, x = made("LSTM"), inputs(4, 3, 5)
    x[1, 1, 2] = np.nan
    found = layer.stream(3)(x)
    assert np.isnan(found[1:, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()
    assert np.isfinite(found[0]).all()


def test_the_state_is_kept_set_reset_and_copied():
    layer, x = made("LSTM, three layers"), inputs(6, 2, 5)
    wanted, last = whole(layer, x)
    stream = layer.stream(2)
    stream(x[:3])
    other, state = stream.copy(), stream.state
    assert type(state).__name__ == "LSTMState"
    assert state.h.shape == (3, 2, 7)
    close(stream(x[3:]), wanted[3:])
    close(other(x[3:]), wanted[3:])
    other.state = state
    state.h[...] = 0  # a copy is one's own
    close(other(x[3:]), wanted[3:])
    other.state = [tg.tensor(s) for s in last]
    close(other(x), whole(layer, x, nn.LSTMState(*map(tg.tensor, last)))[0])
    other.state = stream.state
    other.reset(rows=[0])
    mixed = [s.copy() for s in last]
    for s in mixed:
        s[:, 0] = 0
    close(other(x), whole(layer, x, nn.LSTMState(*map(tg.tensor, mixed)))[0])
    for wrong in (last[0], [last[0][:2]] * 2, [last[0]] * 3):
        with pytest.raises((TypeError, ValueError), match="stream: state"):
            stream.state = wrong


def test_a_learned_start_is_where_it_begins():
    layer, x = made("learned start"), inputs(4, 2, 5)
    stream = layer.stream(2)
    stream(x)
    stream.reset()
    close(stream(x), whole(layer, x)[0])


def test_weights_that_change_are_seen():
    layer, x = made("LSTM"), inputs(4, 2, 5)
    stream, optimizer = layer.stream(2), optim.SGD(layer.parameters(), lr=0.5)
    stream(x)
    layer(tg.tensor(x))[0].sum().backward()
    optimizer.step()
    stream.reset()
    close(stream(x), whole(layer, x)[0])
    for replace in (
        lambda: layer.load_state_dict(made("LSTM").state_dict()),
        lambda: setattr(layer.cells[0].weight_hh, "data", tg.randn(7, 28)),
        lambda: layer.cells[0].bias.data.fill_(0.5),
    ):
        replace()
        stream.reset()
        found = np.stack([stream(step).copy() for step in x])
        close(found, whole(layer, x)[0])
    layer.cells[0].weight_hh.array[...] = 0.1
    stream.refresh()
    stream.reset()
    close(stream(x), whole(layer, x)[0])


def test_it_runs_as_in_evaluation_and_changes_no_mode():
    layer, x = made("zoneout"), inputs(4, 2, 5)
    layer.train()
    layer.cells[0].cell.eval()
    stream = layer.stream(2)
    close(stream(x), whole(layer, x)[0])
    layer.cells[0].cell.eval()
    assert layer.training
    assert layer.cells[0].training
    assert not layer.cells[0].cell.training
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(5, 7, bidirectional=True), nn.Recurrent(nn.LSTMCell(5, 7), reverse=True)],
    ids=["bidirectional", "reverse"],
)
def test_what_reads_backwards_is_refused(layer):
    with pytest.raises(ValueError, match="reads backwards, which cannot begin before the end"):
        layer.stream()


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2", None])
def test_a_batch_is_a_positive_integer(batch):
    with pytest.raises(ValueError, match="batch must be a positive integer"):
        nn.LSTM(5, 7).stream(batch)


def test_a_step_allocates_nothing(compiled):
    if not compiled:
        pytest.skip("op by op it does")
    stream, x = nn.LSTM(5, 7).stream(2), inputs(2, 5)
    stream(x)
    tracemalloc.start()
    try:
        stream(x)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            stream(x)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 500  # a few numbers of Python's, not an array for each step


class Echo(nn.Cell):
    """Its input is read once more when what is shown has been written."""

    def __init__(self, n):
        super().__init__(n, n)
        self.w, self.u = nn.Parameter(tg.randn(n, n)), nn.Parameter(tg.randn(n, n))

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, self.hidden_size), like.new_zeros(batch_size, self.hidden_size)

    def step(self, px, state):
        h = tg.tanh(px @ self.w + state[1])
        return h, tg.tanh(h @ self.u + px @ self.u)


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(4, 4, num_layers=2), nn.GRU(4, 4), nn.Recurrent(Echo(4))],
    ids=["LSTM", "GRU", "Echo"],
)
def test_what_it_gave_may_be_given_back(layer):
    """As where a net goes on from what it has said, or a block is filtered where it lies."""
    stream, by_copies = layer.stream(2), layer.stream(2)
    y, z = stream(inputs(2, 4)), by_copies(inputs(2, 4)).copy()
    for given in (lambda y: y, lambda y: y, lambda y: y[:], lambda y: y):
        y = stream(given(y))
        z = by_copies(z.copy()).copy()
        np.testing.assert_array_equal(y, z)
    block = inputs(5, 2, 4)
    wanted = by_copies(block.copy()).copy()
    np.testing.assert_array_equal(stream(block, out=block), wanted)
