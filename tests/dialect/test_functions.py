"""Functions of PyTorch's that are made of others here, against NumPy; tests/ops has those that are ops."""

import math

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn.distributions import Bernoulli, Categorical, Normal

RNG = np.random.default_rng(2)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
K = RNG.integers(0, 5, (3, 4))
x, y, k = torch.tensor(A), torch.tensor(B), torch.tensor(K)
VALUES = {
    "erfc": (torch.erfc(x), np.vectorize(math.erfc)(A)),
    "deg2rad": (torch.deg2rad(x), np.deg2rad(A)),
    "rad2deg": (torch.rad2deg(x), np.rad2deg(A)),
    "hypot": (torch.hypot(x, y), np.hypot(A, B)),
    "fmax": (torch.fmax(x, y), np.fmax(A, B)),
    "fmin": (torch.fmin(torch.tensor([math.nan, 1.0]), torch.tensor([2.0, 3.0])), [2, 1]),
    "aminmax": (torch.aminmax(x, dim=1), (A.min(1), A.max(1))),
    "diagflat": (torch.diagflat(x[0]), np.diagflat(A[0])),
    "hsplit": (torch.hsplit(x, 2), np.hsplit(A, 2)),
    "vsplit": (torch.vsplit(x, 3), np.vsplit(A, 3)),
    "mode": (torch.mode(torch.tensor([[1, 2, 2, 3], [5, 4, 4, 5]])), ([2, 4], [2, 2])),
    "rot90": (torch.rot90(x, 3), np.rot90(A, 3)),
    "fliplr": (torch.fliplr(x), np.fliplr(A)),
    "flipud": (torch.flipud(x), np.flipud(A)),
    "fmod": (torch.fmod(x, 0.3), np.fmod(A, 0.3)),
    "xlogy": (torch.xlogy(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 3.0])), [0, 2 * math.log(3)]),
    "rsub": (torch.rsub(x, 2, alpha=3), 2 - 3 * A),
    "take": (torch.take(x, k), A.reshape(-1)[K]),
    "std_mean": (torch.std_mean(x, 1), (A.std(1, ddof=1), A.mean(1))),
    "var_mean": (torch.var_mean(x), (A.var(ddof=1), A.mean())),
    "nansum": (torch.nansum(torch.tensor([1.0, math.nan])), 1.0),
    "nanmean": (torch.nanmean(torch.tensor([1.0, math.nan, 3.0])), 2.0),
    "dist": (torch.dist(x, y, 1), np.abs(A - B).sum()),
    "cdist": (torch.cdist(x, y), np.linalg.norm(A[:, None] - B[None], axis=-1)),
    "pairwise_distance": (torch.pairwise_distance(x, y, eps=0.0), np.linalg.norm(A - B, axis=1)),
    "tensordot": (torch.tensordot(x, y, dims=([0, 1], [0, 1])), np.tensordot(A, B, 2)),
    "chain_matmul": (torch.chain_matmul(x, y.t(), x), A @ B.T @ A),
    "logspace": (torch.logspace(0, 2, 3), [1, 10, 100]),
    "range": (torch.range(1, 3), [1, 2, 3]),
    "cartesian_prod": (
        torch.cartesian_prod(torch.arange(2), torch.arange(2)),
        [[0, 0], [0, 1], [1, 0], [1, 1]],
    ),
    "tril_indices": (torch.tril_indices(3, 3), np.stack(np.tril_indices(3))),
    "triu_indices": (torch.triu_indices(3, 4, 1), np.stack(np.triu_indices(3, 1, 4))),
    "bucketize": (torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])), np.searchsorted([-1, 0, 1], A)),
    "histc": (torch.histc(x, 4, -2, 2), np.histogram(A, 4, (-2, 2))[0]),
    "isin": (torch.isin(k, torch.tensor([1, 3])), np.isin(K, [1, 3])),
    "unique": (torch.unique(k), np.unique(K)),
    "bincount": (torch.bincount(k.reshape(-1), minlength=7), np.bincount(K.reshape(-1), minlength=7)),
    "searchsorted": (
        torch.searchsorted(torch.arange(4), k, right=True),
        np.searchsorted(range(4), K, "right"),
    ),
    "unique_consecutive": (torch.unique_consecutive(torch.tensor([1, 1, 2, 1])), [1, 2, 1]),
    "count_nonzero": (torch.count_nonzero(k, dim=1), np.count_nonzero(K, axis=1)),
    "logical_xor": (torch.logical_xor(k, x > 0), (K != 0) ^ (A > 0)),
    "div, floor": (torch.div(x, 0.3, rounding_mode="floor"), np.floor(A / 0.3)),
    "div, trunc": (torch.div(-k, 2, rounding_mode="trunc"), -(K // 2)),
    "add": (torch.add(x, y, alpha=2), A + 2 * B),
    "addmm": (torch.addmm(x[:, :3], x, y.t(), beta=2, alpha=0.5), 2 * A[:, :3] + 0.5 * A @ B.T),
    "vector_norm": (torch.linalg.vector_norm(x, 3, dim=1), (np.abs(A) ** 3).sum(1) ** (1 / 3)),
    "norm": (torch.linalg.norm(x), np.linalg.norm(A)),
    "multi_dot": (torch.linalg.multi_dot([x, y.t()]), A @ B.T),
    "take_along_dim": (x.take_along_dim(k[:, :2] % 4, 1), np.take_along_axis(A, K[:, :2] % 4, 1)),
    "sum_to_size": (x.sum_to_size(3, 1), A.sum(1, keepdims=True)),
    "index_put": (x.index_put((torch.tensor([0, 0]),), torch.ones(4).double(), True)[0], A[0] + 2),
}


@pytest.mark.host
@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    found, expected = VALUES[name]
    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-6, atol=1e-12)


