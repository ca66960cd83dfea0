"""Tensors from data, from a shape, from chance."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1.5, "float32", ()), (1, "int64", ()), (True, "bool", ()), ([1, 2.5], "float32", (2,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)), ([], "float32", (0,)), ((1.0, 2.0), "float32", (2,)),
        (np.ones(2), "float64", (2,)), (np.ones(2, "float16"), "float16", (2,)),
        (np.float64(2), "float64", ()),
        (np.arange(3, dtype="int32"), "int32", (3,)), (range(3), "int64", (3,)),
        ([True, False], "bool", (2,)),
    ],
)  # fmt: skip
def test_types_of_data(data, dtype, shape):
    x = tg.tensor(data)
    assert (x.dtype, x.shape) == (dtype, shape)
    assert x.tolist() == np.asarray(data).tolist()
    assert tg.tensor(data, dtype="float64").dtype == tg.float64


def test_the_default_type_can_be_changed():
    tg.set_default_dtype("float64")
    assert tg.tensor([1.0]).dtype == tg.zeros(1).dtype == tg.randn(1).dtype == tg.float64
    with pytest.raises(TypeError, match="expected a floating type, got int64"):
        tg.set_default_dtype("int64")


def test_data_is_copied_or_not():
    array = np.ones(2, "float32")
    copied = tg.tensor(array)
    array[0] = 5
    assert copied.tolist() == [1.0, 1.0]
    x = tg.ones(2)
    assert tg.as_tensor(x) is x
    assert tg.tensor(x) is not x
    y = tg.tensor(x)
    y[0] = 7
    assert x.tolist() == [1.0, 1.0]


def test_from_numpy_shares_memory():
    array = np.ones(2)
    x = tg.from_numpy(array)
    array[0] = 5
    x[1] = 6
    assert x.tolist() == array.tolist() == [5.0, 6.0]
    assert x.device == "cpu"
    with pytest.raises(TypeError, match="from_numpy: expected a NumPy array, got list"):
        tg.from_numpy([1.0])


def test_wrong_data():
    with pytest.raises(ValueError, match="rows of different lengths"):
        tg.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises((TypeError, ValueError), match=r"numbers"):
        tg.tensor(["a"])
    with pytest.raises(TypeError, match="'int7' is no dtype"):
        tg.zeros(1, dtype="int7")
    with pytest.raises(TypeError, match="Tensor: give sizes, which are integers, or data"):
        tg.Tensor([1.0], [2.0])


def test_shapes():
    for make in (tg.zeros, tg.ones, tg.empty, tg.rand, tg.randn):
        assert make(2, 3).shape == make((2, 3)).shape == make([2, 3]).shape == (2, 3)
        assert make(2, dtype="float64", requires_grad=True).requires_grad
        assert make(()).shape == ()
    assert tg.full((2,), 7).dtype == tg.int64
    assert tg.full((2,), 7.0).tolist() == [7.0, 7.0]
    assert tg.full((1,), True).dtype == tg.bool_
    assert tg.eye(2, 3).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_ranges():
    assert tg.arange(3).tolist() == [0, 1, 2]
    assert tg.arange(1, 7, 2).tolist() == [1, 3, 5]
    assert tg.arange(3).dtype == tg.int64
    assert tg.arange(0.0, 1.0, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert tg.arange(0.0, 1.0, 0.25).dtype == tg.float32
    assert tg.linspace(0, 1, 3).tolist() == [0.0, 0.5, 1.0]


def test_like_another():
    x = tg.zeros(2, 3, dtype="float64")
    for y in (
        tg.zeros_like(x),
        tg.ones_like(x),
        tg.empty_like(x),
        tg.full_like(x, 2),
        tg.rand_like(x),
        tg.randn_like(x),
    ):
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert tg.ones_like(x, dtype="int64").dtype == tg.int64


DRAWS = {
    "rand": lambda **s: tg.rand(50, **s),
    "randn": lambda **s: tg.randn(50, **s),
    "randint": lambda **s: tg.randint(2, 9, (50,), **s),
    "randperm": lambda **s: tg.randperm(50, **s),
    "normal": lambda **s: tg.normal(1.0, 2.0, (50,), **s),
    "bernoulli": lambda **s: tg.bernoulli(0.5 * tg.ones(50), **s),
    "uniform_": lambda **s: tg.empty(50).uniform_(-1, 1, **s),
    "normal_": lambda **s: tg.empty(50).normal_(**s),
}


@pytest.mark.parametrize("name", DRAWS)
def test_one_seed_gives_the_same_numbers(name):
    draw = DRAWS[name]
    tg.manual_seed(3)
    first, second = draw().tolist(), draw().tolist()
    tg.manual_seed(3)
    assert draw().tolist() == first
    assert first != second
    assert draw(rng=7).tolist() == draw(rng=np.random.default_rng(7)).tolist()
    state = tg.get_rng_state()
    third = draw().tolist()
    tg.set_rng_state(state)
    assert draw().tolist() == third


def test_random_numbers_are_where_they_should_be():
    x, n = tg.rand(1000), tg.randint(2, 5, (1000,))
    assert 0 <= x.min().item() < 0.1 < 0.9 < x.max().item() < 1
    assert sorted(set(n.tolist())) == [2, 3, 4]
    assert sorted(tg.randperm(9).tolist()) == list(range(9))
    z = tg.randn(4000)
    assert abs(z.mean().item()) < 0.1
    assert abs(z.std().item() - 1) < 0.1
    with pytest.raises(TypeError, match="randint: give a shape last"):
        tg.randint(3)
    with pytest.raises(TypeError, match=r"rng: expected a numpy\.random\.Generator, a seed or None, got str"):
        tg.rand(2, rng="seed")
