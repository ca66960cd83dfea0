"""A cell over time: what fuse/scan.py runs, in the words of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..engine.errors import Mismatch
from ..tensor import Tensor
from .cell import Cell
from .checkpoint import checkpoint
from .state import State, map_state

if TYPE_CHECKING:
    from ..fuse.scan import Scanned


def scanned(cell: Cell, state: State) -> Scanned:
    """A cell as what runs over time, with states of the structure of `state`."""
    from ..fuse.scan import Scanned  # at the first layer that runs: importing the package is quick without

    def project(xs: list[Any]) -> list[Any]:
        return [cell.project(xs[0])]

    def step(xs: list[Any], states: list[Any]) -> tuple[list[Any], list[Any]]:
        new = cell.step(xs[0], unflattened(state, states))
        return [cell.output(new)], flattened(new)

    kind = type(cell)
    return Scanned(step, cell, [kind.project, kind.step, kind.output], type(state), project)


def scan(
    cell: Cell,
    x: Tensor,
    state: State,
    batch_sizes: Sequence[int],
    reverse: bool,
    checkpoint_every: int | None = None,
) -> tuple[Tensor, State]:
    """Runs a cell over packed rows x (sum of the batch sizes, input_size), from `state` (B, ...), sorted.

    Returns the outputs, packed like x, and the state of each row after its last step. With `checkpoint_every`
    nothing is saved of so many steps at a time but where they began.
    """
    from ..fuse.scan import scan_packed

    (output,), final = scan_packed(
        scanned(cell, state), [x], flattened(state), batch_sizes, reverse, checkpoint_every, checkpoint
    )
    return output, unflattened(state, final)


def explained(cell: Cell, x: Tensor, what: str) -> str:
    """What is made of a cell's step for inputs like x (rows, input_size): see Recurrent.explain."""
    if what not in ("step", "reverse", "c", "cuda"):
        raise Mismatch(f"explain: {what!r} is unknown; there are 'step', 'reverse', 'c' and 'cuda'")
    from ..fuse.explain import Explanation
    from ..fuse.trace import Untraceable

    state = cell.initial_state(x.shape[0], x)
    flat = flattened(state)
    named = {id(p): name for name, p in cell.named_parameters()}
    step, inputs, before = scanned(cell, state), ["x"], ""
    try:
        traced = step.traced([x], flat, True)
    except Untraceable as reason:  # the half that does not wait for the state may be what cannot be read
        before, inputs = f"project runs as it stands: {reason}\n", ["px"]
        try:
            traced = step.traced([cell.project(x)], flat, False)
        except Untraceable as reason:
            return f"runs op by op: {reason}"
    states = getattr(state, "_fields", ["h"]) if len(flat) == 1 or hasattr(state, "_fields") else []
    names = states if len(states) == len(flat) else [f"s{k}" for k in range(len(flat))]
    constants = [named.get(id(c), f"constant{k}") for k, c in enumerate(traced.constants)]
    return before + Explanation(traced, inputs, names, constants).text(what)


def flattened(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    tensors: list[Tensor] = []
    map_state(tensors.append, state)
    return tensors


def unflattened(like: State, tensors: Sequence[Any]) -> State:
    """The tensors in the structure of `like`."""
    following = iter(tensors)
    return map_state(lambda _: next(following), like)
