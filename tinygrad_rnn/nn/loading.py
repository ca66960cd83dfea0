"""Reading a module's state dict: what was given, what of it fits, and what to do where it does not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple

from ..backend.naming import kind
from ..creation import tensor
from ..engine.errors import Mismatch
from ..tensor import Tensor

_OF_PYTORCH_ALONE = re.compile(r"(^|\.)((weight|bias)_(ih|hh|hr)_l\d+(_reverse)?|bias_ih)$")


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` found missing, and what it did not know."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"LoadResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def check_dict(owner: str, given: Any, mine: Mapping[str, Tensor]) -> None:
    """Raises ValueError or TypeError where what was given is no state dict. `mine`: what the module has."""
    hint = not_a_state(given, mine)
    if hint is not None:
        raise (ValueError if isinstance(given, Mapping) else TypeError)(
            f"{owner}.load_state_dict: expected names and tensors in a dict, got {hint}"
        )


def compare_names(
    owner: str, mine: Collection[str], given: Mapping[str, Any], transposed: list[str], strict: bool
) -> LoadResult:
    """What is missing and what is unexpected. Raises ValueError for either with `strict`, and for what is of
    PyTorch's recurrent layers, by its name or as one of the `transposed` matrices.
    """
    missing = [name for name in mine if name not in given]
    unexpected = [name for name in given if name not in mine]
    foreign = [name for name in unexpected if _OF_PYTORCH_ALONE.search(str(name))] + transposed
    if foreign:
        raise ValueError(
            f"{owner}.load_state_dict: {foreign[0]} is of PyTorch's recurrent layers; "
            "tinygrad_rnn.io.load_torch(module, state_dict) reads such a dict"
        )
    if strict and (missing or unexpected):
        wrong = [f"missing {_few(missing)}"] if missing else []
        wrong += [f"unexpected {_few(unexpected)}"] if unexpected else []
        raise Mismatch(
            f"{owner}.load_state_dict: {' and '.join(wrong)}; strict=False loads the names that fit"
        )
    return LoadResult(missing, unexpected)


def values_for(owner: str, mine: Mapping[str, Tensor], state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """The values that were saved, for the tensors here."""
    found = {}
    for name, target in mine.items():
        if name in state_dict:
            value = state_dict[name]
            value = tensor(value.detach() if isinstance(value, Tensor) else value, device=target.device)
            if value.shape != target.shape:
                raise Mismatch(
                    f"{owner}.load_state_dict: {name} has shape {target.shape} here, "
                    f"{value.shape} in the dict"
                )
            if (value.dtype.kind == "f") != (target.dtype.kind == "f"):
                raise ValueError(
                    f"{owner}.load_state_dict: {name} is {target.dtype} here, {value.dtype} in the dict"
                )
            found[name] = value
    return found


def not_a_state(given: Any, names: Iterable[str] = ()) -> str | None:
    """What was given where the state dict of a module is expected, and what gives one; None where it may be
    one. `names` are those of the module.
    """
    if isinstance(given, (str, bytes, PathLike)):
        return f'the name of a file; tinygrad_rnn.load({given!r})["model"] is the dict of a checkpoint'
    if not isinstance(given, Mapping):
        hint = "; its state_dict() is one" if hasattr(given, "state_dict") else ""
        return f"{kind_or_none(given)}{hint}"
    if set(given) & set(names):
        return None
    if isinstance(given.get("model"), Mapping):
        return 'all that tinygrad_rnn.save wrote; give its ["model"]'
    if {"state", "param_groups"} <= set(given):
        return "the state of an optimiser; optimizer.load_state_dict takes it"
    inner = [key for key, value in given.items() if isinstance(value, Mapping) and set(value) & set(names)]
    return f"a dict of dicts; give its [{inner[0]!r}]" if inner else None


def kind_or_none(value: Any) -> str:
    """An object by its type, as it stands in a sentence; None by itself."""
    return "None" if value is None else kind(value)


def _few(names: Iterable[Any]) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
