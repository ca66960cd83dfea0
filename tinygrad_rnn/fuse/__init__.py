"""What is read once and run many times: one IR, traced from Python, reversed by the ops' own rules, run."""

from . import traits

__all__ = ["traits"]
