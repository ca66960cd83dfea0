"""PyTorch's newer place for weight normalization."""

from .normed_weights import weight_norm

__all__ = ["weight_norm"]
