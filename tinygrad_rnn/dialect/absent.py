"""Names of what is not here on purpose: they can be imported, and say so when they are used."""

from __future__ import annotations

from typing import Any

__all__ = ["OUT_OF_SCOPE", "absent", "absent_function", "out_of_scope"]

_CONVOLUTIONS = "convolutions and what goes with them are out of scope; recurrent layers are here"
_TRANSFORMERS = "transformers are out of scope; nn.Attention and nn.AttentionDecoder are here"

OUT_OF_SCOPE = {
    **dict.fromkeys(
        (
            "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
            "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
            "AdaptiveMaxPool1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "GroupNorm", "Upsample",
            "ZeroPad1d", "ZeroPad2d", "ZeroPad3d", "ConstantPad1d", "ConstantPad2d", "ReflectionPad1d",
            "ReplicationPad1d", "MaxPool3d", "AvgPool3d", "AdaptiveMaxPool2d", "Dropout3d",
            "InstanceNorm2d", "LocalResponseNorm", "PixelUnshuffle", "LPPool1d", "UpsamplingBilinear2d",
            "UpsamplingNearest2d", "LazyConv2d", "MaxUnpool1d", "Unfold", "Fold", "PixelShuffle",
            "LazyLinear", "LazyConv1d",
        ),
        _CONVOLUTIONS,
    ),
    **dict.fromkeys(
        (
            "Transformer", "TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoder",
            "TransformerDecoderLayer", "MultiheadAttention",
        ),
        _TRANSFORMERS,
    ),
    "AdaptiveLogSoftmaxWithLoss": "a softmax over clusters of words is not here; CrossEntropyLoss is",
    "EmbeddingBag": "is not here; Embedding and a mean or sum over its rows are",
    "SyncBatchNorm": "several GPUs are out of scope",
    "DistributedDataParallel": "several GPUs are out of scope",
}  # fmt: skip


_FUNCTIONS = (
    "conv", "pool", "fold", "pixel_", "interpolate", "upsample", "grid_sample", "affine_grid", "group_norm",
    "instance_norm", "embedding_bag", "multi_head_attention", "scaled_dot_product", "local_response",
)  # fmt: skip


def out_of_scope(name: str) -> bool:
    """Whether a name of nn.functional is of what is not here on purpose."""
    return any(part in name for part in _FUNCTIONS)


def absent_function(name: str) -> Any:
    """A function that raises NotImplementedError where it is called."""

    def function(*args: Any, **settings: Any) -> Any:
        sentence = _TRANSFORMERS if "attention" in name or "scaled_dot" in name else _CONVOLUTIONS
        raise NotImplementedError(f"{name}: {sentence}")

    function.__name__ = name
    return function


class _Absent(type):
    """The class of such names: calling one, or a subclass, raises."""

    sentence: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__}: {cls.sentence}")


def absent(name: str, sentence: str) -> type:
    """A class that can be named and subclassed, and raises NotImplementedError where it is called."""
    return _Absent(name, (), {"sentence": sentence, "__module__": "tinygrad_rnn.nn"})
