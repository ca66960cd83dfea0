"""Every op inside a loop over time: values, gradients and gradients of gradients as op by op."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.support.rows import ROWS
from tinygrad_rnn import Tensor
from tinygrad_rnn.fuse.scan import scan

pytestmark = pytest.mark.host
quick = settings(
    max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

# Ops that no loop can read once, each with the reason. A step that calls one runs op by op.
OP_BY_OP = {
    "masked_select": "the shape of the result depends on the values",
    "multinomial": "draws random numbers",
    "set_item": "its rule writes in the gradient that it is given",
    "set_view": "its rule writes in the gradient that it is given",
    "scatter": "it is made of set_item",
    "index_copy": "it is made of set_item",
    "masked_scatter": "which elements it takes depends on the values",
    "cummax": "it is worked out on arrays",
    "cummin": "it is worked out on arrays",
    "gaussian_nll_loss": "it asks whether a variance is negative",
    "nonzero": "the shape of the result depends on the values",
}


def floats(results):
    if isinstance(results, (tuple, list)):
        return [y for part in results for y in floats(part)]
    return [results.double() if not results.is_floating_point() else results]


def in_a_loop(op, arrays, chosen, order):
    """Results and gradients where the op's arguments are the state of a loop of three steps."""
    states = tuple(Tensor._of(a[None].copy()) for a in arrays)
    for s in states:
        s.requires_grad = s.is_floating_point()

    def step(x, states):
        results = floats(op(*(s[0] for s in states), **chosen))
        rows = [r.reshape(1, -1) for r in results]
        shown = tg.cat([r + x[:, :1] * 0 for r in rows], 1)
        return shown, tuple(s * 1.01 if s.is_floating_point() else s for s in states)

    outputs, final = scan(step, tg.zeros(3, 1, 1, dtype="float64"), states)
    leaves = [s for s in states if s.requires_grad]
    rng = np.random.default_rng(0)
    found = [outputs, *final]
    if not order or not leaves or not outputs.requires_grad:
        return found + [tg.zeros_like(s) for s in leaves * order]
    weights = [tg.tensor(rng.uniform(0.5, 1.5, y.shape)) for y in found if y.is_floating_point()]
    loss = sum(
        (y * w).sum() for y, w in zip([y for y in found if y.is_floating_point()], weights, strict=True)
    )
    first = tg.grad(loss, leaves, create_graph=order == 2, allow_unused=True)
    found += [tg.zeros_like(s) if g is None else g for g, s in zip(first, leaves, strict=True)]
    if order == 2:
        squares = sum(((g * g).sum() for g in first if g is not None and g.requires_grad), tg.zeros(()))
        if squares.requires_grad:
            second = tg.grad(squares, leaves, allow_unused=True)
            found += [tg.zeros_like(s) if g is None else g for g, s in zip(second, leaves, strict=True)]
        else:
            found += [tg.zeros_like(s) for s in leaves]
    return found


@pytest.mark.parametrize("name", ROWS)
@quick
@given(data=st.data())
def test_an_op_in_a_loop_is_the_op(name, data, fallbacks):
    row = ROWS[name]
    case = data.draw(row.cases)
    arrays = [a.astype("float64") if a.dtype.kind == "f" else a for a in case.arrays]
    if not arrays:
        return
    del fallbacks[:]
    with np.errstate(all="ignore"):
        fast = in_a_loop(row.op, arrays, case.settings, row.order)
        with tg.eager():
            slow = in_a_loop(row.op, arrays, case.settings, row.order)
    if name.split()[0] not in OP_BY_OP:
        assert not fallbacks
    assert len(fast) == len(slow)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ROWS)
@quick
@given(data=st.data())
def test_ops_that_look_at_their_arguments_memory_say_so(name, data):
    """What is computed into scratch memory is written over where nobody is known to look at it."""
    case = data.draw(ROWS[name].cases)
    seen = []
    token = tg.engine.mode.observe(lambda op, call, out, node: seen.append((op, call, out)))
    try:
        with np.errstate(all="ignore"):
            ROWS[name].op(*(Tensor._of(a.copy()) for a in case.arrays), **case.settings)
    finally:
        tg.engine.mode.stop(token)
    for op, call, out in seen:
        if isinstance(op, tg.engine.Primitive) and op.view is tg.engine.Look.never:
            for y in out if isinstance(out, tuple) else (out,):
                shared = [a for a in call.arrays if y.array.size and np.shares_memory(y.array, a)]
                assert not shared, f"{op.name} gives a view of its argument"
