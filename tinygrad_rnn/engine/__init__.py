"""Autograd: node.py and graph.py are all of it, quick.py does the commonest calls in fewer steps,
accumulate.py is how gradients are summed, mode.py the switches, errors.py the words.
"""

from .errors import GraphError
from .graph import REGISTRY, Value, backward, mark_changed, primitive
from .mode import debug, enable_grad, is_grad_enabled, no_grad, set_grad_enabled, unfused

__all__ = [
    "REGISTRY", "GraphError", "Value", "backward", "debug", "enable_grad", "is_grad_enabled", "mark_changed",
    "no_grad", "primitive", "set_grad_enabled", "unfused",
]  # fmt: skip
