"""RMSprop: steps scaled by a running mean of the gradient's square."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..ops import sqrt
from .optimizer import Optimizer
from .sgd import decayed


class RMSprop(Optimizer):
    """v = alpha * v + (1 - alpha) * g^2 and p -= lr * g / (sqrt(v) + eps).

    Hinton's lecture 6e of "Neural networks for machine learning" (2012). `centered` (Graves 2013, "Generating
    sequences with recurrent neural networks") takes the square of g's running mean from v. With momentum b =
    momentum * b + g / (sqrt(v) + eps) and p -= lr * b. `weight_decay` adds weight_decay * p to g; `maximize`
    goes up. Raises ValueError for options out of range.
    """

    option_ranges = {
        "lr": (0, inf),
        "alpha": (0, inf),
        "eps": (0, inf),
        "weight_decay": (0, inf),
        "momentum": (0, inf),
    }
    state_names = frozenset({"step", "square_avg", "grad_avg", "momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = (
            "square_avg",
            "grad_avg" if group["centered"] else "",
            "momentum_buffer" if group["momentum"] else "",
        )
        return tuple(name for name in names if name)

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = state.get("step", 0) + 1
        lr, alpha = float(group["lr"]), float(group["alpha"])
        weight_decay, momentum = float(group["weight_decay"]) or None, float(group["momentum"]) or None
        return (
            lr, alpha, 1 - alpha, float(group["eps"]), weight_decay, momentum, group["centered"],
            group["maximize"],
        )  # fmt: skip

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        lr, alpha, rate, eps, weight_decay, momentum, centered, maximize = numbers
        v, *rest = buffers
        g = decayed(p, g, weight_decay, maximize)
        v = v * alpha + g * g * rate
        new = [v]
        spread = v
        if centered:
            mean = rest[0] + (g - rest[0]) * rate
            spread = v - mean * mean
            new.append(mean)
        step = g / (sqrt(spread) + eps)
        if momentum is not None:
            step = rest[-1] * momentum + step
            new.append(step)
        return p - step * lr, *new
