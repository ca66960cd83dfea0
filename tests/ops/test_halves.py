"""float16: what is added up is added up in float32 and rounded once, forward and backward, and nothing on
the way to a result leaves the range of float16 where the result is inside it.
"""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F = nn.functional
MANY = 70_000  # more than float16 can count


def half(values):
    return tg.tensor(np.asarray(values, "float16"))


def full(value, n=5000):
    return half(np.full(n, value))


ROUGH = np.round(np.random.default_rng(0).uniform(-3, 3, 6000) * 64) / 64
ZEROS, ONES = np.zeros(5000), np.ones(5000)

# name: the function, and its arguments
REDUCTIONS = {
    "sum": (lambda x: x.sum() * 0.01, full(0.1)),
    "sum along": (lambda x: x.reshape(5000, 1).sum(0) * 0.01, full(0.1)),
    "mean": (lambda x: x.mean(), full(300.0)),
    "var": (lambda x: x.var(), half([300.0, -100.0, 1.0, 2.0, 3.0, 4.0])),
    "std": (lambda x: x.std(), half([300.0, -300.0] * 2000)),
    "std along": (lambda x: x.reshape(2, -1).std(1).sum(), half(ROUGH * 100)),
    "norm": (lambda x: x.norm(), full(16.0, 4096)),
    "norm of order 1": (lambda x: tg.norm(x, 1) * 0.1, full(16.0, 4000)),
    "norm of order 3": (lambda x: tg.norm(x, 3), full(100.0)),
    "cumsum": (lambda x: tg.cumsum(x, 0).mean(), full(0.1)),
    "prod": (lambda x: x.prod(), half([1e4, 1e4, 1e-4, 1e-4])),
    "prod of several axes": (lambda x: x.reshape(2, 2).prod(), half([1e4, 1e4, 1e-4, 1e-4])),
    "logsumexp": (lambda x: tg.logsumexp(x, 0), full(1.0, MANY)),
    "softmax": (lambda x: tg.softmax(x, 0)[:9].sum() * 1000, full(1.0, MANY)),
    "log_softmax": (lambda x: tg.log_softmax(x, 0)[:9].sum(), full(1.0, MANY)),
    "amax": (lambda x: x.amax(), full(1.0, MANY)),
    "amin along": (lambda x: x.reshape(MANY, 1).amin(0), full(1.0, MANY)),
    "max": (lambda x: x.max(), half(np.ones(3001))),
    "layer_norm": (lambda x: F.layer_norm(x, (6000,))[::2].mean(), half(ROUGH * 1000)),
    "normalize": (lambda x: F.normalize(x, dim=0)[:50].sum(), full(100.0)),
    "cosine_similarity": (lambda x, y: F.cosine_similarity(x, y, 0), half(ROUGH * 100), half(ROUGH**2 * 50)),
    "masked_mean": (lambda x: F.masked_mean(x.reshape(5000, 1), [4999]), full(100.0)),
    "mse_loss": (lambda x, y: F.mse_loss(x, y), half([300.0] + [0.0] * 9), half([0.0] * 10)),
    "l1_loss": (lambda x, y: F.l1_loss(x, y), full(100.0), half(ZEROS)),
    "huber_loss": (lambda x, y: F.huber_loss(x, y, delta=500.0), full(300.0, 9), half(ZEROS[:9] + 3)),
    "smooth_l1_loss": (lambda x, y: F.smooth_l1_loss(x, y, beta=300.0), full(400.0), half(ZEROS)),
    "binary_cross_entropy": (lambda x, y: F.binary_cross_entropy(x, y), full(0.25), half(ONES)),
    "binary_cross_entropy_with_logits": (
        lambda x, y: F.binary_cross_entropy_with_logits(x, y),
        full(30.0),
        half(ZEROS),
    ),
    "nll_loss": (
        lambda x: F.nll_loss(x.reshape(MANY, 1), tg.zeros(MANY, dtype="int64")),
        full(-3.0, MANY),
    ),
    "cross_entropy of many rows": (
        lambda x: F.cross_entropy(x.reshape(MANY, 2), tg.zeros(MANY, dtype="int64")),
        full(1.0, 2 * MANY),
    ),
    "cross_entropy of many classes": (
        lambda x: F.cross_entropy(x.reshape(1, MANY), tg.zeros(1, dtype="int64")),
        full(1.0, MANY),
    ),
    "cross_entropy, smoothed": (
        lambda x: F.cross_entropy(x.reshape(6, 1000), tg.arange(6), label_smoothing=0.1),
        half(ROUGH),
    ),
    "cross_entropy of probabilities": (
        lambda x, y: F.cross_entropy(x.reshape(MANY, 2), y.reshape(MANY, 2)),
        full(1.0, 2 * MANY),
        full(0.5, 2 * MANY),
    ),
    "MeanPool": (lambda x: nn.MeanPool()(x.reshape(5000, 1, 1)).sum(), full(100.0)),
    "MeanPool of lengths": (lambda x: nn.MeanPool()(x.reshape(5000, 1, 1), [4999]).sum(), full(100.0)),
    "MaxPool": (lambda x: nn.MaxPool()(x.reshape(MANY, 1, 1)).sum(), full(1.0, MANY)),
    "a bias": (lambda x, b: ((x.reshape(-1, 2) + b) * 0.001).sum(), full(0.1, 10_000), half([0.1, 0.2])),
    "a scale": (lambda x, b: (x * b).mean(), full(0.1, MANY), half(3.0)),
    "stretched": (lambda x, b: (x.reshape(2, -1) * b).sum() * 0.01, full(0.1, 10_000), half([[1.0], [2.0]])),
    "an embedding": (
        lambda w: F.embedding(tg.zeros(5000, dtype="int64"), w).sum() * 0.01,
        half([[0.1, 0.2], [1, 2]]),
    ),
    "many uses": (lambda x: tg.stack([x * 0.25 for _ in range(3000)]).mean(), half([0.125])),
    "a weight of many steps": (
        lambda x, w: sum((x[i : i + 40].reshape(40, 1) @ w).mean() for i in range(0, 4000, 40)) * 0.1,
        full(1.0, 4000),
        half([[0.5]]),
    ),
    "a vector product": (lambda x, y: x @ y, full(0.1), full(0.2)),
    "a matrix product": (lambda x, y: x.reshape(1, -1) @ y.reshape(-1, 1), full(0.1), full(0.2)),
    "einsum": (lambda x: tg.einsum("ij->i", x.reshape(2, -1)).sum(), full(0.1)),
}  # fmt: skip


