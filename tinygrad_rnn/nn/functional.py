"""Layers and losses as functions, under PyTorch's names: `import tinygrad_rnn.nn.functional as F`.

`inplace` arguments are read for PyTorch's sake: results are new tensors in either case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from .. import ops
from ..backend import array_module, current, default_rng, find
from ..backend.naming import came, describe
from ..dialect.absent import absent_function, out_of_scope
from ..engine.errors import Mismatch, WrongKind
from ..ops import arguments
from ..tensor import Tensor
from .ctc import ctc_loss as ctc_loss
from .utils.rnn import read_lengths

binary_cross_entropy, cross_entropy, nll_loss = ops.binary_cross_entropy, ops.cross_entropy, ops.nll_loss
binary_cross_entropy_with_logits = ops.binary_cross_entropy_with_logits
mse_loss, l1_loss, smooth_l1_loss, huber_loss = ops.mse_loss, ops.l1_loss, ops.smooth_l1_loss, ops.huber_loss
layer_norm, normalize, one_hot = ops.layer_norm, ops.normalize, ops.one_hot
sigmoid, tanh, gelu = ops.sigmoid, ops.tanh, ops.gelu
logsigmoid, hardtanh, relu6, silu, selu, celu, glu = (
    ops.logsigmoid, ops.hardtanh, ops.relu6, ops.silu, ops.selu, ops.celu, ops.glu,
)  # fmt: skip
mish, hardsigmoid, hardswish, prelu, softsign = (
    ops.mish, ops.hardsigmoid, ops.hardswish, ops.prelu, ops.softsign,
)  # fmt: skip
tanhshrink, softshrink, hardshrink, threshold = (
    ops.tanhshrink, ops.softshrink, ops.hardshrink, ops.threshold,
)  # fmt: skip
kl_div, gaussian_nll_loss, poisson_nll_loss = ops.kl_div, ops.gaussian_nll_loss, ops.poisson_nll_loss
cosine_embedding_loss, margin_ranking_loss = ops.cosine_embedding_loss, ops.margin_ranking_loss
hinge_embedding_loss, soft_margin_loss = ops.hinge_embedding_loss, ops.soft_margin_loss
multilabel_soft_margin_loss, triplet_margin_loss = ops.multilabel_soft_margin_loss, ops.triplet_margin_loss

# ---------------------------------------------------------------- nonlinearities


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0)."""
    return ops.relu(input)


def softmin(input: Tensor, dim: int | None = None) -> Tensor:
    """softmax(-input)."""
    return softmax(-input, dim)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1, *, rng: Any = None
) -> Tensor:
    """The softmax of (logits + Gumbel noise) / tau: a draw among classes that gradients go back through. With
    `hard` one class is 1 and the others 0, and gradients are as without (Jang, Gu & Poole 2017;
    Maddison, Mnih & Teh 2017)."""
    drawn = default_rng(rng).standard_exponential(logits.shape)
    noise = Tensor._of(array_module(logits.array).from_numpy(-np.log(drawn).astype(logits.dtype)))
    soft: Tensor = ops.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = ops.argmax(soft, dim, keepdims=True)
    one: Tensor = ops.scatter(soft.detach() * 0, dim, index, 1.0)
    return one - soft.detach() + soft


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where positive, else negative_slope * input."""
    return ops.leaky_relu(input, negative_slope=negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where positive, else alpha * (exp(input) - 1)."""
    return ops.elu(input, alpha=alpha)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta; without overflow, so `threshold` has nothing to do."""
    if not beta > 0:
        raise Mismatch(f"softplus: beta must be positive, got {beta}")
    y: Tensor = ops.softplus(input) if beta == 1 else ops.softplus(input, beta=float(beta))
    return y


@arguments.both_dialects
def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """exp(input) over its sum along `dim`, which may be left out for one or two axes: it is the last one."""
    y: Tensor = ops.softmax(input, _class_axis("softmax", input, dim), dtype=dtype)
    return y


@arguments.both_dialects
def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`."""
    y: Tensor = ops.log_softmax(input, _class_axis("log_softmax", input, dim), dtype=dtype)
    return y


def _class_axis(name: str, input: Tensor, dim: int | None) -> int:
    if dim is None and input.ndim > 2:
        raise Mismatch(
            f"{name}: the input has {input.ndim} axes; say with dim along which the values add to 1"
        )
    return -1 if dim is None else dim


# ---------------------------------------------------------------- layers


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input (..., in) @ weight^T + bias: weight (out, in), bias (out,) -> (..., out)."""
    y: Tensor = ops.linear(input, weight)
    return y if bias is None else y + bias


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight (num_embeddings, embedding_dim) by integers: (...) -> (..., embedding_dim).

    Rows that are looked up and whose `norm_type`-norm is above `max_norm` are first scaled to it, in place.
    `scale_grad_by_freq` divides the gradient of a row by how often it was looked up. `sparse` is read
    and has no effect: gradients are added up without an array of mostly zeros.
    """
    if max_norm is not None:
        _hold_rows(input, weight, max_norm, norm_type)
    rows: Tensor = ops.embedding(input, weight, padding_idx)
    if not scale_grad_by_freq:
        return rows
    _, inverse, counts = ops.unique(input, return_inverse=True, return_counts=True)
    factor = (1.0 / counts.to(rows.dtype))[inverse].unsqueeze(-1)
    still = rows.detach()
    return still + (rows - still) * factor


