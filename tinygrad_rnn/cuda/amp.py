"""PyTorch's older place for mixed precision: `from tinygrad_rnn.cuda.amp import GradScaler, autocast`."""

from ..dialect.amp import GradScaler, autocast, custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
