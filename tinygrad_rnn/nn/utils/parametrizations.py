"""PyTorch's newer place for weight normalization."""

from .weight_norm import weight_norm

__all__ = ["weight_norm"]
