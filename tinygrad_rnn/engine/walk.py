"""The graph as one looks at it: what made a value, from what, by which rules; and hooks on gradients."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import ref

from .core import Leaf, Node, Output, Value, Vertex
from .errors import GraphError
from .gradients import Hook, Watched
from .versions import vertex_of


class Function:
    """What made a value: the call of an op, or for a leaf nothing. Two are equal where they are the same."""

    def __init__(self, vertex: Leaf | Node) -> None:
        self._vertex = vertex

    def name(self) -> str:
        """The name of the op; "leaf" for a value that requires a gradient and was not computed."""
        return self._vertex.op.name if isinstance(self._vertex, Node) else "leaf"

    @property
    def next_functions(self) -> tuple[tuple[Function | None, int], ...]:
        """For each argument what made it, and as which of the results; (None, 0) for constants."""
        parents = self._vertex.parents if isinstance(self._vertex, Node) else ()
        each = [(None, 0) if p is None else (Function(p.node or p), getattr(p, "k", 0)) for p in parents]  # type: ignore[arg-type]
        return tuple(each)

    @property
    def saved(self) -> dict[str, Any] | None:
        """What was saved for the rules, by the names that they read it by; None once it was freed."""
        node = self._vertex
        if not isinstance(node, Node) or node.saved is None:
            return None
        names = getattr(node.op, "value_names", ())
        if len(node.saved) > len(names):
            names = ["y", *(f"argument {i + 1}" for i in range(len(node.saved) - 1))]
        return {n: value for n, value in zip(names, node.saved, strict=False) if value is not None}

    @property
    def source(self) -> str:
        """The text of the rules, one for each argument or one for all; where they are code that can be
        read."""
        op: Any = getattr(self._vertex, "op", None)
        rules = getattr(op, "rules", ()) or (getattr(op, "joint", None),)
        texts = [inspect.getsource(rule) for rule in rules if rule is not None]
        return "\n".join(dict.fromkeys(texts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self._vertex is other._vertex

    def __hash__(self) -> int:
        return hash(self._vertex)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def grad_fn(value: Value) -> Function | None:
    """What made a value; None for leaves and constants."""
    vertex = vertex_of(value)
    return None if vertex is None or vertex.node is None else Function(vertex.node)


class Handle:
    """Of a hook: `remove()` ends it."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Has the hook called no more."""
        self._hooks[:] = [hook for hook in self._hooks if hook is not self._hook]

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_hook(value: Value, hook: Hook) -> Handle:
    """Has `hook(gradient)` called at each backward when the gradient of a value is complete. What it returns,
    if not None, takes its place. Raises GraphError for a constant."""
    vertex = vertex_of(value)
    if vertex is None:
        raise GraphError("register_hook: this tensor does not require a gradient")
    hooks = _watched(vertex).hooks.setdefault(getattr(vertex, "k", 0), [])
    hooks.append(hook)
    return Handle(hooks, hook)


def register_post_accumulate_grad_hook(value: Value, hook: Hook) -> Handle:
    """Has `hook(value)` called at each backward when the `.grad` of a leaf is there. Raises GraphError
    for what is no leaf that requires a gradient."""
    leaf = vertex_of(value)
    if not isinstance(leaf, Leaf):
        raise GraphError(
            "register_post_accumulate_grad_hook: this tensor is no leaf that requires a gradient"
        )
    hooks, reference = _watched(leaf).after, ref(value)

    def call() -> None:
        held = reference()
        if held is not None:
            hook(held)

    hooks.append(call)
    return Handle(hooks, call)


def retain_grad(value: Value) -> None:
    """Keeps the gradient of a computed value too. Raises GraphError for a constant."""
    vertex = vertex_of(value)
    if vertex is None:
        raise GraphError("retain_grad: this tensor does not require a gradient")
    if vertex.node is not None:
        k = getattr(vertex, "k", 0)
        _watched(vertex).retained[k] = ref(vertex) if isinstance(vertex, Output) else None


def retains_grad(value: Value) -> bool:
    """Whether `retain_grad` was called on a computed value."""
    vertex = vertex_of(value)
    watched = getattr(getattr(vertex, "node", None), "watched", None)
    return watched is not None and getattr(vertex, "k", 0) in watched.retained


def _watched(vertex: Vertex) -> Watched:
    owner: Any = vertex.node or vertex
    if owner.watched is None:
        owner.watched = Watched()
    return owner.watched


def move(value: Value, before: Vertex | None, vertex: Vertex | None) -> None:
    """Puts a value that was changed in place at its new vertex, and retain_grad with it."""
    value.vertex = vertex
    watched = getattr(getattr(before, "node", None), "watched", None)
    k = getattr(before, "k", 0)
    if watched is not None and k in watched.retained:
        del watched.retained[k]
        retain_grad(value)
