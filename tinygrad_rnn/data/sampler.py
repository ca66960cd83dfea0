"""Samplers: in which order a DataLoader takes the samples. Those that draw by chance draw one seed for each
pass from `rng` and the pass's order from that seed, so that a pass can be repeated, or gone on with, from its
`seed` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..backend import default_rng, host_array, to_numpy
from ..backend.naming import describe
from ..engine import Value


class Sampler:
    """The base of samplers: define `__iter__`, over the numbers of samples or over lists of them, and
    `__len__`.
    """

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __class_getitem__(cls, item: Any) -> type[Sampler]:
        return cls

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class SeededSampler(Sampler):
    """The base of samplers that draw by chance: define `order(rng)`, which gives one pass.

    `seed` is that of the latest pass (None before the first); `next_seed`, where it is not None, is used for
    the next pass instead of drawing one. `rng` (or `generator`): a numpy.random.Generator, a seed, or None
    for the package's.
    """

    def __init__(self, generator: Any = None, rng: Any = None) -> None:
        if generator is not None and rng is not None:
            raise ValueError(f"{type(self).__name__}: generator and rng are one setting; give one of them")
        given = generator if rng is None else rng
        self.rng = None if given is None else default_rng(given)
        self.seed: int | None = None
        self.next_seed: int | None = None

    def order(self, rng: Any) -> Iterable[Any]:
        """One pass, drawn from a generator."""
        raise NotImplementedError(f"{type(self).__name__} must define order")

    def __iter__(self) -> Iterator[Any]:
        seed, self.next_seed = self.next_seed, None
        if seed is None:
            seed = int(default_rng(self.rng).integers(2**63))
        self.seed = seed
        return iter(self.order(default_rng(seed)))


class RandomSampler(SeededSampler):
    """The samples in an order drawn by chance; or `num_samples` of them, with `replacement` or without."""

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
        *,
        rng: Any = None,
    ) -> None:
        super().__init__(generator, rng)
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"RandomSampler: num_samples must be at least 1, got {num_samples}")
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples

    def __len__(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self, rng: Any) -> list[int]:
        n, wanted = len(self.data_source), len(self)
        if self.replacement:
            return rng.integers(n, size=wanted).tolist()
        order: list[int] = []
        while len(order) < wanted:
            order += rng.permutation(n).tolist()
        return order[:wanted]


class SubsetRandomSampler(SeededSampler):
    """The given numbers in an order drawn by chance."""

    def __init__(self, indices: Sequence[int], generator: Any = None, *, rng: Any = None) -> None:
        super().__init__(generator, rng)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, rng: Any) -> list[int]:
        return [self.indices[i] for i in rng.permutation(len(self.indices)).tolist()]


class WeightedRandomSampler(SeededSampler):
    """`num_samples` numbers drawn with `weights` as odds, which need not sum to 1; each as often as chance
    will have it, or, without `replacement`, at most once.
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
        *,
        rng: Any = None,
    ) -> None:
        super().__init__(generator, rng)
        odds = host_array(to_numpy(weights.array) if isinstance(weights, Value) else weights, "float64")
        if odds.ndim != 1 or not (odds >= 0).all() or not 0 < odds.sum() < float("inf"):
            raise ValueError(
                "WeightedRandomSampler: weights must be a list of numbers >= 0, not all of them 0"
            )
        if not replacement and num_samples > int((odds > 0).sum()):
            raise ValueError(
                f"WeightedRandomSampler: {num_samples} samples without replacement need as many weights "
                "above 0"
            )
        self.weights, self.num_samples, self.replacement = odds / odds.sum(), num_samples, replacement

    def __len__(self) -> int:
        return self.num_samples

    def order(self, rng: Any) -> list[int]:
        drawn = rng.choice(len(self.weights), self.num_samples, replace=self.replacement, p=self.weights)
        return drawn.tolist()


class BatchSampler(Sampler):
    """Lists of `batch_size` numbers from another sampler; the last one may be shorter, unless `drop_last`."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        check_batch_size("BatchSampler", batch_size)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, bool(drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        return in_batches(iter(self.sampler), self.batch_size, self.drop_last)

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class BucketSampler(SeededSampler):
    """Batches of samples of similar length, so that padding is short: for a DataLoader's `batch_sampler`.

    The samples are dealt by chance into buckets of `bucket_batches` batches, sorted by length within a bucket
    and cut into batches, which come in an order drawn by chance. More batches in a bucket make less padding,
    fewer make more chance; with `shuffle=False` all samples are sorted by length, shortest first. `lengths`:
    one integer for each sample.
    """

    def __init__(
        self,
        lengths: Iterable[int],
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        bucket_batches: int = 50,
        rng: Any = None,
    ) -> None:
        super().__init__(rng=rng)
        check_batch_size("BucketSampler", batch_size)
        if bucket_batches < 1:
            raise ValueError(f"BucketSampler: bucket_batches must be at least 1, got {bucket_batches}")
        self.lengths = [int(n) for n in lengths]
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.bucket_batches = bucket_batches

    def __len__(self) -> int:
        n = len(self.lengths)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self, rng: Any) -> list[list[int]]:
        n, size = len(self.lengths), self.batch_size
        chosen = rng.permutation(n).tolist() if self.shuffle else list(range(n))
        bucket = size * self.bucket_batches if self.shuffle else max(n, 1)
        batches: list[list[int]] = []
        for start in range(0, n, bucket):
            by_length = sorted(chosen[start : start + bucket], key=self.lengths.__getitem__)
            batches += in_batches(iter(by_length), size, self.drop_last)
        return [batches[i] for i in rng.permutation(len(batches)).tolist()] if self.shuffle else batches


def in_batches(samples: Iterator[int], size: int, drop_last: bool) -> Iterator[list[int]]:
    batch = []
    for i in samples:
        batch.append(i)
        if len(batch) == size:
            yield batch
            batch = []
    if batch and not drop_last:
        yield batch


def check_batch_size(name: str, batch_size: Any) -> None:
    """Raises ValueError for anything but an integer of at least 1."""
    is_number = hasattr(batch_size, "__index__") and not getattr(batch_size, "shape", ())
    if isinstance(batch_size, bool) or not is_number or batch_size < 1:
        several = "; TensorDataset(x, y) makes one dataset of several tensors"
        raise ValueError(
            f"{name}: batch_size must be an integer of at least 1, got "
            + (describe(batch_size) + several if hasattr(batch_size, "shape") else repr(batch_size))
        )
