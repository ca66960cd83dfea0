"""States of cells, whatever their structure; and how they are carried from one stretch of a sequence on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..backend.naming import came
from ..engine.errors import Mismatch, WrongKind
from ..ops import where
from ..tensor import Tensor

State = Any  # a tensor (batch, hidden_size), or a tuple of states


def map_state(function: Callable[..., Any], state: State, *others: State) -> State:
    """`function` applied to each tensor of a state (and those at the same place in others): the same
    structure.
    """
    if isinstance(state, tuple):
        parts = [map_state(function, *each) for each in zip(state, *others, strict=True)]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return function(state, *others)


def match_state(name: str, state: State, expected: State) -> State:
    """A state that the user gives, in the structure of `expected`. Raises where shapes or structure
    differ.
    """
    if isinstance(expected, tuple):
        if not isinstance(state, (tuple, list)) or len(state) != len(expected):
            fields = ", ".join(getattr(expected, "_fields", [f"s{i}" for i in range(len(expected))]))
            raise WrongKind(f"{name}: state must be a tuple ({fields}), got {_kind(state)}")
        parts = [match_state(name, s, e) for s, e in zip(state, expected, strict=True)]
        return type(expected)(*parts) if hasattr(expected, "_fields") else tuple(parts)
    if not isinstance(state, Tensor):
        raise WrongKind(f"{name}: state must be a Tensor, got {_kind(state)}")
    if state.array.shape != expected.array.shape:
        raise Mismatch(f"{name}: state has shape {state.shape}, expected {expected.shape}")
    return state


def shapes_of(state: State) -> Any:
    """The structure of a state, as something to compare."""
    if isinstance(state, Tensor):
        return state.array.shape
    return (type(state), *map(shapes_of, state)) if isinstance(state, tuple) else None


def _kind(state: Any) -> str:
    return f"a tuple of {len(state)}" if isinstance(state, (tuple, list)) else came(state)


def detach(state: State) -> State:
    """The same state as a constant: the next stretch of truncated backpropagation through time starts
    here.
    """
    return None if state is None else map_state(lambda s: s.detach(), state)


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
        raise Mismatch(f"tbptt: every must be a positive integer, got {every!r}")
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
            raise Mismatch(f"reset_rows: rows has shape {mask.shape}, expected ({s.shape[-2]},)")
        y: Tensor = where(mask.bool().unsqueeze(-1), start, s)
        return y

    return map_state(chosen, state, initial)
