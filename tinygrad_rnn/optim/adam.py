"""Adam and AdamW: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf
from typing import Any

from ..ops import maximum, sqrt
from .optimizer import Optimizer
from .sgd import decayed


class Adam(Optimizer):
    """m and v are running means of g and g^2 with the rates `betas`; at the t-th step, beta powers taken out,

        m^ = m / (1 - beta1^t)      v^ = v / (1 - beta2^t)      p -= lr * m^ / (sqrt(v^) + eps)

    Kingma and Ba 2015, "Adam: a method for stochastic optimization". `amsgrad` (Reddi et al. 2018) uses the
    largest v so far. `weight_decay` adds weight_decay * p to g; `maximize` goes up. Raises ValueError for
    options out of range.
    """

    option_ranges = {"lr": (0, inf), "betas": (0, 1), "eps": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"})
    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def check_options(self, group: dict[str, Any]) -> None:
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas must be two numbers, got {betas}")
        super().check_options(group)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = t = state.get("step", 0) + 1
        beta1, beta2 = map(float, group["betas"])
        lr = float(group["lr"])
        # lr * m^ / (sqrt(v^) + eps) with root = sqrt(1 - beta2^t) taken out: one operation fewer
        root = math.sqrt(1 - beta2**t)
        size = lr * root / (1 - beta1**t)
        weight_decay = float(group["weight_decay"])
        return (
            1 - beta1,
            beta2,
            1 - beta2,
            size,
            float(group["eps"]) * root,
            None if self._decoupled else weight_decay or None,
            1 - lr * weight_decay if self._decoupled and lr * weight_decay else None,
            group["maximize"],
        )

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        rate1, beta2, rate2, size, eps, weight_decay, shrink, maximize = numbers
        m, v, *largest = buffers
        g = decayed(p, g, weight_decay, maximize)
        if shrink is not None:
            p = p * shrink
        m = m + (g - m) * rate1
        v = v * beta2 + g * g * rate2
        largest = [maximum(x, v) for x in largest]
        p = p - m / (sqrt(largest[0] if largest else v) + eps) * size
        return p, m, v, *largest


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p *= 1 - lr * weight_decay at each step, before Adam's
    update.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization".
    """

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
