"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from .optimizer import Optimizer


class SGD(Optimizer):
    """p -= lr * g; with momentum b = momentum * b + (1 - dampening) * g and p -= lr * b (at the first step b
    = g).

    Nesterov's form (Sutskever et al. 2013, as PyTorch writes it) uses g + momentum * b instead of b.
    `weight_decay` adds weight_decay * p to g; `maximize` goes up instead of down. Raises ValueError for
    options out of range.
    """

    option_ranges = {"lr": (0, inf), "momentum": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
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
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"{type(self).__name__}: nesterov needs a momentum above 0 and no dampening")

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        dampening = float(group["dampening"])
        return (
            float(group["lr"]),
            float(group["momentum"]) or None,
            state.get("momentum_buffer") is None,
            1 - dampening if dampening else None,
            float(group["weight_decay"]) or None,
            group["nesterov"],
            group["maximize"],
        )

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        lr, momentum, first, share, weight_decay, nesterov, maximize = numbers
        g = decayed(p, g, weight_decay, maximize)
        if momentum is None:
            return (p - g * lr,)
        b = g if first else buffers[0] * momentum + (g if share is None else g * share)
        return p - (g + b * momentum if nesterov else b) * lr, b


def decayed(p: Any, g: Any, weight_decay: Any, maximize: bool) -> Any:
    """The gradient to go down along: -g to maximize, plus weight_decay * p."""
    g = -g if maximize else g
    return g if weight_decay is None else g + p * weight_decay
