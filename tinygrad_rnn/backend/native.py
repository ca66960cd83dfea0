"""Compiled code: whether it is used, how C becomes a library, and with how many threads it runs.

`tg.native(False)` or TINYGRAD_RNN_NATIVE=0 switch it off; then everything runs by NumPy, as it does where no
compiler is found. Libraries are kept in a folder of the user's own, by the hash of what they are made of.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from types import TracebackType
from typing import Any

ENOUGH = 1 << 19  # multiplications from which on a second thread is worth waking


class Native:
    """`native(True)`, `native(False)`, or `with native(False):`. `info()` says what is used."""

    def __init__(self) -> None:
        self.on = os.environ.get("TINYGRAD_RNN_NATIVE", "1") not in ("0", "false", "off")
        self._why: str | None = None  # why nothing is compiled, where that was tried

    def __repr__(self) -> str:
        return f"native({self.on})" if self._why is None else f"native: nothing is compiled: {self._why}"

    def __call__(self, on: bool = True) -> _Switched:
        before, self.on = self.on, bool(on)
        return _Switched(self, before)

    @property
    def works(self) -> bool:
        """Whether loops are to be compiled."""
        return self.on and self._why is None

    @property
    def compiles(self) -> bool:
        """Whether it is on, and a compiler is there."""
        from . import compiling

        return self.works and bool(compiling.compiler())

    def info(self) -> dict[str, Any]:
        """What is used: whether it is on, the compiler, the folder of libraries, threads; and why not."""
        from . import compiling

        return {
            "on": self.on, "compiler": " ".join(compiling.compiler()) or None,
            "folder": str(compiling.folder()), "threads": self.n_threads, "why not": self._why,
        }  # fmt: skip

    @functools.cached_property
    def n_threads(self) -> int:
        """How many threads do the work of a call at most."""
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        return int(asked) if asked.isdigit() and int(asked) else _cores()

    def threads_for(self, n: int, work: int) -> int:
        """How many threads for so many rows and multiplications."""
        return min(self.n_threads, max(1, n // 4), max(1, work // ENOUGH))

    def export_c(self, model: Any, path: Any, *, weights: str = "float", inputs: int | None = None) -> Any:
        """Writes a trained recurrent net, one time step of it, as `path`.c and `path`.h: C99 that needs C's
        own library alone, weights included, for microcontrollers and other programs. Returns the files and
        the error: see io/export.py.
        """
        export = importlib.import_module("tinygrad_rnn.io.export")  # which stands above: by name, when asked
        return export.export_c(model, path, weights=weights, inputs=inputs)

    def load(self, source: str) -> Any:
        """A library made of C. Raises OSError with the reason where there is none, which is said once."""
        from . import compiling

        try:
            compiling.pool()
            return compiling.load(source)
        except OSError as reason:
            self._give_up(reason)
            raise

    def _give_up(self, reason: OSError) -> None:
        """Says once that nothing can be compiled; NumPy's products have all their threads again."""
        from . import compiling

        compiling.give_back_threads()
        if self._why is None:
            self._why = str(reason)
            warnings.warn(f"native: nothing is compiled, NumPy does the work: {reason}", stacklevel=3)

    @functools.cached_property
    def run_loop(self) -> Any:
        """As in pool.c."""
        from . import compiling

        return compiling.pool().run_loop

    @functools.cached_property
    def run_again(self) -> Any:
        """As in pool.c."""
        from . import compiling

        return compiling.pool().run_again

    @functools.cached_property
    def run_elements(self) -> Any:
        """As in pool.c."""
        from . import compiling

        return compiling.pool().run_elements

    def multiply(self, a: Any, b: Any, out: Any, adds: bool = False) -> bool:
        """out = a @ b of two large matrices, or with `adds` out += a @ b, by all threads; `out` lies in rows.
        False where it is not the way, and nothing was done.
        """
        if not self.works or a.dtype != b.dtype or a.dtype.char not in "fd" or not a.dtype.isnative:
            return False
        from . import compiling

        if compiling.lies(a) is None or compiling.lies(b) is None:
            return False
        parts = max(1, min(16, a.size * b.shape[1] // ENOUGH))
        try:
            compiling.pool()  # first: where nothing compiles, NumPy keeps its threads
            if compiling.blas() is None:
                return False
            compiling.multiply(a, b, out, adds, parts, self.n_threads)
        except OSError as reason:
            self._give_up(reason)
            return False
        return True


class _Switched:
    """What `native(..)` returns: as a `with` block it ends with the block."""

    def __init__(self, of: Native, before: bool) -> None:
        self._of, self._before = of, before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._of.on = self._before


native = Native()


def set_num_threads(n: int) -> None:
    """At most so many threads do the work of a call of compiled code. Results do not depend on it. The
    default is OMP_NUM_THREADS, or the cores that this process may use.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: expected a positive integer, got {n!r}")
    native.n_threads = n


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
