"""Where a step on the way could overflow, vanish or cancel and the result does not: values and gradients at
tiny, large and infinite numbers, against what mathematics says. (Warnings are errors here, so none may say
"overflow" of a result that is finite.)
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F = nn.functional
INF = math.inf
KINDS = {"float32": 2e-6, "float64": 1e-13}


def sigmoid(x):
    e = math.exp(-abs(x)) if abs(x) < 700 else 0.0
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def softplus(x):
    return max(x, 0.0) + (math.log1p(math.exp(-abs(x))) if abs(x) < 700 else 0.0)


def phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def gelu_slope(x):
    return phi(x) + (x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi) if abs(x) < 30 else 0.0)


def tanh_gelu(x):
    """Value and slope of the tanh formula."""
    if abs(x) > 30:
        return (x, 1.0) if x > 0 else (0.0, 0.0)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    s = sigmoid(2 * u)
    return x * s, s + x * s * sigmoid(-2 * u) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def relu_like(f, slope):
    return lambda x: (x if x > 0 else f(x), 1.0 if x > 0 else slope(x))


# name: the function; value and slope in float64
ACTIVATIONS = {
    "sigmoid": (tg.sigmoid, lambda x: (sigmoid(x), sigmoid(x) * sigmoid(-x))),
    "softplus": (tg.softplus, lambda x: (softplus(x), sigmoid(x))),
    "softplus, sharp": (lambda x: F.softplus(x, 16.0), lambda x: (softplus(16 * x) / 16, sigmoid(16 * x))),
    "softplus, smooth": (
        lambda x: F.softplus(x, 0.125),
        lambda x: (softplus(x / 8) * 8, sigmoid(x / 8)),
    ),
    "elu": (tg.elu, relu_like(math.expm1, math.exp)),
    "leaky_relu": (lambda x: tg.leaky_relu(x, negative_slope=0.5), relu_like(lambda x: x / 2, lambda x: 0.5)),
    "gelu": (tg.gelu, lambda x: (x * phi(x) if x > -30 else 0.0, gelu_slope(x))),
    "gelu by tanh": (lambda x: tg.gelu(x, approximate="tanh"), tanh_gelu),
    "tanh": (
        tg.tanh,
        lambda x: (math.tanh(x), (2 / (math.exp(x) + math.exp(-x))) ** 2 if abs(x) < 300 else 0),
    ),
    "erf": (
        tg.erf,
        lambda x: (math.erf(x), 2 / math.sqrt(math.pi) * math.exp(-min(x * x, 700.0)) if abs(x) < 26 else 0),
    ),
}
EDGES = [0.0, 1e-30, 1e-10, 1e-4, 0.3, 0.5, 1.0, 3.0, 9.0, 15.0, 40.0, 80.0, 300.0, 1e4, 1e20, 3e38, INF]
# What is lost where 1 - y is taken of a y close to 1, as PyTorch does.
CANCELS = {"sigmoid": 1e-7, "tanh": 3e-7}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, kind):
    function, formula = ACTIVATIONS[name]
    points = [x for x in (*EDGES, *(-x for x in EDGES)) if x or not name.endswith("relu")]
    x = tg.tensor(points, dtype=kind, requires_grad=True)
    y = function(x)
    y.backward(tg.ones_like(y))
    exact = np.array([formula(float(v)) for v in x.tolist()])
    bound = KINDS[kind]
    if name.startswith("gelu"):  # of what is lost in 1 + erf(x)
        np.testing.assert_allclose(y.numpy(), exact[:, 0], rtol=bound, atol=bound)
    else:
        np.testing.assert_allclose(y.numpy(), exact[:, 0], rtol=bound, atol=1e-37 if kind == "float32" else 0)
    tolerance = CANCELS.get(name, bound if name.startswith("gelu") else 1e-37)
    np.testing.assert_allclose(x.grad.numpy(), exact[:, 1], rtol=8 * bound, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(name):
    function = ACTIVATIONS[name][0]
    for kind in ("float16", *KINDS):
        assert math.isnan(function(tg.tensor([math.nan], dtype=kind)).item())


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_large_gradients(approximate):
    """Of both orders: x and the gradient may be as large as the type allows."""
    x = tg.tensor([1e20, -1e20, 40.0, -40.0], requires_grad=True)
    (g,) = tg.grad(tg.gelu(x, approximate=approximate), [x], tg.full((4,), 1e30), create_graph=True)
    assert g.tolist() == np.array([1e30, 0, 1e30, 0], "float32").tolist()
    (second,) = tg.grad(g.sum(), [x])
    assert second.tolist() == [0.0] * 4


def test_elu_has_no_gradient_that_overflows_beside_the_way():
    x = tg.tensor([1e38, -1e38], requires_grad=True)
    tg.elu(x).backward(tg.tensor([1e5, 1e5]))
    assert x.grad.tolist() == [1e5, 0.0]


# ---------------------------------------------------------------- logarithms of sums of powers


def logarithms(values):
    """log_softmax of Python numbers, in float64 and without cancellation."""
    top = max(values)
    rest = sorted(math.exp(v - top) for i, v in enumerate(values) if i != values.index(top))
    return [v - top - math.log1p(math.fsum(rest)) for v in values]


LOGITS = [[1e4, 1e4 - 10], [-1e4, -1e4 - 10], [2.0**23, 2.0**23 - 1], [0.0, -20.0], [1e30, 0.0], [5.0] * 7,
          [3e38, 1e38], [0.0, -80.0, -90.0]]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", LOGITS)
def test_losses_of_large_logits(values, kind):
    x = tg.tensor([values], dtype=kind, requires_grad=True)
    given = x.tolist()[0]
    expected = logarithms(given)
    bound = KINDS[kind]
    np.testing.assert_allclose(F.log_softmax(x, 1).tolist()[0], expected, rtol=bound)
    np.testing.assert_allclose(F.softmax(x, 1).tolist()[0], np.exp(expected), rtol=bound, atol=1e-44)
    np.testing.assert_allclose(tg.log_softmax(x.T, 0).tolist(), [[v] for v in expected], rtol=bound)
    for right in (0, len(values) - 1):
        x.grad = None
        loss = F.cross_entropy(x, tg.tensor([right]))
        loss.backward()
        np.testing.assert_allclose(loss.item(), -expected[right], rtol=bound)
        slope = np.exp(expected)
        slope[right] = -math.fsum(np.delete(slope, right))
        np.testing.assert_allclose(x.grad.tolist()[0], slope, rtol=bound, atol=bound)


def test_small_losses_beside_large_logits():
    y = F.log_softmax(tg.tensor([[1e4, 1e4 - 10]]), 1).tolist()[0]
    np.testing.assert_allclose(y, [-4.53989e-05, -10.0000454], rtol=1e-6)
    small = tg.logsumexp(tg.tensor([0.0, -10.0, -math.inf]), 0)
    np.testing.assert_allclose(small.item(), math.log1p(math.exp(-10)), rtol=1e-6)


@settings(max_examples=50, deadline=None, database=None)
@given(
    data=st.lists(st.integers(-60, 60), min_size=1, max_size=6),
    shift=st.integers(-22, 22).map(lambda k: math.copysign(2.0 ** abs(k), k)),
)
def test_a_shift_changes_no_softmax(data, shift):
    """Wherever both are numbers of float32."""
    x = tg.tensor([float(v) for v in data])
    moved = x + shift
    assert (moved - shift).tolist() == x.tolist()
    for f in (tg.softmax, tg.log_softmax):
        assert f(moved, 0).tolist() == f(x, 0).tolist()
    both = []
    for y in (x, moved):
        y = y.clone().requires_grad_()
        (tg.logsumexp(y, 0) * 3).backward()
        both.append(y.grad.tolist())
    assert both[0] == both[1]


def test_logsumexp_of_infinities():
    for values, expected in (([INF, 0.0], INF), ([-INF, -INF], -INF), ([INF, INF], INF), ([-INF, 3.0], 3.0)):
        assert tg.logsumexp(tg.tensor(values), 0).item() == expected
    assert math.isnan(tg.logsumexp(tg.tensor([math.nan, 1.0]), 0).item())
    assert tg.log_softmax(tg.tensor([-INF, 1.0, -INF]), 0).tolist() == [-INF, 0.0, -INF]
    x = tg.tensor([-INF, 1.0, 1.0], requires_grad=True)
    tg.softmax(x, 0)[1].backward()
    assert x.grad.tolist() == [0.0, 0.25, -0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_binary_cross_entropy_with_logits(kind):
    """-t log s(x) - (1 - t) log s(-x): right also where it is small."""
    x = [20.0, -20.0, 1e4, -1e4, 0.0, 50.0, -50.0, 1e30, -1e30, 30.0, 1e4]
    t = [1.0, 0.0, 1.0, 0.0, 0.25, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5]
    logits = tg.tensor(x, dtype=kind, requires_grad=True)
    for settings_, factor in (({}, 1.0), ({"pos_weight": tg.tensor(3.0, dtype=kind)}, 3.0)):
        logits.grad = None
        loss = F.binary_cross_entropy_with_logits(
            logits, tg.tensor(t, dtype=kind), reduction="none", **settings_
        )
        loss.sum().backward()
        exact = [(1 - b) * softplus(a) + factor * b * softplus(-a) for a, b in zip(x, t, strict=True)]
        np.testing.assert_allclose(loss.tolist(), exact, rtol=KINDS[kind])
        slope = [(1 - b) * sigmoid(a) - factor * b * sigmoid(-a) for a, b in zip(x, t, strict=True)]
        np.testing.assert_allclose(logits.grad.tolist(), slope, rtol=KINDS[kind], atol=1e-30)


def test_huber_losses_of_extremes():
    x, zero = tg.tensor([1e20, -1e20, 1e-30], requires_grad=True), tg.zeros(3)
    for loss, value, slope in (
        (F.huber_loss(x, zero, "sum", 1e10), 2e30, 1e10),
        (F.smooth_l1_loss(x, zero, reduction="sum", beta=1e20), 1e20, 1.0),
        (F.smooth_l1_loss(x, zero, reduction="sum", beta=1e-10), 2e20, 1.0),
    ):
        x.grad = None
        loss.backward()
        np.testing.assert_allclose(loss.item(), value, rtol=1e-6)
        np.testing.assert_allclose(x.grad.tolist()[:2], [slope, -slope], rtol=1e-6)


# ---------------------------------------------------------------- roots of sums of powers


SIZES = {"float32": (1e-37, 1e-30, 1e-20, 1.0, 1e20, 3e37), "float64": (1e-300, 1e-160, 1.0, 1e160, 1e307)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [0.5, 1.5, 2, 3, 7])
def test_norms_of_any_size(p, kind):
    direction = np.array([3.0, -4.0, 0.0])
    value = (3.0**p + 4.0**p) ** (1 / p)
    slope = np.array([(3 / value) ** (p - 1), -((4 / value) ** (p - 1)), 0.0])
    for size in SIZES[kind]:
        x = tg.tensor((direction * size).tolist(), dtype=kind, requires_grad=True)
        if value * size > float(np.finfo(kind).max):
            continue
        bound = 1e-5 if kind == "float32" else 1e-12
        y = x.norm(p)
        y.backward()
        np.testing.assert_allclose(y.item(), value * size, rtol=bound)
        np.testing.assert_allclose(x.grad.tolist(), slope, rtol=bound)
        rows = tg.stack([x.detach(), x.detach() / 2, x.detach() * 0]).requires_grad_()
        along = tg.norm(rows, p, 1, keepdims=True)
        along.backward(tg.ones_like(along))
        np.testing.assert_allclose(along.tolist()[0], [y.item()], rtol=1e-6)
        np.testing.assert_allclose(rows.grad.tolist()[0], slope, rtol=bound)
        assert rows.grad.tolist()[2] == [0.0] * 3


@settings(max_examples=50, deadline=None, database=None)
@given(
    values=st.lists(st.integers(-9, 9), min_size=2, max_size=5),
    scale=st.integers(-120, 120),
    kind=st.sampled_from(["float32", "float64"]),
)
def test_sizes_scale(values, scale, kind):
    """Powers of two go through norm, std and their gradients without a trace."""
    found = []
    for k in (0, scale):
        x = tg.tensor([v * 2.0**k for v in values], dtype=kind, requires_grad=True)
        for f in (lambda x: x.norm(), lambda x: tg.norm(x, 3), lambda x: x.std(), lambda x: x.std(0, False)):
            (g,) = tg.grad(f(x), [x])
            found += [f(x).item() / 2.0**k, *g.tolist()]
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_a_norm_of_what_is_not_finite_or_not_there():
    assert tg.norm(tg.tensor([INF, 1.0])).item() == INF
    assert tg.norm(tg.tensor([-INF, 1.0]), 3).item() == INF
    assert math.isnan(tg.norm(tg.tensor([math.nan, 1.0])).item())
    assert tg.zeros(0).norm().item() == 0
    assert tg.zeros(2, 0).norm(2, 1).tolist() == [0, 0]
    assert tg.zeros(0, 2).norm(3, 1, keepdims=True).shape == (0, 1)


def test_angles_and_unit_vectors_of_any_size():
    for size in (1e-11, 1.0, 1e20, 1e37):
        x = tg.tensor([3 * size, 4 * size], requires_grad=True)
        np.testing.assert_allclose(F.normalize(x, dim=0).tolist(), [0.6, 0.8], rtol=1e-6)
    for size in (1e-7, 1.0, 1e20, 1e37):
        x = tg.tensor([3 * size, 4 * size], requires_grad=True)
        y = F.cosine_similarity(x, tg.tensor([4 * size, 3 * size]), 0)
        y.backward()
        np.testing.assert_allclose(y.item(), 0.96, rtol=1e-6)
        slope = (np.array([0.8, 0.6]) - 0.96 * np.array([0.6, 0.8])) / 5 / size
        np.testing.assert_allclose(x.grad.tolist(), slope, rtol=1e-5)


def test_a_deviation_of_any_size():
    for size in (1e-30, 1.0, 1e20, 1e37):
        x = tg.tensor([size, -size, 3 * size], requires_grad=True)
        y = x.std()
        y.backward()
        np.testing.assert_allclose(y.item(), 2 * size, rtol=1e-6)
        np.testing.assert_allclose(x.grad.tolist(), [0.0, -0.5, 0.5], atol=1e-6)


def test_erf_of_small_numbers():
    for kind, bound in KINDS.items():
        x = np.array([1e-30, -1e-12, 1e-5, 0.01, 0.3, -0.49, 0.51, 0.7])
        y = tg.erf(tg.tensor(x.tolist(), dtype=kind))
        np.testing.assert_allclose(y.tolist(), [math.erf(float(v)) for v in x.astype(kind)], rtol=bound)
