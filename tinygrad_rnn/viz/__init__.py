"""Pictures that the examples share. They need matplotlib: `pip install 'tinygrad-rnn[examples]'`."""

from .plots import attention_map, curves, forecast, gradient_through_time, learning_curve

__all__ = ["attention_map", "curves", "forecast", "gradient_through_time", "learning_curve"]
