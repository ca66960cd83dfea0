"""Generator: a source of random numbers under PyTorch's name, for `generator=` and `rng=`."""

from __future__ import annotations

from typing import Any

import numpy as np


class Generator(np.random.Generator):
    """A numpy.random.Generator that can be seeded as PyTorch's: `Generator().manual_seed(0)`. It draws other
    numbers.
    """

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__(np.random.PCG64())
        self._seed = 0

    def manual_seed(self, seed: int) -> Generator:
        """Starts over from a seed. Returns the generator."""
        self.bit_generator.state = np.random.PCG64(seed).state
        self._seed = seed
        return self

    def initial_seed(self) -> int:
        """The seed it was given last."""
        return self._seed
