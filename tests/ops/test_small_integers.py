"""Functions of integers and booleans are computed in the default type, and their sums are int64."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.support.rows import ROWS
from tinygrad_rnn import nn
from tinygrad_rnn.fuse.scan import scan

F = nn.functional
KINDS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def phi(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


FUNCTIONS = {
    "exp": (tg.exp, math.exp),
    "expm1": (tg.expm1, math.expm1),
    "log": (tg.log, math.log),
    "log1p": (tg.log1p, math.log1p),
    "sqrt": (tg.sqrt, math.sqrt),
    "sin": (tg.sin, math.sin),
    "cos": (tg.cos, math.cos),
    "tanh": (tg.tanh, math.tanh),
    "sigmoid": (tg.sigmoid, lambda x: 1 / (1 + math.exp(-x))),
    "erf": (tg.erf, math.erf),
    "elu": (lambda x: tg.elu(0 - x.long()), lambda x: math.expm1(-x)),
    "leaky_relu": (lambda x: tg.leaky_relu(0 - x.short(), negative_slope=0.3), lambda x: -0.3 * x),
    "softplus": (tg.softplus, lambda x: x + math.log1p(math.exp(-x))),
    "softplus with beta": (lambda x: F.softplus(x, 0.5), lambda x: x + 2 * math.log1p(math.exp(-0.5 * x))),
    "gelu": (tg.gelu, lambda x: x * phi(x)),
    "logaddexp": (lambda x: tg.logaddexp(x, x), lambda x: x + math.log(2)),
    "logaddexp with a number": (
        lambda x: tg.logaddexp(x, 1.5),
        lambda x: math.log(math.exp(x) + math.exp(1.5)),
    ),
    "true division": (lambda x: x / 7, lambda x: x / 7),
    "division of a number": (lambda x: 7 / x, lambda x: 7 / x),
    "reciprocal": (tg.reciprocal, lambda x: 1 / x),
    "a root": (lambda x: x**0.5, math.sqrt),
    "a power below 0": (lambda x: x**-2, lambda x: x**-2.0),
    "a product with a float": (lambda x: x * 0.1, lambda x: x * 0.1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_computed_in_the_default_type(name, kind):
    function, formula = FUNCTIONS[name]
    for default in ("float32", "float64"):
        tg.set_default_dtype(default)
        y = function(tg.tensor([1, 5, 12], dtype=kind))
        assert y.dtype == default
        bound = 1e-6 if default == "float32" else 1e-13
        np.testing.assert_allclose(y.tolist(), [formula(1), formula(5), formula(12)], rtol=bound)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("elu", "leaky_relu")])
def test_functions_of_booleans(name):
    function, formula = FUNCTIONS[name]
    y = function(tg.tensor([True]))
    assert y.dtype == tg.float32
    np.testing.assert_allclose(y.item(), formula(1), rtol=1e-6, atol=1e-7)


def test_where_half_the_numbers_are_floats_these_decide():
    x = tg.tensor([12, 3], dtype="int8")
    for kind in ("float16", "float64"):
        y = tg.logaddexp(x, tg.zeros(2, dtype=kind))
        assert y.dtype == kind
    assert tg.logaddexp(x, tg.zeros(2, dtype="float64")).tolist() == np.logaddexp([12.0, 3.0], 0).tolist()


X = np.array([100, 10, 7, 100])
ALONG = {
    "mean": (lambda x: x.mean(), X.mean()),
    "var": (lambda x: x.var(), X.var(ddof=1)),
    "std": (lambda x: x.std(), X.std(ddof=1)),
    "norm": (lambda x: x.norm(), math.sqrt(20149)),
    "norm of order 3": (lambda x: tg.norm(x, 3), (2e6 + 1343) ** (1 / 3)),
    "logsumexp": (lambda x: tg.logsumexp(x, 0), 100 + math.log(2)),
    "softmax": (lambda x: tg.softmax(x, 0)[0], 0.5),
    "log_softmax": (lambda x: tg.log_softmax(x, 0)[1], -90 - math.log(2)),
    "normalize": (lambda x: F.normalize(x, dim=0)[0], 100 / math.sqrt(20149)),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, x.flip(0), 0), 20140 / 20149),
    "layer_norm": (lambda x: F.layer_norm(x, (4,))[0], (100 - 54.25) / math.sqrt(X.var() + 1e-5)),
    "masked_mean": (lambda x: F.masked_mean(x.reshape(4, 1), [3]), 39.0),
    "mse_loss": (lambda x: F.mse_loss(x, x.flip(0)), 4.5),
    "l1_loss": (lambda x: F.l1_loss(x, x.flip(0)), 1.5),
    "huber_loss": (lambda x: F.huber_loss(x, x.flip(0)), 1.25),
    "smooth_l1_loss": (lambda x: F.smooth_l1_loss(x, x.flip(0), beta=2.0), 1.0),
    "binary_cross_entropy_with_logits": (
        lambda x: F.binary_cross_entropy_with_logits(x, x > 50, reduction="sum"),
        10 + math.log1p(math.exp(-10)) + 7 + math.log1p(math.exp(-7)),
    ),
    "binary_cross_entropy": (lambda x: F.binary_cross_entropy(x > 50, x > 50), 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALONG)
def test_functions_of_many(name, kind):
    function, expected = ALONG[name]
    y = function(tg.tensor(X.tolist(), dtype=kind))
    assert y.dtype == tg.float32
    np.testing.assert_allclose(y.item(), expected, rtol=1e-6)


quick = settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.host  # the rows' arrays are NumPy's
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.order])
@quick
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_every_op_of_integers_is_the_op_of_floats(name, data, kind):
    """Whatever the integers' type: what they are as floats decides the values, to the last digits."""
    row = ROWS[name]
    case = data.draw(row.cases)
    small = [1 + np.round(abs(a)).astype("int64") % 3 if a.dtype.kind == "f" else a for a in case.arrays]
    given = [[tg.tensor(s.astype(k)) if a.dtype.kind == "f" else tg.tensor(a) for s, a in
              zip(small, case.arrays, strict=True)] for k in (kind, "float32")]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # logarithms of 0, say
        try:
            results = row.op(*given[0], **case.settings)
        except (TypeError, ValueError, OverflowError):  # scores that must be floats; unsigned and below 0
            return
        expected = row.op(*given[1], **case.settings)
    several = isinstance(results, (tuple, list))
    pairs = zip(results, expected, strict=True) if several else [(results, expected)]
    for y, wanted in pairs:
        if y.dtype == kind:
            continue  # the arithmetic of these integers, which wraps around
        assert y.dtype.kind != "f" or y.dtype == tg.float32 or "dtype" in case.settings
        np.testing.assert_allclose(y.numpy().astype("float64"), wanted.numpy(), rtol=2e-6, atol=1e-6)


