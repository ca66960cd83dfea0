"""Exported nets: compiled as C99 without a warning, run step by step, and held against Python."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.io.exported import COMPILER, CharLM, Exported, by_python, close, moved, sequence, through
from tinygrad_rnn import nn

F = nn.functional
pytestmark = [pytest.mark.host, pytest.mark.skipif(not COMPILER, reason="no C compiler is installed")]


class Residual(nn.Module):
    """Two layers of a user's, the second beside what it reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.GRU(3, 6), nn.LSTM(6, 6)
        self.norm, self.out = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x, state=None):
        a, _ = self.first(x)
        b, state = self.second(a)
        return self.out(self.norm(a + b)), state


class Leaky(nn.Cell):
    """A user's cell in plain ops: two states, one weight, where and maximum."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(tg.randn(input_size + hidden_size, 2 * hidden_size) * 0.3)

    def step(self, px, state):
        h, total = state
        a, b = tg.chunk(tg.cat([px, h], axis=-1) @ self.w, 2, axis=-1)
        h = tg.where(a > 0, 0.9 * h + 0.1 * tg.tanh(b), tg.maximum(h, b) * 0.5)
        return h, 0.99 * total + h.mean(-1, keepdim=True)

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, self.hidden_size), like.new_ones(batch_size, 1)

    def output(self, state):
        return state[0] * state[1]


class Delays(nn.Cell):
    """States that change places, are shown one step late, and are read after they are known anew."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(tg.randn(input_size, hidden_size))

    def step(self, px, state):
        a, b, c, d = state
        new = tg.tanh(px @ self.w + tg.cat([d[:, 1:], d[:, :1]], -1))
        return b, a, new, tg.sigmoid(new + tg.tanh(new)) * d + c

    def initial_state(self, batch_size, like):
        zeros = like.new_zeros(batch_size, self.hidden_size)
        return zeros + 1, zeros, zeros, zeros + tg.arange(self.hidden_size)

    def output(self, state):
        a, b, c, d = state
        return tg.cat([a * 2 + b, c], -1)[:, ::2] + d


class Reduces(nn.Module):
    """Sums and extremes along axes, and what is laid around."""

    def forward(self, x):
        y = F.pad(x, (1, 2), value=0.5).reshape(*x.shape[:-1], 2, 3)
        parts = [y.amax(-1), y.amin(-2), y.mean(-1), tg.logsumexp(y, -1), y.var(-1)]
        return tg.cat(parts, -1)


