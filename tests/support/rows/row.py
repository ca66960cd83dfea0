"""A row of the table of ops: how an op's arguments are drawn, and what NumPy says the result is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_rnn.backend import Array

from .. import strategies as s


@dataclass(frozen=True)
class Case:
    """One call: the arrays, which become tensors, and the settings, which are handed on as they are."""

    arrays: tuple[Array, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", tuple(np.asarray(a) for a in self.arrays))  # no NumPy scalars


@dataclass(frozen=True)
class Row:
    """An op as it is tested.

    op: the public function, called as op(*tensors, **settings). reference: the same on arrays, of NumPy's
    functions alone. cases: a strategy of Case; it draws from the domain where the op has a gradient, away
    from kinks. covers: the primitives it is the test of. order: the highest order of gradients, 0 for none.
    """

    op: Callable[..., Any]
    reference: Callable[..., Any]
    cases: s.Strategy[Case]
    covers: tuple[str, ...] = ()
    order: int = 2


@s.composite
def unary(draw: s.Draw, /, domain: s.Domain = s.REAL, **settings: Any) -> Case:
    """An array of any shape; settings that are strategies are drawn."""
    drawn = {k: draw(v) if isinstance(v, s.Strategy) else v for k, v in settings.items()}
    return Case((draw(s.arrays(domain=domain)),), drawn)


@s.composite
def binary(draw: s.Draw, first: s.Domain = s.REAL, second: s.Domain | None = None) -> Case:
    """Two arrays that broadcast against each other."""
    a, b = draw(s.broadcast_shapes(2, max_dims=2))
    return Case((draw(s.arrays(a, first)), draw(s.arrays(b, second or first))))


@s.composite
def integer_pair(draw: s.Draw, low: int = 0, high: int = 4, boolean: bool = False) -> Case:
    """Two integer or boolean arrays that broadcast, the second without zeros."""
    a, b = draw(s.broadcast_shapes(2, max_dims=2))
    x, y = draw(s.integer_arrays(a, low, high)), draw(s.integer_arrays(b, max(low, 1), high))
    return Case((x > 1, y > 1) if boolean else (x, y))


@s.composite
def reduced(
    draw: s.Draw, domain: s.Domain = s.REAL, several: bool = True, empty: bool = True, least: int = 0
) -> Case:
    """An array with the axes to reduce; `least`: the smallest size of an axis."""
    x = draw(s.arrays(s.shapes(min_side=max(least, 0 if empty else 1)), domain))
    axis = draw(s.axes(x.ndim, several))
    return Case((x,), {"axis": axis, "keepdims": draw(s.booleans())})
