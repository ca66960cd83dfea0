"""Recurrent layers: cells in depth, in one direction or both, over the packed rows of `scan`."""

from __future__ import annotations

import warnings
from typing import Any

from ..backend import array_module, default_rng
from ..backend.naming import came
from ..creation import empty
from ..deprecation import warn_once
from ..engine.errors import Mismatch, WrongKind, callers_level, out_of_memory
from ..fuse.packing import Packing
from ..ops import concat, split, stack
from ..ops.shape import in_shape
from ..tensor import Tensor
from . import functional as F
from .cell import Cell
from .containers import ModuleList, ParameterList
from .module import Module, Parameter
from .pytorch_weights import PyTorchWeights
from .scan import explained, flattened, scan, unflattened
from .state import State, map_state, match_state
from .stream import Stream
from .utils.rnn import PackedSequence, read_lengths
from .wrappers import StateAsOutput


def _stacked(states: list[State]) -> State:
    """The states of several layers as one, layer by layer along a new first axis."""
    if len(states) == 1:
        return map_state(lambda s: in_shape(s, shape=(1, *s.shape)), states[0])
    return map_state(lambda *parts: stack(parts), *states)


def _with_batch(name: str, state: Any) -> Tensor:
    """A part of a state for one sequence, with an axis for the batch."""
    if not isinstance(state, Tensor):
        raise WrongKind(f"{name}: state must be a Tensor, got {came(state)}")
    return state.unsqueeze(1)


