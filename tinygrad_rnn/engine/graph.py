"""Reverse-mode differentiation: how the graph is built, and how gradients go back through it. All of it.

A `primitive` is a function on arrays together with its rules: for each argument, how the gradient of the
result becomes the gradient of that argument (a vector-Jacobian product, "vjp"). Calling it on tensors
computes the result and, if any argument needs a gradient, makes a `Node`: which primitive it was, where its
arguments came from, and the arrays that its rules will read. `backward` goes through the nodes from the
youngest to the oldest, which is a topological order because arguments are older than results, and hands each
node's gradient to the rules.

    @primitive(vjp=(lambda g, y: g * (1 - y * y),))
    def tanh(xp, x):
        return xp.tanh(x)

What a rule reads is what its parameters are called: `g` the gradient; `y` the result (a tuple where there are
several); an argument by its name in the forward; that argument's shape as `x_shape`; a keyword-only setting
by its name. What no needed rule reads is not kept. Rules use operators and other primitives, which take
arrays as well as tensors: plain `backward` runs them on arrays, `create_graph=True` on tensors, so that a
gradient has a gradient, at any order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import ref

from ..backend import MODULES, array_module, host_array
from ..backend.capture import capturing
from ..backend.dtypes import ADDED_IN, result_dtype
from . import errors, mode
from .accumulate import Sum, Summand
from .node import Leaf, Node, Output, Value, Vertex, clock
from .quick import NUMBERS, quick_call

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., Any]

_current_mode = mode.current
REGISTRY: dict[str, Primitive] = {}


class Primitive:
    """A forward and its rules, with the reading of their signatures that `primitive` needs at each call."""

    def __init__(
        self,
        forward: Callable[..., Any],
        vjp: tuple[Rule | None, ...] | Rule | None,
        floating: bool = False,
    ) -> None:
        self.name = forward.__name__.lstrip("_")  # what users call it
        self.floating = floating
        self.forward = forward
        self.rules = vjp if isinstance(vjp, tuple) else ()
        self.joint = None if isinstance(vjp, tuple) else vjp
        parameters = list(inspect.signature(forward).parameters.values())[1:]  # without xp
        self.settings = {
            p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "out"
        }
        self.writes = any(p.name == "out" for p in parameters)  # takes memory for its first result
        self.defaults = {n: d for n, d in self.settings.items() if d is not inspect.Parameter.empty}
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.arguments = arguments
        if isinstance(vjp, tuple) and (self.variadic or len(vjp) != len(arguments)):
            raise TypeError(
                f"{self.name}: {len(vjp)} rules for the arguments {arguments}; it takes one for each (None: "
                "no gradient), or one rule for all, which is not in a tuple"
            )
        # values = [g, y, *arguments, *settings, *shapes]: where each name stands in it
        names = ["g", "y", *arguments, *self.settings, *(f"{a}_shape" for a in arguments)]
        place = {name: i for i, name in enumerate(names)}
        reads = [self._reads(rule, place) for rule in self.rules] if self.joint is None else []
        pulls = [_pull(rule, [i - 1 for i in r[1:]]) for rule, r in zip(self.rules, reads, strict=False)]
        self.pulls = pulls if self.joint is None else None
        self.joint_reads = self._reads(self.joint, place)
        of_joint = {} if self.joint is None else inspect.signature(self.joint).parameters
        self.asks_needs, self.joint_writes = "needs" in of_joint, "out" in of_joint
        self.reads_of = reads if self.joint is None else [self.joint_reads]
        first_extra = 2 + len(arguments)
        self.has_extras = any(i >= first_extra for r in self.reads_of for i in r)
        self.has_rules = bool(self.rules) or self.joint is not None
        self.call: Callable[..., Any] = forward  # the op made of it, set by `primitive`
        self.drops: dict[int, tuple[int, ...]] = {}
        self.keeps: dict[int, Callable[[Sequence[Any]], tuple[Any, ...]] | tuple[None, ...]] = {}

    def _reads(self, rule: Rule | None, place: dict[str, int]) -> list[int]:
        if rule is None:
            return []
        wanted = [n for n in inspect.signature(rule).parameters if n not in ("needs", "out")]
        unknown = [n for n in wanted if n not in place]
        if unknown or wanted[:1] != ["g"]:
            raise TypeError(
                f"{self.name}: a rule reads {wanted}; it takes g first, then any of {[*place][1:]}"
            )
        return [place[n] for n in wanted]

    def gradients(
        self, values: list[Any], parents: Sequence[Vertex | None], out: Any = None
    ) -> Sequence[Any]:
        """The gradients of the arguments, None for those that need none; values = [g, y, *arguments, ...].
        That of the first is written to `out`, where the rule takes that.
        """
        if self.joint is not None:
            settings: dict[str, Any] = {}
            if self.asks_needs:
                settings["needs"] = tuple([p is not None for p in parents])
            if out is not None:
                settings["out"] = out
            gradients = self.joint(*[values[i] for i in self.joint_reads], **settings)
            if not isinstance(gradients, (list, tuple)) or len(gradients) != len(parents):
                raise errors.wrong_gradients(self.name, gradients, len(parents))
            return gradients
        g, kept = values[0], values[1:]
        return [
            None if parent is None else pulled(pull, g, kept)
            for parent, pull in zip(parents, self.pulls or (), strict=True)
        ]

    def find_drops(self, mask: int) -> tuple[int, ...]:
        """Which of [y, *arguments] no rule reads, where bit i of `mask` says that argument i needs a
        gradient.
        """
        read: set[int] = set()
        for i, reads in enumerate(self.reads_of):
            if self.joint is not None or mask >> i & 1:
                read.update(reads)
        self.drops[mask] = tuple(j - 1 for j in range(1, 2 + len(self.arguments)) if j not in read)
        return self.drops[mask]

    def find_keeps(self, mask: int) -> Callable[[Sequence[Any]], tuple[Any, ...]] | tuple[None, ...]:
        """What makes [None, y, *arguments, ...] the values that a node keeps: None where no rule reads one.
        If no rule reads any, the values themselves.
        """
        n_values = 1 + len(self.arguments) + self.has_extras * (len(self.settings) + len(self.arguments))
        drops = self.find_drops(mask)
        places = [0 if j in drops else 1 + j for j in range(n_values)]
        self.keeps[mask] = itemgetter(*places) if any(places) else (None,) * n_values
        return self.keeps[mask]

    def extras(self, settings: dict[str, Any], arrays: Sequence[Any]) -> list[Any]:
        """What else rules read: the settings, and the arguments' shapes."""
        chosen = {**self.defaults, **settings} if self.defaults else settings
        shapes = [getattr(a, "shape", ()) for a in arrays]
        return [*[chosen[name] for name in self.settings], *([tuple(shapes)] if self.variadic else shapes)]


