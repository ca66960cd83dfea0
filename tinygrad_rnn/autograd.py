"""PyTorch's place for gradients as functions: `from tinygrad_rnn.autograd import Variable, Function,
grad`."""

from .dialect.autograd import (
    Function,
    Variable,
    backward,
    detect_anomaly,
    enable_grad,
    grad,
    gradcheck,
    gradgradcheck,
    inference_mode,
    is_grad_enabled,
    no_grad,
    once_differentiable,
    profiler,
    set_detect_anomaly,
    set_grad_enabled,
)

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck",
    "inference_mode", "is_grad_enabled", "no_grad", "once_differentiable", "profiler", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
