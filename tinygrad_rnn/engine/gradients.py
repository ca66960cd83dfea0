"""What arrives at the vertices during a backward: fitted to shape and type, added up, handed out.

Most gradients are plain arrays, and adding two makes a third that the sum owns: from then on it is added to
in place. Some are better not made at once. A weight that is used at T time steps receives T outer products;
making each costs as much as the forward product, adding each a pass over the weight. So a rule may return a
*deferred* term, a small object that stands for an array. At the end `total` makes one array of all terms of a
kind: for a weight one product over all time steps, for `x[t]` one buffer for all slices. That is why the
plain loop `for t in range(T): h = cell(x[t], h)` costs what hand-written backpropagation through time costs.

Gradients of halves are added up in float32, and rounded at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import ReferenceType

from ..backend import MODULES, Array, array_module, host_array
from ..backend.capture import capturing
from ..backend.dtypes import ADDED_IN, DType
from . import errors
from .versions import mark_changed

if TYPE_CHECKING:
    from .core import Leaf, Node, Output, Value, Vertex

Key: TypeAlias = "Leaf | Node | tuple[Node, int]"  # of a vertex: what its gradients are collected under
Forwarded = Any  # what a forward gives: an array, or a tuple of several
Results = Any  # what an op gives: a value, or an array where it was given no value; a tuple of several
Gradient = Any  # an array, a value (under create_graph), a Deferred; a tuple for several results
Hook = Callable[[Any], Any]  # of values: the gradient -> another in its place, or None
Wrap = Callable[[Array, "Vertex | None"], Any]  # -> a value


class Deferred:
    """A gradient not yet made. Subclasses live beside the op whose rule returns them."""

    __slots__ = ()
    rows: tuple[str, ...] = ()  # attributes whose rows of many uses may be laid below each other
    formula = ""  # what it is of these, with {0}, {1} in their places

    @classmethod
    def total(cls, terms: list[Any]) -> Gradient:
        """One array (or, under create_graph, one value): the sum of the terms."""
        raise NotImplementedError

    @classmethod
    def add_to(cls, array: Array, terms: list[Any]) -> bool:
        """Adds the terms to an array in place, where that is cheaper than `total`; whether it did."""
        return False


class Sum:
    """The gradient of one vertex while it is added up: an array, and deferred terms by kind."""

    __slots__ = ("_dtype", "_terms", "array", "grows", "owned")

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self.array: Gradient = None  # what was added so far, without the deferred terms
        self.owned = False  # whether nobody else has the array
        self.grows = False  # whether it is added to in place: it is owned, and wide enough for sums
        self._terms: dict[type[Deferred], list[Deferred]] | None = None

    def add(self, g: Gradient, create_graph: bool, owned: bool = False) -> None:
        """Adds an array, a value (under create_graph) or a deferred term; `owned`: nobody else has the
        array."""
        if isinstance(g, Deferred):
            if self._terms is None:
                self._terms = {}
            self._terms.setdefault(type(g), []).append(g)
        elif self.grows:
            self.array += g
        elif self.array is None:
            self.array, self.owned = g, owned
            self.grows = owned and g.dtype not in ADDED_IN
        elif owned and g.dtype == self.array.dtype and g.dtype not in ADDED_IN:
            g += self.array
            self.array, self.owned, self.grows = g, True, True
        else:
            wide = ADDED_IN.get(self.array.dtype)
            self.array = (self.array if wide is None else self.array.astype(wide)) + g
            self.owned = self.grows = not create_graph

    def total(self, create_graph: bool) -> Gradient:
        """The sum."""
        if self._terms is not None:
            for kind, terms in self._terms.items():
                if not (self.grows and self.array.ndim and kind.add_to(self.array, terms)):  # not to a scalar
                    self.add(kind.total(terms), create_graph, not create_graph)
            self._terms = None
        if self.array is not None and self.array.dtype != self._dtype:
            self.array = self.array.astype(self._dtype)
            self.owned = not create_graph
        return self.array


class Watched:
    """Who wants to see the gradients of a vertex: hooks, and results (by number) under retain_grad."""

    def __init__(self) -> None:
        self.hooks: dict[int, list[Hook]] = {}
        self.retained: dict[int, ReferenceType[Output] | None] = {}  # None: a node of one result, itself
        self.after: list[Callable[[], Any]] = []  # of a leaf: called when its `.grad` is there


class Gradients:
    """The gradients of one backward, by vertex. `wanted`: the vertices where they are asked for; None:
    leaves."""

    def __init__(
        self, wrap: Wrap, roots: Sequence[Vertex | None], wanted: Sequence[Vertex | None] | None,
        create_graph: bool, since: int,
    ) -> None:  # fmt: skip
        self._wrap, self._wanted, self._create_graph, self._since = wrap, wanted, create_graph, since
        self._keys: set[Key] = set()
        self._useful: set[Leaf | Node] | None = None
        if wanted is not None:
            self._keys = {v.key for v in wanted if v is not None}
            self._useful = _leading_to(wanted, roots, since)
        self.sums: dict[Key, Gradient | Sum] = {}  # the first gradient that arrived, or a Sum
        self._found: dict[Key, Gradient | Sum] = {}
        self._reached: set[Node] = set()
        self.waiting: list[tuple[int, Node]] = []  # a heap of the nodes reached, the youngest first

    def add(self, vertex: Vertex | None, g: Gradient, name: str, owned: bool = False) -> None:
        """One more gradient, made by the op `name`; `owned` where nobody else has that array."""
        if vertex is None or g is None:
            return
        if not isinstance(g, Deferred):
            if g.shape != vertex.shape:
                g = unbroadcast(g, vertex.shape, name)
            if g.dtype != vertex.dtype:
                g = g.astype(vertex.dtype)
        node = vertex.node
        if node is not None and node not in self._reached and node.time >= self._since:
            self._reached.add(node)
            heappush(self.waiting, (-node.time, node))
        self.collect(vertex.key, g, vertex.dtype, owned)

    def collect(self, key: Key, g: Gradient, dtype: DType, owned: bool = False) -> None:
        """Adds a gradient, which fits, to what arrived at a vertex."""
        before = self.sums.get(key)
        owned = owned and not self._create_graph and not isinstance(g, Deferred)
        if before is None and not owned and not isinstance(g, Deferred):
            self.sums[key] = g
            return
        if type(before) is not Sum:
            first, before = before, Sum(dtype)
            self.sums[key] = before
            if first is not None:
                before.add(first, self._create_graph)
        before.add(g, self._create_graph, owned)

    def on_the_way(self, parents: Sequence[Vertex | None]) -> Sequence[Vertex | None]:
        """The parents, None for those that lead to nothing that is wanted."""
        useful = self._useful
        return parents if useful is None else [p if p and (p.node or p) in useful else None for p in parents]

    def youngest(self) -> tuple[Node, Gradient, bool]:
        """The next node; its gradient, a tuple where it has several results; whether nobody else has it."""
        _, node = heappop(self.waiting)
        if node.outputs is None:
            return node, *self._arrived(node, node, 0)
        gs = [self._arrived((node, k), node, k)[0] for k in range(node.outputs)]
        return node, tuple(gs), False

    def _arrived(self, key: Key, node: Node, k: int) -> tuple[Gradient, bool]:
        g, owned = totalled(self.sums.pop(key, None), self._create_graph)
        if g is None:
            return None, False
        if node.watched is not None:
            g, changed = self._shown(node.watched, k, g)
            owned = owned and not changed
            if self._wanted is None and k in node.watched.retained:
                reference = node.watched.retained[k]
                holder: Any = node if reference is None else reference()
                if holder is not None:
                    holder.grad = accumulated(holder.grad, g, False, self._create_graph, self._wrap)
        if key in self._keys:
            self._found[key] = own(g, False, self._create_graph, self._wrap)
        return g, owned

    def _shown(self, watched: Watched, k: int, g: Gradient) -> tuple[Gradient, bool]:
        """The gradient after the hooks, and whether one of them gave another."""
        hooks, changed = watched.hooks.get(k, ()), False
        for hook in [*hooks]:
            shown = own(g, False, self._create_graph, self._wrap)
            new = hook(shown if self._create_graph else self._wrap(shown, None))
            if new is not None:
                array = getattr(new, "array", None)
                if array is None or array.shape != g.shape or type(array) is not type(getattr(g, "array", g)):
                    raise errors.wrong_hook(new, g)
                new = new if new.dtype == g.dtype else new.astype(g.dtype)
                g, changed = new if self._create_graph else new.array, True
        return g, changed

    def hand_out(self) -> list[Gradient | None]:
        """Adds what is left to the `.grad` of leaves; or returns what was wanted, in order."""
        current = capturing.get()
        for key, collected in self.sums.items():
            if self._wanted is not None and key not in self._keys:
                continue
            g, owned = totalled(collected, self._create_graph)
            watched = getattr(key, "watched", None)
            if watched is not None:
                g, changed = self._shown(watched, 0, g)
                owned = owned and not changed
            if self._wanted is not None:
                self._found[key] = own(g, owned, self._create_graph, self._wrap)
            elif getattr(key, "node", 0) is None:
                leaf: Any = key
                if current is not None:
                    current.reads_gradient(leaf)
                leaf.grad = accumulated(leaf.grad, g, owned, self._create_graph, self._wrap)
                for hook in [*watched.after] if watched is not None else ():
                    hook()
        return [None if v is None else self._found.get(v.key) for v in self._wanted or ()]


def totalled(collected: Gradient | Sum | None, create_graph: bool) -> tuple[Gradient, bool]:
    """What arrived at a vertex as one gradient, and whether nobody else has it."""
    if type(collected) is not Sum:
        return collected, False
    g = collected.total(create_graph)
    return g, collected.owned


def nodes_behind(vertices: Sequence[Vertex | None], since: int) -> list[Node]:
    """The nodes from which something was computed, its own among them, oldest first."""
    seen: set[Vertex | None] = {None, *vertices}
    stack: list[Any] = [*(seen - {None})]
    nodes: list[Node] = []
    while stack:
        vertex = stack.pop()
        node = vertex.node
        if node is None or node.time < since:
            continue
        if node is not vertex:  # one of several results
            if node in seen:
                continue
            seen.add(node)
        nodes.append(node)
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    nodes.sort(key=attrgetter("time"))
    return nodes


def _leading_to(
    wanted: Sequence[Vertex | None], roots: Sequence[Vertex | None], since: int
) -> set[Leaf | Node]:
    """The wanted vertices, and the nodes between them and the roots."""
    useful: set[Leaf | Node] = {v.node or v for v in wanted if v is not None}  # type: ignore[misc]
    for node in nodes_behind(roots, since):
        if any((parent.node or parent) in useful for parent in node.parents if parent is not None):
            useful.add(node)
    return useful


def unbroadcast(g: Gradient, shape: tuple[int, ...], name: str) -> Gradient:
    """The gradient of what was broadcast from `shape`: the sum over the axes that broadcasting added or
    stretched. Sums of halves are float32."""
    extra = g.ndim - len(shape)
    if extra > 0 and g.shape[extra:] == shape and len(shape) == 1 and not hasattr(g, "vertex"):  # a bias
        return array_module(g).column_sums(g)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[extra:], strict=True)):
        raise errors.wrong_gradient(name, g, shape)
    stretched = tuple(i for i in range(g.ndim) if i < extra or shape[i - extra] == 1 != g.shape[i])
    if stretched:
        g = g.sum(axis=stretched, keepdims=True, dtype=ADDED_IN.get(g.dtype))
    return g.reshape(shape) if g.shape != shape else g


def own(g: Gradient, owned: bool, create_graph: bool, wrap: Wrap) -> Gradient:
    """A gradient as it is given away: an array, or under create_graph a value, of its own memory."""
    if create_graph:
        return wrap(g.array.copy(), g.vertex)
    array = g if type(g) in MODULES else host_array(g)  # the scalar that NumPy makes of arrays without axes
    return array if owned and array is g else array.copy()


def accumulated(before: Value | None, g: Gradient, owned: bool, create_graph: bool, wrap: Wrap) -> Value:
    """The new `.grad`: a value of its own memory, added to what was there."""
    if before is None:
        g = own(g, owned, create_graph, wrap)
        return g if create_graph else wrap(g, None)
    if create_graph or before.vertex is not None or before.array.ndim == 0:
        return before + g
    before.array += g
    mark_changed(before.array)
    return before
