"""Datasets, samplers and the loader."""

from collections import Counter, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import (
    BatchSampler,
    BucketSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SeededSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)


class Squares(Dataset):
    def __init__(self, n):
        self.n, self.loaded = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.loaded.append(i)
        return i, i * i


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(7))


def firsts(batches):
    return [x.tolist() for x, _ in batches]


def test_the_name_that_pytorch_gives_it():
    from tinygrad_rnn.utils.data import DataLoader as same

    assert same is tg.utils.data.DataLoader is DataLoader


@pytest.mark.parametrize("drop_last", [False, True])
@given(n=st.integers(0, 30), batch_size=st.integers(1, 7), shuffle=st.booleans(), seed=st.integers(0, 9))
def test_each_sample_once(drop_last, n, batch_size, shuffle, seed):
    loader = DataLoader(Squares(n), batch_size, shuffle, drop_last=drop_last, rng=seed)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(len(x) == batch_size for x, _ in batches[: n // batch_size])
    numbers = [i for x, y in batches for i in x.tolist()]
    assert all(y.tolist() == [i * i for i in x.tolist()] for x, y in batches)
    if not drop_last:
        assert sorted(numbers) == list(range(n))
    assert len(numbers) == len(set(numbers)) == (n // batch_size * batch_size if drop_last else n)
    if not shuffle:
        assert numbers == list(range(len(numbers)))


def test_passes_differ_and_can_be_repeated():
    loader = DataLoader(Squares(30), 4, shuffle=True, rng=3)
    first, second = firsts(loader), firsts(loader)
    assert first != second
    again = DataLoader(Squares(30), 4, shuffle=True, generator=np.random.default_rng(3))
    assert [firsts(again), firsts(again)] == [first, second]
    tg.manual_seed(5)
    third = firsts(DataLoader(Squares(30), 4, True))
    tg.manual_seed(5)
    assert firsts(DataLoader(Squares(30), 4, True)) == third


def test_what_else_is_drawn_in_a_pass_does_not_change_it():
    tg.manual_seed(5)
    quiet = firsts(DataLoader(Squares(30), 4, True))
    tg.manual_seed(5)
    found = []
    for x, _ in DataLoader(Squares(30), 4, True):
        tg.randn(3)
        found.append(x.tolist())
    assert found == quiet


@pytest.mark.parametrize("own", [True, False], ids=["own rng", "package's rng"])
@pytest.mark.parametrize("stop", [0, 1, 3, 8])
@pytest.mark.parametrize("kind", ["shuffle", "buckets", "in order", "one by one"])
def test_going_on_in_the_middle_of_a_pass(kind, stop, own):
    rng = 7 if own else None

    def make():
        if kind == "buckets":
            return DataLoader(
                Squares(30), batch_sampler=BucketSampler([i % 9 for i in range(30)], 4, rng=rng)
            )
        if kind == "one by one":
            return DataLoader(Squares(8), None, shuffle=True, rng=rng)
        return DataLoader(Squares(30), 4, kind == "shuffle", rng=rng)

    def batches(loader):
        return [[tg.as_tensor(part).tolist() for part in batch] for batch in loader]

    tg.manual_seed(1)
    loader = make()
    whole = [batches(loader) for _ in range(3)]
    tg.manual_seed(1)
    loader = make()
    begun = batches(loader)
    run = iter(loader)
    part = [[tg.as_tensor(p).tolist() for p in next(run)] for _ in range(stop)]
    state, package = loader.state_dict(), tg.get_rng_state()
    tg.manual_seed(99)
    again = make()
    again.load_state_dict(state)
    assert again.state_dict() == state
    tg.set_rng_state(package)
    rest = batches(again)
    assert len(again.dataset.loaded) == sum(len(b[0]) if kind != "one by one" else 1 for b in rest)
    assert [begun, part + rest, batches(again)] == whole


def test_a_state_says_when_a_pass_is_over():
    loader = DataLoader(Squares(9), 3, shuffle=True, rng=0)
    assert loader.state_dict()["batch"] == 0
    for i, _ in enumerate(loader):
        assert loader.state_dict()["batch"] == i + 1
        assert type(loader.state_dict()["seed"]) is int
    assert (loader.state_dict()["batch"], loader.state_dict()["seed"]) == (0, None)


def test_tensor_dataset_at_once_and_one_by_one():
    x, y = tg.randn(10, 3), tg.arange(10)
    data = TensorDataset(x, y)
    assert [p.tolist() for p in data[4]] == [x[4].tolist(), 4]
    whole = list(DataLoader(data, 4))
    single = list(DataLoader(data, 4, collate_fn=default_collate))
    for a, b in zip(whole, single, strict=True):
        assert [type(p) for p in a] == [tg.Tensor] * 2
        assert [p.tolist() for p in a] == [p.tolist() for p in b]
    part = Subset(Subset(data, [9, 1, 5]), [2, 0])
    assert next(iter(DataLoader(part, 2)))[1].tolist() == [5, 9]
    assert part[0][1].item() == 5


def test_concat():
    both = Squares(3) + TensorDataset(tg.arange(2), tg.arange(2))
    assert isinstance(both, ConcatDataset)
    assert len(both) == 5
    assert both[2] == (2, 4)
    assert both[-1][0].item() == 1
    with pytest.raises(IndexError, match="ConcatDataset: there is no sample 5 among 5"):
        both[5]


def test_a_stream():
    assert [b.tolist() for b in DataLoader(Stream(), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in DataLoader(Stream(), 3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(DataLoader(Stream(), None)) == list(range(7))


def test_samplers_given():
    data = Squares(6)
    assert firsts(DataLoader(data, 2, sampler=[5, 3, 1])) == [[5, 3], [1]]
    assert firsts(DataLoader(data, batch_sampler=[[0], [4, 5]])) == [[0], [4, 5]]
    assert firsts(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 4, True))) == [
        [0, 1, 2, 3]
    ]

    class Backwards(Sampler):
        def __iter__(self):
            return iter(range(5, -1, -1))

        def __len__(self):
            return 6

    loader = DataLoader(data, 4, sampler=Backwards(data))
    assert firsts(loader) == [[5, 4, 3, 2], [1, 0]]
    assert len(loader) == 2


def test_random_samplers():
    drawn = list(RandomSampler(range(4), replacement=True, num_samples=50, rng=0))
    assert len(drawn) == 50
    assert set(drawn) == {0, 1, 2, 3}
    counts = Counter(RandomSampler(range(4), num_samples=10, rng=0))
    assert sorted(counts) == [0, 1, 2, 3]
    assert max(counts.values()) == 3
    assert sorted(SubsetRandomSampler([7, 5, 9], rng=0)) == [5, 7, 9]
    weighted = Counter(WeightedRandomSampler(tg.tensor([0.0, 1.0, 3.0]), 4000, rng=0))
    assert weighted[0] == 0
    assert weighted[2] / weighted[1] == pytest.approx(3, rel=0.15)
    assert sorted(WeightedRandomSampler([1, 0, 2], 2, replacement=False, rng=0)) == [0, 2]


@given(st.lists(st.integers(0, 40), max_size=80), st.integers(1, 8), st.booleans(), st.booleans())
def test_buckets(lengths, batch_size, shuffle, drop_last):
    sampler = BucketSampler(
        lengths, batch_size, shuffle=shuffle, drop_last=drop_last, bucket_batches=3, rng=1
    )
    batches = list(sampler)
    numbers = [i for batch in batches for i in batch]
    assert len(numbers) == len(set(numbers))
    if not drop_last:
        assert sorted(numbers) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    if not shuffle:
        found = [lengths[i] for i in numbers]
        assert found == sorted(found)
    if batches:
        assert max(map(len, batches)) <= batch_size


def test_buckets_pad_less():
    lengths = np.random.default_rng(0).integers(1, 100, 2000).tolist()

    def padding(batches):
        return sum(max(lengths[i] for i in b) * len(b) for b in batches) / sum(lengths) - 1

    plain = padding(BatchSampler(RandomSampler(lengths, rng=0), 32))
    sampler = BucketSampler(lengths, 32, rng=0)
    assert padding(sampler) < plain / 10
    assert list(sampler) != list(sampler)


def test_random_split():
    parts = random_split(Squares(10), [0.5, 0.3, 0.2], generator=tg.Generator().manual_seed(42))
    assert [len(p) for p in parts] == [5, 3, 2]
    assert sorted(i for p in parts for i, _ in p) == list(range(10))
    again = random_split(Squares(10), [5, 3, 2], tg.Generator().manual_seed(42))
    assert [p.indices for p in again] == [p.indices for p in parts]
    assert [len(p) for p in random_split(range(11), [0.5, 0.5], rng=0)] == [6, 5]
    assert [len(p) for p in random_split(range(1), [1, 0], rng=0)] == [1, 0]
    for n, parts, sizes in (
        (1, [0.5, 0.5], [1, 0]), (1, [0.0, 1.0], [0, 1]), (1, [0.2] * 5, [1, 0, 0, 0, 0]),
        (0, [0.5, 0.5], [0, 0]),
        (2, [0.9, 0.1], [2, 0]), (3, [0.5, 0.5], [2, 1]), (1, [1.0], [1]), (7, [0, 1], [0, 7]),
    ):  # fmt: skip
        dealt = random_split(range(n), parts, rng=0)
        assert [len(p) for p in dealt] == sizes
        assert sorted(i for p in dealt for i in p) == list(range(n))
    assert tg.Generator().manual_seed(3).initial_seed() == 3


Pair = namedtuple("Pair", "a b")


def test_collate():
    assert default_collate([1, 2]).dtype == "int64"
    assert default_collate([1.0, 2.0]).dtype == "float64"
    assert default_collate([True, False]).dtype == "bool"
    assert default_collate([np.float32(1), np.float32(2)]).dtype == "float32"
    assert default_collate([tg.ones(2), tg.ones(2)]).shape == (2, 2)
    assert default_collate([np.ones(2), np.ones(2)]).shape == (2, 2)
    assert default_collate(["a", "b"]) == ["a", "b"]
    found = default_collate([{"x": (1, "a")}, {"x": (2, "b")}])
    assert found["x"][0].tolist() == [1, 2]
    assert found["x"][1] == ["a", "b"]
    pair = default_collate([Pair(1, 2), Pair(3, 4)])
    assert type(pair) is Pair
    assert pair.b.tolist() == [2, 4]


def test_collate_keeps_the_graph():
    x = tg.ones(2, requires_grad=True)
    default_collate([x, x]).sum().backward()
    assert x.grad.tolist() == [2, 2]


S = Squares(4)
ERRORS = [
    (lambda: DataLoader(S, num_workers=-1), ValueError, "num_workers must not be negative"),
    (lambda: DataLoader(S, sampler=[1], shuffle=True), ValueError, "give sampler or shuffle, not both"),
    (lambda: DataLoader(S, 2, batch_sampler=[[1]]), ValueError, "batch_sampler stands for batch_size"),
    (lambda: DataLoader(S, 0), ValueError, "DataLoader: batch_size must be an integer of at least 1, got 0"),
    (lambda: DataLoader(S, 2.5), ValueError, "batch_size must be an integer of at least 1, got 2.5"),
    (lambda: DataLoader(S, None, drop_last=True), ValueError, "drop_last needs a batch_size"),
    (lambda: DataLoader(Stream(), 2, True), ValueError, "an IterableDataset comes in its own order"),
    (lambda: DataLoader(iter([1])), TypeError, "the dataset, a list_iterator, has no length"),
    (lambda: DataLoader(S, shuffle=True, rng="x"), TypeError, "rng: expected"),
    (lambda: DataLoader(S).load_state_dict({}), ValueError, 'expected "batch", "seed" and "rng"'),
    (
        lambda: DataLoader(S).load_state_dict({"batch": 0, "seed": 3, "rng": None}),
        ValueError,
        "the state is of a loader that shuffles",
    ),
    (
        lambda: DataLoader(S, 1, True).load_state_dict(DataLoader(S, 1, True, rng=0).state_dict()),
        ValueError,
        "give this one an rng",
    ),
    (lambda: TensorDataset(), ValueError, "TensorDataset: give at least one tensor"),
    (lambda: TensorDataset([1]), TypeError, "TensorDataset: argument 1 must be a tensor"),
    (lambda: TensorDataset(tg.ones(2), tg.ones(3)), ValueError, "first axis, got 2 and 3"),
    (lambda: ConcatDataset([]), ValueError, "ConcatDataset: give at least one dataset"),
    (lambda: ConcatDataset([Stream()]), TypeError, "ConcatDataset: an IterableDataset has no numbered"),
    (lambda: Dataset()[0], NotImplementedError, "Dataset must define __getitem__"),
    (lambda: iter(IterableDataset()), NotImplementedError, "IterableDataset must define __iter__"),
    (lambda: iter(Sampler()), NotImplementedError, "Sampler must define __iter__"),
    (lambda: iter(SeededSampler()), NotImplementedError, "SeededSampler must define order"),
    (lambda: random_split(S, [1, 2]), ValueError, r"lengths must sum to the 4 samples, .* got \[1, 2\]"),
    (lambda: random_split(S, [-1, 5]), ValueError, "lengths must sum to the 4 samples"),
    (lambda: random_split(S, [0.5, 0.4]), ValueError, "lengths must sum to the 4 samples"),
    (lambda: random_split(S, [4], 1, rng=2), ValueError, "random_split: generator and rng are one setting"),
    (
        lambda: RandomSampler(S, generator=1, rng=2),
        ValueError,
        "RandomSampler: generator and rng are one setting",
    ),
    (lambda: RandomSampler(S, num_samples=0), ValueError, "RandomSampler: num_samples must be at least 1"),
    (lambda: BatchSampler(S, True), ValueError, "BatchSampler: batch_size must be an integer"),
    (lambda: BucketSampler([1], 0), ValueError, "BucketSampler: batch_size must be"),
    (lambda: BucketSampler([1], 1, bucket_batches=0), ValueError, "bucket_batches must be at least 1"),
    (lambda: WeightedRandomSampler([-1, 2], 1), ValueError, "weights must be a list of numbers >= 0"),
    (lambda: WeightedRandomSampler([0, 2], 2, False), ValueError, "2 samples without replacement need"),
    (lambda: default_collate([]), ValueError, "default_collate: got an empty batch"),
    (lambda: default_collate([object()]), TypeError, "default_collate: cannot make a batch of object"),
    (lambda: default_collate([(1,), (1, 2)]), ValueError, "must have the same length"),
    (
        lambda: default_collate([tg.ones(2), tg.ones(3)]),
        ValueError,
        r"samples of shapes \(2,\) and \(3,\) make no batch; pad them in a collate_fn",
    ),
]


@pytest.mark.parametrize(("call", "kind", "sentence"), ERRORS)
def test_errors(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
