"""Helpers for training: bounds for gradients, parameters as one vector; `utils.rnn` for sequences."""

from . import rnn
from .gradients import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters
