"""CUDA kernels run on the CPU: the same text, compiled by a C++ compiler with a few macros.

    kernel = CpuKernel(fused_source, "lstm")
    kernel((blocks,), (256,), (a, b, y, n, columns))

It is called like CuPy's RawKernel, on NumPy arrays: so the kernels and what launches them are tested where
there is no GPU. One thread after the other, so it knows no shared memory, no barriers, and no races.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_BEFORE = """
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>
using namespace std;
#define __global__
#define __device__ static inline
#define __restrict__
struct Dim { unsigned int x = 1, y = 1, z = 1; };
static thread_local Dim blockIdx, blockDim, threadIdx, gridDim;
static inline double __longlong_as_double(long long bits) { double x; memcpy(&x, &bits, 8); return x; }
static inline float load(unsigned short h) { _Float16 x; memcpy(&x, &h, 2); return x; }
static inline void put(unsigned short* p, float x) { const _Float16 y = x; memcpy(p, &y, 2); }
static inline unsigned short store_half(float x) {
  const _Float16 y = x; unsigned short h; memcpy(&h, &y, 2); return h;
}
template <class V> V atomicAdd(V* place, V value) { const V old = *place; *place += value; return old; }
"""
_AFTER = """
template <class... A, size_t... K>
static void with_arguments(void (*f)(A...), void** a, index_sequence<K...>) {
  f(*(typename remove_reference<A>::type*)a[K]...);
}
template <class... A>
static void each_thread(void (*f)(A...), unsigned columns, unsigned rows, unsigned block, void** a) {
  gridDim.x = columns; gridDim.y = rows; blockDim.x = block;
  for (blockIdx.y = 0; blockIdx.y < rows; blockIdx.y++)
   for (blockIdx.x = 0; blockIdx.x < columns; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++)
      with_arguments(f, a, index_sequence_for<A...>());
}
template <class... A> static int count(void (*)(A...)) { return sizeof...(A); }
extern "C" void run_it(unsigned columns, unsigned rows, unsigned block, void** a) {
  each_thread(NAME, columns, rows, block, a);
}
extern "C" int n_parameters() { return count(NAME); }
"""


def compiler() -> str | None:
    """The C++ compiler that is used: that of $CXX, or g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


def flags() -> list[str]:
    """More flags for it, of $CXXFLAGS: a sanitizer's, as a rule."""
    return shlex.split(os.environ.get("CXXFLAGS", ""))


@functools.cache
def _library(source: str, name: str) -> Any:
    # float16 is stored by the function above, where a GPU has an instruction
    text = "#define store store_half\n" if "unsigned short S;" in source else ""
    text += source + _AFTER.replace("NAME", name)
    folder = _folder()
    path = folder / f"{_digest(text)}.so"
    if not path.exists():
        (header, command) = _header(folder)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            (Path(own) / "kernel.cpp").write_text(text)
            command = [*command, "-shared", "-include", str(header), "kernel.cpp", "-o", "kernel.so"]
            done = subprocess.run(command, cwd=own, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"cpu_kernels: {name} does not compile:\n{done.stderr}\n{source}")
            os.replace(Path(own) / "kernel.so", path)  # another process may be making the same
    return ctypes.CDLL(str(path))


def _folder() -> Path:
    """Where what was compiled is kept for the next run: by the user, in the folder for temporary files."""
    folder = Path(tempfile.gettempdir()) / f"tinygrad_rnn_kernels_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@functools.cache
def _header(folder: Path) -> tuple[Path, list[str]]:
    """What goes before each kernel, compiled once, because that takes longer than a kernel; and the call."""
    found = compiler()
    if found is None:
        raise RuntimeError("cpu_kernels: no C++ compiler is installed (g++, or the one named by CXX)")
    start = [found, "-std=c++17", "-O0", "-fPIC", "-w", *flags()]
    header = folder / f"{_digest(found)}.h"
    made = Path(f"{header}.gch")
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=folder) as own:
            (Path(own) / "before.h").write_text(_BEFORE)
            command = [*start, "-x", "c++-header", "before.h", "-o", "before.gch"]
            subprocess.run(command, cwd=own, check=True)
            os.replace(Path(own) / "before.h", header)
            os.replace(Path(own) / "before.gch", made)
    return header, start


def _digest(text: str) -> str:
    """A name for what is compiled of a text, with what goes before it and the flags of the moment."""
    return hashlib.sha256("\0".join((_BEFORE, text, *flags())).encode()).hexdigest()[:32]


class CpuKernel:
    """A kernel, called with (grid, block, arguments): a grid of one or two axes, and blocks of one."""

    def __init__(self, source: str, name: str) -> None:
        self.source, self.name = source, name

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        library = _library(self.source, self.name)
        if library.n_parameters() != len(arguments):
            raise TypeError(
                f"{self.name}: {library.n_parameters()} parameters, called with {len(arguments)} arguments"
            )
        kept = [_by_value(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(kept))(*(ctypes.addressof(k) for k in kept))
        columns, rows = (*grid, 1)[:2]
        library.run_it(columns, rows, block[0], pointers)


def _by_value(argument: Any) -> Any:
    """An argument as CuPy passes it: arrays by their address, Python's numbers as long long and double."""
    host = getattr(argument, "host", argument)
    if isinstance(host, np.ndarray):
        return ctypes.c_void_p(host.ctypes.data)
    if isinstance(host, int):
        return ctypes.c_longlong(host)
    if isinstance(host, float):
        return ctypes.c_double(host)
    raise TypeError(f"cpu_kernels: a kernel takes arrays, integers and floats, got {type(host).__name__}")
