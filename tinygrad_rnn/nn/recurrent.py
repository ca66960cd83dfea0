"""Recurrent layers: cells in depth, in one direction or both, over the packed rows of `scan`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from ..backend import default_rng
from ..engine.errors import came, out_of_memory
from ..ops import concat, split, stack
from ..tensor import Tensor
from . import functional as F
from .cells import Cell, GRUCell, LSTMCell, RNNCell, State, map_state, match_state
from .containers import ParameterList
from .module import Module, ModuleList, Parameter
from .scan import Packing, flattened, scan, unflattened
from .utils.rnn import PackedSequence, read_lengths
from .wrappers import Showing


def _stacked(states: list[State]) -> State:
    """The states of several layers as one, layer by layer along a new first axis."""
    if len(states) == 1:
        return map_state(lambda s: s.unsqueeze(0), states[0])
    return map_state(lambda *parts: stack(parts), *states)


def _with_batch(name: str, state: Any) -> Tensor:
    """A part of a state for one sequence, with an axis for the batch."""
    if not isinstance(state, Tensor):
        raise TypeError(f"{name}: state must be a Tensor, got {came(state)}")
    return state.unsqueeze(1)


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
        if dropout and self.num_layers == 1:
            warnings.warn(
                f"{name}: dropout={dropout} is for what goes from one layer to the next, and with one layer "
                "drops nothing: give more layers, or an nn.Dropout behind it",
                UserWarning,
                stacklevel=2 if type(self) is Recurrent else 3,
            )
        self.dropout = dropout
        self.initial_state: ParameterList | None = None
        if learn_initial_state:
            likes = [next(iter(cell.parameters())) for cell in cells]
            starts = [cell.initial_state(1, like) for cell, like in zip(cells, likes, strict=True)]
            firsts = [s[0] for start in starts for s in flattened(start)]
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
            raise TypeError(f"{name}: x must be a Tensor or a PackedSequence, got {came(x)}")
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
                    widths = [part.shape[-1] for part in flattened(start)]
                    shown = unflattened(start, split(output, widths, axis=-1))
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
        state = None if state is None else map_state(lambda s: _with_batch(type(self).__name__, s), state)
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
