"""The same program on another array library: no waiting, the same numbers, and files that either can read."""

import inspect
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.support import strict
from tinygrad_rnn import Tensor, nn, optim
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.wrappers import Wrapper

pytestmark = pytest.mark.host  # brings its own backends


def floats(*shape):
    return tg.randn(*shape)


def classes(high, *shape):
    return tg.randint(0, high, shape)


def summed(value):
    """A number from whatever a layer returns, in which every tensor of it counts."""
    if isinstance(value, Tensor):
        return (value * value).sum() if value.is_floating_point() else 0.0
    return sum(summed(part) for part in value if part is not None)


# How a layer is made, and what it is called with. Cells and recurrent layers need no row.
LAYERS = {
    **{n: (getattr(nn, n), lambda: [floats(2, 3)]) for n in (
        "ELU", "GELU", "LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Softplus", "Tanh", "Dropout",
        "Flatten", "Identity", "CELU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh",
        "LogSigmoid", "Mish", "PReLU", "ReLU6", "SiLU", "Softmin", "Softshrink", "Softsign", "Tanhshrink")},
    **{n: (getattr(nn, n), lambda: [floats(2, 3, 4)]) for n in ("GLU", "Dropout1d", "Dropout2d")},
    **{n: (getattr(nn, n), lambda: [floats(2, 3), floats(2, 3)]) for n in (
        "CosineSimilarity", "PairwiseDistance", "SoftMarginLoss", "HingeEmbeddingLoss", "PoissonNLLLoss",
        "MultiLabelSoftMarginLoss")},
    "Threshold": (lambda: nn.Threshold(0.1, 2.0), lambda: [floats(2, 3)]),
    "Bilinear": (lambda: nn.Bilinear(3, 2, 4), lambda: [floats(5, 3), floats(5, 2)]),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), lambda: [floats(4, 3)]),
    "RMSNorm": (lambda: nn.RMSNorm(3), lambda: [floats(2, 3)]),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), lambda: [floats(2, 4)]),
    "DataParallel": (lambda: nn.DataParallel(nn.Linear(3, 2)), lambda: [floats(2, 3)]),
    "KLDivLoss": (nn.KLDivLoss, lambda: [floats(2, 3), tg.rand(2, 3)]),
    "GaussianNLLLoss": (nn.GaussianNLLLoss, lambda: [floats(2, 3), floats(2, 3), tg.rand(2, 3)]),
    "CosineEmbeddingLoss": (
        nn.CosineEmbeddingLoss, lambda: [floats(2, 3), floats(2, 3), classes(2, 2) * 2 - 1]
    ),
    "MarginRankingLoss": (nn.MarginRankingLoss, lambda: [floats(2), floats(2), classes(2, 2) * 2 - 1]),
    "TripletMarginLoss": (nn.TripletMarginLoss, lambda: [floats(2, 3), floats(2, 3), floats(2, 3)]),
    **{n: (getattr(nn, n), lambda: [floats(2, 3), tg.rand(2, 3)]) for n in (
        "HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss", "BCEWithLogitsLoss")},
    "BCELoss": (nn.BCELoss, lambda: [tg.rand(2, 3), tg.rand(2, 3)]),
    "CrossEntropyLoss": (
        lambda: nn.CrossEntropyLoss(tg.rand(4), label_smoothing=0.1, ignore_index=0),
        lambda: [floats(5, 4), classes(4, 5)],
    ),
    "CTCLoss": (
        nn.CTCLoss, lambda: [F.log_softmax(floats(6, 2, 4), -1), classes(3, 2, 2) + 1, [6, 5], [2, 1]]
    ),
    "NLLLoss": (lambda: nn.NLLLoss(tg.rand(4)), lambda: [floats(5, 4, 2), classes(4, 5, 2)]),
    "Linear": (lambda: nn.Linear(3, 2), lambda: [floats(4, 2, 3)]),
    "Embedding": (lambda: nn.Embedding(5, 3, padding_idx=0), lambda: [classes(5, 4, 2)]),
    "LayerNorm": (lambda: nn.LayerNorm(3), lambda: [floats(2, 3)]),
    "Attention": (lambda: nn.Attention(3, 4), lambda: [floats(2, 3), floats(5, 2, 4), None, [5, 2]]),
    "AttentionDecoder": (
        lambda: nn.AttentionDecoder(
            nn.Embedding(5, 2), nn.GRUCell(6, 3), nn.Attention(3, 4), nn.Linear(7, 5)
        ),
        lambda: [classes(5, 3, 2), floats(4, 2, 4), None, [4, 2], 0.5],
    ),
    "AttentionPool": (lambda: nn.AttentionPool(3), lambda: [floats(4, 2, 3), [4, 1]]),
    "LastPool": (nn.LastPool, lambda: [floats(4, 2, 3), [4, 1]]),
    "MaxPool": (nn.MaxPool, lambda: [floats(4, 2, 3), [4, 1]]),
    "MeanPool": (nn.MeanPool, lambda: [floats(4, 2, 3), [4, 1]]),
    "Bidirectional": (lambda: nn.Bidirectional(nn.LSTM(3, 2)), lambda: [floats(4, 2, 3), None, [2, 4]]),
    "Sequential": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh()), lambda: [floats(2, 3)]),
}  # fmt: skip
# Containers and bases, which compute nothing of their own.
NOTHING_OF_THEIR_OWN = {
    "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Cell", "RNNCellBase",
    "Recurrent", "RNNBase", "Wrapper",
}  # fmt: skip


