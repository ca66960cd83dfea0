"""Data: text as numbers, windows for truncated BPTT, datasets, samplers and loaders."""

from .dataset import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from .generator import Generator
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
