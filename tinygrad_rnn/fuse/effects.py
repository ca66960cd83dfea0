"""What a step does beside computing: a trace that changed anything is put back, and ends."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from .trace import Untraceable

HARMLESS = {"_fitting", "_rng"}  # attributes that no step reads; a generator that draws ends the trace
MOST_PARTS = 300  # mutable objects that are compared before and after a trace
MOST_LOOKED_AT = 4000  # elements that one may have for that
COPIED = (list, dict, set, deque, np.ndarray)
MISSING: Any = object()


def namespace(x: Any) -> dict[str, Any] | None:
    """The attributes of an object, if it has such a dict, without asking the object."""
    try:
        space: Any = object.__getattribute__(x, "__dict__")
    except AttributeError:
        return None
    return space if type(space) is dict else None


def assign(space: dict[str, Any], name: str, value: Any) -> None:
    """Puts a value, or MISSING, under a name."""
    if value is MISSING:
        space.pop(name, None)
    else:
        space[name] = value


class watched:
    """In this block a function of an owner is traced. What it changes of all that it can reach is put back,
    and ends the trace.
    """

    def __init__(self, basis: Any) -> None:
        self.basis = basis
        self.before = [(vars(module), dict(vars(module))) for module in basis.modules]
        self.copies: list[tuple[Any, Any]] = []
        for part in basis.parts:
            is_small = isinstance(part, COPIED) and getattr(part, "size", len(part)) < MOST_LOOKED_AT
            if is_small:
                self.copies.append((part, part.copy()))
            if (space := namespace(part)) is not None:
                self.before.append((space, dict(space)))
        self.states = [(g, _state(g)) for g in basis.generators]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        reasons = [self._namespaces(), self._containers(), self._generators()]
        if (name := self.basis.put_back()) is not None:
            reasons.append(f"it changes {name!r}, which is no attribute of its own")
        reason = next((r for r in reasons if r is not None), None)
        if reason is not None and (kind is None or issubclass(kind, Exception)):
            raise Untraceable(reason)

    def _namespaces(self) -> str | None:
        changed = None
        for space, before in self.before:
            for name in {**before, **space}:
                was = before.get(name, MISSING)
                if name not in HARMLESS and space.get(name, MISSING) is not was:
                    changed = f"it changes {name!r}, an attribute"
                    assign(space, name, was)
        return changed

    def _containers(self) -> str | None:
        changed = None
        for part, was in self.copies:
            if isinstance(part, np.ndarray):
                same = np.array_equal(part, was, equal_nan=part.dtype.kind in "fc")
            elif isinstance(part, dict):
                same = [*map(id, part.values())] == [*map(id, was.values())] and [*part] == [*was]
            else:
                same = len(part) == len(was) and all(a is b for a, b in zip(part, was, strict=True))
            if not same:
                changed = f"it changes a {type(part).__name__}"
                if isinstance(part, np.ndarray):
                    part[...] = was
                    continue
                part.clear()
                getattr(part, "extend" if isinstance(part, (list, deque)) else "update")(was)
        return changed

    def _generators(self) -> str | None:
        found = None
        for generator, state in self.states:
            if _state(generator) != state:
                _put_back(generator, state)
                found = "it draws random numbers"
        return found


def _state(generator: Any) -> Any:
    """Where a generator of random numbers stands: of NumPy's, new or old, or of Python's."""
    if hasattr(generator, "get_state"):
        kind, keys, *rest = generator.get_state()
        return kind, keys.tobytes(), *rest
    return generator.getstate() if hasattr(generator, "getstate") else dict(generator.bit_generator.state)


def _put_back(generator: Any, state: Any) -> None:
    if hasattr(generator, "get_state"):
        kind, keys, *rest = state
        generator.set_state((kind, np.frombuffer(keys, "uint32"), *rest))
    elif hasattr(generator, "getstate"):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state
