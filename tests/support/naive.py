"""The naive engine: reverse-mode differentiation in the most obvious way, to hold the real one against.

It keeps everything that was ever computed on one tape of float64 arrays, never frees, defers or skips
anything, and goes back over the whole tape each time. Variables are numbers: their places on the tape.

    tape = Tape()
    x = tape.constant(np.ones(3))
    y = tape.apply("sum", tape.apply("mul", x, x))
    tape.gradients({y: 1.0})[x]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Op = tuple[Callable[..., Any], Callable[..., Any]]  # the value; the gradients of the arguments, from g and y


def _matmul_gradients(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    g = g.reshape(len(rows), columns.shape[1])
    return (g @ columns.T).reshape(a.shape), (rows.T @ g).reshape(b.shape)


def _put(g: Array, x: Array, index: Any) -> Array:
    total = np.zeros(x.shape)
    np.add.at(total, index, g)
    return total


def _cut(g: Array, xs: tuple[Array, ...], axis: int) -> list[Array]:
    return np.split(g, np.cumsum([x.shape[axis] for x in xs])[:-1], axis)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


OPS: dict[str, Op] = {
    "add": (lambda a, b: a + b, lambda g, y, a, b: (g, g)),
    "sub": (lambda a, b: a - b, lambda g, y, a, b: (g, -g)),
    "mul": (lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a)),
    "matmul": (np.matmul, _matmul_gradients),
    "neg": (lambda x: -x, lambda g, y, x: (-g,)),
    "tanh": (np.tanh, lambda g, y, x: (g * (1 - y * y),)),
    "sigmoid": (_sigmoid, lambda g, y, x: (g * y * (1 - y),)),
    "sum": (lambda x: x.sum(), lambda g, y, x: (g * np.ones(x.shape),)),
    "sum_rows": (lambda x: x.sum(0), lambda g, y, x: (g * np.ones(x.shape),)),
    "transpose": (lambda x: x.T, lambda g, y, x: (g.T,)),
    "getitem": (lambda x, index: x[index], lambda g, y, x, index: (_put(g, x, index),)),
    "concat": (lambda *xs, axis: np.concatenate(xs, axis), lambda g, y, *xs, axis: _cut(g, xs, axis)),
    "stack": (lambda *xs: np.stack(xs), lambda g, y, *xs: list(g)),
}  # fmt: skip


def _sum_to(g: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of what was broadcast: the sum over the axes added in front and over those stretched."""
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, size in enumerate(shape):
        if size == 1:
            g = g.sum(axis, keepdims=True)
    return g


class Tape:
    """Every value ever computed, and how."""

    def __init__(self) -> None:
        self.values: list[Array] = []
        self.steps: list[
            tuple[str, tuple[int, ...], dict[str, Any]] | None
        ] = []  # None: a constant or a leaf

    def constant(self, value: Any) -> int:
        """A variable that was not computed."""
        return self._record(value, None)

    def apply(self, name: str, *arguments: int, **settings: Any) -> int:
        """The variable that is op `name` of other variables."""
        forward, _ = OPS[name]
        return self._record(
            forward(*(self.values[i] for i in arguments), **settings), (name, arguments, settings)
        )

    def _record(self, value: Any, step: Any) -> int:
        self.values.append(np.array(value, "float64"))
        self.steps.append(step)
        return len(self.values) - 1

    def gradients(self, seeds: Mapping[int, Any]) -> list[Array | None]:
        """For every variable the gradient of the sum of seed * variable over `seeds`, or None."""
        total: list[Array | None] = [None] * len(self.values)
        for i, seed in seeds.items():
            total[i] = seed * np.ones(self.values[i].shape)
        for i in reversed(range(len(self.values))):
            step, g = self.steps[i], total[i]
            if step is None or g is None:
                continue
            name, arguments, settings = step
            _, rule = OPS[name]
            gradients = rule(g, self.values[i], *(self.values[j] for j in arguments), **settings)
            for j, gj in zip(arguments, gradients, strict=True):
                gj = _sum_to(np.asarray(gj), self.values[j].shape)
                before = total[j]
                total[j] = gj if before is None else before + gj
        return total

    def ancestors(self, i: int) -> set[int]:
        """The variable and all that it was computed from."""
        found, stack = {i}, [i]
        while stack:
            step = self.steps[stack.pop()]
            new = set(step[1]) - found if step else set()
            found |= new
            stack += new
        return found
