"""All of autograd: what a graph is made of, how a call makes a node of it, how gradients go back.

An *op* is a function on arrays with a rule for each argument: how the gradient of the result becomes that of
the argument (rules.py). Calling it on values that need a gradient makes a `Node`: which op it was, the
vertices of its arguments, the arrays that the rules will read. Nodes are numbered as they are made, arguments
before results: from the highest number to the lowest, each comes after all that was computed from it.

Around this: arguments.py reads a call, gradients.py adds up what arrives at a vertex, versions.py notices
changes in place. fast.py does usual calls and the usual backward in fewer steps; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import Array
from . import arguments, errors, mode, observers, versions
from .gradients import Forwarded, Gradient, Gradients, Results, Watched
from .versions import clock

if TYPE_CHECKING:
    from .rules import Op, Primitive


class Value:
    """An array and its vertex in a graph, None for a constant. `Tensor` adds the operators and methods."""

    __slots__ = ("__weakref__", "array", "frozen", "vertex", "view_of", "viewed")
    array: Array
    vertex: Vertex | None
    view_of: versions.View | None  # set where the array lies in the memory of another value
    viewed: bool  # set where another value lies in the memory of this one
    frozen: Leaf | None  # set by requires_grad = False: what has the gradient until then
    result: type[Any]  # the class that results are wrapped in: Tensor; set by tensor.py


class Leaf(errors.Told):
    """The vertex of a value that requires a gradient and was not computed. Gradients end here."""

    __slots__ = ("dtype", "grad", "shape", "watched")
    watched: Watched | None
    node, time, key = None, 0, property(lambda self: self)

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype, self.watched = array.shape, array.dtype, None
        self.grad: Value | None = None


class Node(errors.Told):
    """The vertex of a computed value. It holds arrays and vertices, never a value: so there are no cycles."""

    __slots__ = ("dtype", "grad", "line", "op", "outputs", "parents", "saved", "shape", "time", "watched")
    node = key = property(lambda self: self)  # key: what its gradients are collected under

    def __init__(self, op: Op, parents: Sequence[Vertex | None], saved: Sequence[Any],
                 shape: Any = None, dtype: Any = None, outputs: int | None = None) -> None:  # fmt: skip
        self.time, self.op, self.parents = next(clock), op, parents
        self.saved: Sequence[Any] | None = saved  # what rules read: [y, *arguments, ...]; None once freed
        self.shape, self.dtype, self.outputs = shape, dtype, outputs  # of several results: None, and how many
        self.watched: Watched | None = None  # hooks and retain_grad
        self.grad = self.line = None  # the line that called the op, under debug()

    def free(self) -> None:
        self.saved, self.parents = None, ()


class Output(errors.Told):
    """The vertex of one of several results of a node."""

    __slots__ = ("__weakref__", "dtype", "grad", "k", "node", "shape")
    key = property(lambda self: (self.node, self.k))
    time = property(lambda self: self.node.time)

    def __init__(self, node: Node, k: int, array: Array) -> None:
        self.node, self.k, self.shape, self.dtype = node, k, array.shape, array.dtype
        self.grad: Value | None = None


Vertex = Leaf | Node | Output


def wrap(y: Forwarded, vertex: Vertex | None) -> Results:
    """A value with this array and vertex; for a tuple, the several results of a node."""
    if type(y) is tuple:
        return tuple([wrap(a, vertex and Output(vertex, k, a)) for k, a in enumerate(y)])  # type: ignore[arg-type]
    out = Value.__new__(Value.result)
    out.array, out.vertex = y, vertex
    return out


def apply(op: Primitive, args: Sequence[object], settings: dict[str, object]) -> Results:
    """Calls an op: its forward on arrays and, where one needs a gradient, a node for the result."""
    now = mode.current()
    if now.tracer is not None:
        return now.tracer.emit(op, args, settings)
    call = arguments.read(op, args, settings, [a if isinstance(a, Value) else None for a in args])
    return result(op, call, arguments.forward(op, call), now)


def result(op: Primitive, call: arguments.Call, y: Forwarded, now: mode.Mode) -> Results:
    """What a call gives: the forward's result, as values at a new node where an argument needs a gradient."""
    node = None
    if call.mask and op.has_rules and now.grad:
        kind = (None, None, len(y)) if type(y) is tuple else (y.shape, y.dtype)
        node = Node(op, call.parents, op.saved(call.arrays, call.settings, call.mask, y), *kind)
    out = wrap(y, node) if call.wrapped else y
    if now.debug:
        observers.debug(op, call, out, node)
    if call.wrapped:
        versions.note_view(op, call.args[0], call.settings, out)
        for observer in now.observers:
            observer(op, call, out, node)
    return out


def backward(
    outputs: Sequence[Value], seeds: Sequence[Gradient], *, inputs: Sequence[Value] | None = None,
    retain_graph: bool = False, create_graph: bool = False, since: int = 0,
) -> list[Gradient | None]:  # fmt: skip
    """Sends the gradients `seeds` of `outputs` back to the leaves, and adds them to their `.grad`.

    With `inputs` no `.grad` changes, and their gradients are returned (None where no path leads). With
    `create_graph` gradients are values in a graph of their own. Nodes older than `since` are not visited.
    """
    roots, keep = [versions.vertex_of(output) for output in outputs], retain_graph or create_graph
    wanted = None if inputs is None else [versions.vertex_of(x) for x in inputs]
    gradients = Gradients(wrap, roots, wanted, create_graph, since)
    for root, seed in zip(roots, seeds, strict=True):
        gradients.add(root, seed, "backward")
    with mode.going_back(create_graph, frees=not keep):
        while gradients.waiting:
            node, g, owned = gradients.youngest()  # all of its gradient has arrived
            op, parents = node.op, gradients.on_the_way(node.parents)
            if wanted is not None and not any(parents):  # its own was wanted, and nothing beyond
                continue
            if node.saved is None:
                raise errors.freed(op.name, node.line)
            versions.check(node)
            saved = arguments.as_values(node, wrap) if create_graph else node.saved
            if not keep:
                node.free()  # first: a rule may write over what was saved; interrupted, it cannot be repeated
            try:
                found = op.gradients([g, *saved], parents, **({"owned": owned} if op.asks_owned else {}))
                for i, (parent, gp) in enumerate(zip(parents, found, strict=True)):
                    gradients.add(parent, gp, op.name, op.asks_owned and i == 0)
            except Exception as error:
                raise errors.in_rule(error, op.name, node.line, g) from error.__cause__
        return gradients.hand_out()
