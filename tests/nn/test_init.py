"""Starting values."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import init

RANDOM = {
    "uniform_": init.uniform_,
    "normal_": init.normal_,
    "xavier_uniform_": init.xavier_uniform_,
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": init.kaiming_normal_,
    "orthogonal_": init.orthogonal_,
}
FILLS = {**RANDOM, "zeros_": init.zeros_, "ones_": init.ones_, "constant_": lambda x: init.constant_(x, 3)}


@pytest.mark.parametrize("name", FILLS)
def test_fills_a_parameter_in_place(name):
    p = nn.Parameter(tg.full((3, 4), 99.0))
    memory = p.array
    assert FILLS[name](p) is p
    assert p.array is memory
    assert p.requires_grad
    assert p.is_leaf
    assert (memory != 99).all()


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_gives_the_same_values(name):
    fill = RANDOM[name]
    a, b, c, d = (tg.zeros(3, 4) for _ in range(4))
    fill(a, rng=1)
    fill(b, rng=np.random.default_rng(1))
    tg.manual_seed(1)
    fill(c)
    fill(d)
    assert a.tolist() == b.tolist() == c.tolist() != d.tolist()


@pytest.mark.parametrize("name", FILLS)
def test_fills_only_floating_tensors(name):
    with pytest.raises(TypeError, match=f"init.{name}: expected a floating tensor, got int64"):
        FILLS[name](tg.zeros(2, 2, dtype=tg.int64))
    with pytest.raises(TypeError, match=f"init.{name}: expected a Tensor or Parameter, got a list"):
        FILLS[name]([[1.0]])


@pytest.mark.parametrize(
    "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_"]
)
def test_weights_have_two_axes(name):
    with pytest.raises(
        ValueError, match=rf"init.{name}: a weight needs at least two axes \(out, in\), got shape \(3,\)"
    ):
        FILLS[name](tg.zeros(3))
    FILLS[name](tg.zeros(0, 3))


def test_settings_are_checked():
    x = tg.zeros(2, 2)
    for call, text in [
        (lambda: init.uniform_(x, 1, 0), "init.uniform_: a must not be larger than b, got a = 1 and b = 0"),
        (lambda: init.normal_(x, 0, -1), "init.normal_: std must not be negative, got -1"),
        (lambda: init.kaiming_uniform_(x, mode="in"), "mode is 'in', expected 'fan_in' or 'fan_out'"),
        (
            lambda: init.kaiming_normal_(x, nonlinearity="sine"),
            "nonlinearity is 'sine', expected one of linear, sig",
        ),
        (lambda: init.calculate_gain("x"), "init.calculate_gain: nonlinearity is 'x'"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, a seed or None, got str"):
        init.normal_(x, rng="x")


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal_is_orthogonal(shape, dtype):
    x = init.orthogonal_(tg.zeros(shape, dtype=dtype), gain=2.0, rng=0).reshape(shape[0], -1).numpy() / 2
    product = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    np.testing.assert_allclose(product, np.eye(min(x.shape)), atol=1e-6 if dtype == "float32" else 1e-12)


def test_orthogonal_prefers_no_direction():
    corner = [float(init.orthogonal_(tg.zeros(2, 2), rng=k)[0, 0]) for k in range(400)]
    assert abs(np.mean(corner)) < 0.12
    assert np.std(corner) == pytest.approx(math.sqrt(0.5), rel=0.1)


def test_bounds():
    x = tg.zeros(200, 100)
    assert abs(float(init.xavier_uniform_(x, rng=0).abs().max()) - math.sqrt(6 / 300)) < 1e-4
    assert float(init.xavier_normal_(x, rng=0).std()) == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert float(init.kaiming_normal_(x, nonlinearity="relu", rng=0).std()) == pytest.approx(
        math.sqrt(2 / 100), rel=0.02
    )
    fan_out = init.kaiming_uniform_(x, a=1, mode="fan_out", rng=0)
    assert abs(float(fan_out.abs().max()) - math.sqrt(3 / 200)) < 1e-4


def test_a_part_of_a_parameter_can_be_filled():
    p = nn.Parameter(tg.zeros(2, 4))
    init.ones_(p.data[:, 1:3])
    assert p.tolist() == [[0, 1, 1, 0]] * 2
