"""Names of weights: loops over parameters that ask for them, and PyTorch's own names and layout."""

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn import nn, optim
from tinygrad_rnn.io import to_torch


def test_loops_over_names_do_what_they_mean():
    net = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    for name, p in net.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(p.data)
        elif "weight_hh" in name:
            nn.init.orthogonal_(p.data)
        elif "bias" in name:
            p.data.fill_(0)
            n = p.size(0)
            p.data[n // 4 : n // 2].fill_(1)
        else:
            raise AssertionError(name)
    for cell in net.cells:
        assert cell.bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, lambda *a, **k: nn.GRU(*a, reset_after=True, **k)])
@pytest.mark.parametrize("init", ["default", "torch"])
def test_pytorchs_names_and_layout(kind, init):
    net = kind(3, 4, num_layers=2, bidirectional=True, init=init)
    written = to_torch(net)
    gru = isinstance(net, nn.GRU)
    names = [name for names in net._all_weights for name in names]
    assert set(names) == set(written)
    assert names == net._flat_weights_names
    for name in names:
        p = getattr(net, name)
        assert p.shape == written[name].shape
        assert isinstance(p, nn.Parameter)
        assert p.is_leaf
        assert p.requires_grad
        if not gru:  # whose z block has the other sign
            np.testing.assert_array_equal(p.detach().numpy(), written[name])
    assert [[p.shape for p in row] for row in net.all_weights] == [
        [written[name].shape for name in row] for row in net._all_weights
    ]
    assert len(net._flat_weights) == len(names) == 16


def test_what_is_written_is_the_cells():
    net = nn.LSTM(3, 4, bidirectional=True)
    net.bias_ih_l0.data.fill_(0)
    net.bias_ih_l0.data[4:8].fill_(1)  # the forget gate
    assert net.cells[0].bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    net.bias_hh_l0_reverse.data[4:8].fill_(2)
    assert net.cells[1].bias_hh.tolist() == [0] * 4 + [2] * 4 + [0] * 8
    w = torch.randn(16, 4)
    net.weight_hh_l0.data.copy_(w)
    assert torch.equal(net.cells[0].weight_hh.t(), w)
    nn.init.constant_(net.weight_ih_l0, 0.5)
    assert net.cells[0].weight_ih.unique().tolist() == [0.5]
    nn.init.orthogonal_(net.weight_hh_l0_reverse)
    product = net.cells[1].weight_hh.detach() @ net.cells[1].weight_hh.detach().t()
    np.testing.assert_allclose(product.numpy(), np.eye(4), atol=1e-5)
    with torch.no_grad():
        net.weight_ih_l0.zero_()
        net.weight_ih_l0[4:8] = 3
    assert net.cells[0].weight_ih[:, 4:8].unique().tolist() == [3]
    assert net.cells[0].weight_ih[:, :4].unique().tolist() == [0]
    net.weight_ih_l0.data = torch.ones(16, 3)
    assert net.cells[0].weight_ih.unique().tolist() == [1]
    net.weight_ih_l0 = nn.Parameter(torch.zeros(16, 3))
    assert net.cells[0].weight_ih.unique().tolist() == [0]
    with pytest.raises(ValueError, match="copy_"):
        net.weight_ih_l0.data.copy_(torch.ones(3, 16))


def test_the_second_bias_counts():
    net = nn.LSTM(2, 3)
    x = torch.randn(4, 1, 2)
    before = net(x)[0]
    net.bias_hh_l0  # noqa: B018
    assert torch.allclose(net(x)[0], before)
    net.bias_hh_l0.data.fill_(0.3)
    net.cells[0].bias.data.sub_(0.3)
    assert torch.allclose(net(x)[0], before, atol=1e-6)
    assert "cells.0.bias_hh" in net.state_dict()
    net = nn.GRU(2, 3, reset_after=True)
    before = net(x)[0]
    net.bias_hh_l0  # noqa: B018
    assert torch.allclose(net(x)[0], before, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, lambda *a: nn.GRU(*a, reset_after=True)])
