"""Functions built of other ops alone: no rules of their own, their gradients fall out."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..backend import Array, array_module
from ..backend.naming import came, describe
from ..engine.errors import Mismatch, WrongKind, callers_level
from .arguments import axis_of, both_dialects, old_reduction, plain, primitive, wide
from .elementwise import abs as abs_
from .elementwise import clip, log, log1p, maximum, minimum, softplus, where
from .index import getitem, pick
from .reduce import mean, norm, standardize
from .reduce import sum as sum_
from .shape import reshape
from .softmax import log_softmax


def reduced(values: Array, reduction: str, name: str) -> Array:
    """A loss per element made into what `reduction` says: "mean", "sum" or "none"."""
    if reduction == "mean":
        return mean(values)
    if reduction == "sum":
        return sum_(values)
    if reduction == "none":
        return values
    raise Mismatch(f"{name}: reduction is {reduction!r}, expected 'mean', 'sum' or 'none'")


def apart_of(name: str, x: Array, target: Array) -> Array:
    """x - target. Where their shapes differ they broadcast, with a warning: (B, 1) against (B,) compares
    everything with everything."""
    two_tensors(name, x, target)
    if tuple(x.shape) != tuple(target.shape):
        warnings.warn(
            f"{name}: the target has shape {tuple(target.shape)}, the input {tuple(x.shape)}; they are "
            "broadcast, which is likely not what is meant: make them equal",
            UserWarning,
            stacklevel=callers_level(),
        )
    return x - target


def two_tensors(name: str, x: Array, target: Array) -> None:
    """Raises where one of two is no tensor."""
    if not all(hasattr(getattr(value, "dtype", None), "kind") for value in (x, target)):
        raise WrongKind(f"{name}: expected two tensors, got {came(x, True)} and {came(target, True)}")


def same_shape(name: str, x: Array, target: Array) -> None:
    """Losses of probabilities do not broadcast."""
    two_tensors(name, x, target)
    if tuple(x.shape) != tuple(target.shape):
        raise Mismatch(
            f"{name}: input has shape {tuple(x.shape)} and target {tuple(target.shape)}; they must be equal"
        )


@old_reduction
@wide(integers=True)
def mse_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """(input - target)^2."""
    apart = apart_of("mse_loss", input, target)
    return reduced(apart * apart, reduction, "mse_loss")


@old_reduction
@wide(integers=True)
def l1_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """|input - target|."""
    return reduced(abs_(apart_of("l1_loss", input, target)), reduction, "l1_loss")


@wide(integers=True)
def huber_loss(input: Array, target: Array, reduction: str = "mean", delta: float = 1.0) -> Array:
    """apart^2 / 2 up to a distance `delta`, then delta * (|apart| - delta / 2) (Huber 1964)."""
    if not delta > 0:
        raise Mismatch(f"huber_loss: delta must be positive, got {delta}")
    apart = abs_(apart_of("huber_loss", input, target))
    near = minimum(apart, delta)  # near * (apart - near / 2) is both branches in one, with a smooth joint
    return reduced(near * (apart - 0.5 * near), reduction, "huber_loss")


@old_reduction
@wide(integers=True)
def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """apart^2 / (2 * beta) up to a distance `beta`, then |apart| - beta / 2; with beta = 0 the L1 loss."""
    if not beta >= 0:
        raise Mismatch(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    apart = abs_(apart_of("smooth_l1_loss", input, target))
    near = minimum(apart, beta)
    return reduced(near / beta * (apart - 0.5 * near), reduction, "smooth_l1_loss")


@old_reduction
@wide(integers=True)
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """-target log sigmoid(input) - (1 - target) log(1 - sigmoid(input)), from the logits: no overflow."""
    name = "binary_cross_entropy_with_logits"
    same_shape(name, input, target)
    of_ones = softplus(-input) * target  # two sums of which none cancels, however large the logits are
    loss = softplus(input) * (1.0 - target) + (of_ones if pos_weight is None else of_ones * pos_weight)
    return reduced(loss if weight is None else loss * weight, reduction, name)


@old_reduction
@wide(integers=False)
def nll_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Array:
    """Minus the log probability of each target class.

    input: (N, C), (C,) or (N, C, d1, ...), log probabilities; target: the same without the C axis, integers.
    Positions whose target is `ignore_index` count nothing; "mean" divides by the sum of the weights of those
    that count (0 where none does gives NaN, as in PyTorch).
    """
    name = "nll_loss"
    _check_scores(name, input)
    wanted = plain(target)
    if getattr(getattr(wanted, "dtype", None), "kind", "") not in ("i", "u"):
        raise WrongKind(f"{name}: target must be a tensor of integer classes, got {came(target, True)}")
    class_axis = 0 if input.ndim == 1 else 1
    expected = (*input.shape[:class_axis], *input.shape[class_axis + 1 :])
    if tuple(wanted.shape) != expected:
        raise Mismatch(
            f"{name}: input of shape {tuple(input.shape)} needs a target of shape {expected}, "
            f"got {tuple(wanted.shape)}"
        )
    n_classes = input.shape[class_axis]
    if input.ndim != 2:
        order = (*(i for i in range(input.ndim) if i != class_axis), class_axis)
        input = reshape(input.transpose(order) if input.ndim > 1 else input, (-1, n_classes))
    flat = wanted.reshape(-1)
    counts = flat != ignore_index
    in_range = (flat >= 0) & (flat < n_classes)
    if _on_host(flat) and bool((counts & ~in_range).any()):
        raise IndexError(
            f"{name}: target has classes outside 0 to {n_classes - 1} (ignore_index is {ignore_index})"
        )
    safe = flat * counts

    xp = array_module(flat)
    scale = counts.astype(input.dtype)
    if weight is not None:
        _check_weight(name, weight, n_classes)
        scale = getitem(weight.astype(input.dtype), safe) * scale
    losses = -pick(input, index=(xp.arange(flat.shape[0]), safe))
    if not (_on_host(flat) and bool(counts.all())):
        losses = where(counts, losses, 0.0)  # a factor of 0 is not enough: what stands there may be infinite
    losses = losses * scale
    if reduction == "mean":
        return _over(losses, scale)
    return reduced(reshape(losses, tuple(wanted.shape)) if reduction == "none" else losses, reduction, name)


def _over(losses: Array, weights: Array) -> Array:
    """The mean of losses that are weighted already; NaN where no weight is left, said without a warning."""
    total = sum_(weights)
    return sum_(losses) / where(total == 0, math.nan, total)


def _check_scores(name: str, input: Array) -> None:
    if not getattr(input, "ndim", 0) or input.dtype.kind != "f":
        raise WrongKind(f"{name}: input must be floating scores (N, C, ...) or (C,), got {describe(input)}")


def _check_weight(name: str, weight: Array, n_classes: int) -> None:
    if tuple(weight.shape) != (n_classes,):
        raise Mismatch(
            f"{name}: weight has shape {tuple(weight.shape)}, expected ({n_classes},): one per class"
        )


def _on_host(array: Array) -> bool:
    return array_module(array).device_type == "cpu"


@old_reduction
@wide(integers=False)
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Minus the log of the softmax at each target class.

    input: logits (N, C), (C,) or (N, C, d1, ...).
    target: integer classes, without the C axis; or probabilities in the shape of `input`. See `nll_loss` for
    `ignore_index` and "mean".
    """
    name = "cross_entropy"
    _check_scores(name, input)
    class_axis = 0 if input.ndim == 1 else 1
    logs = log_softmax(input, class_axis)
    if not hasattr(getattr(target, "dtype", None), "kind"):
        raise WrongKind(
            f"{name}: target must be a tensor of classes or probabilities, got {came(target, True)}"
        )
    if weight is not None:
        _check_weight(name, weight, input.shape[class_axis])
    if not 0 <= label_smoothing <= 1:
        raise Mismatch(f"{name}: label_smoothing must be between 0 and 1, got {label_smoothing}")
    by_class = target.dtype.kind in "iu"
    if by_class and label_smoothing == 0.0:
        return nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)
    n_classes = input.shape[class_axis]
    if not by_class:
        if tuple(target.shape) != tuple(input.shape):
            raise Mismatch(
                f"{name}: a floating target holds probabilities in the shape of the input, "
                f"{tuple(input.shape)}, got {tuple(target.shape)}; classes are integers: target.long()"
            )
        if ignore_index >= 0:
            raise Mismatch(f"{name}: ignore_index is for classes; the target holds probabilities")
        soft = target * (1 - label_smoothing) + label_smoothing / n_classes
        row = -(soft * logs if weight is None else soft * logs * _along_classes(weight, input, class_axis))
        losses = sum_(row, class_axis)
        if reduction == "mean":
            return sum_(losses) / max(1, plain(losses).size)
        return reduced(losses, reduction, name)
    settings: dict[str, Any] = {"ignore_index": ignore_index, "reduction": "none"}
    hard = nll_loss(logs, target, weight, **settings)
    real = plain(target) != ignore_index
    counts = real.astype(plain(input).dtype)
    spread = logs if weight is None else logs * _along_classes(weight, input, class_axis)
    soft = where(real, -sum_(spread, class_axis) * (label_smoothing / n_classes), 0.0)
    losses = hard * (1 - label_smoothing) + soft
    if reduction == "mean":
        total = counts if weight is None else getitem(weight, plain(target) * (counts > 0)) * counts
        return _over(losses, total)
    return reduced(losses, reduction, name)


