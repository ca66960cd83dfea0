"""The table of ops as they are tested: for each how to draw its arguments, and what NumPy makes of them."""

from . import arrangements, compose, dialect, elementwise, index, names, reduce, shape
from .row import Case, Row

ROWS: dict[str, Row] = {
    **elementwise.ROWS,
    **reduce.ROWS,
    **shape.ROWS,
    **index.ROWS,
    **compose.ROWS,
    **names.ROWS,
    **dialect.ROWS,
    **arrangements.ROWS,
}

__all__ = ["ROWS", "Case", "Row"]
