"""PyTorch's names and layouts for our weights, both ways. PyTorch itself is not needed.

Where the two differ: PyTorch's recurrent weights are (gates * hidden_size, input_size), ours the transpose.
It has two biases, which it adds; ours have the second only when made with init="torch". Its GRU's z keeps the
old state where ours takes the new one, and since sigmoid(-a) is 1 - sigmoid(a), that block changes its sign.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import backend
from ..backend.naming import kind
from ..creation import as_tensor
from ..nn import GRUCell, LSTMCell, Module, RNNCell
from ..nn.bidirectional import Bidirectional
from ..nn.recurrent import Recurrent
from ..tensor import Tensor

Arrays = dict[str, np.ndarray[Any, Any]]


def to_torch(module: Module) -> Arrays:
    """The weights of a module under PyTorch's names, as NumPy arrays in PyTorch's layouts.

    `torch_module.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch(module).items()})`. Where
    PyTorch has two biases and we one, the second is zero. Raises ValueError for a GRU that is not
    `reset_after`, which PyTorch lacks.
    """
    found: Arrays = {}
    cells = dict(_cells(module))
    inside = {id(p) for cell, _ in cells.values() for p in cell.parameters()}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for prefix, (cell, names) in cells.items():
        for name, array in _cell_to_torch(prefix, cell).items():
            found[names[name]] = array
    for name, tensor in tensors.items():
        if id(tensor) not in inside:
            found[name] = backend.to_numpy(tensor.array).copy()
    for name, tensor in module.state_dict().items():  # the second name of a shared parameter
        if name not in found and not any(name.startswith(prefix) for prefix in cells):
            found[name] = backend.to_numpy(tensor.array).copy()
    return found


def load_torch(module: Module, state_dict: Mapping[str, Any]) -> None:
    """Fills a module from a PyTorch state dict: torch tensors, arrays or tensors by PyTorch's names.

    Raises ValueError, and changes nothing, where names are missing or unexpected, shapes differ, or a GRU is
    not `reset_after`.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_torch: expected a state dict, got {_not_a_dict(state_dict)}")
    given = {name: _host(name, value) for name, value in state_dict.items()}
    expected = to_torch(module)
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    if missing or unexpected:
        text = [f"missing {', '.join(missing[:5])}"] if missing else []
        text += [f"unexpected {', '.join(unexpected[:5])}"] if unexpected else []
        raise ValueError(f"load_torch: the names do not fit the module: {'; '.join(text)}")
    for name, array in given.items():
        if array.shape != expected[name].shape:
            raise ValueError(f"load_torch: {name} has shape {array.shape}, expected {expected[name].shape}")
    new: dict[int, tuple[Tensor, np.ndarray[Any, Any]]] = {}
    for _, (cell, names) in _cells(module):
        weights = _cell_from_torch(cell, {short: given.pop(full) for short, full in names.items()})
        for name, array in weights.items():
            p = dict(cell.named_parameters())[name]
            new[id(p)] = (p, array)
    own = module.state_dict()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, array in given.items():
        target = tensors.get(name, own.get(name))
        assert target is not None
        new[id(target)] = (target, array)
    for target, array in new.values():
        target.data.copy_(as_tensor(array.astype(target.dtype), device=target.device))


def _not_a_dict(given: Any) -> str:
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        by = (
            "load_safetensors(path)"
            if path.endswith(".safetensors")
            else "torch.load(path, weights_only=True)"
        )
        return f"the name of a file, {path!r}; {by} reads one"
    return kind(given) + ("; its state_dict() is one" if hasattr(given, "state_dict") else "")