Pull = tuple[Rule | None, int | tuple[int, ...]]


def _pull(rule: Rule | None, reads: list[int]) -> Pull:
    """A rule, None where it hands the gradient on as it is, and which of the values that its node keeps it
    reads beside the gradient: one, or several.
    """
    if rule is None:
        return (lambda g: None), ()
    if not reads and is_identity(rule):
        return None, ()
    return rule, reads[0] if len(reads) == 1 else tuple(reads)


def pulled(pull: Pull, g: Any, kept: Sequence[Any]) -> Any:
    """What a rule makes of a gradient."""
    rule, reads = pull
    if rule is None:
        return g
    return rule(g, kept[reads]) if isinstance(reads, int) else rule(g, *[kept[i] for i in reads])


def is_identity(rule: Rule) -> bool:
    """Whether a rule of the gradient alone hands it on."""
    token = object()
    try:
        return rule(token) is token
    except Exception:  # it does something with it
        return False


def primitive(
    *, vjp: tuple[Rule | None, ...] | Rule | None, floating: bool = False
) -> Callable[[Callable[Concatenate[Any, P], R]], Callable[P, R]]:
    """Makes an op of a function on arrays, `forward(xp, *arrays, **settings)`; `xp` is the library they
    belong to.

    `vjp` is a tuple with one rule per argument (None: no gradient for it); or one rule for all of them, which
    is given `g` (a tuple with None for missing ones, where there are several results) and may ask for
    `needs`, a tuple of booleans, and returns one gradient per argument; or None: results are constants. A
    forward with several results returns a tuple. Both a forward and one rule for all may take `out=None`,
    memory for the first result or the first argument's gradient, which loops give. The engine sums each
    rule's gradient back over the axes along which its argument was broadcast.

    `floating` is for functions of real numbers: where no argument is floating, integers and booleans come to
    `forward` in the default type. (NumPy's exp of int8 is computed in float16, and 12 overflows.)
    """

    def define(forward: Callable[Concatenate[Any, P], R]) -> Callable[P, R]:
        spec = Primitive(forward, vjp, floating)
        REGISTRY[spec.name] = spec
        n_expected = None if spec.variadic else len(spec.arguments)
        variadic, known = spec.variadic, MODULES.get

        def general(*args: Any, **settings: Any) -> Any:
            arrays: list[Any] = []
            parents: list[Vertex | None] = []
            xp = dtype = None
            mask, bit, wrapped = 0, 1, False
            for a in args:
                if isinstance(a, Value):
                    wrapped = True
                    vertex = a.vertex
                    if vertex is not None:
                        mask |= bit
                    a = a.array
                else:
                    vertex = None
                module = known(type(a))
                if module is not None:
                    kind = a.dtype
                    if kind is not dtype:
                        dtype = kind if dtype is None else False  # False: several
                    if module is not xp:
                        if xp is not None:
                            moved = _beside(spec, args)
                            if moved is None:
                                raise errors.mixed_devices(spec.name, len(arrays), xp.name, module.name)
                            return general(*moved, **settings)
                        xp = module
                elif type(a) not in NUMBERS:
                    if hasattr(a, "record"):  # a symbol: pointwise.py is reading a function
                        return a.record(spec, args, settings)
                    a = _number_or_array(spec.name, len(arrays), a, args)
                    if type(a) in MODULES:
                        xp, dtype = array_module(*arrays, a), False
                parents.append(vertex)
                arrays.append(a)
                bit += bit
            if len(arrays) != n_expected and n_expected is not None:
                raise errors.wrong_number(spec.name, spec.arguments, len(arrays))
            if xp is None:
                xp = array_module()
                arrays = [xp.asarray(a, dtype=result_dtype([]) if type(a) is float else None) for a in arrays]
                dtype = arrays[0].dtype if arrays else None
            if floating and (not dtype or dtype.kind != "f"):
                arrays, dtype = _as_floats(arrays), False
            try:
                y: Any = forward(xp, *arrays, **settings)
            except (ValueError, TypeError, IndexError) as reason:
                raise errors.failed_forward(spec.name, arrays, reason) from reason
            except MemoryError as reason:
                raise errors.out_of_memory(spec.name, arrays, reason) from reason
            return finish(xp, args, settings, arrays, parents, mask, dtype, y, wrapped)

        def finish(
            xp: Any,
            args: tuple[Any, ...],
            settings: dict[str, Any],
            arrays: Sequence[Any],
            parents: Sequence[Vertex | None],
            mask: int,
            dtype: Any,
            y: Any,
            wrapped: bool = True,
        ) -> Any:
            several = type(y) is tuple
            if not several:
                if type(y) is not xp.array_type and type(y) not in MODULES:
                    y = xp.asarray(y)  # a reduction to a NumPy scalar
                if y.dtype is not dtype and y.dtype.kind == "f" and "dtype" not in settings:
                    wanted = result_dtype([a for a in arrays if type(a) is xp.array_type])
                    if y.dtype != wanted:  # NumPy's float64 for what should stay float32
                        y = y.astype(wanted)
            now = _current_mode()
            if now.debug:
                for part in y if several else (y,):
                    if part.dtype.kind == "f" and not bool(xp.isfinite(part).all()):
                        raise errors.not_finite(spec.name, arrays, xp)
            if now.reads is not None:
                now.reads([*arrays, *settings.values()])
            if not wrapped:
                return y
            node = None
            if mask and spec.has_rules and now.grad:
                values = [None, y, tuple(arrays)] if variadic else [None, y, *arrays]
                if spec.has_extras:
                    values += spec.extras(settings, arrays)
                keep = spec.keeps.get(mask) or spec.find_keeps(mask)
                kept = keep if type(keep) is tuple else keep(values)  # type: ignore[operator]
                place = (None, None, len(y)) if several else (y.shape, y.dtype)
                node = Node(spec, parents, kept, *place)
                if now.debug:
                    node.line = errors.caller()
            out: Any
            if several:
                out = tuple([_wrap(part, node and Output(node, k, part)) for k, part in enumerate(y)])
            else:
                out = _wrap(y, node)
            if now.record is not None:
                now.record(spec, args, settings, out)
            return out

        op = quick_call(spec, general, finish)
        op.__name__ = op.__qualname__ = spec.name
        op.__doc__, op.__module__ = forward.__doc__, forward.__module__
        signature = inspect.signature(forward)
        op.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        spec.call = op
        op.primitive = spec  # type: ignore[attr-defined]
        return op

    return define


