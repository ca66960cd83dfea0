"""Names of what is not here on purpose: they can be imported, and say so when they are used."""

from __future__ import annotations

from typing import Any

__all__ = ["OUT_OF_SCOPE", "absent"]

_CONVOLUTIONS = "convolutions and what goes with them are out of scope; recurrent layers are here"
_TRANSFORMERS = "transformers are out of scope; nn.Attention and nn.AttentionDecoder are here"

OUT_OF_SCOPE = {
    **dict.fromkeys(
        (
            "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
            "MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
            "AdaptiveMaxPool1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "GroupNorm", "Upsample",
            "ZeroPad1d", "ZeroPad2d", "Unfold", "Fold", "PixelShuffle", "LazyLinear", "LazyConv1d",
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


class _Absent(type):
    """The class of such names: calling one, or a subclass, raises."""

    sentence: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__}: {cls.sentence}")


def absent(name: str, sentence: str) -> type:
    """A class that can be named and subclassed, and raises NotImplementedError where it is called."""
    return _Absent(name, (), {"sentence": sentence, "__module__": "tinygrad_rnn.nn"})