def _along_classes(weight: Array, input: Array, class_axis: int) -> Array:
    return reshape(weight, tuple(-1 if i == class_axis else 1 for i in range(input.ndim)))


@old_reduction
@wide(integers=True)
def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """The cross-entropy of probabilities in [0, 1]; logarithms are held above -100, as in PyTorch."""
    same_shape("binary_cross_entropy", input, target)
    p = plain(input)
    if _on_host(p) and bool(((p < 0) | (p > 1)).any()):
        raise Mismatch(
            "binary_cross_entropy: input must be probabilities between 0 and 1; for logits there is "
            "binary_cross_entropy_with_logits"
        )
    loss = _binary_cross_entropy(input, target)
    return reduced(loss if weight is None else loss * weight, reduction, "binary_cross_entropy")


def _held_logs(p: Array) -> tuple[Array, Array]:
    """The logarithms of p and 1 - p, held above -100."""
    zero, one = p == 0, p == 1
    of_p, of_rest = log(where(zero, 1.0, p)), log1p(-where(one, 0.0, p))
    return where(zero, -100.0, clip(of_p, min=-100.0)), where(one, -100.0, clip(of_rest, min=-100.0))


def _to_probability(g: Array, input: Array, target: Array) -> Array:
    return g * (input - target) / clip(input * (1 - input), min=1e-12)  # held as PyTorch holds it


def _to_target(g: Array, input: Array) -> Array:
    of_one, of_zero = _held_logs(input)
    return g * (of_zero - of_one)


@primitive(vjp=(_to_probability, _to_target))
def _binary_cross_entropy(xp: Any, input: Array, target: Array) -> Array:
    of_one, of_zero = _held_logs(input)
    return (target - 1) * of_zero - target * of_one


@both_dialects
@wide(integers=True)
def normalize(x: Array, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Array:
    """x over its p-norm along `axis`, or over `eps` where that is larger."""
    return x / maximum(norm(x, p, axis_of("normalize", axis, x.ndim), keepdims=True), eps)


@both_dialects
def layer_norm(
    x: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    """(x - mean) / sqrt(var + eps) over the last axes, then * weight + bias (Ba et al. 2016, eq. 4)."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(x.shape[x.ndim - len(shape) :]) != shape or not shape:
        raise Mismatch(f"layer_norm: x has shape {tuple(x.shape)}, its last axes should be {shape}")
    axes = tuple(range(-len(shape), 0))
    y = standardize(x, axes, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
