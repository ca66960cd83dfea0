"""Exported nets: compiled as C99 without a warning, run step by step, and held against Python."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.backend import compiling

F = nn.functional
CLEAN = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
COMPILER = compiling.compiler()
pytestmark = [pytest.mark.host, pytest.mark.skipif(not COMPILER, reason="no C compiler is installed")]


class Exported:
    """A model as a library: streams of its steps."""

    def __init__(self, model, path, *flags, **settings):
        self.found = tg.native.export_c(model, path, **settings)
        self.header = Path(self.found.h).read_text()
        self.name = self.header.split("typedef struct")[1].split("} ")[1].split("_state;")[0]
        library = f"{self.found.c}.so"
        command = [*COMPILER, *CLEAN, *flags, "-shared", "-fPIC", self.found.c, "-o", library, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.library = ctypes.CDLL(library)
        self.kind = np.dtype("float64" if "double s" in self.header else "float32")
        self.is_token = "_TOKENS" in self.header
        self.n_outputs = int(self.header.split("_OUTPUTS ")[1].split()[0])

    def stream(self):
        return Stream(self)


class Stream:
    """A state, and its steps."""

    def __init__(self, of):
        self.of, self.state = of, np.full(1 << 16, 0xFF, np.uint8)  # what was there before must not matter
        self._call("init", self.state)

    def _call(self, what, *arrays):
        function = getattr(self.of.library, f"{self.of.name}_{what}")
        function.restype = None
        function(*(ctypes.c_void_p(a.ctypes.data) for a in arrays))

    def step(self, x):
        x = np.ascontiguousarray(x, np.int32 if self.of.is_token else self.of.kind)
        y = np.empty(self.of.n_outputs, self.of.kind)
        self._call("step", x, self.state, y)
        return y

    def steps(self, xs):
        return np.stack([self.step(x) for x in xs])


def sequence(model, n=20, features=3, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(n, features)).astype(dtype)


def by_python(model, xs):
    """The outputs (steps, outputs) of a model for a sequence, in eval mode."""
    was = model.training
    model.eval()
    with tg.no_grad():
        y = model(tg.tensor(xs).unsqueeze(1))
    model.train(was)
    y = y[0] if isinstance(y, tuple) else y
    return y.numpy().reshape(len(xs), -1)


def close(ours, right, most=1e-6):
    assert ours.shape == right.shape
    assert np.abs(ours - right).max() <= most * max(1, np.abs(right).max())


def moved(model, seed=1):
    """The model with parameters that are all away from where they start."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = tg.tensor((p.numpy() + 0.2 * rng.normal(size=p.shape)).astype(p.dtype))
    return model


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


def through(*modules):
    """Modules in a row, recurrent ones without their state."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(modules)

        def forward(self, x):
            for part in self.parts:
                x = part(x)
                x = x[0] if isinstance(x, tuple) else x
            return x

    return Chain()


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


def test_a_single_cell_is_no_sequence(tmp_path):
    """But a module around it is."""
    with pytest.raises(ValueError, match="GRUCell cannot be exported"):
        tg.native.export_c(nn.GRUCell(3, 4), tmp_path / "net")


class CharLM(nn.Module):
    """Tokens (T, B) and a state -> scores and the next state."""

    def __init__(self, n=11, tied=False):
        super().__init__()
        self.embed = nn.Embedding(n, 6)
        self.rnn = nn.LSTM(6, 6, 2)
        self.out = nn.Linear(6, n, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, x, state=None):
        y, state = self.rnn(self.embed(x), state)
        return self.out(y), state


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


def test_y_may_be_x(tmp_path):
    model = moved(nn.Recurrent(nn.RNNCell(3, 3)))
    made = Exported(model, tmp_path / "net")
    stream, xs = made.stream(), sequence(model)
    right = by_python(model, xs)
    for x, y in zip(xs, right, strict=True):
        x = x.copy()
        stream._call("step", x, stream.state, x)
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


# ---------------------------------------------------------------- int8


@pytest.mark.parametrize(
    "make", [lambda: through(nn.LSTM(3, 33), nn.Linear(33, 2)), CharLM, lambda: through(nn.GRU(3, 70))]
)
def test_int8(make, tmp_path):
    tg.manual_seed(0)
    model = make()
    made = Exported(model, tmp_path / "net", weights="int8")
    whole = Exported(model, tmp_path / "whole")
    rng = np.random.default_rng(0)
    if made.is_token:
        xs = rng.integers(0, 11, 64)
        given = xs[:, None]
    else:
        given = xs = rng.normal(size=(64, 3)).astype("float32")  # as the error was measured on
    ys, right = made.stream().steps(given), by_python(model, xs)
    error = np.abs(ys - right).max() / np.abs(right).max()
    assert 1e-5 < error < 0.1
    np.testing.assert_allclose(error, made.found.error, rtol=1e-2)
    assert f"{made.found.error:.1e}" in made.header
    if not made.is_token:
        assert len(Path(made.found.c).read_text()) < 0.6 * len(Path(whole.found.c).read_text())


# ---------------------------------------------------------------- what is refused


class Attends(nn.Module):
    """Looks at all steps."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return y.mean(0)


