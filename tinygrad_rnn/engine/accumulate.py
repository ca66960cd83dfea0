"""How the gradients that reach one place are summed.

Most gradients are plain arrays, and adding two makes a third that the sum owns: from then on it is added to
in place.

Some are better not made at once. A weight that is used at T time steps receives T outer products; making each
costs as much as the forward product, adding each costs a pass over the weight. So a rule may return a
*summand*: a small object that stands for an array. Summands of one kind are put in a list, and `total` makes
one array of the list at the end: for a weight, one product over all time steps; for `x[t]`, one buffer for
all slices. That is why the plain loop `for t in range(T): h = cell(x[t], h)` costs what hand-written
backpropagation through time costs.

Gradients of halves are added up in float32, and rounded at the end.
"""

from __future__ import annotations

from typing import Any

from ..backend.dtypes import ADDED_IN


class Summand:
    """A gradient not yet made. Subclasses live beside the op whose rule returns them."""

    __slots__ = ()

    @classmethod
    def total(cls, terms: list[Any]) -> Any:
        """One array (or, under create_graph, one tensor): the sum of the terms."""
        raise NotImplementedError


class Sum:
    """The gradient of one place while it is being collected: an array, and lists of summands by kind."""

    __slots__ = ("_dtype", "_terms", "array", "owned")

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self.array: Any = None  # what was added so far, without the summands
        self.owned = False  # whether it is the sum's alone, to be added to in place
        self._terms: dict[type, list[Any]] | None = None

    def add(self, g: Any, create_graph: bool) -> None:
        """Adds an array, a tensor (under create_graph) or a summand."""
        if isinstance(g, Summand):
            if self._terms is None:
                self._terms = {}
            self._terms.setdefault(type(g), []).append(g)
        else:
            self.add_array(g, create_graph)

    def add_array(self, g: Any, create_graph: bool) -> None:
        """Adds an array, or under create_graph a tensor."""
        if self.owned and not create_graph:
            self.array += g
        elif self.array is None:
            self.array = g
        else:
            wide = ADDED_IN.get(self.array.dtype)
            self.array = (self.array if wide is None else self.array.astype(wide)) + g
            self.owned = True

    def total(self, create_graph: bool) -> Any:
        """The sum. Nobody else holds it."""
        if self._terms is not None:
            for kind, terms in self._terms.items():
                self.add_array(kind.total(terms), create_graph)  # type: ignore[attr-defined]
                self.owned = True
            self._terms = None
        array = self.array
        if array is not None and array.dtype is not self._dtype and array.dtype != self._dtype:
            return array.astype(self._dtype)
        return array
