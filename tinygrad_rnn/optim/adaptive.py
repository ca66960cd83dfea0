"""Relatives of Adam: Adadelta, Adamax, NAdam and RAdam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf
from typing import Any

from ..ops import abs as abs_
from ..ops import maximum, sqrt
from ..tensor import Tensor
from .optimizer import Optimizer
from .sgd import decayed

__all__ = ["Adadelta", "Adamax", "NAdam", "RAdam"]


class Adadelta(Optimizer):
    """v = rho * v + (1 - rho) * g^2; d = sqrt(u + eps) / sqrt(v + eps) * g; u = rho * u + (1 - rho) * d^2;
    p -= lr * d.

    Zeiler 2012, "Adadelta: an adaptive learning rate method". `weight_decay` adds weight_decay * p to g;
    `maximize` goes up. Raises ValueError for options out of range.
    """

    option_ranges = {"lr": (0, inf), "rho": (0, 1.0000001), "eps": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"step", "square_avg", "acc_delta"})

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = state.get("step", 0) + 1
        rho = float(group["rho"])
        decay = float(group["weight_decay"]) or None
        return float(group["lr"]), rho, 1 - rho, float(group["eps"]), decay, group["maximize"]

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        lr, rho, rest, eps, weight_decay, maximize = numbers
        v, u = buffers
        g = decayed(p, g, weight_decay, maximize)
        v = v * rho + g * g * rest
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = u * rho + d * d * rest
        return p - d * lr, v, u


class Adamax(Optimizer):
    """m is a running mean of g, u = max(beta2 * u, |g| + eps), and p -= lr / (1 - beta1^t) * m / u.

    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 2. `weight_decay` adds
    weight_decay * p to g; `maximize` goes up. Raises ValueError for options out of range.
    """

    option_ranges = {"lr": (0, inf), "betas": (0, 1), "eps": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"step", "exp_avg", "exp_inf"})

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_inf"

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = t = state.get("step", 0) + 1
        beta1, beta2 = map(float, group["betas"])
        size, decay = float(group["lr"]) / (1 - beta1**t), float(group["weight_decay"]) or None
        return 1 - beta1, beta2, float(group["eps"]), size, decay, group["maximize"]

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        rate, beta2, eps, size, weight_decay, maximize = numbers
        m, u = buffers
        g = decayed(p, g, weight_decay, maximize)
        m = m + (g - m) * rate
        u = maximum(u * beta2, abs_(g) + eps)
        return p - m / u * size, m, u


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, whose rate beta1 * (1 - 0.96^(t * momentum_decay) / 2) rises.

    Dozat 2016, "Incorporating Nesterov momentum into Adam". `weight_decay` adds weight_decay * p to g, or,
    with `decoupled_weight_decay`, p *= 1 - lr * weight_decay comes first. Raises ValueError for options out
    of range.
    """

    option_ranges = {
        "lr": (0, inf),
        "betas": (0, 1),
        "eps": (0, inf),
        "weight_decay": (0, inf),
        "momentum_decay": (0, inf),
    }
    state_names = frozenset({"step", "mu_product", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = t = state.get("step", 0) + 1
        beta1, beta2 = map(float, group["betas"])
        lr, decay = float(group["lr"]), float(group["momentum_decay"])
        mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in (t, t + 1))
        state["mu_product"] = product = state.get("mu_product", 1.0) * mu
        of_g, of_m = lr * (1 - mu) / (1 - product), lr * next_mu / (1 - product * next_mu)
        root = math.sqrt(1 - beta2**t)
        eps = float(group["eps"]) * root
        numbers = (1 - beta1, beta2, 1 - beta2, of_g * root, of_m * root, eps)
        return (*numbers, *_decays(group), group["maximize"])

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        rate1, beta2, rate2, of_g, of_m, eps, weight_decay, shrink, maximize = numbers
        m, v = buffers
        g = decayed(p, g, weight_decay, maximize)
        p = p if shrink is None else p * shrink
        m = m + (g - m) * rate1
        v = v * beta2 + g * g * rate2
        return p - (g * of_g + m * of_m) / (sqrt(v) + eps), m, v

    def loaded_entry(self, name: str, number: int, p: Tensor, what: str, value: Any) -> Any:
        if what == "mu_product":
            return float(value)
        return super().loaded_entry(name, number, p, what, value)


class RAdam(Optimizer):
    """Adam whose adaptive rates are rectified, and left out while their variance is not tractable, in the
    first steps.

    Liu et al. 2020, "On the variance of the adaptive learning rate and beyond". `weight_decay` adds
    weight_decay * p to g, or, with `decoupled_weight_decay`, p *= 1 - lr * weight_decay comes first. Raises
    ValueError for options out of range.
    """

    option_ranges = {"lr": (0, inf), "betas": (0, 1), "eps": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = t = state.get("step", 0) + 1
        beta1, beta2 = map(float, group["betas"])
        size, left = float(group["lr"]) / (1 - beta1**t), 1 - beta2**t
        most = 2 / (1 - beta2) - 1
        length = most - 2 * t * beta2**t / left
        adaptive = length > 5
        if adaptive:
            rectified = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
            size *= math.sqrt(rectified * left)
        numbers = (1 - beta1, beta2, 1 - beta2, size, float(group["eps"]) if adaptive else None)
        return (*numbers, *_decays(group), group["maximize"])

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        rate1, beta2, rate2, size, eps, weight_decay, shrink, maximize = numbers
        m, v = buffers
        g = decayed(p, g, weight_decay, maximize)
        p = p if shrink is None else p * shrink
        m = m + (g - m) * rate1
        v = v * beta2 + g * g * rate2
        return p - (m if eps is None else m / (sqrt(v) + eps)) * size, m, v


def _decays(group: dict[str, Any]) -> tuple[float | None, float | None]:
    """What is added to the gradient for each unit of p, and what p is multiplied by; None for neither."""
    decay = float(group["weight_decay"])
    if not group["decoupled_weight_decay"]:
        return decay or None, None
    return None, 1 - float(group["lr"]) * decay if decay else None
