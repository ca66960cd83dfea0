"""The calls of cuBLAS: against its header, and against a library of the same interface on the CPU."""

import ctypes
import importlib.util
import re
import subprocess
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda_tools import needs_compiler
from tests.support import cpu_kernels
from tinygrad_rnn.backend import cublas

pytestmark = pytest.mark.host

# What cuBLAS's documentation says of these functions, in the plainest loops: matrices lie column by column.
STAND_IN = r"""
#include <cstddef>
#include <map>
struct Handle { void* stream; void* workspace; size_t bytes; };
template <class S, class C> static int gemm(int ta, int tb, int m, int n, int k, C alpha, const S* A, int lda,
                                            const S* B, int ldb, C beta, S* C_, int ldc) {
  if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || m < 1 || n < 1 || k < 1) return 7;
  for (int j = 0; j < n; j++) for (int i = 0; i < m; i++) {
    C sum = 0;
    for (int l = 0; l < k; l++)
      sum += (C)A[ta ? l + (long)i * lda : i + (long)l * lda]
           * (C)B[tb ? j + (long)l * ldb : l + (long)j * ldb];
    S* c = &C_[i + (long)j * ldc];
    *c = (S)(alpha * sum + (beta == 0 ? 0 : beta * (C)*c));
  }
  return 0;
}
extern "C" {
int calls = 0;
int cublasCreate_v2(Handle** h) { *h = new Handle(); return 0; }
int cublasDestroy_v2(Handle* h) { delete h; return 0; }
int cublasSetStream_v2(Handle* h, void* s) { h->stream = s; h->workspace = 0; return 0; }
int cublasSetWorkspace_v2(Handle* h, void* w, size_t n) { h->workspace = w; h->bytes = n; return 0; }
int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha,
    const void* A, int at, int lda, long long sa, const void* B, int bt, int ldb, long long sb,
    const void* beta, void* C, int ct, int ldc, long long sc, int count, int compute, int algo) {
  calls++;
  if (!h->workspace || algo != -1 || at != bt || at != ct) return 7;
  for (int i = 0; i < count; i++) {
    int bad = 15;
    if (at == 0 && (compute == 68 || compute == 77))
      bad = gemm<float, float>(ta, tb, m, n, k, *(float*)alpha, (float*)A + i * sa, lda,
                               (float*)B + i * sb, ldb, *(float*)beta, (float*)C + i * sc, ldc);
    if (at == 1 && compute == 70)
      bad = gemm<double, double>(ta, tb, m, n, k, *(double*)alpha, (double*)A + i * sa, lda,
                                 (double*)B + i * sb, ldb, *(double*)beta, (double*)C + i * sc, ldc);
    if (at == 2 && compute == 68)
      bad = gemm<_Float16, float>(ta, tb, m, n, k, *(float*)alpha, (_Float16*)A + i * sa, lda,
                                  (_Float16*)B + i * sb, ldb, *(float*)beta, (_Float16*)C + i * sc, ldc);
    if (bad) return bad;
  }
  return 0;
}
int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int at,
    int lda, const void* B, int bt, int ldb, const void* beta, void* C, int ct, int ldc, int compute,
    int algo) {
  return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, A, at, lda, 0, B, bt, ldb, 0, beta, C, ct,
                                    ldc, 0, 1, compute, algo);
}
}
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cublas")
    (folder / "stand_in.cpp").write_text(STAND_IN)
    command = [cpu_kernels.compiler(), "-O1", *cpu_kernels.flags(), "-shared", "-fPIC", "-w"]
    command += ["stand_in.cpp", "-o", "stand_in.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "stand_in.so"))


@pytest.fixture(scope="module")
def products(stand_in):
    memory = np.zeros(64, "uint8")
    return cublas.Cublas(stand_in, lambda x: x.ctypes.data, lambda: (memory.ctypes.data, 64, memory))


def product(products, a, b, tf32=False):
    handle = products.handle("here", 0)
    return cublas.matmul(np, a, b, lambda a, b, c: products.product(handle, a, b, c, tf32))


def arranged(draw, matrix):
    """The same values, lying otherwise in memory."""
    how = draw(st.sampled_from(["rows", "columns", "piece", "every second", "repeated"]))
    if how == "columns":
        return np.ascontiguousarray(matrix.swapaxes(-1, -2)).swapaxes(-1, -2)
    if how == "piece":
        whole = np.full((*matrix.shape[:-1], matrix.shape[-1] * 2 + 1), 7, matrix.dtype)
        whole[..., 1 : matrix.shape[-1] + 1] = matrix
        return whole[..., 1 : matrix.shape[-1] + 1]
    if how == "every second":
        whole = np.full((*matrix.shape[:-1], matrix.shape[-1] * 2), 7, matrix.dtype)
        whole[..., ::2] = matrix
        return whole[..., ::2]
    if how == "repeated":
        return np.broadcast_to(matrix[..., :1, :], matrix.shape)
    return matrix


@needs_compiler
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_products_are_numpys(products, data):
    m, k, n = (data.draw(st.integers(0, 4)) for _ in range(3))
    kind = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    batches = [((), ()), ((2,), ()), ((), (3,)), ((2,), (2,)), ((2, 1), (3,)), ((2, 3), (2, 3)), ((1,), (4,))]
    left, right = data.draw(st.sampled_from(batches))
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    a, b = rng.integers(-4, 5, (*left, m, k)).astype(kind), rng.integers(-4, 5, (*right, k, n)).astype(kind)
    a, b = arranged(data.draw, a) if a.size else a, arranged(data.draw, b) if b.size else b
    got = product(products, a, b)
    assert got.dtype == kind
    np.testing.assert_array_equal(got, a @ b)


@needs_compiler
def test_vectors_and_what_is_left_to_the_library(products):
    a, v = np.arange(6.0).reshape(2, 3), np.arange(3.0)
    np.testing.assert_array_equal(product(products, a, v), a @ v)
    np.testing.assert_array_equal(product(products, v, a.T), v @ a.T)
    assert product(products, v, v) == v @ v
    assert product(products, a, v.astype("float32")) is None
    assert product(products, a.astype("int64"), a.T.astype("int64")) is None
    with pytest.raises(ValueError, match="do not broadcast"):
        product(products, np.ones((2, 1, 1)), np.ones((3, 1, 1)))


@needs_compiler
def test_a_transposed_matrix_is_not_copied(products, stand_in, monkeypatch):
    a, b = np.ones((3, 4)).T, np.ones((5, 3)).T
    monkeypatch.setattr(np, "ascontiguousarray", lambda x: pytest.fail("copied"))
    before = ctypes.c_int.in_dll(stand_in, "calls").value
    product(products, a, b)
    product(products, np.ones((2, 8))[:, :4], np.ones((4, 5)), tf32=True)
    assert ctypes.c_int.in_dll(stand_in, "calls").value == before + 2


@needs_compiler
def test_one_handle_and_workspace_for_each_stream(stand_in):
    made = []

    def workspace():
        made.append(np.zeros(8))
        return made[-1].ctypes.data, 64, made[-1]

    library = cublas.Cublas(stand_in, lambda x: x.ctypes.data, workspace)
    first = library.handle((0, 1), 1)
    assert library.handle((0, 1), 1) == first != library.handle((0, 2), 2)
    assert len(made) == 2
    library.forget((0, 1))
    gone = weakref.ref(made.pop(0))
    assert gone() is None  # the workspace is nobody's any more
    library.handle((0, 1), 1)
    assert len(made) == 2


@needs_compiler
def test_failures_are_told(stand_in):
    library = cublas.Cublas(stand_in, lambda x: x.ctypes.data, lambda: (0, 0, None))
    with pytest.raises(RuntimeError, match="status 7"):
        product(library, np.ones((2, 2)), np.ones((2, 2)))


def header():
    """cublas_api.h, where NVIDIA's package of cuBLAS or the toolkit is installed."""
    places = [Path("/usr/local/cuda/include")]
    for package in ("nvidia.cublas", "nvidia.cu13"):  # of CUDA 12, of CUDA 13
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        places += [Path(p) / "include" for p in (spec.submodule_search_locations or [] if spec else [])]
    for place in places:
        if (place / "cublas_api.h").exists():
            return (place / "cublas_api.h").read_text()
    return None


