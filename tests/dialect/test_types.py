"""Typed constructors, types as they are asked for, and sizes: PyTorch's names of old that scripts still
use."""

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn import nn

FLOATS = ["FloatTensor", "DoubleTensor", "HalfTensor"]
TYPES = {
    "FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16", "LongTensor": "int64",
    "IntTensor": "int32", "ShortTensor": "int16", "CharTensor": "int8", "ByteTensor": "uint8",
    "BoolTensor": "bool",
}  # fmt: skip


@pytest.mark.host  # whose names these are
@pytest.mark.parametrize("name", TYPES)
def test_constructors_take_sizes_and_data(name):
    made = getattr(torch, name)
    assert made(2, 3).shape == (2, 3)
    assert made().shape == (0,)
    for data in (
        [[1, 0], [1, 1]],
        ((1, 0), (1, 1)),
        np.array([[1, 0], [1, 1]]),
        torch.tensor([[1, 0], [1, 1]]),
    ):
        x = made(data)
        assert str(x.dtype) == TYPES[name]
        assert x.tolist() == [[1, 0], [1, 1]]
    assert made([1]).type() == f"torch.{name}"
    assert isinstance(made([1]), made)
    others = [getattr(torch, other) for other in TYPES if other != name]
    assert not any(isinstance(made([1]), other) for other in others)
    assert isinstance(made([1]), torch.Tensor)
    assert not isinstance([1], made)


def test_sizes_come_from_shapes_too():
    x = torch.zeros(2, 3)
    assert torch.FloatTensor(x.size()).shape == (2, 3)
    assert torch.Tensor(x.shape).shape == (2, 3)
    assert torch.Tensor(x.shape[:1]).shape == (2,)
    assert torch.Tensor((2, 3)).tolist() == [2.0, 3.0]
    assert torch.Tensor(*x.shape).shape == (2, 3)
    assert torch.LongTensor(x.size(0), 1).shape == (2, 1)
    assert isinstance(x.size(), torch.Size)
    assert isinstance(x.shape, torch.Size)
    assert x.size().numel() == 6
    assert x.shape[1:] + (4,) == (3, 4)


def test_tensor_makes_floats():
    assert torch.Tensor([1, 2]).dtype == torch.float32
    assert torch.Tensor(np.arange(3)).dtype == torch.float32
    assert torch.Tensor([[1, 2]]).requires_grad is False
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.Tensor([1]).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.host
def test_type_converts_and_tells():
    x = torch.tensor([1.7, -2.2])
    assert x.type() == "torch.FloatTensor"
    assert (x > 0).type() == "torch.BoolTensor"
    for to in (torch.LongTensor, "torch.LongTensor", torch.int64, "int64"):
        assert x.type(to).dtype == torch.int64
        assert x.type(to).tolist() == [1, -2]
    assert x.long().type(torch.Tensor).dtype == torch.float32
    assert x.type(torch.FloatTensor) is x
    assert x.long().type(x.type()).dtype == torch.float32
    with pytest.raises(TypeError, match="is no dtype"):
        x.type("torch.StringTensor")


def test_new_makes_others_like_it():
    x = torch.ones(2, dtype=torch.float64)
    assert x.new(2, 3).shape == (2, 3)
    assert x.new(x.size()).shape == (2,)
    assert x.new([1, 2]).dtype == torch.float64
    assert x.new([1, 2]).tolist() == [1.0, 2.0]
    assert x.new().shape == (0,)
    assert x.new(1, 2).zero_().tolist() == [[0, 0]]
    assert x.new_tensor([3]).tolist() == [3.0]
    assert x.new_zeros(2, requires_grad=True).requires_grad
    weight = next(nn.Linear(2, 2).parameters())
    assert isinstance(weight.data.new(3, 4), torch.Tensor)
    assert not weight.new(3, 4).requires_grad


def test_default_types():
    assert torch.get_default_dtype() == torch.float32
    try:
        torch.set_default_tensor_type("torch.DoubleTensor")
        assert torch.zeros(1).dtype == torch.float64
        torch.set_default_tensor_type(torch.FloatTensor)
        assert torch.zeros(1).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(TypeError, match="no type of tensors"):
        torch.set_default_tensor_type("torch.StringTensor")
    assert isinstance(torch.float32, torch.dtype)


@pytest.mark.host
def test_types_of_the_gpu_are_another():
    assert not isinstance(torch.FloatTensor([1]), torch.cuda.FloatTensor)
    assert repr(torch.cuda.LongTensor) == "<class 'torch.cuda.LongTensor'>"
    choice = torch.cuda.FloatTensor if torch.cuda.is_available() else torch.FloatTensor
    assert choice([1]).tolist() == [1.0]


def test_mistakes_are_said():
    with pytest.raises(TypeError, match="Tensor: give sizes, which are integers, or data as one list"):
        torch.Tensor([1.0], [2.0])
    with pytest.raises(TypeError, match="FloatTensor: give sizes"):
        torch.FloatTensor(2, 1.5)
