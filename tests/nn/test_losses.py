"""Losses: what they say about wrong input, and the corners of cross-entropy."""

import math
import re

import numpy as np
import pytest

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.testing import gradcheck

LOSSES = [
    "NLLLoss",
    "CrossEntropyLoss",
    "MSELoss",
    "L1Loss",
    "SmoothL1Loss",
    "HuberLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
]
FUNCTIONS = {
    "mse_loss": nn.MSELoss,
    "l1_loss": nn.L1Loss,
    "smooth_l1_loss": nn.SmoothL1Loss,
    "huber_loss": nn.HuberLoss,
    "binary_cross_entropy": nn.BCELoss,
    "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
}


def raises(kind, text):
    return pytest.raises(kind, match=re.escape(text))


@pytest.mark.parametrize("name", LOSSES)
def test_the_reduction_is_checked_when_the_loss_is_made(name):
    with raises(ValueError, f"{name}: reduction is 'average', expected 'mean', 'sum' or 'none'"):
        getattr(nn, name)(reduction="average")


BROADCAST = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}  # with a warning, as in PyTorch


@pytest.mark.parametrize("name", FUNCTIONS)
def test_losses_do_not_broadcast_without_a_word(name):
    x, t = tg.full((3, 1), 0.5), tg.full((3,), 0.5)
    for loss in (FUNCTIONS[name](), getattr(F, name)):
        if name in BROADCAST:
            with pytest.warns(UserWarning, match="they are broadcast"):
                assert loss(x, t).shape == ()
        else:
            with raises(ValueError, f"{name}: input has shape (3, 1) and target (3,); they must be equal"):
                loss(x, t)
        with raises(TypeError, f"{name}: expected two tensors, got float32 (3, 1) and 0.5"):
            loss(x, 0.5)
    with raises(ValueError, "reduction is 'all', expected"):
        getattr(F, name)(x, x, reduction="all")


@pytest.mark.host
def test_settings_are_checked():
    x = tg.ones(2)
    for call, text in [
        (lambda: nn.HuberLoss(delta=0), "HuberLoss: delta must be positive, got 0"),
        (lambda: F.huber_loss(x, x, "mean", -1), "huber_loss: delta must be positive, got -1"),
        (lambda: nn.SmoothL1Loss(beta=-1), "SmoothL1Loss: beta must not be negative, got -1"),
        (lambda: F.smooth_l1_loss(x, x, beta=-1), "smooth_l1_loss: beta must not be negative, got -1"),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2),
            "CrossEntropyLoss: label_smoothing must be between 0 and 1",
        ),
        (
            lambda: F.binary_cross_entropy(x * 2, x),
            "binary_cross_entropy: input must be probabilities between 0 and 1",
        ),
    ]:
        with raises(ValueError, text):
            call()


@pytest.mark.host
def test_what_cross_entropy_says():
    x = tg.randn(4, 3)
    t = tg.tensor([0, 1, 2, 0])
    for loss in (F.cross_entropy, nn.CrossEntropyLoss()):
        with raises(ValueError, "nll_loss: input of shape (4, 3) needs a target of shape (4,), got (3,)"):
            loss(x, t[:3])
        with raises(IndexError, "target has classes outside 0 to 2 (ignore_index is -100)"):
            loss(x, t + 1)
        with raises(
            TypeError, "cross_entropy: target must be a tensor of classes or probabilities, got a list"
        ):
            loss(x, [0, 1, 2, 0])
        with raises(
            TypeError, "cross_entropy: input must be floating scores (N, C, ...) or (C,), got int64 (4,)"
        ):
            loss(t, t)
        with raises(
            ValueError, "a floating target holds probabilities in the shape of the input, (4, 3), got (4,)"
        ):
            loss(x, t.float())
    with raises(TypeError, "nll_loss: target must be a tensor of integer classes, got float32 (4,)"):
        F.nll_loss(x, t.float())
    with raises(TypeError, "nll_loss: input must be floating scores"):
        F.nll_loss([1.0], t)
    for smoothing in (0.0, 0.1):
        with raises(ValueError, "weight has shape (4,), expected (3,): one per class"):
            F.cross_entropy(x, t, tg.ones(4), label_smoothing=smoothing)


def test_ignored_rows_may_hold_anything():
    x = tg.tensor([[-math.inf, 0.0], [1.0, 2.0]], requires_grad=True)
    loss = F.nll_loss(x, tg.tensor([-100, 1]))
    assert loss.item() == -2
    loss.backward()
    assert x.grad.tolist() == [[0, 0], [0, -1]]


def test_extreme_logits_stay_finite():
    x = tg.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = F.cross_entropy(x, tg.tensor([1, 1]))
    loss.backward()
    assert loss.item() == 1e4
    assert np.isfinite(x.grad.numpy()).all()
    y = tg.tensor([1e4, -1e4], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(y, tg.tensor([0.0, 0.0]))
    loss.backward()
    assert loss.item() == 5e3
    assert y.grad.tolist() == [0.5, 0.0]


def test_weights_move_with_the_loss():
    loss = nn.CrossEntropyLoss(tg.ones(3)).double()
    assert loss.weight.dtype == tg.float64
    assert list(loss.state_dict()) == ["weight"]
    assert loss(tg.randn(2, 3, dtype="float64"), tg.tensor([0, 1])).dtype == tg.float64
    assert list(nn.BCEWithLogitsLoss(pos_weight=tg.ones(2)).state_dict()) == ["pos_weight"]
    assert not list(loss.parameters())


def test_gradients_of_second_order():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    gradcheck(lambda a: F.cross_entropy(a, tg.tensor([0, 3, -100]), label_smoothing=0.1), x, order=2)
    gradcheck(lambda a, b: F.huber_loss(a, b, delta=0.5), x, t, order=2)
    gradcheck(lambda a, b: F.smooth_l1_loss(a, b, beta=0.3), x, t, order=2)
    gradcheck(
        lambda a, b: F.binary_cross_entropy_with_logits(a, b, pos_weight=tg.ones(4).double() * 2),
        x,
        t,
        order=2,
    )
