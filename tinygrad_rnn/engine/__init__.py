"""Autograd: core.py is all of it, rules.py is how ops are defined, gradients.py what arrives at a vertex.
Around that: arguments.py reads calls, versions.py knows of changes in place, walk.py looks at graphs,
observers.py and mode.py are debug and the switches, errors.py the sentences, fast.py the same in fewer steps.
"""

from .arguments import REGISTRY
from .core import Leaf, Node, Output, Value, Vertex
from .errors import GraphError
from .fast import backward
from .gradients import Deferred
from .mode import debug, eager, enable_grad, is_grad_enabled, no_grad, set_grad_enabled, unfused
from .rules import Look, Primitive, primitive
from .versions import mark_changed, tick
from .walk import (
    Function,
    Handle,
    grad_fn,
    register_hook,
    register_post_accumulate_grad_hook,
    retain_grad,
    retains_grad,
)

__all__ = [
    "REGISTRY", "Deferred", "Function", "GraphError", "Handle", "Leaf", "Look", "Node", "Output", "Primitive",
    "Value", "Vertex", "backward", "debug", "eager", "enable_grad", "grad_fn", "is_grad_enabled",
    "mark_changed", "no_grad", "primitive", "register_hook", "register_post_accumulate_grad_hook",
    "retain_grad", "retains_grad", "set_grad_enabled", "tick",
    "unfused",
]  # fmt: skip
