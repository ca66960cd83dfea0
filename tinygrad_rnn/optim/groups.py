"""What may be given to an optimiser: parameters in an order, leaves, options within ranges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..backend.naming import came, kind
from ..tensor import Tensor


def in_order(name: str, params: Any) -> list[Any]:
    """Parameters or groups as a list; TypeError for what has no order, or gives none."""
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"{name}: parameters need an order that is the same in each run; got a set")
    if (
        not isinstance(params, Iterable)
        or isinstance(params, (str, Mapping))
        or hasattr(params, "parameters")
    ):
        hint = "; the parameters come first, then lr" if isinstance(params, (int, float)) else ""
        if callable(params) or isinstance(params, Mapping):
            hint = "; model.parameters() gives them"
        raise TypeError(f"{name}: params must be a list of tensors, got {kind(params)}{hint}")
    return list(params)


def check_parameter(name: str, i: int, p: Any) -> None:
    """Raises TypeError or ValueError where the i-th of a group is nothing to be trained."""
    if not isinstance(p, Tensor):
        hint = "; give model.parameters(), without names" if isinstance(p, tuple) else ""
        raise TypeError(f"{name}: parameter {i} must be a tensor, got {kind(p) if hint else came(p)}{hint}")
    if not p.is_leaf:
        raise ValueError(
            f"{name}: parameter {i}, of shape {p.shape}, was computed by {p.grad_fn} and is no leaf; "
            "give the tensors it was computed from"
        )


def check_ranges(name: str, ranges: Mapping[str, tuple[float, float]], group: Mapping[str, Any]) -> None:
    """Raises ValueError where an option of a group is no number, or out of its range."""
    for option, (low, high) in ranges.items():
        value = group[option]
        for number in value if isinstance(value, (tuple, list)) else (value,):
            is_number = hasattr(number, "__float__")
            if not is_number or not low <= float(number) < high:
                below = "" if high == math.inf else f" and below {high:g}"
                hint = "" if is_number else f"; {kind(number)} is no number"
                if not is_number and hasattr(number, "__iter__") and not isinstance(number, str):
                    hint += ", and the parameters come first"
                raise ValueError(f"{name}: {option} must be at least {low:g}{below}, got {value}{hint}")
