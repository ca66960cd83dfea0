"""PyTorch's place for Parameter."""

from .module import Parameter

__all__ = ["Parameter"]