class Recurrent(PyTorchWeights):
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
    x may be a PackedSequence; then output is one too. `states` gives the states after every step.
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
            raise WrongKind(f"{name}: expected one or more cells")
        if bidirectional and len(cells) % 2:
            raise Mismatch(f"{name}: bidirectional layers need pairs of cells, got {len(cells)}")
        if bidirectional and reverse:
            raise Mismatch(f"{name}: a bidirectional layer reads both ways already; reverse has no meaning")
        if checkpoint_every is not None and (not isinstance(checkpoint_every, int) or checkpoint_every < 1):
            raise Mismatch(
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
                stacklevel=callers_level(),
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
        output, state, *states = self._over_time(x, state, lengths, return_states)
        if not return_states:
            return output, state
        warn_of_return_states(self)
        return output, state, *states

    def states(self, x: Any, state: State = None, lengths: Any = None, *, hx: State = None) -> State:
        """The states after every step, of every layer and direction: called as the layer is, it returns what
        the state has, with (layers * directions, T, B, hidden_size), or (.., B, T, ..) with `batch_first`, or
        (.., T, ..) for one sequence. Of an LSTM, `layer.states(x).c` are all its memories.

        Zeros past each row's end. Of a PackedSequence they come as if it were padded.
        """
        return self._over_time(x, hx if state is None else state, lengths, True)[2]

    def stream(self, batch: int = 1) -> Stream:
        """The layer on `batch` sequences that arrive step by step: an object that takes and gives NumPy
        arrays and keeps its state.

            stream = lstm.stream()
            for x in microphone:          # (1, input_size), or a block of steps (time, 1, input_size)
                y = stream(x)             # (1, hidden_size)

        It has `state`, `reset()` and `copy()`, and runs as in evaluation; see `nn.Stream`. Raises ValueError
        for a layer that reads backwards, which cannot begin before the end, and for one on a GPU.
        """
        name = type(self).__name__
        if self.bidirectional or self.reverse:
            raise ValueError(f"{name}.stream: the layer reads backwards, which cannot begin before the end")
        if not isinstance(batch, int) or batch < 1:
            raise ValueError(f"{name}.stream: batch must be a positive integer, got {batch!r}")
        parameter = next(iter(self.parameters()), None)
        like = empty(batch, self.input_size, dtype=None if parameter is None else parameter.dtype).zero_()
        device = array_module(like.array if parameter is None else parameter.array)
        if device.device_type != "cpu":
            raise ValueError(f"{name}.stream: the layer is on {device.name}; bring it here by layer.cpu()")
        return Stream(self, [*self.cells], self._initial_states(like, None, batch), like)

    def explain(self, what: str = "step") -> str:
        """What is made of the cells' steps, as text: "step", what is done before the loop and in it, and
        where the values lie; "reverse", the derived way back, with the line that makes each weight's
        gradient; "c", the compiled loops; "cuda", the kernels of a GPU. Where a step runs op by op, why.
        """
        texts = []
        for k, cell in enumerate(self.cells):
            layer, direction = divmod(k, self.num_directions)
            way = "backward" if self.reverse or direction else "forward"
            like = next(iter(cell.parameters()), None)
            x = empty(1, cell.input_size, dtype=None if like is None else like.dtype)
            texts.append(f"{type(cell).__name__}, layer {layer}, {way}\n{explained(cell, x, what)}")
        return "\n\n".join(texts)

    def _over_time(self, x: Any, state: State, lengths: Any, all_states: bool) -> tuple[Any, ...]:
        """Output and state, and with `all_states` those of every step, whichever form x has."""
        if isinstance(x, PackedSequence):
            return self._run_packed(x, state, lengths, all_states)
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise WrongKind(f"{name}: x must be a Tensor or a PackedSequence, got {came(x)}")
        if x.ndim == 2:
            return self._run_unbatched(x, state, lengths, all_states)
        if x.ndim != 3:
            wanted = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
            raise Mismatch(
                f"{name}: x has shape {x.shape}, expected {wanted}, or (time, features) for one sequence"
            )
        self._check_features(x)
        if self.batch_first:
            x = x.swapaxes(0, 1)
        if lengths is not None:
            lengths = read_lengths(name, lengths, x.shape[0], x.shape[1])
        packing = Packing(x.shape[0], x.shape[1], lengths)
        output, state, *states = self._run(x, state, packing, all_states)
        if self.batch_first:
            output = output.swapaxes(0, 1)
            states = [map_state(lambda s: s.swapaxes(1, 2), each) for each in states]
        return output, state, *states

    def _run(self, x: Tensor, state: State, packing: Packing, all_states: bool) -> tuple[Any, ...]:
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
                    start = starts[k] if packing.order is None else map_state(packing.sort, starts[k])
                    cell = self.cells[k].for_sequence(packing.batch_size, x)
                    run = StateAsOutput(cell) if all_states else cell
                    output, final = scan(
                        run, packed, start, packing.batch_sizes, reverse, self.checkpoint_every
                    )
                except MemoryError as reason:
                    raise out_of_memory(f"{type(self).__name__}, layer {layer}", [packed], reason) from reason
                if all_states:
                    widths = [part.shape[-1] for part in flattened(start)]
                    shown = unflattened(start, split(output, widths, axis=-1))
                    states.append(map_state(packing.unpack, shown))
                    output = cell.output(shown)
                outputs.append(output)
                finals.append(final if packing.order is None else map_state(packing.unsort, final))
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

    def _run_unbatched(self, x: Tensor, state: State, lengths: Any, all_states: bool) -> tuple[Any, ...]:
        if lengths is not None and getattr(lengths, "ndim", 1) == 0:
            lengths = [lengths]
        batch_axis = 0 if self.batch_first else 1
        self._check_features(x)
        state = None if state is None else map_state(lambda s: _with_batch(type(self).__name__, s), state)
        output, state, *states = self._over_time(x.unsqueeze(batch_axis), state, lengths, all_states)
        states = [map_state(lambda s: s.squeeze(1 + batch_axis), each) for each in states]
        return output.squeeze(batch_axis), map_state(lambda s: s.squeeze(1), state), *states

    def _run_packed(self, x: PackedSequence, state: State, lengths: Any, all_states: bool) -> tuple[Any, ...]:
        if lengths is not None:
            raise Mismatch(
                f"{type(self).__name__}: a PackedSequence has its lengths already; leave lengths out"
            )
        padded: Tensor = x.padded
        self._check_features(padded)
        packing = Packing(padded.shape[0], padded.shape[1], list(x.lengths))
        output, *states = self._run(padded, state, packing, all_states)
        return x.with_padded(output), *states

    def _check_features(self, x: Tensor) -> None:
        if x.shape[-1] != self.input_size:
            raise Mismatch(
                f"{type(self).__name__}: x has {x.shape[-1]} features on its last axis, expected "
                f"input_size = {self.input_size}. Is the batch axis where you mean it? "
                f"(batch_first={self.batch_first})"
            )
        if x.dtype.kind != "f":
            raise WrongKind(
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


def warn_of_return_states(layer: Module) -> None:
    """`return_states=True` was how one asked for what `states` gives."""
    name = type(layer).__name__
    message = f"{name}: return_states=True still works; layer.states(x) gives the states of all steps"
    warn_once("return_states", message, stacklevel=4)  # at the line that calls the layer
