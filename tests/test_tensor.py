"""Tensor itself: printing, conversions, copies, and the small methods."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg

KINDS = [
    ("float", tg.float32), ("double", tg.float64), ("half", tg.float16), ("long", tg.int64),
    ("int", tg.int32), ("short", tg.int16), ("byte", tg.uint8), ("bool", tg.bool_),
]  # fmt: skip


# ---------------------------------------------------------------- printing


@pytest.mark.host
def test_printing():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == str(x) == f"{x}" == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], grad_fn=<mul>)"
    assert repr(tg.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(tg.tensor([[True]])) == "tensor([[ True]])"
    assert repr(tg.ones(1, dtype="float64")) == "tensor([1.], dtype=float64)"
    assert repr(tg.zeros(2, 0)) == "tensor([], shape=(2, 0))"
    assert repr(tg.tensor(3.0)) == "tensor(3.)"
    assert "..." in repr(tg.zeros(2000))


def test_the_device_is_printed_where_it_is_not_the_cpu():
    x = tg.ones(1)
    assert ("device='cuda'" in repr(x)) == x.is_cuda


def test_formatting():
    loss = tg.tensor([1.0, 2.0], requires_grad=True).mean()
    assert f"{loss:.3f}" == "1.500"
    assert f"{tg.tensor(7):d} {tg.tensor([0.25]):.0%}" == "7 25%"


# ---------------------------------------------------------------- out of it


def test_conversions_to_python():
    x = tg.tensor([[1.5]], requires_grad=True)
    assert (x.item(), float(x), int(x), bool(x), x.tolist()) == (1.5, 1.5, 1, True, [[1.5]])
    assert type(tg.tensor(3).item()) is int
    assert type(tg.tensor(True).item()) is bool
    assert [10, 20, 30][tg.tensor(1)] == 20
    assert list(range(tg.tensor(3))) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"item: expected one element, the tensor has shape \(2,\)"):
        tg.ones(2).item()
    with pytest.raises(ValueError, match="neither true nor false; use any"):
        bool(tg.ones(2))
    with pytest.raises(TypeError, match="only an integer tensor of one element is an index"):
        [1, 2][tg.tensor(1.0)]


def test_arrays_for_numpy():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for array in (x.numpy(), np.asarray(x), np.array(x)):
        assert type(array) is np.ndarray
        assert array.tolist() == [1.0, 2.0]
    assert np.asarray(x, dtype="float64").dtype == np.float64
    changed = np.array(x)
    changed[0] = 5
    assert x.tolist() == [1.0, 2.0]
    assert (np.float32(2) * x + np.float64(1)).tolist() == [3.0, 5.0]
    with pytest.raises(TypeError):
        np.exp(x)


@pytest.mark.host
def test_numpy_shares_memory_and_guards_what_a_graph_may_need():
    x = tg.ones(2)
    x.numpy()[0] = 5
    assert x.tolist() == [5.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        x.requires_grad_().numpy()[0] = 1
    x.detach().numpy()[0] = 1
    assert x.tolist() == [1.0, 1.0]


def test_length_iteration_and_membership():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(x) == 2
    rows = list(x)
    assert [row.tolist() for row in rows] == [[1.0, 2.0], [3.0, 4.0]]
    (rows[0] * rows[1]).sum().backward()
    assert x.grad.tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert 3.0 in x
    assert 7.0 not in x
    for call in (len, list):
        with pytest.raises(TypeError, match="0-d tensor"):
            call(tg.tensor(1.0))


# ---------------------------------------------------------------- what it is


def test_shape_and_size():
    x = tg.zeros(2, 3, 4, dtype="float64")
    assert x.shape == x.size() == (2, 3, 4)
    assert (x.size(1), x.size(-1), x.dim(), x.ndim, x.numel(), x.element_size(), x.nbytes) == (
        3,
        4,
        3,
        3,
        24,
        8,
        192,
    )
    assert x.is_contiguous()
    assert not x.permute(2, 0, 1).is_contiguous()
    assert x.view(6, -1).shape == x.view_as(tg.zeros(6, 4)).shape == (6, 4)
    assert (x.T.shape, x.mT.shape) == ((4, 3, 2), (2, 4, 3))
    with pytest.raises(IndexError, match="size: axis 3 does not exist"):
        x.size(3)


@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_other_types(name, dtype):
    x = tg.tensor([0.0, 1.0, 2.0], requires_grad=True)
    for y in (getattr(x, name)(), x.to(dtype), x.to(dtype.name), x.astype(dtype), x.type(dtype)):
        assert y.dtype == dtype
        assert y.requires_grad == (dtype.kind == "f")
    assert x.type_as(tg.zeros(1, dtype=dtype)).dtype == dtype
    assert x.to(tg.zeros(1, dtype=dtype)).dtype == dtype
    if dtype.kind == "f":
        (x.to(dtype) * 3).sum().backward()
        assert x.grad.dtype == tg.float32
        assert x.grad.tolist() == [3.0] * 3


def test_to_gives_itself_where_nothing_changes():
    x = tg.ones(2)
    assert x.to(tg.float32) is x.to(x.device) is x.to(x) is x.float() is x
    assert x.to(tg.float32, copy=True) is not x
    assert x.to(x.device, "float64").dtype == tg.float64
    assert x.cpu().device == "cpu"
    with pytest.raises(TypeError, match="to: 'mps' is neither a device nor a dtype"):
        x.to("mps")


def test_leaves_and_their_op():
    x = tg.ones(2, requires_grad=True)
    y = x * 2
    assert (x.is_leaf, y.is_leaf, tg.ones(1).is_leaf) == (True, False, True)
    assert (x.grad_fn, y.grad_fn.name()) == (None, "mul")
    assert y.detach().is_leaf
    assert not y.detach().requires_grad
    assert y.detach_() is y
    assert y.grad_fn is None


# ---------------------------------------------------------------- copies


def test_copies():
    x = tg.ones(2, requires_grad=True)
    (x * 2).sum().backward()
    deep, shallow, clone = copy.deepcopy(x), copy.copy(x), x.clone()
    assert (deep.requires_grad, deep.is_leaf, deep.grad.tolist()) == (True, True, [2.0, 2.0])
    deep.data.add_(1)
    deep.grad.add_(1)
    assert (x.tolist(), x.grad.tolist()) == ([1.0, 1.0], [2.0, 2.0])
    assert clone.grad_fn.name() == "clone"
    shallow.data.add_(1)
    assert x.tolist() == [2.0, 2.0]
    pair = copy.deepcopy([x, x])
    assert pair[0] is pair[1]
    with pytest.raises(tg.GraphError, match="only leaves can be copied deeply; use clone"):
        copy.deepcopy(x * 2)


def test_pickling_is_refused():
    with pytest.raises(TypeError, match=r"not pickled; tinygrad_rnn\.save"):
        pickle.dumps(tg.ones(2))


def test_data_is_the_same_memory_without_the_graph():
    x = tg.ones(2, requires_grad=True)
    x.data[0] = 5
    assert x.tolist() == [5.0, 1.0]
    assert not x.data.requires_grad
    x.data = tg.zeros(3)
    assert (x.shape, x.requires_grad, x.grad) == ((3,), True, None)
    (x + 1).sum().backward()
    assert x.grad.shape == (3,)


def test_comparison_and_hashing():
    x, y = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 3.0])
    assert (x == y).tolist() == [True, False]
    assert (x != y).tolist() == [False, True]
    assert (x < y).tolist() == [False, True]
    assert x is not None
    assert (x == "a string") is False
    assert len({x, y, x}) == 2
    assert (~(x == y)).tolist() == [False, True]


def test_new_like_this():
    x = tg.ones(2, dtype="float64")
    assert x.new_zeros(2, 3).shape == (2, 3)
    assert x.new_full((2,), 7).tolist() == [7.0, 7.0]
    assert {y.dtype for y in (x.new_zeros(1), x.new_ones(1), x.new_tensor([1]), x.new_full((1,), 1))} == {
        tg.float64
    }
