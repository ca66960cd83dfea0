"""Conventions: names of settings, defaults, results; and the places where formulas meet zero or infinity."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.testing import gradcheck

X = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])


NAMES = ["sum", "mean", "var", "std", "amax", "amin", "logsumexp", "norm", "argmax", "prod"]


@pytest.mark.parametrize("name", NAMES)
def test_dim_is_axis_and_keepdim_is_keepdims(name):
    op, x = getattr(ops, name), tg.tensor(X)
    ours, theirs = op(x, axis=1, keepdims=True), op(x, dim=1, keepdim=True)
    assert ours.shape == (2, 1)
    assert ours.tolist() == theirs.tolist() == op(input=x, dim=-1, keepdim=True).tolist()
    with pytest.raises(TypeError, match=f"{name}: axis and dim are one setting"):
        op(x, axis=1, dim=1)


def test_max_along_an_axis_gives_values_and_indices():
    values, indices = tg.tensor(X).max(dim=1)
    assert (values.tolist(), indices.tolist()) == ([3, 5], [0, 1])
    assert tg.tensor(X).min(dim=0).indices.tolist() == [1, 0, 0]
    assert tg.tensor(X).max().item() == 5
    assert tg.max(tg.tensor(X), tg.full((2, 3), 2.0)).tolist() == [[3, 2, 2], [2, 5, 4]]
    assert tg.tensor(np.zeros((0, 3))).max(dim=1).values.shape == (0,)
    assert tg.tensor(X).argmax(keepdim=True).shape == (1, 1)


def test_correction_is_one():
    x = tg.tensor(X)
    np.testing.assert_allclose(x.var().item(), np.var(X, ddof=1))
    np.testing.assert_allclose(x.var(1, unbiased=False).numpy(), np.var(X, 1))
    np.testing.assert_allclose(x.std(1, correction=0).numpy(), np.std(X, 1))


def test_split_takes_a_size_and_chunk_a_number():
    x = tg.arange(7)
    assert [y.tolist() for y in x.split(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [y.tolist() for y in x.chunk(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [y.shape for y in x.split([2, 0, 5])] == [(2,), (0,), (5,)]
    assert [y.shape for y in tg.zeros(0, 2).chunk(3)] == [(0, 2)] * 3
    assert [y.shape for y in tg.zeros(0, 2).split(3)] == [(0, 2)]


def test_equal_elements_share_the_gradient():
    x = tg.tensor([[1.0, 2.0, 2.0]], requires_grad=True)
    x.amax().backward()
    assert x.grad.tolist() == [[0, 0.5, 0.5]]
    a, b = tg.ones(1, requires_grad=True), tg.ones(1, requires_grad=True)
    tg.maximum(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.5, 0.5)


def test_a_piece_that_is_not_used_gets_zeros():
    """Even where the gradient of the other pieces is infinite."""
    x = tg.zeros(4, requires_grad=True)
    x.split(2)[0].backward(tg.tensor([math.inf, 1.0]))
    assert x.grad.tolist() == [math.inf, 1, 0, 0]


def test_casts_to_integers_are_constants():
    x = tg.tensor([1.5], requires_grad=True)
    assert not x.long().requires_grad
    assert not x.bool().requires_grad
    assert x.double().requires_grad


def test_gradients_have_the_type_of_the_leaf():
    """Also through products with arrays of another type."""
    w = tg.ones(3, 2, requires_grad=True)
    for x in (tg.ones(4, 3, dtype="float64"), tg.ones(4, 3, dtype="int64")):
        w.grad = None
        (x @ w).sum().backward()
        assert w.grad.dtype == tg.float32


def test_results_stay_float32():
    x = tg.ones(2, 3)
    for y in (x * 2.5, x / np.float64(3), x + tg.tensor(1.0, dtype="float64"), x.mean(), x.var(),
              x.norm(3), tg.where(x > 0, x, 0.5), x.clip(0.0, 0.5), tg.gelu(x),
              tg.softmax(x), x**2, x**0.5, 2**x):  # fmt: skip
        assert y.dtype == tg.float32
    assert (tg.ones(2, dtype="int64") / 2).dtype == tg.float32
    assert (tg.ones(2, dtype="int64") * x[:, :1]).dtype == tg.float32
    assert tg.exp(tg.ones(2, dtype="int64")).dtype == tg.float32


def test_no_gradient_is_nan_at_zero():
    zero = tg.zeros(2, 3, requires_grad=True)
    for f in (lambda x: x.norm(), lambda x: x.norm(3), lambda x: x.norm(1), lambda x: ops.normalize(x).sum(),
              lambda x: (x**2).sum(), lambda x: (x**1).sum(), lambda x: (x**0).sum(), lambda x: x.prod(),
              lambda x: x.abs().sum(), lambda x: tg.relu(x).sum()):  # fmt: skip
        (g,) = tg.grad(f(zero), [zero])
        assert np.isfinite(g.numpy()).all()


def test_no_overflow():
    x = tg.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    for f in (tg.sigmoid, tg.softplus, tg.tanh, tg.elu, tg.gelu, tg.softmax, tg.log_softmax):
        y = f(x)
        assert np.isfinite(y.numpy()).all()
        (g,) = tg.grad(y.sum(), [x])
        assert np.isfinite(g.numpy()).all()


def test_masked_rows():
    """-inf leaves its place out; a row of -inf alone gives -inf and no gradient."""
    x = tg.tensor([[0.0, -math.inf, 0.0], [-math.inf] * 3], dtype="float64", requires_grad=True)
    y = ops.logsumexp(x, 1)
    assert y.tolist() == [math.log(2), -math.inf]
    y.sum().backward()
    assert x.grad.tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    assert tg.softmax(x[0]).tolist() == [0.5, 0, 0.5]


def test_prod_with_an_infinite_row():
    x = tg.tensor([[math.inf, 1.0], [2.0, 3.0]], requires_grad=True)
    x.prod(1).backward(tg.tensor([0.0, 1.0]) + 1)
    assert x.grad.tolist() == [[1, math.inf], [6, 4]]
    empty = tg.zeros(0, 3, requires_grad=True)
    empty.prod(1).sum().backward()
    assert empty.grad.shape == (0, 3)


def test_binary_cross_entropy_of_certainty():
    p = tg.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = ops.binary_cross_entropy(p, tg.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    assert loss.tolist() == [0, 0, 100, 100]
    loss.sum().backward()
    assert np.isfinite(p.grad.numpy()).all()


def test_class_weights_have_gradients():
    logits = np.random.default_rng(0).normal(size=(4, 3))
    target = tg.tensor([0, 2, -100, 1])
    for smoothing in (0.0, 0.2):
        gradcheck(
            lambda x, w, s=smoothing: ops.cross_entropy(x, target, w, label_smoothing=s), logits,
            np.array([0.5, 1.0, 2.0]), order=2,
        )  # fmt: skip


def test_where_takes_a_bool():
    assert tg.where(True, tg.ones(2), 0.0).tolist() == [1, 1]


def test_contiguous_keeps_numbers_numbers():
    assert tg.tensor(1.0).contiguous().shape == ()
    x = tg.tensor(X)
    assert x.contiguous().array is x.array
    assert x.T.contiguous().is_contiguous()


def test_repeat_interleave_flattens_without_an_axis():
    assert tg.tensor([[1, 2], [3, 4]]).repeat_interleave(2).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert tg.tensor([[1, 2], [3, 4]]).repeat_interleave(2, 0).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_accurate_far_below_zero(dtype):
    x = tg.tensor([-60.0, -20.0, -1.0, 0.0, 5.0], dtype=dtype)
    expected = [1 / (1 + math.exp(-v)) for v in x.tolist()]
    np.testing.assert_allclose(tg.sigmoid(x).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(tg.log(tg.sigmoid(x)).numpy(), np.log(expected), rtol=1e-6, atol=1e-7)
    ends = tg.sigmoid(tg.tensor([-1e9, 1e9, math.inf, math.nan], dtype=dtype)).tolist()
    assert ends[:3] == [0, 1, 1]
    assert math.isnan(ends[3])


def test_second_derivative_of_a_power_at_exponent_zero():
    a, b = tg.tensor(2.0, dtype="float64"), tg.tensor(0.0, dtype="float64")
    a.requires_grad = b.requires_grad = True
    (da,) = tg.grad(a**b, [a], create_graph=True)
    (mixed,) = tg.grad(da, [b])  # d/db of b * a ** (b - 1), which is 1 / a
    assert mixed.item() == pytest.approx(0.5)
