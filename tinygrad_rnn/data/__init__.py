"""Data: text as numbers, windows for truncated BPTT, datasets, samplers and loaders."""

from typing import TYPE_CHECKING, Any

from .dataset import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from .loader import DataLoader, default_collate, default_convert
from .sampler import (
    BatchSampler,
    BucketSampler,
    RandomSampler,
    Sampler,
    SeededSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)  # fmt: skip
from .text import CharVocab, Vocab, WordVocab, split_text
from .windows import Windows, windows

if TYPE_CHECKING:
    from .generator import Generator


def __getattr__(name: str) -> Any:
    if name == "Generator":  # when asked for: it brings numpy.random along, which takes time to import
        from .generator import Generator

        globals()[name] = Generator
        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
