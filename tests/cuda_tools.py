"""What tests of CUDA sources share: NVRTC, where it is installed, and the library's fused functions."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import tinygrad_rnn
from tests.extras import extra
from tinygrad_rnn.fuse.pointwise import Pointwise

ARCHITECTURE = "sm_90"

needs_compiler = pytest.mark.compiler


needs_nvrtc = pytest.mark.extras("nvrtc")


def compile_for_gpu(source):
    """The size of the machine code that NVRTC makes of a kernel; its complaint as an AssertionError."""
    library = extra("nvrtc")
    program = library.createProgram(source, "kernel.cu", (), ())
    try:
        library.compileProgram(program, (f"--gpu-architecture={ARCHITECTURE}", "-std=c++17"))
    except library.NVRTCError:
        raise AssertionError(library.getProgramLog(program) + source) from None
    return len(library.getCUBIN(program))


def library_functions():
    """{name: function} of every pointwise function that the package defines, wherever it stands."""
    found = {}
    for module in pkgutil.walk_packages(tinygrad_rnn.__path__, "tinygrad_rnn."):
        if module.name.endswith("cupy_"):  # imports CuPy
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Pointwise) and value.function.__module__ == module.name:
                found[f"{module.name.removeprefix('tinygrad_rnn.')}.{value.name}"] = value
    return found
