"""Matrix products by cuBLAS, called directly.

CuPy's own calls refuse to be captured into a CUDA graph (https://github.com/cupy/cupy/issues/6290). cuBLAS
itself can be captured where its workspace is given to it (https://docs.nvidia.com/cuda/cublas, "CUDA Graphs
Support"), so there is one handle here for each stream, with a workspace of its own. Eager steps and captured
ones run the same call, which is why they give the same bits.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

# From cublas_api.h and library_types.h.
_N, _T = 0, 1  # cublasOperation_t
_COMPUTE_32F, _COMPUTE_32F_FAST_TF32, _COMPUTE_64F = 68, 77, 70  # cublasComputeType_t
_KINDS = {"float16": 2, "float32": 0, "float64": 1}  # cudaDataType
_DEFAULT = -1  # cublasGemmAlgo_t

_int, _long, _pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
PROTOTYPES: dict[str, list[Any]] = {
    "cublasCreate_v2": [ctypes.POINTER(_pointer)],
    "cublasDestroy_v2": [_pointer],
    "cublasSetStream_v2": [_pointer, _pointer],
    "cublasSetWorkspace_v2": [_pointer, _pointer, ctypes.c_size_t],
    # handle, operations, m, n, k, alpha, A and its type and leading size, B likewise, beta, C likewise, how
    "cublasGemmEx": [
        _pointer, _int, _int, _int, _int, _int, _pointer, _pointer, _int, _int, _pointer, _int, _int,
        _pointer, _pointer, _int, _int, _int, _int,
    ],
    # the same, with the distance between matrices after each leading size, and their number
    "cublasGemmStridedBatchedEx": [
        _pointer, _int, _int, _int, _int, _int, _pointer, _pointer, _int, _int, _long, _pointer, _int, _int,
        _long, _pointer, _pointer, _int, _int, _long, _int, _int, _int,
    ],
}  # fmt: skip
_LIMIT = 2**31 - 1  # of a size


def find_library() -> Any:
    """The cuBLAS that CuPy uses, or None where there is none."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception:  # of many kinds: no such package, no such library, not loadable
        pass
    names = ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll", "cublas64_12.dll")
    return next((library for library in map(_loaded, names) if library is not None), None)