def _as_floats(arrays: list[Any]) -> list[Any]:
    """The arguments of a function of real numbers: in the default type where none of them is floating."""
    kinds = [getattr(a, "dtype", None) for a in arrays]
    if any(kind is not None and kind.kind == "f" for kind in kinds):
        return arrays
    wanted = result_dtype([])
    return [a if kind is None else a.astype(wanted) for a, kind in zip(arrays, kinds, strict=True)]


def _wrap(array: Any, vertex: Vertex | None) -> Any:
    out = Value.__new__(Value.result)
    out.array = array
    out.vertex = vertex
    return out


def _beside(spec: Primitive, args: Sequence[Any]) -> list[Any] | None:
    """Arguments on two devices, with those of the host moved to the other where they have no axes: PyTorch's
    rule, by which such a tensor is as good as a number. None where that does not help. What joins tensors
    takes them from one device alone.
    """
    arrays = [a.array if isinstance(a, Value) else a for a in args]
    modules = [MODULES.get(type(a)) for a in arrays]
    targets = {m for m in modules if m is not None and m.device_type != "cpu"}
    from_host = [m is not None and m.device_type == "cpu" for m in modules]
    with_axes = any(host and a.ndim for host, a in zip(from_host, arrays, strict=True))
    if spec.variadic or len(targets) != 1 or with_axes:
        return None
    (target,) = targets
    transfer = REGISTRY["transfer"].call
    return [
        transfer(a, source=m, target=target) if host else a
        for a, m, host in zip(args, modules, from_host, strict=True)
    ]


