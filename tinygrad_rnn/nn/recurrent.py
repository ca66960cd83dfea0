"""Cells over time: lengths, direction, depth. One way through for all of them.

Sequences are *packed* first: sorted by length, longest first, and laid out time step by time step without
padding, so that the rows of a time step are one block and those still running are always the first ones of
it.

    lengths 3, 2, 1:   a0 b0 c0 | a1 b1 | a2          rows per step 3, 2, 1

Everything runs on packed rows: padding is never computed, and needs no mask. Without lengths every step has
all rows, and packing is a reshape. A layer that reads backwards takes the blocks from the last to the first,
and rows join in at their own end.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import ops
from ..backend import array_module, default_rng
from ..engine import mode
from ..engine.errors import out_of_memory
from ..ops import concat, split, stack
from ..ops.index import place_rows, take_rows
from ..ops.loop import loop
from ..tensor import Tensor
from . import functional as F
from .cells import Cell, GRUCell, LSTMCell, RNNCell, State, map_state, match_state
from .checkpoint import checkpoint
from .containers import ParameterList
from .module import Module, ModuleList, Parameter
from .utils.rnn import PackedSequence, read_lengths
from .wrappers import Showing


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
    if not rows or not rows[0]:  # every sequence is empty
        return cell.output(state)[:0], state
    stretches = [(n, len([*same])) for n, same in itertools.groupby(rows)]  # rows, and for how many steps
    run: Any = _stretch
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


def _stretch(cell: Cell, px: Tensor, state: State, n_steps: int, reverse: bool) -> tuple[Tensor, State]:
    """Some steps of equal size: as one node where the cell allows it, else one by one."""
    now = mode.current()
    if cell.static and now.fused and not now.debug and n_steps > 3:

        def step(x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            new = cell.step(x, _unflattened(state, states))
            return cell.output(new), _flattened(new)

        done = loop(step, px, _flattened(state), n_steps, reverse)
        if done is not None:
            return done[0], _unflattened(state, done[1])  # type: ignore[return-value]
    outputs = []
    steps = split(px, px.shape[0] // n_steps)
    for x in reversed(steps) if reverse else steps:
        state = cell.step(x, state)
        outputs.append(cell.output(state))
    return concat(outputs[::-1] if reverse else outputs), state


def _flattened(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    tensors: list[Tensor] = []
    map_state(tensors.append, state)
    return tensors


def _unflattened(like: State, tensors: Sequence[Any]) -> State:
    """The tensors in the structure of `like`."""
    following = iter(tensors)
    return map_state(lambda _: next(following), like)


def _stacked(states: list[State]) -> State:
    """The states of several layers as one, layer by layer along a new first axis."""
    if len(states) == 1:
        return map_state(lambda s: s.unsqueeze(0), states[0])
    return map_state(lambda *parts: stack(parts), *states)


def _height(state: State) -> int:
    while isinstance(state, tuple):
        state = state[0]
    return int(state.shape[0])


def _below(state: State, *others: State) -> State:
    """States laid below each other: more rows."""
    return map_state(lambda *parts: concat(parts), state, *others) if others else state


class Recurrent(Module):
    """Runs cells over time: any cell, a user's too.

    `Recurrent(cell)` is one layer; `Recurrent(a, b)` two, the second reading the first's output; with
    `bidirectional` the cells come in pairs (forward, backward) for each layer, and outputs of a pair are
    joined. `reverse` reads from the end. `dropout` is the probability with which elements between layers are
    dropped in training. `checkpoint_every=k` keeps of k steps at a time only where they began, and computes
    them again in backward: with k near the root of T, the memory for T steps is of the order of that root, at
    the cost of one more forward (Gruslys et al. 2016; see `checkpoint`).

    `output, state = layer(x, state=None, lengths=None)`:
    x (T, B, input_size), or (B, T, input_size) with `batch_first`, or (T, input_size) for one sequence.
    lengths: for each row how many of the T steps are real, integers in any order, zeros allowed.
    output (T, B, directions * hidden_size), zeros past each end (or batch first, or unbatched, as x is).
    state: the cell's state with (layers * directions, B, hidden_size), after each row's last step; that of a
    row of length 0 is its initial one. The same shapes go in; zeros if not given, or, with
    `learn_initial_state`, parameters, which begin as what the cell begins with.
    With `return_states=True` a third result has the states after every step: what the state has, with
    (layers * directions, T, B, hidden_size), or (.., B, T, ..) with `batch_first`.
    x may be a PackedSequence; then output is one too.
    """

    def __init__(
        self,
        *cells: Cell,
        bidirectional: bool = False,
        reverse: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        rng: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not cells or not all(isinstance(c, Cell) for c in cells):
            raise TypeError(f"{name}: expected one or more cells")
        if bidirectional and len(cells) % 2:
            raise ValueError(f"{name}: bidirectional layers need pairs of cells, got {len(cells)}")
        if bidirectional and reverse:
            raise ValueError(f"{name}: a bidirectional layer reads both ways already; reverse has no meaning")
        if checkpoint_every is not None and (not isinstance(checkpoint_every, int) or checkpoint_every < 1):
            raise ValueError(
                f"{name}: checkpoint_every must be a positive integer or None, got {checkpoint_every!r}"
            )
        self.checkpoint_every = checkpoint_every
        self.cells = ModuleList(cells)
        self.bidirectional, self.reverse, self.batch_first = bidirectional, reverse, batch_first
        self.num_directions = 2 if bidirectional else 1
        self.num_layers = len(cells) // self.num_directions
        self.input_size, self.hidden_size = cells[0].input_size, cells[0].hidden_size
        F.check_probability(type(self).__name__, dropout, "dropout")
        self.dropout = dropout
        self.initial_state: ParameterList | None = None
        if learn_initial_state:
            likes = [next(iter(cell.parameters())) for cell in cells]
            starts = [cell.initial_state(1, like) for cell, like in zip(cells, likes, strict=True)]
            firsts = [s[0] for start in starts for s in _flattened(start)]
            self.initial_state = ParameterList(Parameter(s.detach()) for s in firsts)
        self._rng = None if rng is None else default_rng(rng)

    def forward(
        self,
        x: Any,
        state: State = None,
        lengths: Any = None,
        *,
        hx: State = None,
        return_states: bool = False,
    ) -> Any:
        state = hx if state is None else state  # PyTorch's name for it
        if isinstance(x, PackedSequence):
            return self._run_packed(x, state, lengths, return_states)
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: x must be a Tensor or a PackedSequence, got a {type(x).__name__}")
        if x.ndim == 2:
            return self._run_unbatched(x, state, lengths, return_states)
        if x.ndim != 3:
            wanted = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
            raise ValueError(
                f"{name}: x has shape {x.shape}, expected {wanted}, or (time, features) for one sequence"
            )
        self._check_features(x)
        if self.batch_first:
            x = x.swapaxes(0, 1)
        if lengths is not None:
            lengths = read_lengths(name, lengths, x.shape[0], x.shape[1])
        packing = Packing(x.shape[0], x.shape[1], lengths)
        output, state, *states = self._run(x, state, packing, return_states)
        if self.batch_first:
            output = output.swapaxes(0, 1)
            states = [map_state(lambda s: s.swapaxes(1, 2), all_) for all_ in states]
        return output, state, *states

    def _run(self, x: Tensor, state: State, packing: Packing, return_states: bool) -> tuple[Any, ...]:
        """x (T, B, input_size) -> output (T, B, directions * hidden_size) and the state; and those of all
        steps.
        """
        starts = self._initial_states(x, state, packing.batch_size)
        packed, finals, states = packing.pack(x), [], []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                packed = F.dropout(packed, self.dropout, self.training, rng=self._rng)
            outputs = []
            for direction in range(self.num_directions):
                k = layer * self.num_directions + direction
                reverse = self.reverse or direction == 1
                try:
                    start = packing.sort(starts[k])
                    cell = self.cells[k].for_sequence(packing.batch_size, x)
                    run = Showing(cell) if return_states else cell
                    output, final = scan(run, packed, start, packing.rows, reverse, self.checkpoint_every)
                except MemoryError as reason:
                    raise out_of_memory(f"{type(self).__name__}, layer {layer}", [packed], reason) from reason
                if return_states:
                    widths = [part.shape[-1] for part in _flattened(start)]
                    shown = _unflattened(start, split(output, widths, axis=-1))
                    states.append(map_state(packing.unpack, shown))
                    output = cell.output(shown)
                outputs.append(output)
                finals.append(packing.unsort(final))
            packed = outputs[0] if len(outputs) == 1 else concat(outputs, axis=-1)
        return packing.unpack(packed), *(_stacked(each) for each in (finals, states) if each)

    def _initial_states(self, x: Tensor, state: State, batch_size: int) -> list[State]:
        zeros = [cell.initial_state(batch_size, x) for cell in self.cells]
        if state is None and self.initial_state is not None:
            learned = iter(self.initial_state)
            return [map_state(lambda s: next(learned).expand(*s.shape), start) for start in zeros]
        if state is None:
            return zeros
        shapes = map_state(lambda s: s.unsqueeze(0).expand(len(zeros), *s.shape), zeros[0])
        state = match_state(type(self).__name__, state, shapes)
        return [map_state(lambda s, k=k: s[k], state) for k in range(len(zeros))]

    def _run_unbatched(self, x: Tensor, state: State, lengths: Any, return_states: bool) -> tuple[Any, ...]:
        if lengths is not None and getattr(lengths, "ndim", 1) == 0:
            lengths = [lengths]
        batch_axis = 0 if self.batch_first else 1
        self._check_features(x)
        state = None if state is None else map_state(lambda s: s.unsqueeze(1), state)
        output, state, *states = self.forward(
            x.unsqueeze(batch_axis), state, lengths, return_states=return_states
        )
        states = [map_state(lambda s: s.squeeze(1 + batch_axis), all_) for all_ in states]
        return output.squeeze(batch_axis), map_state(lambda s: s.squeeze(1), state), *states

    def _run_packed(
        self, x: PackedSequence, state: State, lengths: Any, return_states: bool
    ) -> tuple[Any, ...]:
        if lengths is not None:
            raise ValueError(
                f"{type(self).__name__}: a PackedSequence has its lengths already; leave lengths out"
            )
        padded: Tensor = x.padded
        self._check_features(padded)
        packing = Packing(padded.shape[0], padded.shape[1], list(x.lengths))
        output, *states = self._run(padded, state, packing, return_states)
        return x.with_padded(output), *states

    def _check_features(self, x: Tensor) -> None:
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: x has {x.shape[-1]} features on its last axis, expected "
                f"input_size = {self.input_size}. Is the batch axis where you mean it? "
                f"(batch_first={self.batch_first})"
            )
        if x.dtype.kind != "f":
            raise TypeError(
                f"{type(self).__name__}: x must be floating, got {x.dtype}; embed or x.float() it first"
            )

    def flatten_parameters(self) -> None:
        """Nothing: PyTorch lays its weights into one block; here a cell's gates are one block already."""

    def extra_repr(self) -> str:
        settings = {
            "bidirectional": self.bidirectional,
            "reverse": self.reverse,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "checkpoint_every": self.checkpoint_every,
        }
        return ", ".join(f"{name}={value}" for name, value in settings.items() if value)


