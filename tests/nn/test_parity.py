"""Layers, losses and helpers against PyTorch: values and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tests.extras import extra
from tinygrad_rnn import nn

torch = extra("torch")
pytestmark = pytest.mark.extras("torch")
TF = torch.nn.functional
REDUCTIONS = ("mean", "sum", "none")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def both(array, grad=True):
    """The array in both libraries; floating ones require a gradient."""
    grad = grad and array.dtype.kind == "f"
    return tg.tensor(array, requires_grad=grad), torch.tensor(array, requires_grad=grad)


def agree(ours, theirs, *leaves, tolerance=1e-10):
    """Values, and the gradients of a weighted sum of them in the pairs of leaves."""
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)
    weights = np.linspace(0.5, 1.5, math.prod(ours.shape)).reshape(ours.shape)
    (ours * tg.tensor(weights)).sum().backward()
    (theirs * torch.tensor(weights)).sum().backward()
    for x, y in leaves:
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=tolerance, atol=tolerance)


ACTIVATIONS = {
    "relu": lambda f, x: f.relu(x),
    "tanh": lambda f, x: f.tanh(x),
    "sigmoid": lambda f, x: f.sigmoid(x),
    "softmax": lambda f, x: f.softmax(x, dim=1),
    "softmax positional": lambda f, x: f.softmax(x, 0),
    "log_softmax": lambda f, x: f.log_softmax(x, dim=-1),
    "gelu": lambda f, x: f.gelu(x),
    "gelu tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "leaky_relu": lambda f, x: f.leaky_relu(x, 0.2),
    "leaky_relu default": lambda f, x: f.leaky_relu(x),
    "elu": lambda f, x: f.elu(x, 0.7),
    "softplus": lambda f, x: f.softplus(x),
    "softplus beta": lambda f, x: f.softplus(x, 2.0),
    "layer_norm": lambda f, x: f.layer_norm(x, (4,)),
    "layer_norm two axes": lambda f, x: f.layer_norm(x, (3, 4), eps=1e-3),
    "normalize": lambda f, x: f.normalize(x),
    "normalize p": lambda f, x: f.normalize(x, 1.0, -1),
    "normalize dim": lambda f, x: f.normalize(x, p=2.0, dim=0),
    "pad": lambda f, x: f.pad(x, (1, 2)),
    "pad two axes": lambda f, x: f.pad(x, (1, 0, 2, 1), value=3.0),
    "pad negative": lambda f, x: f.pad(x, (-1, 2, 1, -2), "constant", 5.0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_of_one_tensor(name):
    x, y = both(drawn(3, 4) * 2)
    agree(ACTIVATIONS[name](F, x), ACTIVATIONS[name](TF, y), (x, y))


MODULES = {
    "Tanh": lambda n: n.Tanh(),
    "Sigmoid": lambda n: n.Sigmoid(),
    "ReLU": lambda n: n.ReLU(inplace=False),
    "LeakyReLU": lambda n: n.LeakyReLU(0.3),
    "ELU": lambda n: n.ELU(0.5),
    "GELU": lambda n: n.GELU(),
    "Softplus": lambda n: n.Softplus(3),
    "Softmax": lambda n: n.Softmax(dim=0),
    "LogSoftmax": lambda n: n.LogSoftmax(dim=-1),
    "Flatten": lambda n: n.Flatten(),
    "Identity": lambda n: n.Identity(54, anything=True),
    "LayerNorm": lambda n: n.LayerNorm(4).double(),
    "LayerNorm two axes": lambda n: n.LayerNorm([3, 4], eps=0.1).double(),
    "LayerNorm plain": lambda n: n.LayerNorm(4, elementwise_affine=False),
    "LayerNorm without bias": lambda n: n.LayerNorm(4, bias=False).double(),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_one_tensor(name):
    x, y = both(drawn(2, 3, 4))
    ours, theirs = MODULES[name](nn), MODULES[name](torch.nn)
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    agree(ours(x), theirs(y), (x, y), *pairs)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    ours, theirs = nn.Linear(3, 4, bias).double(), torch.nn.Linear(3, 4, bias).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, y = both(drawn(*shape))
    agree(ours(x), theirs(y), (x, y), *zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_embedding(padding_idx):
    ours, theirs = nn.Embedding(5, 3, padding_idx).double(), torch.nn.Embedding(5, 3, padding_idx).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, y = both(np.array([[0, 4, 4], [1, 0, 2]]))
    agree(ours(x), theirs(y), (ours.weight, theirs.weight))
    assert ours.padding_idx == theirs.padding_idx


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "name", ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss", "BCELoss"]
)
def test_losses_per_element(name, reduction):
    values, target = drawn(4, 3) * 2, np.random.default_rng(1).random((4, 3))
    if name == "BCELoss":
        values = 1 / (1 + np.exp(-values))
    x, y = both(values)
    t, u = both(target)
    ours, theirs = (getattr(n, name)(reduction=reduction) for n in (nn, torch.nn))
    agree(ours(x, t), theirs(y, u), (x, y), (t, u))


def test_losses_per_element_with_settings():
    x, y = both(drawn(4, 3) * 2)
    t, u = both(np.random.default_rng(1).random((4, 3)), grad=False)
    w, v = both(np.random.default_rng(2).random((4, 3)), grad=False)
    for make in (
        lambda n, a: n.SmoothL1Loss(beta=0.3),
        lambda n, a: n.SmoothL1Loss(beta=0.0),
        lambda n, a: n.HuberLoss("sum", 0.4),
        lambda n, a: n.BCEWithLogitsLoss(a, pos_weight=a[0] + 1),
    ):
        x.grad = y.grad = None
        agree(make(nn, w)(x, t), make(torch.nn, v)(y, u), (x, y))
    probabilities, others = both(1 / (1 + np.exp(-drawn(4, 3))))
    agree(nn.BCELoss(w)(probabilities, t), torch.nn.BCELoss(v)(others, u), (probabilities, others))


def test_bce_at_the_ends():
    x, y = both(np.array([0.0, 1.0, 0.0, 1.0]))
    t, u = both(np.array([0.0, 1.0, 1.0, 0.0]), grad=False)
    assert F.binary_cross_entropy(x, t).item() == TF.binary_cross_entropy(y, u).item() == 50.0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(5, 4), (4,), (5, 4, 3)])
def test_cross_entropy(shape, smoothing, weighted, reduction):
    rng = np.random.default_rng(0)
    target = rng.integers(
        0, 4, (*shape[:-1],) if len(shape) == 2 else shape[:1] + shape[2:] if len(shape) > 2 else ()
    )
    if target.ndim:
        target.flat[1] = -100
    weight = rng.random(4) if weighted else None
    settings = {"reduction": reduction, "label_smoothing": smoothing}
    x, y = both(drawn(*shape))
    t, u = both(target)
    w, v = (None, None) if weight is None else both(weight, grad=False)
    agree(
        nn.CrossEntropyLoss(w, **settings)(x, t),
        torch.nn.CrossEntropyLoss(v, **settings)(y, u),
        (x, y),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(weighted, reduction):
    target = np.random.default_rng(0).dirichlet(np.ones(4), 5)
    x, y = both(drawn(5, 4))
    t, u = both(target)
    w, v = both(np.array([0.5, 1, 2, 3.0]), grad=False) if weighted else (None, None)
    settings = {"reduction": reduction, "label_smoothing": 0.1}
    ours, theirs = F.cross_entropy(x, t, w, **settings), TF.cross_entropy(y, u, v, **settings)
    agree(ours, theirs, (x, y), (t, u))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(reduction):
    x, y = both(drawn(5, 4))
    t, u = both(np.array([0, 3, 2, 2, 1]))
    settings = {"reduction": reduction, "ignore_index": 2}
    ours = nn.NLLLoss(**settings)(F.log_softmax(x, dim=1), t)
    agree(ours, torch.nn.NLLLoss(**settings)(TF.log_softmax(y, dim=1), u), (x, y))


def test_all_targets_ignored_gives_nan():
    x, y = both(drawn(2, 3))
    t, u = both(np.array([-100, -100]))
    assert math.isnan(F.cross_entropy(x, t).item())
    assert math.isnan(TF.cross_entropy(y, u).item())
    assert float(F.cross_entropy(x, t, reduction="sum")) == 0


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_similarity(dim):
    (a, c), (b, d) = both(drawn(3, 4)), both(drawn(3, 4, seed=1))
    agree(F.cosine_similarity(a, b, dim), TF.cosine_similarity(c, d, dim), (a, c), (b, d))


def test_one_hot():
    t, u = both(np.array([[0, 2], [1, 1]]))
    for settings in ({}, {"num_classes": 5}):
        np.testing.assert_array_equal(F.one_hot(t, **settings).numpy(), TF.one_hot(u, **settings).numpy())


GAINS = ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"]


@pytest.mark.parametrize("name", GAINS)
def test_calculate_gain(name):
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3)
    )


FILLS = {
    "uniform_": lambda i, w: i.uniform_(w, -2, 1),
    "normal_": lambda i, w: i.normal_(w, 1.0, 2.0),
    "xavier_uniform_": lambda i, w: i.xavier_uniform_(w, gain=2.0),
    "xavier_normal_": lambda i, w: i.xavier_normal_(w),
    "kaiming_uniform_": lambda i, w: i.kaiming_uniform_(w, a=5**0.5),
    "kaiming_uniform_ relu": lambda i, w: i.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal_": lambda i, w: i.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal_": lambda i, w: i.orthogonal_(w, 2.0),
}


@pytest.mark.parametrize("name", FILLS)
def test_starting_values_have_the_same_mean_and_spread(name):
    torch.manual_seed(0)
    tg.manual_seed(0)
    ours, theirs = tg.empty(60, 90, 2), torch.empty(60, 90, 2)
    FILLS[name](nn.init, ours)
    FILLS[name](torch.nn.init, theirs)
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=0.06)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.05)
    assert float(ours.max()) == pytest.approx(float(theirs.max()), rel=0.3)


@pytest.mark.parametrize("norm_type", [2.0, 1, 3, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clip_grad_norm(norm_type, max_norm):
    ours, theirs = [], []
    for k, shape in enumerate([(3, 4), (5,), ()]):
        x, y = both(drawn(*shape, seed=k))
        x.grad, y.grad = (tg.tensor(drawn(*shape, seed=k)), torch.tensor(drawn(*shape, seed=k)))
        ours.append(x)
        theirs.append(y)
    a = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert float(a) == pytest.approx(float(b), rel=1e-12)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_pad_sequence(batch_first, side):
    pairs = [both(drawn(n, 2, seed=n)) for n in (2, 4, 1)]
    settings = {"batch_first": batch_first, "padding_value": -1.5, "padding_side": side}
    ours = nn.utils.rnn.pad_sequence([x for x, _ in pairs], **settings)
    agree(ours, torch.nn.utils.rnn.pad_sequence([y for _, y in pairs], **settings), *pairs)


@pytest.mark.parametrize("lengths", [[4, 2, 1], [4, 4, 2], [3, 3, 3]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_in_order(lengths, batch_first):
    x, y = both(drawn(3, 4, 2) if batch_first else drawn(4, 3, 2))
    ours = nn.utils.rnn.pack_padded_sequence(x, tg.tensor(lengths), batch_first)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(y, torch.tensor(lengths), batch_first)
    assert ours.sorted_indices is ours.unsorted_indices is theirs.sorted_indices is None
    check_packed(ours, theirs, batch_first, (x, y))


@pytest.mark.parametrize("lengths", [[1, 4, 2], [2, 3, 1]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_in_any_order(lengths, batch_first):
    x, y = both(drawn(3, 4, 2) if batch_first else drawn(4, 3, 2))
    ours = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(y, lengths, batch_first, enforce_sorted=False)
    assert ours.sorted_indices.tolist() == theirs.sorted_indices.tolist()
    assert ours.unsorted_indices.tolist() == theirs.unsorted_indices.tolist()
    check_packed(ours, theirs, batch_first, (x, y))


def check_packed(ours, theirs, batch_first, leaf):
    assert ours.batch_sizes.tolist() == theirs.batch_sizes.tolist()
    np.testing.assert_array_equal(ours.data.detach().numpy(), theirs.data.detach().numpy())
    settings = {"batch_first": batch_first, "padding_value": 7.0, "total_length": 6}
    a, n = nn.utils.rnn.pad_packed_sequence(ours, **settings)
    b, m = torch.nn.utils.rnn.pad_packed_sequence(theirs, **settings)
    assert n.tolist() == m.tolist()
    assert n.dtype == "int64"
    agree(a, b, leaf)


def test_a_packed_sequence_through_an_lstm():
    ours, theirs = nn.LSTM(2, 3).double(), torch.nn.LSTM(2, 3).double()
    tg.io.load_torch(ours, theirs.state_dict()) if hasattr(tg, "io") else _load(ours, theirs)
    x, y = both(drawn(4, 3, 2))
    lengths = [2, 4, 1]
    out, (h, c) = ours(nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
    other, (h2, c2) = theirs(torch.nn.utils.rnn.pack_padded_sequence(y, lengths, enforce_sorted=False))
    np.testing.assert_allclose(h.detach().numpy(), h2.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(c.detach().numpy(), c2.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(out.data.detach().numpy(), other.data.detach().numpy(), atol=1e-12)
    a, _ = nn.utils.rnn.pad_packed_sequence(out)
    b, _ = torch.nn.utils.rnn.pad_packed_sequence(other)
    agree(a, b, (x, y))


def _load(ours, theirs):
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    cell = ours.cells[0]
    cell.w_x.data.copy_(state["weight_ih_l0"].T)
    cell.w_h.data.copy_(state["weight_hh_l0"].T)
    cell.b.data.copy_(state["bias_ih_l0"] + state["bias_hh_l0"])


def test_parameters_as_a_vector():
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    vector = torch.nn.utils.parameters_to_vector(theirs.parameters())
    nn.utils.vector_to_parameters(tg.tensor(vector.detach().numpy()), ours.parameters())
    np.testing.assert_array_equal(ours.weight.detach().numpy(), theirs.weight.detach().numpy())
    np.testing.assert_array_equal(
        nn.utils.parameters_to_vector(ours.parameters()).detach().numpy(), vector.detach().numpy()
    )
