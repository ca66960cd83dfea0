"""Compiled code: whether it is used, how C becomes a library, and with how many threads it runs.

`tg.native(False)` or TINYGRAD_RNN_NATIVE=0 switch it off; then everything runs by NumPy, as it does where no
compiler is found. Libraries are kept in a folder of the user's own, by the hash of what they are made of.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

FLAGS = (
    *("-O3", "-std=gnu11", "-shared", "-fPIC", "-fopenmp-simd", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),  # none of which changes a value
)
POOL = Path(__file__).with_name("pool.c")
ENOUGH = 1 << 19  # multiplications from which on a second thread is worth waking


class Native:
    """`native(True)`, `native(False)`, or `with native(False):`. `info()` says what is used."""

    def __init__(self) -> None:
        self.on = os.environ.get("TINYGRAD_RNN_NATIVE", "1") not in ("0", "false", "off")
        self._why: str | None = None  # why nothing is compiled, where that was tried

    def __call__(self, on: bool = True) -> _Switched:
        before, self.on = self.on, bool(on)
        return _Switched(self, before)

    @property
    def works(self) -> bool:
        """Whether loops are to be compiled."""
        return self.on and self._why is None

    def info(self) -> dict[str, Any]:
        """What is used: whether it is on, the compiler, the folder of libraries, threads; and why not."""
        found = compiler()
        return {
            "on": self.on, "compiler": " ".join(found) if found else None, "folder": str(folder()),
            "threads": self.n_threads, "why not": self._why,
        }  # fmt: skip

    @functools.cached_property
    def n_threads(self) -> int:
        """How many threads do the work of a call at most."""
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        return int(asked) if asked.isdigit() and int(asked) else _cores()

    def load(self, source: str) -> Any:
        """A library made of C. Raises OSError with the reason where there is none."""
        try:
            return ctypes.CDLL(str(_built(source)))
        except (OSError, subprocess.SubprocessError) as reason:
            self._why = str(reason)
            warnings.warn(f"native: nothing is compiled, NumPy does the work: {reason}", stacklevel=2)
            raise OSError(str(reason)) from reason

    @functools.cached_property
    def _pool(self) -> Any:
        library = self.load(POOL.read_text())
        library.run_loop.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_long,
                                     *[ctypes.c_void_p] * 3, *[ctypes.c_long] * 5]  # fmt: skip
        library.run_loop.restype = library.multiply.restype = None
        _ = self._blas  # which is to leave the cores alone
        return library

    @functools.cached_property
    def run_loop(self) -> Any:
        """As in pool.c."""
        return self._pool.run_loop

    def threads_for(self, n: int, work: int) -> int:
        """How many threads for so many rows and multiplications."""
        return min(self.n_threads, max(1, n // 4), max(1, work // ENOUGH))

    # ------------------------------------------------------------ products of matrices

    @functools.cached_property
    def _blas(self) -> Any:
        """NumPy's own OpenBLAS, told to use one thread: its workers would keep a core busy for a tenth of a
        second after each product. None where NumPy has another library.
        """
        found = [*(Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64_*")]
        try:
            library = ctypes.CDLL(str(found[0]))
            library.scipy_openblas_set_num_threads64_(1)
            return {8: library.scipy_cblas_dgemm64_, 4: library.scipy_cblas_sgemm64_}
        except (IndexError, OSError, AttributeError):
            return None

    def multiplies(self, a: Any, b: Any) -> bool:
        """Whether `multiply` is the way for two matrices."""
        return (
            self.works and a.dtype == b.dtype and a.dtype.char in "fd" and a.size * b.shape[1] >= ENOUGH
            and self._blas is not None and _lies(a) is not None and _lies(b) is not None
        )  # fmt: skip

    def multiply(self, a: Any, b: Any, out: Any, adds: bool = False) -> None:
        """out = a @ b, or with `adds` out += a @ b, by all threads; `out` lies in rows."""
        (turned_a, a_down), (turned_b, b_down) = _lies(a), _lies(b)  # type: ignore[misc]
        (rows, inner), columns, size = a.shape, b.shape[1], a.dtype.itemsize
        work = rows * inner * columns
        parts, gemm = max(1, min(16, work // ENOUGH)), ctypes.cast(self._blas[size], ctypes.c_void_p)
        product = _Product(
            None, None, None, parts, 0, 0, 0, 0, gemm, a.ctypes.data, b.ctypes.data, out.ctypes.data, size,
            turned_a, turned_b, rows, columns, inner, a_down, b_down, out.strides[0] // size, adds,
        )  # fmt: skip
        self._pool.multiply(ctypes.byref(product), self.n_threads)


def _lies(x: Any) -> tuple[bool, int] | None:
    """How BLAS reads a matrix: whether turned around, and how far apart its rows (or columns) are."""
    (rows, columns), (down, right), size = x.shape, x.strides, x.dtype.itemsize
    if x.ctypes.data % size or down % size or right % size:
        return None
    if (right == size or columns == 1) and (down >= columns * size or rows == 1):
        return False, max(down // size, columns, 1)
    if (down == size or rows == 1) and (right >= rows * size or columns == 1):
        return True, max(right // size, rows, 1)
    return None


class _Product(ctypes.Structure):
    """As in pool.c, Call included."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("memory", "step", "row")],
        *[(name, ctypes.c_long) for name in ("n", "first", "by", "n_steps", "done")],
        *[(name, ctypes.c_void_p) for name in ("gemm", "a", "b", "c")],
        *[(name, ctypes.c_long) for name in ("size", "turned_a", "turned_b", "rows", "columns", "inner")],
        *[(name, ctypes.c_long) for name in ("a_down", "b_down", "c_down", "adds")],
    ]


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


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of a C compiler; empty where there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return tuple(name.split())
    found = importlib.util.find_spec("ziglang") is not None
    return (sys.executable, "-m", "ziglang", "cc") if found else ()


@functools.cache
def _machine() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return " ".join(
            sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
        )
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def folder() -> Path:
    """Where libraries are kept."""
    own = os.environ.get("TINYGRAD_RNN_CACHE")
    return (
        Path(own)
        if own
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_rnn"
    )


def _safe_folder() -> Path:
    """The folder, made for this user alone. Raises OSError where others could write there."""
    path = folder()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise OSError(
            f"{path} is not this user's own, or others may write there; TINYGRAD_RNN_CACHE names another"
        )
    return path


def _built(source: str) -> Path:
    """The library of a source, compiled if it is not there."""
    command = compiler()
    if not command:
        raise OSError("no C compiler was found (cc, gcc, clang, or pip install ziglang)")
    flags = [*FLAGS, "-march=native"]
    key = hashlib.sha256("\0".join([source, *command, *flags, _machine()]).encode()).hexdigest()[:32]
    path = _safe_folder() / f"{key}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        text, made = Path(work) / "loop.c", Path(work) / "loop.so"
        text.write_text(source)
        done = subprocess.run(
            [*command, *flags, "-o", str(made), str(text), "-lm", "-lpthread"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"{command[0]} failed: {done.stderr.strip()[:300]}")
        made.replace(path)
    return path
