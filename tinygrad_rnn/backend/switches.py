"""Choices of how a GPU computes: switches for everything, and for a block by `with`."""

from __future__ import annotations

import os
from types import TracebackType


class Switch:
    """`name(True)` from here on, everywhere; `with name(True):` in a block, and then as it was."""

    on = False

    def __init__(self, on: bool = True) -> None:
        kind = type(self)
        self._before, kind.on = kind.on, bool(on)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        type(self).on = self._before


class deterministic(Switch):
    """Whether sums on a GPU are always taken in one order: same program, same input, same bits.

    What adds at places that may be named many times (the gradient of an embedding, of an index) otherwise
    does so in the order in which the GPU's threads come along. On NumPy everything is deterministic.
    """


class allow_tf32(Switch):
    """Whether float32 products on a GPU may round their factors to 10 bits (TensorFloat-32), for speed.

    Off at the start, as in PyTorch for matrix products, or on where the environment has CUPY_TF32=1.
    """

    on = os.environ.get("CUPY_TF32") == "1"
