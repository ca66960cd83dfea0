"""Layers on sequences that arrive step by step: NumPy arrays in, NumPy arrays out, the state kept between."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend.native import native
from ..engine import no_grad, versions
from ..tensor import Tensor
from .scan import flattened, unflattened
from .state import State, map_state, match_state

if TYPE_CHECKING:
    from ..fuse.lower.c_stream import CStream
    from .cell import Cell
    from .module import Module

__all__ = ["Stream"]


class Stream:
    """A recurrent layer that is given a sequence bit by bit, and remembers its state: see
    `Recurrent.stream`, which makes it.

    `stream(x)` with x (batch, input_size) is one step and returns y (batch, output_size); with x of shape
    (time, batch, input_size) it is a block of steps and returns (time, batch, output_size). `batch_first`
    layers take and give (batch, time, ...). Without `out=` the result lies in memory that the next call of
    that kind writes over: copy what is to stay. Raises ValueError for another shape, TypeError for what are
    no real numbers.

    The layer runs as in evaluation. Where a C compiler is found a call is one call of compiled code, which
    allocates nothing for one step. Weights that were changed in place or replaced since are seen; changes by
    way of `weight.array` are seen after `refresh()`.
    """

    def __init__(self, layer: Module, cells: Sequence[Cell], start: Sequence[State], like: Tensor) -> None:
        """`cells` run one behind the other, from the states `start`; `like`: an input of one step."""
        self.layer, self.batch_size, self.dtype = layer, like.shape[0], like.dtype
        self.batch_first = bool(getattr(layer, "batch_first", False))
        self._cells, self._like = [*cells], [*start]
        self._first = [s.array.copy() for s in self._flat(start)]
        self._states = [s.copy() for s in self._first]  # where nothing compiles
        self._one = tuple(like.shape)
        self._compiled: CStream | None = None
        self._weights: list[tuple[Tensor, Any]] = []
        self._latest = versions.latest
        with self._evaluating():
            width = self._step(like, self._tensors())[0].shape[1]
            self._compile(like)
        self._y = np.empty((self.batch_size, width), self.dtype)
        self._block = np.empty((0, self.batch_size, width), self.dtype)

    def _compile(self, like: Tensor) -> None:
        from ..fuse.lower.c import NotLowerable  # at the first stream: importing the package is quick without
        from ..fuse.lower.c_stream import CStream
        from ..fuse.stretch import read
        from ..fuse.trace import Untraceable

        def step(x: Any, *states: Any) -> list[Any]:
            y, new = self._step(x, states)
            return [y, *new]

        if not native.works or not self.batch_size:
            return
        try:
            traced = read(step, [like], self._tensors(), also=(self.batch_size,))
            self._weights = [(c, c.array) for c in traced.constants if isinstance(c, Tensor)]
            self._constants = [*traced.constants]
            self._compiled = CStream(traced.block, self._states, self._values(), self.batch_size)
        except (Untraceable, NotLowerable, OSError):
            self._compiled = None

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The layer as in evaluation, without a graph."""
        before = [(m, m.training) for m in self.layer.modules()]
        try:
            for m, _ in before:
                m.training = False
            with no_grad():
                yield
        finally:
            for m, training in before:
                m.training = training

    def _step(self, x: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """One step of all cells, one behind the other."""
        new: list[Any] = []
        following = iter(states)
        for cell, like in zip(self._cells, self._like, strict=True):
            own = [next(following) for _ in flattened(like)]
            after = cell.step(cell.project(x), unflattened(like, own))
            new += flattened(after)
            x = cell.output(after)
        return x, new

    def _flat(self, states: Sequence[State]) -> list[Tensor]:
        return [s for state in states for s in flattened(state)]

    def _tensors(self) -> list[Tensor]:
        return [Tensor._of(s) for s in self._states]

    def _values(self) -> list[Any]:
        return [getattr(c, "array", c) for c in self._constants]

    # ------------------------------------------------------------ steps

    def __call__(self, x: Any, *, out: Any = None) -> Any:
        compiled = self._compiled
        if (
            compiled is None
            or type(x) is not np.ndarray
            or x.shape != self._one
            or x.dtype != self.dtype
            or not x.flags.c_contiguous
            or not x.flags.aligned
            or out is not None
            or x is self._y  # what the last step gave, which this one writes over
            or x.base is self._y
        ):
            return self._of_any(x, out)
        self._see_changes()
        y = self._y
        compiled.step(x, y)
        return y

    def _of_any(self, x: Any, out: Any) -> Any:
        """One step or a block of steps, of whatever can be an array."""
        x = self._checked(x)
        if x.ndim == 1:
            y = self._run(
                x[None, None], None if out is None else self._fitting(out, (self._y.shape[1],))[None, None]
            )
            return out if out is not None else y[0, 0]
        if x.ndim == 2:
            y = self._run(x[None], None if out is None else self._fitting(out, self._y.shape)[None])
            return out if out is not None else y[0]
        steps = x.swapaxes(0, 1) if self.batch_first else x
        shape = (len(steps), *self._y.shape)
        if out is not None:
            wanted = (shape[1], shape[0], shape[2]) if self.batch_first else shape
            into = self._fitting(out, wanted)
            self._run(steps, into.swapaxes(0, 1) if self.batch_first else into)
            return out
        if len(steps) > len(self._block):
            self._block = np.empty(shape, self.dtype)
        y = self._run(steps, self._block[: len(steps)])
        return y.swapaxes(0, 1) if self.batch_first else y

    def _run(self, x: Any, out: Any) -> Any:
        """x (time, batch, input_size), `out` (time, batch, output_size)."""
        y = self._y[None] if out is None else out
        if self._compiled is not None:
            self._see_changes()
            if len(x):
                plain = lies_in_rows(x) and not np.may_share_memory(x, y)
                self._compiled.steps(x if plain else np.array(x, order="C"), y)
            return y
        with self._evaluating():
            for t in range(len(x)):
                result, states = self._step(Tensor._of(np.ascontiguousarray(x[t])), self._tensors())
                y[t] = result.array
                self._states = [s.array for s in states]
        return y

    def _checked(self, x: Any) -> Any:
        """x as an array of the stream's type."""
        x = np.asarray(getattr(x, "array", x))
        if x.dtype.kind not in "fiub":
            raise TypeError(f"stream: x must have real numbers, got {x.dtype}")
        n, width = self._one
        shape = x.shape[1:] if x.ndim == 3 and not self.batch_first else x.shape[:1] + x.shape[2:]
        fits = shape == self._one if x.ndim == 3 else x.shape == (self._one if x.ndim == 2 else (width,))
        if not fits or x.ndim not in (1, 2, 3) or (x.ndim == 1 and n != 1):
            block = f"({n}, time, {width})" if self.batch_first else f"(time, {n}, {width})"
            raise ValueError(
                f"stream: x has shape {x.shape}, expected ({n}, {width}) for a step or {block} for several"
            )
        return x.astype(self.dtype, copy=False)

    def _fitting(self, out: Any, shape: tuple[int, ...]) -> Any:
        if not (
            isinstance(out, np.ndarray)
            and out.shape == shape
            and out.dtype == self.dtype
            and out.flags.carray
        ):
            came = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(
                f"stream: out must be a writable {self.dtype} array {shape} in C order, got {came}"
            )
        return out

    # ------------------------------------------------------------ the state

    @property
    def state(self) -> State:
        """The state after the last step, as the layer returns it, of NumPy arrays (layers, batch, ...), which
        are copies. May be assigned: arrays or tensors.
        """
        now = [s.copy() for s in (self._states if self._compiled is None else self._compiled.states)]
        following = iter(now)
        layers = [unflattened(like, [next(following) for _ in flattened(like)]) for like in self._like]
        return map_state(lambda *parts: np.stack(parts), *layers)

    @state.setter
    def state(self, state: State) -> None:
        expected = map_state(lambda *parts: Tensor._of(np.stack([p.array for p in parts])), *self._like)
        given = map_state(lambda s: s if isinstance(s, Tensor) else Tensor._of(np.asarray(s)), _tuples(state))
        given = match_state("stream", given, expected)
        flat = [s.array[k] for k in range(len(self._like)) for s in flattened(given)]
        self._set(flat)

    def _set(self, flat: Sequence[Any]) -> None:
        if self._compiled is not None:
            self._compiled.set(flat)
        else:
            self._states = [np.array(s, self.dtype) for s in flat]

    def reset(self, rows: Any = None) -> None:
        """Begins anew: all sequences of the batch, or `rows`, which index it as an array is indexed."""
        now = self._states if self._compiled is None else self._compiled.states
        where = slice(None) if rows is None else rows
        for s, start in zip(now, self._first, strict=True):
            s[where] = start[where]

    def _see_changes(self) -> None:
        """Takes the weights anew where one was changed in place, or has another array."""
        if self._latest != versions.latest or any(c.array is not a for c, a in self._weights):
            self.refresh()

    def refresh(self) -> None:
        """Takes the weights as they are now."""
        self._weights = [(c, c.array) for c, _ in self._weights]
        self._latest = versions.latest
        if self._compiled is not None:
            self._compiled.take(self._values())

    def copy(self) -> Stream:
        """Another stream of the same layer, in the same state."""
        like = Tensor._of(np.zeros(self._one, self.dtype))
        new = Stream(self.layer, self._cells, self._like, like)
        new.state = self.state
        new._first = [s.copy() for s in self._first]
        return new

    def __repr__(self) -> str:
        how = "op by op" if self._compiled is None else "compiled"
        return f"Stream({type(self.layer).__name__}, batch={self.batch_size}, {how})"


def lies_in_rows(x: Any) -> bool:
    """Whether the numbers of each row follow each other, as compiled code reads them."""
    item = x.itemsize
    return bool(x.flags.aligned and x.strides[2] == item and not any(s % item for s in x.strides))


def _tuples(state: Any) -> Any:
    return tuple(map(_tuples, state)) if isinstance(state, (tuple, list)) else state
