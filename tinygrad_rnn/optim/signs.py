"""Rprop, which looks at signs of gradients alone, and ASGD, which averages where it has been."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..ops import maximum, minimum, sign, where
from ..tensor import Tensor
from .optimizer import Optimizer
from .sgd import decayed

__all__ = ["ASGD", "Rprop"]


class Rprop(Optimizer):
    """Each element goes by a step of its own, against the sign of its gradient. The step grows by
    etas[1] while that sign stays, and shrinks by etas[0] where it changes, where the element waits for
    one step.

    Riedmiller and Braun 1993, "A direct adaptive method for faster backpropagation learning". Steps begin at
    `lr` and stay within `step_sizes`. Raises ValueError for options out of range.
    """

    option_ranges = {"lr": (0, inf)}
    state_names = frozenset({"step", "prev", "step_size"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        low, high = group["etas"]
        if not 0 < low < 1 < high:
            raise ValueError(f"Rprop: etas must be a number below and one above 1, got {group['etas']}")

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "prev", "step_size"

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        state["step"] = state.get("step", 0) + 1
        return (*map(float, (group["lr"], *group["etas"], *group["step_sizes"])), group["maximize"])

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        lr, shrink, grow, low, high, maximize = numbers
        before, step = buffers
        g = decayed(p, g, None, maximize)
        same = g * before
        step = where(step == 0, lr, step)  # which no step is later
        step = where(same > 0, step * grow, where(same < 0, step * shrink, step))
        step = minimum(maximum(step, low), high)
        g = where(same < 0, 0.0, g)
        return p - sign(g) * step, g, step


class ASGD(Optimizer):
    """p *= 1 - lambd * eta and p -= eta * g, with eta = lr / (1 + lambd * lr * t)^alpha;
    `state[p]["ax"]` is the mean of p over the steps after `t0`.

    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging". `weight_decay` adds
    weight_decay * p to g; `maximize` goes up. Raises ValueError for options out of range.
    """

    option_ranges = {"lr": (0, inf), "weight_decay": (0, inf)}
    state_names = frozenset({"step", "eta", "mu", "ax"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        lr, lambd = float(group["lr"]), float(group["lambd"])
        state["step"] = t = state.get("step", 0) + 1
        eta, mu = state.get("eta", lr), state.get("mu", 1.0)
        state["eta"] = lr / (1 + lambd * lr * t) ** float(group["alpha"])
        state["mu"] = 1 / max(1.0, t - float(group["t0"]))
        decay = float(group["weight_decay"]) or None
        return 1 - lambd * eta, eta, None if mu == 1 else mu, decay, group["maximize"]

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        shrink, eta, mu, weight_decay, maximize = numbers
        g = decayed(p, g, weight_decay, maximize)
        p = p * shrink - g * eta
        mean = buffers[0]
        return p, p * 1.0 if mu is None else mean + (p - mean) * mu

    def loaded_entry(self, name: str, number: int, p: Tensor, what: str, value: Any) -> Any:
        if what in ("eta", "mu"):
            return float(value)
        return super().loaded_entry(name, number, p, what, value)
