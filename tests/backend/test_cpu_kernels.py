"""CUDA kernels run on the CPU: what they are called with, and several threads at once."""

import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.cuda_tools import needs_compiler
from tests.support import cpu_kernels
from tests.support.cpu_kernels import CpuKernel

pytestmark = [pytest.mark.host, needs_compiler]
DOUBLED = """
extern "C" __global__ void doubled(double* y, const double* x, long long n) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n;
       i += gridDim.x * (long long)blockDim.x)
    y[i] = 2 * x[i];
}
"""


def test_threads_of_the_host_do_not_disturb_each_other():
    x, wrong = np.arange(200_000.0), []

    def run():
        kernel = CpuKernel(DOUBLED, "doubled")
        for _ in range(10):
            y = np.zeros_like(x)
            kernel((-(-x.size // 256),), (256,), (y, x, x.size))
            if not (y == 2 * x).all():
                wrong.append(y)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_wrong_calls_are_told():
    x = np.zeros(2)
    with pytest.raises(TypeError, match="doubled: 3 parameters, called with 2 arguments"):
        CpuKernel(DOUBLED, "doubled")((1,), (1,), (x, x))
    with pytest.raises(TypeError, match="takes arrays, integers and floats, got str"):
        CpuKernel(DOUBLED, "doubled")((1,), (1,), (x, x, "2"))
    with pytest.raises(RuntimeError, match="doubled does not compile"):
        CpuKernel(DOUBLED.replace("2 * x", "2 * z"), "doubled")((1,), (1,), (x, x, 2))


BEYOND = """
from tests.backend.test_cpu_kernels import DOUBLED, CpuKernel, np
x, y = np.ones(64), np.ones(64)
CpuKernel(DOUBLED, "doubled")((1,), (256,), (y, x, 64 + {more}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of gcc on Linux")
@pytest.mark.parametrize("more", [0, 1], ids=["within", "beyond the end"])
def test_a_sanitizer_sees_what_a_kernel_does(more):
    """Flags reach the compiler, so that what CI does with them can fail."""
    library = subprocess.run(
        [cpu_kernels.compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("the compiler has no sanitizer of addresses")
    flags = {"CXXFLAGS": "-fsanitize=address", "LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", BEYOND.format(more=more)], capture_output=True, text=True, check=False,
        env={**os.environ, **flags, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode != 0) == bool(more), done.stderr
    assert ("heap-buffer-overflow" in done.stderr) == bool(more)
