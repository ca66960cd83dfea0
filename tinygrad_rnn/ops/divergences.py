"""More losses, made of other ops: distances of distributions, and of pairs that should be near or far
apart."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array, array_module
from ..engine.errors import Mismatch
from .activations import logsigmoid
from .arguments import old_reduction, plain, wide
from .compose import reduced, two_tensors
from .elementwise import clip, exp, log, relu, softplus, where
from .names import where as choose
from .reduce import mean, norm
from .reduce import sum as sum_

__all__ = [
    "cosine_embedding_loss", "gaussian_nll_loss", "hinge_embedding_loss", "kl_div", "margin_ranking_loss",
    "multilabel_soft_margin_loss", "poisson_nll_loss", "soft_margin_loss", "triplet_margin_loss",
]  # fmt: skip


@old_reduction
@wide(integers=True)
def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Array:
    """target * (log target - input), of log probabilities `input` and probabilities, or with
    `log_target` their logarithms: "batchmean" is the sum over the size of the first axis, as Kullback
    and Leibler mean it."""
    if log_target:
        loss = exp(target) * (target - input)
    else:
        some = target > 0
        loss = where(some, target * log(where(some, target, 1.0)), 0.0) - target * input
    if reduction == "batchmean":
        return sum_(loss) / max(1, loss.shape[0] if loss.ndim else 1)
    return reduced(loss, reduction, "kl_div")


@wide(integers=True)
def gaussian_nll_loss(
    input: Array, target: Array, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Array:
    """(log var + (input - target)^2 / var) / 2 for normally distributed targets (Nix & Weigend 1994);
    `full` adds the constant. `var` is a number or broadcasts; where it is below eps it counts as eps."""
    var = var.astype(input.dtype) if hasattr(var, "shape") else input * 0 + var
    if tuple(var.shape) == tuple(input.shape[:-1]) != tuple(input.shape):
        var = var.reshape((*var.shape, 1))
    elif tuple(var.shape) != tuple(input.shape) and (
        not var.shape or tuple(var.shape[:-1]) != tuple(input.shape[:-1]) or var.shape[-1] != 1
    ):
        raise Mismatch(f"gaussian_nll_loss: var has shape {tuple(var.shape)}, the input {tuple(input.shape)}")
    held = plain(var)
    if array_module(held).device_type == "cpu" and bool((held < 0).any()):
        raise Mismatch("gaussian_nll_loss: var must not be negative")
    var = var + array_module(held).maximum(held, eps) - held  # the gradient of the larger one, too
    apart = input - target
    loss = 0.5 * (log(var) + apart * apart / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction, "gaussian_nll_loss")


@old_reduction
@wide(integers=True)
def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:
    """rate - target * log(rate) for counts of a Poisson distribution; `input` is the rate or, with
    `log_input`, its logarithm. `full` adds Stirling's term for targets above 1."""
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        many = target > 1
        t = where(many, target, 1.0)
        loss = loss + where(many, t * log(t) - t + 0.5 * log(2 * math.pi * t), 0.0)
    return reduced(loss, reduction, "poisson_nll_loss")


@old_reduction
@wide(integers=True)
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, *, reduction: str = "mean"
) -> Array:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1: (N, D), (N, D), (N,)."""
    two_tensors("cosine_embedding_loss", input1, input2)
    axis = input1.ndim - 1
    sizes = [sum_(x * x, axis) + 1e-12 for x in (input1, input2)]
    cosine = sum_(input1 * input2, axis) / (sizes[0] * sizes[1]) ** 0.5
    loss = choose(target == 1, 1 - cosine, where(target == -1, relu(cosine - margin), 0.0))
    return reduced(loss, reduction, "cosine_embedding_loss")


@old_reduction
@wide(integers=True)
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0, *, reduction: str = "mean"
) -> Array:
    """max(0, margin - target * (input1 - input2)): 1 where the first should be larger, -1 the second."""
    return reduced(relu(margin - target * (input1 - input2)), reduction, "margin_ranking_loss")


@old_reduction
@wide(integers=True)
def hinge_embedding_loss(
    input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean"
) -> Array:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    loss = where(target == 1, input, where(target == -1, relu(margin - input), 0.0))
    return reduced(loss, reduction, "hinge_embedding_loss")


@old_reduction
@wide(integers=True)
def soft_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """log(1 + exp(-target * input)) for targets of 1 and -1."""
    return reduced(softplus(-(target * input)), reduction, "soft_margin_loss")


@old_reduction
@wide(integers=True)
def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """The binary cross-entropy of logits (N, C), averaged over the classes."""
    two_tensors("multilabel_soft_margin_loss", input, target)
    target = target.astype(input.dtype)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = mean(loss if weight is None else loss * weight, loss.ndim - 1)
    return reduced(loss, reduction, "multilabel_soft_margin_loss")


@old_reduction
@wide(integers=True)
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Array:
    """max(0, |anchor - positive| - |anchor - negative| + margin), p-norms along the last axis."""
    near, far = (norm(anchor - x + eps, p, -1) for x in (positive, negative))
    if swap:
        other = norm(positive - negative + eps, p, -1)
        far = where(far < other, far, other)
    return reduced(clip(near - far + margin, min=0.0), reduction, "triplet_margin_loss")
