"""How far a training is: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A tqdm bar over the steps where tqdm is installed and stderr is a terminal; else, and beside it, lines.

    `n_steps` is the length of the whole training, None where it is not known. Without `shown` nothing is
    written.
    """

    def __init__(self, shown: bool, n_steps: int | None, done: int) -> None:
        self._bar: Any = None
        self._shown, self._last = shown, float("-inf")
        if shown and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=n_steps, initial=done, unit="step", dynamic_ncols=True)

    @property
    def has_bar(self) -> bool:
        """Whether values are shown at every step."""
        return self._bar is not None

    def step(self, loss: float | str | None) -> None:
        """One more step; the loss that was read last, or what else to say."""
        if self._bar is not None:
            if loss is not None:
                self._bar.set_postfix_str(
                    loss if isinstance(loss, str) else f"loss {loss:.4g}", refresh=False
                )
            self._bar.update()

    def line(self, text: str, *, always: bool) -> None:
        """A line; those that follow another within a second are left out, unless `always`. What the console's
        encoding does not have is shown as \\u2603: no training ends because of a name.
        """
        now = time.monotonic()
        if not self._shown or not (always or now - self._last >= 1):
            return
        self._last = now
        try:
            self._write(text)
        except UnicodeEncodeError:
            self._write(text.encode("ascii", "backslashreplace").decode())

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