def _host(name: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return backend.to_numpy(value.array)
    if hasattr(value, "detach"):  # a torch tensor
        value = backend.host_array(value)
    if not isinstance(value, np.ndarray):
        hint = f"; give load_torch the dict in [{name!r}]" if isinstance(value, Mapping) else ""
        raise TypeError(f"load_torch: {name} is {kind(value)}, expected a tensor or an array{hint}")
    return value


def _cells(module: Module) -> Iterator[tuple[str, tuple[Any, dict[str, str]]]]:
    """Each cell of ours with the start of its parameters' names, and PyTorch's names of its weights."""
    seen: set[int] = set()
    for path, layer in module.named_modules():
        start = f"{path}." if path else ""
        if isinstance(layer, Bidirectional):
            if layer.forward_layer.num_layers > 1:
                raise ValueError(
                    f"{path or 'the module'}: PyTorch joins the directions after every layer; "
                    "give the layer bidirectional=True instead of Bidirectional around a deep one"
                )
            for inner, suffix in ((layer.forward_layer, "_l0"), (layer.backward_layer, "_l0_reverse")):
                seen.update((id(inner), id(inner.cells[0])))
                which = "forward_layer" if suffix == "_l0" else "backward_layer"
                yield f"{start}{which}.cells.0.", (inner.cells[0], _names(inner.cells[0], start, suffix))
        elif isinstance(layer, Recurrent) and id(layer) not in seen:
            for k, cell in enumerate(layer.cells):
                seen.add(id(cell))
                if type(cell) not in (RNNCell, LSTMCell, GRUCell):
                    continue  # other cells keep their own names
                n = layer.num_directions
                suffix = f"_l{k // n}" + ("_reverse" if k % n else "")
                yield f"{start}cells.{k}.", (cell, _names(cell, start, suffix))
        elif type(layer) in (RNNCell, LSTMCell, GRUCell) and id(layer) not in seen:
            seen.add(id(layer))
            yield start, (layer, _names(layer, start, ""))


def _names(cell: Any, start: str, suffix: str) -> dict[str, str]:
    short = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if cell.bias is not None else [])
    short += ["weight_hr"] if getattr(cell, "weight_hr", None) is not None else []
    return {name: f"{start}{name}{suffix}" for name in short}


def _turned(cell: Any, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A GRU's weight or bias with the sign of the z block changed (last axis); others as they are."""
    if isinstance(cell, GRUCell):
        n = cell.hidden_size
        array = array.copy()
        array[..., n : 2 * n] *= -1
    return array


def _cell_to_torch(where: str, cell: Any) -> Arrays:
    if isinstance(cell, GRUCell) and not cell.reset_after:
        raise ValueError(
            f"{where or 'GRUCell: '}a GRU whose reset gate comes before the product has no counterpart "
            "in PyTorch; build it with reset_after=True"
        )
    weights = {"weight_ih": cell.weight_ih, "weight_hh": cell.weight_hh}
    found = {name: _turned(cell, backend.to_numpy(w.array)).T.copy() for name, w in weights.items()}
    if getattr(cell, "weight_hr", None) is not None:
        found["weight_hr"] = backend.to_numpy(cell.weight_hr.array).T.copy()
    if cell.bias is not None:
        found["bias_ih"] = _turned(cell, backend.to_numpy(cell.bias.array)).copy()
        found["bias_hh"] = np.zeros_like(found["bias_ih"])
        if cell.bias_hh is not None and cell.bias_hh.shape == cell.bias.shape:
            found["bias_hh"] = _turned(cell, backend.to_numpy(cell.bias_hh.array)).copy()
        elif isinstance(cell, GRUCell):
            found["bias_hh"][2 * cell.hidden_size :] = backend.to_numpy(cell.bias_hh.array)  # type: ignore[union-attr]
    return found


def _cell_from_torch(cell: Any, given: Arrays) -> Arrays:
    found = {name: _turned(cell, given[name].T) for name in ("weight_ih", "weight_hh")}
    if "weight_hr" in given:
        found["weight_hr"] = given["weight_hr"].T
    if cell.bias is not None and cell.bias_hh is not None and cell.bias_hh.shape == cell.bias.shape:
        found["bias"], found["bias_hh"] = _turned(cell, given["bias_ih"]), _turned(cell, given["bias_hh"])
    elif cell.bias is not None:
        b = given["bias_ih"] + given["bias_hh"]
        if isinstance(cell, GRUCell):
            n = 2 * cell.hidden_size
            b[n:] = given["bias_ih"][n:]
            found["bias_hh"] = given["bias_hh"][n:]
        found["bias"] = _turned(cell, b)
    return found
