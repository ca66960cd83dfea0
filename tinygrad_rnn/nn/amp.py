"""Training in float16: half the memory, and matrix products several times faster on a GPU.

    model.half()
    optimizer = nn.amp.master_weights(optim.Adam(model.parameters()))
    scaler = nn.amp.GradScaler()

    loss = F.cross_entropy(model(x).float(), y)     # what is exponentiated and summed, in float32
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)                      # only where gradients are looked at or clipped
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()

Three things make it work (Micikevicius et al. 2018, "Mixed precision training"). Products and sums are
accumulated in float32. A float32 copy of each weight is what is updated, because float16 would round small
steps away. And the loss is multiplied by a large number, because float16 has no gradients below 6e-8.

On NumPy all of it runs too, slower than float32: it is there to be tried and tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from ..backend import Array, array_module, to_numpy
from ..backend.capture import capturing
from ..engine import mark_changed
from ..optim.optimizer import Optimizer
from ..states import reading_state
from ..tensor import Tensor


def master_weights(optimizer: Optimizer) -> Optimizer:
    """Makes an optimiser keep a float32 copy of each float16 parameter (`state[p]["master"]`), which it
    updates; the parameter is that copy, rounded. Returns the optimiser.

    Raises TypeError for optimisers with a `step` of their own, such as LBFGS.
    """
    _check("master_weights", optimizer)
    optimizer.master_weights = True
    return optimizer


def _check(name: str, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer) or type(optimizer).step is not Optimizer.step:
        raise TypeError(
            f"{name}: expected an optimiser such as Adam or SGD, got {type(optimizer).__name__}, "
            "which makes its steps itself"
        )


class GradScaler:
    """Multiplies losses by a factor, takes it out of the gradients, and adjusts it, as PyTorch's GradScaler.

    A step in whose gradients there is an infinity or NaN changes nothing, and the factor is multiplied by
    `backoff_factor`; after `growth_interval` good steps in a row it is multiplied by `growth_factor`. On a
    GPU nothing waits: whether a step is void is found out where it is made. (So an optimiser that counts
    its steps counts void ones too.) With `enabled=False` it does nothing. `device` is read for PyTorch's
    sake: the factor lies where the losses are.
    """

    def __init__(
        self,
        device: Any = None,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if not (init_scale > 0 and growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise ValueError(
                "GradScaler: expected init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and "
                "growth_interval >= 1, got "
                f"{init_scale}, {growth_factor}, {backoff_factor}, {growth_interval}"
            )
        self.growth_factor, self.backoff_factor = float(growth_factor), float(backoff_factor)
        self.growth_interval, self.enabled = int(growth_interval), bool(enabled)
        self._start = float(init_scale), 0.0
        self._scale: Array = None  # float64 arrays without axes, made where the first loss is
        self._good: Array = None
        self._void: dict[int, Array] = {}  # by the id of an optimiser: 1 where its gradients are not finite
        self._unscaled: set[int] = set()

    def is_enabled(self) -> bool:
        return self.enabled

    def scale(self, outputs: Any) -> Any:
        """A loss (or several, in a list or tuple) times the factor, in float32 at least."""
        if not self.enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(x) for x in outputs])
        if not isinstance(outputs, Tensor):
            raise TypeError(f"GradScaler.scale: expected a tensor, got a {type(outputs).__name__}")
        self._note()
        self._make(array_module(outputs.array))
        wide = outputs if outputs.dtype.itemsize >= 4 else outputs.float()
        return wide * Tensor._of(self._scale.astype(wide.dtype))

    def _note(self) -> None:
        """Sees to it that a failed capture changes nothing here."""
        current = capturing.get()
        if current is not None:
            kept = {**vars(self), "_void": dict(self._void), "_unscaled": set(self._unscaled)}
            current.on_failure(lambda: vars(self).update(kept))

    def _make(self, xp: Any) -> None:
        if self._scale is None or array_module(self._scale) is not xp:
            if self._scale is not None:
                self._start = self._numbers()
            with xp.at_once():
                self._scale, self._good = (xp.full((), x, "float64") for x in self._start)
        current = capturing.get()
        if current is not None:
            current.keep([self._scale, self._good])

    def _numbers(self) -> tuple[float, float]:
        if self._scale is None:
            return self._start
        return float(to_numpy(self._scale)), float(to_numpy(self._good))

    def _gradients(self, optimizer: Optimizer) -> list[Tensor]:
        """The parameters that have gradients; and notes whether one of those is not finite."""
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not params or self._scale is None:
            raise RuntimeError(
                "GradScaler: there are no scaled gradients; call scale(loss).backward() before"
            )
        self._note()
        xp = array_module(self._scale)
        fine = xp.ones((), "bool")
        for p in params:
            fine = xp.logical_and(fine, xp.isfinite(p.grad.array).all())
        self._void[id(optimizer)] = xp.where(fine, 0.0, 1.0)
        return params

    def unscale_(self, optimizer: Optimizer) -> None:
        """Takes the factor out of the gradients of an optimiser's parameters, say before clipping them.

        Those of float16 parameters become float32, in which they do not vanish.
        """
        if not self.enabled:
            return
        if id(optimizer) in self._unscaled:
            raise RuntimeError("GradScaler.unscale_: called a second time since the last update()")
        for p in self._gradients(optimizer):
            array = p.grad.array
            kind = array.dtype if array.dtype.itemsize >= 4 else "float32"
            wide = array.astype(kind, copy=False)
            factor = (1.0 / self._scale).astype(kind)
            if wide is array:
                array *= factor
                mark_changed(array)
            else:
                p.vertex.grad = Tensor._of(wide * factor)  # type: ignore[union-attr]
        self._unscaled.add(id(optimizer))

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """The optimiser's step, with the factor taken out; void where a gradient is not finite."""
        if not self.enabled:
            return optimizer.step(*args, **kwargs)
        _check("GradScaler.step", optimizer)
        if args or kwargs:
            raise TypeError("GradScaler.step: a closure would need gradients at each call; give none")
        unscaled = id(optimizer) in self._unscaled
        if not unscaled:
            self._gradients(optimizer)
        xp = array_module(self._scale)
        inverse = xp.ones((), "float64") if unscaled else 1.0 / self._scale
        optimizer.scaling = inverse, self._void[id(optimizer)]
        try:
            return optimizer.step()
        finally:
            optimizer.scaling = None

    def update(self, new_scale: float | None = None) -> None:
        """Adjusts the factor, or sets it to `new_scale`. Called once, after all steps."""
        if not self.enabled:
            return
        if self._scale is None or not (self._void or new_scale is not None):
            raise RuntimeError("GradScaler.update: no step was made; call scale, backward and step before")
        self._note()
        xp, scale, good = array_module(self._scale), self._scale, self._good
        if new_scale is not None:
            scale[...] = float(new_scale)
        else:
            void = xp.zeros((), "float64")
            for one in self._void.values():
                void = xp.maximum(void, one)
            grown = xp.where(good + 1 >= self.growth_interval, scale * self.growth_factor, scale)
            scale[...] = xp.where(void > 0, scale * self.backoff_factor, grown)
            good[...] = xp.where(void > 0, 0.0, (good + 1) % self.growth_interval)
        self._void.clear()
        self._unscaled.clear()

    def get_scale(self) -> float:
        """The factor, as a Python number: on a GPU the host waits for it."""
        return self._numbers()[0] if self.enabled else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Numbers to save and load; empty where it is not enabled."""
        if not self.enabled:
            return {}
        scale, good = self._numbers()
        return {
            "scale": scale,
            "growth_factor": self.growth_factor,
            "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval,
            "_growth_tracker": int(good),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken. Raises ValueError where a number is missing."""
        if not self.enabled:
            return
        if not isinstance(state_dict, Mapping):
            raise TypeError("GradScaler.load_state_dict: expected a dict, as state_dict() gives")
        missing = sorted(set(self.state_dict()) - set(state_dict))
        if missing:
            raise ValueError(f"GradScaler.load_state_dict: {missing[0]!r} is missing")
        names = ("growth_factor", "backoff_factor", "growth_interval", "scale", "_growth_tracker")
        with reading_state("GradScaler.load_state_dict"):
            growth, backoff, interval, scale, good = (float(state_dict[name]) for name in names)
        if not (scale > 0 and growth > 1 and 0 < backoff < 1 and 1 <= interval < inf and good >= 0):
            raise ValueError("GradScaler.load_state_dict: the state is damaged: its numbers are out of range")
        self.growth_factor, self.backoff_factor = growth, backoff
        self.growth_interval, self._start = int(interval), (scale, good)
        if self._scale is not None:
            self._scale[...], self._good[...] = self._start