class Loop(nn.Module):
    """Cells that a user's loop calls."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.LSTMCell(3, 5), nn.GRUCell(5, 4)

    def forward(self, x):
        state, h, found = None, None, []
        for t in range(x.shape[0]):
            state = self.a(x[t], state)
            h = self.b(state.h, h)
            found.append(h)
        return tg.stack(found)


class LearnedGRU(nn.GRU):
    pass


NETS = {
    "rnn": lambda: nn.RNN(3, 5),
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 16),
    "lstm, no bias": lambda: nn.LSTM(3, 7, bias=False),
    "lstm, torch": lambda: nn.LSTM(3, 7, init="torch"),
    "lstm, projected": lambda: nn.LSTM(3, 9, proj_size=4, num_layers=2),
    "gru": lambda: nn.GRU(3, 7),
    "gru, reset after": lambda: nn.GRU(3, 7, reset_after=True),
    "gru, torch": lambda: nn.GRU(3, 7, reset_after=True, init="torch"),
    "deep": lambda: nn.LSTM(3, 8, num_layers=3, dropout=0.5),
    "wide": lambda: nn.GRU(3, 130),
    "one": lambda: nn.LSTM(3, 1),
    "learned": lambda: LearnedGRU(3, 5, num_layers=2, learn_initial_state=True),
    "layer norm rnn": lambda: nn.Recurrent(nn.LayerNormRNNCell(3, 6)),
    "layer norm lstm": lambda: nn.Recurrent(nn.LayerNormLSTMCell(3, 6), nn.LayerNormLSTMCell(6, 6)),
    "layer norm gru": lambda: nn.Recurrent(nn.LayerNormGRUCell(3, 6)),
    "peephole": lambda: nn.Recurrent(nn.PeepholeLSTMCell(3, 6)),
    "wrapped": lambda: nn.Recurrent(nn.Zoneout(nn.RecurrentDropout(nn.WeightDrop(nn.LSTMCell(3, 6))), 0.2)),
    "checkpointed": lambda: nn.LSTM(3, 5, checkpoint_every=4),
    "user's cell": lambda: nn.Recurrent(Leaky(3, 6)),
    "user's loop": lambda: Loop(),
    "residual": lambda: Residual(),
    "delays": lambda: nn.Recurrent(Delays(3, 4)),
    "reduces": lambda: through(nn.Linear(3, 3), Reduces()),
    "dense": lambda: through(nn.Linear(3, 9), nn.ReLU(), nn.LSTM(9, 12), nn.Dropout(0.5), nn.Linear(12, 2)),
    "softmax": lambda: through(nn.GRU(3, 6), nn.Linear(6, 5), nn.Softmax(dim=-1)),
    "log softmax": lambda: through(nn.GRU(3, 6), nn.Linear(6, 11), nn.LogSoftmax(dim=-1)),
    "activations": lambda: through(
        nn.Linear(3, 6), nn.GELU(), nn.ELU(), nn.GRU(6, 4), nn.LeakyReLU(), nn.Softplus()
    ),
    "no recurrence": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh()),
}


@pytest.mark.parametrize("name", NETS)
def test_steps_are_those_of_python(name, tmp_path):
    tg.manual_seed(0)
    model = moved(NETS[name]())
    made = Exported(model, tmp_path / "net.c")
    xs = sequence(model)
    close(made.stream().steps(xs), by_python(model, xs))
    assert made.found.error < 1e-5  # NumPy's products of a row and of many differ in the last digits


@pytest.mark.parametrize("seed", range(8))
def test_random_nets(seed, tmp_path):
    rng = np.random.default_rng(seed)
    tg.manual_seed(seed)
    parts, size = [], 3
    if rng.random() < 0.5:
        parts, size = [nn.Embedding(9, 5)], 5
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            new = int(rng.integers(1, 40))
            parts += [nn.Linear(size, new), nn.Tanh(), nn.LayerNorm(new)]
            size = new
        hidden, layers = int(rng.integers(1, 40)), int(rng.integers(1, 3))
        layer = [nn.RNN, nn.LSTM, nn.GRU][int(rng.integers(3))]
        settings = {
            "init": ["default", "torch"][int(rng.integers(2))],
            "learn_initial_state": bool(rng.integers(2)),
        }
        parts.append(layer(size, hidden, layers, bias=bool(rng.integers(2)), **settings))
        size = hidden
    parts += [nn.Linear(size, 4)] + [nn.Softmax(-1)] * (rng.random() < 0.5)
    model = moved(through(*parts))
    is_token = isinstance(parts[0], nn.Embedding)
    xs = rng.integers(0, 9, 20) if is_token else sequence(model)
    ys = Exported(model, tmp_path / "net").stream().steps(xs[:, None] if is_token else xs)
    close(ys, by_python(model, xs), 2e-6)  # which differ in the order of sums, layer by layer


@pytest.mark.parametrize("name", ["lstm", "gru", "user's cell", "residual", "log softmax", "activations"])
def test_double(name, tmp_path):
    tg.manual_seed(0)
    model = moved(NETS[name]().to(tg.float64))
    made = Exported(model, tmp_path / "net")
    xs = sequence(model, dtype="float64")
    assert made.kind == np.float64
    close(made.stream().steps(xs), by_python(model, xs), 1e-13)


@pytest.mark.parametrize("tied", [False, True])
def test_tokens(tied, tmp_path):
    model = moved(CharLM(tied=tied))
    made = Exported(model, tmp_path / "lm")
    xs = np.random.default_rng(0).integers(0, 11, 30)
    right = by_python(model, xs)
    close(made.stream().steps(xs[:, None]), right)
    assert "#define LM_TOKENS 11" in made.header
    outside = made.stream().steps([[-5], [11], [2**31 - 1]])  # no memory outside of the table is read
    close(outside, by_python(model, np.array([0, 10, 10])))


def test_batch_first_and_many_to_one(tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])

    model = moved(Last())
    xs = sequence(model, 9)
    ys = Exported(model, tmp_path / "net").stream().steps(xs)
    for n in (1, 4, 9):
        close(ys[n - 1], model(tg.tensor(xs[:n]).unsqueeze(0)).detach().numpy()[0])


def test_two_streams_do_not_meet(tmp_path):
    model = moved(nn.LSTM(3, 6, 2))
    made = Exported(model, tmp_path / "net")
    one, other = made.stream(), made.stream()
    xs, zs = sequence(model), sequence(model, seed=1)
    found = [(one.step(x), other.step(z)) for x, z in zip(xs, zs, strict=True)]
    ours, theirs = (np.stack(ys) for ys in zip(*found, strict=True))
    close(ours, by_python(model, xs))
    close(theirs, by_python(model, zs))


def test_the_model_is_left_as_it_was(tmp_path):
    model = nn.LSTM(3, 4, 2, dropout=0.5, learn_initial_state=True)
    before = {id(m): (type(m), dict(vars(m))) for m in model.modules()}
    draws = tg.get_rng_state()
    tg.native.export_c(model, tmp_path / "net")
    assert {id(m): (type(m), dict(vars(m))) for m in model.modules()} == before
    assert model.training
    assert tg.get_rng_state() == draws


def test_a_model_on_another_device(tmp_path):
    tg.use("strict")
    model = moved(through(nn.GRU(3, 5, learn_initial_state=True), nn.Linear(5, 2)))
    made = Exported(model, tmp_path / "net")
    tg.use("numpy")
    xs = sequence(model)
    close(made.stream().steps(xs), by_python(model.cpu(), xs))


def test_outputs_that_are_no_numbers(tmp_path):
    class Logs(nn.Module):
        def forward(self, x):
            return tg.log(x)

    made = Exported(Logs(), tmp_path / "net", inputs=3)
    assert made.found.error < 1e-6
    np.testing.assert_allclose(made.stream().step([1, -1, 0]), [0, np.nan, -np.inf])


def test_a_net_that_is_chaotic(tmp_path):
    tg.manual_seed(0)
    model = nn.RNN(3, 40)
    model.cells[0].weight_hh.data = model.cells[0].weight_hh.detach() * 4
    made = Exported(model, tmp_path / "net")
    assert made.found.error > 1e-5  # and says so
    xs = sequence(model, 5)
    close(made.stream().steps(xs), by_python(model, xs), 1e-4)


def test_y_may_be_x(tmp_path):
    model = moved(nn.Recurrent(nn.RNNCell(3, 3)))
    made = Exported(model, tmp_path / "net")
    stream, xs = made.stream(), sequence(model)
    right = by_python(model, xs)
    for x, y in zip(xs, right, strict=True):
        x = x.copy()
        stream.call("step", x, stream.state, x)
        close(x, y)


def test_extreme_inputs(tmp_path):
    model = moved(through(nn.LSTM(3, 8), nn.Linear(8, 2)))
    stream = Exported(model, tmp_path / "net").stream()
    xs = np.array([[1e30, -1e30, 0], [0, 0, 0], [np.nan, 0, 0], [0, 0, 0]], np.float32)
    with np.errstate(all="ignore"):
        right = by_python(model, xs)
    ys = stream.steps(xs)
    close(ys[:2], right[:2])
    assert np.isnan(ys[2:]).all()
    assert np.isnan(right[2:]).all()


@pytest.mark.parametrize("function", ["tanh", "sigmoid", "exp"])
def test_functions_are_right_to_three_units(function, tmp_path):
    class Pointwise(nn.Module):
        def forward(self, x):
            return getattr(tg, function)(x)

    stream = Exported(Pointwise(), tmp_path / "net", inputs=1000).stream()
    rng = np.random.default_rng(0)
    xs = np.concatenate([rng.normal(0, s, 1000) for s in (1e-6, 0.1, 1, 10, 60)]).astype("float32")
    with np.errstate(all="ignore"):
        x = xs.astype("float64")
        right = {"tanh": np.tanh, "exp": np.exp, "sigmoid": lambda v: 1 / (1 + np.exp(-v))}[function](x)
        ys = stream.steps(xs.reshape(5, 1000)).reshape(-1)
        fits = (abs(right) < 3e38) & (abs(right) > 2e-38)
        assert (abs(ys - right)[fits] <= 3 * np.spacing(abs(right[fits]).astype("float32"))).all()
        np.testing.assert_array_equal(np.isinf(ys), np.isinf(right.astype("float32")))
        np.testing.assert_allclose(ys[~fits & (right < 1)], right[~fits & (right < 1)], atol=1e-37)
    special = stream.step(np.resize(np.float32([0, np.inf, -np.inf, np.nan]), 1000))[:4]
    wanted = {"tanh": [0, 1, -1], "exp": [1, np.inf, 0], "sigmoid": [0.5, 1, 0]}[function]
    np.testing.assert_allclose(special[:3], wanted, atol=1e-37)
    assert np.isnan(special[3])


def test_functions_can_be_replaced(tmp_path):
    model = moved(nn.LSTM(3, 6))
    flags = ("-DNET_TANH=tanhf", "-DNET_SIGMOID(x)=(1/(1+expf(-(x))))")
    xs = sequence(model)
    close(Exported(model, tmp_path / "net", *flags).stream().steps(xs), by_python(model, xs))


@pytest.mark.parametrize("flags", [("-O0",), ("-O3", "-march=native", "-ffast-math"), ("-O3", "-DNET_PLAIN")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_flags(flags, dtype, tmp_path):
    model = moved(through(nn.LSTM(3, 41), nn.Linear(41, 2)).to(dtype))
    xs = sequence(model, dtype=dtype)
    made = Exported(model, tmp_path / "net", *flags)
    close(made.stream().steps(xs), by_python(model, xs), 3e-6 if dtype == "float32" else 1e-13)
