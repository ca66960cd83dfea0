"""What a graph is made of: values, and the places that they and their gradients have in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

clock = count(1)  # dates nodes and in-place changes; next() is atomic, so threads may share it


def tick() -> int:
    """The time: later than every node there is."""
    return next(clock)


class Value:
    """An array and its place in a graph. `tinygrad_rnn.Tensor` adds the operators and methods to it."""

    __slots__ = ("__weakref__", "array", "vertex")
    array: Any
    vertex: Vertex | None  # None: a constant
    result: Any  # the class that primitives wrap their results in: Tensor; set by tensor.py


class Leaf:
    """The place of a tensor that requires a gradient and was not computed: a parameter. Gradients end up
    here.
    """

    __slots__ = ("dtype", "grad", "shape")

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self.grad: Any = None


class Node:
    """One call of a primitive. It holds arrays and the places its arguments came from, never a tensor: no
    cycles.
    """

    __slots__ = (
        "dtype",
        "grad",
        "line",
        "op",
        "outputs",
        "parents",
        "retains_grad",
        "shape",
        "time",
        "values",
    )

    def __init__(
        self,
        op: Any,
        parents: Sequence[Vertex | None],
        values: Sequence[Any],
        shape: Any = None,
        dtype: Any = None,
        outputs: int | None = None,
    ) -> None:
        self.time = next(clock)
        self.op = op
        self.parents: Sequence[Vertex | None] = parents
        self.values: Sequence[Any] | None = values  # [y, *arguments, *settings, *shapes]; None once freed
        # Of several results the Outputs have shapes, dtypes and gradients, and this says how many there are.
        self.shape, self.dtype, self.outputs = shape, dtype, outputs
        self.retains_grad: Any = None  # True; or for several results a dict of weak references to Outputs
        self.grad: Any = None
        self.line: str | None = None  # where it was called, under debug()


class Output:
    """One of several results of a node."""

    __slots__ = ("__weakref__", "dtype", "grad", "k", "node", "shape")

    def __init__(self, node: Node, k: int, array: Any) -> None:
        self.node, self.k = node, k
        self.shape, self.dtype = array.shape, array.dtype
        self.grad: Any = None


Vertex = Leaf | Node | Output