def value_and_gradients(function, arguments, kind):
    leaves = [a.detach().to(kind, copy=True).requires_grad_() for a in arguments]
    y = function(*leaves)
    y.backward(tg.ones_like(y))
    assert all(t.dtype == kind for t in (y, *(x.grad for x in leaves if x.grad is not None)))
    return [t.numpy().astype("float64") for t in (y, *(x.grad for x in leaves if x.grad is not None))]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_what_sums_is_what_it_is_in_float64(name):
    function, *arguments = REDUCTIONS[name]
    found = value_and_gradients(function, arguments, tg.float16)
    expected = value_and_gradients(function, arguments, tg.float64)
    for y, wanted in zip(found, expected, strict=True):
        assert abs(wanted).max() < 65504  # what float16 can hold
        np.testing.assert_allclose(y, wanted, rtol=3e-3, atol=1e-3 * abs(wanted).max() + 6e-8)


def test_examples():
    """Values that one can work out by hand."""
    assert full(16.0, 4096).norm().item() == 1024
    assert half([300.0, -300.0]).std(unbiased=False).item() == 300
    assert half([300.0] + [0.0] * 9).reshape(1, 10).var(1, unbiased=False).item() == 8100
    assert tg.cumsum(full(0.1), 0)[-1].item() == 500  # to the nearest 0.25
    assert F.mse_loss(full(200.0, 2), half([0.0, 200.0])).item() == 20000
    assert abs(tg.softmax(full(0.0, MANY), 0)[7].item() - 1 / MANY) < 3e-8
    assert abs(tg.logsumexp(full(0.0, MANY), 0).item() - math.log(MANY)) < 4e-3
    assert half([1e4, 1e4, 1e-4, 1e-4]).prod().item() == 1