def layers():
    for name, kind in vars(nn).items():
        if not inspect.isclass(kind) or not issubclass(kind, nn.Module) or name in NOTHING_OF_THEIR_OWN:
            continue
        if name in LAYERS:
            yield name, *LAYERS[name]
        elif issubclass(kind, Wrapper):
            yield (
                name,
                lambda kind=kind: nn.Recurrent(kind(nn.LSTMCell(3, 2), 0.3)),
                lambda: [floats(5, 2, 3), None, [5, 2]],
            )
        elif issubclass(kind, nn.Cell):
            yield name, lambda kind=kind: nn.Recurrent(kind(3, 2)), lambda: [floats(5, 2, 3), None, [5, 2]]
        elif issubclass(kind, nn.Recurrent):
            yield (
                name,
                lambda kind=kind: kind(3, 2, num_layers=2, bidirectional=True, dropout=0.3),
                lambda: [floats(5, 2, 3)],
            )
        else:
            yield name, None, None


def sequence(lengths=None):
    return lambda: [floats(5, 2, 3), None, lengths]


# What options make of recurrent layers.
OPTIONS = {
    "LSTM of several lengths": (lambda: nn.LSTM(3, 2, 2, bidirectional=True), sequence([5, 2])),
    "LSTM, checkpointed": (lambda: nn.LSTM(3, 2, 2, checkpoint_every=2, dropout=0.3), sequence()),
    "GRU, checkpointed, lengths": (lambda: nn.GRU(3, 2, checkpoint_every=2), sequence([5, 2])),
    "LSTM, projected": (lambda: nn.LSTM(3, 4, proj_size=2, learn_initial_state=True), sequence()),
    "GRU, reset after": (lambda: nn.GRU(3, 2, reset_after=True, init="torch"), sequence([2, 5])),
    "RNN, relu, batch first": (lambda: nn.RNN(3, 2, nonlinearity="relu", batch_first=True), sequence()),
    "Bidirectional, merged": (lambda: nn.Bidirectional(nn.GRU(3, 2), merge="mean"), sequence([2, 5])),
}
EVERY_LAYER = [*layers(), *((name, *row) for name, row in OPTIONS.items())]


class Training:
    """A layer, something before it that learns, and a step of training both."""

    def __init__(self, make, arguments):
        tg.manual_seed(0)
        self.layer = make()
        self.arguments = arguments()
        self.parameters = [tg.ones(1, requires_grad=True), *self.layer.parameters()]
        self.optimiser = optim.Adam(self.parameters, lr=0.01)

    def step(self, arguments):
        self.optimiser.zero_grad()
        learned = [
            x * self.parameters[0] if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in arguments
        ]
        if isinstance(self.layer, nn.BCELoss):
            learned[0] = tg.sigmoid(learned[0])
        loss = summed(self.layer(*learned))
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        nn.utils.clip_grad_value_(self.parameters, 0.5)
        self.optimiser.step()
        return loss

    def values(self):
        return [p.numpy() for p in self.parameters]


