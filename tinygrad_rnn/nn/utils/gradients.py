"""Bounds for gradients, and all parameters as one vector."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

from ... import ops
from ...backend import array_module, dtypes
from ...creation import tensor
from ...tensor import Tensor


def _gradients(name: str, parameters: Any) -> list[Tensor]:
    """The gradients that are there, outside the graph, each once."""
    found = [] if isinstance(parameters, str) else parameters
    found = [parameters] if isinstance(parameters, Tensor) else found
    found = list(found) if isinstance(found, Iterable) else [found]
    if not found and isinstance(parameters, Iterator):
        raise ValueError(
            f"{name}: the generator gave no parameters; it is used up after one pass, so give "
            "list(model.parameters())"
        )
    for parameter in found:
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"{name}: expected parameters, got a {type(parameter).__name__}; "
                "is it module.parameters() you mean?"
            )
    shared = {id(p.vertex): p for p in found}  # one that is given twice counts once
    return [p.grad.detach() for p in shared.values() if p.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients, in place, so that the norm of all of them together is at most `max_norm`.

    A parameter that is given twice counts once. Returns the norm they had. `norm_type` is p of the p-norm, or
    math.inf. Where the norm is not finite the gradients are left as they are (a NaN in one of them does not
    spread to all), or, with `error_if_nonfinite`, RuntimeError is raised. Sums run in float64, so that
    float16 does not overflow. On a GPU nothing waits for the result (Pascanu et al. 2013, algorithm 1).
    Raises ValueError for a generator that is used up.
    """
    name = "clip_grad_norm_"
    norm_type, max_norm = float(norm_type), float(max_norm)
    if not norm_type > 0:
        raise ValueError(f"{name}: norm_type must be positive or math.inf, got {norm_type}")
    if not max_norm >= 0:
        raise ValueError(f"{name}: max_norm must not be negative, got {max_norm}")
    gradients = _gradients(name, parameters)
    if not gradients:
        return tensor(0.0)
    xp = array_module(*(g.array for g in gradients))
    norm = _total_norm(xp, [g.array for g in gradients if g.numel()], norm_type)
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise RuntimeError(
            f"{name}: the norm of the gradients is {float(norm)}, and error_if_nonfinite is set"
        )
    factor = xp.where(xp.isfinite(norm), xp.minimum(max_norm / (norm + 1e-6), 1.0), 1.0)
    for gradient in gradients:
        gradient.mul_(Tensor._of(factor.astype(_at_least_float32(gradient))))
    return Tensor._of(norm.astype(_at_least_float32(*gradients)))


def _total_norm(xp: Any, arrays: list[Any], p: float) -> Any:
    """The p-norm of all elements of the arrays, a float64 array without axes."""
    if not arrays:
        return xp.zeros((), "float64")
    if p == math.inf:
        parts = [xp.abs(a).max().astype("float64") for a in arrays]
        return xp.asarray(functools.reduce(xp.maximum, parts))
    if p == 2:
        parts = [xp.square_sum(a) for a in arrays]
    else:
        parts = [xp.sum(xp.abs(a).astype("float64") ** p) for a in arrays]
    total = functools.reduce(operator.add, parts)
    return xp.asarray(xp.sqrt(total) if p == 2 else total ** (1 / p))


def _at_least_float32(*tensors: Tensor) -> Any:
    kind = dtypes.result_dtype([t.array for t in tensors])
    return kind if kind.itemsize >= 4 else dtypes.float32


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of some tensors together, as of gradients."""
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not given:
        return tensor(0.0)
    xp = array_module(*(t.array for t in given))
    norm = _total_norm(xp, [t.array for t in given if t.numel()], float(norm_type))
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise RuntimeError(f"get_total_norm: the norm is {float(norm)}, and error_if_nonfinite is set")
    return Tensor._of(norm.astype(_at_least_float32(*given)))


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Holds each element of the gradients, in place, between -clip_value and clip_value."""
    clip_value = float(clip_value)
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    for gradient in _gradients("clip_grad_value_", parameters):
        gradient.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements in one vector (n,), with gradients back to the parameters."""
    flat = [ops.reshape(p, -1) for p in parameters]
    if not flat:
        raise ValueError("parameters_to_vector: there are no parameters")
    return ops.concat(flat)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copies the elements of a vector (n,) into the parameters, in their order."""
    parameters = list(parameters)
    n = sum(p.numel() for p in parameters)
    if not isinstance(vec, Tensor) or vec.shape != (n,):
        came = vec.shape if isinstance(vec, Tensor) else f"a {type(vec).__name__}"
        raise ValueError(f"vector_to_parameters: expected a tensor of shape ({n},), got {came}")
    values, start = vec.detach(), 0
    for p in parameters:
        p.data.copy_(values[start : start + p.numel()].reshape(p.shape))
        start += p.numel()
