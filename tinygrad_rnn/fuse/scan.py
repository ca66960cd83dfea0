"""A step over time, for sequences of several lengths: packed rows (see packing.py), in stretches of steps
that have the same number of rows. Read backwards, the blocks are taken from the last to the first, and rows
join in at their own end.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FunctionType, SimpleNamespace
from typing import Any

from ..engine import Value, mode
from ..ops.shape import concat, split
from .effects import watched
from .packing import Packing
from .stretch import Steps, one_by_one, read
from .trace import Traced, Untraceable
from .validity import remembered

Values = list[Any]


class Scanned:
    """What runs over time: `step(xs, states) -> (outputs, new states)`, flat lists of tensors (rows, ...).

    `project(xs)` is what can be done to the inputs of all steps at once, and stands before the step. `owner`
    has the attributes that they read, and `functions` are the user's own, for validity.py; without an owner
    the step is traced at each call. `n_rows`: as in `read`. `noted` is what the step notes when it runs.
    """

    def __init__(
        self,
        step: Callable[[Values, Values], tuple[Values, Values]],
        owner: Any,
        functions: Sequence[Any],
        key: Any = None,
        project: Callable[[Values], Values] | None = None,
        n_rows: int | None = None,
        noted: dict[str, Any] | None = None,
    ) -> None:
        self.step, self.owner, self.functions, self.key = step, owner, functions, key
        self.project, self.n_rows = project, n_rows
        self.noted: dict[str, Any] = {} if noted is None else noted
        self.sizes: list[int] = []  # of batches that it is for: a step may tell one from another
        self.why: str | None = None  # why it runs op by op, where it does

    def traced(self, xs: Values, states: Values, with_project: bool) -> Traced:
        """The trace of the step, and of what is done to the inputs before. Raises Untraceable."""
        n_inputs = len(xs)

        def step(*given: Any) -> Values:
            inside = [*given[:n_inputs]]
            if with_project and self.project is not None:
                inside = self.project(inside)
            outputs, new = self.step(inside, [*given[n_inputs:]])
            return [*outputs, *new]

        if self.owner is None:
            return read(step, xs, states, self.n_rows)

        def make(basis: Any, sizes: Sequence[int]) -> Traced:
            with watched(basis):
                traced = read(step, xs, states, also=sizes)
            return traced._replace(note={**self.noted})

        kinds = tuple([(t.shape[1:], t.dtype) for t in (*xs, *states)])
        key = (self.key, with_project, n_inputs, kinds, type(xs[0].array))
        return remembered(self.owner, self.functions, key, make, self.sizes)

    def prepared(self, xs: Values, states: Values, heights: list[int]) -> tuple[list[Values], Any]:
        """The inputs of stretches with so many rows each, and what runs a stretch: as one node where the step
        can be read, else op by op.
        """
        now = mode.current()
        px = None
        if now.fused and not now.debug:
            for with_project in (True, False) if self.project is not None else (True,):
                try:
                    if not with_project:
                        px = self.project(xs)  # type: ignore[misc]
                    given = xs if px is None else px
                    traced = self.traced(given, states, with_project)
                    steps = Steps(traced, given, states)
                except Untraceable as reason:
                    self.why = str(reason)
                    continue
                self.noted.update(traced.note or {})
                return _parts(steps.inputs, heights), steps.stretch
        if px is None:
            px = xs if self.project is None else self.project(xs)
        return _parts(px, heights), functools.partial(one_by_one, self.step)


def _parts(xs: Values, heights: list[int]) -> list[Values]:
    """The inputs of each stretch."""
    if len(heights) == 1:
        return [xs]
    return [[*own] for own in zip(*(split(x, heights) for x in xs), strict=True)]


def scan_packed(
    scanned: Scanned,
    xs: Values,
    states: Values,
    batch_sizes: Sequence[int],
    reverse: bool,
    every: int | None = None,
    checkpoint: Callable[..., Any] | None = None,
) -> tuple[Values, Values]:
    """Runs over packed inputs (sum of the batch sizes, ...) from states (B, ...), sorted.

    Returns the outputs, packed like the inputs, and the state of each row after its last step. With `every`,
    of so many steps at a time nothing is saved but where they began, by way of `checkpoint`.
    """
    if not batch_sizes or not batch_sizes[0]:  # every sequence is empty: a step of no rows, in the graph
        batch_sizes = [0]
    if len(batch_sizes) == 1 and states[0].shape[0] == batch_sizes[0]:  # one step is no loop
        return scanned.step(xs if scanned.project is None else scanned.project(xs), states)
    stretches = [(n, len([*same])) for n, same in itertools.groupby(batch_sizes)]
    scanned.sizes = [n for n, _ in stretches]
    if every is None or checkpoint is None:
        parts, run = scanned.prepared(xs, states, [n * n_steps for n, n_steps in stretches])
    else:
        stretches = [(n, min(every, k - start)) for n, k in stretches for start in range(0, k, every)]
        parts = _parts(xs, [n * n_steps for n, n_steps in stretches])

        def run(xs: Values, states: Values, n_steps: int, reverse: bool) -> tuple[Values, Values]:
            def stretch(xs: Values, states: Values) -> tuple[Values, Values]:
                (own,), inner = scanned.prepared(xs, states, [xs[0].shape[0]])
                found: tuple[Values, Values] = inner(own, states, n_steps, reverse)
                return found

            done: tuple[Values, Values] = checkpoint(stretch, xs, states)
            return done

    if len(stretches) == 1 and states[0].shape[0] == batch_sizes[0]:
        return run(parts[0], states, len(batch_sizes), reverse)
    outputs, final = (_backwards if reverse else _forwards)(run, parts, states, stretches)
    return [concat(own) for own in zip(*outputs, strict=True)], final


def _forwards(run: Any, parts: list[Values], states: Values, stretches: Any) -> tuple[list[Values], Values]:
    outputs, ended = [], []
    for xs, (n, n_steps) in zip(parts, stretches, strict=True):
        if states[0].shape[0] != n:
            ended.append([s[n:] for s in states])
            states = [s[:n] for s in states]
        output, states = run(xs, states, n_steps, False)
        outputs.append(output)
    return outputs, _below(states, *reversed(ended))


def _backwards(run: Any, parts: list[Values], states: Values, stretches: Any) -> tuple[list[Values], Values]:
    outputs: list[Values] = []
    start, n_before = states, 0
    now: Values = []
    for xs, (n, n_steps) in zip(reversed(parts), reversed(stretches), strict=True):
        joining = start  # rows whose end is here join in
        if n - n_before != start[0].shape[0]:
            joining = [s[n_before:n] for s in start]
        now = _below(now, joining) if now else joining
        n_before = n
        output, now = run(xs, now, n_steps, True)
        outputs.append(output)
    if n_before != start[0].shape[0]:
        now = _below(now, [s[n_before:] for s in start])
    return outputs[::-1], now


def _below(states: Values, *others: Values) -> Values:
    """States laid below each other: more rows."""
    return [concat(own) for own in zip(states, *others, strict=True)] if others else states


# ---------------------------------------------------------------- for users


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    xs: Any,
    state: Any,
    *,
    lengths: Sequence[int] | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Runs `step(x, state) -> (output, state)` over the first axis of xs: one node of the graph, where the
    step does the same at every time, else op by op.

    xs: (T, B, ...), state: (B, ...); each may be tensors in tuples, named tuples, lists and dicts, and so may
    the output. `lengths`: for each row of the batch how many of the T steps are real, integers from 0 to T.
    `reverse` reads from the end of each row. Returns the outputs (T, B, ...), zeros past each end, and the
    state of each row after its last step. Raises ValueError where shapes do not fit.
    """
    flat_xs, flat_states = leaves(xs), leaves(state)
    if not flat_xs or not flat_states or not all(isinstance(v, Value) for v in (*flat_xs, *flat_states)):
        raise TypeError(
            "scan: xs and state must be tensors, or tensors in tuples, lists or dicts, at least one each"
        )
    n_steps, n = flat_xs[0].shape[:2] if flat_xs[0].ndim > 1 else (0, -1)
    if (
        n < 0
        or any(x.shape[:2] != (n_steps, n) for x in flat_xs)
        or any(s.shape[:1] != (n,) for s in flat_states)
    ):
        raise ValueError(
            f"scan: expected xs (time, batch, ...) and states (batch, ...) of one batch size, got xs "
            f"{[tuple(x.shape) for x in flat_xs]} and states {[tuple(s.shape) for s in flat_states]}"
        )

    noted: dict[str, Any] = {}

    def flat_step(xs_: Values, states_: Values) -> tuple[Values, Values]:
        output, new = step(rebuilt(xs, xs_), rebuilt(state, states_))
        outputs, n = leaves(output), xs_[0].shape[0]
        noted["structure"] = rebuilt(output, [None] * len(outputs))
        for y in outputs:
            found = y.array.shape if isinstance(y, Value) else type(y).__name__
            if found[:1] != (n,):
                raise ValueError(
                    f"scan: the step's output must be tensors (batch, ...), here of {n} rows, got {found}"
                )
        return outputs, matched(state, new)

    packing = Packing(n_steps, n, None if lengths is None else _checked(lengths, n_steps, n))
    owner, functions, key = _owner(step)
    scanned = Scanned(flat_step, owner, functions, key, noted=noted)
    outputs, final = scan_packed(
        scanned,
        [packing.pack(x) for x in flat_xs],
        [packing.sort(s) for s in flat_states],
        packing.batch_sizes,
        reverse,
    )
    return rebuilt(noted["structure"], [packing.unpack(o) for o in outputs]), rebuilt(
        state, [packing.unsort(s) for s in final]
    )


