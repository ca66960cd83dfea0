"""Layers, containers, packed sequences, losses and starting values that PyTorch's scripts use: fixed
values."""

import math
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as torch
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import deprecation, nn
from tinygrad_rnn.nn.utils import rnn

X = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -0.25]])
Y = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])


def close(a, b, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(a.detach().numpy() if hasattr(a, "detach") else a, b, rtol=rtol, atol=atol)


# ---------------------------------------------------------------- packed sequences


def packed():
    x = torch.arange(12.0).reshape(3, 2, 2)
    return x, rnn.pack_padded_sequence(x, [2, 3], enforce_sorted=False)


def test_packed_sequences_are_named_tuples():
    _, p = packed()
    data, sizes, order, back = p
    assert isinstance(p, tuple)
    assert len(p) == 4
    assert torch.equal(p[0], p.data)
    assert torch.equal(p[-1], back)
    assert p[1].tolist() == sizes.tolist() == [2, 2, 1]
    assert order.tolist() == back.tolist() == [1, 0]
    assert data.tolist() == [[2, 3], [0, 1], [6, 7], [4, 5], [10, 11]]
    assert list(p._asdict()) == ["data", "batch_sizes", "sorted_indices", "unsorted_indices"]
    assert p._fields[:2] == ("data", "batch_sizes")
    assert [t.shape for t in p[:2]] == [(5, 2), (3,)]


def test_packed_sequences_are_made_of_their_parts():
    x, p = packed()
    for other in (
        rnn.PackedSequence(*p),
        rnn.PackedSequence(p.data * 1, p.batch_sizes, p.sorted_indices, p.unsorted_indices),
        p._replace(data=p.data),
        rnn.PackedSequence(p.data, p.batch_sizes, unsorted_indices=p.unsorted_indices),
    ):
        padded, lengths = rnn.pad_packed_sequence(other)
        assert lengths.tolist() == [2, 3]
        assert torch.equal(padded[:2], x[:2])
        assert padded[2].tolist() == [[0, 0], [10, 11]]
    inorder = rnn.PackedSequence(p.data, p.batch_sizes)
    assert inorder.sorted_indices is None
    assert rnn.pad_packed_sequence(inorder)[1].tolist() == [3, 2]
    lstm = nn.LSTM(2, 3)
    output, _ = lstm(rnn.PackedSequence(p.data, p.batch_sizes, p.sorted_indices, p.unsorted_indices))
    close(output.data, lstm(p)[0].data)
    w = torch.ones(1, requires_grad=True)
    rnn.pad_packed_sequence(p._replace(data=p.data * w))[0].sum().backward()
    assert w.grad.tolist() == [p.data.sum().item()]
    with pytest.raises(RuntimeError, match="must fall and add up to the 5 steps"):
        rnn.PackedSequence(p.data, torch.tensor([2, 2]))
    with pytest.raises(TypeError, match="data must be a Tensor"):
        rnn.PackedSequence([1], torch.tensor([1]))


@pytest.mark.host
def test_packed_sequences_change_type():
    _, p = packed()
    for name, kind in (
        ("double", "float64"),
        ("float", "float32"),
        ("half", "float16"),
        ("long", "int64"),
        ("int", "int32"),
        ("short", "int16"),
        ("char", "int8"),
        ("byte", "uint8"),
    ):
        assert str(getattr(p, name)().data.dtype) == kind
    assert p.float() is p
    assert p.cpu() is p
    assert p.to(torch.float64).batch_sizes.dtype == torch.int64
    assert p.pin_memory() is p


# ---------------------------------------------------------------- embedding and normalization


def test_embedding_holds_norms():
    table = torch.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]])
    net = nn.Embedding(3, 2, max_norm=1.0)
    net.weight.data.copy_(table)
    y = net(torch.tensor([0, 1, 0]))
    close(y, [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]])
    close(net.weight, [[0.6, 0.8], [0.3, 0.4], [6, 8]])
    net = nn.Embedding.from_pretrained(table, max_norm=7.0, norm_type=1.0, freeze=False)
    close(net(torch.tensor([0])), [[3, 4]])
    assert "max_norm=7.0" in repr(net)


def test_embedding_scales_gradients_by_frequency():
    net = nn.Embedding(3, 2, scale_grad_by_freq=True, sparse=True)
    net(torch.tensor([[0, 1], [0, 0]])).sum().backward()
    close(net.weight.grad, [[1, 1], [1, 1], [0, 0]])
    e = F.embedding(torch.tensor([1]), net.weight, None, None, 2.0, False, False)
    assert e.shape == (1, 2)


