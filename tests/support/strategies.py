"""Hypothesis strategies: shapes, dtypes, places in memory, and values that keep away from kinks.

Shapes and layouts are drawn by Hypothesis and shrink. Values come from a drawn seed: that costs little, and
whether a test fails hardly ever hangs on one value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from tinygrad_rnn.backend import Array

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("tests.support.strategies needs Hypothesis: pip install hypothesis") from error

T = TypeVar("T")
Shape = tuple[int, ...]
Draw = Any  # Hypothesis' draw: a function from a strategy to one of its values
Strategy = st.SearchStrategy
composite, integers, booleans, sampled_from = st.composite, st.integers, st.booleans, st.sampled_from
just, lists, floats, permutations = st.just, st.lists, st.floats, st.permutations


@dataclass(frozen=True)
class Domain:
    """Numbers between `low` and `high`, at least `gap` away from each of `kinks`.

    distinct: all elements differ by about the range over their number, as order and extremes need it.
    """

    low: float = -2.0
    high: float = 2.0
    kinks: tuple[float, ...] = ()
    gap: float = 0.05
    distinct: bool = False

    def sample(self, shape: Shape, rng: np.random.Generator) -> Array:
        """An array of float64 numbers of this domain."""
        size = int(np.prod(shape))
        if self.distinct:
            places = (rng.permutation(size) + rng.uniform(0.3, 0.7, size)) / max(size, 1)
        else:
            places = rng.random(size)
        values = self.low + (self.high - self.low) * places
        for kink in self.kinks:
            side = np.where(values >= kink, 1.0, -1.0)
            values = np.where(abs(values - kink) < self.gap, kink + side * self.gap, values)
        return values.reshape(shape)


REAL = Domain()
POSITIVE = Domain(0.2, 2.5)
AWAY_FROM_ZERO = Domain(kinks=(0.0,))
DISTINCT = Domain(distinct=True)


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> Strategy[Shape]:
    """Shapes, 0-d and empty ones among them."""
    sides = st.integers(min_side, max_side)
    return st.lists(sides, min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def broadcast_shapes(draw: Draw, n: int = 2, max_dims: int = 3, max_side: int = 3) -> tuple[Shape, ...]:
    """`n` shapes that broadcast against each other: some of their axes are 1 or missing."""
    whole = draw(shapes(0, max_dims, 0, max_side))
    drawn = []
    for _ in range(n):
        start = draw(st.integers(0, len(whole)))
        ones = draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole)))
        drawn.append(tuple(1 if one else side for one, side in zip(ones, whole, strict=True))[start:])
    return tuple(drawn)


def float_dtypes() -> Strategy[str]:
    """The floating types that layers run in."""
    return st.sampled_from(["float32", "float64"])


LAYOUTS = ("contiguous", "fortran", "strided", "reversed", "offset")


def layouts() -> Strategy[str]:
    """Names for `laid_out`."""
    return st.sampled_from(LAYOUTS)


def laid_out(array: Array, layout: str) -> Array:
    """A copy with the same values laid out otherwise: with gaps, with the axes in another order, ..."""
    if array.ndim == 0 or layout == "contiguous":
        return array.copy()
    if layout == "fortran":
        return np.array(array.transpose(), order="C").transpose()
    every = (slice(None, None, 2),) * array.ndim
    if layout == "strided":
        wide = np.full(tuple(2 * n for n in array.shape), 77, array.dtype)
        wide[every] = array
        return wide[every]
    if layout == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return array[back].copy()[back]
    if layout == "offset":
        wide = np.full((array.shape[0] + 1, *array.shape[1:]), 77, array.dtype)
        wide[1:] = array
        return wide[1:]
    raise ValueError(f"laid_out: {layout!r} is unknown; there are {', '.join(LAYOUTS)}")


@st.composite
def arrays(
    draw: Draw, shape: Strategy[Shape] | Shape | None = None, domain: Domain = REAL, dtype: str = "float64"
) -> Array:
    """An array in any layout. shape: fixed, a strategy, or any."""
    sizes: Shape = draw(shapes() if shape is None else shape) if not isinstance(shape, tuple) else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return laid_out(domain.sample(sizes, rng).astype(dtype), draw(layouts()))


@st.composite
def integer_arrays(
    draw: Draw, shape: Strategy[Shape] | Shape | None = None, low: int = 0, high: int = 3
) -> Array:
    """An array of integers low, ..., high - 1, of a signed type."""
    sizes: Shape = draw(shapes() if shape is None else shape) if not isinstance(shape, tuple) else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(low, high, sizes).astype(draw(st.sampled_from(["int64", "int32"])))


@st.composite
def axes(draw: Draw, ndim: int, several: bool = True) -> Any:
    """None for all axes, one axis from either end, or with `several` a tuple of them."""
    if ndim == 0 or draw(st.integers(0, 3)) == 0:
        return None
    if several and draw(st.booleans()):
        chosen: Sequence[int] = draw(st.lists(st.integers(0, ndim - 1), min_size=1, unique=True))
        return tuple(chosen)
    return draw(st.integers(-ndim, ndim - 1))


__all__ = [
    "AWAY_FROM_ZERO", "DISTINCT", "LAYOUTS", "POSITIVE", "REAL", "Domain", "arrays", "axes", "booleans",
    "broadcast_shapes", "composite", "float_dtypes", "integer_arrays", "integers", "laid_out", "layouts",
    "lists", "permutations", "sampled_from", "shapes",
]  # fmt: skip
