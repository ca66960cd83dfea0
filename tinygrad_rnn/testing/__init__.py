"""Tools for tests of one's own ops, cells and losses: `gradcheck` holds gradients to central differences."""

from .gradcheck import gradcheck

__all__ = ["gradcheck"]