def test_batch_norm():
    net = nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    close(net(x), [[-1, -1], [1, 1]], atol=1e-4)
    close(net.running_mean, [0.2, 2])
    close(net.running_var, [0.9 + 0.1 * 2, 0.9 + 0.1 * 200])
    assert net.num_batches_tracked.item() == 1
    net.eval()
    close(net(x)[0], [(1 - 0.2) / math.sqrt(1.1 + 1e-5), (10 - 2) / math.sqrt(20.9 + 1e-5)])
    assert list(net.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    net = nn.BatchNorm1d(2, momentum=None, affine=False)
    net(x)
    net(x * 3)
    close(net.running_mean, [4, 40])
    y = nn.BatchNorm1d(3)(torch.randn(4, 3, 5) * 7 + 2)
    close(y.mean((0, 2)), [0, 0, 0], atol=1e-5)
    assert nn.BatchNorm1d(2, track_running_stats=False).eval()(x)[0].tolist() == pytest.approx(
        [-1, -1], abs=1e-3
    )
    torch.testing.gradcheck(lambda v: F.batch_norm(v, None, None, training=True), torch.randn(4, 3).double())
    with pytest.raises(ValueError, match="more than one value"):
        net(x[:1])
    with pytest.raises(RuntimeError, match="with C = 2"):
        net(torch.ones(2, 3))


def test_dropout_of_channels():
    torch.manual_seed(0)
    x = torch.ones(50, 4, 6)
    for net in (nn.Dropout1d(0.5), nn.Dropout2d(0.5)):
        y = net(x)
        each = y.sum(-1)
        assert set(each.unique().tolist()) == {0, 12}
        assert net.eval()(x) is x
    y = nn.Dropout2d(0.5)(torch.ones(20, 3, 1, 7))
    assert set(y.sum((2, 3)).unique().tolist()) == {0, 14}
    assert set(nn.Dropout1d(0.5)(torch.ones(40, 5)).sum(1).unique().tolist()) == {0, 10}
    with pytest.raises(RuntimeError, match="dropout1d: expected"):
        nn.Dropout1d()(torch.ones(3))


# ---------------------------------------------------------------- losses


def test_losses_of_distributions():
    logs = F.log_softmax(X, 1)
    p = Y.numpy()
    each = p * (np.log(p) - logs.numpy())
    close(F.kl_div(logs, Y), each.mean())
    close(nn.KLDivLoss(reduction="batchmean")(logs, Y), each.sum() / 2)
    close(F.kl_div(logs, Y.log(), reduction="sum", log_target=True), each.sum())
    zero = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    close(F.kl_div(logs, zero, reduction="sum"), -(logs[0, 1] + logs[1, 0]).item())
    x, y, v = X.numpy(), Y.numpy(), np.array([[0.5, 1, 2], [1, 1e-9, 4]], "float32")
    held = np.maximum(v, 1e-6)
    each = 0.5 * (np.log(held) + (x - y) ** 2 / held)
    close(nn.GaussianNLLLoss(reduction="none")(X, Y, torch.tensor(v)), each)
    close(F.gaussian_nll_loss(X, Y, torch.ones(2), full=True), (0.5 * (x - y) ** 2).mean() + 0.9189385)
    close(nn.PoissonNLLLoss()(X, Y), (np.exp(x) - y * x).mean())
    t = torch.tensor([[2.0, 0.0, 3.0], [1.0, 4.0, 0.0]]).numpy()
    more = np.where(t > 1, t * np.log(np.maximum(t, 1)) - t + 0.5 * np.log(2 * np.pi * np.maximum(t, 1)), 0)
    close(
        F.poisson_nll_loss(Y, torch.tensor(t), log_input=False, full=True),
        (y - t * np.log(y + 1e-8) + more).mean(),
    )


@pytest.mark.host  # a GPU is not waited for
def test_a_negative_variance_is_said():
    with pytest.raises(RuntimeError, match="var must not be negative"):
        F.gaussian_nll_loss(X, Y, -torch.ones(2, 3))


def test_losses_of_pairs():
    y = torch.tensor([1.0, -1.0])
    a, b = X.numpy(), Y.numpy()
    cosine = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    close(nn.CosineEmbeddingLoss(reduction="none")(X, Y, y), [1 - cosine[0], max(0, cosine[1])])
    close(nn.MarginRankingLoss(0.5)(X[:, 0], Y[:, 0], y), np.mean([max(0, -0.5 + 0.5), max(0, -0.1 + 0.5)]))
    close(nn.HingeEmbeddingLoss()(X[:, 1], y), np.mean([-2, 0]))
    close(nn.SoftMarginLoss()(X[:, 0], y), np.mean(np.log1p(np.exp([-1.0, 0.0]))))
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    close(nn.MultiLabelSoftMarginLoss()(X, labels), F.binary_cross_entropy_with_logits(X, labels).item())
    near = np.sqrt(((a - b + 1e-6) ** 2).sum(1))
    far = np.sqrt(((a + b + 1e-6) ** 2).sum(1))
    close(nn.TripletMarginLoss()(X, Y, -Y), np.maximum(near - far + 1, 0).mean())
    close(nn.CosineSimilarity()(X, Y), cosine)
    close(nn.PairwiseDistance()(X, Y), near)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss])
