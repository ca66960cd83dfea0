"""What tests of memory share."""

import tracemalloc

from tests.support import strict
from tinygrad_rnn import backend
from tinygrad_rnn.backend import memory


def peak_bytes(run):
    """The most memory that arrays held at once while `run()` ran, beyond what there was before: on the host
    what was asked of the system, on a GPU what a pool of its own took from the device, in its units.
    """
    name = backend.current().name
    if name == "numpy":
        memory.waiting.clear()  # what has been left there would not be counted
        tracemalloc.start()
        try:
            run()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    if name == "strict":
        with strict.own_pool() as pool:
            run()
        return pool.total_bytes()
    import cupy

    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        run()
    return pool.total_bytes()
