"""Values and gradients where a function has a corner: at the bounds of clip, at 0 of powers."""

import pytest

import tinygrad_rnn as tg


def gradients(f, *values):
    leaves = [tg.tensor(v, dtype="float64", requires_grad=True) for v in values]
    y = f(*leaves)
    return y.tolist(), [g.tolist() for g in tg.grad(y.sum(), leaves)]


@pytest.mark.parametrize(("low", "high", "expected"), [
    (-1.0, 2.0, [0, 1, 1, 1, 0]),
    (-1.0, None, [0, 1, 1, 1, 1]),
    (None, 2.0, [1, 1, 1, 1, 0]),
])  # fmt: skip
def test_clip_lets_gradients_through_at_its_bounds(low, high, expected):
    values = [-1.5, -1.0, 0.0, 2.0, 2.5]
    found, (slope,) = gradients(lambda x: tg.clip(x, low, high), values)
    assert slope == expected
    bounded = [max(v, values[0] if low is None else low) for v in values]
    assert found == [min(v, values[-1] if high is None else high) for v in bounded]


def test_powers_of_0():
    """0 ** 0 is 1; the gradient to the exponent is 0 wherever the base is."""
    y, (base, exponent) = gradients(lambda a, b: a**b, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0])
    assert y == [1, 0, 0]
    assert base == [0, 1, 0]
    assert exponent == [0, 0, 0]
    y, (base, exponent) = gradients(lambda a, b: a**b, [2.0, 3.0], [0.0, 0.0])
    assert y == [1, 1]
    assert base == [0, 0]
    assert exponent == pytest.approx([0.6931471805599453, 1.0986122886681098])
    for number in (0, 0.0):
        assert gradients(lambda a, n=number: a**n, [0.0, 2.0]) == ([1, 1], [[0, 0]])
    assert gradients(lambda b: 0.0**b, [0.0, 2.0]) == ([1, 0], [[0, 0]])
