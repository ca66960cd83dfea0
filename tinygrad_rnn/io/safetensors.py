"""Weights as safetensors: eight bytes with the header's length, a JSON header, the elements one after the
other.

The format is that of https://github.com/huggingface/safetensors; other tools read what is written here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..backend.naming import came, kind
from ..tensor import Tensor
from .archive import Damaged
from .atomic import file_name, replacing
from .formats import parsed, reading, recognised

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
HEADER_LIMIT = 100_000_000  # bytes, the format's own limit


def save_safetensors(path: Any, weights: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a Module's weights, or a dictionary of tensors, atomically. `metadata`: strings to strings.

    `save_safetensors(weights, path)`, the order of the format's own library, is understood, too.
    """
    if isinstance(weights, (str, bytes, os.PathLike)) and not isinstance(path, (str, bytes, os.PathLike)):
        path, weights = weights, path
    file_name(path, "save_safetensors(path, weights)")
    state = weights.state_dict() if hasattr(weights, "state_dict") else weights
    if not isinstance(state, Mapping):
        raise TypeError(f"save_safetensors: expected a module or a dict of tensors, got {kind(state)}")
    header: dict[str, Any] = {}
    if metadata:
        if not all(isinstance(s, str) for pair in metadata.items() for s in pair):
            raise TypeError("save_safetensors: metadata must be strings to strings")
        header["__metadata__"] = dict(metadata)
    arrays, start = [], 0
    for name, value in state.items():
        if not isinstance(value, (Tensor, *backend.MODULES)):
            raise TypeError(f"save_safetensors: {name} must be a tensor or an array, got {came(value, True)}")
        array = backend.to_numpy(value.array if isinstance(value, Tensor) else value)
        array = np.ascontiguousarray(array).reshape(array.shape)
        if array.dtype.newbyteorder("<") not in NAMES:
            raise TypeError(f"save_safetensors: {name} is {array.dtype}, which the format does not have")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        end = start + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
        arrays.append(array)
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, "save_safetensors") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.tobytes())


def load_safetensors(path: Any) -> dict[str, Tensor]:
    """The tensors of a file by name, in the library in use. bfloat16 becomes float32.

    Raises ValueError for a file that is cut short or damaged or no safetensors file, before memory is taken
    for what it does not hold.
    """
    with reading(path, "load_safetensors") as file:
        name, length = repr(file_name(path, "load_safetensors")), os.fstat(file.fileno()).st_size
        size = int.from_bytes(file.read(8), "little")
        try:
            if length < 8 or size > HEADER_LIMIT or 8 + size > length:
                raise Damaged("its header is not there")
            entries = _entries(parsed(file.read(size), "its header"), length - 8 - size)
        except Damaged as reason:
            other = recognised(path)
            if other is not None and not other.startswith("a safetensors file"):
                raise ValueError(f"load_safetensors: {name} is no safetensors file but {other}") from reason
            raise ValueError(
                f"load_safetensors: {name}: {reason}; it is cut short or no safetensors file"
            ) from reason
        unknown = next((e for e in entries if e.dtype not in DTYPES and e.dtype != "BF16"), None)
        if unknown is not None:
            raise ValueError(
                f"load_safetensors: in {name} {unknown.name} is {unknown.dtype}, which this package does not "
                "have"
            )
        found = {}
        for entry in sorted(entries, key=lambda e: e.start):
            array = np.empty(entry.shape, "<u2" if entry.dtype == "BF16" else DTYPES[entry.dtype])
            if array.size and file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
                raise ValueError(f"load_safetensors: {name} has become shorter while it was read")
            if entry.dtype == "BF16":  # the upper half of a float32
                array = (array.astype("<u4") << 16).view("<f4")
            found[entry.name] = Tensor._of(backend.current().from_numpy(array))
    return {entry.name: found[entry.name] for entry in entries}


class _Entry(NamedTuple):
    """What the header says of a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def _entries(header: Any, length: int) -> list[_Entry]:
    """The header's entries, which fill the bytes after it without gap or overlap. Raises Damaged."""
    if not isinstance(header, dict):
        raise Damaged("its header is no dictionary")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Damaged("its metadata are no strings")
    entries = [_entry(name, said) for name, said in header.items()]
    at = 0
    for entry in sorted(entries, key=lambda e: e.start):
        if entry.start != at:
            between = "a gap before" if entry.start > at else "an overlap at"
            raise Damaged(f"there is {between} {entry.name}")
        at = entry.end
    if at != length:
        raise Damaged(f"its tensors take {at} bytes, and there are {length}")
    return entries


def _entry(name: str, said: Any) -> _Entry:
    if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise Damaged(f"{name} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
    lists = isinstance(shape, list) and isinstance(offsets, list) and isinstance(dtype, str)
    numbers: list[Any] = [*shape, *offsets] if lists else []
    if not lists or len(offsets) != 2 or len(shape) > 64 or not all(type(n) is int for n in numbers):
        raise Damaged(f"{name} is not described by whole numbers")
    if not all(0 <= n < 2**63 for n in numbers):
        raise Damaged(f"{name} has a number that is negative or too large")
    start, end = offsets
    code = "<u2" if dtype == "BF16" else DTYPES.get(dtype)
    if code is not None:
        size = math.prod(shape) * np.dtype(code).itemsize
        if end - start != size:
            raise Damaged(f"{name} has {end - start} bytes for a tensor of {size}")
        if not size and math.prod(n for n in shape if n) * 8 >= 2**63:
            raise Damaged(f"{name} is of shape {tuple(shape)}")
    if end < start:
        raise Damaged(f"{name} ends before it begins")
    return _Entry(name, dtype, tuple(shape), start, end)
