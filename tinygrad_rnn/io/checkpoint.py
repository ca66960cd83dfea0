"""Checkpoints: a model, an optimiser and plain data in one .npz file, without objects and without pickle.

The file is an ordinary NumPy archive. Its entry `structure` is JSON: nested lists and dictionaries of plain
values, with {"array": name} where an array stands; the arrays are the other entries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import backend
from ..backend.naming import kind
from ..nn import Module
from ..tensor import Tensor
from .archive import Archive, Damaged
from .atomic import file_name, replacing
from .formats import names_in, parsed, reading, recognised

FORMAT, VERSION = "tinygrad_rnn checkpoint", 1
DEEPEST = 100  # how many lists and dictionaries may lie in each other


def save(path: Any, model: Any = None, optimizer: Any = None, **extras: Any) -> None:
    """Writes a model (or its state dict), an optimiser (or its), and anything plain, for `load`.

    `save("run.npz", model, optimizer, epoch=3, vocab=list_of_characters)`. Plain are numbers, strings, None,
    lists, tuples, dictionaries with string or integer keys, arrays and tensors. As in PyTorch,
    `save(state_dict, path)` writes one thing, which `load` gives back as it was.
    Raises TypeError for what is not plain, naming where it stands. The write is atomic.
    """
    if isinstance(model, (str, bytes, os.PathLike)) and not isinstance(path, (str, bytes, os.PathLike)):
        path, content = model, {"only": _state(path)}
    else:
        file_name(path, "save(path, model, ...)")
        content = {"model": _state(model), "optimizer": _state(optimizer), **extras}
    arrays: dict[str, Any] = {}
    tree = encoded(content, "", arrays)
    header = json.dumps({"format": FORMAT, "version": VERSION, "content": tree})
    with replacing(path) as file:
        np.savez(file, structure=np.frombuffer(header.encode(), np.uint8), **arrays)


def load(path: Any) -> Any:
    """What `save` wrote: a dictionary with "model" and "optimizer" (state dicts, for `load_state_dict`) and
    the extras.

    Arrays come as tensors in the library in use. Raises FileNotFoundError, or ValueError for a file that is
    cut short or damaged, is no checkpoint, was written by a newer version, or holds anything that `save` does
    not write: such a file is refused before memory is taken for it.
    """
    with reading(path, "load") as file:
        start = file.read(4)
        if not start:
            raise ValueError(f"load: {_name(path)} is no checkpoint of tinygrad_rnn (it is empty)")
        try:
            if start[:2] != b"PK":
                raise Damaged("it is no archive")
            archive = Archive(file)
            return _content(path, archive)
        except Damaged as reason:
            if start[:2] != b"PK" or _is_foreign(path):
                raise ValueError(_foreign(path)) from reason
            raise ValueError(
                f"load: {_name(path)} is cut short or damaged, {reason}; use an older checkpoint"
            ) from reason


def _content(path: Any, archive: Archive) -> Any:
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

    content = _decoded(header.get("content"), array)
    if names:
        raise Damaged(f"its structure does not name {min(names)}")
    if not isinstance(content, dict):
        raise Damaged("its structure is no dictionary")
    return content.get("only", content)


def _name(path: Any) -> str:
    return repr(file_name(path, "load"))


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


def encoded(value: Any, where: str, arrays: dict[str, Any], depth: int = 0) -> Any:
    """A value as JSON. What JSON has no form for is a dictionary with one key that says what it is."""
    if depth > DEEPEST:
        raise ValueError(f"save: {where[:40]}... is nested more than {DEEPEST} deep, or holds itself")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (Tensor, *backend.MODULES)):
        tensor = isinstance(value, Tensor)
        host = backend.to_numpy(value.array if isinstance(value, Tensor) else value)
        if host.dtype.kind not in "fiub":
            raise TypeError(f"save: {where or 'the value'} is an array of {host.dtype}, which is not plain")
        name = f"array{len(arrays)}"
        arrays[name] = host.astype(host.dtype.newbyteorder("<"), copy=False)
        return {"tensor" if tensor else "array": name}
    if isinstance(value, (list, tuple)):
        items = [encoded(v, f"{where}[{i}]", arrays, depth + 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        items = []
        for key, v in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(
                    f"save: {where or 'the value'} has the key {key!r}; keys are strings or integers"
                )
            items.append([key, encoded(v, f"{where}[{key!r}]" if where else str(key), arrays, depth + 1)])
        return {"dict": items}
    remedy = "; tinygrad_rnn.tensor(...) makes a tensor of it" if hasattr(value, "__array__") else ""
    raise TypeError(
        f"save: {where or 'the value'} is {kind(value)}, which is not plain; give numbers, strings, lists, "
        f"dictionaries, arrays or tensors{remedy}"
    )


def _decoded(value: Any, array: Callable[[Any], Any], depth: int = 0) -> Any:
    """The value that `encoded` wrote so. `array` gives the array of a name. Raises Damaged."""
    if depth > DEEPEST:
        raise Damaged(f"its structure is nested more than {DEEPEST} deep")
    if isinstance(value, list):
        return [_decoded(v, array, depth + 1) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise Damaged("its structure is none that save writes")
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return Tensor._of(backend.current().from_numpy(array(inside)))
    if kind == "array":
        return array(inside)
    if kind == "float" and inside in ("inf", "-inf", "nan"):
        return float(inside)
    if kind == "tuple" and isinstance(inside, list):
        return tuple([_decoded(v, array, depth + 1) for v in inside])
    if kind != "dict" or not isinstance(inside, list):
        raise Damaged("its structure is none that save writes")
    found: dict[Any, Any] = {}
    for pair in inside:
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) not in (str, int):
            raise Damaged("its structure is none that save writes")
        if pair[0] in found:
            raise Damaged(f"its structure has the key {pair[0]!r} twice")
        found[pair[0]] = _decoded(pair[1], array, depth + 1)
    return found
