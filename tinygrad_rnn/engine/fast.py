"""The usual calls and the usual backward, in fewer steps than core.py takes.

Nothing here decides anything: what these do is what core.py would do with such arguments, without looking at
each of them. What is unusual is left to it: other modes, errors, views of memory that was changed in a graph,
hooks, gradients of inputs, gradients of gradients. Tests run every op and random graphs both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..backend import MODULES, Array
from . import core, errors, mode, versions
from .arguments import NUMBERS, Call, fitted
from .core import Node, Output, Value
from .gradients import Deferred, Forwarded, Gradient, Gradients, Results, Sum, nodes_behind, unbroadcast

if TYPE_CHECKING:
    from .rules import Primitive

AnyCall = Callable[..., Any]


def call(spec: Primitive, general: AnyCall) -> AnyCall:
    """What an op does when it is called: `general`, or a shorter way to the same."""
    if not spec.has_rules:
        return general
    if spec.variadic:
        return _of_any_number(spec, general)
    if len(spec.arguments) == 1:
        return _of_one(spec, general)
    if len(spec.arguments) == 2 and not spec.settings:
        return _of_two(spec, general)
    return _of_several(spec, general)


def _of_one(spec: Primitive, general: AnyCall) -> AnyCall:
    """For ops of one array, with or without settings."""
    forward, has_extras, savings, extras = spec.forward, spec.has_extras, spec.savings, spec.extras
    current, moved, known, new = mode.current, versions.moved, MODULES.get, Value.__new__
    floating = spec.floating

    def op(*args: Any, **settings: Any) -> Results:
        now = current()
        if len(args) != 1 or moved or not now.plain:
            return general(*args, **settings)
        (a,) = args
        if not isinstance(a, Value):
            return _on_array(spec, general, a, settings)
        x, parent = a.array, a.vertex
        kind = type(x)
        if floating and x.dtype.kind != "f":
            return general(*args, **settings)
        try:
            y = forward(known(kind), x, **settings)
        except Exception:
            return general(*args, **settings)  # which says what is wrong
        several = type(y) is tuple
        if not several and (type(y) is not kind or y.dtype is not x.dtype):
            read = Call(args, settings, MODULES[kind], (x,), (parent,), int(parent is not None), x.dtype)
            return core.result(spec, read, fitted(read, y), now)
        node = None
        if parent is not None and now.grad:
            saving = savings.get(1) or spec.find_saving(1)
            if type(saving) is not tuple:
                saving = saving((None, y, x, *extras(settings), x.shape) if has_extras else (None, y, x))  # type: ignore[operator]
            node = Node(spec, (parent,), saving, None if several else y.shape, None if several else y.dtype)
        if several:
            return _several(spec, settings, a, y, node)
        out = new(Value.result)
        out.array = y
        out.vertex = node
        base = y.base
        if (base is not None and (base is x or base is x.base)) or y is x:
            a.viewed = True
            out.view_of = (a, spec, settings, None)
        return out

    return op


def _on_array(spec: Primitive, general: AnyCall, x: Array, settings: dict[str, Any]) -> Forwarded:
    """The call of an op of one array on what is none of a value's, as in rules."""
    kind = type(x)
    xp = MODULES.get(kind)
    if xp is None or (spec.floating and x.dtype.kind != "f"):
        return general(x, **settings)
    try:
        y = spec.forward(xp, x, **settings)
    except Exception:
        return general(x, **settings)
    if type(y) is kind and y.dtype is x.dtype:
        return y
    return fitted(Call((x,), settings, xp, (x,), (None,), 0, x.dtype, False), y)


def _several(
    spec: Primitive, settings: dict[str, Any], a: Value, y: tuple[Array, ...], node: Node | None
) -> tuple[Value, ...]:
    """The several results of an op of one array, most often views of it."""
    x, new, kind, outs = a.array, Value.__new__, Value.result, []
    if node is not None:
        node.outputs = len(y)
    for k, part in enumerate(y):
        out = new(kind)
        out.array = part
        out.vertex = None if node is None else Output(node, k, part)
        base = part.base
        if base is not None and (base is x or base is x.base):
            a.viewed = True
            out.view_of = (a, spec, settings, k)
        outs.append(out)
    return tuple(outs)