def _number_or_array(name: str, position: int, a: Any, args: tuple[Any, ...]) -> Any:
    """What else may be given to a primitive: NumPy's scalars, and subclasses of arrays.

    Beside a tensor a scalar counts as a Python number, which never changes the tensor's type. In a rule,
    where there are only arrays, it is what NumPy made of arrays without axes, and stays one.
    """
    if hasattr(a, "item") and getattr(a, "ndim", None) == 0:
        return a.item() if any(isinstance(other, Value) for other in args) else host_array(a)
    for kind, module in MODULES.items():
        if isinstance(a, kind):
            return module.asarray(a)
    raise errors.wrong_argument(name, position, a)


# ---------------------------------------------------------------- going back


def backward(
    outputs: Sequence[Value],
    seeds: Sequence[Any],
    *,
    inputs: Sequence[Value] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    since: int = 0,
) -> list[Any]:
    """Sends the gradients `seeds` (arrays, or tensors under create_graph) from `outputs` back through the
    graph.

    Without `inputs` they are added to the `.grad` of every leaf; with it, the gradients of these values are
    returned (None where no path leads) and no `.grad` changes. What was computed before the time `since` is
    not gone through.
    """
    try:
        return _backward(outputs, seeds, inputs, retain_graph, create_graph, since)
    except MemoryError as reason:
        raise errors.out_of_memory("backward", [o.array for o in outputs], reason) from reason


