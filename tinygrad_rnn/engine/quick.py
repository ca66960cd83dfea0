"""The commonest calls, in fewer steps: an op of one tensor, or of two alike, in the usual mode.

Nothing here decides anything: what these do is what `primitive`'s own call would do with such arguments,
without looking at each of them. Whatever is unusual is left to that call, and an unusual result to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import MODULES
from . import mode
from .node import Node, Value

Call = Callable[..., Any]
NUMBERS = frozenset((float, int, bool))


def quick_call(spec: Any, general: Call, finish: Call) -> Call:
    """`general`, or what takes a shorter way where it can: `spec` is a Primitive, `finish` makes a tensor of
    its forward's result.
    """
    if spec.variadic or not spec.has_rules:
        return general
    if len(spec.arguments) == 1:
        return _of_one(spec, general, finish)
    if len(spec.arguments) == 2 and not spec.settings:
        return _of_two(spec, general, finish)
    return general


def _of_one(spec: Any, general: Call, finish: Call) -> Call:
    forward, has_extras, keeps, floating = spec.forward, spec.has_extras, spec.keeps, spec.floating
    names, defaults = tuple(spec.settings), spec.defaults
    current, usual, known, new = mode.current, mode.USUAL, MODULES.get, Value.__new__

    def op(*args: Any, **settings: Any) -> Any:
        if len(args) != 1 or current() is not usual:
            return general(*args, **settings)
        (a,) = args
        if not isinstance(a, Value):
            return general(*args, **settings)
        x, parent = a.array, a.vertex
        kind = type(x)
        if floating and x.dtype.kind != "f":
            return general(*args, **settings)
        try:
            y = forward(known(kind), x, **settings)
        except Exception:
            return general(*args, **settings)  # which says what is wrong
        if type(y) is not kind or y.dtype is not x.dtype:
            return finish(known(kind), args, settings, [x], [parent], int(parent is not None), x.dtype, y)
        out = new(Value.result)
        out.array = y
        out.vertex = None
        if parent is not None:
            values: tuple[Any, ...] = (None, y, x)
            if has_extras:
                chosen = {**defaults, **settings} if defaults else settings
                values = (None, y, x, *[chosen[name] for name in names], x.shape)
            keep = keeps.get(1) or spec.find_keeps(1)
            kept = keep if type(keep) is tuple else keep(values)
            out.vertex = Node(spec, (parent,), kept, y.shape, y.dtype)
        return out

    return op


def _of_two(spec: Any, general: Call, finish: Call) -> Call:
    forward, has_extras, keeps, floating = spec.forward, spec.has_extras, spec.keeps, spec.floating
    current, usual, known, new = mode.current, mode.USUAL, MODULES.get, Value.__new__

    def op(*args: Any, **settings: Any) -> Any:
        if len(args) != 2 or settings or current() is not usual:
            return general(*args, **settings)
        a, b = args
        if not isinstance(a, Value):
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
        if floating and dtype.kind != "f":
            return general(a, b)
        try:
            z = forward(known(kind), x, y)
        except Exception:
            return general(a, b)  # which says what is wrong
        mask = (p is not None) + 2 * (q is not None)
        if type(z) is not kind or z.dtype is not dtype:
            return finish(known(kind), args, settings, [x, y], [p, q], mask, dtype, z)
        out = new(Value.result)
        out.array = z
        out.vertex = None
        if mask:
            keep = keeps.get(mask) or spec.find_keeps(mask)
            if type(keep) is not tuple:
                keep = keep((None, z, x, y, x.shape, y.shape) if has_extras else (None, z, x, y))
            out.vertex = Node(spec, (p, q), keep, z.shape, dtype)
        return out

    return op
