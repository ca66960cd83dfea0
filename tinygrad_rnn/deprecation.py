"""Warnings about names that have been replaced, or have no effect: each subject is mentioned once in a
process."""

from __future__ import annotations

import warnings

_mentioned: set[str] = set()


def warn_once(
    subject: str, message: str, stacklevel: int = 2, kind: type[Warning] = DeprecationWarning
) -> None:
    """A warning of a kind, the first time that it is about this subject. `stacklevel` as in `warnings.warn`,
    counted from the caller.
    """
    if subject not in _mentioned:
        _mentioned.add(subject)
        warnings.warn(message, kind, stacklevel=stacklevel + 1)
