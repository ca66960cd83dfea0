"""State that is carried from one stretch of a sequence to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..ops import where
from ..tensor import Tensor
from .cells import State, detach, map_state


def tbptt(
    layer: Any, x: Tensor, every: int, state: State = None, *, time_axis: int | None = None
) -> Iterator[tuple[slice, Tensor, State]]:
    """Truncated backpropagation through time (Williams & Peng 1990): a long sequence in stretches.

        for part, output, state in nn.tbptt(lstm, x, every=50):
            loss = F.mse_loss(output, y[part])
            loss.backward()

    Yields which time steps a stretch has, the layer's output for them, and the state after them; the next
    stretch begins with that state as a constant. x (T, B, ...), or (B, T, ...) where the layer is
    `batch_first` (`time_axis` says otherwise); `every`: the steps of a stretch, the last may be shorter.
    """
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"tbptt: every must be a positive integer, got {every!r}")
    axis = int(x.ndim == 3 and getattr(layer, "batch_first", False)) if time_axis is None else time_axis
    for start in range(0, x.shape[axis], every):
        part = slice(start, min(start + every, x.shape[axis]))
        output, state = layer(x[(slice(None),) * axis + (part,)], state)
        yield part, output, state
        state = detach(state)


def reset_rows(state: State, rows: Any, initial: State = None) -> State:
    """The state of a batch with some rows begun anew: where a sequence has ended and another begins.

    rows: booleans (B,), True where to reset; `initial`: what to begin with, zeros if not given. Tensors of
    the state are (..., B, features).
    """
    if state is None:
        return None
    if initial is None:
        initial = map_state(lambda s: s.new_zeros(*s.shape), state)

    def chosen(s: Tensor, start: Tensor) -> Tensor:
        mask = rows if isinstance(rows, Tensor) else s.new_tensor(rows).bool()
        if mask.ndim != 1 or s.ndim < 2 or mask.shape[0] != s.shape[-2]:
            raise ValueError(f"reset_rows: rows has shape {mask.shape}, expected ({s.shape[-2]},)")
        y: Tensor = where(mask.bool().unsqueeze(-1), start, s)
        return y

    return map_state(chosen, state, initial)
