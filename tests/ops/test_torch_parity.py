"""The ops that carry PyTorch's names do what PyTorch does, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import ops

torch = extra("torch")
F = torch.nn.functional
pytestmark = pytest.mark.extras("torch")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5))
M = RNG.normal(size=(4, 5))
P = RNG.uniform(0.05, 0.95, (4, 5))
SQUARE = RNG.normal(size=(5, 4))
LABELS = np.array([0, 4, 2, 4])
IGNORED = np.array([0, -100, 2, 4])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1, 3.0])
INDEX = np.array([[0, 3, 2], [4, 4, 0]])
T, L = torch.tensor, tg.tensor
BCE = F.binary_cross_entropy
EINSUM = "bij,ij->bi"
SUM = {"reduction": "sum"}

# name: the arrays that need a gradient, the same on our side, on PyTorch's
CASES = {
    "relu": ((M,), tg.relu, torch.relu),
    "leaky_relu": ((M,), lambda x: tg.leaky_relu(x, negative_slope=0.2), lambda x: F.leaky_relu(x, 0.2)),
    "elu": ((M,), lambda x: tg.elu(x, alpha=0.7), lambda x: F.elu(x, 0.7)),
    "gelu": ((M,), tg.gelu, F.gelu),
    "gelu by tanh": ((M,), lambda x: tg.gelu(x, approximate="tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "softplus": ((M,), tg.softplus, F.softplus),
    "logaddexp": ((M, P), tg.logaddexp, torch.logaddexp),
    "sigmoid": ((M,), tg.sigmoid, torch.sigmoid),
    "softmax": ((X,), lambda x: tg.softmax(x, dim=1), lambda x: torch.softmax(x, dim=1)),
    "log_softmax": ((X,), lambda x: tg.log_softmax(x, dim=-1), lambda x: torch.log_softmax(x, dim=-1)),
    "logsumexp": ((X,), lambda x: x.logsumexp(dim=(0, 2)), lambda x: x.logsumexp(dim=(0, 2))),
    "var": ((X,), lambda x: x.var(), lambda x: x.var()),
    "var along": ((X,), lambda x: x.var(dim=1, keepdim=True), lambda x: x.var(dim=1, keepdim=True)),
    "std": ((X,), lambda x: x.std(dim=0, unbiased=False), lambda x: x.std(dim=0, unbiased=False)),
    "mean": ((X,), lambda x: x.mean(dim=(0, 1)), lambda x: x.mean(dim=(0, 1))),
    "amax with equal elements": ((np.round(M),), lambda x: x.amax(dim=1), lambda x: x.amax(dim=1)),
    "max": ((M,), lambda x: x.max(dim=1), lambda x: x.max(dim=1)),
    "min": ((X,), lambda x: x.min(dim=0, keepdim=True), lambda x: x.min(dim=0, keepdim=True)),
    "max of two": ((M, P), lambda x, y: x.max(y), lambda x, y: x.max(y)),
    "prod": ((np.round(M),), lambda x: x.prod(dim=1), lambda x: x.prod(dim=1)),
    "cumsum": ((X,), lambda x: x.cumsum(dim=1), lambda x: x.cumsum(dim=1)),
    "norm": ((M,), lambda x: x.norm(), lambda x: x.norm()),
    "norm at zero": ((M * 0,), lambda x: x.norm(dim=1), lambda x: x.norm(dim=1)),
    "norm p": ((M,), lambda x: x.norm(3, dim=1), lambda x: x.norm(3, dim=1)),
    "matmul": ((X, SQUARE), lambda a, b: a @ b, lambda a, b: a @ b),
    "matmul with a vector": ((X, WEIGHT), lambda a, b: a @ b, lambda a, b: a @ b),
    "einsum": ((X, M), lambda a, b: tg.einsum(EINSUM, a, b), lambda a, b: torch.einsum(EINSUM, a, b)),
    "split": ((X,), lambda x: x.split(2, dim=1), lambda x: x.split(2, dim=1)),
    "chunk": ((X,), lambda x: x.chunk(3, dim=2), lambda x: x.chunk(3, dim=2)),
    "unbind": ((X,), lambda x: x.unbind(dim=1), lambda x: x.unbind(dim=1)),
    "permute": ((X,), lambda x: x.permute(2, 0, 1), lambda x: x.permute(2, 0, 1)),
    "transpose": ((X,), lambda x: x.transpose(0, 2), lambda x: x.transpose(0, 2)),
    "flatten": ((X,), lambda x: x.flatten(1), lambda x: x.flatten(1)),
    "expand": ((M[:, :1],), lambda x: x.expand(3, -1, 5), lambda x: x.expand(3, -1, 5)),
    "repeat": ((M,), lambda x: x.repeat(2, 1, 3), lambda x: x.repeat(2, 1, 3)),
    "repeat_interleave": ((M,), lambda x: x.repeat_interleave(2), lambda x: x.repeat_interleave(2)),
    "squeeze": ((X[:, :1],), lambda x: x.squeeze(dim=1), lambda x: x.squeeze(dim=1)),
    "gather": ((M,), lambda x: x.gather(1, L(INDEX)), lambda x: x.gather(1, T(INDEX))),
    "gather across": ((M,), lambda x: x.gather(0, L(INDEX[:1] % 4)), lambda x: x.gather(0, T(INDEX[:1] % 4))),
    "index_select": ((X,), lambda x: x.index_select(2, L(LABELS)), lambda x: x.index_select(2, T(LABELS))),
    "sort": ((X,), lambda x: x.sort(dim=1, descending=True), lambda x: x.sort(dim=1, descending=True)),
    "topk": ((X,), lambda x: x.topk(2, dim=2), lambda x: x.topk(2, dim=2)),
    "embedding": (
        (SQUARE,),
        lambda w: ops.embedding(L(INDEX), w, padding_idx=4),
        lambda w: F.embedding(T(INDEX), w, padding_idx=4),
    ),
    "indices": ((X,), lambda x: x[L([0, 0, 2]), 1:, L([1, 1, 3])], lambda x: x[[0, 0, 2], 1:, [1, 1, 3]]),
    "mask": ((X,), lambda x: x[x > 0], lambda x: x[x > 0]),
    "masked_fill": ((M,), lambda x: x.masked_fill(x > 0, 7), lambda x: x.masked_fill(x > 0, 7)),
    "clamp": ((M,), lambda x: x.clamp(min=-0.5, max=0.5), lambda x: x.clamp(min=-0.5, max=0.5)),
    "mse_loss": ((M, P), ops.mse_loss, F.mse_loss),
    "l1_loss": ((M, P), lambda x, y: ops.l1_loss(x, y, **SUM), lambda x, y: F.l1_loss(x, y, **SUM)),
    "huber_loss": (
        (M, P), lambda x, y: ops.huber_loss(x, y, delta=0.5), lambda x, y: F.huber_loss(x, y, delta=0.5),
    ),
    "binary_cross_entropy": (
        (P,), lambda p: ops.binary_cross_entropy(p, L(P[::-1])), lambda p: BCE(p, T(P[::-1].copy())),
    ),
    "with logits": (
        (M,),
        lambda x: ops.binary_cross_entropy_with_logits(x, L(P), pos_weight=L(WEIGHT)),
        lambda x: F.binary_cross_entropy_with_logits(x, T(P), pos_weight=T(WEIGHT)),
    ),
    "cross_entropy": (
        (M,), lambda x: ops.cross_entropy(x, L(LABELS)), lambda x: F.cross_entropy(x, T(LABELS)),
    ),
    "cross_entropy, weights and ignored": (
        (M,),
        lambda x: ops.cross_entropy(x, L(IGNORED), L(WEIGHT), label_smoothing=0.1),
        lambda x: F.cross_entropy(x, T(IGNORED), T(WEIGHT), label_smoothing=0.1),
    ),
    "cross_entropy of sequences": (
        (X.transpose(0, 2, 1),),
        lambda x: ops.cross_entropy(x, L(np.stack([IGNORED] * 3)), reduction="none"),
        lambda x: F.cross_entropy(x, T(np.stack([IGNORED] * 3)), reduction="none"),
    ),
    "cross_entropy of probabilities": (
        (M,),
        lambda x: ops.cross_entropy(x, L(P), L(WEIGHT), label_smoothing=0.1),
        lambda x: F.cross_entropy(x, T(P), T(WEIGHT), label_smoothing=0.1),
    ),
    "nll_loss of one": ((M[0],), lambda x: ops.nll_loss(x, L(3)), lambda x: F.nll_loss(x, T(3))),
    "normalize": ((M,), lambda x: ops.normalize(x), lambda x: F.normalize(x, dim=-1)),
    "layer_norm": (
        (X, M, M + 1),
        lambda x, w, b: ops.layer_norm(x, (4, 5), w, b),
        lambda x, w, b: F.layer_norm(x, (4, 5), w, b),
    ),
    "pow": ((P, M), lambda a, b: a**b, lambda a, b: a**b),
    "pow at zero": ((np.zeros(3),), lambda x: x**2 + x**1 + x**0, lambda x: x**2 + x**1 + x**0),
}  # fmt: skip


def floating(results):
    parts = results if isinstance(results, (tuple, list)) else (results,)
    return [y for y in parts if "float" in str(y.dtype)], [y for y in parts if "float" not in str(y.dtype)]


@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name):
    arrays, ours, theirs = CASES[name]
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in arrays]
    (ys, indices), (zs, places) = floating(ours(*xs)), floating(theirs(*ts))
    assert [y.shape for y in ys] == [tuple(z.shape) for z in zs]
    assert [i.tolist() for i in indices] == [p.tolist() for p in places]
    loss, expected = 0, 0
    for k, (y, z) in enumerate(zip(ys, zs, strict=True)):
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
        scale = np.random.default_rng(k).normal(size=y.shape)
        loss, expected = loss + (y * tg.tensor(scale)).sum(), expected + (z * torch.tensor(scale)).sum()
    loss.backward()
    expected.backward()
    for x, t in zip(xs, ts, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_one_hot_and_nonzero():
    assert ops.one_hot(L(LABELS), 6).tolist() == F.one_hot(T(LABELS), 6).tolist()
    assert ops.nonzero(L(M > 0)).tolist() == torch.nonzero(T(M > 0)).tolist()
    assert list(ops.nonzero(L(0.5)).shape) == list(torch.nonzero(T(0.5)).shape)


def test_type_promotion():
    kinds = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}
    for a in kinds:
        for b in kinds:
            for shape in ((2,), ()):
                ours = tg.ones(2, dtype=a) * tg.ones(shape, dtype=b)
                theirs = torch.ones(2, dtype=kinds[a]) * torch.ones(shape, dtype=kinds[b])
                assert str(theirs.dtype) == f"torch.{ours.dtype}", (a, b, shape)
