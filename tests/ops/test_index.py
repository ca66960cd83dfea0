"""Picking, looking up, ordering: what the rows do not say."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.testing import gradcheck

X = np.arange(60.0).reshape(3, 4, 5)
INDICES = [
    0, -1, slice(None), slice(2, None, -1), slice(10, 0, -2), slice(1, 1), None, Ellipsis, True, False,
    (1, 2), (-1, Ellipsis, 0), (Ellipsis, slice(None, None, 2)), (None, 1, None, slice(1, 3)),
    [0, 2, 2], np.array([[0, 1], [2, 2]]), (slice(None), [1, 1, 3]),
    (np.array([0, 0, 2]), np.array([1, 1, 3])),
    (np.array([0, 2]), slice(None), np.array([4, 4])),
    (0, [1, 2], slice(None, None, -1)),
    X > 30, X[:, 0, 0] > 10, (slice(None), np.array([True, False, True, True])),
    (np.array([[0], [2]]), np.array([0, 3, 3])), np.int64(2), (np.int32(1), np.uint8(3)), [], range(2),
    (Ellipsis, np.array([True, False, False, True, True]), None), np.array([-1, -3, 2]), np.zeros(3, bool),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_getitem_is_numpys(index):
    as_numpy = list(index) if isinstance(index, range) else index
    as_numpy = np.zeros(0, int) if isinstance(as_numpy, list) and not as_numpy else as_numpy
    y = tg.tensor(X)[index]
    np.testing.assert_array_equal(y.numpy(), X[as_numpy])
    gradcheck(lambda x: x[index], X, order=1)
    gradcheck(lambda x: (x * x)[index], X[..., :5] / 60, order=1)


def test_tensors_are_indices():
    x = tg.tensor(X)
    np.testing.assert_array_equal(x[tg.tensor([0, 2])].numpy(), X[[0, 2]])
    np.testing.assert_array_equal(x[x > 7].numpy(), X[X > 7])
    np.testing.assert_array_equal(x[tg.tensor(1), tg.tensor(1) : tg.tensor(3)].numpy(), X[1, 1:3])
    np.testing.assert_array_equal(x[:, tg.tensor([3, 3]), 0].numpy(), X[:, [3, 3], 0])


def test_repeated_indices_add_up():
    x = tg.zeros(3, requires_grad=True)
    x[tg.tensor([0, 2, 2, 2])].backward(tg.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [1, 0, 9]


def test_slices_of_one_tensor_add_up():
    x = tg.zeros(4, requires_grad=True)
    sum(x[i] * i + x[[i, i]].sum() for i in range(4)).backward()
    assert x.grad.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "index", [3, -4, (0, 4), (0, -5), (Ellipsis, 5), (0, 0, 0, 0), 1.5, "a",
              # arrays are looked into on the host alone: elsewhere that means waiting for the GPU
              *(pytest.param(i, marks=pytest.mark.host) for i in ([3], np.array([-4]), (slice(None), [4]))),
              np.array([0.5]), np.ones(2, bool), np.ones((3, 3), bool), (Ellipsis, Ellipsis)]
)  # fmt: skip
def test_wrong_indices(index):
    with pytest.raises(IndexError):
        tg.tensor(X)[index]


def test_indexing_a_number():
    with pytest.raises(IndexError, match=r"index 0 is outside a tensor of shape \(\)"):
        tg.tensor(1.0)[0]
    assert tg.tensor(1.0)[None].shape == (1,)
    assert tg.tensor(1.0)[...].shape == ()
    assert tg.tensor(1.0)[()].shape == ()


def test_gather_does_not_broadcast():
    x = tg.tensor(X[0])
    assert ops.gather(x, 1, tg.tensor([[3, 0]])).tolist() == [[3, 0]]
    assert ops.take_along_axis(x, tg.tensor([[3, 0]]), 1).shape == (4, 2)


def test_embedding():
    weight = tg.tensor(np.arange(8.0).reshape(4, 2), requires_grad=True)
    indices = tg.tensor([[0, 3], [3, 1]])
    rows = ops.embedding(indices, weight, padding_idx=3)
    assert rows.tolist() == [[[0, 1], [6, 7]], [[6, 7], [2, 3]]]
    rows.sum().backward()
    assert weight.grad.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    weight.grad = None
    ops.embedding(indices, weight, padding_idx=-1).sum().backward()
    assert weight.grad.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    g = ops.embedding(indices, weight).sum()
    (found,) = tg.grad(g, [weight])
    assert found.tolist() == [[1, 1], [1, 1], [0, 0], [2, 2]]


def test_padding_stops_infinite_gradients_too():
    weight = tg.ones(2, 1, requires_grad=True)
    rows = ops.embedding(tg.tensor([0, 1]), weight, padding_idx=0)
    rows.backward(tg.tensor([[np.inf], [1.0]]))
    assert weight.grad.tolist() == [[0], [1]]


def test_order_is_stable():
    x = tg.tensor([2.0, 1.0, 2.0, 1.0])
    assert ops.argsort(x).tolist() == [1, 3, 0, 2]
    assert ops.argsort(x, descending=True).tolist() == [0, 2, 1, 3]
    values, places = ops.topk(x, 3)
    assert (values.tolist(), places.tolist()) == ([2, 2, 1], [0, 2, 1])
    assert ops.sort(x, descending=True).values.tolist() == [2, 2, 1, 1]
    assert ops.topk(x, 2, largest=False).indices.tolist() == [1, 3]


def test_nonzero():
    x = np.array([[0, 1, 2], [3, 0, 0]])
    assert ops.nonzero(tg.tensor(x)).tolist() == [[0, 1], [0, 2], [1, 0]]
    for found, wanted in zip(ops.nonzero(tg.tensor(x), as_tuple=True), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted)
    assert ops.nonzero(tg.tensor(1.0)).shape == (1, 0)
    assert ops.nonzero(tg.tensor(0.0)).shape == (0, 0)
    assert ops.nonzero(tg.zeros(0, 2)).shape == (0, 2)


def test_one_hot():
    assert ops.one_hot(tg.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert ops.one_hot(tg.tensor([[1]]), 2).tolist() == [[[0, 1]]]
    assert ops.one_hot(tg.tensor(1), 3).tolist() == [0, 1, 0]
    assert ops.one_hot(tg.tensor([1])).dtype == tg.int64


def test_multinomial_follows_the_weights():
    weights = tg.tensor([0.0, 1.0, 3.0, 0.0])
    drawn = ops.multinomial(weights, 4000, replacement=True, rng=0).numpy()
    assert set(drawn.tolist()) == {1, 2}
    assert abs((drawn == 2).mean() - 0.75) < 0.03
    both = ops.multinomial(tg.stack([weights, weights]), 2, rng=0)
    assert both.shape == (2, 2)
    assert [sorted(row) for row in both.tolist()] == [[1, 2], [1, 2]]
    again = ops.multinomial(weights, 10, replacement=True, rng=5).tolist()
    assert again == ops.multinomial(weights, 10, replacement=True, rng=5).tolist()


def test_multinomial_without_replacement_follows_the_weights():
    weights = tg.tensor(np.tile([1.0, 2.0, 1.0], (4000, 1)))
    first = ops.multinomial(weights, 2, rng=1).numpy()[:, 0]
    assert abs((first == 1).mean() - 0.5) < 0.03