class Draws(nn.Module):
    def forward(self, x):
        return x + tg.randn(*x.shape)


class Asks(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Sorts(nn.Module):
    def forward(self, x):
        return x + tg.argsort(x, -1)


class Starts(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x):
        return self.cell(x[0], tg.zeros(x.shape[1], 3))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x):
        return self.cell(self.cell(x[0]))


REFUSED = {
    "bidirectional": (
        lambda: through(nn.LSTM(3, 4, bidirectional=True)),
        r"parts\.0 \(LSTM\) reads from the end",
    ),
    "twins": (lambda: nn.Bidirectional(nn.GRU(3, 4)), "Bidirectional reads from the end"),
    "reverse": (lambda: nn.Recurrent(nn.GRUCell(3, 4), reverse=True), "Recurrent reads from the end"),
    "attends": (Attends, "Attends cannot be exported: what it makes of a sequence"),
    "draws": (lambda: through(nn.GRU(3, 4), Draws()), "Chain cannot be exported: .* random numbers"),
    "asks": (lambda: through(nn.GRU(3, 4), Asks()), r"in parts\.1 \(Asks\): it asks for a value"),
    "sorts": (
        lambda: through(nn.GRU(3, 4), Sorts()),
        "Chain cannot be exported: argsort is not written in C",
    ),
    "starts": (Starts, r"cell \(GRUCell\) is given its state by what is around it"),
    "twice": (Twice, r"cell \(GRUCell\) is called more than once in a step"),
    "nothing": (lambda: through(nn.Tanh()), "says how many features a step is given; say inputs="),
    "half": (lambda: nn.LSTM(3, 4).to(tg.float16), "LSTM cannot be exported: its numbers are float16"),
    "empty": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Module()), r"in 1 \(Module\): NotImplementedError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_one_sentence(name, tmp_path):
    make, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        tg.native.export_c(make(), tmp_path / "net")
    said = str(caught.value)
    assert said.startswith("export_c: ")
    assert "\n" not in said
    assert not [*tmp_path.iterdir()]


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match="export_c: expected a Module, got a function"):
        tg.native.export_c(lambda x: x, tmp_path / "net")
    with pytest.raises(ValueError, match="weights is 'int4', expected 'float' or 'int8'"):
        tg.native.export_c(nn.GRU(3, 4), tmp_path / "net", weights="int4")
    with pytest.raises(TypeError, match="export_c: expected the name of a file"):
        tg.native.export_c(nn.GRU(3, 4), 3)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("path", "name"),
    [("net.c", "net"), ("net.h", "net"), ("a net-2", "a_net_2"), ("2nd.v1", "net_2nd_v1"), ("_Net", "Net"),
     ("int", "int"), ("n\N{LATIN SMALL LETTER O WITH DIAERESIS}te", "n_te"), ("---", "net_")],
)  # fmt: skip
def test_names(path, name, tmp_path):
    model = moved(nn.GRU(3, 4))
    made = Exported(model, tmp_path / path)
    assert made.name == name
    xs = sequence(model)
    close(made.stream().steps(xs), by_python(model, xs))


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    net = nn.GRU(3, 4)
    with pytest.raises(FileNotFoundError, match=r"export_c: .* make it first"):
        tg.native.export_c(net, tmp_path / "there" / "net")
    (tmp_path / "net.c").write_text("old")
    (tmp_path / "net.h").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        tg.native.export_c(net, tmp_path / "net")
    assert (tmp_path / "net.c").read_text() == "old"
    (tmp_path / "net.h").rmdir()
    made = tg.native.export_c(net, tmp_path / "net")
    assert "GRU" in (tmp_path / "net.h").read_text()
    assert (made.c, made.h) == (str(tmp_path / "net.c"), str(tmp_path / "net.h"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.c", "net.h"]


def test_the_header_is_one_of_cpp_too(tmp_path):
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    made = Exported(nn.GRU(3, 4), tmp_path / "net")
    main = tmp_path / "main.cpp"
    main.write_text(
        '#include "net.h"\n#include "net.h"\n'
        "int main() { net_state s; net_init(&s); float x[NET_INPUTS] = {1, 2, 3}, y[NET_OUTPUTS];\n"
        "net_step(x, &s, y); return y[0] != y[0]; }\n"
    )
    library, program = Path(f"{made.found.c}.so"), tmp_path / "main"
    command = [
        compiler,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        str(main),
        str(library),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    assert subprocess.run([str(program)], check=False).returncode == 0
