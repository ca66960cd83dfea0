"""Tools for tests: `gradcheck`, Hypothesis strategies, and a row for every op with its domain and reference.

`gradcheck` needs NumPy alone; `strategies` and `rows` need Hypothesis, and are modules to import by name.
"""

from .gradcheck import gradcheck

__all__ = ["gradcheck"]
