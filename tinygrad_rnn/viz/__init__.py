"""Pictures that the examples share. They need matplotlib: `pip install 'tinygrad-rnn[examples]'`."""

from .plots import gradient_through_time, learning_curve

__all__ = ["gradient_through_time", "learning_curve"]
