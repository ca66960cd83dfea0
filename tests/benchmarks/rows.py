"""The rows of the table: each builds its contestants, compares their results, and has them raced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import functional as F

from . import by_hand, cells
from .measure import Times, assert_close, peak_memory, race, race_processes

SIZES = [
    (50, 1, 32, 32), (100, 16, 64, 64), (50, 50, 65, 128), (100, 32, 128, 128), (100, 64, 256, 256),
    (35, 20, 650, 650), (50, 64, 512, 512),
]  # fmt: skip


@dataclass
class Settings:
    """What was asked for on the command line."""

    peers: dict[str, Any]  # name -> module
    seconds: float
    quick: bool = False


@dataclass
class Result:
    """One line of the table. `unit` is of the figures: "ms", "MiB", "times"."""

    group: str
    row: str
    ours: float
    others: dict[str, float]
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    unit: str = "ms"


def result(group: str, row: str, times: Times) -> Result:
    """A line of milliseconds."""
    names = [name for name in times.of if name != "ours"]
    return Result(
        group,
        row,
        times.median("ours") * 1e3,
        {name: times.median(name) * 1e3 for name in names},
        {name: times.ratio(name) for name in names},
    )


Row = Callable[[Settings], Iterator[Result]]


def random(*shape: int, scale: float = 1.0) -> Any:
    """float32 numbers, the same each time."""
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * scale).astype("float32")


def sizes(settings: Settings) -> list[tuple[int, int, int, int]]:
    return SIZES[:1] if settings.quick else SIZES


# ---------------------------------------------------------------- layers


def training_step(layer: Any, x: Any, *args: Any, **settings: Any) -> Callable[[], Any]:
    """Forward, and backward to weights and input, in the dialect that both libraries share."""
    parameters = [*layer.parameters(), x]

    def step() -> Any:
        for p in parameters:
            p.grad = None
        output, _ = layer(x, *args, **settings)
        output.sum().backward()
        return output

    return step


def layer_of(kind: str, n_in: int, size: int, bidirectional: bool, default: bool) -> Any:
    """The layer that is timed: the GRU in PyTorch's form, unless `default` asks for ours."""
    more = {"reset_after": True} if kind == "GRU" and not default else {}
    return getattr(nn, kind)(n_in, size, bidirectional=bidirectional, **more)


def twin(torch: Any, kind: str, n_in: int, size: int, bidirectional: bool) -> tuple[Any, Any]:
    """The same layer with the same weights here and in PyTorch."""
    ours = layer_of(kind, n_in, size, bidirectional, default=False)
    theirs = getattr(torch.nn, kind)(n_in, size, bidirectional=bidirectional)
    tg.io.load_torch(ours, theirs.state_dict())
    return ours, theirs


def layer_row(kind: str, bidirectional: bool = False, default: bool = False) -> Row:
    """A recurrent layer against torch.nn, the products alone, and for the LSTM and PyTorch's GRU the same by
    hand. `default` is our own form of the GRU: as much work, other values.
    """
    group = f"bidirectional {kind}" if bidirectional else f"default {kind}" if default else kind

    def run(settings: Settings) -> Iterator[Result]:
        for n_steps, n, n_in, size in sizes(settings):
            data = random(n_steps, n, n_in)
            x = tg.tensor(data, requires_grad=True)
            contestants: dict[str, Any] = {}
            torch = settings.peers.get("torch")
            if torch is not None:
                layer, theirs = twin(torch, kind, n_in, size, bidirectional)
                their_x = torch.tensor(data, requires_grad=True)
                contestants["torch"] = training_step(theirs, their_x)
            if torch is None or default:
                layer = layer_of(kind, n_in, size, bidirectional, default)
            ours = training_step(layer, x)
            y = ours().numpy()
            if torch is not None and not default:
                assert_close(f"{group} output", y, contestants["torch"]().detach().numpy(), 1e-4)
                assert_close(f"{group} gradient", x.grad.numpy(), their_x.grad.numpy(), 1e-3)
            if not bidirectional:
                gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
                contestants["products"] = by_hand.Products(n_steps, n, n_in, size, gates).step
            if kind in ("LSTM", "GRU") and not bidirectional and not default:
                cell = layer.cells[0]
                weights = [
                    p.numpy()
                    for p in (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_hh)
                    if p is not None
                ]
                hand = getattr(by_hand, kind)(data, *weights)
                assert_close("by hand", hand.step()[2], cell.weight_hh.grad.numpy(), 1e-3)
                contestants["by hand"] = hand.step
            times = race({"ours": ours, **contestants}, settings.seconds)
            yield result(group, f"{n_steps}, {n}, {n_in}, {size}", times)

    return run


