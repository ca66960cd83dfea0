"""DataLoader: batches of samples, made where and when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from .. import ops
from ..backend import MODULES, bits_of
from ..backend.naming import kind
from ..creation import as_tensor, tensor
from ..deprecation import warn_once
from ..tensor import Tensor
from .dataset import IterableDataset
from .sampler import (
    BatchSampler,
    RandomSampler,
    SeededSampler,
    SequentialSampler,
    check_batch_size,
    in_batches,
)


class DataLoader:
    """The samples of a dataset in batches, as torch.utils.data's, in this process.

    `dataset` has numbered samples and a length, or is an IterableDataset. `batch_size` samples make a batch
    (None: each sample comes as it is); `shuffle` draws a new order for each pass; or `sampler` gives the
    numbers, or `batch_sampler` lists of them. `collate_fn` makes a batch of a list of samples
    (`default_collate`). `drop_last` leaves out a last batch that is short.

    Randomness: each pass draws one seed from `rng` (or `generator`; None: the package's generator) and its
    order from that seed, and from nothing else. Same seed, same order. To go on in the middle of a pass, save
    `state_dict()` (and, where there is no `rng`, the package's generator: `get_rng_state`) and load it into a
    loader made in the same way: its next pass is the rest of the interrupted one, without loading the samples
    that came before, and the passes after it are those that would have come.

    PyTorch's `num_workers` (with a warning, once), `pin_memory`, `timeout`, `worker_init_fn`,
    `prefetch_factor` and `persistent_workers` are read and have no effect. Raises ValueError for
    settings that exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        *,
        generator: Any = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        rng: Any = None,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"DataLoader: num_workers must not be negative, got {num_workers}")
        if num_workers:
            warn_once(
                "num_workers",
                f"DataLoader: num_workers={num_workers} is read and has no effect: batches are made in this "
                "process",
                kind=UserWarning,
            )
        self.num_workers, self.pin_memory = num_workers, pin_memory
        iterable = _check(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset, self.drop_last = dataset, drop_last
        self.collate_fn = collate_fn
        if sampler is None and not iterable and batch_sampler is None:
            sampler = (
                RandomSampler(dataset, generator=generator, rng=rng)
                if shuffle
                else SequentialSampler(dataset)
            )
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        self.batch_size = None if batch_size is None else getattr(batch_sampler, "batch_size", batch_size)
        self._n_done, self._n_to_skip = 0, 0

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if self.sampler is not None:
            return len(self.sampler)
        n, size = len(self.dataset), self.batch_size or 1
        return n // size if self.drop_last else -(-n // size)

    def __iter__(self) -> Iterator[Any]:
        skip, self._n_to_skip = self._n_to_skip, 0
        self._n_done = skip
        if self.sampler is None and self.batch_sampler is None:
            samples = iter(self.dataset)
            numbers: Iterator[Any] = (
                samples if self.batch_size is None else in_batches(samples, self.batch_size, self.drop_last)
            )
            return self._run(islice(numbers, skip, None), lambda found: found)
        source = self.sampler if self.batch_sampler is None else self.batch_sampler
        return self._run(islice(iter(source), skip, None), self._fetched)

    def _run(self, numbers: Iterator[Any], fetched: Callable[[Any], Any]) -> Iterator[Any]:
        """One pass. The state counts a batch from when it is handed out."""
        batched = self.batch_size is not None
        collate = self.collate_fn or (default_collate if batched else default_convert)
        whole = (
            self.collate_fn is None
            and batched
            and hasattr(self.dataset, "batch")
            and fetched == self._fetched
        )
        for chosen in numbers:
            batch = self.dataset.batch(chosen) if whole else collate(fetched(chosen))
            self._n_done += 1
            yield batch
        self._n_done = 0
        seeded = self._seeded()
        if seeded is not None:
            seeded.seed = None

    def _fetched(self, chosen: Any) -> Any:
        return self.dataset[chosen] if self.batch_size is None else [self.dataset[i] for i in chosen]

    @property
    def keeps_its_place(self) -> bool:
        """Whether `load_state_dict` goes on in the same order: that of the samplers here, which draw it from
        one seed. Whoever else's order has to be drawn again.
        """
        if self.sampler is None and self.batch_sampler is None:
            return False
        parts = (self.batch_sampler, getattr(self.batch_sampler, "sampler", None), self.sampler)
        ours = (SequentialSampler, BatchSampler)
        return all(part is None or isinstance(part, SeededSampler) or type(part) in ours for part in parts)

    def _seeded(self) -> SeededSampler | None:
        for sampler in (self.batch_sampler, getattr(self.batch_sampler, "sampler", None), self.sampler):
            if isinstance(sampler, SeededSampler):
                return sampler
        return None

    def state_dict(self) -> dict[str, Any]:
        """Where the latest pass stands: the batches handed out, the seed of its order, the state of a `rng`
        of its own.

        Plain numbers (of up to 128 bits), strings and dicts.
        """
        seeded = self._seeded()
        rng = None if seeded is None or seeded.rng is None else dict(seeded.rng.bit_generator.state)
        return {"batch": self._n_done, "seed": seeded.seed if seeded is not None else None, "rng": rng}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Makes the next pass the rest of the one whose state is given.

        Raises ValueError, and changes nothing, for what is no such state or is of another loader.
        """
        if not isinstance(state_dict, Mapping) or not {"batch", "seed", "rng"} <= set(state_dict):
            raise ValueError(
                'DataLoader.load_state_dict: expected "batch", "seed" and "rng", as state_dict() gives'
            )
        batch, seed, rng = (state_dict[name] for name in ("batch", "seed", "rng"))
        if type(batch) is not int or batch < 0 or not (seed is None or (type(seed) is int and seed >= 0)):
            raise ValueError(
                "DataLoader.load_state_dict: the state is damaged: batch or seed is no such number"
            )
        bits = None if rng is None else bits_of(rng)
        seeded = self._seeded()
        if seeded is None and state_dict["seed"] is not None:
            raise ValueError(
                "DataLoader.load_state_dict: the state is of a loader that shuffles, this one does not"
            )
        if seeded is not None:
            if bits is not None:
                if seeded.rng is None:
                    raise ValueError(
                        "DataLoader.load_state_dict: the state is of a loader with an rng of its own; give "
                        "this one an rng"
                    )
                if type(bits) is not type(seeded.rng.bit_generator):
                    raise ValueError("DataLoader.load_state_dict: the state is of an rng of another kind")
                seeded.rng.bit_generator.state = bits.state
            seeded.next_seed = seeded.seed = seed
        self._n_done = self._n_to_skip = batch


def _check(
    dataset: Any,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
) -> bool:
    """Raises where settings exclude each other or do not fit the dataset. Whether it is iterable alone."""
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: give sampler or shuffle, not both")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError(
            "DataLoader: batch_sampler stands for batch_size, shuffle, sampler and drop_last; leave them out"
        )
    if batch_size is not None:
        check_batch_size("DataLoader", batch_size)
    elif drop_last:
        raise ValueError("DataLoader: drop_last needs a batch_size")
    iterable = isinstance(dataset, IterableDataset)
    if iterable and (shuffle or sampler is not None or batch_sampler is not None):
        raise ValueError("DataLoader: an IterableDataset comes in its own order, without shuffle or sampler")
    named = sampler is not None or batch_sampler is not None
    if not iterable and not hasattr(dataset, "__len__") and not named:
        raise TypeError(
            f"DataLoader: the dataset, {kind(dataset)}, has no length; give a sampler, or make it an "
            "IterableDataset"
        )
    if isinstance(dataset, Mapping) and len(dataset) and 0 not in dataset and not named:
        raise TypeError("DataLoader: a dict has no numbered samples; give list(d.items()), or a Dataset")
    if getattr(dataset, "shape", None) == ():
        raise TypeError("DataLoader: the dataset is a tensor without axes; it needs that of the samples")
    return iterable


def default_convert(sample: Any) -> Any:
    """Arrays in a sample as tensors, anything else as it is: what a loader without batches does."""
    if isinstance(sample, tuple(MODULES)):
        return as_tensor(sample)
    if isinstance(sample, Mapping):
        return {key: default_convert(value) for key, value in sample.items()}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*map(default_convert, sample))
    if isinstance(sample, (tuple, list)):
        return [default_convert(value) for value in sample]
    return sample


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch from a list of samples: tensors, arrays and numbers are stacked along a new first axis
    (Python's floats as float64, as PyTorch has it), strings stay a list, and dicts, named tuples, tuples and
    lists are gone into.

    Raises TypeError for other things, ValueError where shapes or lengths differ.
    """
    if not len(batch):
        raise ValueError("default_collate: got an empty batch")
    first = batch[0]
    if isinstance(first, (Tensor, *MODULES)):
        tensors = [as_tensor(sample) for sample in batch]
        if any(t.shape != tensors[0].shape for t in tensors):
            shapes = sorted({t.shape for t in tensors})
            raise ValueError(
                f"default_collate: samples of shapes {shapes[0]} and {shapes[1]} make no batch; pad them in "
                "a collate_fn, "
                "with nn.utils.rnn.pad_sequence"
            )
        return ops.stack(tensors)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, float):
        return tensor(list(batch), dtype="float64")
    if isinstance(first, (bool, int)) or hasattr(first, "item"):
        return tensor(
            [sample.item() if hasattr(sample, "item") else sample for sample in batch],
            dtype=getattr(first, "dtype", None),
        )
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            raise ValueError("default_collate: samples that are lists or tuples must have the same length")
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(
        f"default_collate: cannot make a batch of {type(first).__name__}; return tensors, arrays, numbers, "
        "strings, tuples "
        "or dicts, or give a collate_fn"
    )
