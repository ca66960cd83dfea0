"""Changes in place: which memory was changed when, and which values look into it.

A backward that needs what an array held before says so (`check`). And a value may be a view: its array lies
in the memory of another value's. When that memory is changed in the graph, the vertices of all who look into
it are out of date: the changed value gets a new one, so do those it is a view of (ops/assignment.py), and
other views get theirs when they are used next (`vertex_of`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from ..backend import MODULES, Array, array_module
from ..backend.capture import capturing
from . import errors, mode

if TYPE_CHECKING:
    from .core import Node, Value, Vertex
    from .gradients import Results
    from .rules import Primitive

Changes = dict[int, tuple[int, ReferenceType[Array]]]  # by the id of the array that owns the memory

changes: Changes = {}  # all changes: the time of the latest, and a weak reference to the owner
clock: Iterator[int] = count(1)  # dates changes and nodes; next() is atomic, so threads may share it
moved: Changes = {}  # those in a graph, of memory into which several values look
latest = 0


# How a value looks into the memory of another: (that, op, settings, k), as result k of the op or the only one
View = tuple["Value", "Primitive", dict[str, object], "int | None"]


def tick() -> int:
    """The time: later than every node there is."""
    return next(clock)


def mark_changed(array: Array, *read: Array) -> None:
    """Says that an array's values were changed in place. Every such change in the package comes by here, so
    that a backward that still needs the old values can say so instead of computing something wrong. `read` is
    what the new ones were made of, for the capture of a graph, where no op has told of that."""
    global latest
    latest = _note(changes, array)
    current = capturing.get()
    if current is not None:
        current.keep((array_module(array).owner(array), *read))


def mark_moved(array: Array) -> None:
    """Says that an array into which several values look is about to be changed in the graph."""
    _note(moved, array)


def _note(where: Changes, array: Array) -> int:
    owner = array_module(array).owner(array)
    key, time = id(owner), tick()
    where[key] = (time, ref(owner, lambda _: where.pop(key, None)))
    return time


def changed_since(time: int) -> list[Array]:
    """The arrays that were changed after a time, if they are still there: those that own the memory."""
    owners = [reference() for when, reference in [*changes.values()] if when > time]
    return [owner for owner in owners if owner is not None]


def check(node: Node) -> None:
    """Raises GraphError where an array that the node saved was changed since."""
    if node.time > latest:
        return
    saved = list(node.saved or ())
    for value in saved:
        if isinstance(value, tuple):  # several arguments, or an index
            saved.extend(value)
            continue
        module = MODULES.get(type(value))
        if module is not None and changes.get(id(module.owner(value)), (0,))[0] > node.time:
            raise errors.changed(node.op.name, node.line)


def note_view(op: Primitive, base: Value | Array, settings: dict[str, object], out: Results) -> None:
    """Notes of the results of an op where they lie in the memory of `base`, its first argument."""
    several = type(out) is tuple
    first = out[0] if several and out else out
    x, y = getattr(base, "array", None), getattr(first, "array", None)
    if x is None or y is None or not (y is x or (y.base is not None and (y.base is x or y.base is x.base))):
        return
    base.viewed = True
    for k, part in enumerate(out if several else (out,)):
        part.view_of = (base, op, settings, k if several else None)


def vertex_of(value: Value) -> Vertex | None:
    """The vertex of a value. Where the memory of a view was changed since, a new one: that of the same view
    of what its base is now."""
    view: View | None = getattr(value, "view_of", None) if moved else None
    if view is None:
        return value.vertex
    vertex = value.vertex
    since = 0 if vertex is None else vertex.time if vertex.node is not None else None
    if since is None:
        return vertex  # a leaf
    when = moved.get(id(array_module(value.array).owner(value.array)), (0,))[0]
    base, op, settings, k = view
    if when > since and vertex_of(base) is not None:
        with mode.enable_grad():
            again = op.call(base, **settings)
        value.vertex = (again if k is None else again[k]).vertex
    return value.vertex
