"""Reading states that were saved: what is said of one that is damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def reading_state(name: str) -> Iterator[None]:
    """What goes wrong with a saved state that is not as it was saved is a ValueError. `name` is who reads."""
    try:
        yield
    except ValueError as reason:
        if "\n" not in str(reason):
            raise
        raise ValueError(str(reason).partition("\n")[0] + " ...") from reason  # a value is a whole array
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as reason:
        first = str(reason).partition("\n")[0]
        raise ValueError(
            f"{name}: the state is damaged, or of something else ({type(reason).__name__}: {first})"
        ) from reason
