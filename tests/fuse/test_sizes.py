"""Steps that work on the rows of a batch, or tell one batch size from another: as op by op, errors too."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.fuse.scan import scan
from tinygrad_rnn.nn import functional as F

pytestmark = pytest.mark.host


def rows_of_a_table(n):
    table = tg.randn(n, 1)
    return lambda x: x * table[: x.shape[0]]


CASES = {
    "one chunk": lambda x: tg.chunk(x, 1, 0)[0],
    "one piece": lambda x: tg.split(x, [x.shape[0]], 0)[0],
    "a piece for each row": lambda x: x + tg.split(x, 1, 0)[0],
    "a row": lambda x: x + x[1],
    "a row from the end": lambda x: x + x[-2],
    "a row that is not there": lambda x: x + x[2],
    "rows": lambda x: x + x[[0, 1]].sum(0),
    "rows that are not there": lambda x: x + x[[0, 2]].sum(0),
    "the first rows": lambda x: x + x[:3].sum(0),
    "the last rows": lambda x: x + x[-3:].sum(0),
    "rows in between": lambda x: x + x[1:3].sum(0),
    "too many of the largest": lambda x: x + tg.topk(x, 3, axis=0)[0].sum(0),
    "a selected row": lambda x: x + x.select(0, 1),
    "rows backwards": lambda x: x.flip(0),
    "sums of rows": lambda x: x.cumsum(0),
    "sorted rows": lambda x: x.sort(0)[0],
    "normalised rows": lambda x: F.softmax(x, 0),
    "largest of rows": lambda x: x - x.max(0)[0],
    "mean of rows": lambda x: x - x.mean(0),
    "rows as columns": lambda x: (x.t() * tg.arange(x.shape[0])).t(),
    "rows in another order": lambda x: x[tg.tensor([1, 0])],
    "squeezed": lambda x: x.squeeze().reshape(x.shape),
    "of two rows alone": lambda x: x.reshape(2, 3) * tg.ones(2, 3),
    "a table": rows_of_a_table(9),
    "a table for a trace alone": rows_of_a_table(6),
    "a table that is short": rows_of_a_table(1),
    "a branch": lambda x: x * 2 if len(x) == 2 else x,
    "a branch for one": lambda x: x * 2 if x.shape[0] == 1 else x,
    "a branch for many": lambda x: x * 2 if len(x) > 8 else x,
    "at least": lambda x: x * max(len(x), 3),
    "at most": lambda x: x + x[: min(len(x), 4)].sum(0),
    "odd and even": lambda x: x * (len(x) % 2),
    "per row": lambda x: x / len(x),
}


@pytest.mark.parametrize("n", [0, 1, 2, 7, 9])
@pytest.mark.parametrize("name", CASES)
def test_a_step_for_each_batch_size(name, n):
    x, h0 = tg.randn(4, n, 3, requires_grad=True), tg.randn(n, 3)

    def run(**settings):
        try:
            outputs, _ = scan(lambda x, h: (tg.tanh(CASES[name](x) + h),) * 2, x, h0, **settings)
            return [outputs.numpy(), tg.grad((outputs * outputs).sum(), [x])[0].numpy()]
        except (ValueError, IndexError, TypeError, RuntimeError) as error:
            return [type(error)]

    for settings in ({}, {"lengths": [4, 2, 1, 3, 4, 0, 1, 1, 2][:n], "reverse": True}):
        fast = run(**settings)
        with tg.eager():
            slow = run(**settings)
        assert len(fast) == len(slow)
        for a, b in zip(fast, slow, strict=True):
            if isinstance(a, type) or isinstance(b, type):
                assert a is b
            else:
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_piece_that_is_saved_is_not_computed_again_beside_others():
    """Two pieces of which one is a result: going back, both had one name."""

    def function(x):
        _, b, c = tg.chunk(x, 3, axis=-1)
        return tg.logaddexp(b, c) ** 3, b

    x = tg.randn(5, 12, dtype="float64", requires_grad=True)

    def in_a_loop(x, h):
        y, b = function(x)
        return (y + h, b), h * 0.5

    for run in (
        lambda: tg.pointwise(function)(x),
        lambda: scan(in_a_loop, x.reshape(5, 1, 12), tg.zeros(1, 4, dtype="float64"))[0],
    ):
        y, b = run()
        (fast,) = tg.grad(y.sum() + 2 * b.sum(), [x])
        with tg.eager():
            y, b = run()
            (slow,) = tg.grad(y.sum() + 2 * b.sum(), [x])
        np.testing.assert_allclose(fast.numpy(), slow.numpy())
