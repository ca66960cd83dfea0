"""Elementwise instructions in groups: the same values, and one kernel for each group."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.support import strict
from tinygrad_rnn.fuse.ir import N, Type
from tinygrad_rnn.fuse.lower.straight import Straight
from tinygrad_rnn.fuse.passes.groups import Group, grouped
from tinygrad_rnn.fuse.passes.simplify import simplified
from tinygrad_rnn.fuse.reverse import reverse
from tinygrad_rnn.fuse.trace import trace

pytestmark = pytest.mark.host
FLOAT = np.dtype("float64")


def lstm(x, h, c, w, b):
    i, f, g, o = tg.chunk(x + h @ w + b, 4, axis=-1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return [tg.sigmoid(o) * tg.tanh(c), c]


def gru(x, h, w, u):
    xr, xz, xn = tg.chunk(x, 3, axis=-1)
    r, z = tg.chunk(tg.sigmoid(tg.concat([xr, xz], axis=-1) + h @ w), 2, axis=-1)
    return [z * tg.tanh(xn + (r * h) @ u) + (1 - z) * h]


def branches(x, h):
    """Two shapes, a comparison, a row that is shared, and a value that is a result and read again."""
    y = tg.exp(x) * x
    s = y.sum(axis=-1, keepdims=True)
    return [tg.where(x > h, y / s, 0.0), y, s * 2]


def early_and_late(x, h, w):
    """What waits for no product stands beside what does: they run together."""
    return [(h @ w) * tg.tanh(x)]


STEPS = {
    "lstm": (lstm, [(N, 12), (N, 3), (N, 3), (3, 12), (12,)], 1, 1),
    "gru": (gru, [(N, 9), (N, 3), (3, 6), (3, 3)], 2, 4),
    "branches": (branches, [(N, 4), (N, 4)], 3, None),
    "early and late": (early_and_late, [(N, 3), (N, 3), (3, 3)], 1, 1),
}


def blocks(name):
    function, shapes, *counts = STEPS[name]
    block = simplified(trace(function, [Type(s, FLOAT) for s in shapes]).block)
    rev = reverse(block, [*block.results], [*block.params], ())
    assert not rev.constants
    return block, rev, counts


def arrays_for(block, n=4):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.2, 1.5, r.type.at(n)) for r in block.params]
    return [a > 0.8 if r.dtype.kind == "b" else a for a, r in zip(arrays, block.params, strict=True)]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(getattr(a, "host", a), b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", STEPS)
def test_groups_compute_the_same(name):
    block, rev, counts = blocks(name)
    for own, expected in zip((block, rev.block), counts, strict=True):
        new = grouped(own)
        groups = [i.op for i in new.instructions if isinstance(i.op, Group)]
        left = [i for i in new.instructions if i.op.elementwise]  # what a column of sums is broadcast in
        assert all(any(a.shape[-1:] == (1,) for a in i.reads()) for i in left)
        if expected is not None:
            assert len(groups) == expected
        arrays = arrays_for(own)
        values = own.run(arrays, [], 4)
        assert_same(new.run(arrays, [], 4), values)
        straight = Straight(new, 4, tg.backend.find("numpy"))
        for _ in range(2):  # the second time in memory that was used before
            assert_same(straight(arrays), values)


@needs_compiler
@pytest.mark.parametrize("name", STEPS)
def test_a_group_is_one_kernel(name):
    for own in blocks(name)[:2]:
        own = getattr(own, "block", own)
        new, arrays = grouped(own), arrays_for(own)
        values = own.run(arrays, [], 4)
        with strict.kernels() as xp:
            there = [xp.from_numpy(a) for a in arrays]
            assert_same(Straight(new, 4, xp)(there), values)
            assert xp.launched["group"] == sum(isinstance(i.op, Group) for i in new.instructions)


def test_what_stands_between():
    """A value that a product needs and one that needs the product are in two groups."""
    block = simplified(
        trace(lambda x, w: [tg.tanh(tg.exp(x) @ w)], [Type((N, 3), FLOAT), Type((3, 3), FLOAT)]).block
    )
    names = [i.op.name for i in grouped(block).instructions]
    assert names == ["group", "matmul", "group"]
