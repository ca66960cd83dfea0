"""PyTorch's place for `utils.data`."""

from . import data
