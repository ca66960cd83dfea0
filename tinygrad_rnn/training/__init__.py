"""A training loop for those who do not want to write one: `tg.fit`."""

from .fit import fit
from .history import History
from .run import Run
