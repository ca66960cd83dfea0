"""Checkpoints: a model, an optimiser and plain data in one .npz file, without objects and without pickle.

The file is an ordinary NumPy archive. Its entry `structure` is JSON: nested lists and dictionaries of plain
values, with {"array": name} where an array stands; the arrays are the other entries. structure.py has
both ways.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from .. import backend
from ..nn import Module
from .archive import Archive, Damaged
from .atomic import file_name, replacing
from .formats import names_in, parsed, reading, recognised
from .modules import Classes
from .structure import Arrays, Reader, encoded

FORMAT, VERSION = "tinygrad_rnn checkpoint", 1


def save(path: Any, model: Any = None, optimizer: Any = None, **extras: Any) -> None:
    """Writes a model (or its state dict), an optimiser (or its), and anything plain, for `load`.

    `save("run.npz", model, optimizer, epoch=3, vocab=list_of_characters)`. Plain are numbers, strings, None,
    lists, tuples, dictionaries with string or integer keys, arrays and tensors. As in PyTorch,
    `save(state_dict, path)` writes one thing, which `load` gives back as it was; it may be a module, whose
    attributes are plain or modules. A path may be a file that is open for writing.
    Raises TypeError for what is not plain, naming where it stands. The write to a path is atomic.
    """
    content: dict[str, Any]
    if _is_place(model) and not _is_place(path):
        path, content = model, {"only": path if isinstance(path, Module) else _state(path)}
    else:
        if not _is_place(path):
            file_name(path, "save(path, model, ...)")
        content = {"model": _state(model), "optimizer": _state(optimizer), **extras}
    arrays = Arrays(modules="only" in content)
    tree = encoded(content, "", arrays)
    header = json.dumps({"format": FORMAT, "version": VERSION, "content": tree})
    words = np.frombuffer(header.encode(), np.uint8)
    if hasattr(path, "write"):
        buffer = io.BytesIO()
        np.savez(buffer, structure=words, **arrays)
        path.write(buffer.getvalue())
        return
    with replacing(path) as file:
        np.savez(file, structure=words, **arrays)


def _is_place(value: Any) -> bool:
    """Whether it names a file, or is one that is open."""
    return isinstance(value, (str, bytes, os.PathLike)) or (
        hasattr(value, "write") and not hasattr(value, "state_dict")
    )


def load(
    path: Any,
    map_location: Any = None,
    *,
    weights_only: bool | None = None,
    classes: Iterable[type] | Mapping[str, type] = (),
    **settings: Any,
) -> Any:
    """What `save` wrote: a dictionary with "model" and "optimizer" (state dicts, for `load_state_dict`) and
    the extras.

    Arrays come as tensors in the library in use, or on the device `map_location`. A path may be a file that
    is open for reading. A saved module comes back if its class is one of nn's or among `classes`, and with
    `weights_only` not at all; nothing is imported because a file says so. PyTorch's other settings are read.
    Raises FileNotFoundError, or ValueError for a file that is cut short or damaged, is no checkpoint, was
    written by a newer version, or holds anything that `save` does not write: such a file is refused before
    memory is taken for it.
    """
    to = _library(map_location)
    if hasattr(path, "read"):
        name = "the file"
        return _read(name, io.BytesIO(path.read()), Classes(name, classes, bool(weights_only)), to)
    with reading(path, "load") as file:
        return _read(path, file, Classes(_name(path), classes, bool(weights_only)), to)


def _library(map_location: Any) -> Any:
    """The array library that `map_location` names: a device, or a dict of devices, of which the values
    tell. A function, which PyTorch allows, is taken for the CPU."""
    if isinstance(map_location, Mapping):
        map_location = next(iter(map_location.values()), None)
    if map_location is None:
        return None
    return backend.find("cpu" if callable(map_location) else map_location)


def _read(path: Any, file: BinaryIO, classes: Classes, to: Any) -> Any:
    start = file.read(4)
    if not start:
        raise ValueError(f"load: {_name(path)} is no checkpoint of tinygrad_rnn (it is empty)")
    named = path != "the file"
    try:
        if start[:2] != b"PK":
            raise Damaged("it is no archive")
        return _content(path, Archive(file), classes, to)
    except Damaged as reason:
        if start[:2] != b"PK" or (named and _is_foreign(path)):
            raise ValueError(
                _foreign(path) if named else "load: the file is no checkpoint of tinygrad_rnn"
            ) from reason
        raise ValueError(
            f"load: {_name(path)} is cut short or damaged, {reason}; use an older checkpoint"
        ) from reason


def _content(path: Any, archive: Archive, classes: Classes, to: Any) -> Any:
    """What was saved, of an archive's words and arrays."""
    if "structure" not in archive.members:
        raise Damaged("it has no structure")
    words = archive.array("structure")
    if words.dtype != np.uint8 or words.ndim != 1:
        raise Damaged("its structure is no text")
    header = parsed(words.tobytes(), "its structure")
    if (
        not isinstance(header, dict)
        or header.get("format") != FORMAT
        or type(header.get("version")) is not int
    ):
        raise ValueError(f"load: {_name(path)} is no checkpoint of tinygrad_rnn")
    if header["version"] > VERSION:
        raise ValueError(
            f"load: {_name(path)} has version {header['version']}, this package reads "
            f"up to {VERSION}; upgrade it"
        )
    names = set(archive.members) - {"structure"}

    def array(name: Any) -> Any:
        if not isinstance(name, str) or name not in names:
            raise Damaged("its structure names an array that it does not have, or has given already")
        names.remove(name)
        return archive.array(name)

    content = Reader(array, classes, to).decoded(header.get("content"))
    if names:
        raise Damaged(f"its structure does not name {min(names)}")
    if not isinstance(content, dict):
        raise Damaged("its structure is no dictionary")
    return content.get("only", content)


def _name(path: Any) -> str:
    return path if path == "the file" else repr(file_name(path, "load"))


def _foreign(path: Any) -> str:
    """The sentence about a file of another kind: what it is, and what reads it."""
    found = recognised(path)
    return f"load: {_name(path)} is no checkpoint of tinygrad_rnn{f' but {found}' if found else ''}"


def _is_foreign(path: Any) -> bool:
    """Whether an archive is somebody else's: it has names, and not that of our structure."""
    names = names_in(path)
    return bool(names) and "structure.npy" not in names


def _state(thing: Any) -> Any:
    return thing.state_dict() if isinstance(thing, Module) or hasattr(thing, "state_dict") else thing
