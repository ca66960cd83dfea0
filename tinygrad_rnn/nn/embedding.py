"""Embedding: vectors for integers."""

from __future__ import annotations

from typing import Any

from ..creation import empty, tensor
from ..engine.errors import Mismatch
from ..tensor import Tensor
from . import functional as F
from . import init as start
from .module import Module, Parameter


class Embedding(Module):
    """A table of vectors: integers (...) -> (..., embedding_dim).

    weight: (num_embeddings, embedding_dim), drawn from a normal distribution. The row `padding_idx` starts
    at zero and gets no gradient. `max_norm`, `norm_type`, `scale_grad_by_freq` and `sparse` are
    `nn.functional.embedding`'s. Raises IndexError for an integer outside the table (on the CPU, where
    looking is free).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        rng: Any = None,
    ) -> None:
        super().__init__()
        for name, size in (("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"Embedding: {name} must be a positive integer, got {size!r}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = _row("Embedding", padding_idx, num_embeddings)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if _weight is not None:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise Mismatch(
                    f"Embedding: _weight has shape {_weight.shape}, "
                    f"expected ({num_embeddings}, {embedding_dim})"
                )
            self.weight = Parameter(_weight.detach(), requires_grad=not _freeze)
            return
        self.weight = Parameter(empty(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters(rng)
        self.weight.requires_grad = not _freeze

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An embedding with these vectors (num_embeddings, embedding_dim); not trained if `freeze`."""
        table = tensor(embeddings.detach() if isinstance(embeddings, Tensor) else embeddings)
        if table.ndim != 2 or not table.is_floating_point():
            raise ValueError(
                "Embedding.from_pretrained: expected floating (num_embeddings, embedding_dim), "
                f"got {table.dtype} {table.shape}"
            )
        self = cls.__new__(cls)
        Module.__init__(self)
        self.num_embeddings, self.embedding_dim = table.shape
        self.padding_idx = _row("Embedding.from_pretrained", padding_idx, self.num_embeddings)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.weight = Parameter(table, requires_grad=not freeze)
        return self

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values."""
        start.normal_(self.weight, rng=rng)
        if self.padding_idx is not None:
            start.zeros_(self.weight.data[self.padding_idx])

    def forward(self, x: Tensor) -> Tensor:
        how = self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return F.embedding(x, self.weight, self.padding_idx, *how)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        held = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{held}"


def _row(name: str, padding_idx: int | None, n_rows: int) -> int | None:
    """A row of the table counted from its start. Raises IndexError where there is no such row."""
    if padding_idx is None:
        return None
    if not -n_rows <= padding_idx < n_rows:
        raise IndexError(f"{name}: padding_idx {padding_idx} is outside the table of {n_rows} rows")
    return int(padding_idx) % n_rows