def test_losses_broadcast_with_a_warning(loss):
    with pytest.warns(
        UserWarning, match=r"the target has shape \(2,\), the input \(2, 1\); they are broadcast"
    ):
        found = loss(X[:, :1], Y[:, 0])
    close(found, loss(X[:, :1].expand(2, 2), Y[:, 0].expand(2, 2)).item())
    with pytest.warns(UserWarning, match="broadcast"), pytest.raises(RuntimeError):
        loss(X, Y[:, :2])


def test_reductions_of_old():
    deprecation.mentioned.discard("size_average")
    t = torch.tensor([0, 2])
    with pytest.warns(UserWarning, match="reduction='sum' says the same"):
        loss = nn.CrossEntropyLoss(size_average=False)
    close(loss(X, t), F.cross_entropy(X, t, reduction="sum").item())
    assert nn.MSELoss(reduce=False)(X, Y).shape == (2, 3)
    assert nn.MSELoss(size_average=True).reduction == "mean"
    close(F.nll_loss(X, t, size_average=False), F.nll_loss(X, t, reduction="sum").item())


# ---------------------------------------------------------------- nonlinearities


def test_nonlinearities():
    x = X.numpy()
    s = 1 / (1 + np.exp(-x))
    values = {
        nn.LogSigmoid(): np.log(s),
        nn.SiLU(): x * s,
        nn.Hardtanh(): np.clip(x, -1, 1),
        nn.ReLU6(): np.clip(x, 0, 6),
        nn.Softsign(): x / (1 + abs(x)),
        nn.Tanhshrink(): x - np.tanh(x),
        nn.Hardshrink(): np.where(abs(x) > 0.5, x, 0),
        nn.PReLU(): np.where(x > 0, x, 0.25 * x),
        nn.Threshold(0.2, 9): np.where(x > 0.2, x, 9),
        nn.Mish(): x * np.tanh(np.log1p(np.exp(x))),
        nn.Softshrink(): np.sign(x) * np.maximum(abs(x) - 0.5, 0),
        nn.Hardsigmoid(): np.clip(x / 6 + 0.5, 0, 1),
        nn.CELU(2.0): np.where(x > 0, x, 2 * np.expm1(x / 2)),
        nn.SELU(inplace=True): 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        nn.Hardswish(): x * np.clip(x / 6 + 0.5, 0, 1),
        nn.Softmin(1): np.exp(-x) / np.exp(-x).sum(1, keepdims=True),
    }
    for module, expected in values.items():
        close(module(X), expected)
        assert type(module).__name__ in repr(module)
    close(nn.GLU(1)(X[:, :2]), x[:, :1] * s[:, 1:2])
    close(nn.PReLU(3, 0.5)(X), np.where(x > 0, x, 0.5 * x))
    with pytest.raises(ValueError, match="must be even"):
        F.glu(X)


def test_gumbel_softmax():
    torch.manual_seed(0)
    logits = torch.tensor([[2.0, 0.0, -1.0]]).repeat(4000, 1).requires_grad_()
    soft = F.gumbel_softmax(logits, tau=0.5)
    close(soft.sum(1), np.ones(4000), atol=1e-5)
    hard = F.gumbel_softmax(logits, hard=True)
    assert set(hard.unique().tolist()) == {0, 1}
    close(hard.mean(0), F.softmax(logits[0], 0).detach().numpy(), atol=0.03, rtol=0)
    (hard * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad.abs().sum() > 0


# ---------------------------------------------------------------- containers and small layers


def test_arithmetic_of_sequentials():
    a, b = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Tanh(), nn.ReLU())
    assert [type(m).__name__ for m in a + b] == ["Linear", "Tanh", "ReLU"]
    assert len(b * 2) == len(2 * b) == 4
    b *= 2
    assert len(b) == 4
    a += b
    assert len(a) == 5
    assert isinstance(a.pop(-1), nn.ReLU)
    assert len(a) == 4
    assert a.insert(0, nn.Identity()) is a
    for wrong in (lambda: a + [nn.Tanh()], lambda: a * 0):
        with pytest.raises(ValueError, match="Sequential"):
            wrong()
    with pytest.raises(TypeError, match="integer number of times"):
        a * 1.5
    layers = nn.ModuleList([nn.Tanh()])
    layers += [nn.ReLU()]
    assert len(layers) == 2
    assert isinstance(layers.pop(0), nn.Tanh)


