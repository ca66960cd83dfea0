"""A stand-in for CuPy that needs no GPU: NumPy underneath, and refusing what CuPy refuses.

    from tests.support import strict
    strict.install()
    with tg.use("strict"):
        ...

What runs here calls nothing that CuPy lacks, mixes no host arrays in, and converts nothing by accident. It
does not prove that a GPU does the same; it finds the mistakes that one would find there first.

`with strict.no_waits():` also refuses what makes the host wait for the GPU: `float(x)`, `if x`, `x.item()`,
boolean masks, `nonzero`, copies to the host.
"""

from .arrays import METHODS, StrictArray
from .conditions import POOL, Call, calls, no_waits, own_pool
from .library import MISSING, KernelModule, StrictModule, install, kernels, module, new_streams

__all__ = [
    "METHODS", "MISSING", "POOL", "Call", "KernelModule", "StrictArray", "StrictModule", "calls", "install",
    "kernels", "module", "new_streams", "no_waits", "own_pool",
]  # fmt: skip
