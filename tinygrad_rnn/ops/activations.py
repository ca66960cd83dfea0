"""Nonlinearities made of other ops: their gradients fall out."""

from __future__ import annotations

from ..backend import Array
from ..backend.naming import came
from ..engine.errors import Mismatch, WrongKind
from .arguments import axis_of, both_dialects, wide
from .elementwise import abs as abs_
from .elementwise import clip, elu, sigmoid, softplus, tanh, where
from .shape import chunk

__all__ = [
    "celu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "logsigmoid", "mish", "prelu",
    "relu6", "selu", "silu", "softshrink", "softsign", "tanhshrink", "threshold",
]  # fmt: skip

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, eq. 14


@wide(integers=True)
def logsigmoid(x: Array) -> Array:
    """log(sigmoid(x)), without overflow."""
    return -softplus(-x)


@wide(integers=True)
def silu(x: Array) -> Array:
    """x * sigmoid(x) (Elfwing, Uchibe & Doya 2018), also called swish."""
    return x * sigmoid(x)


@wide(integers=True)
def mish(x: Array) -> Array:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return x * tanh(softplus(x))


def hardtanh(x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x held between two bounds."""
    if not min_val <= max_val:
        raise Mismatch(f"hardtanh: min_val must not be larger than max_val, got {min_val} and {max_val}")
    return clip(x, min_val, max_val)


def relu6(x: Array) -> Array:
    """x held between 0 and 6."""
    return clip(x, 0.0, 6.0)


@wide(integers=True)
def hardsigmoid(x: Array) -> Array:
    """A sigmoid of straight lines: x / 6 + 1 / 2, held between 0 and 1."""
    return clip(x / 6 + 0.5, 0.0, 1.0)


@wide(integers=True)
def hardswish(x: Array) -> Array:
    """x * hardsigmoid(x) (Howard et al. 2019)."""
    return x * hardsigmoid(x)


@wide(integers=True)
def selu(x: Array) -> Array:
    """The scaled elu that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return elu(x, alpha=_SELU_ALPHA) * _SELU_SCALE


@wide(integers=True)
def celu(x: Array, alpha: float = 1.0) -> Array:
    """x where positive, else alpha * (exp(x / alpha) - 1) (Barron 2017)."""
    return elu(x / alpha, alpha=1.0) * alpha if alpha != 1 else elu(x)


@both_dialects
@wide(integers=True)
def glu(x: Array, axis: int = -1) -> Array:
    """The first half along `axis` times the sigmoid of the second (Dauphin et al. 2017)."""
    axis = axis_of("glu", axis, x.ndim)
    if x.shape[axis] % 2:
        raise Mismatch(f"glu: axis {axis} of {tuple(x.shape)} must be even")
    a, b = chunk(x, 2, axis)
    return a * sigmoid(b)


@wide(integers=True)
def prelu(x: Array, weight: Array) -> Array:
    """x where positive, else weight * x: one weight, or one for each place of axis 1 (He et al. 2015)."""
    if not hasattr(x, "ndim") or not hasattr(weight, "reshape"):
        raise WrongKind(f"prelu: expected two tensors, got {came(x, True)} and {came(weight, True)}")
    if weight.ndim == 1 and weight.shape[0] == 1:
        weight = weight.reshape(())
    elif weight.ndim == 1:
        weight = weight.reshape([-1 if i == min(1, x.ndim - 1) else 1 for i in range(x.ndim)])
    return where(x > 0, x, x * weight)


@wide(integers=True)
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (1 + abs_(x))


@wide(integers=True)
def tanhshrink(x: Array) -> Array:
    """x - tanh(x)."""
    return x - tanh(x)


@wide(integers=True)
def softshrink(x: Array, lambd: float = 0.5) -> Array:
    """x brought nearer to 0 by lambd, 0 within it."""
    return x - clip(x, -lambd, lambd)


def hardshrink(x: Array, lambd: float = 0.5) -> Array:
    """x outside of [-lambd, lambd], else 0."""
    return where(abs_(x) > lambd, x, 0.0)


def threshold(x: Array, threshold: float, value: float) -> Array:
    """x above a threshold, else a value."""
    return where(x > threshold, x, value)
