"""Two recurrent layers over the same sequence, one from each end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .. import ops
from ..engine.errors import Mismatch, WrongKind
from ..ops import concat, stack
from ..tensor import Tensor
from .module import Module
from .recurrent import Recurrent, warn_of_return_states
from .state import State, map_state
from .utils.rnn import PackedSequence


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
            raise Mismatch(f"Bidirectional: merge is {merge!r}, expected one of {names}")
        self.merge = merge
        if not isinstance(layer, Recurrent) or layer.bidirectional or layer.reverse:
            raise WrongKind(
                "Bidirectional: expected a recurrent layer that reads forwards, such as LSTM(...)"
            )
        if backward is None:
            backward = copy.deepcopy(layer)
            for cell in backward.cells:
                if hasattr(cell, "reset_parameters"):
                    cell.reset_parameters(rng)
        elif len(backward.cells) != len(layer.cells) or backward.batch_first != layer.batch_first:
            raise Mismatch("Bidirectional: the two layers differ in depth or batch_first")
        elif rng is not None:
            raise Mismatch("Bidirectional: rng is for the twin of one layer; two layers begin as they are")
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
        old: dict[str, Any] = {}
        if return_states:
            warn_of_return_states(self)
            old = {"return_states": True}
        there, back = _parted(state)
        ahead, *ended = self.forward_layer(x, there, lengths, **old)
        behind, *began = self.backward_layer(x, back, lengths, **old)
        states = [map_state(_paired, a, b) for a, b in zip(ended, began, strict=True)]
        merge = _MERGES[self.merge]
        if merge is None:
            return (ahead, behind), *states
        if isinstance(x, PackedSequence):
            return x.with_padded(merge(ahead.padded, behind.padded)), *states
        return merge(ahead, behind), *states

    def states(self, x: Any, state: State = None, lengths: Any = None) -> State:
        """The states after every step, as `Recurrent.states` gives them, in pairs (forward, backward)."""
        there, back = _parted(state)
        ahead = self.forward_layer.states(x, there, lengths)
        behind = self.backward_layer.states(x, back, lengths)
        return map_state(_paired, ahead, behind)

    def extra_repr(self) -> str:
        return "" if self.merge == "concat" else f"merge={self.merge!r}"


def _parted(state: State) -> tuple[State, State]:
    """A state of both directions as two, of those that read forwards and those that read backwards."""
    if state is None:
        return None, None
    return map_state(lambda s: s[0::2], state), map_state(lambda s: s[1::2], state)


def _paired(a: Tensor, b: Tensor) -> Tensor:
    """The states of two directions: layer 0 forward, layer 0 backward, layer 1 forward, ..."""
    paired: Tensor = ops.reshape(stack([a, b], axis=1), (2 * a.shape[0], *a.shape[1:]))
    return paired


_MERGES: dict[str | None, Callable[[Tensor, Tensor], Tensor] | None] = {
    "concat": lambda a, b: concat([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) * 0.5,
    "product": lambda a, b: a * b,
    None: None,
}