# ---------------------------------------------------------------- the layers people know


def _cells(
    make: Callable[..., Cell],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    rng: Any,
    output_size: int = 0,
) -> list[Cell]:
    """The cells of a stack: every layer after the first reads the outputs of all directions of the one
    below, which are of `output_size`, by default the hidden size.
    """
    if not isinstance(num_layers, int) or num_layers < 1:
        raise ValueError(f"num_layers must be a positive integer, got {num_layers!r}")
    n = 2 if bidirectional else 1
    below = n * (output_size or hidden_size)
    sizes = [input_size if layer == 0 else below for layer in range(num_layers) for _ in range(n)]
    rng = None if rng is None else default_rng(rng)  # one generator for all, so that no two start alike
    return [make(size, hidden_size, rng=rng) for size in sizes]


class RNN(Recurrent):
    """Elman's net: `RNNCell` over time, `num_layers` deep. `nonlinearity` is "tanh" or "relu". See
    `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        place = {"device": device, "dtype": dtype}
        make = partial(RNNCell, bias=bias, nonlinearity=nonlinearity, init=init, **place)
        cells = _cells(make, input_size, hidden_size, num_layers, bidirectional, rng)
        super().__init__(
            *cells,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dropout=dropout,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            rng=rng,
        )


class LSTM(Recurrent):
    """Long short-term memory: `LSTMCell` over time, `num_layers` deep; the state is LSTMState(h, c), h of
    `proj_size` features where that is given. See `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        place = {"device": device, "dtype": dtype}
        make = partial(LSTMCell, bias=bias, proj_size=proj_size, init=init, **place)
        cells = _cells(make, input_size, hidden_size, num_layers, bidirectional, rng, proj_size)
        super().__init__(
            *cells,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dropout=dropout,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            rng=rng,
        )


class GRU(Recurrent):
    """Gated recurrent units: `GRUCell` over time, `num_layers` deep; `reset_after` is PyTorch's form. See
    `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = False,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        place = {"device": device, "dtype": dtype}
        make = partial(GRUCell, bias=bias, reset_after=reset_after, init=init, **place)
        cells = _cells(make, input_size, hidden_size, num_layers, bidirectional, rng)
        super().__init__(
            *cells,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dropout=dropout,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            rng=rng,
        )


