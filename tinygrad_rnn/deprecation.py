"""Warnings about names that have been replaced, or have no effect: each subject is mentioned once in a
process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

mentioned: set[str] = set()


def warn_once(
    subject: str, message: str, stacklevel: int = 2, kind: type[Warning] = DeprecationWarning
) -> None:
    """A warning of a kind, the first time that it is about this subject. `stacklevel` as in `warnings.warn`,
    counted from the caller.
    """
    if subject not in mentioned:
        mentioned.add(subject)
        warnings.warn(message, kind, stacklevel=stacklevel + 1)


def join_former_names(cls: type, names: Mapping[str, str], subject: str) -> None:
    """Gives a class what it defines by one of two names by the other, too: ours by the former name, which
    subclasses of users call; theirs by the present one, which is called here. `names`: former -> present.
    Called in `__init_subclass__`, it warns at the class statement.
    """
    for before, now in names.items():
        own = vars(cls)
        if now in own:
            setattr(cls, before, own[now])
        elif before in own:
            setattr(cls, now, own[before])
            message = f"{cls.__name__}: {before} is called {now} now; former names work for the time being"
            warn_once(subject, message, stacklevel=3)
