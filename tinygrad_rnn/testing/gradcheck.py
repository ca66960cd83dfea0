"""Gradients against central differences: `gradcheck(fn, *inputs)` raises where they disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import backend, engine
from ..backend import Array
from ..tensor import Tensor

Function = Callable[..., Any]


def gradcheck(
    fn: Function,
    *inputs: Any,
    order: int = 1,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    rng: Any = 0,
) -> None:
    """Compares the gradients of `fn(*inputs)` with central differences, in float64.

    inputs: tensors or arrays; the floating ones are differentiated, in float64 whatever their type. Anything
    else (integers, masks, settings) is handed on as it is. `fn` returns one tensor or several, of any shape;
    they are contracted with random upstream gradients, drawn with `rng`, a generator or a seed.

    order: 1 for the gradients; 2 for those too that `create_graph=True` gives, differentiated once more, with
    respect to the inputs and the upstream gradients. eps: the step of the differences. Two numbers a and b
    agree where |a - b| <= atol + rtol * |b|.

    Differences cross a kink (relu at 0, max at equal elements) that lies within `eps`: keep inputs away.

    Raises AssertionError, which names the input, the element, and what was expected and got; ValueError for
    an unknown order; TypeError where no input is floating.
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order is 1 or 2, got {order}")
    arguments = [_argument(x) for x in inputs]
    if not any(_differentiable(a) for a in arguments):
        raise TypeError("gradcheck: no input is a floating tensor or array, so there is nothing to check")
    checker = _Checker(_name_of(fn), eps, rtol, atol)
    results = _evaluate(fn, arguments)
    _check_repeatable(checker.name, results, _evaluate(fn, arguments))
    generator = backend.default_rng(rng)
    upstream = [
        _like(y, generator.uniform(0.5, 1.5, y.shape) * generator.choice([-1, 1], y.shape)) for y in results
    ]
    checker.check(fn, arguments, upstream, [f"input {i}" for i in range(len(arguments))])
    if order == 2:
        names = [f"input {i}" for i in range(len(arguments))]
        names += [f"the upstream gradient of output {k}" for k in range(len(upstream))]
        gradient = _Gradient(fn, len(arguments))
        _check_same(checker, gradient, [*arguments, *upstream])
        second = [_like(g, generator.uniform(0.5, 1.5, g.shape)) for g in gradient(*arguments, *upstream)]
        checker.order = "second-order gradient"
        checker.check(gradient, [*arguments, *upstream], second, names)


class _Gradient:
    """The gradients of fn as a function of its inputs and of the upstream gradients, which follow them."""

    def __init__(self, fn: Function, n_inputs: int) -> None:
        self.fn, self.n_inputs = fn, n_inputs

    def __call__(self, *arguments: Any, create_graph: bool = False) -> tuple[Tensor, ...]:
        inputs = [a if isinstance(a, Tensor) else _leaf(a) if _differentiable(a) else a for a in arguments]
        inputs, upstream = inputs[: self.n_inputs], inputs[self.n_inputs :]
        checked = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
        results = _floating(self.fn(*inputs))
        seeds = upstream if create_graph else [u.array for u in upstream]
        found = engine.backward(results, seeds, inputs=checked, create_graph=create_graph)
        return tuple(_tensor(x, g) for x, g in zip(checked, found, strict=True))


class _Checker:
    def __init__(self, name: str, eps: float, rtol: float, atol: float) -> None:
        self.name, self.eps, self.rtol, self.atol = name, eps, rtol, atol
        self.order = "gradient"

    def check(self, fn: Function, arguments: list[Any], upstream: list[Array], names: list[str]) -> None:
        """One comparison of all elements of all floating arguments."""
        leaves = [_leaf(a) if _differentiable(a) else a for a in arguments]
        checked = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        settings = {"create_graph": True} if isinstance(fn, _Gradient) else {}
        results = _floating(fn(*leaves, **settings))
        found = iter(engine.backward(results, upstream, inputs=checked))
        for i, leaf in enumerate(leaves):
            if not (isinstance(leaf, Tensor) and leaf.requires_grad):
                continue
            g = next(found)
            if g is not None and (g.shape != leaf.shape or g.dtype != leaf.dtype):
                raise AssertionError(
                    f"gradcheck: the {self.order} of {self.name} with respect to {names[i]} is {g.dtype} "
                    f"{tuple(g.shape)}, expected the input's {leaf.dtype} {leaf.shape}"
                )
            got = np.zeros(leaf.shape) if g is None else backend.to_numpy(g)
            for place in np.ndindex(leaf.shape):
                expected, before, after = self._slopes(fn, arguments, i, place, upstream)
                value = float(got[place])
                if not abs(value - expected) <= self.atol + self.rtol * abs(expected):
                    kink = abs(after - before) > 1e-2 * (1 + abs(expected))
                    hint = (
                        f"; its slope is {before:.6g} on one side and {after:.6g} on the other"
                        if kink
                        else ""
                    )
                    none = (
                        "none (the output does not depend on it in the graph)"
                        if g is None
                        else f"{value:.10g}"
                    )
                    raise AssertionError(
                        f"gradcheck: {self.order} of {self.name} with respect to {names[i]}, "
                        f"element {place}: expected {expected:.10g} by central differences, got {none}{hint}"
                    )

    def _slopes(
        self, fn: Function, arguments: list[Any], i: int, place: tuple[int, ...], upstream: list[Array]
    ) -> tuple[float, float, float]:
        """The slope of the contracted outputs in one element: around it, before it, after it."""
        seeds = [backend.to_numpy(u) for u in upstream]
        values = []
        for step in (-self.eps, 0.0, self.eps):
            moved = backend.to_numpy(arguments[i]).copy()
            moved[place] += step
            results = _evaluate(fn, [*arguments[:i], _like(arguments[i], moved), *arguments[i + 1 :]])
            values.append([backend.to_numpy(y) for y in results])

        def slope(low: int, high: int) -> float:
            steps = (high - low) * self.eps
            pairs = zip(values[low], values[high], seeds, strict=True)
            return sum(float((u * ((b - a) / steps)).sum()) for a, b, u in pairs)

        return slope(0, 2), slope(0, 1), slope(1, 2)


