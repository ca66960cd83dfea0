"""A long text as batches for truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import ops
from ..creation import as_tensor
from ..tensor import Tensor


class Windows:
    """The batches of `windows`: iterate over it as often as you like.

    `unused` is the number of tokens at the end that fit into no row. `batches(start)` begins at a later
    window, to go on with a training that was interrupted.
    """

    def __init__(self, tokens: Any, batch_size: int, length: int) -> None:
        tokens = as_tensor(tokens).detach()
        if tokens.ndim != 1:
            raise ValueError(f"windows: tokens must have one axis, got shape {tokens.shape}")
        for name, value in (("batch_size", batch_size), ("length", length)):
            if not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"windows: {name} must be an integer of at least 1, got {value!r}")
        self.batch_size, self.length = int(batch_size), int(length)
        self.n_steps = (len(tokens) - 1) // self.batch_size
        if self.n_steps < 1:
            raise ValueError(
                f"windows: {len(tokens)} tokens are too few for {batch_size} rows, which need at least "
                f"{self.batch_size + 1}; take a smaller batch_size or more text"
            )
        used = self.n_steps * self.batch_size
        self.unused = len(tokens) - 1 - used
        self._x, self._y = (
            ops.contiguous(part.reshape(self.batch_size, self.n_steps).transpose(0, 1))
            for part in (tokens[:used], tokens[1 : used + 1])
        )

    def __len__(self) -> int:
        return -(-self.n_steps // self.length)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The pairs (x, y) from window `start` on."""
        for t in range(start * self.length, self.n_steps, self.length):
            yield self._x[t : t + self.length], self._y[t : t + self.length]


def windows(tokens: Any, batch_size: int, length: int) -> Windows:
    """Contiguous windows over a text: pairs (x, y) of shape (T, B), where y is the token after each of x.

    `tokens` (N,) is cut into B = `batch_size` rows, one after the other, and each row into windows of T =
    `length` steps. Row b of a window goes on where row b of the window before ended, so that a recurrent
    net's state, detached, is carried over. The last window is shorter where the rows' length is no multiple
    of T. (N - 1) % B tokens at the end are left out, as `.unused` says. Raises ValueError for too few tokens.
    """
    return Windows(tokens, batch_size, length)
