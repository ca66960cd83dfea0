"""Less memory for more time: parts of a graph that are computed again when gradients come back.

Chen, Xu, Zhang & Guestrin 2016, "Training deep nets with sublinear memory cost"; for recurrent nets Gruslys
et al. 2016, "Memory-efficient backpropagation through time".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from ..backend.random import Draws, noting_draws
from ..engine import Node, Output, backward, eager, enable_grad, mode, tick
from ..tensor import Tensor


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, of whose graph only the arguments and the results are kept.

    When gradients come back, the function is run again, with the random numbers that it drew, and its graph
    lives for as long as that takes. Values and gradients are those of the plain call. Arguments and results
    may be tensors, and tuples, lists and dicts of them; parameters and other tensors that the function
    reaches by itself get their gradients too. What it depends on otherwise must still be the same when it is
    run again.
    """
    now = mode.current()
    if not now.grad or now.functional or now.tracer is not None:
        return function(*args, **kwargs)
    started = tick()
    with noting_draws() as draws:
        results = function(*args, **kwargs)
    made = _made(results, started)
    if not made:
        return results
    parents = _outside(made, started)
    arrays = tuple([t.array for t in _tensors((args, kwargs))])
    values = [None, *([None] * len(parents)), arrays, [args, kwargs]]
    run = _Again(function, draws, now.fused)
    node = Node(run, parents, values, outputs=len(made))
    new = {id(t): Tensor._of(t.array, Output(node, k, t.array)) for k, t in enumerate(made)}
    return _mapped(lambda t: new.get(id(t), t), results)


class _Again:
    """A function that is run again for its gradients. The `op` of its node."""

    name = "checkpoint"
    variadic = False
    pulls = None  # one rule for all arguments: `gradients`
    asks_owned = False

    def __init__(self, function: Callable[..., Any], draws: Draws, fused: bool) -> None:
        self.function, self.draws, self.fused = function, draws, fused

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The gradients of what the function was computed from, by a graph that is made for it."""
        gs, (args, kwargs) = values[0], values[-1]
        started = tick()
        with enable_grad(), self.draws.again(), nullcontext() if self.fused else eager():
            made = _made(self.function(*args, **kwargs), started)
        if len(gs) != len(made) or any(
            g is not None and g.shape != t.shape for g, t in zip(gs, made, strict=True)
        ):
            raise RuntimeError(
                "checkpoint: run again, the function returned other tensors than before; "
                "what it depends on must not change until backward"
            )
        wanted = [p for p in parents if p is not None]
        inputs = [Tensor._of(values[-2], vertex) for vertex in wanted]
        pairs = [(t, g) for t, g in zip(made, gs, strict=True) if g is not None]
        symbolic = isinstance(pairs[0][1], Tensor)
        found = iter(backward(*zip(*pairs, strict=True), inputs=inputs, create_graph=symbolic, since=started))
        return [None if p is None else next(found) for p in parents]


def _made(results: Any, started: int) -> list[Tensor]:
    """The tensors of the results that were computed since."""
    made = [t for t in _tensors(results) if t.vertex is not None and _is_inside(t.vertex, started)]
    return list({id(t): t for t in made}.values())


def _place(vertex: Any) -> Any:
    return (vertex.node, vertex.k) if type(vertex) is Output else vertex


def _is_inside(vertex: Any, started: int) -> bool:
    """Whether a value was computed since."""
    node = vertex.node if type(vertex) is Output else vertex
    return type(node) is Node and node.time > started


def _outside(results: Sequence[Tensor], started: int) -> list[Any]:
    """What the results were computed from, of what was there before."""
    found: dict[Any, Any] = {}
    seen: set[Any] = set()
    stack = [t.vertex for t in results]
    while stack:
        vertex: Any = stack.pop()
        if not _is_inside(vertex, started):
            found.setdefault(_place(vertex), vertex)
            continue
        node = vertex.node if type(vertex) is Output else vertex
        if node not in seen:
            seen.add(node)
            stack += [p for p in node.parents if p is not None]
    return list(found.values())


def _tensors(nest: Any) -> list[Tensor]:
    """The tensors in tuples, lists and dicts, in order."""
    found: list[Tensor] = []
    _mapped(found.append, nest)
    return found


def _mapped(function: Callable[[Tensor], Any], nest: Any) -> Any:
    """The same structure with `function` applied to each tensor."""
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, dict):
        return type(nest)((key, _mapped(function, value)) for key, value in nest.items())
    if isinstance(nest, (tuple, list)):
        parts = [_mapped(function, part) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return nest
