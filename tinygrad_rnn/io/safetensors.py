"""Weights as safetensors: eight bytes with the header's length, a JSON header, the elements one after the
other.

The format is that of https://github.com/huggingface/safetensors; other tools read what is written here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import backend
from ..engine.errors import came, kind
from ..tensor import Tensor
from .atomic import file_name, replacing
from .formats import reading, recognised

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
    if isinstance(weights, (str, os.PathLike)) and not isinstance(path, (str, os.PathLike)):
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

    Raises ValueError for a file that is cut short or is no safetensors file.
    """
    with reading(path, "load_safetensors") as file:
        data = file.read()
    name = os.fspath(path)
    damaged = f"load_safetensors: {name!r} is cut short or no safetensors file"
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > HEADER_LIMIT or 8 + size > len(data):
        other = recognised(path)
        is_other = other is not None and not other.startswith("a safetensors file")
        raise ValueError(
            f"load_safetensors: {name!r} is no safetensors file but {other}" if is_other else damaged
        )
    try:
        header = json.loads(data[8 : 8 + size].decode())
        header.pop("__metadata__", None)
        entries = [(key, e["dtype"], tuple(e["shape"]), *e["data_offsets"]) for key, e in header.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise ValueError(damaged) from reason
    body, found, at = memoryview(data)[8 + size :], {}, 0
    for key, dtype, shape, start, end in sorted(entries, key=lambda e: e[3]):
        if dtype not in DTYPES and dtype != "BF16":
            raise ValueError(f"load_safetensors: {key} is {dtype}, which this package does not have")
        itemsize = 2 if dtype == "BF16" else np.dtype(DTYPES[dtype]).itemsize
        if start != at or end > len(body) or end - start != math.prod(shape) * itemsize:
            raise ValueError(damaged)
        at = end
        array = np.empty(0, "<u2" if dtype == "BF16" else DTYPES[dtype])
        if end > start:
            array = np.frombuffer(body[start:end], array.dtype)
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype("<u4") << 16).view("<f4")
        found[key] = Tensor(array.reshape(shape), device=backend.current())
    if at != len(body):
        raise ValueError(damaged)
    return {key: found[key] for key in header}
