"""A cell over time, for sequences of several lengths. One way through for all of them.

Sequences are *packed* first: sorted by length, longest first, and laid out time step by time step without
padding, so that the rows of a time step are one block and those still running are always the first ones of
it.

    lengths 3, 2, 1:   a0 b0 c0 | a1 b1 | a2          rows per step 3, 2, 1

Everything runs on packed rows: padding is never computed, and needs no mask. Without lengths every step has
all rows, and packing is a reshape. A layer that reads backwards takes the blocks from the last to the first,
and rows join in at their own end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..backend import array_module
from ..engine import mode
from ..ops import concat, split
from ..ops.index import place_rows, take_rows
from ..tensor import Tensor
from .cells import Cell, State, map_state
from .checkpoint import checkpoint


class Packing:
    """How a padded batch (T, B, ...) is laid out without padding.

    `rows[t]` counts the sequences longer than t. With lengths, `order` sorts the batch, `back` undoes it, and
    `places` are the rows of the packed layout in the flattened (T * B) one; all are None where nothing is
    padded.
    """

    def __init__(self, n_steps: int, batch_size: int, lengths: Sequence[int] | None) -> None:
        self.n_steps, self.batch_size = n_steps, batch_size
        self.order = self.back = self.places = None
        self.rows = [batch_size] * n_steps
        if lengths is None or all(n == n_steps for n in lengths):
            return
        order = sorted(range(batch_size), key=lambda b: -lengths[b])
        self.order = order
        self.back = sorted(range(batch_size), key=order.__getitem__)
        self.rows = [sum(n > t for n in lengths) for t in range(max(lengths))]
        self.places = [t * batch_size + b for t, n in enumerate(self.rows) for b in order[:n]]

    def pack(self, x: Tensor) -> Tensor:
        """(T, B, ...) -> (rows, ...)."""
        flat = x.reshape(self.n_steps * self.batch_size, *x.shape[2:])
        return flat if self.places is None else take_rows(flat, rows=_indices(x, self.places))

    def unpack(self, x: Tensor) -> Tensor:
        """(rows, ...) -> (T, B, ...), zeros in the padding."""
        if self.places is not None:
            n = self.n_steps * self.batch_size
            x = place_rows(x, rows=_indices(x, self.places), n=n)
        return x.reshape(self.n_steps, self.batch_size, *x.shape[1:])

    def sort(self, state: State) -> State:
        """A state (B, ...), longest sequence first."""
        return map_state(
            lambda s: s if self.order is None else take_rows(s, rows=_indices(s, self.order)), state
        )

    def unsort(self, state: State) -> State:
        """A state (B, ...) in the order of the batch."""
        return map_state(
            lambda s: s if self.back is None else take_rows(s, rows=_indices(s, self.back)), state
        )


def _indices(like: Tensor, rows: list[int]) -> Any:
    return array_module(like.array).asarray(rows, dtype="int64")


def scan(
    cell: Cell,
    x: Tensor,
    state: State,
    rows: Sequence[int],
    reverse: bool,
    checkpoint_every: int | None = None,
) -> tuple[Tensor, State]:
    """Runs a cell over packed rows x (sum(rows), input_size), from `state` (B, ...), sorted.

    Returns the outputs, packed like x, and the state of each row after its last step. With `checkpoint_every`
    nothing is kept of so many steps at a time but where they began.
    """
    if not rows or not rows[0]:  # every sequence is empty: a step of no rows, which is in the graph
        rows = [0]
    stretches = [(n, len([*same])) for n, same in itertools.groupby(rows)]  # rows, and for how many steps
    run: Any = partial(_stretch, memo={})  # the stretches differ in the number of rows alone
    if checkpoint_every:
        stretches = [part for n, n_steps in stretches for part in _parts(n, n_steps, checkpoint_every)]
        run = _stretch_again
    elif len(stretches) == 1 and _height(state) == rows[0]:
        return _stretch(cell, cell.project(x), state, len(rows), reverse)
    xs = split(x if checkpoint_every else cell.project(x), [n * n_steps for n, n_steps in stretches])
    outputs, final = (_backwards if reverse else _forwards)(run, cell, xs, state, stretches)
    return concat(outputs), final


def _parts(n: int, n_steps: int, every: int) -> list[tuple[int, int]]:
    """A stretch of n rows as several of at most `every` steps."""
    return [(n, min(every, n_steps - start)) for start in range(0, n_steps, every)]


def _stretch_again(cell: Cell, x: Tensor, state: State, n_steps: int, reverse: bool) -> tuple[Tensor, State]:
    """Some steps of equal size, from the input on, whose graph is made again in backward."""
    done: tuple[Tensor, State] = checkpoint(
        lambda x, state: _stretch(cell, cell.project(x), state, n_steps, reverse), x, state
    )
    return done


def _forwards(run: Any, cell: Cell, xs: Any, state: State, stretches: Any) -> tuple[list[Tensor], State]:
    outputs, ended = [], []
    for x, (n, n_steps) in zip(xs, stretches, strict=True):
        if _height(state) != n:
            ended.append(map_state(lambda s, n=n: s[n:], state))
            state = map_state(lambda s, n=n: s[:n], state)
        output, state = run(cell, x, state, n_steps, False)
        outputs.append(output)
    return outputs, _below(state, *reversed(ended))


def _backwards(run: Any, cell: Cell, xs: Any, state: State, stretches: Any) -> tuple[list[Tensor], State]:
    outputs: list[Tensor] = []
    start, n_before = state, 0
    state = None
    for x, (n, n_steps) in zip(reversed(xs), reversed(stretches), strict=True):
        joining = start  # rows whose end is here join in
        if n - n_before != _height(start):
            joining = map_state(lambda s, a=n_before, b=n: s[a:b], start)
        state = joining if state is None else _below(state, joining)
        n_before = n
        output, state = run(cell, x, state, n_steps, True)
        outputs.append(output)
    if n_before != _height(start):
        state = _below(state, map_state(lambda s: s[n_before:], start))
    return outputs[::-1], state


def _stretch(
    cell: Cell, px: Tensor, state: State, n_steps: int, reverse: bool, memo: dict[str, Any] | None = None
) -> tuple[Tensor, State]:
    """Some steps of equal size: as one node where the cell allows it, else one by one."""
    now = mode.current()
    if cell.static and now.fused and not now.debug and n_steps > 3:

        def step(x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            new = cell.step(x, unflattened(state, states))
            return cell.output(new), flattened(new)

        from ..ops.loop import loop  # at the first layer that runs: importing the package is quick without

        done = loop(step, px, flattened(state), n_steps, reverse, scratch=cell.projects_anew, memo=memo)
        if done is not None:
            return done[0], unflattened(state, done[1])  # type: ignore[return-value]
    outputs = []
    steps = split(px, [px.shape[0] // n_steps] * n_steps)
    for x in reversed(steps) if reverse else steps:
        state = cell.step(x, state)
        outputs.append(cell.output(state))
    return concat(outputs[::-1] if reverse else outputs), state


def flattened(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    tensors: list[Tensor] = []
    map_state(tensors.append, state)
    return tensors


def unflattened(like: State, tensors: Sequence[Any]) -> State:
    """The tensors in the structure of `like`."""
    following = iter(tensors)
    return map_state(lambda _: next(following), like)


def _height(state: State) -> int:
    while isinstance(state, tuple):
        state = state[0]
    return int(state.shape[0])


def _below(state: State, *others: State) -> State:
    """States laid below each other: more rows."""
    return map_state(lambda *parts: concat(parts), state, *others) if others else state
