"""Linear, Embedding, Dropout, LayerNorm, and functions of nn.functional: properties and errors."""

import math
import re

import numpy as np
import pytest

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.testing import gradcheck


def raises(kind, text):
    return pytest.raises(kind, match=re.escape(text))


# ---------------------------------------------------------------- Linear


def test_linear_is_its_equation():
    layer = nn.Linear(3, 2, rng=0).double()
    x = tg.randn(4, 5, 3, dtype="float64")
    expected = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected)
    assert layer.weight.shape == (2, 3)


def test_linear_starts():
    layer = nn.Linear(100, 200, rng=0)
    assert float(layer.weight.abs().max()) == pytest.approx(math.sqrt(6 / 300), rel=1e-2)
    assert not layer.bias.detach().numpy().any()
    layer = nn.Linear(100, 200, init="torch", rng=0)
    assert float(layer.weight.abs().max()) == pytest.approx(0.1, rel=1e-2)
    assert float(layer.bias.abs().max()) == pytest.approx(0.1, rel=0.1)
    assert (nn.Linear(3, 2, rng=1).weight == nn.Linear(3, 2, rng=1).weight).all()
    assert nn.Linear(3, 2, dtype="float64", device="cpu").weight.dtype == tg.float64
    assert nn.Linear(3, 2, bias=False).bias is None


def test_linear_tied_to_an_embedding():
    embed, out = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
    out.weight = embed.weight
    assert out(embed(tg.tensor([1, 2]))).shape == (2, 7)


def test_a_weight_used_many_times_has_one_gradient():
    layer, xs = nn.Linear(3, 2).double(), tg.randn(50, 4, 3, dtype="float64")
    sum(layer(xs[t]).sum() * t for t in range(50)).backward()
    apart = layer.weight.grad.numpy()
    layer.zero_grad()
    (layer(xs).sum(dim=(1, 2)) * tg.arange(50)).sum().backward()
    np.testing.assert_allclose(apart, layer.weight.grad.numpy(), rtol=1e-12)


def test_linear_errors():
    layer = nn.Linear(3, 2)
    with raises(ValueError, "Linear: x has shape (4, 5), expected in_features = 3 on its last axis"):
        layer(tg.ones(4, 5))
    with raises(ValueError, "Linear: x has shape (), expected in_features = 3"):
        layer(tg.tensor(1.0))
    with raises(TypeError, "Linear: x must be a Tensor, got a list"):
        layer([1.0, 2.0, 3.0])
    with raises(TypeError, "Linear: x must be floating, got int64; x.float() makes it so"):
        layer(tg.tensor([1, 2, 3]))
    with raises(ValueError, "Linear: in_features must be a positive integer, got 0"):
        nn.Linear(0, 2)
    with raises(ValueError, "Linear: out_features must be a positive integer, got 2.5"):
        nn.Linear(2, 2.5)
    with raises(ValueError, "Linear: init is 'he', expected 'glorot' or 'torch'"):
        nn.Linear(2, 2, init="he")
    with raises(ValueError, "linear: x (3,) and weight (2, 4) do not fit; expected (..., in) and (out, in)"):
        F.linear(tg.ones(3), tg.ones(2, 4))


def test_flatten_and_identity():
    x = tg.randn(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
    assert nn.Identity("anything", at=1)(x) is x


# ---------------------------------------------------------------- Embedding


def test_embedding_padding_starts_at_zero_and_gets_no_gradient():
    layer = nn.Embedding(4, 3, padding_idx=-4, rng=0)
    assert layer.padding_idx == 0
    assert not layer.weight[0].detach().numpy().any()
    layer(tg.tensor([[0, 1], [0, 3]])).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_embedding_counts_repeated_rows():
    layer = nn.Embedding(3, 2)
    layer(tg.tensor([1, 1, 1, 2])).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0], [3, 3], [1, 1]]


def test_embedding_from_pretrained():
    table = tg.randn(4, 3)
    layer = nn.Embedding.from_pretrained(table, padding_idx=1)
    assert (layer(tg.tensor([2])) == table[2]).all()
    assert not layer.weight.requires_grad
    assert layer.num_embeddings, layer.embedding_dim == (4, 3)
    assert layer.padding_idx == 1
    assert nn.Embedding.from_pretrained(np.ones((2, 2)), freeze=False).weight.requires_grad
    with raises(
        ValueError,
        "Embedding.from_pretrained: expected floating (num_embeddings, embedding_dim), got float32 (3,)",
    ):
        nn.Embedding.from_pretrained(tg.ones(3))


@pytest.mark.host
def test_embedding_errors():
    layer = nn.Embedding(4, 3)
    with raises(IndexError, "embedding: indices run from 1 to 4, the table has 4 rows, counted from 0"):
        layer(tg.tensor([1, 4]))
    with raises(IndexError, "embedding: indices run from -1 to 0"):
        layer(tg.tensor([-1, 0]))
    with raises(TypeError, "embedding: indices must be a tensor of integers, got float32 (1,)"):
        layer(tg.tensor([1.0]))
    with raises(IndexError, "Embedding: padding_idx 4 is outside the table of 4 rows"):
        nn.Embedding(4, 3, padding_idx=4)
    with raises(ValueError, "Embedding: num_embeddings must be a positive integer, got -1"):
        nn.Embedding(-1, 3)


