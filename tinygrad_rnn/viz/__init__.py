"""Pictures that the examples share. They need matplotlib."""

from .plots import (
    alignment,
    attention_map,
    curves,
    forecast,
    gradient_through_time,
    learning_curve,
    piano_roll,
)
from .words import word_scores

__all__ = [
    "alignment",
    "attention_map",
    "curves",
    "forecast",
    "gradient_through_time",
    "learning_curve",
    "piano_roll",
    "word_scores",
]
