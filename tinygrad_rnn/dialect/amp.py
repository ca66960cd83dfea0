"""`torch.amp`: GradScaler is `nn.amp`'s, autocast changes no type here (`model.half()` does)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..nn.amp import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast:
    """A block, or a function's decorator, in which everything is computed in the types it has: more exactly
    than PyTorch's, which rounds factors of products to half the digits."""

    def __init__(self, device_type: Any = None, dtype: Any = None, enabled: bool = True, **more: Any) -> None:
        self.enabled = enabled

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inside


def custom_fwd(function: Any = None, **settings: Any) -> Any:
    """The function itself."""
    return (lambda given: given) if function is None else function


custom_bwd = custom_fwd
