"""More nonlinearities as modules. `inplace` is read for PyTorch's sake: results are new tensors."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..creation import full
from ..tensor import Tensor
from .activation import Softmax
from .module import Module, Parameter

__all__ = [
    "CELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LogSigmoid", "Mish",
    "PReLU", "ReLU6", "SiLU", "Softmin", "Softshrink", "Softsign", "Tanhshrink", "Threshold",
]  # fmt: skip


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, input: Tensor) -> Any:
        return ops.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Any:
        return ops.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Tensor) -> Any:
        return ops.tanhshrink(input)


class _InPlace(Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class SiLU(_InPlace):
    """x * sigmoid(x) (Elfwing, Uchibe & Doya 2018)."""

    def forward(self, input: Tensor) -> Any:
        return ops.silu(input)


class Mish(_InPlace):
    """x * tanh(softplus(x)) (Misra 2019)."""

    def forward(self, input: Tensor) -> Any:
        return ops.mish(input)


class ReLU6(_InPlace):
    """x held between 0 and 6."""

    def forward(self, input: Tensor) -> Any:
        return ops.relu6(input)


class SELU(_InPlace):
    """The scaled elu that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    def forward(self, input: Tensor) -> Any:
        return ops.selu(input)


class Hardsigmoid(_InPlace):
    """x / 6 + 1 / 2, held between 0 and 1."""

    def forward(self, input: Tensor) -> Any:
        return ops.hardsigmoid(input)


class Hardswish(_InPlace):
    """x * hardsigmoid(x) (Howard et al. 2019)."""

    def forward(self, input: Tensor) -> Any:
        return ops.hardswish(input)


class Hardtanh(Module):
    """x held between min_val and max_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Any:
        return ops.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class CELU(Module):
    """x where positive, else alpha * (exp(x / alpha) - 1) (Barron 2017)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: Tensor) -> Any:
        return ops.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class GLU(Module):
    """The first half along `dim` times the sigmoid of the second (Dauphin et al. 2017)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Any:
        return ops.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class PReLU(Module):
    """x where positive, else weight * x, with a learned weight, or one for each place of axis 1 (He et al.
    2015)."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Any:
        return ops.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _Shrink(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(_Shrink):
    """x brought nearer to 0 by lambd, 0 within it."""

    def forward(self, input: Tensor) -> Any:
        return ops.softshrink(input, self.lambd)


class Hardshrink(_Shrink):
    """x outside of [-lambd, lambd], else 0."""

    def forward(self, input: Tensor) -> Any:
        return ops.hardshrink(input, self.lambd)


class Threshold(Module):
    """x above a threshold, else a value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Any:
        return ops.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class Softmin(Softmax):
    """softmax(-x)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(-x)
