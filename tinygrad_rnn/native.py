"""The switch of compiled code, `tinygrad_rnn.native`, is an object; this file is what runs as
`python -m tinygrad_rnn.native`, which says what is found and proves it on a small net.
"""

from __future__ import annotations

import sys

from .backend.native import native


def main() -> int:
    """Prints what is used. Returns 0 where a small net that is compiled computes what NumPy does, else 1."""
    import time

    import numpy as np

    from .backend import manual_seed
    from .creation import randn
    from .nn import LSTM

    def run() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        manual_seed(0)
        layer, x = LSTM(8, 16), randn(20, 4, 8)
        y, _ = layer(x)
        y.square().mean().backward()
        return [y.numpy(), *(p.grad.numpy() for p in layer.parameters())]

    native(True)
    started = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - started
    with native(False):
        wanted = run()
    info = native.info()
    for name, value in info.items():
        print(f"{name:10} {value}")
    if info["why not"] is not None:
        print("nothing is compiled; NumPy does the work")
        return 1
    error = max(float(abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
    right = error < 1e-5
    print(f"an LSTM, forward and backward, took {seconds:.2f} s; it differs from NumPy's by {error:.1g}")
    print("it works" if right else "IT IS WRONG: please report it, and use TINYGRAD_RNN_NATIVE=0 meanwhile")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
sys.modules[__name__] = native  # type: ignore[assignment]  # for `import tinygrad_rnn.native`