def _owner(step: Any) -> tuple[Any, list[Any], Any]:
    """What a step rests on, as validity.py takes it: an owner with what it reads, functions, and a key. A
    function that is made anew at each call, with other values in its closure, is the same function.
    """
    function = getattr(step, "__func__", step)
    if not isinstance(function, FunctionType):
        return SimpleNamespace(step=step), [], None
    owner = SimpleNamespace(
        given=(getattr(step, "__self__", None), function.__defaults__, function.__kwdefaults__)
    )
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing was assigned to it yet
            vars(owner)[f"{name} of the closure"] = cell.cell_contents
    return owner, [function], (function.__code__, id(function.__globals__))


def _checked(lengths: Any, n_steps: int, n: int) -> list[int]:
    """Lengths as integers. Raises ValueError where they are none of a batch of n rows and n_steps steps."""
    try:
        found = [int(k.__index__()) for k in lengths]
    except (AttributeError, TypeError):
        found = []
    if len(found) != n or not all(0 <= k <= n_steps for k in found):
        raise ValueError(f"scan: lengths must be {n} integers from 0 to {n_steps}, got {lengths!r}")
    return found


def leaves(nest: Any) -> Values:
    """What lies in tuples, lists and dicts, in order."""
    if isinstance(nest, dict):
        return [leaf for part in nest.values() for leaf in leaves(part)]
    if isinstance(nest, (tuple, list)):
        return [leaf for part in nest for leaf in leaves(part)]
    return [nest]


