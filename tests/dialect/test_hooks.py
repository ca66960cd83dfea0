"""Hooks of modules, tensors and optimisers."""

import io

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn import nn, optim


def linear():
    net = nn.Linear(2, 3)
    nn.init.constant_(net.weight, 1.0)
    nn.init.zeros_(net.bias)
    return net


X = torch.tensor([[1.0, 2.0]])


def test_forward_hooks():
    net, seen = linear(), []
    first = net.register_forward_hook(lambda m, args, out: seen.append((m, args, out)))
    y = net(X)
    assert seen[0][0] is net
    assert seen[0][1][0] is X
    assert seen[0][2] is y
    second = net.register_forward_hook(lambda m, args, out: out * 2)
    assert net(X).tolist() == [[6, 6, 6]]
    first.remove()
    second.remove()
    assert net(X).tolist() == [[3, 3, 3]]
    assert len(seen) == 2
    with net.register_forward_hook(lambda m, args, kwargs, out: out + len(kwargs), with_kwargs=True):
        assert net(input=X).tolist() == [[4, 4, 4]] if "input" in net.forward.__code__.co_varnames else True
    order = []
    net.register_forward_hook(lambda *a: order.append(1))
    net.register_forward_hook(lambda *a: order.append(0), prepend=True)
    net(X)
    assert order == [0, 1]


def test_forward_pre_hooks():
    net = linear()
    with net.register_forward_pre_hook(lambda m, args: (args[0] * 2,)):
        assert net(X).tolist() == [[6, 6, 6]]
    with net.register_forward_pre_hook(lambda m, args: args[0] * 3):
        assert net(X).tolist() == [[9, 9, 9]]
    with net.register_forward_pre_hook(lambda m, args, kwargs: ((X * 0,), {}), with_kwargs=True):
        assert net(X).tolist() == [[0, 0, 0]]
    with net.register_forward_pre_hook(lambda m, args, kwargs: 1, with_kwargs=True):  # noqa: SIM117
        with pytest.raises(RuntimeError, match="pre-hook with kwargs returns None or"):
            net(X)
    assert net(X).tolist() == [[3, 3, 3]]


def test_hooks_of_recurrent_layers_and_in_containers():
    rnn = nn.LSTM(2, 3)
    shapes = []
    rnn.register_forward_hook(lambda m, args, out: shapes.append((out[0].shape, out[1][0].shape)))
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    for m in net:
        m.register_forward_hook(lambda m, args, out: shapes.append(type(m).__name__))
    rnn(net(torch.zeros(5, 1, 2)))
    assert shapes == ["Linear", "Tanh", ((5, 1, 3), (1, 1, 3))]


def test_full_backward_hooks():
    net, seen = linear(), []
    handle = net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x = X.clone().requires_grad_()
    net(x).backward(torch.tensor([[1.0, 2.0, 3.0]]))
    ((gi,), (go,)) = seen[0]
    assert gi.tolist() == [[6, 6]]
    assert go.tolist() == [[1, 2, 3]]
    assert x.grad.tolist() == [[6, 6]]
    net(X).sum().backward()  # the argument needs no gradient
    assert seen[1][0] == (None,)
    handle.remove()
    net(x).sum().backward()
    assert len(seen) == 2
    with net.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,)):
        x.grad = None
        net(x).sum().backward()
    assert x.grad.tolist() == [[30, 30]]
    with net.register_full_backward_pre_hook(lambda m, go: (go[0] * 0,)):
        x.grad = None
        net(x).sum().backward()
    assert x.grad.tolist() == [[0, 0]]
    with net.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0])):  # noqa: SIM117
        with pytest.raises(RuntimeError, match="returned 2 gradients for 1 arguments"):
            net(x).sum().backward()
    assert net(x).requires_grad


def test_hooks_of_state_dicts():
    net = nn.Sequential(linear(), nn.Tanh())
    calls = []
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep_vars: calls.append(prefix))
    handle = net[0].register_state_dict_post_hook(lambda m, s, prefix, meta: s.pop(f"{prefix}bias"))
    assert list(net.state_dict()) == ["0.weight"]
    assert calls == ["0."]
    handle.remove()
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias"]

    def renamed(m, state, prefix, meta, strict, missing, unexpected, errors):
        state[f"{prefix}weight"] = state.pop(f"{prefix}w")

    keys = []
    net[0].register_load_state_dict_pre_hook(renamed)
    net.register_load_state_dict_post_hook(lambda m, result: keys.append(result))
    old = {"0.w": torch.zeros(3, 2), "0.bias": torch.zeros(3)}
    net.load_state_dict(old)
    assert list(old) == ["0.w", "0.bias"]
    assert keys[0].missing_keys == []
    assert not net[0].weight.any()
    assert list(net.state_dict(prefix="m.")) == ["m.0.weight", "m.0.bias"]
    assert net.state_dict(keep_vars=True)["0.weight"] is net[0].weight


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        self.steps = state["steps"]


def test_extra_state():
    net = nn.ModuleDict({"a": Counting()})
    net["a"].steps = 7
    state = net.state_dict()
    assert state == {"a._extra_state": {"steps": 7}}
    other = nn.ModuleDict({"a": Counting()})
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert other["a"].steps == 7
    with pytest.raises(RuntimeError, match=r"missing a\._extra_state"):
        other.load_state_dict({})


def test_hooks_of_tensors():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    y = w * 3
    y.retain_grad()
    assert y.retains_grad
    assert not w.retains_grad
    handle = y.register_hook(lambda g: g * 2)
    y.sum().backward()
    assert y.grad.tolist() == [2, 2]
    assert w.grad.tolist() == [6, 6]
    handle.remove()
    with w.register_hook(lambda g: g * 0):
        (w * 3).sum().backward()
    assert w.grad.tolist() == [6, 6]
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        torch.ones(1).register_hook(print)


def test_hooks_after_gradients_are_there():
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    steps = []

    def step(p):
        steps.append(p.grad.tolist())
        p.data.sub_(p.grad)
        p.grad = None

    handle = w.register_post_accumulate_grad_hook(step)
    (w * 2).sum().backward()
    assert steps == [[2, 2]]
    assert w.tolist() == [-1, 0]
    assert w.grad is None
    handle.remove()
    w.sum().backward()
    assert w.grad.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="no leaf"):
        (w * 2).register_post_accumulate_grad_hook(step)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1), optim.Adam, lambda p: optim.LBFGS(p, max_iter=1)]
)
def test_hooks_of_optimisers(make):
    w = nn.Parameter(torch.ones(2))
    optimizer, calls = make([w]), []

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append(("before", w[0].item())))
    after = optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append(("after", w[0].item())))
    optimizer.step(closure)
    assert [name for name, _ in calls] == ["before", "after"]
    assert calls[0][1] == 1.0 != calls[1][1]
    before.remove()
    after.remove()
    optimizer.step(closure)
    assert len(calls) == 2
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("asked"))
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "more": 1})
    state = optimizer.state_dict()
    assert state["more"] == 1
    optimizer.register_load_state_dict_pre_hook(lambda o, s: {k: v for k, v in s.items() if k != "more"})
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded"))
    optimizer.load_state_dict(state)
    assert calls[2:] == ["asked", "loaded"]


def test_hooks_do_not_change_gradients():
    net = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    net(x)[0].square().sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.register_full_backward_hook(lambda m, gi, go: None)
    net.register_forward_hook(lambda m, args, out: None)
    net(x)[0].square().sum().backward()
    for p, g in zip(net.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g.numpy(), rtol=1e-6)
