"""Calls that take the short way of engine/fast.py, and when they may not."""

from __future__ import annotations

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.engine import mode
from tinygrad_rnn.nn import Parameter


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
