"""Adding at places that may be named many times, in one fixed order, on a GPU.

Atomic additions come in the order in which threads happen to run, so that sums differ in the last bit from
run to run. Here the places are sorted, which puts equal ones beside each other in the order in which they
were named, and one thread for each place and column adds what belongs there. CuPy's sort cannot be part of a
CUDA graph; there each thread looks through all the places for its own. The sums are the same, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

from .base import Array
from .capture import CannotCapture

SOURCE = """
typedef {computed} T;  // added in
typedef {stored} S;  // stored as
{conversions}
// places: n sorted row numbers, order: where each stood before; values (n, columns) are added to target.
extern "C" __global__ void add_segments(
    S* target, const long long* places, const long long* order, const S* values, long long n,
    long long columns) {{
  for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < n * columns;
       k += gridDim.x * (long long)blockDim.x) {{
    long long i = k / columns;
    const long long column = k % columns, place = places[i];
    if (i > 0 && places[i - 1] == place) continue;  // a segment is added up by the thread of its first
    T sum = load(target[place * columns + column]);
    for (; i < n && places[i] == place; i++) sum += load(values[order[i] * columns + column]);
    target[place * columns + column] = store(sum);
  }}
}}
// The same of places in any order.
extern "C" __global__ void add_places(
    S* target, const long long* places, const S* values, long long n, long long rows, long long columns) {{
  for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < rows * columns;
       k += gridDim.x * (long long)blockDim.x) {{
    const long long row = k / columns, column = k % columns;
    bool named = false;
    T sum = load(target[k]);
    for (long long i = 0; i < n; i++) {{
      if (places[i] != row) continue;
      sum += load(values[i * columns + column]);
      named = true;
    }}
    if (named) target[k] = store(sum);
  }}
}}
"""
LOOKS = 1 << 36  # at places, in a graph: a good millisecond of a large GPU (estimated)
_kernels: dict[Any, Any] = {}


def source(itemsize: int) -> str:
    """The text of the kernels for floats of so many bytes."""
    return SOURCE.format(
        computed=COMPUTED[itemsize], stored=STORED[itemsize], conversions=conversions(itemsize)
    )


def scatter_add(xp: Any, target: Array, index: Any, values: Array) -> None:
    """`target[index] += values`, where `index` may name a place many times; in the order of the index."""
    rows, rest = _places(xp, target, index)
    n, columns = rows.size, math.prod(rest)
    if not n or not columns:
        return
    if target.dtype.kind != "f" or not target.flags.c_contiguous:
        raise TypeError("scatter_add: expected a contiguous floating target")
    whole = xp.ascontiguousarray(xp.broadcast_to(values.astype(target.dtype), (*rows.shape, *rest)))
    flat = rows.reshape(-1)
    if xp.capturing is None:
        order = xp.argsort(flat, kind="stable").astype("int64")
        arguments = (target, xp.take(flat, order), order, whole, n, columns)
        _launch(xp, "add_segments", n * columns, target.dtype.itemsize, arguments)
        return
    if n * target.size > LOOKS:
        raise CannotCapture(
            f"deterministic(True) sorts indices, which no graph can hold, and {n} for a tensor of shape "
            f"{tuple(target.shape)} are too many to go without"
        )
    arguments = (target, flat, whole, n, target.size // columns, columns)
    _launch(xp, "add_places", target.size, target.dtype.itemsize, arguments)


def _launch(xp: Any, name: str, n_threads: int, itemsize: int, arguments: tuple[Any, ...]) -> None:
    key = (xp, name, itemsize)
    if key not in _kernels:
        _kernels[key] = xp.kernel(source(itemsize), name)
    _kernels[key]((min(-(-n_threads // 256), 1 << 16),), (256,), arguments)


def _places(xp: Any, target: Array, index: Any) -> tuple[Array, tuple[int, ...]]:
    """The rows of `target` that an index names, counted in int64 from its start, and the shape of a row.

    One array of integers names rows; any other index single elements, by their number.
    """
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if type(index) is xp.array_type and index.ndim and index.dtype.kind in "iu":
        rows = index.astype("int64")
        return xp.where(rows < 0, rows + target.shape[0], rows), target.shape[1:]
    return xp.arange(target.size).reshape(target.shape)[index].astype("int64"), ()


# ---------------------------------------------------------------- how floats are stored

# A half is moved as 16 bits and converted by the machine's own instructions, which needs no header.
_HALF = """
#ifdef __CUDACC__
__device__ T load(S h) { float x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
__device__ S store(T x) { S h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
#endif
"""
STORED = {2: "unsigned short", 4: "float", 8: "double"}  # by bytes per element
COMPUTED = {2: "float", 4: "float", 8: "double"}


def conversions(itemsize: int) -> str:
    """The functions `load` and `store` of a kernel, between what is stored (S) and computed in (T)."""
    if itemsize == 2:
        return _HALF.strip()
    return "__device__ T load(S x) { return x; }\n__device__ S store(T x) { return x; }"
