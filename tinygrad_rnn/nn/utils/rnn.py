"""Sequences of several lengths as one padded batch, under PyTorch's names.

The recurrent layers take `lengths` themselves; packing and padding here only carry them along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ... import ops
from ...backend import array_module, to_numpy
from ...creation import tensor
from ...engine.errors import came
from ...ops.index import place_rows, take_rows
from ...tensor import Tensor


class PackedSequence:
    """A batch of sequences with their lengths, as `pack_padded_sequence` makes it for a recurrent layer.

    padded: (T, B, ...), time first, rows in the order they were given; what stands past an end counts
    nothing.
    lengths: B Python integers from 0 to T.
    `data`, `batch_sizes`, `sorted_indices` and `unsorted_indices` are PyTorch's layout of it, computed when
    asked for.
    """

    __slots__ = ("enforce_sorted", "lengths", "padded")

    def __init__(self, padded: Tensor, lengths: Sequence[int], enforce_sorted: bool = False) -> None:
        self.padded = padded
        self.lengths = tuple(lengths)
        self.enforce_sorted = enforce_sorted

    def with_padded(self, padded: Tensor) -> PackedSequence:
        """Another tensor (T, B, ...) with the same lengths."""
        return PackedSequence(padded, self.lengths, self.enforce_sorted)

    def _order(self) -> list[int]:
        """The sequences, longest first."""
        return sorted(range(len(self.lengths)), key=lambda b: -self.lengths[b])

    def _rows(self) -> list[int]:
        """How many sequences are longer than t, for each t."""
        return [sum(n > t for n in self.lengths) for t in range(max(self.lengths, default=0))]

    @property
    def data(self) -> Tensor:
        """(sum of lengths, ...): steps without padding, time step by time step, longest sequence first."""
        n_steps, batch_size = self.padded.shape[:2]
        order = self._order()
        places = [t * batch_size + b for t, n in enumerate(self._rows()) for b in order[:n]]
        flat = self.padded.reshape(n_steps * batch_size, *self.padded.shape[2:])
        result: Tensor = take_rows(flat, rows=_integers(self.padded, places))
        return result

    @property
    def batch_sizes(self) -> Tensor:
        """How many sequences are still running at each time step, (T,) int64 on the CPU."""
        return tensor(self._rows(), "int64", "cpu")

    @property
    def sorted_indices(self) -> Tensor | None:
        """The order in which `data` has the sequences; None where they were given in that order."""
        return None if self.enforce_sorted else tensor(self._order(), "int64", self.padded.device)

    @property
    def unsorted_indices(self) -> Tensor | None:
        """What undoes `sorted_indices`."""
        if self.enforce_sorted:
            return None
        order = self._order()
        back = sorted(range(len(order)), key=order.__getitem__)
        return tensor(back, "int64", self.padded.device)

    def to(self, *to: Any, **settings: Any) -> PackedSequence:
        """On another device or in another dtype, as `Tensor.to`."""
        return self.with_padded(self.padded.to(*to, **settings))

    def cpu(self) -> PackedSequence:
        return self.to("cpu")

    def cuda(self) -> PackedSequence:
        return self.to("cuda")

    @property
    def is_cuda(self) -> bool:
        return self.padded.is_cuda

    def __repr__(self) -> str:
        padded = f"{self.padded.dtype} {self.padded.shape}"
        return f"PackedSequence(padded: {padded}, lengths: {_shown(self.lengths)})"


def _integers(like: Tensor, values: list[int]) -> Any:
    return array_module(like.array).asarray(values, dtype="int64")


def _shown(values: Sequence[Any]) -> str:
    return "[" + ", ".join([*map(repr, values[:8]), *(["..."] if len(values) > 8 else [])]) + "]"


def read_lengths(name: str, lengths: Any, n_steps: int, batch_size: int, of: str = "time steps") -> list[int]:
    """Lengths as Python integers. Raises where they are no integers, not one per row, or out of range."""
    array = to_numpy(lengths.array) if isinstance(lengths, Tensor) else lengths
    if hasattr(array, "tolist"):
        array = array.tolist()
    values = list(array) if isinstance(array, Iterable) else [array]
    if not all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values):
        raise TypeError(f"{name}: lengths must be integers, one for each sequence, got {_shown(values)}")
    values = [v.__index__() for v in values]
    if len(values) != batch_size:
        raise ValueError(f"{name}: {len(values)} lengths for a batch of {batch_size}")
    if values and not 0 <= min(values) <= max(values) <= n_steps:
        raise ValueError(f"{name}: lengths must be between 0 and the {n_steps} {of}, got {_shown(values)}")
    return values


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch and its lengths as one thing, to be given to a recurrent layer in place of x.

    input: (T, B, ...), or (B, T, ...) with `batch_first`; lengths: B integers from 0 to T.
    Raises ValueError for lengths that do not fit, and, with `enforce_sorted`, for lengths that rise anywhere.
    """
    name = "pack_padded_sequence"
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got a {type(input).__name__}")
    if input.ndim < 2:
        raise ValueError(f"{name}: input has shape {input.shape}, expected time and batch axes first")
    padded = input.swapaxes(0, 1) if batch_first else input
    read = read_lengths(name, lengths, padded.shape[0], padded.shape[1])
    if enforce_sorted and any(a < b for a, b in pairwise(read)):
        raise ValueError(
            f"{name}: lengths must fall from the longest to the shortest, got {_shown(read)}; "
            "enforce_sorted=False takes them in any order"
        )
    longest = max(read, default=0)
    if longest < padded.shape[0]:
        padded = padded[:longest]
    return PackedSequence(padded, read, enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`(padded, lengths)` of a packed sequence: (T, B, ...) or with `batch_first` (B, T, ...), and (B,)
    int64.

    Past each end stands `padding_value`. T is the longest length, or `total_length`, which must not be less.
    """
    name = "pad_packed_sequence"
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{name}: expected a PackedSequence, got a {type(sequence).__name__}")
    padded, n_steps = sequence.padded, sequence.padded.shape[0]
    if total_length is not None:
        if total_length < n_steps:
            raise ValueError(
                f"{name}: total_length is {total_length}, the longest sequence has {n_steps} steps"
            )
        padded = ops.pad(padded, [(0, total_length - n_steps)] + [(0, 0)] * (padded.ndim - 1))
    padded = _filled(padded, sequence.lengths, padding_value)
    lengths = tensor(list(sequence.lengths), "int64", "cpu")
    return (padded.swapaxes(0, 1) if batch_first else padded), lengths


def _filled(padded: Tensor, lengths: Sequence[int], value: float) -> Tensor:
    """(T, B, ...) with `value` past each end."""
    n_steps, batch_size = padded.shape[:2]
    if all(n == n_steps for n in lengths):
        return padded
    steps = _integers(padded, list(range(n_steps))).reshape(n_steps, 1)
    real = steps < _integers(padded, list(lengths)).reshape(1, batch_size)
    kind = int if padded.dtype.kind in "iu" else bool if padded.dtype.kind == "b" else float
    result: Tensor = ops.where(
        real.reshape(n_steps, batch_size, *[1] * (padded.ndim - 2)), padded, kind(value)
    )
    return result


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L_i, ...) as one batch (T, B, ...), or (B, T, ...) with `batch_first`; T is the longest L_i.

    The gradient goes back to each sequence. Raises where there is none, or where their other axes differ.
    """
    name = "pad_sequence"
    sequences = list(sequences)
    lengths = _lengths_of(name, sequences)
    if padding_side not in ("right", "left"):
        raise ValueError(f"{name}: padding_side is {padding_side!r}, expected 'right' or 'left'")
    n_steps, batch_size = max(lengths), len(lengths)
    starts = [0 if padding_side == "right" else n_steps - n for n in lengths]
    places = [
        (a + t) * batch_size + b
        for b, (a, n) in enumerate(zip(starts, lengths, strict=True))
        for t in range(n)
    ]
    rows: Tensor = ops.concat(sequences)
    padded: Tensor = place_rows(rows, rows=_integers(rows, places), n=n_steps * batch_size)
    padded = padded.reshape(n_steps, batch_size, *rows.shape[1:])
    if padding_value != 0:
        if padding_side == "left":
            padded = ops.flip(_filled(ops.flip(padded, 0), lengths, padding_value), 0)
        else:
            padded = _filled(padded, lengths, padding_value)
    return padded.swapaxes(0, 1) if batch_first else padded


def _lengths_of(name: str, sequences: Sequence[Tensor]) -> list[int]:
    if not sequences:
        raise ValueError(f"{name}: expected at least one sequence")
    for k, sequence in enumerate(sequences):
        if not isinstance(sequence, Tensor) or sequence.ndim == 0:
            what = "a 0-d tensor" if isinstance(sequence, Tensor) else came(sequence)
            raise TypeError(f"{name}: sequence {k} must be a Tensor (length, ...), got {what}")
        if sequence.shape[1:] != sequences[0].shape[1:]:
            raise ValueError(
                f"{name}: sequence {k} has shape {sequence.shape}, the first {sequences[0].shape}; "
                "all axes but the first must be equal"
            )
    return [len(sequence) for sequence in sequences]


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each (L_i, ...): undoes `pad_sequence`."""
    rows = padded_sequences if batch_first else padded_sequences.swapaxes(0, 1)
    read = read_lengths("unpad_sequence", lengths, rows.shape[1], rows.shape[0])
    result: list[Tensor] = [rows[b, :n] for b, n in enumerate(read)]
    return result


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L_i, ...) as a PackedSequence; see `pack_padded_sequence`."""
    sequences = list(sequences)
    lengths = _lengths_of("pack_sequence", sequences)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences in a PackedSequence, each (L_i, ...)."""
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)
