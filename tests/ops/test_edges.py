"""Values and gradients at the edges of domains, and corners: what mathematics or PyTorch's float64 say."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn import functional as F

INF, NAN = math.inf, math.nan
# What is infinite is told so by NumPy with a warning.
pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")


@pytest.fixture(autouse=True)
def _double():
    tg.set_default_dtype("float64")
    yield
    tg.set_default_dtype("float32")


def gradients(op, *values):
    """The value, the gradients of its sum, and the gradients of their sum."""
    leaves = [tg.tensor(v, requires_grad=True) for v in values]
    y = op(*leaves)
    first = tg.grad(y.sum(), leaves, create_graph=True)
    total = sum((g.sum() for g in first), tg.tensor(0.0))
    second = tg.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
    found = [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(leaves, second, strict=True)]
    return y.detach().numpy(), [g.detach().numpy() for g in first], found


def agree(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- roots and powers inside

NORMS = {  # p: of [0, 4], of [0, 0], of [3, 4]; each the value and the gradient
    0: [(1.0, [0, 0]), (0.0, [0, 0]), (2.0, [0, 0])],
    0.5: [(4.0, [0, 1]), (0.0, [0, 0]), (7 + 4 * 3**0.5, [(2 + 3**0.5) / 3**0.5, (2 + 3**0.5) / 2])],
    1: [(4.0, [0, 1]), (0.0, [0, 0]), (7.0, [1, 1])],
    1.5: [(4.0, [0, 1]), (0.0, [0, 0]), ((3**1.5 + 8) ** (2 / 3),
          [3**0.5 * (3**1.5 + 8) ** (-1 / 3), 2 * (3**1.5 + 8) ** (-1 / 3)])],
    2: [(4.0, [0, 1]), (0.0, [0, 0]), (5.0, [0.6, 0.8])],
    3: [(4.0, [0, 1]), (0.0, [0, 0]), (91 ** (1 / 3), [9 * 91 ** (-2 / 3), 16 * 91 ** (-2 / 3)])],
    INF: [(4.0, [0, 1]), (0.0, [0, 0]), (4.0, [0, 1])],
    -INF: [(0.0, [0, 0]), (0.0, [0, 0]), (3.0, [1, 0])],
    -1: [(0.0, [0, 0]), (0.0, [0, 0]), (12 / 7, [16 / 49, 9 / 49])],
}  # fmt: skip
ROWS = np.array([[0.0, 4.0], [0.0, 0.0], [3.0, 4.0]])


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("p", NORMS)
def test_a_norm(p, keepdims):
    values, slopes = (np.array(part, float) for part in zip(*NORMS[p], strict=True))
    for x, axis in ((ROWS, 1), (ROWS.T, 0), (ROWS[None], -1)):
        y, (first,), (second,) = gradients(lambda x, axis=axis: tg.norm(x, p, axis, keepdims), x)
        agree(np.squeeze(y), values)
        agree(first.T if x.shape == ROWS.T.shape else first.reshape(slopes.shape), slopes)
        assert np.isfinite(second).all()
    for row, value, slope in zip(ROWS, values, slopes, strict=True):
        y, (first,), (second,) = gradients(lambda x: tg.norm(x, p), row)
        agree(y, value)
        agree(first, slope)
        assert np.isfinite(second).all()


def test_the_second_slope_of_a_norm():
    _, _, (second,) = gradients(lambda x: tg.norm(x), [0.0, 4.0])
    agree(second, [0.25, 0.0])  # of x^2 / 8, and of nothing
    _, _, (second,) = gradients(lambda x: tg.norm(x), [3.0, 4.0])
    agree(second, [0.032, -0.024])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 2.0, 0.1, 1e6 + 0.1, -1e-30, 12345.678])
@pytest.mark.parametrize("n", [2, 3, 7, 100])
def test_equal_elements_deviate_by_nothing(dtype, value, n):
    for shape, axis in (((n,), None), ((2, n), 1), ((n, 3), 0), ((2, 2, n), (0, 2))):
        for keepdims in (False, True):
            x = tg.full(shape, value, dtype=dtype, requires_grad=True)
            y = x.std(axis, keepdims=keepdims)
            (g,) = tg.grad(y.sum(), [x], create_graph=True)
            assert not y.detach().numpy().any()
            assert not g.detach().numpy().any()
            assert np.isfinite(tg.grad((g * g).sum() + g.sum(), x).numpy()).all()
            assert not x.var(axis).detach().numpy().any()
            assert not F.layer_norm(x, shape[-1:]).detach().numpy().any() or axis == 0


def test_a_deviation_of_some_rows():
    y, (first,), (second,) = gradients(lambda x: x.std(1), [[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]])
    agree(y, [0.0, math.sqrt(7 / 3)])
    agree(first, [[0, 0, 0], np.array([-4, -1, 5]) / 3 / math.sqrt(7 / 3) / 2])
    assert np.isfinite(second).all()
    x = tg.tensor([5.0], requires_grad=True)
    assert math.isnan(x.std().item())
    assert math.isnan(x.var().item())
    agree(tg.tensor([1e9, 1e9 + 1, 1e9 + 2]).std().item(), 1.0)
    x = tg.tensor(np.array([16777216, 16777218, 16777220], "float32"))
    assert x.std().item() == 2.0


def test_what_is_built_on_norms():
    _, (first,), (second,) = gradients(lambda x: F.normalize(x, dim=0), [0.0, 0.0])
    agree(first * 1e-12, [1.0, 1.0])  # x over the least length there is
    assert np.isfinite(second).all()
    y, (a, b), seconds = gradients(lambda x, y: F.cosine_similarity(x, y, 0), [0.0, 0.0], [1.0, 2.0])
    agree(y, 0.0)
    np.testing.assert_allclose(a, [1e8 / 5**0.5, 2e8 / 5**0.5])
    agree(b, [0.0, 0.0])
    assert np.isfinite(seconds).all()
    y, (first,), (second,) = gradients(lambda x: F.layer_norm(x, (3,)), [2.0, 2.0, 2.0])
    agree([y, first], np.zeros((2, 3)))
    assert np.isfinite(second).all()


# base, exponent: value, slope in the base, slope in the exponent (PyTorch's float64)
POWERS = [
    (0.0, -2.0, INF, -INF, -INF), (0.0, -1.0, INF, -INF, -INF), (0.0, -0.5, INF, -INF, -INF),
    (0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.5, 0.0, INF, 0.0), (0.0, 1.0, 0.0, 1.0, 0.0),
    (0.0, 2.0, 0.0, 0.0, 0.0),
    (0.0, 3.0, 0.0, 0.0, 0.0), (-1.5, 2.0, 2.25, -3.0, NAN), (-1.5, 0.0, 1.0, 0.0, NAN),
    (-1.5, 0.5, NAN, NAN, NAN), (INF, 0.0, 1.0, 0.0, INF), (INF, 1.0, INF, 1.0, INF),
    (-INF, 0.0, 1.0, 0.0, NAN),
    (NAN, 0.0, 1.0, 0.0, NAN), (2.0, 0.0, 1.0, 0.0, math.log(2.0)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "value", "to_base", "to_exponent"), POWERS)
def test_a_power(a, b, value, to_base, to_exponent):
    y, (first, second), _ = gradients(lambda a, b: a**b, [a], [b])
    agree([*y, *first, *second], [value, to_base, to_exponent])
    y, (first,), _ = gradients(lambda x: x**b, [a])
    agree([*y, *first], [value, to_base])
    y, (second,), _ = gradients(lambda x: a**x, [b])
    agree([*y, *second], [value, to_exponent])


@pytest.mark.parametrize(("a", "b", "wanted"), [
    (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 2.0, 2.0), (0.0, 3.0, 0.0), (2.0, 0.0, 0.0), (2.0, 1.0, 0.0),
    (-1.5, 2.0, 2.0), (2.0, -1.0, 0.25), (0.0, 0.5, -INF),
])  # fmt: skip
def test_the_second_slope_of_a_power_in_its_base(a, b, wanted):
    for op in (lambda x: x**b, lambda x: x ** tg.tensor([b])):
        agree(gradients(op, [a])[2][0], [wanted])


@pytest.mark.parametrize(("a", "b", "wanted"), [
    (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 2.0, 0.0), (2.0, 0.0, math.log(2) ** 2),
    (2.0, 1.0, 2 * math.log(2) ** 2),
])  # fmt: skip
def test_the_second_slope_of_a_power_in_its_exponent(a, b, wanted):
    for op in (lambda x: a**x, lambda x: tg.tensor([a]) ** x):
        agree(gradients(op, [b])[2][0], [wanted])


@pytest.mark.parametrize(
    ("a", "b", "wanted"), [(2.0, 0.0, 0.5), (2.0, 1.0, 1 + math.log(2)), (0.0, 2.0, 0.0)]
)
def test_the_mixed_slope_of_a_power(a, b, wanted):
    for order in (0, 1):
        leaves = [tg.tensor([a], requires_grad=True), tg.tensor([b], requires_grad=True)]
        first = tg.grad((leaves[0] ** leaves[1]).sum(), leaves[order], create_graph=True)
        agree(tg.grad(first.sum(), leaves[1 - order]).numpy(), [wanted])


# ---------------------------------------------------------------- functions of one element

POINTS = [0.0, -0.0, 2.5, INF, -INF, NAN]
FUNCTIONS = {  # at POINTS: values, slopes
    "sqrt": ([0.0, -0.0, 2.5**0.5, INF, NAN, NAN], [INF, -INF, 0.5 / 2.5**0.5, 0.0, NAN, NAN]),
    "rsqrt": ([INF, -INF, 2.5**-0.5, 0.0, NAN, NAN], [-INF, INF, -0.5 * 2.5**-1.5, 0.0, NAN, NAN]),
    "reciprocal": ([INF, -INF, 0.4, 0.0, -0.0, NAN], [-INF, -INF, -0.16, 0.0, 0.0, NAN]),
    "log": ([-INF, -INF, math.log(2.5), INF, NAN, NAN], [INF, -INF, 0.4, 0.0, -0.0, NAN]),
    "log1p": ([0.0, -0.0, math.log(3.5), INF, NAN, NAN], [1.0, 1.0, 1 / 3.5, 0.0, -0.0, NAN]),
    "square": ([0.0, 0.0, 6.25, INF, INF, NAN], [0.0, -0.0, 5.0, INF, -INF, NAN]),
    "floor": ([0.0, -0.0, 2.0, INF, -INF, NAN], [0.0] * 6),
    "round": ([0.0, -0.0, 2.0, INF, -INF, NAN], [0.0] * 6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_one_element(name):
    y, (first,), _ = gradients(getattr(tg, name), POINTS)
    np.testing.assert_allclose([y, first], FUNCTIONS[name], rtol=1e-12)
    assert (np.signbit(y) == np.signbit(FUNCTIONS[name][0]))[:3].all()


def test_the_cross_entropy_of_certainty():
    y, (first, to_target), (second, _) = gradients(
        lambda p, t: F.binary_cross_entropy(p, t, reduction="none"),
        [0.0, 1.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 1.0],
    )
    agree(y, [100.0, 100.0, 0.0, 0.0])
    np.testing.assert_allclose(first, [-1e12, 1e12, 0.0, 0.0])  # PyTorch's, which holds p (1 - p) above 1e-12
    agree(to_target, [100.0, -100.0, 100.0, -100.0])
    assert np.isfinite(second).all()
    y, (first, _), _ = gradients(
        lambda p, t: F.binary_cross_entropy(p, t, reduction="none"), [0.25, 1e-50, 1e-10], [0.5, 1.0, 0.0]
    )
    agree(y, [-(math.log(0.25) + math.log(0.75)) / 2, 100.0, 1e-10])
    np.testing.assert_allclose(first, [(0.25 - 0.5) / (0.25 * 0.75), -1e12, 1.0], rtol=1e-9)
    assert tg.nn.BCELoss()(tg.zeros(1), tg.ones(1)).item() == 100.0


# ---------------------------------------------------------------- integers

EXTREMES = {
    "int64": [-(2**63) + 1, -(2**53) - 1, -16777217, -3, 0, 3, 16777217, 2**53 + 1, 2**63 - 1],
    "int32": [-(2**31) + 1, -16777217, 0, 16777217, 2**31 - 1],
    "int8": [-127, -1, 0, 127],
    "uint8": [0, 1, 254, 255],
}
EXACT = {
    "round": lambda v: v, "floor": lambda v: v, "clone": lambda v: v, "abs": abs,
    "sign": lambda v: (v > 0) - (v < 0),
    "neg": lambda v: -v,
}  # fmt: skip


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("name", EXACT)
def test_integers_stay_exact(name, dtype):
    if (name, dtype) == ("neg", "uint8"):
        return  # wraps around
    x = tg.tensor(EXTREMES[dtype], dtype=dtype)
    y = getattr(tg, name)(x)
    assert y.dtype == dtype
    assert y.tolist() == [EXACT[name](v) for v in EXTREMES[dtype]]
    assert not np.shares_memory(tg.backend.to_numpy(y.array), tg.backend.to_numpy(x.array))


@pytest.mark.parametrize("dtype", EXTREMES)
def test_choosing_among_integers_is_exact(dtype):
    values = EXTREMES[dtype]
    x, back = tg.tensor(values, dtype=dtype), tg.tensor(values[::-1], dtype=dtype)
    pairs = list(zip(values, values[::-1], strict=True))
    low, high = values[1], values[-2]
    found = {
        "maximum": (tg.maximum(x, back), [max(pair) for pair in pairs]),
        "minimum": (tg.minimum(x, back), [min(pair) for pair in pairs]),
        "clip": (tg.clip(x, low, high), [min(max(v, low), high) for v in values]),
        "clip by tensors": (tg.clip(x, tg.tensor(low, dtype=dtype)), [max(v, low) for v in values]),
        "relu": (tg.relu(x), [max(v, 0) for v in values]),
        "where": (tg.where(x > back, x, back), [max(pair) for pair in pairs]),
        "sort": (x.flip(0).sort().values, values),
        "topk": (x.topk(1).values, [values[-1]]),
        "amax": (x.amax(), values[-1]),
        "min": (x.min(0).values, values[0]),
        "floor_divide": (x // 2, [v // 2 for v in values]),
        "remainder": (x % 7, [v % 7 for v in values]),
    }
    for name, (y, wanted) in found.items():
        assert y.dtype == dtype, name
        assert y.tolist() == wanted, name
    root = [v for v in values if abs(v) < math.isqrt(np.iinfo(dtype).max)]
    assert tg.square(tg.tensor(root, dtype=dtype)).tolist() == [v * v for v in root]


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod", "amax", "amin", "norm", "logsumexp"])
def test_no_axes_named_are_all_of_them(name, keepdims):
    x = tg.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    op = getattr(tg, name)
    for none in ((), []):
        y = op(x, axis=none, keepdims=keepdims)
        wanted = op(x, keepdims=keepdims)
        assert y.shape == wanted.shape == ((1, 1) if keepdims else ())
        assert y.tolist() == wanted.tolist()
        y.sum().backward()
        assert x.grad is not None


def test_no_axes_named_where_each_element_is_asked():
    x = tg.tensor([[0.0, 1.0], [2.0, 0.0]])
    for op in (tg.all, tg.any):
        assert op(x, axis=()).tolist() == [[False, True], [True, False]]  # as PyTorch and NumPy
    assert tg.squeeze(x[:1], ()).shape == (1, 2)
    assert tg.flip(x, ()).tolist() == x.tolist()


ALONG = {
    "squeeze": (), "sum": (), "mean": (), "amax": (), "amin": (), "prod": (), "cumsum": (), "sort": (),
    "argsort": (),
    "flip": (), "softmax": (), "log_softmax": (), "logsumexp": (), "all": (), "any": (), "max": (), "min": (),
    "argmax": (), "argmin": (), "transpose": (0,), "swapaxes": (0,), "index_select": (tg.tensor([0]),),
}  # fmt: skip


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ALONG)
def test_a_number_counts_as_a_row_of_one(name, axis):
    x = tg.tensor(3.0, requires_grad=True)
    wanted = {
        "softmax": 1.0,
        "log_softmax": 0.0,
        "argsort": 0,
        "argmax": 0,
        "argmin": 0,
        "all": True,
        "any": True,
    }
    found = getattr(x, name)(axis, *ALONG[name])
    y = found[0] if isinstance(found, tuple) else found
    assert y.shape == ()
    assert y.item() == wanted.get(name, 3.0)
    if isinstance(found, tuple):
        assert (found.indices.shape, found.indices.item()) == ((), 0)
    if y.requires_grad:
        y.backward()
        assert x.grad.item() == (0.0 if name in ("softmax", "log_softmax") else 1.0)
    else:
        assert y.dtype.kind in "ib"


def test_more_of_numbers_without_axes():
    x = tg.tensor(3.0)
    assert x.topk(1).values.item() == 3.0
    assert x.norm(2, 0).item() == 3.0
    assert math.isnan(x.std(0).item())
    assert math.isnan(x.var(-1).item())
    assert x.flatten().shape == x.ravel().shape == x.unsqueeze(0).shape == x.unsqueeze(-1).shape == (1,)
    assert x.flatten(0, -1).tolist() == [3.0]
    assert x.t().shape == x.T.shape == x.permute(()).shape == ()
    for wrong in (
        lambda: x.squeeze(1), lambda: x.sum(1), lambda: x.unsqueeze(1), lambda: x.unbind(0),
        lambda: x.split(1),
        lambda: x.chunk(1), lambda: x.select(0, 0), lambda: x.narrow(0, 0, 1), lambda: x.size(0),
        lambda: x.softmax(-2), lambda: x.sort(1),
    ):  # fmt: skip
        with pytest.raises(IndexError):
            wrong()
