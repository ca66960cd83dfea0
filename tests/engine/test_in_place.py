"""Changes in place: what is allowed, what is refused, and what a backward finds out."""

from __future__ import annotations

import contextlib

import pytest

import tinygrad_rnn as tg


def leaf(*numbers):
    return tg.tensor(list(numbers), requires_grad=True)


def add_one(c):
    c += 1


def set_item(c):
    c[0] = 9.0


def through_a_view(c):
    v = c[1:]
    v *= 2


CHANGES = [
    add_one, set_item, through_a_view, lambda c: c.add_(1), lambda c: c.zero_(), lambda c: c.data.mul_(2),
    lambda c: c.clamp_(0, 1), lambda c: c.copy_(tg.zeros(2)), lambda c: c.masked_fill_(c > 0, 3.0),
    lambda c: c.uniform_(), lambda c: c.fill_(4.0), lambda c: c.scatter_(0, tg.tensor([0]), 2.0),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_saved_array_that_changed_is_noticed(change):
    w, c = leaf(1.0, 2.0), tg.tensor([3.0, 4.0])
    y = (w * c).sum()
    change(c)
    with pytest.raises(tg.GraphError, match="through mul: an array that its gradient needs was changed"):
        y.backward()
    (w * c).sum().backward()
    assert w.grad.tolist() == c.tolist()


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_gradient_needs_may_change(change):
    w, c = leaf(1.0, 2.0), tg.tensor([3.0, 4.0])
    y = (w + c).sum()
    change(c)
    y.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_an_update_before_backward_is_noticed():
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    with tg.no_grad():
        w -= 0.1
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    w.data.add_(1)
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()
    w = leaf(1.0, 2.0)
    (w * 2).sum().backward()
    steps = tg.optim.SGD([w], lr=0.1)
    y = (w * w).sum()
    steps.step()
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()


def test_an_update_after_backward_is_fine():
    w = leaf(1.0, 2.0)
    for _ in range(2):
        (w * w).sum().backward()
        with tg.no_grad():
            w -= 0.5 * w.grad
        w.grad = None
    assert w.tolist() == [0.0, 0.0]
    assert w.requires_grad
    assert w.is_leaf


def test_leaves_and_tracked_tensors_are_not_changed():
    w = leaf(1.0, 2.0)
    for change in (add_one, set_item, lambda x: x.zero_()):
        with pytest.raises(
            tg.GraphError, match=r"requires a gradient and cannot be changed in place\. Use where"
        ):
            change(w)
    y = w * 2
    for change in (set_item, lambda x: x.zero_()):
        with pytest.raises(tg.GraphError, match="was computed in the graph and cannot be changed"):
            change(y)
    c = tg.zeros(2)
    with pytest.raises(tg.GraphError, match="the value requires a gradient"):
        c[0] = y[0]
    assert w.tolist() == [1.0, 2.0]


def test_augmented_assignment_in_a_graph_makes_a_new_tensor():
    w = leaf(1.0, 2.0)
    y = first = w * 2
    y += 1
    y *= w
    y -= w
    y /= 2
    assert first.tolist() == [2.0, 4.0]
    y.sum().backward()
    assert w.grad.tolist() == [(4 * v + 1 - 1) / 2 for v in (1.0, 2.0)]
    total = tg.zeros(2)
    for _ in range(3):
        total += w  # joins the graph
    assert total.requires_grad
    assert total.tolist() == [3.0, 6.0]


def test_augmented_assignment_on_plain_data_is_in_place():
    c = tg.tensor([1.0, 2.0])
    same = c
    c += 1
    c *= 2
    c -= 1
    c /= 3
    assert c is same
    assert same.tolist() == pytest.approx([1.0, 5 / 3])
    n = tg.tensor([1, 2])
    with pytest.raises(TypeError, match="an integer tensor cannot hold the result"):
        n += 0.5
    with pytest.raises(TypeError, match="an integer tensor cannot hold the result"):
        n /= 2


@pytest.mark.parametrize(
    "look_up",
    [
        lambda w, i: w[i],
        lambda w, i: tg.nn.functional.embedding(i, w.reshape(3, 1)),
        lambda w, i: w.gather(0, i),
        lambda w, i: w.index_select(0, i),
    ],
)
def test_an_index_changed_in_place_is_noticed(look_up):
    w, i = leaf(1.0, 2.0, 3.0), tg.tensor([0, 1])
    y = look_up(w, i)
    i[0] = 2
    with contextlib.suppress(tg.GraphError):  # an op that copied the index need not complain
        y.sum().backward()
        assert w.grad.tolist() == [1.0, 1.0, 0.0]
