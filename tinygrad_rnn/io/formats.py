"""What a file is that a reader does not know, and what reads it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

from .archive import Damaged, directory
from .atomic import file_name

_MOST_NAMES = 10_000  # of an archive that are looked at
_TORCH = (
    "a file of PyTorch; "
    "tinygrad_rnn.io.load_torch(module, torch.load({path}, weights_only=True)) reads its state dict"
)
_KERAS = "a file of Keras; there, numpy.savez(path, *model.get_weights()) writes arrays that numpy.load reads"
_PICKLE = (
    "a pickle, which can run any code and is not read here; "
    "torch.load({path}, weights_only=True) reads one of PyTorch's"
)
_SAFETENSORS = "a safetensors file; tinygrad_rnn.io.load_safetensors({path}) reads it"
_CHECKPOINT = "a checkpoint of tinygrad_rnn; tinygrad_rnn.load({path}) reads it"
_ARCHIVE = "an archive of NumPy's; numpy.load({path}) reads it, tinygrad_rnn.save writes checkpoints"
_BY_START = (
    (b"\x93NUMPY", "an array of NumPy's; tinygrad_rnn.tensor(numpy.load({path})) reads it"),
    (b"\x89HDF\r\n\x1a\n", "a file of HDF5, as Keras writes; the package h5py reads it"),
    (b"GGUF", "a GGUF file; the package gguf reads it"),
    (b"ustar", "an archive; unpack it first"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
)
_BY_ENDING = {
    (".pt", ".pth", ".bin"): _TORCH,
    (".keras", ".h5", ".hdf5"): _KERAS,
    (".safetensors",): _SAFETENSORS,
    (".onnx",): "a file of ONNX; onnx.numpy_helper.to_array gives its weights as arrays",
    (".pkl", ".pickle", ".joblib"): _PICKLE,
}


@contextlib.contextmanager
def reading(path: Any, name: str) -> Iterator[BinaryIO]:
    """An open file. Raises the usual kinds of OSError with one sentence; `name` is who reads."""
    path = file_name(path, name)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{name}: {path!r} is no file but a device or a pipe")
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path!r}") from None
    except IsADirectoryError:
        raise ValueError(f"{name}: {path!r} is a folder; give the name of a file in it") from None
    except OSError as error:
        raise type(error)(f"{name}: {path!r} cannot be read: {error.strerror or error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens what may be a pipe that nobody writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parsed(text: bytes, what: str) -> Any:
    """JSON as it is written here. Raises Damaged for anything else: names that come twice, NaN, what is
    nested so deep that no reader follows.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Damaged(f"{what} has a name twice")
        return found

    def no_number(word: str) -> Any:
        raise Damaged(f"{what} has {word} for a number")

    try:
        return json.loads(text.decode(), object_pairs_hook=once, parse_constant=no_number)
    except RecursionError:
        raise Damaged(f"{what} is nested too deep") from None
    except ValueError:
        raise Damaged(f"{what} cannot be read") from None


def recognised(path: Any) -> str | None:
    """What the file is and what reads it, after its contents or, where they say nothing, its ending. None for
    what nobody knows.
    """
    path = file_name(path, "recognised")
    with open(path, "rb") as file:
        start = file.read(512)
    text = _by_contents(path, start)
    if text is None and start:
        endings = _BY_ENDING.items()
        text = next((text for names, text in endings if path.lower().endswith(names)), None)
    return text and text.format(path=repr(path))


def _by_contents(path: Any, start: bytes) -> str | None:
    if start[:2] == b"PK":
        return _archive(path)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
    if start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") < os.path.getsize(path):
        return _SAFETENSORS
    return next((text for begin, text in _BY_START if start.startswith(begin)), None)


def names_in(path: Any) -> list[str]:
    """The names in a zip file, as far as they can be read."""
    names: list[str] = []
    with contextlib.suppress(Damaged), open(path, "rb") as file:
        names.extend(entry.name for entry in islice(directory(file)[0], _MOST_NAMES))
    return names


def _archive(path: Any) -> str | None:
    """What a zip file is, by the names in it."""
    names = names_in(path)
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return _TORCH
    if any(name.endswith("model.weights.h5") for name in names):
        return _KERAS
    if "structure.npy" in names:
        return _CHECKPOINT
    return _ARCHIVE if names and all(name.endswith(".npy") for name in names) else None
