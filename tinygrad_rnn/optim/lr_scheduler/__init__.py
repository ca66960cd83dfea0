"""Learning rates that change with training. Call `scheduler.step()` after the optimiser's steps, once an
epoch or, for warm-ups and one-cycle schedules, once a step. Names, defaults and numbers are PyTorch's;
`WarmupCosineLR` is ours.
"""

from .base import LRScheduler
from .formulas import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    StepLR,
    WarmupCosineLR,
)
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .sequential import SequentialLR

__all__ = [
    "ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "StepLR", "WarmupCosineLR",
]  # fmt: skip