def lengths_row(settings: Settings) -> Iterator[Result]:
    """An LSTM on lengths spread evenly from T/4 to T, against PyTorch's packed sequences."""
    torch = settings.peers.get("torch")
    if torch is None:
        return
    rnn = torch.nn.utils.rnn
    for n_steps, n, n_in, size in sizes(settings)[:1] + [s for s in sizes(settings) if s[1] > 1]:
        data = random(n_steps, n, n_in)
        lengths = np.linspace(n_steps, n_steps // 4, n).astype(int).tolist()
        ours, theirs = twin(torch, "LSTM", n_in, size, False)
        x, their_x = tg.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)

        def packed(their_x: Any = their_x, theirs: Any = theirs, lengths: Any = lengths) -> Any:
            for p in (*theirs.parameters(), their_x):
                p.grad = None
            output, _ = theirs(rnn.pack_padded_sequence(their_x, lengths))
            output, _ = rnn.pad_packed_sequence(output)
            output.sum().backward()
            return output

        step = training_step(ours, x, None, lengths)
        assert_close("lengths", step().numpy(), packed().detach().numpy(), 1e-4)
        assert_close("lengths gradient", x.grad.numpy(), their_x.grad.numpy(), 1e-3)
        times = race({"ours": step, "torch": packed}, settings.seconds)
        yield result("LSTM with lengths", f"{n_steps}, {n}, {n_in}, {size}", times)


# ---------------------------------------------------------------- cells that users write


@tg.pointwise
def users_lstm(gates: Any, c: Any) -> Any:
    i, f, g, o = tg.chunk(gates, 4, axis=-1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


@tg.pointwise
def users_memory(gates: Any, c: Any) -> Any:
    i, f, g, o = tg.chunk(gates, 4, axis=-1)
    return tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g), tg.sigmoid(o)


@tg.pointwise
def users_output(o: Any, c: Any) -> Any:
    return o * tg.tanh(c)


class UsersCell(nn.Cell):
    """The LSTM as somebody writes it for `Recurrent`."""

    def __init__(self, weight_ih: Any, weight_hh: Any, b: Any) -> None:
        super().__init__(weight_ih.shape[0], weight_hh.shape[0])
        self.weight_ih, self.weight_hh, self.bias = (
            nn.Parameter(tg.tensor(w)) for w in (weight_ih, weight_hh, b)
        )

    def initial_state(self, batch_size: int, like: Any) -> Any:
        zeros = like.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros

    def project(self, x: Any) -> Any:
        return x @ self.weight_ih + self.bias

    def step(self, px: Any, state: Any) -> Any:
        return users_lstm(px + state[0] @ self.weight_hh, state[1])


class UsersNormalisedCell(UsersCell):
    """With layer normalisation."""

    def __init__(self, weight_ih: Any, weight_hh: Any, b: Any, gain: Any) -> None:
        super().__init__(weight_ih, weight_hh, b)
        self.weight_norm = nn.Parameter(tg.tensor(gain))

    def project(self, x: Any) -> Any:
        return normalised(x @ self.weight_ih) * self.weight_norm + self.bias

    def step(self, px: Any, state: Any) -> Any:
        gates = px + normalised(state[0] @ self.weight_hh) * self.weight_norm
        c, o = users_memory(gates, state[1])
        return users_output(o, normalised(c)), c


def normalised(x: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:])


