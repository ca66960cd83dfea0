"""Many time steps as one node. See node.py."""

from .node import loop

__all__ = ["loop"]
