"""PyTorch's place for settings of its libraries: they can be set, and have no effect but TensorFloat-32's."""

from __future__ import annotations

from types import SimpleNamespace

from ..backend import allow_tf32
from . import cudnn

__all__ = ["cuda", "cudnn", "mkldnn", "mps", "openmp"]


class _Products:
    """Settings of matrix products on a GPU."""

    allow_bf16_reduced_precision_reduction = allow_fp16_reduced_precision_reduction = False

    @property
    def allow_tf32(self) -> bool:
        """Whether products round their factors: `tinygrad_rnn.cuda.allow_tf32`."""
        return bool(allow_tf32.on)

    @allow_tf32.setter
    def allow_tf32(self, on: bool) -> None:
        allow_tf32(bool(on))


class _Absent(SimpleNamespace):
    """A library of PyTorch's that is not here."""

    def is_available(self) -> bool:
        """False."""
        return False

    def is_built(self) -> bool:
        """False."""
        return False


cuda = SimpleNamespace(matmul=_Products(), is_built=lambda: True, enable_flash_sdp=lambda enabled: None)
mps, mkldnn, openmp, mkl, xnnpack = (
    _Absent(),
    _Absent(enabled=False),
    _Absent(),
    _Absent(),
    _Absent(enabled=False),
)