def _loaded(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


class Cublas:
    """The library's few functions that are used here, checked, and handles by stream.

    `place` says where an array begins in memory, `workspace` makes the memory for a new handle: (pointer,
    bytes, what keeps it alive).
    """

    def __init__(
        self,
        library: Any,
        place: Callable[[Any], int],
        workspace: Callable[[], tuple[int, int, Any]],
    ) -> None:
        self._functions = {}
        for name, types in PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, _int
            self._functions[name] = function
        self._gemm, self._batched = (
            self._functions["cublasGemmEx"],
            self._functions["cublasGemmStridedBatchedEx"],
        )
        self._place, self._workspace = place, workspace
        self._handles: dict[Any, tuple[int, Any]] = {}
        one, zero = (ctypes.c_float(1), ctypes.c_double(1)), (ctypes.c_float(0), ctypes.c_double(0))
        self._numbers = one, zero
        self._one, self._zero = ([ctypes.addressof(x) for x in pair] for pair in (one, zero))

    def handle(self, key: Any, stream: int) -> int:
        """The handle for a stream (`key` names it and its device), made with its workspace at first."""
        found = self._handles.get(key)
        if found is None:
            made = _pointer()
            self._check("cublasCreate_v2", ctypes.byref(made))
            handle = made.value or 0
            self._check("cublasSetStream_v2", handle, stream)  # takes the workspace away, so it comes first
            memory, n_bytes, owner = self._workspace()
            self._check("cublasSetWorkspace_v2", handle, memory, n_bytes)
            found = self._handles[key] = handle, owner
        return found[0]

    def forget(self, key: Any) -> None:
        """Gives a stream's handle and workspace back."""
        handle, _ = self._handles.pop(key)
        self._check("cublasDestroy_v2", handle)

    def _check(self, name: str, *arguments: Any) -> None:
        status = self._functions[name](*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

    def product(self, handle: int, a: Any, b: Any, c: Any, tf32: bool = False) -> None:
        """c = a @ b for matrices, or stacks of as many, of one floating type; c is contiguous, and no size 0.

        cuBLAS counts columns first, where it is called with the product turned around: c^T = b^T a^T.
        """
        (*batch, m, k), n = a.shape, b.shape[-1]
        kind = _KINDS[a.dtype.name]
        wide = kind == 1
        how = _COMPUTE_64F if wide else _COMPUTE_32F_FAST_TF32 if tf32 and kind == 0 else _COMPUTE_32F
        one, zero = self._one[wide], self._zero[wide]
        a_turned, a_leading = leading(a)
        b_turned, b_leading = leading(b)
        place = self._place
        if not batch:
            status = self._gemm(
                handle, b_turned, a_turned, n, m, k, one, place(b), kind, b_leading, place(a), kind,
                a_leading, zero, place(c), kind, n, how, _DEFAULT,
            )  # fmt: skip
        else:
            item = a.dtype.itemsize
            apart = (b.strides[0] // item, a.strides[0] // item, c.strides[0] // item)
            status = self._batched(
                handle, b_turned, a_turned, n, m, k, one, place(b), kind, b_leading, apart[0], place(a),
                kind, a_leading, apart[1], zero, place(c), kind, n, apart[2], batch[0], how, _DEFAULT,
            )  # fmt: skip
        if status:
            raise RuntimeError(f"cuBLAS: the product {a.shape} @ {b.shape} failed with status {status}")


def leading(x: Any) -> tuple[int, int]:
    """How cuBLAS reads the last two axes of an array: (whether turned around, distance between rows in
    elements), or (0, 0) where it cannot.
    """
    item = x.dtype.itemsize
    rows, columns = x.shape[-2:]
    down, right = x.strides[-2] // item, x.strides[-1] // item
    if (right == 1 or columns == 1) and (down >= max(1, columns) or rows == 1):
        return _N, max(down, columns, 1) if rows > 1 else max(1, columns)
    if (down == 1 or rows == 1) and right >= max(1, rows):
        return _T, right
    return 0, 0


def matmul(xp: Any, a: Any, b: Any, run: Callable[[Any, Any, Any], None], out: Any = None) -> Any:
    """a @ b by `run(a, b, c)`, or None where cuBLAS has no such product (types that differ, integers). With
    `out`, memory in rows, the result of two matrices is there.

    `run` is given matrices or stacks of matrices that cuBLAS can read.
    """
    if a.dtype != b.dtype or a.dtype.name not in _KINDS or max(a.size, b.size) > _LIMIT:
        return None
    row, column = a.ndim == 1, b.ndim == 1
    a = a.reshape(1, -1) if row else a
    b = b.reshape(-1, 1) if column else b
    batch: tuple[int, ...] = ()
    if a.ndim > 2 or b.ndim > 2:
        batch = tuple(_broadcast(a.shape[:-2], b.shape[:-2]))
    shape = (*batch, a.shape[-2], b.shape[-1])
    if 0 in shape or a.shape[-1] == 0:
        c = xp.zeros(shape, a.dtype)
    else:
        c = xp.empty(shape, a.dtype) if out is None else out
        n_batch = math.prod(batch)
        flat = c.reshape(n_batch, *shape[-2:]) if batch else c
        run(_readable(xp, a, batch), _readable(xp, b, batch), flat)
    keep = [*batch, *([] if row else [shape[-2]]), *([] if column else [shape[-1]])]
    return c.reshape(keep) if row or column else c


def _broadcast(a: Sequence[int], b: Sequence[int]) -> list[int]:
    n = max(len(a), len(b))
    pairs = zip((1,) * (n - len(a)) + tuple(a), (1,) * (n - len(b)) + tuple(b), strict=True)
    sizes = []
    for p, q in pairs:
        if p != q and 1 not in (p, q):
            raise ValueError(f"shapes {tuple(a)} and {tuple(b)} of the leading axes do not broadcast")
        sizes.append(q if p == 1 else p)
    return sizes


def _readable(xp: Any, x: Any, batch: tuple[int, ...]) -> Any:
    """x with its leading axes made one of the batch's size, copied only where cuBLAS could not read it."""
    if leading(x) == (0, 0):
        x = xp.ascontiguousarray(x)
    if not batch:
        return x
    own = x.shape[:-2]
    n = math.prod(batch)
    if math.prod(own) == 1:  # one matrix for all: at a distance of 0
        return xp.broadcast_to(x.reshape(x.shape[-2:]), (n, *x.shape[-2:]))
    if tuple(own) == batch and (len(batch) == 1 or x.flags.c_contiguous):
        return x if len(batch) == 1 else x.reshape(n, *x.shape[-2:])
    whole = xp.ascontiguousarray(xp.broadcast_to(x, (*batch, *x.shape[-2:])))
    return whole.reshape(n, *x.shape[-2:])