SUMS = {
    "sum": (lambda x: x.sum() - 300, -35),
    "sum along": (lambda x: tg.sum(x, 0), 265),
    "sum that stays": (lambda x: x.sum(dim=0, keepdim=True), 265),
    "sum of several axes": (lambda x: x.reshape(1, 3, 1).sum((0, 2)).sum(), 265),
    "prod": (lambda x: x.prod(), 12500),
    "prod along": (lambda x: x.prod(0, keepdims=True), 12500),
    "cumsum": (lambda x: x.cumsum(0)[2], 265),
    "cumsum along": (lambda x: tg.cumsum(x.reshape(3, 1), 0)[2], 265),
    "einsum": (lambda x: tg.einsum("ij->", x.reshape(1, 3)), 265),
}


@pytest.mark.parametrize("kind", ["uint8", *KINDS[2:]])
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_int64(name, kind):
    function, expected = SUMS[name]
    y = function(tg.tensor([250, 10, 5], dtype=kind))
    assert y.dtype == tg.int64
    assert y.item() == expected


def test_sums_of_booleans_and_signed_bytes():
    truths, small = tg.tensor([True] * 300), tg.tensor([-100, -100, 90], dtype="int8")
    for y, expected in ((truths.sum(), 300), (truths.cumsum(0)[-1], 300), (truths.prod(), 1),
                        (small.sum(), -110), (small.prod(), 900000), (small.cumsum(0)[1], -200)):  # fmt: skip
        assert (y.dtype, y.item()) == (tg.int64, expected)
    assert (truths.float().sum().dtype, truths.sum(dtype="float32").dtype) == (tg.float32, tg.float32)


def test_a_sum_in_a_given_type():
    x = tg.tensor([200, 100], dtype="uint8")
    assert (x.sum(dtype="uint8").dtype, x.sum(dtype="uint8").item()) == (tg.uint8, 44)
    assert (x.sum(dtype="float64").dtype, x.sum(dtype="float64").item()) == (tg.float64, 300)


def test_a_primitive_of_ones_own_may_ask_for_floats():
    seen = []

    @tg.primitive(vjp=(lambda g: g,), floating=True)
    def cube_root(xp, x):
        seen.append(x.dtype)
        return x ** (1 / 3)

    assert cube_root(tg.tensor([8, 27], dtype="int8")).dtype == tg.float32
    with tg.no_grad():
        cube_root(tg.tensor([8], dtype="float64"))
    cube_root(tg.tensor([8.0]).half())
    assert seen == ["float32", "float64", "float16"]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "float16", "float64"])
def test_a_step_of_mixed_types_is_in_a_loop_what_it_is_alone(kind, fallbacks):
    """A loop runs the ops' forwards by itself, without what an op does with types."""
    n_steps, w = 6, tg.full((3,), 0.5, requires_grad=True)
    xs = tg.tensor(np.full((n_steps, 2, 3), 5), dtype=kind)

    def step(x, h):
        roots = tg.sqrt(x) * tg.softmax(x, 1)
        new = tg.tanh(h * w + tg.exp(x) * 1e-3 + x / 7) + roots + x.sum(1, keepdims=True)
        new = new.float()
        return new, new

    found = scan(step, xs, tg.zeros(2, 3))[0]
    assert not fallbacks
    (g,) = tg.grad(found.sum(), [w])
    h, outputs = tg.zeros(2, 3), []
    for x in xs:
        h = step(x, h)[0]
        outputs.append(h)
    expected = tg.stack(outputs)
    assert found.dtype == expected.dtype == tg.float32
    np.testing.assert_allclose(found.tolist(), expected.tolist(), rtol=1e-6)
    np.testing.assert_allclose(g.tolist(), tg.grad(expected.sum(), [w])[0].tolist(), rtol=1e-5)
    assert abs(g.numpy()).min() > 0
