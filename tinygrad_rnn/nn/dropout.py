"""Dropout."""

from __future__ import annotations

from typing import Any

from ..backend import default_rng
from ..tensor import Tensor
from .functional import check_probability, dropout
from .module import Module


class Dropout(Module):
    """In training: each element is 0 with probability p, the others are scaled by 1 / (1 - p); else the
    identity (Srivastava et al. 2014).

    `rng` is a generator or a seed; None is the package's own (`manual_seed`). `inplace` is read for
    PyTorch's sake: the result is a new tensor in either case.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Any = None) -> None:
        super().__init__()
        check_probability("Dropout", p)
        self.p = p
        self.rng = None if rng is None else default_rng(rng)  # a seed is one start, not one at each call

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"
