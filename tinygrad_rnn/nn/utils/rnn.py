"""Sequences of several lengths as one padded batch, under PyTorch's names.

The recurrent layers take `lengths` themselves; packing and padding here only carry them along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from ... import ops
from ...backend import array_module, to_numpy
from ...backend.naming import came
from ...creation import tensor
from ...engine.errors import Mismatch, WrongKind
from ...ops.index import place_rows, take_rows
from ...tensor import Tensor


class PackedSequence(tuple[Any, ...]):
    """A batch of sequences with their lengths, as `pack_padded_sequence` makes it for a recurrent layer.

    padded: (T, B, ...), time first, rows in the order they were given; what stands past an end counts
    nothing.
    lengths: B Python integers from 0 to T.
    As PyTorch's it is a named tuple (data, batch_sizes, sorted_indices, unsorted_indices), which are computed
    when they are asked for, and can be made of these: `PackedSequence(f(packed.data), packed.batch_sizes)`.
    """

    _fields = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
    padded: Tensor
    lengths: tuple[Any, ...]
    enforce_sorted: bool

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None and isinstance(data, (tuple, list)) and len(data) == 2:
            data, batch_sizes = data
        if not isinstance(data, Tensor):
            raise WrongKind(f"PackedSequence: data must be a Tensor, got {came(data)}")
        rows = read_lengths("PackedSequence", batch_sizes, max(1, len(data)), len(batch_sizes), "rows")
        n_steps, n_rows = len(rows), rows[0] if rows else 0
        if sum(rows) != len(data) or any(a < b for a, b in pairwise(rows)):
            raise Mismatch(
                f"PackedSequence: batch_sizes {_shown(rows)} must fall and add up to the {len(data)} steps "
                "of data"
            )
        if sorted_indices is None and unsorted_indices is not None:
            back = unsorted_indices.tolist()
            sorted_indices = sorted(range(len(back)), key=back.__getitem__)
        order = range(n_rows) if sorted_indices is None else [int(i) for i in sorted_indices]
        n_batch = max(n_rows, len(order))
        places = [t * n_batch + b for t, n in enumerate(rows) for b in order[:n]]
        padded = place_rows(data, rows=_integers(data, places), n=n_steps * n_batch)
        lengths = [0] * n_batch
        for place, b in enumerate(order):
            lengths[b] = sum(n > place for n in rows)
        return cls.of(padded.reshape(n_steps, n_batch, *data.shape[1:]), lengths, sorted_indices is None)

    @classmethod
    def of(cls, padded: Tensor, lengths: Sequence[Any], enforce_sorted: bool = False) -> PackedSequence:
        """A padded batch (T, B, ...), time first, with its lengths."""
        self = tuple.__new__(cls, (None,) * 4)
        self.padded, self.lengths, self.enforce_sorted = padded, tuple(lengths), enforce_sorted
        return self

    def with_padded(self, padded: Tensor) -> PackedSequence:
        """Another tensor (T, B, ...) with the same lengths."""
        return self.of(padded, self.lengths, self.enforce_sorted)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, name) for name in self._fields])

    def __getitem__(self, index: Any) -> Any:
        names = self._fields[index]
        return getattr(self, names) if isinstance(names, str) else tuple([getattr(self, n) for n in names])

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __getnewargs__(self) -> Any:
        raise WrongKind("PackedSequence: tensors are not pickled")

    def _replace(self, **fields: Any) -> PackedSequence:
        """The same with other fields."""
        return PackedSequence(*[fields.pop(name, getattr(self, name)) for name in self._fields], **fields)

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _order(self) -> list[Any]:
        """The sequences, longest first."""
        return sorted(range(len(self.lengths)), key=lambda b: -self.lengths[b])

    def _rows(self) -> list[Any]:
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

    # ------------------------------------------------------------ another type or device

    def to(self, *to: Any, **settings: Any) -> PackedSequence:
        """On another device or in another dtype, as `Tensor.to`."""
        moved = self.padded.to(*to, **settings)
        return self if moved is self.padded else self.with_padded(moved)

    def cpu(self) -> PackedSequence:
        return self.to("cpu")

    def cuda(self, *where: Any, **settings: Any) -> PackedSequence:
        return self.to("cuda")

    def float(self) -> PackedSequence:
        return self.to("float32")

    def double(self) -> PackedSequence:
        return self.to("float64")

    def half(self) -> PackedSequence:
        return self.to("float16")

    def long(self) -> PackedSequence:
        return self.to("int64")

    def int(self) -> PackedSequence:
        return self.to("int32")

    def short(self) -> PackedSequence:
        return self.to("int16")

    def char(self) -> PackedSequence:
        return self.to("int8")

    def byte(self) -> PackedSequence:
        return self.to("uint8")

    def pin_memory(self) -> PackedSequence:
        """Itself: there is no pinned memory here."""
        return self

    def is_pinned(self) -> bool:
        """False."""
        return False

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
        raise WrongKind(f"{name}: lengths must be integers, one for each sequence, got {_shown(values)}")
    values = [v.__index__() for v in values]
    if len(values) != batch_size:
        raise Mismatch(f"{name}: {len(values)} lengths for a batch of {batch_size}")
    if values and not 0 <= min(values) <= max(values) <= n_steps:
        raise Mismatch(f"{name}: lengths must be between 0 and the {n_steps} {of}, got {_shown(values)}")
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
        raise WrongKind(f"{name}: expected a Tensor, got a {type(input).__name__}")
    if input.ndim < 2:
        raise Mismatch(f"{name}: input has shape {input.shape}, expected time and batch axes first")
    padded = input.swapaxes(0, 1) if batch_first else input
    read = read_lengths(name, lengths, padded.shape[0], padded.shape[1])
    if enforce_sorted and any(a < b for a, b in pairwise(read)):
        raise Mismatch(
            f"{name}: lengths must fall from the longest to the shortest, got {_shown(read)}; "
            "enforce_sorted=False takes them in any order"
        )
    longest = max(read, default=0)
    if longest < padded.shape[0]:
        padded = padded[:longest]
    return PackedSequence.of(padded, read, enforce_sorted)


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
        raise WrongKind(f"{name}: expected a PackedSequence, got a {type(sequence).__name__}")
    padded, n_steps = sequence.padded, sequence.padded.shape[0]
    if total_length is not None:
        if total_length < n_steps:
            raise Mismatch(
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
        raise Mismatch(f"{name}: padding_side is {padding_side!r}, expected 'right' or 'left'")
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
        raise Mismatch(f"{name}: expected at least one sequence")
    for k, sequence in enumerate(sequences):
        if not isinstance(sequence, Tensor) or sequence.ndim == 0:
            what = "a 0-d tensor" if isinstance(sequence, Tensor) else came(sequence)
            raise WrongKind(f"{name}: sequence {k} must be a Tensor (length, ...), got {what}")
        if sequence.shape[1:] != sequences[0].shape[1:]:
            raise Mismatch(
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
