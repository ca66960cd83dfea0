"""Helpers for training: bounds for gradients, sequences of several lengths (`utils.rnn`)."""

from . import rnn
