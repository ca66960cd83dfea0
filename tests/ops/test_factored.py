"""Reverse programs as sums of gradients times factors: the same gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import library_functions
from tinygrad_rnn.ops.factored import factored
from tinygrad_rnn.ops.pointwise import reverse

pytestmark = pytest.mark.host


@tg.pointwise
def chosen(a, b):
    d = tg.where(a > b, a * b, 0.0) - tg.where(a > 0, 2 * b, a / (b * b + 1))
    return tg.relu(d) * a - d, tg.exp(-a) / (1 + b * b)


@tg.pointwise
def summed(a, b, c):
    s = a + b
    t = s * c - a
    return t + s, t - 2 * s, -s


@tg.pointwise
def gone(a, b):
    return a - a + b * 0.5


FUNCTIONS = {**library_functions(), "chosen": chosen, "summed": summed, "gone": gone}


def run(program, known):
    """The results of a program on numbers, by name."""
    values = dict(known)
    for step in program.steps:
        operands = [values[o] if isinstance(o, str) else o for o in step.operands]
        values[step.name] = step.op.call(*operands, **step.settings)
    return values


def total(terms, gradients, factors):
    """A sum of gradients times factors."""
    if terms is None:
        return 0.0
    return sum(gradients[g] * n * (1.0 if f is None else factors[f]) for g, (n, f) in terms.items())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_of_products_are_what_the_reverse_program_gives(name):
    function, rng = FUNCTIONS[name], np.random.default_rng(0)
    program = function.program
    for outputs in (program.outputs(), program.outputs()[:1], program.outputs()[-1:]):
        back = reverse(program, outputs, (True,) * len(program.inputs))
        form = factored(back)
        assert form is not None
        forward = run(program, {n: rng.standard_normal(7) for n in program.inputs})
        gradients = {n: rng.standard_normal(7) for n in back.inputs}
        expected = run(back, {**forward, **gradients})
        factors = run(form.factors, forward)
        for name, terms in form.sums.items():
            gradients[name] = total(terms, gradients, factors)
        for result, terms in zip(back.results, form.results, strict=True):
            found = total(terms, gradients, factors)
            np.testing.assert_allclose(
                found, 0.0 if result is None else expected[result], rtol=1e-9, atol=1e-12
            )


def test_factors_read_no_gradient_and_gradients_meet_in_one_product_each():
    from tinygrad_rnn.nn.cells import gru_reset_after, lstm

    for function, n_sums in ((lstm, 1), (gru_reset_after, 0)):
        back = reverse(function.program, function.program.outputs(), (True,) * len(function.program.inputs))
        form = factored(back)
        assert not {*back.inputs}.intersection(form.factors.outside())
        assert len(form.sums) == n_sums
        assert all(len(terms) == 1 for terms in form.results)


def test_what_is_not_linear_in_the_gradients_is_left_alone():
    def doubled(a):
        return a * a

    program = tg.pointwise(doubled).program
    assert factored(reverse(program, program.outputs(), (True,))) is not None
    assert factored(program_of_squares()) is None


def program_of_squares():
    """A reverse program as no rule makes it: the square of a gradient."""
    from tinygrad_rnn.ops import elementwise as e
    from tinygrad_rnn.ops.codegen import Program

    program = Program(["g0"], "r")
    program.results = [program.emit(e.mul.primitive, ("g0", "g0"), {})]
    return program
