"""`grad`, and what it and `Tensor.backward` read of their arguments: the seeds, and tensors in a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from . import backend, engine
from .backend import array_module
from .engine import GraphError, Value
from .engine.errors import Mismatch
from .ops import as_array, cast

__all__ = ["grad", "seed_of", "tensors_in"]


def seed_of(name: str, output: Value, gradient: Any, create_graph: bool) -> Any:
    """The gradient with which to start at `output`: ones for a single element, else what the user gives."""
    xp, shape, kind = array_module(output.array), output.array.shape, output.array.dtype
    if gradient is None:
        if math.prod(shape) != 1:
            raise Mismatch(
                f"{name}: a tensor of shape {shape} needs a gradient of that shape; "
                "for a loss, take its mean or sum"
            )
        gradient = Value.result._of(xp.ones(shape, kind))
    elif not isinstance(gradient, Value):
        gradient = Value.result._of(as_array(gradient, kind, backend.device_of(output.array)))
    if gradient.array.shape != shape:
        raise Mismatch(f"{name}: the tensor has shape {shape}, its gradient {tuple(gradient.array.shape)}")
    if array_module(gradient.array) is not xp:
        raise engine.errors.mixed_devices(name, 1, xp.name, array_module(gradient.array).name)
    if gradient.array.dtype != kind:
        gradient = cast(gradient, dtype=kind)
    return gradient if create_graph else gradient.array


def tensors_in(name: str, what: str, given: Any) -> list[Any]:
    """A tensor, or those of a sequence, as a list. Raises TypeError for anything else, with what to give."""
    if isinstance(given, Value):
        return [given]
    remedy = ""
    if callable(given) and not hasattr(given, "parameters"):
        remedy = f"; call it first: tinygrad_rnn.{name}(f(x), x)" if name == "grad" else "; call it first"
    elif hasattr(given, "parameters"):
        remedy = "; give list(module.parameters())"
    elif isinstance(given, Mapping):
        remedy = "; give list(d.values())"
    elif isinstance(given, Iterable) and not hasattr(given, "shape") and not isinstance(given, str):
        found = list(given)
        wrong = [value for value in found if not isinstance(value, Value)]
        if not wrong:
            return found
        given = wrong[0]
    if not remedy:
        remedy = "" if given is None else "; a gradient flows between tensors that require one"
    expected = "a tensor or a list of tensors"
    raise TypeError(f"{name}: {what} must be {expected}, got {engine.errors.kind(given)}{remedy}")


def grad(
    output: Any,
    inputs: Any,
    grad_output: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """The gradients of `output` (times `grad_output`) with respect to `inputs`; no `.grad` changes.

    `inputs` is a tensor, and so is the result; or a sequence, and the result a tuple. Tensors in the middle
    of the graph may be among them. `create_graph=True` makes results that have gradients themselves. `output`
    and `grad_output` may be sequences of several. Raises GraphError for an input that `output` does not
    depend on, unless `allow_unused`, which gives None for it.
    """
    outputs = tensors_in("grad", "output", output)
    given = (
        [grad_output] * len(outputs)
        if grad_output is None or isinstance(output, Value)
        else list(grad_output)
    )
    if len(given) != len(outputs):
        raise ValueError(
            f"grad: grad_output has {len(given)} entries for {len(outputs)} outputs; give one for each"
        )
    wanted = tensors_in("grad", "inputs", inputs)
    for tensor in (*outputs, *wanted):
        if tensor.vertex is None and not allow_unused:
            raise GraphError(
                "grad: an output or input does not require a gradient; set requires_grad before computing"
            )
    seeds = [seed_of("grad", o, g, create_graph) for o, g in zip(outputs, given, strict=True)]
    found = engine.backward(
        outputs, seeds, inputs=wanted, retain_graph=retain_graph, create_graph=create_graph
    )
    if not allow_unused and any(g is None for g in found):
        raise GraphError(
            "grad: the output does not depend on one of the inputs; allow_unused=True gives None for it"
        )
    results = tuple(g if g is None or isinstance(g, Value) else Value.result._of(g) for g in found)
    return results[0] if isinstance(inputs, Value) else results