def users_row(settings: Settings) -> Iterator[Result]:
    """The plain LSTM in a plain loop, line for line alike everywhere; and under Recurrent."""
    for n_steps, n, n_in, size in sizes(settings):
        data = [
            random(n_steps, n, n_in), random(n_in, 4 * size, scale=0.1), random(size, 4 * size, scale=0.1),
            random(4 * size, scale=0.1), 1 + random(4 * size, scale=0.1),
        ]  # fmt: skip
        row = f"{n_steps}, {n}, {n_in}, {size}"
        leaves = [tg.tensor(a, requires_grad=True) for a in data]

        def plain(leaves: Any = leaves, size: int = size) -> Any:
            return _backward(cells.lstm(tg, tg.sigmoid, *leaves[:4], size), leaves)

        others = {name: _plain_loop(name, module, data, size) for name, module in settings.peers.items()}
        ours = plain()
        for name, run in others.items():
            for a, b in zip(ours[:4], run(), strict=False):
                assert_close(f"plain loop, {name}", a, b, 1e-3)
        yield result("a user's LSTM, plain loop", row, race({"ours": plain, **others}, settings.seconds))
        if "torch" not in settings.peers:
            continue
        layer = nn.Recurrent(UsersCell(*data[1:4]))
        fast = _under_recurrent(layer, leaves[0])
        assert_close("Recurrent", fast()[0], ours[0], 1e-3)
        times = race({"ours": fast, "torch": others["torch"]}, settings.seconds)
        yield result("a user's pointwise cell", row, times)

        torch = settings.peers["torch"]
        theirs = [torch.tensor(a, requires_grad=True) for a in data]

        def slow(torch: Any = torch, theirs: Any = theirs, size: int = size) -> Any:
            def norm(x: Any) -> Any:
                return torch.nn.functional.layer_norm(x, x.shape[-1:])

            return _backward(cells.normalised_lstm(torch, torch.sigmoid, norm, *theirs, size), theirs)

        layer = nn.Recurrent(UsersNormalisedCell(*data[1:]))
        fast = _under_recurrent(layer, leaves[0])
        assert_close("layer-normalised", fast()[0], slow()[0], 1e-2)
        hand = by_hand.NormalisedLSTM(*data).step
        assert_close("layer-normalised by hand", hand()[0], leaves[0].grad.numpy(), 1e-2)
        times = race({"ours": fast, "torch": slow, "by hand": hand}, settings.seconds)
        yield result("a user's layer-normalised LSTM", row, times)


def _backward(loss: Any, leaves: list[Any]) -> list[Any]:
    for leaf in leaves:
        leaf.grad = None
    loss.backward()
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return [g.numpy() if hasattr(g, "numpy") else g for g in grads]


def _under_recurrent(layer: Any, x: Any) -> Callable[[], Any]:
    def run() -> Any:
        for p in (*layer.parameters(), x):
            p.grad = None
        output, _ = layer(x)
        output[-1].sum().backward()
        return [x.grad.numpy()]

    return run


def _plain_loop(name: str, module: Any, data: list[Any], size: int) -> Callable[[], Any]:
    """The plain loop in another library: a function that returns the gradients."""
    if name == "torch":
        leaves = [module.tensor(a, requires_grad=True) for a in data[:4]]
        return lambda: _backward(cells.lstm(module, module.sigmoid, *leaves, size), leaves)
    if name == "mygrad":
        own = [module.tensor(a) for a in data[:4]]

        def with_mygrad() -> Any:
            loss = cells.lstm(module, module.nnet.activations.sigmoid, *own, size)
            loss.backward()
            return [leaf.grad for leaf in own]

        return with_mygrad

    def sigmoid(x: Any) -> Any:
        return 0.5 * (module.numpy.tanh(0.5 * x) + 1)

    if name == "jax":
        gradient = module.grad(lambda *args: cells.lstm_scanned(module, sigmoid, *args, size), (0, 1, 2, 3))
        compiled = module.jit(gradient)  # compiled in the runs that are not timed
        return lambda: [np.asarray(g) for g in compiled(*data[:4])]
    gradient = module.grad(lambda *args: cells.lstm(module.numpy, sigmoid, *args, size), (0, 1, 2, 3))
    return lambda: gradient(*data[:4])


# ---------------------------------------------------------------- the engine, streaming, a whole model


