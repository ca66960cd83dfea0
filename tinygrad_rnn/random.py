"""PyTorch's place for the state of random numbers."""

from .backend import get_rng_state, initial_seed, manual_seed, set_rng_state
from .dialect.switches import default_generator, seed

__all__ = ["default_generator", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]
