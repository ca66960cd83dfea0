"""Learning rates that change with training. Call `scheduler.step()` after the optimiser's steps, once an
epoch or, for warm-ups and one-cycle schedules, once a step. Names, defaults and numbers are PyTorch's;
`WarmupCosineLR` is ours.
"""

from .base import LRScheduler
from .cycles import (
    ChainedScheduler,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    MultiplicativeLR,
    PolynomialLR,
)
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

_LRScheduler = LRScheduler  # its name in PyTorch before 2.0, which scripts still inherit

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR",
    "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR",
    "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR", "WarmupCosineLR",
]  # fmt: skip
