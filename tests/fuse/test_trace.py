"""What ends a trace, what a trace rests on, and what is the same after it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.fuse.ir import N, Type
from tinygrad_rnn.fuse.reverse import reverse
from tinygrad_rnn.fuse.scan import scan
from tinygrad_rnn.fuse.trace import Untraceable, trace

pytestmark = pytest.mark.host
FLOAT = np.dtype("float32")
ROWS = Type((N, 3), FLOAT)
X = tg.randn(5, 2, 3)
held = []
scale = 1.0


def test_a_block_prints_its_instructions_and_says_what_it_means():
    w = tg.randn(3, 4)
    block, constants, *_ = trace(lambda x: [tg.tanh(x @ w) * x.shape[0]], [ROWS])
    assert len(constants) == 1
    assert constants[0] is w
    assert str(block).splitlines()[2:] == [
        "  %2: float32[n, 4] = matmul(%0, %1)",
        "  %3: float32[n, 4] = tanh(%2)",
        "  %4: float32[n, 4] = mul(%3, n)",
        "  return %4",
    ]
    x = np.ones((6, 3), "float32")
    (y,) = block.run([x], [w.array], 6)
    np.testing.assert_allclose(y, np.tanh(x @ w.numpy()) * 6, rtol=1e-5)


def test_the_reverse_has_the_line_that_makes_a_weights_gradient():
    w = tg.randn(3, 3, requires_grad=True)
    block = trace(lambda x, h: [tg.tanh(x + h @ w)], [ROWS, ROWS]).block
    back = reverse(block, block.results, block.params, block.constants)
    (term,) = back.terms
    assert term.kind is not None
    assert term.kind.__name__ == "Product"
    h, g = term.fields
    assert back.saved[back.block.params.index(h) - 1] is block.params[1]
    assert g is back.gradients[0]  # the gradient of what tanh is given, which is that of x, too


def asks(x):
    return [x + 1 if x.sum().item() > 0 else x]


def draws(x):
    return [nn.functional.dropout(x, 0.5, True)]


def branches(x):
    return [x if x.sum() > 0 else -x]


def keeps(x):
    held.append(x * 2)
    return [held[-1] + 1]


def another_for_each_size(x):
    return [x.reshape(-1) if x.shape[0] > 6 else (x + 1).reshape(-1)]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (asks, "asks for a value that is not computed yet"),
        (draws, "draws random numbers"),
        (branches, "asks for a value that is not computed yet"),
        (keeps, "is held after it"),
        (another_for_each_size, "another batch size"),
    ],
)
def test_what_ends_a_trace(function, reason):
    state = tg.backend.get_rng_state()
    with pytest.raises(Untraceable, match=reason):
        trace(function, [ROWS])
    assert tg.backend.get_rng_state() == state
    assert not held


def test_a_step_that_holds_its_values_runs_op_by_op():
    seen = []

    def step(x, h):
        h = tg.tanh(x + h)
        seen.append(h)
        return h, h

    outputs, _ = scan(step, X, tg.zeros(2, 3))
    assert len(seen) == 5
    np.testing.assert_array_equal(tg.stack(seen).numpy(), outputs.numpy())


class Scaled(nn.Cell):
    def __init__(self):
        super().__init__(3, 3)
        self.w = nn.Parameter(tg.randn(3, 3))
        self.factor, self.factors = 1.0, [1.0, 2.0]

    def step(self, px, h):
        return tg.tanh(px * self.factor * self.factors[0] * helper() + h @ self.w)


def helper():
    return scale


def run(cell, x=X):
    def step(x, h):
        h = cell.step(x, h)
        return h, h

    return scan(step, x, tg.zeros(*x.shape[1:], dtype=x.dtype))[0].numpy()


def right(cell, x=X):
    with tg.eager():
        return run(cell, x)


def change_attribute(cell):
    cell.factor = 3.0


def change_element(cell):
    cell.factors[0] = 5.0


def change_values(cell):
    cell.w.data.copy_(tg.ones(3, 3))


def replace_parameter(cell):
    cell.w = nn.Parameter(tg.randn(3, 3))


def change_global(cell):
    globals()["scale"] = 2.5


@pytest.mark.parametrize(
    "change", [change_attribute, change_element, change_values, replace_parameter, change_global]
)
def test_a_change_between_two_calls_is_seen(change, monkeypatch):
    monkeypatch.setitem(globals(), "scale", 1.0)
    cell = Scaled()
    before = run(cell)
    np.testing.assert_allclose(before, right(cell), rtol=1e-5, atol=1e-6)
    change(cell)
    after = run(cell)
    assert abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, right(cell), rtol=1e-5, atol=1e-6)


def test_a_closure_and_a_type_that_change_are_seen():
    factor = 1.0

    def step(x, h):
        h = tg.tanh(x * factor + h)
        return h, h

    first = scan(step, X, tg.zeros(2, 3))[0].numpy()
    factor = 2.0
    second = scan(step, X, tg.zeros(2, 3))[0].numpy()
    assert abs(second - first).max() > 1e-2
    wide = scan(step, X.double(), tg.zeros(2, 3, dtype="float64"))[0]
    assert wide.dtype == np.float64
