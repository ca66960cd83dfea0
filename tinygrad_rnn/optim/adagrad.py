"""Adagrad: steps scaled by the sum of the gradient's squares so far."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..ops import sqrt
from .optimizer import Optimizer
from .sgd import decayed


class Adagrad(Optimizer):
    """v = v + g^2 and p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps), at the t-th step.

    Duchi, Hazan and Singer 2011, "Adaptive subgradient methods". v starts at `initial_accumulator_value`.
    `weight_decay` adds weight_decay * p to g; `maximize` goes up. Raises ValueError for options out of range.
    """

    option_ranges = {
        "lr": (0, inf),
        "lr_decay": (0, inf),
        "weight_decay": (0, inf),
        "initial_accumulator_value": (0, inf),
        "eps": (0, inf),
    }
    state_names = frozenset({"step", "sum"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def buffer_start(self, group: dict[str, Any]) -> float:
        return float(group["initial_accumulator_value"])

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = t = state.get("step", 0) + 1
        size = float(group["lr"]) / (1 + (t - 1) * float(group["lr_decay"]))
        return (size, float(group["eps"]), float(group["weight_decay"]) or None, group["maximize"])

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        size, eps, weight_decay, maximize = numbers
        g = decayed(p, g, weight_decay, maximize)
        v = buffers[0] + g * g
        return p - g / (sqrt(v) + eps) * size, v
