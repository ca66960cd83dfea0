"""The checker is checked: right rules pass, every kind of wrong rule fails, and the message says where."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.support.strategies import LAYOUTS, Domain, laid_out
from tinygrad_rnn.engine import REGISTRY, primitive
from tinygrad_rnn.testing import gradcheck

X = np.array([[0.5, -1.25, 2.0], [0.75, 1.5, -0.5]])
ROW = np.array([1.5, -0.5, 0.25])


@pytest.fixture(autouse=True)
def registry():
    """Ops defined in a test do not stay."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def cube_with(rule):
    @primitive(vjp=(rule,))
    def cube(xp, x):
        return x * x * x

    return cube


def product_with(first, second):
    @primitive(vjp=(first, second))
    def product(xp, a, b):
        return a * b

    return product


def test_right_rules_pass():
    gradcheck(cube_with(lambda g, x: 3 * g * x * x), X, order=2)
    gradcheck(product_with(lambda g, b: g * b, lambda g, a: g * a), X, ROW, order=2)


@pytest.mark.parametrize("array", [np.array(0.5), np.zeros((0, 3)), X.T, X[::-1, ::-1], X.astype("float32")])
def test_shapes_and_layouts(array):
    gradcheck(tg.tanh, array, order=2)
    gradcheck(tg.tanh, tg.tensor(array), order=2)


def test_several_outputs_integers_and_numbers_among_the_inputs():
    index = np.array([0, 2, 0])
    gradcheck(lambda x, i, c: (x[:, i] * c, (x.sum(), x > 0)), X, index, 2.5, order=2)


def test_a_gradient_that_is_zero_or_missing_passes():
    gradcheck(lambda x: x * 0.0, X, order=2)
    gradcheck(lambda x, y: x * x, X, ROW, order=2)


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, x: 2 * g * x * x,  # factor
        lambda g, x: -3 * g * x * x,  # sign
        lambda g, x: 3 * x * x,  # upstream gradient left out
        lambda g, x: 3 * g * x * x + 1e-3,  # a little too much
        lambda g: g * 0.0,  # none at all
        lambda g, x: 3 * g * x * x * float("nan"),
    ],
)
def test_wrong_first_order_fails(rule):
    with pytest.raises(AssertionError, match="gradient of cube with respect to input 0, element"):
        gradcheck(cube_with(rule), X)


def test_one_wrong_element_is_found():
    mask = np.zeros_like(X)
    mask[1, 2] = 1.0
    mask = tg.tensor(mask).array  # in the library under test
    with pytest.raises(AssertionError, match=r"input 0, element \(1, 2\): expected .* got "):
        gradcheck(cube_with(lambda g, x: g * (3 * x * x + mask)), X)


def test_the_wrong_input_is_named():
    with pytest.raises(AssertionError, match=r"product with respect to input 1, element \(0,\)"):
        gradcheck(product_with(lambda g, b: g * b, lambda g, a: 2 * g * a), X, ROW)


def test_a_sum_over_the_wrong_axis_fails():
    """A rule that does its own summing, and keeps one row where all should be added."""
    op = product_with(lambda g, b: g * b, lambda g, a: (g * a)[0])
    gradcheck(op, X[:1], ROW)
    with pytest.raises(AssertionError, match="input 1"):
        gradcheck(op, X, ROW)


def test_a_gradient_of_the_wrong_shape_fails():
    with pytest.raises((AssertionError, ValueError)):
        gradcheck(product_with(lambda g, b: g * b, lambda g: g[:, :2]), X, X)


def test_only_the_second_order_wrong():
    """The first gradient is right, but a constant to the graph, or bent on the way."""

    def detached(g, x):
        return 3 * g * (x.detach() if isinstance(x, tg.Tensor) else x) * x

    gradcheck(cube_with(detached), X)
    with pytest.raises(AssertionError, match="second-order gradient of cube"):
        gradcheck(cube_with(detached), X, order=2)

    def wrong(g, x):
        return (3.5 if isinstance(x, tg.Tensor) else 3) * g * x * x

    gradcheck(cube_with(wrong), X)
    with pytest.raises(AssertionError, match="create_graph=True changes the gradient"):
        gradcheck(cube_with(wrong), X, order=2)


def test_a_second_order_that_forgets_the_upstream_gradient():
    def rule(g, x):
        return 3 * (g.detach() if isinstance(g, tg.Tensor) else g) * x * x

    with pytest.raises(AssertionError, match="the upstream gradient of output 0"):
        gradcheck(cube_with(rule), X, order=2)


def test_a_kink_is_pointed_out():
    with pytest.raises(AssertionError, match="on one side and"):
        gradcheck(tg.relu, np.zeros(2))
    gradcheck(tg.relu, np.array([-0.1, 0.1]), order=2)


def test_a_function_that_is_cut_off_from_its_input():
    with pytest.raises(AssertionError, match="does not depend on it in the graph"):
        gradcheck(lambda x: x.detach() * 2, X)


def test_lower_precision_is_found():
    with pytest.raises(AssertionError, match="is float32 for inputs of float64"):
        gradcheck(lambda x: x.float() * 2, X)


def test_chance_is_found():
    with pytest.raises(AssertionError, match="different values when it is called twice"):
        gradcheck(lambda x: x * tg.rand(3, dtype="float64"), X)


def test_what_cannot_be_checked():
    with pytest.raises(ValueError, match="order is 1 or 2, got 3"):
        gradcheck(tg.tanh, X, order=3)
    with pytest.raises(TypeError, match="no input is a floating"):
        gradcheck(tg.relu, np.arange(3))
    with pytest.raises(TypeError, match="returns no floating tensor"):
        gradcheck(lambda x: x > 0, X)


def test_inputs_stay_as_they_are():
    x = X.copy()
    gradcheck(lambda a: tg.exp(a) @ tg.tensor(np.ones((3, 1))), x, order=2)
    np.testing.assert_array_equal(x, X)


def unchanged(g):
    return g


@pytest.mark.parametrize(("name", "inputs"), [("mul", (X, X)), ("tanh", (X,)), ("sum", (X,)), ("exp", (X,))])
def test_a_bent_rule_of_the_library_is_found(name, inputs, monkeypatch):
    spec = REGISTRY[name]
    bent = [(lambda *args, rule=rule: (rule or unchanged)(*args) * 1.01, reads) for rule, reads in spec.pulls]
    monkeypatch.setattr(spec, "pulls", bent)
    with pytest.raises(AssertionError, match="gradcheck: gradient of"):
        gradcheck(getattr(tg, name), *inputs)


def test_gradcheck_needs_no_hypothesis():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import tinygrad_rnn as tg\n"
        "from tinygrad_rnn.testing import gradcheck\n"
        "gradcheck(tg.tanh, tg.ones(2), order=2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_keep_the_values(layout):
    for array in (np.array(1.5), np.zeros((0, 2)), X, np.arange(24.0).reshape(2, 3, 4)):
        other = laid_out(array, layout)
        np.testing.assert_array_equal(other, array)
        assert not np.shares_memory(other, array)
        assert other.flags.writeable


def test_domains_keep_away_from_kinks():
    rng = np.random.default_rng(0)
    x = Domain(-1, 1, kinks=(0.0, 0.5), gap=0.1).sample((1000,), rng)
    assert abs(x).min() >= 0.1 - 1e-12
    assert abs(x - 0.5).min() >= 0.1 - 1e-12
    y = np.sort(Domain(distinct=True).sample((10, 10), rng).reshape(-1))
    assert np.diff(y).min() > 4 / 100 * 0.5