def engine_row(settings: Settings) -> Iterator[Result]:
    """1,000 small multiply-adds, forward and backward; by hand NumPy's calls alone."""
    start, factor = random(8, scale=0.1), np.linspace(-0.9, 0.9, 8, dtype="float32")

    def chain(x: Any, w: Any) -> Any:
        y = x
        for _ in range(1000):
            y = y * w + x
        return y.sum()

    def taped(module: Any) -> Callable[[], Any]:
        leaves = [module.tensor(a, requires_grad=True) for a in (start, factor)]
        return lambda: _backward(chain(*leaves), leaves)

    contestants = {"ours": taped(tg), "by hand": lambda: by_hand.multiply_adds(start, factor, 1000)}
    for name, module in settings.peers.items():
        if name == "torch":
            contestants[name] = taped(module)
        elif name == "mygrad":
            leaves = [module.tensor(a) for a in (start, factor)]

            def with_mygrad(leaves: Any = leaves) -> Any:
                chain(*leaves).backward()
                return [leaf.grad for leaf in leaves]

            contestants[name] = with_mygrad
        elif name == "autograd":
            gradient = module.grad(chain, (0, 1))
            contestants[name] = lambda gradient=gradient: gradient(start, factor)
    ours = contestants["ours"]()
    for name, run in contestants.items():
        assert_close(f"engine, {name}", ours[1], run()[1], 1e-3)
    yield result("engine, per op", "1,000 multiply-adds", race(contestants, settings.seconds))


def streaming_row(settings: Settings) -> Iterator[Result]:
    """Steps at batch 1 without gradients: by an LSTM cell, and by a layer's stream, step by step and in
    blocks of 64 steps, which PyTorch's cell does one by one.
    """
    torch = settings.peers.get("torch")
    if torch is None:
        return

    def stepped(step: Any, x: Any, off: Any, n: int) -> Any:
        with off():
            state = step(x)
            for _ in range(n - 1):
                state = step(x, state)
        return state[0].numpy()

    for sizes in ((64, 128), (32, 32)):
        layer, theirs = nn.LSTM(*sizes), torch.nn.LSTMCell(*sizes)
        cell, place = layer.cells[0], {k: t.detach().numpy() for k, t in theirs.state_dict().items()}
        with tg.no_grad():
            cell.weight_ih.data = tg.tensor(place["weight_ih"].T.copy())
            cell.weight_hh.data = tg.tensor(place["weight_hh"].T.copy())
            cell.bias.data = tg.tensor(place["bias_ih"] + place["bias_hh"])
        stream, data = layer.stream(), random(1, sizes[0])
        x, their_x, block = tg.tensor(data), torch.tensor(data), np.repeat(data[None], 64, 0)

        def streamed(blocks: bool, stream: Any = stream, data: Any = data, block: Any = block) -> Any:
            stream.reset()
            if blocks:
                return stream(block)[-1].copy()
            for _ in range(64):
                y = stream(data)
            return y.copy()

        def by_torch(step: Any = theirs, x: Any = their_x) -> Any:
            return stepped(step, x, torch.no_grad, 64)

        ways = {
            "streaming": lambda cell=cell, x=x: stepped(cell, x, tg.no_grad, 64),
            "a stream, step by step": lambda streamed=streamed: streamed(False),
            "a stream, in blocks": lambda streamed=streamed: streamed(True),
        }
        for name, ours in ways.items():
            assert_close(name, ours(), by_torch(), 1e-4)
            contestants = {"ours": ours, "torch": by_torch}
            yield result(name, f"64 steps, {sizes}", race(contestants, settings.seconds))


