"""Groups of an optimiser that were saved: reading them, and saying what was given in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from ..backend.naming import kind
from ..tensor import Tensor

# Options that states written before they existed lack; all are off unless somebody asks for them.
_YOUNG_OPTIONS = {"maximize": None, "decoupled_weight_decay": None, "amsgrad": None}


def read_groups(
    name: str,
    groups: Sequence[Mapping[str, Any]],
    saved: Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Any],
    check: Callable[[dict[str, Any]], None],
) -> tuple[list[dict[str, Any]], dict[int, Tensor]]:
    """The groups with the options that were saved, and the parameters by the numbers they were saved under.
    Raises ValueError where groups, parameters or options do not fit; `check` looks at each group's options.
    """
    if len(saved) != len(groups):
        raise ValueError(f"{name}: {len(groups)} parameter groups here, {len(saved)} in the dict")
    found: list[dict[str, Any]] = []
    numbered: dict[int, Tensor] = {}
    for i, (mine, theirs) in enumerate(zip(groups, saved, strict=True)):
        missing = [option for option in defaults if option not in {**theirs, **_YOUNG_OPTIONS}]
        if missing:
            raise ValueError(f"{name}: group {i} lacks {missing[0]!r}; is it the state of another optimiser?")
        wrong = [k for k, v in theirs.items() if k in mine and k != "params" and not is_alike(mine[k], v)]
        if wrong:
            raise ValueError(f"{name}: {wrong[0]} of group {i} is {kind(theirs[wrong[0]])}")
        if len(mine["params"]) != len(theirs["params"]):
            raise ValueError(
                f"{name}: group {i} has {len(mine['params'])} parameters here, {len(theirs['params'])} "
                "in the dict"
            )
        tuples = {k for k, v in mine.items() if isinstance(v, tuple)}
        taken = {k: tuple(v) if k in tuples else v for k, v in theirs.items()}
        group = {**mine, **taken}  # what a schedule here has noted stays where the dict has nothing for it
        group["params"] = mine["params"]
        check(group)
        found.append(group)
        numbered.update(zip(map(int, theirs["params"]), mine["params"], strict=True))
    return found, numbered


def is_alike(mine: Any, theirs: Any) -> bool:
    """Whether a saved value may stand where there is one here: a number for a number, a list for a list."""
    if mine is None or theirs is None:
        return True
    for kinds in (str, (bool, int, float), Mapping, (list, tuple)):
        if isinstance(mine, kinds):
            return isinstance(theirs, kinds) or (kinds == (bool, int, float) and hasattr(theirs, "__float__"))
    return True


def given_instead(given: Any) -> str:
    """What was given in place of an optimiser's state, as the end of a sentence."""
    if isinstance(given, (str, PathLike)):
        return f', got the name of a file; tinygrad_rnn.load({given!r})["optimizer"] is one'
    if isinstance(given, Mapping) and isinstance(given.get("optimizer"), Mapping):
        return ', got all that tinygrad_rnn.save wrote; give its ["optimizer"]'
    if isinstance(given, Mapping):
        return f", got one with {', '.join(repr(name) for name in list(given)[:3]) or 'nothing in it'}"
    return f", got {kind(given)}"