def _backward(
    outputs: Sequence[Value],
    seeds: Sequence[Any],
    inputs: Sequence[Value] | None,
    retain_graph: bool,
    create_graph: bool,
    since: int,
) -> list[Any]:
    watched = {_place(v.vertex) for v in inputs or () if v.vertex is not None}
    found: dict[Any, Any] = {}
    keep = retain_graph or create_graph
    sums: dict[Any, Any] = {}  # by place: the first gradient to arrive there, or a Sum
    for output, seed in zip(outputs, seeds, strict=True):
        if output.vertex is not None:
            _add(sums, _place(output.vertex), seed, output.vertex.dtype, create_graph)
    order, useful = _nodes_behind([o.vertex for o in outputs], None if inputs is None else watched, since)

    with mode.going_back(create_graph, frees=not keep):
        while order:
            node = order.pop()
            if node.outputs is None and not node.retains_grad and (not watched or node not in watched):
                g = sums.pop(node, None)
                if type(g) is Sum:
                    g = g.total(create_graph)
            else:
                g = _collected(sums, node, None if inputs is None else watched, found, create_graph)
            if g is None:
                if not keep:
                    node.values = None
                    node.parents = ()
                continue
            parents = node.parents
            if useful is not None:
                parents = [p if _whole(p) in useful else None for p in parents]
                if not any(parents):  # its own gradient was asked for, and nothing beyond
                    continue
            if node.values is None:
                raise errors.freed(node.op.name, node.line)
            if node.time < _latest_change:
                _check_unchanged(node)
            values = _as_tensors(node, node.values) if create_graph else node.values
            pulls = node.op.pulls
            try:
                gradients = node.op.gradients([g, *values], parents) if pulls is None else ()
                for i, parent in enumerate(parents):
                    if parent is None:
                        continue
                    if pulls is None:
                        gp = gradients[i]
                    else:  # pulled(pulls[i], g, values), without a call
                        rule, reads = pulls[i]
                        if rule is None:
                            gp = g
                        elif type(reads) is int:
                            gp = rule(g, values[reads])
                        else:
                            gp = rule(g, *[values[j] for j in reads])
                    if gp is None:
                        continue
                    place = (parent.node, parent.k) if type(parent) is Output else parent
                    if not isinstance(gp, Summand):
                        if gp.shape != parent.shape:
                            gp = sum_to(gp, parent.shape, node.op.name)
                        if gp.dtype is not parent.dtype and gp.dtype != parent.dtype:
                            gp = gp.astype(parent.dtype)
                        before = sums.get(place)
                        if before is None:
                            sums[place] = gp  # most places get one gradient
                            continue
                        if type(before) is Sum:
                            if before.owned and not create_graph:
                                before.array += gp
                            else:
                                before.add_array(gp, create_graph)
                            continue
                    _add(sums, place, gp, parent.dtype, create_graph)
            except MemoryError as reason:
                given = [x for x in (g if type(g) is tuple else (g,)) if x is not None]
                raise errors.out_of_memory(f"the gradient of {node.op.name}", given, reason) from reason
            except Exception as error:
                if hasattr(error, "add_note"):
                    where = f", called in {node.line}" if node.line else ""
                    error.add_note(f"in the gradient of {node.op.name}{where}")
                raise
            if not keep:
                node.values = None
                node.parents = ()

        current = capturing.get()
        for place, collected in sums.items():
            owned = type(collected) is Sum
            g = collected.total(create_graph) if owned else collected
            if place in watched:
                found[place] = _own(g, owned, create_graph)
            elif inputs is None and type(place) is Leaf:
                if current is not None:
                    current.reads_gradient(place)
                place.grad = _kept(place.grad, g, owned, create_graph)
    return [None if v.vertex is None else found.get(_place(v.vertex)) for v in inputs or ()]


def _place(vertex: Vertex) -> Any:
    """The key under which the gradients of a vertex are collected."""
    return (vertex.node, vertex.k) if type(vertex) is Output else vertex


def _whole(vertex: Vertex | None) -> Leaf | Node | None:
    return vertex.node if type(vertex) is Output else vertex  # type: ignore[return-value]


def _add(sums: dict[Any, Any], place: Any, g: Any, dtype: Any, create_graph: bool) -> None:
    before = sums.get(place)
    if type(before) is Sum:
        before.add(g, create_graph)
    elif before is None and not isinstance(g, Summand):
        sums[place] = g
    else:
        sums[place] = both = Sum(dtype)
        if before is not None:
            both.add(before, create_graph)
        both.add(g, create_graph)


def _nodes_behind(
    roots: Iterable[Vertex | None], watched: set[Any] | None, since: int
) -> tuple[list[Node], set[Leaf | Node | None] | None]:
    """The nodes from which the roots were computed, oldest first. With `watched`, only those that lead to a
    watched place, and the set of everything that does."""
    stack = [_whole(root) for root in roots]
    seen = set(stack)
    nodes = []
    while stack:
        node = stack.pop()
        if type(node) is not Node or node.time < since:
            continue
        nodes.append(node)
        for parent in node.parents:
            behind = parent.node if type(parent) is Output else parent
            if behind not in seen:
                seen.add(behind)  # type: ignore[arg-type]
                stack.append(behind)  # type: ignore[arg-type]
    nodes.sort(key=attrgetter("time"))
    if watched is None:
        return nodes, None
    useful: set[Leaf | Node | None] = {place[0] if type(place) is tuple else place for place in watched}
    on_the_way = []
    for node in nodes:
        if any(_whole(parent) in useful for parent in node.parents):
            useful.add(node)
        if node in useful:
            on_the_way.append(node)
    return on_the_way, useful


