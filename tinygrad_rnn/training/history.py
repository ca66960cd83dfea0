"""What a training gives back and writes down: one row of numbers for each epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from math import inf
from typing import Any

from ..io.atomic import replacing

COLUMNS = (
    "epoch",
    "step",
    "loss",
    "valid_loss",
    "lr",
    "seconds",
)  # metrics stand between


class History:
    """The rows of a training, one dictionary for each epoch: what `fit` returns.

    `history["valid_loss"]` is one column, `history.rows` are all, `history.best` is the row of the best epoch
    (the last one where nothing is monitored, or was never better than NaN or infinity; None before the
    first). `stopped` says why it ended: "epochs", "minutes", "patience", "callback" or "interrupted".
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.stopped: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.stopped == "interrupted"

    def __getitem__(self, name: str) -> list[Any]:
        if not any(name in row for row in self.rows):
            known = ", ".join(self.columns()) or "none, no epoch has ended"
            raise KeyError(f"History: there is no column {name!r}; there are: {known}")
        return [row.get(name) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs, stopped={self.stopped!r}, best={self.best})"

    def columns(self) -> list[str]:
        """The names that occur, in the order of their first occurrence."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def write(self, path: Any) -> None:
        """The rows as a file, written whole or not at all: CSV, or one JSON object in each line for names
        that end in .jsonl.
        """
        import csv  # here, because it takes time
        import io

        text = io.StringIO(newline="")
        if is_jsonl(path):
            for row in self.rows:
                plain = {k: None if v != v or v in (inf, -inf) else v for k, v in row.items()}
                text.write(json.dumps(plain) + "\n")  # JSON has no NaN
        else:
            table = csv.DictWriter(text, self.columns(), lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        with replacing(path, "History.write") as file:
            file.write(text.getvalue().encode())


def is_jsonl(path: Any) -> bool:
    """Whether a file's name says JSON lines. Raises ValueError where it says neither these nor CSV."""
    name = os.fsdecode(path)
    if not name.endswith((".csv", ".jsonl")):
        raise ValueError(f"fit: log is {name!r}, expected a file name that ends in .csv or .jsonl")
    return name.endswith(".jsonl")
