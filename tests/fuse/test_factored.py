"""Reverses as sums of gradients times factors: the same gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import library_functions
from tinygrad_rnn.fuse.ir import Block, Builder, N, Ref, Type
from tinygrad_rnn.fuse.passes.factors import MUL, factored
from tinygrad_rnn.fuse.reverse import reverse

pytestmark = pytest.mark.host
FLOAT = np.dtype("float64")


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


def block_of(function):
    return function.read([Type((N, 6 * n), FLOAT) for n in function.pieces])


def arrays(refs, n, rng):
    return [rng.standard_normal(r.type.at(n)) for r in refs]


def value(found):
    return [None if v is None else np.asarray(v) for v in found]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_of_products_are_what_the_reverse_gives(name):
    block, rng, n = block_of(FUNCTIONS[name]), np.random.default_rng(0), 7
    for seeded in (block.results, block.results[:1], block.results[-1:]):
        back = reverse(block, seeded, block.params, [])
        form = factored(back.block, len(seeded))
        given = arrays(back.block.params, n, rng)
        expected = value(back.block.run(given, [], n))
        factors = form.factors.run(given, [], n)
        found = value(form.block.run([*given, *factors], [], n))
        for a, b in zip(found, expected, strict=True):
            if b is None:
                assert a is None
            else:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_factors_read_no_gradient_and_gradients_meet_in_one_product_each():
    from tinygrad_rnn.nn.cells import gru_reset_after, lstm

    for function, n_sums in ((lstm, 1), (gru_reset_after, 0)):
        block = block_of(function)
        back = reverse(block, block.results, block.params, [])
        form = factored(back.block, len(block.results))
        seeds = {*back.block.params[: len(block.results)]}
        assert all(seeds.isdisjoint(i.reads()) for i in form.factors.instructions)
        sums = [i for i in form.block.instructions if i.op.name in ("add", "sub")]
        assert len(sums) == n_sums
        others = {i.op.name for i in form.block.instructions} - {"add", "sub", "mul"}
        assert others <= {"pick", "concat"}


def test_factors_of_constants_alone_are_worked_out_in_both_blocks():
    """0.5 * w is the same at every step: no memory of all steps is kept for it."""
    kind, row = Type((N, 3), FLOAT), Type((3,), FLOAT)
    g, w = Ref(0, kind), Ref(1, row)
    build = Builder(Block([g], [w]))
    h = build(MUL, g, w, type=kind)
    form = factored(
        build.block([build(MUL, h, 0.5, type=kind), build(MUL, build(MUL, h, w, type=kind), 2.0, type=kind)]),
        1,
    )
    assert not form.factors.instructions
    rng = np.random.default_rng(0)
    g_, w_ = arrays([g, w], 4, rng)
    found = form.block.run([g_], [w_], 4)
    for a, b in zip(found, [g_ * w_ * 0.5, g_ * w_ * w_ * 2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_what_is_not_linear_in_the_gradients_is_left_as_it_is():
    """As no rule makes it: the square of a gradient."""
    g = Ref(0, Type((N, 3), FLOAT))
    build = Builder(Block([g], []))
    form = factored(build.block([build(MUL, g, g, type=g.type)]), 1)
    assert not form.factors.instructions
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(form.block.run([x], [], 2)[0], x * x)