class Bidirectional(Module):
    """Two layers over the same sequence, one from each end; their outputs joined along the features.

    `Bidirectional(layer)` takes a `Recurrent` layer (an LSTM, a GRU, any cell) and adds a twin of it, with
    starting values of its own, that reads from the end; `Bidirectional(forward, backward)` takes both. A
    layer of depth n is read n deep in each direction before the two are joined; for joining after every
    layer, give the layer `bidirectional=True`. Call and shapes as `Recurrent`; states come in pairs (forward,
    backward) for each layer.

    `merge`: how the two outputs become one: "concat", 2 * hidden_size features; "sum", "mean" or "product",
    hidden_size of them; or None: the output is the pair.
    """

    def __init__(
        self,
        layer: Recurrent,
        backward: Recurrent | None = None,
        *,
        merge: str | None = "concat",
        rng: Any = None,
    ) -> None:
        super().__init__()
        if merge not in _MERGES:
            names = ", ".join(map(repr, _MERGES))
            raise ValueError(f"Bidirectional: merge is {merge!r}, expected one of {names}")
        self.merge = merge
        if not isinstance(layer, Recurrent) or layer.bidirectional or layer.reverse:
            raise TypeError(
                "Bidirectional: expected a recurrent layer that reads forwards, such as LSTM(...)"
            )
        if backward is None:
            backward = copy.deepcopy(layer)
            for cell in backward.cells:
                if hasattr(cell, "reset_parameters"):
                    cell.reset_parameters(rng)
        elif len(backward.cells) != len(layer.cells) or backward.batch_first != layer.batch_first:
            raise ValueError("Bidirectional: the two layers differ in depth or batch_first")
        backward.reverse = True
        self.forward_layer, self.backward_layer = layer, backward
        self.batch_first, self.input_size, self.hidden_size = (
            layer.batch_first,
            layer.input_size,
            layer.hidden_size,
        )

    def forward(
        self, x: Any, state: State = None, lengths: Any = None, *, return_states: bool = False
    ) -> Any:
        there = back = None
        if state is not None:
            there, back = (map_state(lambda s, k=k: s[k::2], state) for k in (0, 1))
        ahead, *there = self.forward_layer(x, there, lengths, return_states=return_states)
        behind, *back = self.backward_layer(x, back, lengths, return_states=return_states)
        states = [map_state(_paired, a, b) for a, b in zip(there, back, strict=True)]
        merge = _MERGES[self.merge]
        if merge is None:
            return (ahead, behind), *states
        if isinstance(x, PackedSequence):
            return x.with_padded(merge(ahead.padded, behind.padded)), *states
        return merge(ahead, behind), *states

    def extra_repr(self) -> str:
        return "" if self.merge == "concat" else f"merge={self.merge!r}"


def _paired(a: Tensor, b: Tensor) -> Tensor:
    """The states of two directions: layer 0 forward, layer 0 backward, layer 1 forward, ..."""
    paired: Tensor = ops.reshape(stack([a, b], axis=1), (-1, *a.shape[1:]))
    return paired


_MERGES: dict[str | None, Callable[[Tensor, Tensor], Tensor] | None] = {
    "concat": lambda a, b: concat([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) * 0.5,
    "product": lambda a, b: a * b,
    None: None,
}
