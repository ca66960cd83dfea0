"""PyTorch's place for mixed precision: `from tinygrad_rnn.amp import GradScaler, autocast`."""

from .dialect.amp import GradScaler, autocast, custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
