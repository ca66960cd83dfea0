"""Many to one: a sequence made into one vector, over the real steps alone.

`pool(output, lengths=None)`: output (T, B, H), or (B, T, H) with `batch_first`, or (T, H) for one sequence,
as a recurrent layer returns it; or a PackedSequence, which has its lengths. lengths: how many of the T steps
of each row are real, integers of any kind, zeros allowed. Returns (B, H), or (H,). A row of length 0 gives
zeros; what stands in the padding changes no value and no gradient, be it infinite or NaN.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import array_module
from ..backend.naming import came
from ..creation import empty
from ..engine.errors import Mismatch, WrongKind
from ..ops import addmm, concat, softmax, tanh, where
from ..ops.arguments import wide
from ..ops.index import place_rows, take_rows
from ..tensor import Tensor
from . import functional as F
from . import init as start
from .module import Module, Parameter
from .utils.rnn import PackedSequence, read_lengths


class _Pool(Module):
    """What pools have in common: they are given x (T, B, H) and lengths, Python integers or None."""

    def __init__(self, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first

    def pool(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        """(T, B, H) -> (B, H)."""
        raise NotImplementedError(f"{type(self).__name__} must define pool")

    def forward(self, output: Any, lengths: Any = None) -> Tensor:
        x, lengths, one = self._read(output, lengths)
        pooled = self.pool(x, lengths)
        return pooled.squeeze(0) if one else pooled

    def _read(self, output: Any, lengths: Any) -> tuple[Tensor, list[int] | None, bool]:
        """(T, B, H), lengths, and whether it was one sequence without a batch."""
        name = type(self).__name__
        if isinstance(output, PackedSequence):
            if lengths is not None:
                raise Mismatch(f"{name}: a PackedSequence has its lengths already; leave lengths out")
            return output.padded, list(output.lengths), False
        if not isinstance(output, Tensor) or output.dtype.kind != "f":
            raise WrongKind(f"{name}: output must be a floating Tensor, got {came(output)}")
        if output.ndim not in (2, 3):
            wanted = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
            raise Mismatch(f"{name}: output has shape {output.shape}, expected {wanted}")
        one = output.ndim == 2
        x = output.unsqueeze(1) if one else output.swapaxes(0, 1) if self.batch_first else output
        if lengths is not None:
            lengths = read_lengths(name, lengths, x.shape[0], x.shape[1])
            if all(n == x.shape[0] for n in lengths):
                lengths = None
        return x, lengths, one

    def extra_repr(self) -> str:
        return "batch_first=True" if self.batch_first else ""


def _real(x: Tensor, lengths: list[int]) -> Tensor:
    """Booleans (T, B, 1): which steps of x (T, B, H) are real."""
    return F.sequence_mask(lengths, x.shape[0], device=x.device).unsqueeze(-1)


class LastPool(_Pool):
    """The last real step of each row.

    Of a layer that reads both ways, the last step of the backward half has seen one input. With
    `bidirectional` that half, the second of the features, is taken at step 0, where the backward direction
    ends.
    """

    def __init__(self, batch_first: bool = False, *, bidirectional: bool = False) -> None:
        super().__init__(batch_first)
        self.bidirectional = bidirectional

    def pool(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        n_steps, batch_size, n_features = x.shape
        ends = [n_steps] * batch_size if lengths is None else lengths
        if not self.bidirectional:
            return _steps(x, [n - 1 for n in ends])
        if n_features % 2:
            raise Mismatch(f"LastPool: bidirectional features come in two halves, got {n_features}")
        half = n_features // 2
        last, first = [n - 1 for n in ends], [min(n, 1) - 1 for n in ends]
        return concat([_steps(x[..., :half], last), _steps(x[..., half:], first)], -1)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [super().extra_repr(), "bidirectional=True" * self.bidirectional]))


def _steps(x: Tensor, steps: list[int]) -> Tensor:
    """Step `steps[b]` of each row b of x (T, B, H), zeros for -1: (B, H)."""
    n_steps, batch_size, n_features = x.shape
    flat, xp = x.reshape(n_steps * batch_size, n_features), array_module(x.array)
    rows = [b for b, t in enumerate(steps) if t >= 0]
    places = xp.asarray([steps[b] * batch_size + b for b in rows], dtype="int64")
    found: Tensor = take_rows(flat, rows=places)
    if len(rows) < batch_size:
        found = place_rows(found, rows=xp.asarray(rows, dtype="int64"), n=batch_size)
    return found


class MeanPool(_Pool):
    """The mean of the real steps."""

    def pool(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        if lengths is None:
            return x.mean(0) if x.shape[0] else x.sum(0)
        return _mean_of_real(x, lengths)


@wide(integers=False)
def _mean_of_real(x: Tensor, lengths: list[int]) -> Tensor:
    # A list given to the library is a constant in a captured step; the lengths are part of its key.
    counts = Tensor._of(array_module(x.array).asarray([max(1, n) for n in lengths], dtype=x.dtype))
    total: Tensor = where(_real(x, lengths), x, 0.0).sum(0)
    return total / counts.unsqueeze(-1)


@wide(integers=False)
def _weighted_sum(x: Tensor, weights: Tensor) -> Tensor:
    total: Tensor = (weights * x).sum(0)
    return total


class MaxPool(_Pool):
    """The largest value of each feature among the real steps; equal ones share the gradient."""

    def pool(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        if not x.shape[0]:
            return x.sum(0)
        if lengths is None:
            return x.amax(0)
        real = _real(x, lengths)
        largest = where(real, x, -math.inf).amax(0)
        pooled: Tensor = where(real[0], largest, 0.0)  # a row has a first step, or none
        return pooled


class AttentionPool(_Pool):
    """A weighted mean of the real steps: weights softmax_t(v . tanh(W x_t + b)), learned with the rest (Yang
    et al. 2016).

    hidden_size: the rows of W; input_size if not given. `pool.weights(output, lengths)` are the weights, (T,
    B) or as `output` is laid out: which steps mattered. They add to 1, or are zeros for a row of length 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        batch_first: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        rng: Any = None,
    ) -> None:
        super().__init__(batch_first)
        hidden_size = input_size if hidden_size is None else hidden_size
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise Mismatch(f"AttentionPool: {name} must be a positive integer, got {size!r}")
        self.input_size, self.hidden_size = input_size, hidden_size
        place = {"device": device, "dtype": dtype}
        self.w = Parameter(empty(input_size, hidden_size, **place))
        self.b = Parameter(empty(hidden_size, **place))
        self.v = Parameter(empty(hidden_size, 1, **place))
        self.reset_parameters(rng)

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values: Glorot's, and 0 for the bias."""
        start.xavier_uniform_(self.w, rng=rng)
        start.xavier_uniform_(self.v, rng=rng)
        start.zeros_(self.b)

    def pool(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        x, weights = self._weigh(x, lengths)
        return _weighted_sum(x, weights)

    def weights(self, output: Any, lengths: Any = None) -> Tensor:
        """How much each step counts: (T, B), or (B, T) with `batch_first`, or (T,)."""
        x, lengths, one = self._read(output, lengths)
        found = self._weigh(x, lengths)[1].squeeze(-1)
        return found.squeeze(1) if one else found.swapaxes(0, 1) if self.batch_first else found

    def _weigh(self, x: Tensor, lengths: list[int] | None) -> tuple[Tensor, Tensor]:
        """x with zeros in its padding, and the weights (T, B, 1)."""
        if x.shape[-1] != self.input_size:
            raise Mismatch(
                f"AttentionPool: output has {x.shape[-1]} features on its last axis, "
                f"expected input_size = {self.input_size}"
            )
        if lengths is None:
            return x, softmax(self._scores(x), 0)
        real = _real(x, lengths)
        x = where(real, x, 0.0)
        scores = self._scores(x)
        # A row without a real step has a softmax of nothing: it is given all its steps, then none.
        visible = real | ~real.any(0)
        return x, where(real, softmax(where(visible, scores, -math.inf), 0), 0.0)

    def _scores(self, x: Tensor) -> Tensor:
        scores: Tensor = tanh(addmm(self.b, x, self.w)) @ self.v
        return scores

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [f"{self.input_size}, {self.hidden_size}", super().extra_repr()]))