def _of_two(spec: Primitive, general: AnyCall) -> AnyCall:
    """For ops of two arrays of one type, or an array and a number, without settings."""
    forward, has_extras, savings, floating = spec.forward, spec.has_extras, spec.savings, spec.floating
    current, moved, known, new = mode.current, versions.moved, MODULES.get, Value.__new__

    def op(*args: Any, **settings: Any) -> Results:
        now = current()
        if len(args) != 2 or settings or moved or not now.plain:
            return general(*args, **settings)
        a, b = args
        if not isinstance(a, Value) or (floating and a.array.dtype.kind != "f"):
            return general(a, b)
        x, p = a.array, a.vertex
        kind, dtype = type(x), x.dtype
        if isinstance(b, Value):
            y, q = b.array, b.vertex
            if type(y) is not kind or y.dtype is not dtype:
                return general(a, b)
        elif type(b) in NUMBERS and not has_extras:
            y, q = b, None
        else:
            return general(a, b)
        try:
            z = forward(known(kind), x, y)
        except Exception:
            return general(a, b)  # which says what is wrong
        mask = (p is not None) + 2 * (q is not None)
        if type(z) is not kind or z.dtype is not dtype:
            read = Call(args, settings, known(kind), (x, y), (p, q), mask, dtype)  # type: ignore[arg-type]
            return core.result(spec, read, fitted(read, z), now)
        out = new(Value.result)
        out.array = z
        out.vertex = None
        if mask and now.grad:
            saving = savings.get(mask) or spec.find_saving(mask)
            if type(saving) is not tuple:
                saving = saving((None, z, x, y, x.shape, y.shape) if has_extras else (None, z, x, y))  # type: ignore[operator]
            out.vertex = Node(spec, (p, q), saving, z.shape, dtype)
        if z is x:
            versions.note_view(spec, a, settings, out)
        return out

    return op


def _of_any_number(spec: Primitive, general: AnyCall) -> AnyCall:
    """For ops of any number of arrays of one type, with one rule for all."""
    forward, longer, extras = spec.forward, _of_several(spec, general), spec.extras
    current, moved, known, new = mode.current, versions.moved, MODULES.get, Value.__new__
    has_extras, floating, saving = spec.has_extras, spec.floating, spec.find_saving(1)  # the same for all

    def op(*args: Any, **settings: Any) -> Results:
        now = current()
        if moved or not now.plain or not args:
            return longer(*args, **settings)
        xs: Sequence[Any] = args
        parents: Sequence[Any] = ()
        wrapped = isinstance(args[0], Value)
        if wrapped:
            try:
                xs = [a.array for a in args]
                parents = [a.vertex for a in args]
            except AttributeError:
                return longer(*args, **settings)
        kind = type(xs[0])
        xp = known(kind)
        if xp is None or (floating and xs[0].dtype.kind != "f"):
            return longer(*args, **settings)
        dtype = xs[0].dtype
        for x in xs:
            if type(x) is not kind or x.dtype is not dtype:
                return longer(*args, **settings)
        try:
            y = forward(xp, *xs, **settings)
        except Exception:
            return general(*args, **settings)  # which says what is wrong
        if type(y) is not kind or y.dtype is not dtype or y.base is not None or y is xs[0]:
            mask = sum([1 << i for i, p in enumerate(parents) if p is not None])
            read = Call(args, settings, xp, xs, parents, mask, dtype, wrapped)
            return core.result(spec, read, fitted(read, y), now)
        if not wrapped:
            return y
        out = new(Value.result)
        out.array = y
        out.vertex = None
        if now.grad and any(parents):
            saved = saving
            if type(saving) is not tuple:
                values: tuple[Any, ...] = (None, y, tuple(xs))
                if has_extras:
                    values = (*values, *extras(settings), tuple([x.shape for x in xs]))
                saved = saving(values)  # type: ignore[operator]
            out.vertex = Node(spec, parents, saved, y.shape, dtype)  # type: ignore[arg-type]
        return out

    return op


def _of_several(spec: Primitive, general: AnyCall) -> AnyCall:
    """For ops of any number of arrays of one library."""
    forward, n_expected = spec.forward, None if spec.variadic else len(spec.arguments)
    current, moved, known, new = mode.current, versions.moved, MODULES.get, Value.__new__

    def op(*args: Any, **settings: Any) -> Results:
        now = current()
        if moved or not now.plain or (n_expected is not None and len(args) != n_expected):
            return general(*args, **settings)
        arrays: list[Any] = []
        parents: list[Any] = []
        mask, bit, wrapped, kind, dtype = 0, 1, False, None, None
        for a in args:
            parent = None
            if isinstance(a, Value):
                wrapped = True
                parent = a.vertex
                if parent is not None:
                    mask |= bit
                a = a.array
            if type(a) is kind:
                if a.dtype is not dtype:
                    dtype = False
            elif type(a) not in NUMBERS:
                if kind is not None or known(type(a)) is None:
                    return general(*args, **settings)
                kind, dtype = type(a), a.dtype
            arrays.append(a)
            parents.append(parent)
            bit += bit
        xp = known(kind)  # type: ignore[arg-type]
        if xp is None or (spec.floating and (not dtype or dtype.kind != "f")):
            return general(*args, **settings)
        try:
            y = forward(xp, *arrays, **settings)
        except Exception:
            return general(*args, **settings)  # which says what is wrong
        if type(y) is not kind or y.dtype is not dtype:
            read = Call(args, settings, xp, arrays, parents, mask, dtype, wrapped)
            return core.result(spec, read, fitted(read, y), now)
        if not wrapped:
            return y
        out = new(Value.result)
        out.array = y
        out.vertex = None
        if mask and now.grad:
            out.vertex = Node(spec, parents, spec.saved(arrays, settings, mask, y), y.shape, dtype)
        if arrays and (y.base is not None or y is arrays[0]):
            versions.note_view(spec, args[0], settings, out)
        return out

    return op


