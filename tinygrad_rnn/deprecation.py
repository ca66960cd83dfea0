"""Warnings about names that have been replaced: each subject is mentioned once in a process."""

from __future__ import annotations

import warnings

_mentioned: set[str] = set()


def warn_once(subject: str, message: str, stacklevel: int = 2) -> None:
    """A DeprecationWarning, the first time that it is about this subject. `stacklevel` as in `warnings.warn`,
    counted from the caller.
    """
    if subject not in _mentioned:
        _mentioned.add(subject)
        warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)
