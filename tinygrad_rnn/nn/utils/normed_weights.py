"""Weight normalization: a weight as a length times a direction (Salimans & Kingma 2016)."""

from __future__ import annotations

from typing import Any

from ...ops import norm
from ...tensor import Tensor
from ..module import Module, Parameter

__all__ = ["remove_weight_norm", "weight_norm"]


class _Normed:
    """What makes a weight of its two parts before each forward: a hook."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def weight(self, module: Module) -> Any:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / length(v, self.dim))

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.weight(module))


def length(v: Tensor, dim: int | None) -> Any:
    """The 2-norms over all axes but `dim`, or of all elements."""
    if dim is None:
        return norm(v)
    axes = tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    return norm(v, 2, axes, True) if axes else v.abs()


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Replaces the parameter `name` by its length `name`_g along `dim` and its direction `name`_v;
    before each call of the module the weight is made of them. Returns the module.

    Raises ValueError for a module without such a parameter of its own: cells of recurrent layers are not
    called one by one, so that nn.WeightDrop and layer-normalised cells stand for what this does to others.
    """
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ValueError(f"weight_norm: {type(module).__name__} has no parameter {name!r} of its own")
    if f"{name}_g" in vars(module):
        raise RuntimeError(f"weight_norm: {name} of {type(module).__name__} is normalised already")
    delattr(module, name)
    setattr(module, f"{name}_g", Parameter(length(weight, dim).detach()))
    setattr(module, f"{name}_v", Parameter(weight.detach()))
    hook = _Normed(name, dim)
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Makes a plain parameter of a normalised weight again. Returns the module."""
    hooks = module._hooks.forward_pre if module._hooks is not None else {}
    for number, (hook, _) in [*hooks.items()]:
        if isinstance(hook, _Normed) and hook.name == name:
            value = hook.weight(module).detach()
            del hooks[number]
            for part in (name, f"{name}_g", f"{name}_v"):
                delattr(module, part)
            setattr(module, name, Parameter(value))
            return module
    raise ValueError(f"remove_weight_norm: {name} of {type(module).__name__} is not normalised")
