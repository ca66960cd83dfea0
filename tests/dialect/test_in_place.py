"""Changes in place as PyTorch's scripts write them: with gradients where autograd can carry them."""

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn import nn


def close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-5, atol=1e-6)


def test_outputs_are_written_step_by_step():
    torch.manual_seed(0)
    cell, x = nn.GRUCell(3, 4), torch.randn(6, 2, 3)
    outputs, h = torch.zeros(6, 2, 4), torch.zeros(2, 4)
    for t in range(6):
        h = cell(x[t], h)
        outputs[t] = h
    outputs.square().sum().backward()
    found = [p.grad.clone() for p in cell.parameters()]
    cell.zero_grad()
    h, kept = torch.zeros(2, 4), []
    for t in range(6):
        h = cell(x[t], h)
        kept.append(h)
    torch.stack(kept).square().sum().backward()
    for p, g in zip(cell.parameters(), found, strict=True):
        close(p.grad, g.numpy())


def test_masks_and_indices():
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = w * 2
    x[x > 3] = 0
    x.sum().backward()
    assert w.grad.tolist() == [2, 0, 0]
    w.grad = None
    x = torch.zeros(4)
    x[torch.tensor([3, 0])] = w[:2]
    x[1:3] += w[1:] * 2
    assert x.tolist() == [2, 4, 6, 1]
    (x * torch.arange(4.0)).sum().backward()
    assert w.grad.tolist() == [3, 2, 4]
    rows = torch.zeros(2, 3)
    rows[torch.arange(2), torch.tensor([1, 2])] = w[:2]
    rows[:, 0] = w[2]
    assert rows.tolist() == [[3, 1, 0], [3, 0, 2]]


CHANGES = {
    "add_": (lambda x, w: x.add_(w), lambda x, w: x + w),
    "add_ alpha": (lambda x, w: x.add_(w, alpha=3), lambda x, w: x + 3 * w),
    "add_ of old": (lambda x, w: x.add_(-0.5, w), lambda x, w: x - 0.5 * w),
    "sub_ of old": (lambda x, w: x.sub_(2, w), lambda x, w: x - 2 * w),
    "mul_": (lambda x, w: x.mul_(w), lambda x, w: x * w),
    "div_": (lambda x, w: x.div_(w), lambda x, w: x / w),
    "pow_": (lambda x, w: x.pow_(2).mul_(w), lambda x, w: x**2 * w),
    "addcmul_": (lambda x, w: x.addcmul_(w, w, value=0.5), lambda x, w: x + 0.5 * w * w),
    "addcmul_ of old": (lambda x, w: x.addcmul_(0.5, w, w), lambda x, w: x + 0.5 * w * w),
    "addcdiv_": (lambda x, w: x.addcdiv_(w, w + 1, value=-2), lambda x, w: x - 2 * w / (w + 1)),
    "lerp_": (lambda x, w: x.lerp_(w, 0.25), lambda x, w: x + 0.25 * (w - x)),
    "masked_fill_": (lambda x, w: x.masked_fill_(w > 1.5, 0.0).mul_(w), lambda x, w: (w <= 1.5) * x * w),
    "copy_": (lambda x, w: x.copy_(w), lambda x, w: w + 0 * x),
    "clamp_": (lambda x, w: x.clamp_(1, 2).mul_(w), lambda x, w: x.clamp(1, 2) * w),
    "exp_": (lambda x, w: x.exp_().mul_(w), lambda x, w: x.exp() * w),
    "scatter_add_": (
        lambda x, w: x.scatter_add_(0, torch.tensor([0, 0, 1]), w),
        lambda x, w: x + torch.stack([w[0] + w[1], w[2], w[0] * 0]),
    ),
    "index_add_": (
        lambda x, w: x.index_add_(0, torch.tensor([2, 2]), w[:2], alpha=2),
        lambda x, w: x + torch.stack([w[0] * 0, w[0] * 0, 2 * (w[0] + w[1])]),
    ),
    "zero_": (lambda x, w: x.zero_().add_(w), lambda x, w: 0 * x + w),
}


@pytest.mark.parametrize("name", CHANGES)
def test_arithmetic_in_place_has_the_gradients_of_arithmetic(name):
    change, plain = CHANGES[name]
    found = []
    for function in (change, plain):
        v = torch.tensor([0.5, 1.25, 2.5], dtype=torch.float64, requires_grad=True)
        w = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        x = v * 1
        y = function(x, w)
        assert function is plain or y is x
        (y * torch.arange(1.0, 4.0).double()).sum().backward()
        found.append((y, v.grad, w.grad))
    for a, b in zip(*found, strict=True):
        close(torch.zeros(3) if a is None else a, np.zeros(3) if b is None else b.detach().numpy())


