"""Linear layers, and what stands around them in a Sequential."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..backend.naming import came
from ..creation import empty
from ..engine.errors import Mismatch, WrongKind
from ..tensor import Tensor
from . import functional as F
from . import init as start
from .module import Module, Parameter


class Linear(Module):
    """y = x W^T + b: x (..., in_features) -> (..., out_features).

    weight: (out_features, in_features), so that it can be tied to an Embedding; bias: (out_features,).
    Weights start evenly in +-sqrt(6 / (in + out)), biases at 0 (Glorot & Bengio 2010); with init="torch"
    both evenly in +-1 / sqrt(in_features). Raises ValueError where x has another number of features.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        init: str = "glorot",
        rng: Any = None,
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(size, int) or size < 1:
                raise Mismatch(f"Linear: {name} must be a positive integer, got {size!r}")
        if init not in ("glorot", "torch"):
            raise Mismatch(f"Linear: init is {init!r}, expected 'glorot' or 'torch'")
        self.in_features, self.out_features, self.init = in_features, out_features, init
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype, device=device))
        self.bias = Parameter(empty(out_features, dtype=dtype, device=device)) if bias else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values."""
        if self.init == "torch":
            bound = self.in_features**-0.5
            for parameter in self.parameters():
                start.uniform_(parameter, -bound, bound, rng=rng)
            return
        start.xavier_uniform_(self.weight, rng=rng)
        if self.bias is not None:
            start.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise WrongKind(f"Linear: x must be a Tensor, got {came(x)}")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise Mismatch(
                f"Linear: x has shape {x.shape}, expected in_features = {self.in_features} on its last axis"
            )
        if not x.is_floating_point():
            raise WrongKind(f"Linear: x must be floating, got {x.dtype}; x.float() makes it so")
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input; takes and forgets any arguments, to stand in for another module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Unflatten(Module):
    """One axis made several: `Unflatten(1, (2, 3))` of (N, 6) gives (N, 2, 3)."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Any:
        return ops.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Bilinear(Module):
    """x1 W_k x2 + b_k for each output k: (.., in1), (.., in2) -> (.., out). weight (out, in1, in2), bias
    (out,), drawn evenly from +-1/sqrt(in1)."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(empty(out_features, in1_features, in2_features, **place))
        self.bias = Parameter(empty(out_features, **place)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New starting values."""
        bound = self.in1_features**-0.5
        for p in self.parameters():
            start.uniform_(p, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Any:
        y: Any = ops.einsum("...i,kij,...j->...k", input1, self.weight, input2)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        sizes = f"{self.in1_features}, {self.in2_features}, {self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along `dim`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norms of x1 - x2 + eps along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Any:
        return ops.norm(x1 - x2 + self.eps, self.norm, -1, self.keepdim)


class DataParallel(Module):
    """A module on one device, as PyTorch runs it where there are no several GPUs: `module` is the module."""

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
