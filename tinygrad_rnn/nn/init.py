"""Starting values, written into tensors in place. Drawn by the host's generator: the same on every device.

Each function returns its tensor. `rng` is a generator or a seed; None is the package's own (`manual_seed`).
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import array_module, default_rng
from ..creation import as_tensor, eye
from ..tensor import Tensor


def _memory(name: str, tensor: Any) -> Tensor:
    """The tensor's values outside the graph. Raises TypeError for anything but a floating tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"init.{name}: expected a Tensor or Parameter, got a {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"init.{name}: expected a floating tensor, got {tensor.dtype}")
    return tensor.data


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, rng: Any = None) -> Tensor:
    """Evenly from [a, b)."""
    if not a <= b:
        raise ValueError(f"init.uniform_: a must not be larger than b, got a = {a} and b = {b}")
    _memory("uniform_", tensor).uniform_(a, b, rng=rng)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Any = None) -> Tensor:
    """Normally distributed."""
    if not std >= 0:
        raise ValueError(f"init.normal_: std must not be negative, got {std}")
    _memory("normal_", tensor).normal_(mean, std, rng=rng)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One value everywhere."""
    _memory("constant_", tensor).fill_(float(val))
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    _memory("zeros_", tensor).fill_(0.0)
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    _memory("ones_", tensor).fill_(1.0)
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before a nonlinearity are scaled so that signals keep their size.

    1 for "linear" and "sigmoid", 5/3 for "tanh", sqrt(2) for "relu", 3/4 for "selu", sqrt(2 / (1 + param^2))
    for "leaky_relu" with negative slope `param` (0.01 if None).
    """
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity in gains:
        return gains[nonlinearity]
    if nonlinearity != "leaky_relu":
        known = ", ".join([*gains, "leaky_relu"])
        raise ValueError(f"init.calculate_gain: nonlinearity is {nonlinearity!r}, expected one of {known}")
    return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))


def _fans(name: str, tensor: Any) -> tuple[int, int]:
    """(inputs, outputs) per unit of a weight (out, in, ...)."""
    _memory(name, tensor)
    if tensor.ndim < 2:
        raise ValueError(f"init.{name}: a weight needs at least two axes (out, in), got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Any = None) -> Tensor:
    """Evenly from +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    bound = gain * math.sqrt(6 / max(1, sum(_fans("xavier_uniform_", tensor))))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Any = None) -> Tensor:
    """Normally distributed with std = gain * sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12)."""
    std = gain * math.sqrt(2 / max(1, sum(_fans("xavier_normal_", tensor))))
    return normal_(tensor, 0.0, std, rng=rng)


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(name, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init.{name}: mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan_in if mode == "fan_in" else fan_out))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Any = None,
) -> Tensor:
    """Evenly from +-gain * sqrt(3 / fan) (He et al. 2015); `a` is the negative slope of a leaky relu."""
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Any = None,
) -> Tensor:
    """Normally distributed with std = gain / sqrt(fan) (He et al. 2015); `a` as in `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), rng=rng)


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, rng: Any = None) -> Tensor:
    """gain times rows (or columns, where there are fewer) that are orthonormal (Saxe et al. 2014).

    Axes after the first count as one. The matrix is drawn evenly among all orthogonal ones.
    """
    _fans("orthogonal_", tensor)
    n_rows, n_columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if not n_rows * n_columns:
        return tensor
    tall = (max(n_rows, n_columns), min(n_rows, n_columns))
    normal = default_rng(rng).standard_normal(tall)
    host = array_module(normal)
    q, r = host.linalg.qr(normal)
    q = q * host.sign(host.diagonal(r))
    q = (q if n_rows >= n_columns else q.T) * gain
    tensor.data.copy_(as_tensor(q.reshape(tensor.shape), tensor.dtype, tensor.device))
    return tensor


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, *, rng: Any = None
) -> Tensor:
    """Normally distributed, drawn anew where it is outside of [a, b]."""
    _memory("trunc_normal_", tensor)
    if not a < b:
        raise ValueError(f"init.trunc_normal_: a must be below b, got a = {a} and b = {b}")
    generator, n = default_rng(rng), tensor.numel()
    values = generator.normal(mean, std, n)
    for _ in range(1000):
        outside = (values < a) | (values > b)
        left = int(outside.sum())
        if not left:
            break
        values[outside] = generator.normal(mean, std, left)
    tensor.data.copy_(as_tensor(values.clip(a, b).reshape(tensor.shape), tensor.dtype, tensor.device))
    return tensor


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    _memory("eye_", tensor)
    if tensor.ndim != 2:
        raise ValueError(f"init.eye_: expected a matrix, got shape {tensor.shape}")
    tensor.data.copy_(eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))
    return tensor


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, *, rng: Any = None) -> Tensor:
    """Normally distributed, with the part `sparsity` of the elements of each column 0 (Martens 2010)."""
    _memory("sparse_", tensor)
    if tensor.ndim != 2:
        raise ValueError(f"init.sparse_: expected a matrix, got shape {tensor.shape}")
    generator, (n_rows, n_columns) = default_rng(rng), tensor.shape
    values = generator.normal(0.0, std, (n_rows, n_columns))
    for k in range(n_columns):
        values[generator.permutation(n_rows)[: math.ceil(sparsity * n_rows)], k] = 0
    tensor.data.copy_(as_tensor(values, tensor.dtype, tensor.device))
    return tensor


# PyTorch's names before 0.4, which older scripts call
uniform, normal, constant, orthogonal, sparse = uniform_, normal_, constant_, orthogonal_, sparse_
xavier_uniform, xavier_normal = xavier_uniform_, xavier_normal_
kaiming_uniform, kaiming_normal = kaiming_uniform_, kaiming_normal_