def _collected(
    sums: dict[Any, Any], node: Node, watched: set[Any] | None, found: dict[Any, Any], create_graph: bool
) -> Any:
    """What has arrived at a node, and is shown to those who asked (`watched` is None where they did so by
    retain_grad): one gradient; for several results a tuple, with None where nothing has arrived; None where
    nothing has at all."""
    gs = []
    for k in range(node.outputs or 1):
        place = node if node.outputs is None else (node, k)
        g = sums.pop(place, None)
        if type(g) is Sum:
            g = g.total(create_graph)
        if g is not None:
            if watched is not None:
                if place in watched:
                    found[place] = _own(g, False, create_graph)
            elif node.retains_grad:
                shown = node if node.outputs is None else node.retains_grad.get(k, _nobody)()
                if shown is not None:
                    shown.grad = _kept(shown.grad, g, False, create_graph)
        gs.append(g)
    if node.outputs is None:
        return gs[0]
    return tuple(gs) if any(g is not None for g in gs) else None


def _nobody() -> None:
    """A weak reference to nothing."""


def _as_tensors(node: Node, kept: Sequence[Any]) -> list[Any]:
    """Under create_graph: what a node keeps, with tensors at their place in the graph where the rules would
    read arrays."""
    y, *values = kept
    if type(y) is tuple:
        node.outputs = len(y)  # from here on also the hidden ones, of fused functions and loops
        y = tuple(_wrap(part, Output(node, k, part)) for k, part in enumerate(y))
    elif y is not None:
        y = _wrap(y, node)
    if node.op.variadic:
        if values[0] is not None:
            values[0] = tuple(_wrap(a, p) for a, p in zip(values[0], node.parents, strict=True))
        return [y, *values]
    for i, parent in enumerate(node.parents):
        if parent is not None and values[i] is not None:
            values[i] = _wrap(values[i], parent)
    return [y, *values]


def sum_to(g: Any, shape: tuple[int, ...], name: str) -> Any:
    """The gradient of what was broadcast from `shape`: the sum over the axes that broadcasting added or
    stretched. Sums of halves are float32.
    """
    extra = g.ndim - len(shape)
    if extra > 0 and g.shape[extra:] == shape and len(shape) == 1 and not isinstance(g, Value):  # a bias
        return array_module(g).column_sums(g)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[extra:], strict=True)):
        raise errors.wrong_gradient(name, g, shape)
    stretched = tuple(i for i in range(g.ndim) if i < extra or shape[i - extra] == 1 != g.shape[i])
    if stretched:
        g = g.sum(axis=stretched, keepdims=True, dtype=ADDED_IN.get(g.dtype))
    return g.reshape(shape) if g.shape != shape else g


def _own(g: Any, owned: bool, create_graph: bool) -> Any:
    """A gradient as it is given away: an array, or under create_graph a tensor, of its own memory."""
    if create_graph:
        return _wrap(g.array.copy(), g.vertex)
    array = g if type(g) in MODULES else host_array(g)  # the scalar that NumPy makes of arrays without axes
    return array if owned and array is g else array.copy()


def _kept(before: Any, g: Any, owned: bool, create_graph: bool) -> Any:
    """The new `.grad`: a tensor of its own memory, added to what was there."""
    if before is None:
        g = _own(g, owned, create_graph)
        return g if create_graph else _wrap(g, None)
    if create_graph or before.vertex is not None or before.array.ndim == 0:
        return before + g
    before.array += g
    mark_changed(before.array)
    return before


# ---------------------------------------------------------------- in-place changes

_changes: dict[
    int, tuple[int, Any]
] = {}  # by the id of the array that owns the memory: when, and a weak reference
_latest_change = 0


def mark_changed(array: Any) -> None:
    """Says that an array's values were changed in place. Every such change in the package comes by here, so
    that a backward that still needs the old values can say so instead of computing something wrong."""
    global _latest_change
    owner = array_module(array).owner(array)
    key = id(owner)
    _latest_change = next(clock)
    current = capturing.get()
    if current is not None:
        current.keep((owner,))
    _changes[key] = (_latest_change, ref(owner, lambda _: _changes.pop(key, None)))


def _check_unchanged(node: Node) -> None:
    values = list(node.values or ())
    for value in values:
        if isinstance(value, tuple):  # several arguments, or an index
            values.extend(value)
            continue
        module = MODULES.get(type(value))
        if module is not None and _changes.get(id(module.owner(value)), (0,))[0] > node.time:
            raise errors.changed(node.op.name, node.line)
