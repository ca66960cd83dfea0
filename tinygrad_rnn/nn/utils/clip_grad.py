"""PyTorch's place for bounds of gradients."""

from .gradients import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
