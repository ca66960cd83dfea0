"""PyTorch's place for DataLoader."""

from ...data import DataLoader, default_collate

__all__ = ["DataLoader", "default_collate"]
