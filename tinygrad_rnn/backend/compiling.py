"""From C to a library in this process; threads and products of matrices by pool.c. native.py imports it when
something is to be compiled.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = (
    *("-O3", "-std=gnu11", "-shared", "-fPIC", "-fopenmp-simd", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),  # none of which changes a value
)
POOL = Path(__file__).with_name("pool.c")
SUFFIX = {"Windows": ".dll", "Darwin": ".dylib"}.get(platform.system(), ".so")
PROCESSOR = ("-march=native", "-mcpu=native")  # the second where a compiler does not know the first
PATIENCE = 300  # seconds that a compiler has; zig makes its C library at first
EMPTY = "int nothing(void) { return 0; }\n"
DIGEST = 32  # bytes at the end of a library that tell whether it is whole


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of a C compiler; empty where there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = shlex.split(name)
        if words and shutil.which(words[0]):
            return tuple(words)
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
    try:
        path = folder()
    except RuntimeError as reason:  # there is no home
        raise OSError(f"{reason}; TINYGRAD_RNN_CACHE names a folder for libraries") from reason
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise OSError(
            f"{path} is not this user's own, or others may write there; TINYGRAD_RNN_CACHE names another"
        )
    return path


def compile_to(path: Path, source: str, command: Sequence[str], *more: str) -> None:
    """Compiles a text to a library. Raises OSError with what the compiler says."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        text, made = Path(work) / "loop.c", Path(work) / f"loop{SUFFIX}"
        text.write_text(source)
        libraries = () if "windows" in " ".join(more) or SUFFIX == ".dll" else ("-lm", "-lpthread")
        try:
            done = subprocess.run(
                [*command, *FLAGS, *more, "-o", str(made), str(text), *libraries],
                capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OSError(f"{command[0]} took longer than {PATIENCE} seconds") from None
        if done.returncode or not made.exists():
            raise OSError(f"{command[0]} failed: {done.stderr.strip()[:300] or 'it made no library'}")
        with made.open("ab") as file:  # what stands behind a library is not read as part of it
            file.write(hashlib.sha256(made.read_bytes()).digest())
        made.replace(path)


@functools.cache
def for_processor(command: tuple[str, ...]) -> tuple[str, ...]:
    """How a compiler is told to compile for the processor at hand."""
    with tempfile.TemporaryDirectory(dir=_safe_folder()) as work:
        for flag in PROCESSOR:
            with contextlib.suppress(OSError):
                compile_to(Path(work) / "empty", EMPTY, command, flag)
                return (flag,)
        compile_to(Path(work) / "empty", EMPTY, command)
    return ()


def built(source: str) -> tuple[Path, bool]:
    """The library of a source, compiled if it is not there, and whether it was."""
    command = compiler()
    if not command:
        raise OSError("no C compiler was found (cc, gcc, clang, or pip install ziglang)")
    key = hashlib.sha256("\0".join([source, *command, *FLAGS, _machine()]).encode()).hexdigest()[:32]
    path = _safe_folder() / f"{key}{SUFFIX}"
    if _is_whole(path):
        return path, True
    compile_to(path, source, command, *for_processor(command))
    return path, False


def _is_whole(path: Path) -> bool:
    """Whether a library is there as it was written: a piece of one would end the process."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return len(data) > DIGEST and hashlib.sha256(data[:-DIGEST]).digest() == data[-DIGEST:]


def load(source: str) -> Any:
    """A library made of C. Raises OSError with the reason where there is none."""
    path, was_there = built(source)
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        if not was_there:
            raise
    path.unlink()  # of another system
    return ctypes.CDLL(str(built(source)[0]))


@functools.cache
def pool() -> Any:
    """The threads. Raises OSError where they cannot be compiled."""
    library = load(POOL.read_text())
    library.run_loop.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_ssize_t,
                                 *[ctypes.c_void_p] * 3, *[ctypes.c_ssize_t] * 6]  # fmt: skip
    library.run_elements.argtypes = [ctypes.c_void_p, *[ctypes.c_ssize_t] * 3, *[ctypes.c_void_p] * 2,
                                     ctypes.c_ssize_t]  # fmt: skip
    library.run_again.argtypes = [ctypes.c_void_p]
    library.multiply.restype = None
    blas()  # which is to leave the cores alone
    return library


@functools.cache
def _openblas() -> tuple[Any, int]:
    """NumPy's own OpenBLAS, and how many threads it had at first. Raises where NumPy has another library."""
    beside = Path(np.__file__).parent
    folders = (beside.parent / "numpy.libs", beside / ".dylibs")
    found = [path for folder in folders for path in folder.glob("libscipy_openblas64_*")]
    library = ctypes.CDLL(str(found[0]))
    return library, library.scipy_openblas_get_num_threads64_()


def give_back_threads() -> None:
    """NumPy's products use as many threads as at first."""
    try:
        library, at_first = _openblas()
        library.scipy_openblas_set_num_threads64_(at_first)
    except (IndexError, OSError, AttributeError):
        pass


@functools.cache
def blas() -> Any:
    """NumPy's own OpenBLAS, told to use one thread: its workers would keep a core busy for a tenth of a
    second after each product. None where NumPy has another library.
    """
    try:
        library, _ = _openblas()
        library.scipy_openblas_set_num_threads64_(1)
        functions = {8: library.scipy_cblas_dgemm64_, 4: library.scipy_cblas_sgemm64_}
        return {size: ctypes.cast(f, ctypes.c_void_p) for size, f in functions.items()}
    except (IndexError, OSError, AttributeError):
        return None


class Product(ctypes.Structure):
    """As in pool.c, Call included."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("memory", "step", "row")],
        *[(name, ctypes.c_ssize_t) for name in ("n", "first", "by", "n_steps", "done")],
        *[(name, ctypes.c_void_p) for name in ("gemm", "a", "b", "c")],
        *[(name, ctypes.c_ssize_t) for name in ("size", "turned_a", "turned_b", "rows", "columns", "inner")],
        *[(name, ctypes.c_ssize_t) for name in ("a_down", "b_down", "c_down", "adds")],
    ]


def multiply(a: Any, b: Any, out: Any, adds: bool, parts: int, n_threads: int) -> None:
    """out = a @ b, or with `adds` out += a @ b, cut into so many parts; `out` lies in rows."""
    (turned_a, a_down), (turned_b, b_down) = lies(a), lies(b)  # type: ignore[misc]
    (rows, inner), columns, size = a.shape, b.shape[1], a.dtype.itemsize
    product = Product(
        None, None, None, parts, 0, 0, 0, 0, blas()[size], a.ctypes.data, b.ctypes.data, out.ctypes.data,
        size, turned_a, turned_b, rows, columns, inner, a_down, b_down, out.strides[0] // size, adds,
    )  # fmt: skip
    pool().multiply(ctypes.byref(product), n_threads)


def lies(x: Any) -> tuple[bool, int] | None:
    """How BLAS reads a matrix: whether turned around, and how far apart its rows (or columns) are."""
    (rows, columns), (down, right), size = x.shape, x.strides, x.dtype.itemsize
    if x.ctypes.data % size or down % size or right % size:
        return None
    if (right == size or columns == 1) and (down >= columns * size or rows == 1):
        return False, max(down // size, columns, 1)
    if (down == size or rows == 1) and (right >= rows * size or columns == 1):
        return True, max(right // size, rows, 1)
    return None
