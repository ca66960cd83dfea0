"""PyTorch's place for distributions: `from tinygrad_rnn.distributions import Categorical`."""

from .dialect.distributions import Bernoulli, Categorical, Distribution, Normal

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal"]
