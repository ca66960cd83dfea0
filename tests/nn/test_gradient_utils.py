"""clip_grad_norm_, clip_grad_value_, parameters as a vector."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    parameters_to_vector,
    vector_to_parameters,
)


def with_gradients(*gradients, dtype=None):
    """Parameters that have these gradients."""
    made = []
    for g in gradients:
        g = tg.tensor(g, dtype=dtype)
        p = nn.Parameter(tg.zeros(g.shape, dtype=g.dtype))
        p.grad = g
        made.append(p)
    return made


def raises(kind, text):
    return pytest.raises(kind, match=re.escape(text))


NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(NUMBERS, max_size=5), min_size=1, max_size=4),
    st.floats(1e-3, 1e3),
    st.sampled_from([1.0, 2.0, 3.0, math.inf]),
)
def test_the_norm_is_right_and_bounded_afterwards(gradients, bound, p):
    parameters = with_gradients(*gradients, dtype="float32")
    flat = np.concatenate([np.asarray(g, np.float64) for g in gradients])
    expected = np.linalg.norm(flat, p) if flat.size else 0.0
    norm = clip_grad_norm_(parameters, bound, p)
    assert float(norm) == pytest.approx(expected, rel=1e-5)
    after = np.concatenate([q.grad.numpy().astype(np.float64) for q in parameters])
    assert (np.linalg.norm(after, p) if after.size else 0.0) <= bound * (1 + 1e-5)
    if expected <= bound * 0.99:
        np.testing.assert_array_equal(after, flat)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_leaves_the_gradients(bad):
    a, b = with_gradients([1.0, bad], [3.0])
    norm = clip_grad_norm_([a, b], 0.5)
    assert not math.isfinite(norm)
    assert b.grad.tolist() == [3.0]
    assert a.grad[0] == 1
    with raises(RuntimeError, "clip_grad_norm_: the norm of the gradients is"):
        clip_grad_norm_([a, b], 0.5, error_if_nonfinite=True)


def test_zero_gradients_and_none():
    (p,) = with_gradients([0.0, 0.0])
    assert clip_grad_norm_([p], 1.0).item() == 0
    assert p.grad.tolist() == [0, 0]
    assert clip_grad_norm_([nn.Parameter(tg.ones(1))], 1.0).item() == 0
    assert clip_grad_norm_([], 1.0).item() == 0
    assert clip_grad_norm_(with_gradients([3.0, 4.0]), 0.0).item() == 5


def test_float16_does_not_overflow():
    p, q = with_gradients([6e4, 6e4], [6e4], dtype="float16")
    norm = clip_grad_norm_([p, q], 1.0)
    assert norm.dtype == tg.float32
    assert norm.item() == pytest.approx(6e4 * math.sqrt(3), rel=1e-3)
    assert p.grad.dtype == tg.float16
    np.testing.assert_allclose(p.grad.numpy(), 1 / math.sqrt(3), rtol=2e-3)


def test_memory_of_the_gradient_is_kept_and_types_may_differ():
    p, q = with_gradients([3.0], [4.0])
    q.data = q.data.double()
    q.grad = tg.tensor([4.0], dtype="float64")
    memory = p.grad.array
    norm = clip_grad_norm_(iter([p, q]), 1)
    assert norm.dtype == tg.float64
    assert p.grad.array is memory
    assert memory.tolist() == [pytest.approx(0.6)]
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(0.6)


def test_a_backward_that_still_needs_the_gradient_says_so():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    y = (x.grad * x.grad).sum()
    clip_grad_norm_([x], 0.1)
    with pytest.raises(tg.GraphError):
        y.backward()


def test_clip_grad_value():
    (p,) = with_gradients([-3.0, 0.5, 3.0])
    assert clip_grad_value_([p], 1) is None
    assert p.grad.tolist() == [-1, 0.5, 1]
    clip_grad_value_(p, 0.25)
    assert p.grad.tolist() == [-0.25, 0.25, 0.25]


def test_vectors():
    net = nn.Linear(2, 1)
    vector = parameters_to_vector(net.parameters())
    assert vector.shape == (3,)
    assert vector.requires_grad
    weight = net.weight
    vector_to_parameters(tg.tensor([1.0, 2.0, 3.0]), net.parameters())
    assert net.weight is weight
    assert (net.weight.tolist(), net.bias.tolist()) == ([[1, 2]], [3])


def test_errors():
    net = nn.Linear(2, 1)
    for call, kind, text in [
        (
            lambda: clip_grad_norm_(net, 1.0),
            TypeError,
            "clip_grad_norm_: expected parameters, got a Linear; is it module",
        ),
        (lambda: clip_grad_norm_([1], 1.0), TypeError, "clip_grad_norm_: expected parameters, got a int"),
        (
            lambda: clip_grad_norm_([], -1.0),
            ValueError,
            "clip_grad_norm_: max_norm must not be negative, got -1.0",
        ),
        (lambda: clip_grad_norm_([], 1.0, 0), ValueError, "norm_type must be positive or math.inf, got 0.0"),
        (
            lambda: clip_grad_value_([], -1),
            ValueError,
            "clip_grad_value_: clip_value must not be negative, got -1.0",
        ),
        (lambda: parameters_to_vector([]), ValueError, "parameters_to_vector: there are no parameters"),
        (
            lambda: vector_to_parameters(tg.ones(2), net.parameters()),
            ValueError,
            "a tensor of shape (3,), got (2,)",
        ),
        (
            lambda: vector_to_parameters([1], net.parameters()),
            ValueError,
            "a tensor of shape (3,), got a list",
        ),
    ]:
        with raises(kind, text):
            call()


def test_a_generator_that_is_used_up_is_an_error():
    model = nn.Linear(2, 1)
    model(tg.ones(3, 2)).sum().backward()
    for clip in (clip_grad_norm_, clip_grad_value_):
        used = model.parameters()
        assert len(list(used)) == 2
        with raises(
            ValueError, f"{clip.__name__}: the generator gave no parameters; it is used up after one pass"
        ):
            clip(used, 0.5)
        with raises(ValueError, "the generator gave no parameters"):
            clip(filter(lambda p: False, model.parameters()), 0.5)
        clip(model.parameters(), 0.5)  # one that is not
        clip((p for p in model.parameters()), 0.5)
        clip([], 0.5)  # a list says what it is
    assert clip_grad_norm_(model.parameters(), 9.0).item() == pytest.approx(0.5, abs=1e-5)


def test_a_parameter_given_twice_counts_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    (p,) = model.parameters()
    assert sum(q.numel() for q in model.parameters()) == 4
    p.grad = tg.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert clip_grad_norm_([p, p], 2.5).item() == 5.0
    np.testing.assert_allclose(p.grad.numpy(), [[1.5, 0.0], [0.0, 2.0]], rtol=1e-6)
    assert clip_grad_norm_([p, p, p], 1.0, math.inf).item() == pytest.approx(2.0)
    q = nn.Parameter(tg.zeros(1))
    q.grad = p.grad.sum().reshape(1) * 0 + 3.0
    frozen = tg.zeros(2)
    p.grad = tg.tensor([[4.0, 0.0], [0.0, 0.0]])
    assert clip_grad_norm_([frozen, p, q, p, frozen, q], 10.0).item() == 5.0
