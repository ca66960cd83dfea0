"""What the stand-in for CuPy has in place of CUDA graphs: a list of what was done, to be done again.

As with a graph, doing it again reads and writes the same memory, runs none of the program that made the list,
and sees new values only where they are written into that memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]


def root(host: Host) -> Host:
    """The array whose memory this one looks into."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


class Recording:
    """Operations in order, each as a function and the arrays that hold what it gives."""

    def __init__(self) -> None:
        self._done: list[tuple[Callable[[], Any], list[Host]]] = []
        self._made: dict[int, Host] = {}  # by id: arrays that came about while recording
        self._before: dict[int, tuple[Host, Host]] = {}  # others that were changed, and what they held

    def makes(self, host: Host) -> None:
        """An array of the recording's own."""
        self._made[id(root(host))] = root(host)

    def changes(self, hosts: Iterable[Host]) -> None:
        """Says that arrays are about to be changed."""
        for host in hosts:
            whole = root(host)
            if id(whole) not in self._made and id(whole) not in self._before:
                self._before[id(whole)] = whole, whole.copy()

    def note(self, again: Callable[[], Any], results: Iterable[Host], inputs: Iterable[Host]) -> None:
        """An operation that was done: how it is done again, and where its results belong."""
        given = {id(root(host)) for host in inputs}
        new = [host for host in results if id(root(host)) not in given]  # others are views
        for host in new:
            self.makes(host)
        if new or not list(results):
            self._done.append((again, new))

    def undo(self) -> None:
        """Puts the arrays that there were before back to what they held: recording executes nothing."""
        for host, before in self._before.values():
            host[...] = before
        self._before.clear()

    def replay(self) -> None:
        """Does everything again."""
        with np.errstate(all="ignore"):
            for again, hosts in self._done:
                found = again()
                parts = found if isinstance(found, (tuple, list)) else (found,)
                for host, part in zip(hosts, parts if hosts else (), strict=True):
                    host[...] = part