def matched(like: Any, nest: Any) -> Values:
    """The leaves of a state in the order of `like`. Raises ValueError where it has another structure."""
    if isinstance(like, dict):
        if not isinstance(nest, dict) or nest.keys() != like.keys():
            found = [*nest] if isinstance(nest, dict) else type(nest).__name__
            raise ValueError(f"scan: the state is a dict of {[*like]}, and the step's new state {found}")
        return [leaf for key, part in like.items() for leaf in matched(part, nest[key])]
    if isinstance(like, (tuple, list)):
        if not isinstance(nest, (tuple, list)) or len(nest) != len(like):
            found = f"{len(nest)} parts" if isinstance(nest, (tuple, list)) else f"a {type(nest).__name__}"
            raise ValueError(f"scan: the state has {len(like)} parts, and the step's new state is {found}")
        return [leaf for own, part in zip(like, nest, strict=True) for leaf in matched(own, part)]
    if not isinstance(nest, Value):
        raise ValueError(
            f"scan: the step's new state must be tensors as the state is, got {type(nest).__name__}"
        )
    return [nest]


def rebuilt(like: Any, values: Sequence[Any]) -> Any:
    """The values in the structure of `like`."""
    return _built(like, iter(values))


def _built(nest: Any, following: Iterator[Any]) -> Any:
    if isinstance(nest, dict):
        return type(nest)((key, _built(part, following)) for key, part in nest.items())
    if isinstance(nest, (tuple, list)):
        parts = [_built(part, following) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return next(following)
