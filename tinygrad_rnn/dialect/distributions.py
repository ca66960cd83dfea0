"""`torch.distributions`: the few that scripts draw words and actions from."""

from __future__ import annotations

import math
from typing import Any

from .. import backend, ops
from ..creation import as_tensor, bernoulli, normal
from ..nn import functional as F
from ..tensor import Tensor

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal"]


class Distribution:
    """The base of these: `sample()`, `log_prob(value)`, `entropy()`."""

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Numbers drawn, of `sample_shape` and then the distribution's own shape."""
        raise NotImplementedError

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the probability, or density, of a value."""
        raise NotImplementedError


class Categorical(Distribution):
    """Integers 0 to n - 1 by weights `probs` (..., n), or by `logits`."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Categorical: give probs or logits, one of them")
        if probs is not None:
            self.probs = probs / ops.sum(probs, -1, True)
            tiny = 1.1920928955078125e-07 if probs.dtype.itemsize == 4 else 2.220446049250313e-16
            self.logits = ops.log(ops.clip(self.probs, tiny, 1 - tiny))
        else:
            self.logits = logits - ops.logsumexp(logits, -1, True)
            self.probs = ops.softmax(self.logits, -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Integers of `sample_shape` and then the weights' shape without its last axis."""
        shape, n = ops.ints((sample_shape,)) if sample_shape != () else (), math.prod(sample_shape or (1,))
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        drawn: Any = ops.multinomial(rows, n, True)
        made: Tensor = drawn.t().reshape(*shape, *self.probs.shape[:-1])
        return made

    def log_prob(self, value: Any) -> Any:
        """The logarithms of the probabilities of integers, with gradients to the weights."""
        shape = ops.broadcast_tensors(value[..., None].to(self.logits.dtype), self.logits[..., :1])[0].shape
        index = value[..., None].long().expand(*shape)
        logits = self.logits.expand(*shape[:-1], self.logits.shape[-1])
        return ops.gather(logits, -1, index).squeeze(-1)

    def entropy(self) -> Any:
        """Minus the mean logarithm of the probability."""
        return -ops.sum(self.logits * self.probs, -1)


class Bernoulli(Distribution):
    """1 with probability `probs`, or sigmoid(`logits`), else 0."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Bernoulli: give probs or logits, one of them")
        self.probs = as_tensor(probs) if logits is None else ops.sigmoid(logits)
        self.logits = ops.logit(self.probs, 1.1920928955078125e-07) if logits is None else logits

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.probs.shape)
        return bernoulli(self.probs.detach().expand(*shape).contiguous() if shape else self.probs.detach())

    def log_prob(self, value: Any) -> Any:
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def entropy(self) -> Any:
        """Minus the mean logarithm of the probability."""
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Normal(Distribution):
    """Normally distributed numbers of mean `loc` and standard deviation `scale`."""

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = ops.broadcast_tensors(as_tensor(loc), as_tensor(scale))
        self.mean, self.stddev = self.loc, self.scale

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample(sample_shape).detach()

    def rsample(self, sample_shape: Any = ()) -> Any:
        """As `sample`, with gradients to mean and deviation."""
        shape = (*sample_shape, *self.loc.shape)
        noise = normal(0.0, 1.0, shape, dtype=self.loc.dtype, device=backend.device_of(self.loc.array))
        return self.loc + self.scale * noise

    def log_prob(self, value: Any) -> Any:
        z = (value - self.loc) / self.scale
        return -(z * z) / 2 - ops.log(self.scale) - math.log(math.sqrt(2 * math.pi))

    def entropy(self) -> Any:
        """Minus the mean logarithm of the density."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + ops.log(self.scale)
