"""What may be asked of any cell: noise that keeps it from learning by heart. Wrappers around a cell."""

from __future__ import annotations

import copy
from typing import Any

from ..backend import default_rng
from ..fuse.pointwise import pointwise
from ..ops import concat, split
from ..tensor import Tensor
from . import functional as F
from .cell import Cell
from .state import State, map_state
from .weights import FORMER_NAMES


@pointwise
def mixed(new: Any, old: Any, kept: Any) -> Any:
    return kept * old + (1 - kept) * new


class Wrapper(Cell):
    """A cell around another: what a subclass does not define is the other's.

        class Scaled(nn.Wrapper):
            def output(self, state):
                return 0.5 * self.cell.output(state)

    `cell` is the one inside, `rng` the generator that was given, or None. What is random and the same for all
    steps of a batch is drawn in `for_sequence`, which returns the cell to run.
    """

    def __init__(self, cell: Cell, rng: Any = None) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"{type(self).__name__}: expected a cell, got {type(cell).__name__}")
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.rng = None if rng is None else default_rng(rng)

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def for_sequence(self, batch_size: int, like: Tensor) -> Cell:
        inside = self.cell.for_sequence(batch_size, like)
        if inside is self.cell:
            return self
        clone = copy.copy(self)
        vars(clone)["cell"] = inside
        return clone

    def project(self, x: Tensor) -> Tensor:
        return self.cell.project(x)

    def step(self, px: Tensor, state: State) -> State:
        return self.cell.step(px, state)

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        return self.cell.initial_state(batch_size, like)

    def output(self, state: State) -> Tensor:
        return self.cell.output(state)

    def reset_parameters(self, rng: Any = None) -> None:
        self.cell.reset_parameters(rng)


class RecurrentDropout(Wrapper):
    """Drops elements of the state where it enters the products, in training, the same ones at every time step
    of a sequence (Gal & Ghahramani 2016, eq. 7).

    The cells of this package do so; a cell of yours says where by `self.dropped(h)`.
    """

    def __init__(self, cell: Cell, p: float = 0.5, *, rng: Any = None) -> None:
        super().__init__(cell, rng)
        F.check_probability("RecurrentDropout", p)
        self.p = p

    def for_sequence(self, batch_size: int, like: Tensor) -> Cell:
        cell = self.cell.for_sequence(batch_size, like)
        if not self.training or not self.p:
            return cell
        clone = copy.copy(cell)
        inner = clone
        while isinstance(inner, Wrapper):  # the cell itself, inside of other wrappers
            vars(inner)["cell"] = copy.copy(inner.cell)
            inner = inner.cell
        ones = like.new_ones(batch_size, cell.output_size)
        vars(inner)["dropout_mask"] = F.dropout(ones, self.p, True, rng=self.rng)
        return clone

    def extra_repr(self) -> str:
        return f"p={self.p}"


class WeightDrop(Wrapper):
    """Drops elements of recurrent weights in training, the same ones for a whole batch of sequences (Merity,
    Keskar & Socher 2018; DropConnect of Wan et al. 2013). `names`: which parameters, by default all of the
    cell's `recurrent_weights`: weight_hh, weight_hn and weight_hr, where it has them.
    """

    def __init__(
        self, cell: Cell, p: float = 0.5, names: tuple[str, ...] | None = None, *, rng: Any = None
    ) -> None:
        super().__init__(cell, rng)
        F.check_probability("WeightDrop", p)
        own = dict(cell.named_parameters(recurse=False))
        if names is None:
            names = tuple(n for n in own if FORMER_NAMES.get(n, n) in cell.recurrent_weights)
        names = tuple(cell.present_name(n) for n in names)
        unknown = [n for n in names if n not in own]
        if unknown or not names:
            missing = ", ".join(unknown or cell.recurrent_weights)
            raise ValueError(
                f"WeightDrop: {type(cell).__name__} has no parameter {missing}; it has {', '.join(own)}: "
                "give those that multiply the state as names"
            )
        self.p, self.names = p, names

    def for_sequence(self, batch_size: int, like: Tensor) -> Cell:
        cell = self.cell.for_sequence(batch_size, like)
        if not self.training or not self.p:
            return cell
        clone = copy.copy(cell)
        for name in self.names:
            vars(clone)[name] = F.dropout(getattr(cell, name), self.p, True, rng=self.rng)
        return clone

    def extra_repr(self) -> str:
        return f"p={self.p}, names={self.names}"


class Zoneout(Wrapper):
    """Elements of the state that stay as they were, chosen anew at every step in training; otherwise the mean
    of old and new with these odds (Krueger et al. 2017, eq. 3).

    p: the odds for each tensor of the state in order (h; or h and c), or one for all.
    """

    def __init__(self, cell: Cell, p: float | tuple[float, ...] = 0.1, *, rng: Any = None) -> None:
        super().__init__(cell, rng)
        for one in p if isinstance(p, tuple) else (p,):
            F.check_probability("Zoneout", one)
        self.p = p

    def _odds(self, state: State) -> list[float]:
        n = len(_flat(state))
        odds = list(self.p) if isinstance(self.p, tuple) else [self.p] * n
        if len(odds) != n:
            raise ValueError(f"Zoneout: {len(odds)} probabilities for a state of {n} tensors")
        return odds

    def project(self, x: Tensor) -> Tensor:
        px = self.cell.project(x)
        if not self.training:
            return px
        parts = [px]
        state = self.cell.initial_state(1, px)
        for part, p in zip(_flat(state), self._odds(state), strict=True):
            like = px.new_ones(*px.shape[:-1], part.shape[-1])
            parts.append(Tensor._of(1 - F.kept_elements(like, p, self.rng)))
        joined: Tensor = concat(parts, axis=-1)
        return joined

    def step(self, px: Tensor, state: State) -> State:
        odds = self._odds(state)
        if not self.training:
            return _zipped(
                lambda new, old, p: p * old + (1 - p) * new, self.cell.step(px, state), state, odds
            )
        widths = [part.shape[-1] for part in _flat(state)]
        px, *masks = split(px, [px.shape[-1] - sum(widths), *widths], axis=-1)
        return _zipped(mixed, self.cell.step(px, state), state, masks)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class StateAsOutput(Wrapper):
    """A cell whose output is its whole state, side by side: how a layer learns the states of all steps."""

    def output(self, state: State) -> Tensor:
        parts = _flat(state)
        joined: Tensor = parts[0] if len(parts) == 1 else concat(parts, axis=-1)
        return joined


def _flat(state: State) -> list[Tensor]:
    found: list[Tensor] = []
    map_state(found.append, state)
    return found


def _zipped(function: Any, new: State, old: State, others: list[Any]) -> State:
    """`function` of each tensor of two states, and one more thing for each."""
    following = iter(others)
    return map_state(lambda a, b: function(a, b, next(following)), new, old)
