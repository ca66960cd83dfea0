"""CuPy: NumPy's functions on a CUDA GPU. Imported only when somebody asks for it.

Each method here is a difference between the two libraries; the comment says which.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .base import Array, ArrayModule


class CuPyModule(ArrayModule):
    name = "cupy"
    device_type = "cuda"
    array_type = cupy.ndarray
    library = cupy
    language = "cuda"

    def is_available(self) -> bool:
        # cupy imports without a driver; only the driver knows whether there is a GPU.
        return bool(cupy.cuda.is_available())

    def kernel(self, source: str, name: str) -> Any:
        # RawKernel rather than ElementwiseKernel: a call costs the host a third, because nothing is broadcast
        # or looked up, and the text it compiles is all there is, so that it can be tested without a GPU.
        return cupy.RawKernel(source, name)

    def to_numpy(self, array: Array) -> np.ndarray[Any, Any]:
        return cupy.asnumpy(array)

    def from_numpy(self, array: np.ndarray[Any, Any]) -> Array:
        return cupy.asarray(array)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        # add.at exists, but adds in no fixed order: sums may differ in the last bit from run to run.
        cupy.add.at(target, index, values)

    def erf(self, x: Array) -> Array:
        # CuPy has it as one kernel, in a module that costs time to import.
        from cupyx.scipy.special import erf

        return erf(x)


module = CuPyModule()
