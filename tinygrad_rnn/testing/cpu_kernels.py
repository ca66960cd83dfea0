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
static Dim blockIdx, blockDim, threadIdx, gridDim;
static inline double __longlong_as_double(long long bits) { double x; memcpy(&x, &bits, 8); return x; }
static inline float load(unsigned short h) { _Float16 x; memcpy(&x, &h, 2); return x; }
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
static void each_thread(void (*f)(A...), unsigned grid, unsigned block, void** a) {
  gridDim.x = grid; blockDim.x = block;
  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++)
      with_arguments(f, a, index_sequence_for<A...>());
}
template <class... A> static int count(void (*)(A...)) { return sizeof...(A); }
extern "C" void run_it(unsigned grid, unsigned block, void** a) { each_thread(NAME, grid, block, a); }
extern "C" int n_parameters() { return count(NAME); }
"""


def compiler() -> str | None:
    """The C++ compiler that is used: that of $CXX, or g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


@functools.cache
def _library(source: str, name: str) -> Any:
    text = _BEFORE
    if "unsigned short S;" in source:  # float16: the conversions above, where a GPU has instructions
        text += "#define store store_half\n"
    text += source + _AFTER.replace("NAME", name)
    folder = Path(tempfile.gettempdir()) / f"tinygrad_rnn_kernels_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    if not path.exists():
        found = compiler()
        if found is None:
            raise RuntimeError("cpu_kernels: no C++ compiler is installed (g++, or the one named by CXX)")
        with tempfile.TemporaryDirectory(dir=folder) as own:
            (Path(own) / "kernel.cpp").write_text(text)
            command = [found, "-std=c++17", "-O1", "-shared", "-fPIC", "-w", "kernel.cpp", "-o", "kernel.so"]
            done = subprocess.run(command, cwd=own, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"cpu_kernels: {name} does not compile:\n{done.stderr}\n{source}")
            os.replace(Path(own) / "kernel.so", path)  # another process may be making the same
    return ctypes.CDLL(str(path))


class CpuKernel:
    """A kernel, called with (grid, block, arguments); arguments are arrays, integers and floats."""

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
        library.run_it(*grid, *block, pointers)


def _by_value(argument: Any) -> Any:
    """An argument as CuPy passes it: arrays by their address, Python's numbers as long long and double."""
    host = getattr(argument, "_host", argument)
    if isinstance(host, np.ndarray):
        return ctypes.c_void_p(host.ctypes.data)
    if isinstance(host, int):
        return ctypes.c_longlong(host)
    if isinstance(host, float):
        return ctypes.c_double(host)
    raise TypeError(f"cpu_kernels: a kernel takes arrays, integers and floats, got {type(host).__name__}")
