"""Module and its containers."""

import copy
import gc
import random
import re
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def sentence(text):
    return re.escape(text)


class Tied(nn.Module):
    """Three layers, one used under two names, a parameter shared, a buffer, and a place left empty."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight
        self.again = self.out
        self.scale = nn.Parameter(tg.ones(2))
        self.empty = None
        self.register_buffer("count", tg.zeros(2, dtype=tg.int64))
        self.register_buffer("scratch", tg.zeros(1), persistent=False)

    def forward(self, x):
        return self.out(self.embed(x))


# ---------------------------------------------------------------- parameters


@pytest.mark.host
def test_a_parameter_is_a_leaf_and_what_is_computed_from_it_a_tensor():
    p = nn.Parameter(tg.ones(3))
    assert isinstance(p, tg.Tensor)
    assert p.is_leaf
    assert p.requires_grad
    for result in (p + 1, p.detach(), p.data, p.clone(), p[0]):
        assert type(result) is tg.Tensor
    assert repr(p) == "Parameter containing:\ntensor([1., 1., 1.], requires_grad=True)"
    assert not nn.Parameter(tg.ones(1), requires_grad=False).requires_grad


def test_a_parameter_is_a_copy_and_floating():
    x = tg.ones(3)
    p = nn.Parameter(x)
    x[0] = 5.0
    assert p.tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="only floating tensors can require a gradient, this one is int64"):
        nn.Parameter([1, 2])


def test_a_shared_parameter_counts_once():
    net = Tied()
    assert [name for name, _ in net.named_parameters()] == ["scale", "embed.weight"]
    assert len(list(net.parameters())) == 2
    assert len(list(net.parameters(recurse=False))) == 1
    assert [name for name, _ in net.named_parameters("net")] == ["net.scale", "net.embed.weight"]
    assert [name for name, _ in net.named_modules()] == ["", "embed", "out"]
    assert [name for name, _ in net.named_children()] == ["embed", "out"]
    assert list(net.children()) == [net.embed, net.out]
    assert [name for name, _ in net.named_buffers()] == ["count", "scratch"]
    assert len(list(net.buffers())) == 2


def test_the_gradients_of_a_tied_weight_are_added():
    net = Tied()
    net(tg.tensor([0, 1])).sum().backward()
    w = net.embed.weight.detach().numpy()
    expected = np.tile(w[0] + w[1], (5, 1))
    expected[:2] += w.sum(0)
    np.testing.assert_allclose(net.out.weight.grad.numpy(), expected, rtol=1e-5)


def test_the_base_class_need_not_be_initialised():
    class Bare(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    assert len(list(Bare().parameters())) == 2


def test_a_parameter_is_not_overwritten_by_a_result():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="Linear: weight is a Parameter and cannot become a plain tensor"):
        layer.weight = layer.weight * 0.5
    layer.weight = nn.Parameter(tg.zeros(2, 2))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert not list(layer.parameters())


def test_registering_checks_names_and_kinds():
    net = nn.Module()
    net.register_parameter("w", nn.Parameter(tg.ones(1)))
    net.register_parameter("none", None)
    net.add_module("child", nn.Identity())
    assert net.none is None
    for call, kind, text in [
        (
            lambda: net.register_parameter("v", tg.ones(1)),
            TypeError,
            "v must be a Parameter or None, got a Tensor",
        ),
        (lambda: net.register_buffer("v", 3), TypeError, "v must be a Tensor or None, got a int"),
        (lambda: net.add_module("v", 3), TypeError, "v must be a Module or None, got a int"),
        (lambda: net.add_module(3, nn.Identity()), TypeError, "names are strings, got a int"),
        (lambda: net.add_module("a.b", nn.Identity()), KeyError, "it is empty or has a dot"),
        (lambda: net.add_module("", nn.Identity()), KeyError, "it is empty or has a dot"),
        (lambda: net.add_module("train", nn.Identity()), KeyError, "already an attribute of another kind"),
        (lambda: net.register_buffer("w", tg.ones(1)), KeyError, "already an attribute of another kind"),
    ]:
        with pytest.raises(kind, match=text):
            call()


def test_a_buffer_stays_one_when_it_is_assigned():
    net = Tied()
    net.count = tg.tensor([1, 2])
    assert net.state_dict()["count"].tolist() == [1, 2]
    net.count = None
    assert "count" not in net.state_dict()
    with pytest.raises(TypeError, match="Tied: count is a buffer, a Tensor or None; got a int"):
        net.count = 3


def test_forward_must_be_defined():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define forward"):
        Empty()(1)


# ---------------------------------------------------------------- state


def test_state_dict_has_every_name_and_shares_memory():
    net = Tied()
    state = net.state_dict()
    assert list(state) == ["scale", "count", "embed.weight", "out.weight", "again.weight"]
    assert not any(v.requires_grad for v in state.values())
    net.scale.data.fill_(7.0)
    assert state["scale"].tolist() == [7, 7]
    kept = copy.deepcopy(state)
    net.scale.data.fill_(8.0)
    assert kept["scale"].tolist() == [7, 7]


def test_load_state_dict_copies_and_keeps_identity():
    net, other = Tied(), Tied()
    scale = net.scale
    result = net.load_state_dict(other.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    assert net.scale is scale
    assert net.out.weight is net.embed.weight
    np.testing.assert_array_equal(net.embed.weight.detach().numpy(), other.embed.weight.detach().numpy())
    other.embed.weight.data.fill_(0.0)
    assert net.embed.weight.detach().numpy().any()


def test_load_state_dict_takes_arrays_and_other_float_types():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": [3.0]})
    assert layer(tg.ones(2)).tolist() == [6.0]
    assert layer.weight.dtype == tg.float32


def test_load_state_dict_says_what_is_wrong_and_changes_nothing():
    layer = nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    good = {"weight": tg.zeros(1, 2), "bias": tg.zeros(1)}
    for state, kind, text in [
        ({"weight": good["weight"]}, ValueError, "Linear.load_state_dict: missing bias; strict=False loads"),
        ({**good, "a": 1, "b": 2}, ValueError, "Linear.load_state_dict: unexpected a, b; strict=False"),
        ({"bias": good["bias"], "a": 1}, ValueError, "missing weight and unexpected a;"),
        ({}, ValueError, "missing weight, bias;"),
        ({**good, "bias": tg.zeros(2)}, ValueError, "bias has shape (1,) here, (2,) in the dict"),
        ({**good, "bias": tg.tensor([1])}, ValueError, "bias is float32 here, int64 in the dict"),
        (
            {**good, "weight_ih_l0": 1},
            ValueError,
            "weight_ih_l0 is of PyTorch's recurrent layers; tinygrad",
        ),
        (
            {"rnn.bias_hh_l1_reverse": 1},
            ValueError,
            "tinygrad_rnn.io.load_torch(module, state_dict) reads such",
        ),
        ([1], TypeError, "expected names and tensors in a dict, got a list"),
    ]:
        with pytest.raises(kind, match=sentence(text)):
            layer.load_state_dict(state)
    assert (layer.weight.detach() == before).all()
    many = {f"name{k}": 0 for k in range(9)}
    with pytest.raises(ValueError, match="unexpected name0, name1, name2, name3, name4 and 4 more"):
        layer.load_state_dict({**good, **many})


def test_load_state_dict_not_strict_returns_what_did_not_fit():
    layer = nn.Linear(2, 1)
    missing, unexpected = layer.load_state_dict({"weight": tg.ones(1, 2), "other": 1}, strict=False)
    assert (missing, unexpected) == (["bias"], ["other"])
    assert layer.weight.tolist() == [[1, 1]]


def test_train_and_eval():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())


def test_freezing_and_zero_grad():
    net = nn.Linear(2, 2)
    net(tg.ones(2)).sum().backward()
    kept = net.weight.grad
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.tolist() == [[0, 0], [0, 0]]
    assert kept is not None
    net.zero_grad()
    assert net.weight.grad is None
    assert net.requires_grad_(False) is net
    assert not net(tg.ones(2)).requires_grad
    net.zero_grad(set_to_none=False)
    net.requires_grad_()
    assert net(tg.ones(2)).requires_grad


def test_apply_goes_through_children_first():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Tanh()))
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Tanh", "Sequential", "Sequential"]


# ---------------------------------------------------------------- type and device


@pytest.mark.host
def test_to_keeps_identity_gradients_and_integers():
    net = Tied()
    weight = net.embed.weight
    net(tg.tensor([0])).sum().backward()
    grad = weight.grad.numpy()
    for call, dtype in [
        (lambda: net.double(), tg.float64),
        (lambda: net.half(), tg.float16),
        (lambda: net.float(), tg.float32),
        (lambda: net.to(tg.float64), tg.float64),
        (lambda: net.to(dtype="float32"), tg.float32),
        (lambda: net.to("cpu", tg.float64), tg.float64),
        (lambda: net.to(tg.zeros(1)), tg.float32),
        (lambda: net.to(device="cpu"), tg.float32),
        (lambda: net.cpu(), tg.float32),
    ]:
        assert call() is net
        assert net.embed.weight is weight is net.out.weight
        assert weight.dtype == weight.grad.dtype == net.scratch.dtype == dtype
        assert net.count.dtype == tg.int64
        assert weight.requires_grad
    np.testing.assert_allclose(weight.grad.numpy(), grad, rtol=1e-3)
    net.double()(tg.tensor([0])).sum().backward()
    np.testing.assert_allclose(weight.grad.numpy(), 2 * grad, rtol=1e-3)


def test_to_refuses_types_that_are_not_floating():
    with pytest.raises(TypeError, match=r"Linear.to: parameters are floating, got int64"):
        nn.Linear(1, 1).to(tg.int64)
    with pytest.raises(TypeError, match="'nowhere' is neither a device nor a dtype"):
        nn.Linear(1, 1).to("nowhere")


def test_deepcopy_is_apart_and_keeps_sharing():
    net = Tied()
    twin = copy.deepcopy(net)
    assert twin.out.weight is twin.embed.weight is not net.embed.weight
    assert isinstance(twin.scale, nn.Parameter)
    assert twin.scale.requires_grad
    twin.embed.weight.data.fill_(0.0)
    assert net.embed.weight.detach().numpy().any()
    assert list(twin.state_dict()) == list(net.state_dict())


def test_a_module_is_freed_without_the_collector():
    gc.disable()
    try:
        net = Tied()
        net(tg.tensor([0])).sum().backward()
        gone = weakref.ref(net.embed.weight)
        del net
        assert gone() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- how it prints


def test_repr():
    net = nn.Sequential(nn.Embedding(1000, 4, padding_idx=0), nn.Sequential(nn.Linear(4, 2), nn.Tanh()))
    net[1][0].requires_grad_(False)
    assert repr(net) == (
        "Sequential(  # 4,010 parameters, 10 of them frozen\n"
        "  (0): Embedding(1000, 4, padding_idx=0)  # 4,000 parameters\n"
        "  (1): Sequential(  # 10 parameters, 10 of them frozen\n"
        "    (0): Linear(in_features=4, out_features=2, bias=True)  # 10 parameters, 10 of them frozen\n"
        "    (1): Tanh()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Dropout(0.25)) == "Dropout(p=0.25)"
    for module in (
        nn.ReLU(),
        nn.LeakyReLU(),
        nn.ELU(),
        nn.GELU(),
        nn.Softplus(),
        nn.Softmax(1),
        nn.LogSoftmax(1),
    ):
        assert repr(module).startswith(type(module).__name__ + "(")
    for module in (nn.Flatten(), nn.LayerNorm(3), nn.CrossEntropyLoss(), nn.MSELoss()):
        assert "=" in repr(module)


# ---------------------------------------------------------------- containers


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    x = tg.randn(4, 2)
    assert (net(x) == c(b(a(x)))).all()
    assert (len(net), net[0], net[-1], list(net)) == (3, a, c, [a, b, c])
    assert (net[:2](x) == b(a(x))).all()
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert net.append(nn.Sigmoid()) is net
    assert len(net.extend([nn.Tanh()])) == 5
    net.insert(1, b)
    assert [type(m).__name__ for m in net] == ["Linear", "Tanh", "Tanh", "Linear", "Sigmoid", "Tanh"]
    del net[1]
    del net[3:]
    assert list(net) == [a, b, c]
    net[1] = nn.ReLU()
    assert type(net[1]) is nn.ReLU
    assert (nn.Sequential(b, b)(x) == b(b(x))).all()
    assert nn.Sequential()(x) is x


def test_sequential_with_names():
    net = nn.Sequential({"hidden": nn.Linear(2, 3), "out": nn.Linear(3, 1)})
    assert list(net.state_dict()) == ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]
    assert net.hidden is net[0]
    assert list(net[1:].state_dict()) == ["out.weight", "out.bias"]


def test_module_list():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert len(layers) == 3
    assert len(list(layers.parameters())) == 6
    assert len(layers + [nn.Tanh()]) == 4
    assert isinstance(layers[1:], nn.ModuleList)
    assert layers[-1] is list(layers)[2]
    with pytest.raises(NotImplementedError, match="ModuleList must define forward"):
        layers(1)


def test_containers_refuse_what_is_no_module():
    layers = nn.ModuleList([nn.Tanh()])
    for call, kind, text in [
        (
            lambda: nn.Sequential(len),
            TypeError,
            "Sequential: expected a module, got a builtin_function_or_method",
        ),
        (lambda: layers.append(None), TypeError, "ModuleList: expected a module, got None"),
        (lambda: layers.__setitem__(0, 3), TypeError, "ModuleList: expected a module, got a int"),
        (lambda: layers.insert(0, 3), TypeError, "ModuleList: expected modules, got a int"),
        (lambda: layers[1], IndexError, "ModuleList: index 1 is outside its 1 parts"),
        (lambda: layers["a"], TypeError, "ModuleList: an index is an integer or a slice, got a str"),
    ]:
        with pytest.raises(kind, match=text):
            call()
    assert len(layers) == 1


def test_module_dict():
    parts = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Tanh()})
    assert list(parts) == list(parts.keys()) == ["a", "b"]
    assert "a" in parts
    assert len(parts) == 2
    assert list(parts.values()) == [parts["a"], parts["b"]]
    assert [name for name, _ in parts.items()] == ["a", "b"]
    assert list(parts.state_dict()) == ["a.weight", "a.bias"]
    parts.update([("c", nn.ReLU())])
    tanh = parts["b"]
    assert parts.pop("b") is tanh
    parts["a"] = nn.ReLU()
    assert not list(parts.parameters())
    parts.clear()
    assert len(parts) == 0
    for call, kind, text in [
        (lambda: parts["x"], KeyError, "there is no 'x' among no modules"),
        (lambda: parts.__delitem__("x"), KeyError, "there is no 'x'"),
        (lambda: parts.__setitem__("x", 3), TypeError, "x must be a Module, got a int"),
        (lambda: parts.__setitem__("keys", nn.Tanh()), KeyError, "'keys' is already an attribute"),
    ]:
        with pytest.raises(kind, match=text):
            call()


def test_parameter_list():
    parts = nn.ParameterList([tg.ones(2), nn.Parameter(tg.zeros(3))])
    assert len(parts) == len(list(parts.parameters())) == 2
    assert all(isinstance(p, nn.Parameter) for p in parts)
    assert parts[-1].shape == (3,)
    assert len(parts[:1]) == 1
    parts[0] = tg.zeros(4)
    assert parts.append(tg.ones(1)) is parts
    assert list(parts.state_dict()) == ["0", "1", "2"]
    assert [p.shape for p in parts] == [(4,), (3,), (1,)]
    assert "(0): float32 (4,)" in repr(parts)
    with pytest.raises(IndexError, match="ParameterList: index 3 is outside its 3 parameters"):
        parts[3]
    with pytest.raises(TypeError, match="ParameterList: expected a Parameter or Tensor, got a int"):
        parts.append(3)


def test_parameters_come_in_the_order_of_their_names():
    for seed in range(100):
        rng = random.Random(seed)
        modules, parameters = [nn.Module() for _ in range(6)], [nn.Parameter(tg.zeros(1)) for _ in range(5)]
        for k in range(14):  # shared ones and circles, too
            setattr(rng.choice(modules), f"a{k}", rng.choice(rng.choice([modules, parameters])))
        for module in modules:
            for recurse in (True, False):
                named = [p for _, p in module.named_parameters(recurse=recurse)]
                assert [*map(id, module.parameters(recurse))] == [*map(id, named)]
