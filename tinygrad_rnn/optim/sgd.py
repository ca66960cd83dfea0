"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from math import inf
from typing import Any

from ..backend import Array, ArrayModule
from .optimizer import Optimizer


class SGD(Optimizer):
    """p -= lr * g; with momentum b = momentum * b + (1 - dampening) * g and p -= lr * b (at the first step b
    = g).

    Nesterov's form (Sutskever et al. 2013, as PyTorch writes it) uses g + momentum * b instead of b.
    `weight_decay` adds weight_decay * p to g; `maximize` goes up instead of down. Raises ValueError for
    options out of range.
    """

    _ranges = {"lr": (0, inf), "momentum": (0, inf), "weight_decay": (0, inf)}
    _names = frozenset({"momentum_buffer"})

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

    def _check_options(self, group: dict[str, Any]) -> None:
        super()._check_options(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"{self._name}: nesterov needs a momentum above 0 and no dampening")

    def _buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        return (
            float(group["lr"]),
            float(group["momentum"]),
            None if state.get("momentum_buffer") is None else 1 - float(group["dampening"]),
            float(group["weight_decay"]),
            group["nesterov"],
            group["maximize"],
        )

    def _update(self, xp: ArrayModule, numbers: Any, p: Array, g: Array, buffers: Any, scratch: Any) -> None:
        lr, momentum, share, weight_decay, nesterov, maximize = numbers
        s, t = scratch
        g = decayed(xp, p, g, weight_decay, maximize, s, t)
        if momentum:
            (b,) = buffers
            if share is None:
                b[...] = g
            else:
                xp.multiply(b, momentum, out=b)
                xp.add(b, g if share == 1 else xp.multiply(g, share, out=s), out=b)
            g = xp.add(g, xp.multiply(b, momentum, out=s), out=t) if nesterov else b
        xp.subtract(p, xp.multiply(g, lr, out=s), out=p)


def decayed(
    xp: ArrayModule, p: Array, g: Array, weight_decay: float, maximize: bool, s: Array, t: Array
) -> Array:
    """The gradient to go down along: -g to maximize, plus weight_decay * p. In t where it is not g itself; s
    is used.
    """
    if maximize:
        g = xp.negative(g, out=t)
    return xp.add(g, xp.multiply(p, weight_decay, out=s), out=t) if weight_decay else g
