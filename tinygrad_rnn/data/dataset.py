"""Datasets: things with a length and numbered samples. Names and behaviour are those of torch.utils.data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import floor
from typing import Any

from ..backend import default_rng
from ..backend.naming import came
from ..creation import as_tensor
from ..tensor import Tensor


class Dataset:
    """The base of datasets: define `__getitem__(i)`, one sample, and `__len__`, their number."""

    def __class_getitem__(cls, sample: Any) -> type[Dataset]:
        return cls  # Dataset[Tensor], as PyTorch's generic class is written

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """A dataset without numbers: define `__iter__`. A DataLoader takes its samples in the order in which they
    come.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class TensorDataset(Dataset):
    """Sample i is the tuple of the i-th rows of the tensors, which agree in their first axis.

    Raises ValueError where they do not.
    """

    def __init__(self, *tensors: Tensor) -> None:
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"TensorDataset: argument {i + 1} must be a tensor, got {came(tensor)}")
            if not tensor.ndim:
                raise TypeError(
                    f"TensorDataset: argument {i + 1} must have at least one axis, that of samples"
                )
            if len(tensor) != len(tensors[0]):
                raise ValueError(
                    f"TensorDataset: the tensors must agree in their first axis, got {len(tensors[0])} and "
                    f"{len(tensor)}"
                )
        if not tensors:
            raise ValueError("TensorDataset: give at least one tensor")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """Many samples at once: what default_collate makes of them, without going through them one by one."""
        return [
            tensor.index_select(0, as_tensor(list(indices), "int64", tensor.device))
            for tensor in self.tensors
        ]


class Subset(Dataset):
    """The samples of `dataset` with the given numbers, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices
        if hasattr(dataset, "batch"):
            self.batch = lambda chosen: dataset.batch([indices[i] for i in chosen])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (list, tuple)):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """Several datasets as one, one after the other."""

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: give at least one dataset")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ConcatDataset: an IterableDataset has no numbered samples")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"ConcatDataset: there is no sample {index} among {len(self)}")
        k = bisect_right(self.cumulative_sizes, i)
        return self.datasets[k][i - (self.cumulative_sizes[k - 1] if k else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Any = None, *, rng: Any = None
) -> list[Subset]:
    """The samples dealt out by chance to datasets of the given lengths, or of the given fractions that sum to
    1.

    What fractions leave over when rounded down goes to the parts from the first on, one sample each. `rng`
    (or `generator`): a numpy.random.Generator, a seed, or None for the package's. Raises ValueError where
    lengths do not sum to the number of samples.
    """
    if generator is not None and rng is not None:
        raise ValueError("random_split: generator and rng are one setting; give one of them")
    n = len(dataset)
    if all(0 <= part <= 1 for part in lengths) and abs(sum(lengths) - 1) < 1e-9:
        sizes = [floor(n * part) for part in lengths]
        for k in range(n - sum(sizes)):
            sizes[k % len(sizes)] += 1
    else:
        sizes = [int(part) for part in lengths]
        if sizes != list(lengths) or sum(sizes) != n or min(sizes, default=0) < 0:
            raise ValueError(
                f"random_split: lengths must sum to the {n} samples, or be fractions that sum to 1; got "
                f"{list(lengths)}"
            )
    order = default_rng(generator if rng is None else rng).permutation(n).tolist()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