def test_small_layers():
    assert nn.Unflatten(1, (2, 3))(torch.zeros(4, 6)).shape == (4, 2, 3)
    assert nn.Unflatten(-1, (2, -1))(torch.zeros(4, 6)).shape == (4, 2, 3)
    net = nn.Bilinear(2, 3, 4)
    a, b = torch.randn(5, 2), torch.randn(5, 3)
    expected = np.einsum("bi,kij,bj->bk", a.numpy(), net.weight.detach().numpy(), b.numpy())
    close(net(a, b), expected + net.bias.detach().numpy(), rtol=1e-4)
    close(nn.RMSNorm(3)(X), X.numpy() / np.sqrt((X.numpy() ** 2).mean(1, keepdims=True)), rtol=1e-4)
    wrapped = nn.DataParallel(nn.Linear(2, 1))
    assert wrapped(torch.ones(3, 2)).shape == (3, 1)
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    d = nn.ParameterDict({"a": torch.ones(2), "b": nn.Parameter(torch.zeros(1))})
    assert list(d.keys()) == ["a", "b"]
    assert "a" in d
    assert isinstance(d["a"], nn.Parameter)
    assert [n for n, _ in d.named_parameters()] == ["a", "b"]
    assert d.pop("a").shape == (2,)
    assert len(d) == 1
    with pytest.raises(KeyError, match="there is no 'c'"):
        _ = d["c"]


def test_weight_norm():
    net = nn.utils.weight_norm(nn.Linear(3, 2), name="weight")
    assert [n for n, _ in net.named_parameters()] == ["bias", "weight_g", "weight_v"]
    assert net.weight_g.shape == (2, 1)
    x = torch.ones(1, 3)
    before = net(x)
    net.weight_v.data.mul_(5)  # its length is of no matter
    close(net(x), before.detach().numpy())
    net.weight_g.data.mul_(2)
    close(net(x) - net.bias, 2 * (before - net.bias).detach().numpy(), rtol=1e-4)
    net(x).sum().backward()
    assert net.weight_g.grad.abs().sum() > 0
    after = net(x)
    nn.utils.remove_weight_norm(net)
    assert [n for n, _ in net.named_parameters()] == ["bias", "weight"]
    close(net(x), after.detach().numpy())
    with pytest.raises(ValueError, match="not normalised"):
        nn.utils.remove_weight_norm(net)
    with pytest.raises(ValueError, match="LSTM has no parameter"):
        nn.utils.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")


def test_starting_values():
    w = nn.init.trunc_normal_(torch.empty(2000), std=2.0, a=-1, b=3)
    assert -1 <= w.min().item() < -0.8
    assert 2.8 < w.max().item() <= 3
    assert nn.init.eye_(torch.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    w = nn.init.sparse_(torch.empty(10, 4), sparsity=0.3)
    assert (w == 0).sum(0).tolist() == [3, 3, 3, 3]
    assert nn.init.xavier_uniform(torch.empty(2, 2)).shape == (2, 2)
    for call in (nn.init.eye_, lambda t: nn.init.sparse_(t, 0.1)):
        with pytest.raises(ValueError, match="expected a matrix"):
            call(torch.empty(3))


def test_total_norms():
    assert nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item() == 5
    p = nn.Parameter(torch.ones(4))
    p.grad = torch.full((4,), 2.0)
    assert nn.utils.clip_grad_norm(p, 1.0).item() == 4
    close(p.grad, np.full(4, 0.5))
    from tinygrad_rnn.nn.utils.clip_grad import clip_grad_value_

    clip_grad_value_(p, 0.1)
    close(p.grad, np.full(4, 0.1))


def test_functions_are_functions_whatever_is_imported_first():
    code = (
        "import tinygrad_rnn.nn.utils.parametrizations as p; from tinygrad_rnn import nn; "
        "nn.utils.weight_norm(nn.Linear(2, 3)); p.weight_norm(nn.Linear(2, 3))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
