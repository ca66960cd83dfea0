"""Ops of one's own: rules that read what they name, joint rules, several results; and wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.engine import REGISTRY
from tinygrad_rnn.testing import gradcheck


@pytest.fixture(autouse=True)
def _registry_as_it_was():
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def numbers(*shape):
    return tg.tensor(np.random.default_rng(0).uniform(0.5, 1.5, shape))


def test_a_rule_reads_what_it_names():
    seen = {}

    def rule(g, y, x, x_shape, scale):
        seen.update(y=y, x=x, x_shape=x_shape, scale=scale)
        return g * scale * y

    @tg.primitive(vjp=(rule,))
    def scaled_exp(xp, x, *, scale=2.0):
        """exp(scale * x)."""
        return xp.exp(scale * x)

    gradcheck(scaled_exp, numbers(2, 3), order=2)
    gradcheck(lambda x: scaled_exp(x, scale=0.5), numbers(2, 3), order=2)
    x = numbers(3).requires_grad_()
    scaled_exp(x, scale=0.25).sum().backward()
    assert (seen["x_shape"], seen["scale"]) == ((3,), 0.25)
    assert scaled_exp.__doc__ == "exp(scale * x)."
    assert scaled_exp.__name__ == "scaled_exp"


def test_broadcasting_and_types_are_the_engines():
    @tg.primitive(vjp=(lambda g, b: g * b, lambda g, a: g * a))
    def times(xp, a, b):
        return a * b

    gradcheck(times, numbers(2, 1), numbers(3), order=2)
    a, b = tg.ones(2, 1, dtype="float16", requires_grad=True), tg.ones(3, requires_grad=True)
    times(a, b).sum().backward()
    assert (a.grad.shape, a.grad.dtype) == ((2, 1), tg.float16)
    assert times(a, 2.0).requires_grad


def test_no_rule_means_no_gradient():
    @tg.primitive(vjp=(lambda g: g, None))
    def first(xp, a, b):
        return a + 0 * b

    @tg.primitive(vjp=None)
    def steps(xp, x):
        return xp.floor(x)

    a, b = numbers(2).requires_grad_(), numbers(2).requires_grad_()
    first(a, b).sum().backward()
    assert a.grad.tolist() == [1.0, 1.0]
    assert b.grad is None
    assert not steps(a).requires_grad


def test_a_joint_rule_with_several_results_is_told_what_is_needed():
    asked = []

    def rule(g, a, b, needs):
        asked.append(needs)
        gs, gd = (0.0 if part is None else part for part in g)
        return [gs + gd if needs[0] else None, gs - gd if needs[1] else None]

    @tg.primitive(vjp=rule)
    def sum_and_difference(xp, a, b):
        return a + b, a - b

    gradcheck(sum_and_difference, numbers(2, 3), numbers(2, 3), order=2)
    asked.clear()
    a, b = numbers(2).requires_grad_(), numbers(2)
    s, d = sum_and_difference(a, b)
    assert s.grad_fn.name() == d.grad_fn.name() == "sum_and_difference"
    d.sum().backward()
    assert a.grad.tolist() == [1.0, 1.0]
    assert asked == [(True, False)]


def test_any_number_of_arguments():
    @tg.primitive(vjp=lambda g, xs: [g * 2 * x for x in xs])
    def sum_of_squares(xp, *xs):
        total = xs[0] * xs[0]
        for x in xs[1:]:
            total = total + x * x
        return total

    gradcheck(sum_of_squares, numbers(2), numbers(2), numbers(2), order=2)


def test_rules_whose_signature_is_wrong_are_refused_at_once():
    for vjp, text in [
        ((lambda g, z: g,), r"op: a rule reads \['g', 'z'\]; it takes g first, then any of \['y', 'x', "),
        ((lambda x: x,), "it takes g first"),
        ((lambda: 1,), "it takes g first"),
        ((lambda g: g, lambda g: g), r"op: 2 rules for the arguments \['x'\]; it takes one for each"),
        ((), r"op: 0 rules for the arguments"),
        (lambda g, nothing: [g], "any of"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=text):

            @tg.primitive(vjp=vjp)
            def op(xp, x):
                return x


def test_rules_that_return_something_wrong():
    @tg.primitive(vjp=lambda g, a, b: [g])
    def forgets(xp, a, b):
        return a + b

    @tg.primitive(vjp=(lambda g: g[:1],))
    def cuts(xp, x):
        return x * 2

    x = numbers(3).requires_grad_()
    with pytest.raises(
        TypeError, match="forgets: its rule returned 1, expected a list of gradients, one for each of 2"
    ):
        forgets(x, x).sum().backward()
    with pytest.raises(ValueError, match=r"cuts: a rule returned .* shape \(1,\) for .* of shape \(3,\)"):
        cuts(x).sum().backward()
    with pytest.raises(TypeError, match=r"cuts: expected 1 arguments \(x\), got 2"):
        cuts(x, x)
    with pytest.raises(TypeError, match="cuts: argument 1 is a list"):
        cuts([1.0])


def test_what_no_rule_reads_is_not_saved():
    for vjp, kept in [
        ((lambda g: g,), 0),
        ((lambda g, y: g * y,), 1),
        ((lambda g, x: g * x,), 1),
        ((lambda g, x, y: g,), 2),
    ]:

        @tg.primitive(vjp=vjp)
        def op(xp, x):
            return x * 2

        y = op(numbers(3).requires_grad_())
        assert sum(v is not None for v in y.vertex.saved) == kept