def test_the_second_bias_of_every_layer_is_added(kind):
    torch.manual_seed(0)
    net, x = kind(2, 3), torch.randn(4, 1, 2)
    for part in (slice(0, 3), slice(-3, None)):
        before = net(x)[0]
        net.bias_hh_l0.data[part] += 0.5
        assert not torch.allclose(net(x)[0], before)
    net(x)[0].sum().backward()
    assert net.bias_hh_l0.grad.abs().sum() > 0


def test_gradients_and_freezing():
    net = nn.LSTM(2, 3)
    net(torch.randn(4, 1, 2))[0].sum().backward()
    assert torch.equal(net.weight_hh_l0.grad, net.cells[0].weight_hh.grad.t())
    net.zero_grad()
    assert net.weight_hh_l0.grad is None
    (net.weight_hh_l0**2).sum().backward()
    assert torch.allclose(net.cells[0].weight_hh.grad, 2 * net.cells[0].weight_hh.detach())
    net.weight_ih_l0.requires_grad = False
    assert not net.cells[0].weight_ih.requires_grad
    before = net.weight_hh_l0.detach().clone()
    optim.SGD([net.weight_hh_l0], lr=0.5).step()
    assert torch.allclose(net.weight_hh_l0, before - before, atol=1e-6)


def test_attributes():
    net = nn.LSTM(3, 4, proj_size=2, bias=False)
    assert (net.mode, net.proj_size, net.bias, net.batch_first) == ("LSTM", 2, False, False)
    assert net.weight_hr_l0.shape == (2, 4)
    assert net._all_weights == [["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]]
    assert nn.RNN(3, 4, nonlinearity="relu").mode == "RNN_RELU"
    assert nn.RNN(3, 4).nonlinearity == "tanh"
    assert nn.GRU(3, 4).mode == "GRU"
    assert isinstance(net, nn.RNNBase)
    assert isinstance(nn.GRUCell(3, 4), nn.RNNCellBase)
    net.flatten_parameters()
    net.reset_parameters()
    for name in ("weight_ih_l1", "weight_ih_l0_reverse", "bias_ih_l0", "weight_hx_l0"):
        assert not hasattr(net, name)
    with pytest.raises(AttributeError, match="reset_after=True"):
        _ = nn.GRU(3, 4).weight_hh_l0
    assert not hasattr(nn.Recurrent(nn.LayerNormLSTMCell(2, 3)), "weight_ih_l0")


def test_parts_by_name():
    net = nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1))
    assert net.get_submodule("0.cells.0") is net[0].cells[0]
    assert net.get_submodule("") is net
    assert net.get_parameter("1.weight") is net[1].weight
    net[1].register_buffer("scale", torch.ones(1))
    assert net.get_buffer("1.scale") is net[1].scale
    net.set_submodule("1", nn.Identity())
    assert isinstance(net[1], nn.Identity)
    for call in (
        lambda: net.get_submodule("2"),
        lambda: net.get_parameter("0.x"),
        lambda: net.get_buffer("0.x"),
    ):
        with pytest.raises(AttributeError):
            call()
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    assert len(list(tied.named_parameters())) == 3
    assert len(list(tied.named_parameters(remove_duplicate=False))) == 4
    same = nn.Sequential(net[1], net[1])
    assert [n for n, _ in same.named_modules()] == ["", "0"]
    assert [n for n, _ in same.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert nn.Linear(2, 2).type(torch.float64).weight.dtype == torch.float64
    assert nn.Linear(2, 2).type(torch.DoubleTensor).bias.dtype == torch.float64
    with pytest.raises(ValueError, match="expected a boolean"):
        net.train("x")
    with pytest.raises(TypeError, match="takes no arguments"):
        nn.Module(3)
