"""Calls that take the short way of engine/fast.py, and when they may not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.engine.test_state_machine import Graphs
from tests.ops.test_rows import as_type, kept, tensors, tracked, upstream
from tests.support.rows import ROWS
from tinygrad_rnn import engine
from tinygrad_rnn.engine import core, fast, mode
from tinygrad_rnn.nn import Parameter


def both_ways(name, case, dtype, retain):
    """Results, what nodes saved, and gradients of a row, by fast.py and by core.py."""
    found = []
    for plain, backward in ((True, fast.backward), (False, core.backward)):
        token = mode.enter(mode.USUAL._replace(plain=plain))
        try:
            leaves = tensors([as_type(a.copy(), dtype) for a in case.arrays])
            results = tracked(ROWS[name].op(*leaves, **case.settings))
            saved = kept(results)
            for _ in range(1 + retain):
                backward(results, upstream(results), retain_graph=retain)
        finally:
            mode.stop(token)
        grads = [None if x.grad is None else (x.dtype, x.grad.tolist()) for x in leaves]
        found.append(([(y.dtype, y.tolist(), hasattr(y, "view_of")) for y in results], saved, grads))
    return found


@pytest.mark.host
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.order])
@settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), retain=st.booleans())
def test_fast_is_core(name, data, dtype, retain):
    """Bit for bit, for every op's row."""
    short, long = both_ways(name, data.draw(ROWS[name].cases), dtype, retain)
    assert str(short) == str(long)


class GraphsTheLongWay(Graphs):
    """The random graphs by core.py alone; by fast.py they are tests/engine/test_state_machine.py."""

    def __init__(self):
        super().__init__()
        self.token = mode.enter(mode.USUAL._replace(plain=False))
        self.before, engine.backward = engine.backward, core.backward

    def teardown(self):
        try:
            super().teardown()
        finally:
            engine.backward = self.before
            mode.stop(self.token)


test_graphs_the_long_way = GraphsTheLongWay.TestCase
test_graphs_the_long_way.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_usual_backward_is_fast_and_the_others_are_core(monkeypatch):
    """So that the tests above compare what they say."""
    called = []
    monkeypatch.setattr(
        core, "backward", lambda *a, real=core.backward, **k: called.append(1) or real(*a, **k)
    )
    x = tg.ones(2, requires_grad=True)

    def uses_core(act):
        called.clear()
        act((x * x * x).sum())
        return bool(called)

    assert not uses_core(lambda y: y.backward())
    assert not uses_core(lambda y: y.backward(retain_graph=True))
    assert uses_core(lambda y: y.backward(create_graph=True))
    assert uses_core(lambda y: y.backward(inputs=[x]))
    assert uses_core(lambda y: tg.grad(y, x))
    assert uses_core(lambda y: (y.register_hook(lambda g: None), y.backward()))
    with tg.debug():
        assert uses_core(lambda y: y.backward())


def test_after_every_switch_the_mode_is_the_usual_one_again():
    assert mode.current() is mode.USUAL
    with tg.no_grad():
        assert mode.current() is not mode.USUAL
        with tg.enable_grad():
            assert mode.current() is mode.USUAL
    tg.set_grad_enabled(False)
    tg.set_grad_enabled(True)
    assert mode.current() is mode.USUAL
    with tg.debug(), pytest.raises(FloatingPointError, match="add"):
        tg.tensor([float("inf")]) + 1.0
    assert mode.current() is mode.USUAL


def test_without_a_graph_no_node_is_made():
    x = tg.ones(2, requires_grad=True)
    with tg.no_grad():
        assert (x * x).vertex is None
        assert tg.tanh(x).vertex is None
    assert (x.detach() * 2.0).vertex is None
    assert tg.tanh(x.detach()).vertex is None


@pytest.mark.parametrize("other", [2, 2.0, True])
def test_numbers_do_not_change_the_type(other):
    for kind in ("float16", "float32", "float64"):
        x = Parameter(tg.ones(2, dtype=kind))
        y = x * other
        assert y.dtype == kind
        y.sum().backward()
        assert x.grad.tolist() == [float(other)] * 2
        assert (other * x).dtype == kind
    assert (tg.tensor([1, 2]) * 2).dtype == "int64"
    assert (tg.tensor([1, 2]) * 2.0).dtype == tg.float32


def test_types_that_differ_and_results_that_are_of_another():
    x, y = tg.ones(2, requires_grad=True), tg.ones(2, dtype="float64", requires_grad=True)
    z = x * y
    assert z.dtype == "float64"
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == ("float32", "float64")
    assert (x < x).dtype == "bool"
    assert (tg.tensor([1]) / tg.tensor([2])).tolist() == [0.5]
    assert tg.ones(3, requires_grad=True).sum().shape == ()


def test_a_wrong_argument_is_named_and_nothing_runs_twice():
    with pytest.raises(ValueError, match=r"mul: got float32 \(2,\) and float32 \(3,\): these shapes do not"):
        tg.ones(2) * tg.ones(3)
    with pytest.raises(TypeError, match="tanh"):
        tg.tanh(tg.ones(2), tg.ones(2))
    with pytest.raises(TypeError, match="mul"):
        tg.ones(2) * "a"
    calls = []

    @tg.primitive(vjp=(lambda g: g,))
    def counted(xp, x):
        calls.append(1)
        return x.sum()  # a scalar of NumPy's

    assert counted(tg.ones(3)).shape == ()
    assert calls == [1]
