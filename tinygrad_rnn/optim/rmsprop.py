"""RMSprop: steps scaled by a running mean of the gradient's square."""

from __future__ import annotations

from math import inf
from typing import Any

from ..backend import Array, ArrayModule
from .optimizer import Optimizer
from .sgd import decayed


class RMSprop(Optimizer):
    """v = alpha * v + (1 - alpha) * g^2 and p -= lr * g / (sqrt(v) + eps).

    Hinton's lecture 6e of "Neural networks for machine learning" (2012). `centered` (Graves 2013, "Generating
    sequences with recurrent neural networks") takes the square of g's running mean from v. With momentum b =
    momentum * b + g / (sqrt(v) + eps) and p -= lr * b. `weight_decay` adds weight_decay * p to g; `maximize`
    goes up. Raises ValueError for options out of range.
    """

    _ranges = {
        "lr": (0, inf),
        "alpha": (0, inf),
        "eps": (0, inf),
        "weight_decay": (0, inf),
        "momentum": (0, inf),
    }
    _names = frozenset({"step", "square_avg", "grad_avg", "momentum_buffer"})

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

    def _buffers(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = (
            "square_avg",
            "grad_avg" if group["centered"] else "",
            "momentum_buffer" if group["momentum"] else "",
        )
        return tuple(name for name in names if name)

    def _coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = state.get("step", 0) + 1
        numbers = (float(group[name]) for name in ("lr", "alpha", "eps", "weight_decay", "momentum"))
        return (*numbers, group["centered"], group["maximize"])

    def _update(self, xp: ArrayModule, numbers: Any, p: Array, g: Array, buffers: Any, scratch: Any) -> None:
        lr, alpha, eps, weight_decay, momentum, centered, maximize = numbers
        s, t = scratch
        v = buffers[0]
        g = decayed(xp, p, g, weight_decay, maximize, s, t)
        xp.multiply(g, g, out=s)
        xp.multiply(s, 1 - alpha, out=s)
        xp.multiply(v, alpha, out=v)
        xp.add(v, s, out=v)
        if centered:
            mean = buffers[1]
            xp.subtract(g, mean, out=s)
            xp.multiply(s, 1 - alpha, out=s)
            xp.add(mean, s, out=mean)
            xp.multiply(mean, mean, out=s)
            xp.subtract(v, s, out=s)
            xp.sqrt(s, out=s)
        else:
            xp.sqrt(v, out=s)
        xp.add(s, eps, out=s)
        xp.divide(g, s, out=s)
        if momentum:
            b = buffers[-1]
            xp.multiply(b, momentum, out=b)
            xp.add(b, s, out=b)
            xp.multiply(b, lr, out=s)
        else:
            xp.multiply(s, lr, out=s)
        xp.subtract(p, s, out=p)