@pytest.mark.parametrize(("name", "make", "arguments"), EVERY_LAYER, ids=[row[0] for row in EVERY_LAYER])
def test_no_layer_waits_and_every_one_goes_into_a_graph(name, make, arguments):
    """Forward, backward, clipping, step: without a look at a value, and replayed bit for bit."""
    assert make is not None, f"nn.{name} is new: give it a row in LAYERS"
    found = {}
    for how in ("numpy", "strict", "graph"):
        with tg.use("numpy" if how == "numpy" else "strict"), warnings.catch_warnings():
            warnings.simplefilter("error")  # a step that cannot be captured warns
            training = Training(make, arguments)
            step = tg.cuda.graphed(training.step) if how == "graph" else training.step
            losses = []
            for _ in range(4):
                with strict.no_waits():
                    losses.append(step(training.arguments))
            found[how] = [x.numpy() for x in losses], training.values()
    for here, there in zip(found["strict"], found["graph"], strict=True):
        for a, b in zip(here, there, strict=True):
            np.testing.assert_array_equal(a, b)
    for here, there in zip(found["numpy"], found["strict"], strict=True):
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n, k in vars(optim).items() if inspect.isclass(k)])
def test_no_optimiser_waits(name):
    kind = getattr(optim, name)
    if name in ("Optimizer", "LBFGS"):  # the base, and one that decides by values how far it goes
        return
    with tg.use("strict"):
        p = tg.ones(3, requires_grad=True)
        optimiser = kind([p], lr=0.1)
        for _ in range(3):
            with strict.no_waits():
                optimiser.zero_grad()
                (p * p).sum().backward()
                optimiser.step()
        assert p.tolist() != [1.0] * 3


# ---------------------------------------------------------------- the same numbers, and files


def model():
    tg.manual_seed(7)
    return nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 4, num_layers=2), nn.LayerNorm(4))


def check_same_start(*names):
    found = {}
    for name in names:
        with tg.use(name):
            weights = [p.numpy() for p in model().parameters()]
            data = tg.data.TensorDataset(tg.arange(10), tg.arange(10) * 2)
            loader = tg.data.DataLoader(data, batch_size=3, shuffle=True)
            batches = [x.tolist() for batch in loader for x in batch]
            dropped = F.dropout(tg.ones(20), 0.5).tolist()
            found[name] = weights, batches, dropped, [tg.randn(3).tolist(), tg.randperm(5).tolist()]
    one, other = found.values()
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1:] == other[1:]


def test_one_seed_gives_the_same_start_and_batches_everywhere():
    check_same_start("numpy", "strict")


@pytest.mark.parametrize("there", ["numpy", "strict"])
def test_checkpoints_go_from_one_to_the_other(tmp_path, there):
    """Written on one, read on the other: model, optimiser in the midst of its steps, and random numbers."""
    check_checkpoints(tmp_path, "strict" if there == "numpy" else "numpy", there)


def check_checkpoints(tmp_path, here, there):
    def trained(steps, net, optimiser):
        for _ in range(steps):
            optimiser.zero_grad()
            output, _ = net[1](net[0](tg.randint(0, 5, (4, 2))))
            (F.dropout(net[2](output), 0.3) ** 2).sum().backward()
            optimiser.step()
        return [p.numpy() for p in net.parameters()]

    with tg.use(here):
        net = model()
        optimiser = optim.Adam(net.parameters(), lr=0.01)
        trained(3, net, optimiser)
        saved = {
            "model": net.state_dict(), "optimiser": optimiser.state_dict(), "rng": tg.get_rng_state()
        }  # fmt: skip
        tg.save(saved, tmp_path / "checkpoint.npz")
        written = [p.numpy().copy() for p in net.parameters()]
        expected = trained(3, net, optimiser)
    with tg.use(there):
        read = tg.load(tmp_path / "checkpoint.npz")
        net = model()
        optimiser = optim.Adam(net.parameters(), lr=0.01)
        net.load_state_dict(read["model"])
        optimiser.load_state_dict(read["optimiser"])
        tg.set_rng_state(read["rng"])
        assert all(p.device == tg.ones(1).device for p in net.parameters())
        for p, before in zip(net.parameters(), written, strict=True):
            np.testing.assert_array_equal(p.numpy(), before)
        found = trained(3, net, optimiser)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- what goes wrong, in a sentence