@pytest.mark.parametrize("function", [
    lambda x: x.max(), lambda x: x.min(), lambda x: x.amax(), lambda x: x.amin(0, keepdims=True),
    lambda x: x.reshape(2, -1, 1).amax((1, 2))[0] + 0 * x.amin(),
])  # fmt: skip
def test_equal_elements_share_a_gradient_however_many_they_are(function):
    x = tg.ones(MANY).half().requires_grad_()
    y = function(x)
    y.backward(tg.full(y.shape, 1000.0).half())
    n = 1 + np.flatnonzero(x.grad.numpy()).max()
    assert n in (MANY, MANY // 2)
    np.testing.assert_allclose(x.grad.numpy()[:n], 1000 / n, rtol=2e-3)
    x.grad = None
    x.max().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / MANY, atol=3e-8)


def test_gradients_of_gradients_add_up_in_float32_too():
    x = full(0.1).requires_grad_()
    b = half(2.0).requires_grad_()
    (g,) = tg.grad((x * b * b).sum() * 0.01, [b], create_graph=True)
    assert abs(g.item() - 20) < 0.05
    (gg,) = tg.grad(g, [b])
    assert abs(gg.item() - 10) < 0.03


def test_a_result_is_rounded_to_the_type_that_its_arguments_give():
    x = full(1.0, 4)
    assert F.mse_loss(x, tg.zeros(4, dtype="float64")).dtype == tg.float64
    assert F.mse_loss(x, tg.tensor([1, 2, 3, 4])).dtype == tg.float16
    assert F.mse_loss(input=x, target=x).dtype == tg.float16
    assert tg.norm(x=x, p=2).dtype == tg.float16


INSIDE = {  # function, argument, gradient: the gradient of the argument
    "division by a tensor": (lambda x: half([200.0]) / x, 100.0, 4096.0, -81.92),
    "a root": (lambda x: x**0.5, 4e-6, 1e-3, 0.25),
    "a power": (lambda x: x**-0.25, 1e-4, 1e-3, -25.0),
    "softplus": (F.softplus, -12.0, 4096.0, 4096 / (1 + math.exp(12))),
    "softplus with beta": (lambda x: F.softplus(x, 4.0), 40000.0, 4096.0, 4096.0),
    "elu": (tg.elu, -12.0, 4096.0, 4096 * math.exp(-12)),
    "logaddexp": (lambda x: tg.logaddexp(x, -x), 40000.0, 4096.0, 4096.0),
    "gelu": (tg.gelu, 40.0, 4096.0, 4096.0),
    "gelu by tanh": (lambda x: tg.gelu(x, approximate="tanh"), 40.0, 4096.0, 4096.0),
    "gelu of a large number": (lambda x: tg.gelu(x, approximate="tanh"), 6e4, 4096.0, 4096.0),
    "gelu below": (lambda x: tg.gelu(x, approximate="tanh"), -6e4, 4096.0, 0.0),
    "erf": (tg.erf, 300.0, 4096.0, 0.0),
    "tanh": (tg.tanh, 300.0, 4096.0, 0.0),
    "sigmoid": (tg.sigmoid, -300.0, 4096.0, 0.0),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, x, 0), 6e4, 4096.0, 0.0),
}


@pytest.mark.parametrize("name", INSIDE)
def test_rules_stay_inside(name):
    function, x, g, expected = INSIDE[name]
    x = half([x]).requires_grad_()
    y = function(x)
    assert y.dtype == tg.float16
    y.backward(tg.full(y.shape, g).half())
    np.testing.assert_allclose(x.grad.item(), expected, rtol=4e-3, atol=1e-4)


def test_sigmoid_where_the_power_is_outside():
    y = tg.sigmoid(half([-12.0, -16.0, 12.0]))
    np.testing.assert_allclose(y.numpy(), 1 / (1 + np.exp([12.0, 16.0, -12.0])), atol=6e-8, rtol=1e-3)