def _argument(x: Any) -> Any:
    """An input as it goes in: a floating one as a float64 array that keeps its place in memory."""
    array = x.array if isinstance(x, Tensor) else x
    if isinstance(array, (np.ndarray, np.generic)) and not isinstance(x, Tensor):
        array = x = backend.current().from_numpy(np.asarray(array))
    if getattr(getattr(array, "dtype", None), "kind", "") != "f":
        return x
    return array.astype("float64", copy=False)


def _differentiable(x: Any) -> bool:
    return not isinstance(x, Tensor) and getattr(getattr(x, "dtype", None), "kind", "") == "f"


def _leaf(array: Array) -> Tensor:
    leaf: Tensor = Tensor._of(array)
    leaf.requires_grad = True
    return leaf


def _like(array: Array, values: np.ndarray[Any, Any]) -> Array:
    """Values of the host in the library that `array` belongs to."""
    return backend.array_module(array).from_numpy(np.asarray(values, "float64"))


def _tensor(x: Tensor, g: Any) -> Tensor:
    """A gradient as a tensor; zeros for none."""
    if g is None:
        return _constant(backend.array_module(x.array).zeros(x.shape, x.dtype))
    return g if isinstance(g, Tensor) else _constant(g)


def _constant(array: Array) -> Tensor:
    return Tensor._of(backend.array_module(array).asarray(array))


def _all_results(results: Any) -> Iterator[Any]:
    for y in results if isinstance(results, (tuple, list)) else (results,):
        if isinstance(y, (tuple, list)):
            yield from _all_results(y)
        else:
            yield y


def _floating(results: Any) -> list[Tensor]:
    """The floating tensors among what a function returned, in order."""
    return [y for y in _all_results(results) if isinstance(y, Tensor) and y.dtype.kind == "f"]


def _evaluate(fn: Function, arguments: list[Any]) -> list[Array]:
    """The floating outputs, as arrays, of fn at constant arguments."""
    if isinstance(fn, _Gradient):
        return [y.array for y in fn(*arguments)]
    with engine.no_grad():
        results = fn(*(_constant(a) if _differentiable(a) else a for a in arguments))
    found = _floating(results)
    if not found:
        raise TypeError(f"gradcheck: {_name_of(fn)} returns no floating tensor")
    for k, y in enumerate(found):
        if y.dtype != np.float64:
            raise AssertionError(
                f"gradcheck: output {k} of {_name_of(fn)} is {y.dtype} for inputs of float64; "
                "a cast or a constant of a lower precision is in the way"
            )
    return [y.array for y in found]


def _check_repeatable(name: str, once: list[Array], again: list[Array]) -> None:
    same = all(np.array_equal(backend.to_numpy(a), backend.to_numpy(b), equal_nan=True)
               for a, b in zip(once, again, strict=True))  # fmt: skip
    if not same:
        raise AssertionError(
            f"gradcheck: {name} gives different values when it is called twice; give it a seed, or eval()"
        )


def _check_same(checker: _Checker, gradient: _Gradient, arguments: list[Any]) -> None:
    """The rules run on tensors must give what they give on arrays."""
    plain, tensors = gradient(*arguments), gradient(*arguments, create_graph=True)
    for i, (a, b) in enumerate(zip(plain, tensors, strict=True)):
        close = np.allclose(backend.to_numpy(b.array), backend.to_numpy(a.array), checker.rtol, checker.atol)
        if a.shape != b.shape or not close:
            raise AssertionError(
                f"gradcheck: create_graph=True changes the gradient of {checker.name} with respect to "
                f"floating input {i}: expected {a.tolist()}, got {b.tolist()}"
            )


def _name_of(fn: Function) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