# ---------------------------------------------------------------- Dropout


def test_dropout_keeps_the_mean_and_drops_p():
    x = tg.ones(400, 400)
    y = nn.Dropout(0.3, rng=0)(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    assert set(np.unique(y.numpy())) == {np.float32(0), np.float32(1 / 0.7)}


def test_dropout_sends_the_gradient_where_it_let_through():
    x = tg.ones(50, requires_grad=True)
    y = F.dropout(x, 0.5, rng=0)
    y.sum().backward()
    assert (x.grad == y.detach()).all()


def test_dropout_does_nothing_in_eval_or_with_p_0():
    x = tg.randn(3)
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    assert F.dropout(x, 0.5, training=False) is x
    assert not F.dropout(x, 1.0).numpy().any()


def test_dropout_seeds():
    x = tg.ones(100)
    layer = nn.Dropout(0.5, rng=3)
    first, second = layer(x), layer(x)
    assert (first != second).any()
    assert (nn.Dropout(0.5, rng=3)(x) == first).all()
    tg.manual_seed(3)
    assert (nn.Dropout(0.5)(x) == first).all()
    assert F.dropout(x.double(), 0.5).dtype == tg.float64


def test_dropout_errors():
    for p in (-0.1, 1.1, math.nan):
        with raises(ValueError, f"Dropout: p must be between 0 and 1, got {p}"):
            nn.Dropout(p)
    with raises(ValueError, "dropout: p must be between 0 and 1, got 2"):
        F.dropout(tg.ones(1), 2)
    with raises(TypeError, "dropout: expected a floating tensor, got int64 (2,)"):
        F.dropout(tg.tensor([1, 2]))


# ---------------------------------------------------------------- LayerNorm and the rest of functional


def test_layer_norm_has_mean_0_and_variance_1():
    y = nn.LayerNorm((3, 4)).double()(tg.randn(5, 3, 4, dtype="float64") * 7 + 3).detach().numpy()
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((1, 2)), 1, atol=1e-5)


def test_layer_norm_starts_and_errors():
    layer = nn.LayerNorm(3)
    layer.weight.data.fill_(5.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [1, 1, 1]
    assert list(nn.LayerNorm(3, elementwise_affine=False).parameters()) == []
    assert len(list(nn.LayerNorm(3, bias=False).parameters())) == 1
    with raises(ValueError, "layer_norm: x has shape (2, 4), its last axes should be (3,)"):
        layer(tg.ones(2, 4))
    with raises(ValueError, "LayerNorm: sizes must be positive, got normalized_shape = []"):
        nn.LayerNorm([])


def test_softmax_needs_to_be_told_which_of_many_axes():
    for name in ("softmax", "log_softmax"):
        with raises(ValueError, f"{name}: the input has 3 axes"):
            getattr(F, name)(tg.ones(2, 2, 2))
    assert (nn.Softmax()(tg.ones(2, 4)) == 0.25).all()
    assert F.softmax(tg.ones(2), dim=0, dtype=tg.float64).dtype == tg.float64


def test_functional_errors():
    x = tg.ones(2, 3)
    for call, text in [
        (lambda: F.gelu(x, "erf"), "gelu: approximate is 'erf', expected 'none' or 'tanh'"),
        (lambda: F.softplus(x, 0), "softplus: beta must be positive, got 0"),
        (lambda: F.pad(x, (1, 1), "reflect"), "pad: mode is 'reflect', only 'constant' is known"),
        (
            lambda: F.pad(x, (1,)),
            "pad: expected pairs (before, after) for at most 2 axes, the last axis first, got (1,)",
        ),
        (lambda: F.pad(x, (1,) * 6), "for at most 2 axes"),
        (lambda: F.pad(x, (-2, -2)), "pad: (-2, -2) cuts off more than axis 1 of (2, 3) has"),
    ]:
        with raises(ValueError, text):
            call()


def test_gradients_of_second_order():
    x = tg.tensor(np.random.default_rng(0).standard_normal((3, 4)) + 0.1, requires_grad=True)
    w = tg.tensor(np.random.default_rng(1).standard_normal((2, 4)), requires_grad=True)
    gradcheck(F.linear, x, w, order=2)
    gradcheck(lambda a: F.layer_norm(a, 4), x, order=2)
    gradcheck(lambda a: F.normalize(a, dim=1), x, order=2)
    gradcheck(lambda a: F.cosine_similarity(a, a[:1] + 1), x, order=2)
    gradcheck(lambda a: F.gelu(a), x, order=2)
    gradcheck(lambda a: F.pad(a, (1, -1)), x, order=2)