def model_row(settings: Settings) -> Iterator[Result]:
    """A whole step of a language model: embedding, two layers of LSTM 256, softmax over 104, clip, Adam. The
    products alone are those of the LSTMs.
    """
    torch = settings.peers.get("torch")
    if torch is None:
        return
    n, n_steps, size = (2, 8, 16) if settings.quick else (32, 64, 256)
    tokens = np.random.default_rng(0).integers(0, 104, (n_steps + 1, n))

    def trainer(lib: Any, layers: Any, functional: Any, optimisers: Any) -> tuple[Any, Any]:
        embed, rnn, out = layers.Embedding(104, 64), layers.LSTM(64, size, 2), layers.Linear(size, 104)
        parts = [embed, rnn, out]
        parameters = [p for part in parts for p in part.parameters()]
        optimizer = optimisers.Adam(parameters, lr=3e-3)
        data = lib.tensor(tokens)

        def step() -> Any:
            output, _ = rnn(embed(data[:-1]))
            logits = out(output).reshape(-1, 104)
            loss = functional.cross_entropy(logits, data[1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            layers.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            return loss.item()

        return step, parts

    step, parts = trainer(tg, nn, F, optim)
    their_step, their_parts = trainer(torch, torch.nn, torch.nn.functional, torch.optim)
    for ours, theirs in zip(parts, their_parts, strict=True):
        tg.io.load_torch(ours, theirs.state_dict())
    for k in range(3):
        # From the second step on the two biases of PyTorch each learn, and ours is one: alike, not equal.
        assert_close(f"language model, step {k}", step(), their_step(), 1e-4 if k == 0 else 3e-2)
    products = [by_hand.Products(n_steps, n, n_in, size, 4) for n_in in (64, size)]
    contestants = {"ours": step, "torch": their_step, "products": lambda: [p.step() for p in products]}
    times = race(contestants, settings.seconds)
    yield result("language model", f"{n_steps}, {n}, {size}", times)


# ---------------------------------------------------------------- memory, length, import


def memory_row(settings: Settings) -> Iterator[Result]:
    """The peak of a training step's memory, in processes of their own."""
    n_steps, n, size = (50, 4, 16) if settings.quick else (1000, 32, 128)
    program = """
import {module} as lib
x = lib.ones({t}, {n}, {h}).requires_grad_()
layer = lib.nn.LSTM({h}, {h}{options})
def step(): layer(x)[0].sum().backward()
"""
    sizes_ = {"t": n_steps, "n": n, "h": size}
    ours = peak_memory(program.format(module="tinygrad_rnn", options="", **sizes_))
    others = {}
    if "torch" in settings.peers:
        others["torch"] = peak_memory(program.format(module="torch", options="", **sizes_))
    ratios = {name: (ours / m,) * 3 for name, m in others.items() if m > 0}
    yield Result("peak memory", f"{n_steps}, {n}, {size}, {size}", ours, others, ratios, "MiB")
    every = ", checkpoint_every=32"
    less = peak_memory(program.format(module="tinygrad_rnn", options=every, **sizes_))
    ratios = {"without": (less / ours,) * 3} if ours > 0 else {}
    row = f"{n_steps}, {n}, {size}, {size}"
    yield Result("peak memory" + every, row, less, {"without": ours}, ratios, "MiB")


def length_row(settings: Settings) -> Iterator[Result]:
    """Time for sequences ten times as long."""
    layer = nn.LSTM(32, 32)
    before = None
    for n_steps in (20, 200) if settings.quick else (100, 1000, 10000):
        x = tg.tensor(random(n_steps, 4, 32), requires_grad=True)
        times = race({"ours": training_step(layer, x)}, settings.seconds)
        ratios = {} if before is None else {"a tenth": (times.median("ours") / before,) * 3}
        before = times.median("ours")
        yield Result("length", f"T = {n_steps:,}, (4, 32, 32)", before * 1e3, {}, ratios)


def import_row(settings: Settings) -> Iterator[Result]:
    """Importing, as a whole process."""
    programs = {"ours": "import tinygrad_rnn", "numpy": "import numpy"}
    if "torch" in settings.peers:
        programs["torch"] = "import torch"
    yield result("import", "whole process", race_processes(programs, 3 if settings.quick else 11))


ROWS: dict[str, Row] = {
    "lstm": layer_row("LSTM"),
    "gru": layer_row("GRU"),
    "default-gru": layer_row("GRU", default=True),
    "rnn": layer_row("RNN"),
    "bidirectional": layer_row("LSTM", bidirectional=True),
    "lengths": lengths_row,
    "users": users_row,
    "engine": engine_row,
    "streaming": streaming_row,
    "model": model_row,
    "memory": memory_row,
    "length": length_row,
    "import": import_row,
}
