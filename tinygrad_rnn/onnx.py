"""PyTorch's place for ONNX, which is out of scope: the name can be imported, and exporting raises."""

from typing import Any

__all__ = ["export"]


def export(*args: Any, **settings: Any) -> None:
    """Is not here."""
    raise NotImplementedError(
        "onnx.export: graphs are not exported; io.to_torch(model) gives the weights in PyTorch's layout"
    )
