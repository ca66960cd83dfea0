"""Helpers for training: bounds for gradients, parameters as one vector; `utils.rnn` for sequences."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import rnn
from .gradients import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)

if TYPE_CHECKING:
    from . import clip_grad, parametrizations
    from .normed_weights import remove_weight_norm, weight_norm

clip_grad_norm = clip_grad_norm_  # PyTorch's name before 0.4

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector",
    "remove_weight_norm", "rnn", "vector_to_parameters", "weight_norm",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What comes when it is asked for: weight normalization needs the modules, which need `rnn`."""
    if name in ("weight_norm", "remove_weight_norm"):
        module = import_module(".normed_weights", __name__)
        globals().update(weight_norm=module.weight_norm, remove_weight_norm=module.remove_weight_norm)
        return globals()[name]
    if name in ("clip_grad", "parametrizations"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