def backward(
    outputs: Sequence[Value], seeds: Sequence[Gradient], *, inputs: Sequence[Value] | None = None,
    retain_graph: bool = False, create_graph: bool = False, since: int = 0,
) -> list[Gradient | None]:  # fmt: skip
    """core.backward, by `_usual` where that will do."""
    try:
        if inputs is None and not create_graph and not versions.moved and mode.current().plain:
            order = nodes_behind([output.vertex for output in outputs], since)
            if not any(map(attrgetter("watched"), order)):
                _usual(order, outputs, seeds, retain_graph)
                return []
        return core.backward(
            outputs, seeds, inputs=inputs, retain_graph=retain_graph, create_graph=create_graph, since=since
        )
    except MemoryError as reason:
        raise errors.out_of_memory("backward", [o.array for o in outputs], reason) from reason


def _usual(order: list[Node], outputs: Sequence[Value], seeds: Sequence[Gradient], keep: bool) -> None:
    """A backward to the leaves, on arrays."""
    gradients = Gradients(core.wrap, (), None, False, 0)
    sums = gradients.sums
    for output, seed in zip(outputs, seeds, strict=True):
        if output.vertex is not None:
            gradients.collect(output.vertex.key, seed, output.vertex.dtype)
    with mode.going_back(False, frees=not keep):
        while order:
            node = order.pop()
            owned = False
            if node.outputs is None:
                g = sums.pop(node, None)
                if type(g) is Sum:
                    g, owned = g.total(False), g.owned
                if g is None:
                    continue
            else:
                gs = []
                for k in range(node.outputs):
                    g = sums.pop((node, k), None)
                    gs.append(g.total(False) if type(g) is Sum else g)
                g = tuple(gs)
                if all([part is None for part in gs]):  # noqa: C419 (a generator is slower)
                    continue
            op, saved, parents = node.op, node.saved, node.parents
            if saved is None:
                raise errors.freed(op.name, node.line)
            if node.time < versions.latest:
                versions.check(node)
            if not keep:
                node.saved = None
                node.parents = ()
            pulls = op.pulls
            try:
                fresh = False  # whether nobody else has the first gradient
                if pulls is None:
                    fresh = op.asks_owned
                    values = [g, *saved]
                    if fresh:
                        found = op.gradients(values, parents, owned=owned)  # type: ignore[call-arg]
                    else:
                        found = op.gradients(values, parents)
                for i, parent in enumerate(parents):
                    if parent is None:
                        continue
                    if pulls is None:
                        gp = found[i]
                    else:  # pulled(pulls[i], g, saved), without a call
                        rule, reads = pulls[i]
                        if rule is None:
                            gp = g
                        elif type(reads) is int:
                            gp = rule(g, saved[reads])
                        else:
                            gp = rule(g, *[saved[j] for j in reads])  # type: ignore[union-attr]
                    if gp is None:
                        continue
                    place: Any = (parent.node, parent.k) if type(parent) is Output else parent
                    if isinstance(gp, Deferred):
                        gradients.collect(place, gp, parent.dtype)
                        continue
                    if gp.shape != parent.shape:
                        gp = unbroadcast(gp, parent.shape, op.name)
                    if gp.dtype is not parent.dtype and gp.dtype != parent.dtype:
                        gp = gp.astype(parent.dtype)
                    if fresh and i == 0:
                        gradients.collect(place, gp, parent.dtype, True)
                        continue
                    before = sums.get(place)
                    if before is None:
                        sums[place] = gp  # most vertices get one gradient
                    elif type(before) is Sum and before.grows:
                        before.array += gp
                    else:
                        gradients.collect(place, gp, parent.dtype)
            except Exception as error:
                raise errors.in_rule(error, op.name, node.line, g) from error.__cause__
        gradients.hand_out()
