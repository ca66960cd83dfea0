"""What tests of a GPU ask of it, and the same of the stand-in, so that the tests themselves are tested."""

from __future__ import annotations

import contextlib
import gc
import warnings

import tinygrad_rnn as tg
from tests.support import cpu_kernels, strict
from tinygrad_rnn import backend


class Gpu:
    """The real one, by CuPy."""

    name, n_steps = "cupy", 1000

    @contextlib.contextmanager
    def in_use(self):
        with tg.use("cupy"):
            yield

    @contextlib.contextmanager
    def no_waits(self):
        """Refuses what makes the host wait, as far as CuPy sees it; the rest no graph could capture."""
        import cupyx

        with contextlib.ExitStack() as stack:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # CuPy says of it that it does not see everything
                stack.enter_context(cupyx.allow_synchronize(False))
            yield

    def memory(self):
        """Bytes that arrays hold, and bytes that are held for them."""
        import cupy

        gc.collect()
        cupy.cuda.get_current_stream().synchronize()
        pool = cupy.get_default_memory_pool()
        return pool.used_bytes(), pool.total_bytes()

    @contextlib.contextmanager
    def little_memory(self, monkeypatch):
        """Room for one MiB more."""
        import cupy

        pool = cupy.get_default_memory_pool()
        before = pool.get_limit()
        tg.cuda.empty_cache()
        pool.set_limit(size=pool.total_bytes() + 2**20)
        try:
            yield
        finally:
            pool.set_limit(size=before)

    def streams(self, n):
        """Streams as `with` blocks; what was begun before is done."""
        import cupy

        cupy.cuda.get_current_stream().synchronize()
        return [cupy.cuda.Stream(non_blocking=True) for _ in range(n)]

    def wait(self):
        import cupy

        cupy.cuda.runtime.deviceSynchronize()


class StandIn:
    """support/strict, with the GPU's kernels where there is a C++ compiler."""

    name, n_steps = "strict", 40

    @contextlib.contextmanager
    def in_use(self):
        with strict.kernels() if cpu_kernels.compiler() else tg.use("strict"):
            yield

    def no_waits(self):
        return strict.no_waits()

    def memory(self):
        gc.collect()
        return (strict.POOL.used_bytes(),)

    @contextlib.contextmanager
    def little_memory(self, monkeypatch):
        """Room for what a few more products give."""
        library, left = backend.current(), 4
        works = library.matmul

        def matmul(a, b):
            nonlocal left
            left -= 1
            if left < 0:
                raise MemoryError("Out of memory allocating 4,096 bytes (allocated so far: 0 bytes).")
            return works(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(library, "matmul", matmul)
            yield

    def streams(self, n):
        self._streams = strict.new_streams(n)
        return self._streams

    def wait(self):
        for stream in self._streams:
            stream.synchronize()
