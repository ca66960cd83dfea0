"""Sequences of several lengths without padding.

Sequences are *packed*: sorted by length, longest first, and laid out time step by time step, so that the rows
of a time step are one block and those still running are always the first ones of it.

    lengths 3, 2, 1:   a0 b0 c0 | a1 b1 | a2          batch sizes 3, 2, 1

Everything runs on packed rows: padding is never computed, and needs no mask. Without lengths every step has
all rows, and packing is a reshape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import array_module
from ..engine import Value
from ..ops.index import place_rows, take_rows
from ..ops.shape import in_shape


class Packing:
    """How a padded batch (T, B, ...) is laid out without padding.

    `batch_sizes[t]` counts the sequences longer than t. With lengths, `order` sorts the batch, `back` undoes
    it, and `places` are the rows of the packed layout in the flattened (T * B) one; all are None where
    nothing is padded.
    """

    def __init__(self, n_steps: int, batch_size: int, lengths: Sequence[int] | None) -> None:
        self.n_steps, self.batch_size = n_steps, batch_size
        self.order = self.back = self.places = None
        self.batch_sizes = [batch_size] * n_steps
        if lengths is None or all(n == n_steps for n in lengths):
            return
        order = sorted(range(batch_size), key=lambda b: -lengths[b])
        self.order = order
        self.back = sorted(range(batch_size), key=order.__getitem__)
        self.batch_sizes = [sum(n > t for n in lengths) for t in range(max(lengths))]
        self.places = [t * batch_size + b for t, n in enumerate(self.batch_sizes) for b in order[:n]]

    def pack(self, x: Any) -> Any:
        """(T, B, ...) -> (rows, ...)."""
        flat = in_shape(x, shape=(self.n_steps * self.batch_size, *x.shape[2:]))
        return flat if self.places is None else take_rows(flat, rows=_indices(x, self.places))

    def unpack(self, x: Any) -> Any:
        """(rows, ...) -> (T, B, ...), zeros in the padding."""
        if self.places is not None:
            n = self.n_steps * self.batch_size
            x = place_rows(x, rows=_indices(x, self.places), n=n)
        return in_shape(x, shape=(self.n_steps, self.batch_size, *x.shape[1:]))

    def sort(self, s: Any) -> Any:
        """A part of a state (B, ...), longest sequence first."""
        return s if self.order is None else take_rows(s, rows=_indices(s, self.order))

    def unsort(self, s: Any) -> Any:
        """A part of a state (B, ...) in the order of the batch."""
        return s if self.back is None else take_rows(s, rows=_indices(s, self.back))


def _indices(like: Value, rows: list[int]) -> Any:
    return array_module(like.array).asarray(rows, dtype="int64")