def _hold_rows(input: Tensor, weight: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the rows that are about to be looked up and are longer than max_norm."""
    which = ops.unique(input)
    rows = weight.detach()[which]
    length = ops.norm(rows, norm_type, 1, keepdims=True)
    weight.data[which] = ops.where(length > max_norm, rows * (max_norm / (length + 1e-7)), rows)


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Any = None
) -> Tensor:
    """Each element 0 with probability p, the others scaled by 1 / (1 - p); the input itself if not
    `training`.

    Drawn by the host's generator (`rng`: a generator or a seed), the same on every device.
    """
    check_probability("dropout", p)
    if not training or p == 0:
        return input
    if not isinstance(input, Tensor) or not input.is_floating_point():
        raise WrongKind(f"dropout: expected a floating tensor, got {came(input)}")
    mask = kept_elements(input, p, rng)
    if p < 1:
        mask *= 1 / (1 - p)
    return input * mask


def kept_elements(like: Tensor, p: float, rng: Any = None) -> Any:
    """An array in the shape and type of `like`: each element 0 with probability p, else 1."""
    rng = None if rng is None else default_rng(rng)
    kept = array_module(like.array).fed(lambda: default_rng(rng).random(like.shape, dtype="float32") >= p)
    return kept.astype(like.dtype)


def check_probability(name: str, p: float, called: str = "p") -> None:
    """Raises ValueError where p is no probability."""
    if not 0 <= p <= 1:
        raise Mismatch(f"{name}: {called} must be between 0 and 1, got {p}")


@arguments.both_dialects
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`value` (0) added around the input: `pad` is (before, after) of the last axis, then of the one before
    it, ...

    Negative sizes cut off.
    """
    if mode != "constant":
        raise Mismatch(f"pad: mode is {mode!r}, only 'constant' is known")
    sizes = ops.ints((pad,))
    if len(sizes) % 2 or len(sizes) > 2 * input.ndim:
        raise Mismatch(
            f"pad: expected pairs (before, after) for at most {input.ndim} axes, the last axis first, "
            f"got {tuple(sizes)}"
        )
    widths = [(0, 0)] * (input.ndim - len(sizes) // 2) + list(zip(sizes[-2::-2], sizes[::-2], strict=True))
    for axis, (before, after) in enumerate(widths):
        if input.shape[axis] + min(before, 0) + min(after, 0) < 0:
            raise Mismatch(f"pad: {(before, after)} cuts off more than axis {axis} of {input.shape} has")
    if any(size < 0 for size in sizes):
        cut = [slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(widths, input.shape, strict=True)]
        input = input[tuple(cut)]
        widths = [(max(0, a), max(0, b)) for a, b in widths]
    return ops.pad(input, widths, 0.0 if value is None else value)


@arguments.wide(integers=True)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; lengths below `eps` count as `eps`."""
    n1, n2 = (ops.maximum(ops.norm(x, 2, dim, keepdims=True), eps) for x in (x1, x2))
    y: Tensor = ops.sum((x1 / n1) * (x2 / n2), dim)
    return y


# ---------------------------------------------------------------- sequences of several lengths


def sequence_mask(lengths: Any, n_steps: int, batch_first: bool = False, *, device: Any = None) -> Tensor:
    """Which steps are real: lengths (B,) -> booleans (T, B), or (B, T) with `batch_first`, T = n_steps.

    lengths: integers of any kind, zeros allowed. Raises ValueError where one is larger than n_steps.
    """
    xp = current() if device is None else find(device)
    count = len(lengths) if hasattr(lengths, "__len__") else 1
    ends = xp.asarray(read_lengths("sequence_mask", lengths, n_steps, count), dtype="int64")
    steps = xp.arange(n_steps)
    mask: Tensor = Tensor._of(steps < ends[:, None] if batch_first else steps[:, None] < ends)
    return mask


@arguments.wide(integers=True)
def masked_mean(values: Tensor, lengths: Any, batch_first: bool = False) -> Tensor:
    """The mean over real steps alone: of a loss with reduction="none", say. NaN where there is no real step.

    values: (T, B, ...), or (B, T, ...) with `batch_first`; what stands in the padding changes no value and no
    gradient, be it infinite.
    """
    if not isinstance(values, Tensor) or values.ndim < 2:
        raise Mismatch(f"masked_mean: values must be a tensor (time, batch, ...), got {describe(values)}")
    n_steps, batch_size = (values.shape[1], values.shape[0]) if batch_first else values.shape[:2]
    ends = read_lengths("masked_mean", lengths, n_steps, batch_size)
    mask = sequence_mask(ends, n_steps, batch_first, device=values.device)
    count = sum(ends) * math.prod(values.shape[2:])
    real = ops.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), values, 0.0)
    mean: Tensor = real.sum() * (1.0 / count if count else math.nan)
    return mean


_ELSEWHERE = {
    "batch_norm": "nn.batchnorm",
    "dropout1d": "nn.batchnorm",
    "dropout2d": "nn.batchnorm",
    "pairwise_distance": "dialect.functions",
    "rms_norm": "dialect.functions",
}


def in_place_of(function: Any) -> Any:
    """A nonlinearity that changes its first argument, as `relu_` does."""

    def changed(input: Tensor, *args: Any, **settings: Any) -> Tensor:
        return input.copy_(function(input, *args, **settings))

    changed.__name__ = f"{function.__name__}_"
    return changed


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(import_module(f"..{_ELSEWHERE[name]}", __package__), name)
    if name.endswith("_") and not name.startswith("_") and callable(globals().get(name[:-1])):
        return in_place_of(globals()[name[:-1]])
    if out_of_scope(name):
        return absent_function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