def test_refusals():
    with pytest.raises(RuntimeError, match="rounding_mode is 'round'"):
        torch.div(x, 2, rounding_mode="round")
    with pytest.raises(NotImplementedError, match="the matrix norm 1 is not here"):
        torch.linalg.norm(x, 1)
    for give in ({}, {"probs": x, "logits": x}):
        with pytest.raises(ValueError, match="give probs or logits"):
            Categorical(**give)


def test_distributions():
    torch.manual_seed(0)
    p = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    words = Categorical(p)
    drawn = words.sample((2000,))
    assert drawn.shape == (2000, 2)
    np.testing.assert_allclose(
        torch.bincount(drawn[:, 0], minlength=3).numpy() / 2000, p[0].numpy(), atol=0.04
    )
    assert drawn[:, 1].max().item() == 1
    assert words.sample().shape == (2,)
    np.testing.assert_allclose(words.log_prob(torch.tensor([2, 0])).numpy(), np.log([0.7, 0.5]), rtol=1e-5)
    logits = torch.zeros(3, requires_grad=True)
    Categorical(logits=logits).log_prob(torch.tensor(1)).backward()
    np.testing.assert_allclose(logits.grad.numpy(), [-1 / 3, 2 / 3, -1 / 3], rtol=1e-5)
    np.testing.assert_allclose(Categorical(logits=torch.zeros(4)).entropy().item(), math.log(4), rtol=1e-6)
    mean = torch.tensor(1.0, requires_grad=True)
    normal = Normal(mean, 2.0)
    assert not normal.sample((3,)).requires_grad
    assert normal.rsample((3,)).requires_grad
    np.testing.assert_allclose(
        normal.log_prob(torch.tensor(3.0)).item(), -0.5 - math.log(2 * math.sqrt(2 * math.pi)), rtol=1e-6
    )
    coin = Bernoulli(torch.tensor([0.25]))
    np.testing.assert_allclose(coin.log_prob(torch.ones(1)).item(), math.log(0.25), rtol=1e-5)
    assert set(coin.sample((50,)).unique().tolist()) <= {0, 1}


def test_gradients_go_through():
    for function in (
        lambda v: torch.cdist(v, y),
        lambda v: torch.tensordot(v, y, 2),
        lambda v: v.cumprod(1),
        lambda v: v.median(1)[0],
        lambda v: torch.quantile(v, 0.3),
        lambda v: v.roll(1),
        lambda v: v.unfold(1, 2, 1),
        lambda v: v.scatter_add(1, k % 4, y),
        lambda v: torch.rms_norm(v, (4,)),
        lambda v: torch.fmax(v, y),
        lambda v: torch.aminmax(v)[1],
    ):
        assert torch.autograd.gradcheck(function, (x.clone().requires_grad_(),))