def test_without_a_gpu_or_cupy(monkeypatch):
    if tg.cuda.is_available():
        pytest.skip("there is a GPU")
    for call in (lambda: tg.use("cuda"), lambda: tg.ones(2).to("cupy"), lambda: nn.Linear(2, 2).to("cuda"),
                 lambda: tg.ones(2, device="cuda")):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"the cupy backend (finds no CUDA GPU|needs CuPy)"):
            call()
        assert tg.ones(2).tolist() == [1.0, 1.0]
        assert tg.ones(2).device == "cpu"


MIXED = [
    (lambda x, y: x + y, "add: argument 2 is on numpy, the others are on strict; move one of them with .to"),
    (lambda x, y: y @ x, "matmul: argument 2 is on strict"),
    (lambda x, y: tg.concat([x, y]), "concat: argument 2 is on numpy"),
    (lambda x, y: F.mse_loss(x, y), "is on numpy"),
    (lambda x, y: nn.Linear(2, 2, device="cpu")(x), "is on numpy"),
    (lambda x, y: tg.where(x > 0, x, y), "is on numpy"),
]


@pytest.mark.parametrize(("call", "sentence"), MIXED)
def test_mixed_devices(call, sentence):
    with tg.use("strict"):
        x, y = tg.ones(2, 2), tg.ones(2, 2, device="cpu")
        with pytest.raises(TypeError, match=sentence):
            call(x, y)
        assert (x + y.to(x.device)).tolist() == [[2.0, 2.0]] * 2


@pytest.fixture
def full(monkeypatch):
    """full("exp", 2): the memory is enough for what two more calls of this function give."""

    def set_limit(name, left=0):
        works = getattr(strict.module, name)

        def limited(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise MemoryError("Out of memory allocating 12 bytes (allocated so far: 0 bytes).")
            return works(*args, **kwargs)

        monkeypatch.setattr(strict.module, name, limited, raising=False)

    return set_limit


def test_out_of_memory_names_the_op_and_leaves_things_usable(full, monkeypatch):
    with tg.use("strict"):
        x = tg.ones(3, requires_grad=True)
        full("exp")
        with pytest.raises(MemoryError, match=r"^exp: got float32 \(3,\): Out of memory .*smaller batch"):
            tg.exp(x)
        monkeypatch.undo()
        tg.exp(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), np.e, rtol=1e-6)


def test_out_of_memory_in_a_layer_a_fused_function_and_a_gradient(full, monkeypatch):
    with tg.use("strict"):
        layer, x = nn.LSTM(3, 4), tg.randn(6, 2, 3)
        gates, c = tg.randn(2, 16), tg.randn(2, 4)
        expected = layer(x)[0].tolist()
        full("empty", 5)
        with pytest.raises(MemoryError, match=r"^LSTM, layer 0: got float32 \(12, 3\): Out of memory"):
            layer(x)
        with pytest.raises(MemoryError, match=r"^lstm: got float32 \(2, 16\) and float32 \(2, 4\): Out of"):
            nn.cells.lstm(gates, c)
        monkeypatch.undo()
        assert layer(x)[0].tolist() == expected
        y = tg.matmul(x.reshape(12, 3), (w := tg.ones(3, 2, requires_grad=True)) * 1.0)
        full("matmul")
        with pytest.raises(MemoryError, match=r"^matmul: got float32 \(2, 16\) and .*smaller batch"):
            tg.matmul(gates, gates.T)
        with pytest.raises(MemoryError, match=r"^backward: got float32 \(\): Out of memory"):
            y.sum().backward()
        monkeypatch.undo()
        assert w.grad is None
        (x.reshape(12, 3) @ w).sum().backward()
        np.testing.assert_allclose(w.grad.numpy()[:, 0], x.sum((0, 1)).numpy(), rtol=1e-4)