C_TYPES = {
    "int": ctypes.c_int, "long long int": ctypes.c_longlong, "long long": ctypes.c_longlong,
    "size_t": ctypes.c_size_t, "cublasHandle_t": ctypes.c_void_p, "cudaStream_t": ctypes.c_void_p,
    "cublasHandle_t*": ctypes.POINTER(ctypes.c_void_p),
}  # fmt: skip


@pytest.mark.skipif(header() is None, reason="cublas_api.h is not installed (nvidia-cublas)")
def test_prototypes_are_those_of_the_header():
    text = header()
    for name, types in cublas.PROTOTYPES.items():
        declared = re.search(rf"CUBLASWINAPI\s+{name}\s*\(([^)]*)\)", text).group(1)
        expected = []
        for parameter in declared.split(","):
            kind = re.sub(r"\s*\w+$", "", parameter.replace("const", "").strip()).replace(" *", "*").strip()
            enum = kind.startswith(("cublas", "cuda")) and kind not in C_TYPES  # enums are ints in C
            expected.append(ctypes.c_int if enum else ctypes.c_void_p if kind == "void*" else C_TYPES[kind])
        assert types == expected, name
    values = {
        "COMPUTE_32F": 68,
        "COMPUTE_64F": 70,
        "COMPUTE_32F_FAST_TF32": 77,
        "OP_T": 1,
        "GEMM_DEFAULT": -1,
    }
    for name, value in values.items():
        assert re.search(rf"\bCUBLAS_{name}\s*=\s*{value}\b", text), name
