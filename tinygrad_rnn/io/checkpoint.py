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
from ..engine.errors import kind
from ..nn import Module
from ..tensor import Tensor
from .atomic import file_name, replacing
from .formats import reading, recognised

FORMAT, VERSION = "tinygrad_rnn checkpoint", 1


def save(path: Any, model: Any = None, optimizer: Any = None, **extras: Any) -> None:
    """Writes a model (or its state dict), an optimiser (or its), and anything plain, for `load`.

    `save("run.npz", model, optimizer, epoch=3, vocab=list_of_characters)`. Plain are numbers, strings, None,
    lists, tuples, dictionaries with string or integer keys, arrays and tensors. As in PyTorch,
    `save(state_dict, path)` writes one thing, which `load` gives back as it was.
    Raises TypeError for what is not plain, naming where it stands. The write is atomic.
    """
    if isinstance(model, (str, os.PathLike)) and not isinstance(path, (str, os.PathLike)):
        path, content = model, {"only": _state(path)}
    else:
        file_name(path, "save(path, model, ...)")
        content = {"model": _state(model), "optimizer": _state(optimizer), **extras}
    arrays: dict[str, Any] = {}
    tree = _encoded(content, "", arrays)
    header = json.dumps({"format": FORMAT, "version": VERSION, "content": tree})
    with replacing(path) as file:
        np.savez(file, structure=np.frombuffer(header.encode(), np.uint8), **arrays)


def load(path: Any) -> Any:
    """What `save` wrote: a dictionary with "model" and "optimizer" (state dicts, for `load_state_dict`) and
    the extras.

    Arrays come as tensors in the library in use. Raises FileNotFoundError, or ValueError for a file that is
    cut short, is no checkpoint, or was written by a newer version.
    """
    header, arrays = _read(path)
    if header["version"] > VERSION:
        raise ValueError(
            f"load: {_name(path)} has version {header['version']}, this package reads "
            f"up to {VERSION}; upgrade it"
        )
    content = _decoded(header["content"], lambda name: arrays[name])
    return content.get("only", content)


def _read(path: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the arrays. Everything is read before anything is used."""
    import zipfile  # here, because it takes time

    foreign = f"load: {_name(path)} is no checkpoint of tinygrad_rnn"
    try:
        with reading(path, "load") as file:
            start = file.read(4)
            if start[:2] != b"PK":
                raise ValueError(f"{foreign} (it is empty)" if not start else _foreign(path))
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                if "structure" not in archive.files:
                    raise ValueError(_foreign(path))
                arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, KeyError, zipfile.LargeZipFile) as reason:
        raise ValueError(f"load: {_name(path)} is cut short or damaged; use an older checkpoint") from reason
    except ValueError as reason:
        if str(reason).startswith("load:"):
            raise
        raise ValueError(f"{foreign}, or it is damaged") from reason
    try:
        header = json.loads(arrays.pop("structure").tobytes().decode())
        known = header["format"] == FORMAT and isinstance(header["version"], int)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(foreign)
    return header, arrays


def _name(path: Any) -> str:
    return repr(file_name(path, "load"))


def _foreign(path: Any) -> str:
    """The sentence about a file of another kind: what it is, and what reads it."""
    found = recognised(path)
    return f"load: {_name(path)} is no checkpoint of tinygrad_rnn{f' but {found}' if found else ''}"


def _state(thing: Any) -> Any:
    return thing.state_dict() if isinstance(thing, Module) or hasattr(thing, "state_dict") else thing


def _encoded(value: Any, where: str, arrays: dict[str, Any]) -> Any:
    """A value as JSON. What JSON has no form for is a dictionary with one key that says what it is."""
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
        arrays[name] = host
        return {"tensor" if tensor else "array": name}
    if isinstance(value, (list, tuple)):
        items = [_encoded(v, f"{where}[{i}]", arrays) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        items = []
        for key, v in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(
                    f"save: {where or 'the value'} has the key {key!r}; keys are strings or integers"
                )
            items.append([key, _encoded(v, f"{where}[{key!r}]" if where else str(key), arrays)])
        return {"dict": items}
    remedy = "; tinygrad_rnn.tensor(...) makes a tensor of it" if hasattr(value, "__array__") else ""
    raise TypeError(
        f"save: {where or 'the value'} is {kind(value)}, which is not plain; give numbers, strings, lists, "
        f"dictionaries, arrays or tensors{remedy}"
    )


def _decoded(value: Any, array: Callable[[str], Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, array) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return Tensor(array(inside), device=backend.current())
    if kind == "array":
        return array(inside)
    if kind == "float":
        return float(inside)
    if kind == "tuple":
        return tuple(_decoded(v, array) for v in inside)
    return {key: _decoded(v, array) for key, v in inside}