def test_constants_that_are_changed_by_what_requires_a_gradient_join_the_graph():
    w, i = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1, 0, 1])
    changes = {
        "scatter_add_": lambda x: x.scatter_add_(0, i, w),
        "index_add_": lambda x: x.index_add_(0, i, w),
        "index_put_": lambda x: x.index_put_((i,), w, accumulate=True),
        "masked_scatter_": lambda x: x.masked_scatter_(x == 0, w),
        "scatter_": lambda x: x.scatter_(0, torch.tensor([1, 0, 2]), w),
        "index_copy_": lambda x: x.index_copy_(0, torch.tensor([1, 0, 2]), w),
        "lerp_": lambda x: x.lerp_(w, 0.5),
        "addcmul_": lambda x: x.addcmul_(w, torch.ones(3)),
        "copy_": lambda x: x.copy_(w),
        "masked_fill_": lambda x: x.masked_fill_(x == 0, w[0]),
    }
    for name, change in changes.items():
        x = torch.zeros(3)
        change(x)
        assert x.requires_grad, name
        w.grad = None
        x.sum().backward()
        assert w.grad.sum().item() in (3, 1.5), name


def test_what_cannot_be_carried_is_refused():
    w = torch.ones(3, requires_grad=True)
    for change in (
        lambda: w.add_(1),
        lambda: w.__setitem__(0, 2.0),
        lambda: w.unsqueeze_(0),
        lambda: w[0].mul_(2),
    ):
        with pytest.raises(RuntimeError, match="requires a gradient"):
            change()
    x = w * 2
    y = x.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place since"):
        y.sum().backward()
    with torch.no_grad():
        w.add_(1)
    w.data[0] = 7
    assert w.tolist() == [7, 2, 2]


def test_shapes_in_place():
    x = torch.arange(6.0).reshape(2, 3)
    assert x.unsqueeze_(0) is x
    assert x.shape == (1, 2, 3)
    assert x.squeeze_(0).shape == (2, 3)
    assert x.t_().shape == (3, 2)
    assert x.transpose_(0, 1).shape == (2, 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x.resize_(3, 2).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert x.resize_(2).tolist() == [0, 1]
    assert x.resize_((2, 2)).shape == (2, 2)
    assert x.resize_as_(torch.zeros(4)).shape == (4,)
    w = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = w * 2
    y.squeeze_(0)
    y[0] = 0
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    assert w.grad.tolist() == [[0, 10]]
    with pytest.raises(RuntimeError, match="resize_: this tensor requires a gradient"):
        w.resize_(3)
    with torch.no_grad():
        w.t_()
    assert w.shape == (2, 1)
    p = nn.Parameter(torch.zeros(2, 3))
    p.data.t_()
    assert p.shape == (2, 3)


def test_chance_in_place():
    torch.manual_seed(0)
    x = torch.zeros(4000)
    assert 0.45 < x.bernoulli_(0.5).mean().item() < 0.55
    assert set(x.unique().tolist()) == {0, 1}
    assert x.bernoulli_(torch.ones(4000)).min().item() == 1
    assert 0.45 < x.exponential_(2.0).mean().item() < 0.55
    assert set(x.random_(3).unique().tolist()) == {0, 1, 2}
    assert set(x.random_(2, 4).unique().tolist()) == {2, 3}
    assert torch.zeros(3, dtype=torch.int64).random_().dtype == torch.int64
    assert -0.1 < x.normal_(0, 1).mean().item() < 0.1
    assert x.uniform_(1, 2).min().item() >= 1
    g = torch.Generator().manual_seed(3)
    a = torch.zeros(3).normal_(generator=g)
    assert torch.equal(a, torch.zeros(3).normal_(generator=torch.Generator().manual_seed(3)))
    assert torch.ones(5).bernoulli().tolist() == [1] * 5


def test_more_values_in_place():
    x = torch.zeros(2, 3)
    assert x.scatter_(1, torch.tensor([[0], [2]]), 1.0).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert x.scatter_(1, torch.tensor([[1], [1]]), torch.full((2, 3), 5.0)).tolist() == [[1, 5, 0], [0, 5, 1]]
    assert x.scatter_(1, torch.tensor([[1], [1]]), 1.0, reduce="add")[:, 1].tolist() == [6, 6]
    assert x.index_fill_(1, torch.tensor([0, 2]), -1).tolist() == [[-1, 6, -1], [-1, 6, -1]]
    assert x.index_copy_(0, torch.tensor([1]), torch.ones(1, 3)).tolist() == [[-1, 6, -1], [1, 1, 1]]
    assert x.index_put_((torch.tensor([0, 0]), torch.tensor([1, 1])), torch.ones(2), True)[0, 1].item() == 8
    assert x.fill_diagonal_(9).tolist() == [[9, 8, -1], [1, 9, 1]]
    assert x.tril_().tolist() == [[9, 0, 0], [1, 9, 0]]
    assert x.masked_scatter_(x == 9, torch.tensor([4.0, 5.0, 6.0])).tolist() == [[4, 0, 0], [1, 5, 0]]
    assert torch.arange(4).masked_fill_(torch.arange(4) > 1, 0.0).tolist() == [0, 1, 0, 0]
    n = torch.arange(3)
    for change in (lambda: n.add_(0.5), lambda: n.div_(2), lambda: n.clamp_(0.5)):
        with pytest.raises(RuntimeError, match="cannot hold the result"):
            change()
    n += 1
    n **= 2
    assert n.tolist() == [1, 4, 9]
    with pytest.raises(RuntimeError, match="must not be smaller"):
        x.scatter_(1, torch.zeros(2, 2, dtype=torch.long), torch.ones(1, 2))
