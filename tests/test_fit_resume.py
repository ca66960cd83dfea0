"""Exact resume whatever the order of the data comes from, and files that are as they should be."""

import os
import random
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.io import atomic

from .test_fit import BATCH, PER_EPOCH, Interrupt, N, fit, loss, problem, rows, same_weights, start

ROOT = os.path.dirname(os.path.dirname(tg.__file__))


class OwnSampler(data.Sampler):
    """An order from the package's generator: all at once, or one by one."""

    def __init__(self, lazy=False, rng=None):
        self.lazy, self.rng = lazy, rng

    def __len__(self):
        return N

    def __iter__(self):
        rng = tg.default_rng(self.rng)
        if self.lazy:
            return (int(rng.integers(N)) for _ in range(N))
        return iter(rng.permutation(N).tolist())


class OwnBatches(data.Sampler):
    def __len__(self):
        return PER_EPOCH

    def __iter__(self):
        for _ in range(PER_EPOCH):
            yield tg.default_rng().integers(N, size=BATCH).tolist()


class Stream(data.IterableDataset):
    """Samples drawn on the way, of which nobody knows how many there are."""

    def __iter__(self):
        for _ in range(N):
            x = tg.randn(5, 3)
            yield x, x.sum().reshape(1)


class Noisy(data.Dataset):
    """Samples with noise from a generator of its own, which stands in a list."""

    def __init__(self):
        self.x, self.y = problem()
        self.rngs = [np.random.default_rng(3)]

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i] + float(self.rngs[0].normal()), self.y[i]


def samples():
    return data.TensorDataset(*problem())


LOADERS = {
    "a sampler": lambda: data.DataLoader(samples(), BATCH, sampler=OwnSampler()),
    "a lazy sampler": lambda: data.DataLoader(samples(), BATCH, sampler=OwnSampler(lazy=True)),
    "a sampler with its own rng": lambda: data.DataLoader(
        samples(), BATCH, sampler=OwnSampler(lazy=True, rng=np.random.default_rng(5))
    ),
    "a batch sampler": lambda: data.DataLoader(samples(), batch_sampler=OwnBatches()),
    "a batch sampler around a sampler": lambda: data.DataLoader(
        samples(), batch_sampler=data.BatchSampler(OwnSampler(), BATCH)
    ),
    "a stream": lambda: data.DataLoader(Stream(), BATCH),
    "a noisy dataset": lambda: data.DataLoader(Noisy(), BATCH, shuffle=True),
    "a part of a noisy dataset": lambda: data.DataLoader(data.Subset(Noisy(), range(N)), BATCH, shuffle=True),
}


class Net(nn.Module):
    """With generators of its own in a list and in a dictionary."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(15, 1)
        self.rngs = [np.random.default_rng(1)]
        self.more = {"noise": (np.random.default_rng(2),)}

    def forward(self, x):
        noise = self.rngs[0].normal() + self.more["noise"][0].normal()
        return self.out(x.reshape(len(x), 15)) + float(noise if self.training else 0)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("at", [2, PER_EPOCH + 3])
def test_orders_of_others_are_resumed_exactly(tmp_path, name, at):
    def go(**more):
        tg.manual_seed(1)
        model = Net()
        optimizer = optim.SGD(model.parameters(), 0.01)
        history = fit(model, loss, LOADERS[name](), optimizer, epochs=3, restore_best=False, **more)
        return model, history, tg.get_rng_state()

    whole, expected, rng = go()
    assert go(checkpoint=tmp_path / "run.npz", callbacks=Interrupt(at, "signal"))[1].interrupted
    resumed, history, rng_then = go(checkpoint=tmp_path / "run.npz", resume=True)
    assert rows(history) == rows(expected)
    assert same_weights(whole, resumed)
    assert rng_then == rng


@pytest.mark.parametrize("own", [random.Random(1), np.random.RandomState(1)])
def test_what_cannot_be_resumed_exactly_is_said_at_the_start(tmp_path, own):
    class Sampler(OwnSampler):
        def __iter__(self):
            return iter(range(N))

    sampler = Sampler()
    sampler.source = {"of": [own]}
    model, _, _, optimizer = start()
    loader = data.DataLoader(samples(), BATCH, sampler=sampler)
    calls = []
    with pytest.warns(
        RuntimeWarning, match=r"Sampler\.source \(a Random(State)?\) cannot be resumed exactly"
    ):
        fit(model, loss, loader, optimizer, epochs=1, checkpoint=tmp_path / "x.npz", callbacks=calls.append)
    assert calls
    fit(model, loss, loader, optimizer, epochs=1)  # nothing to resume: nothing is said


def test_a_loader_keeps_its_place_where_the_order_is_ours():
    assert data.DataLoader(samples(), BATCH).keeps_its_place
    assert data.DataLoader(samples(), BATCH, shuffle=True).keeps_its_place
    assert data.DataLoader(samples(), None, shuffle=True).keeps_its_place
    assert data.DataLoader(samples(), batch_sampler=data.BucketSampler(range(N), 4)).keeps_its_place
    for make in list(LOADERS.values())[:6]:
        assert not make().keeps_its_place


# ---------------------------------------------------------------- files


def test_a_log_that_is_behind_its_checkpoint(tmp_path):
    """The run died between the two writes: the resumed one, complete as it is, writes the rows that lack."""
    path, log = tmp_path / "run.npz", tmp_path / "log.csv"
    fit(*start(), epochs=3, checkpoint=path, log=log)
    whole = log.read_text()
    log.write_text("".join(whole.splitlines(keepends=True)[:2]))
    fit(*start(), epochs=3, checkpoint=path, log=log, resume=True)
    assert log.read_text() == whole


def test_a_place_that_cannot_be_written_is_said_before_the_first_step(tmp_path, monkeypatch):
    calls = []
    begun = start()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "log.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")

    def watched(model, batch):
        calls.append(1)
        return loss(model, batch)

    def go(**settings):
        fit(begun[0], watched, *begun[2:], epochs=1, **settings)

    with pytest.raises(IsADirectoryError, match=r"^fit: checkpoint: .* is a folder; give the name"):
        go(checkpoint=tmp_path / "folder.npz")
    with pytest.raises(IsADirectoryError, match=r"^fit: log: .* is a folder; give the name"):
        go(log=tmp_path / "log.csv")
    with pytest.raises(ValueError, match=r"^fit: checkpoint: .* is a device or a pipe"):
        go(checkpoint=tmp_path / "pipe.npz")

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(OSError, match=r"^fit: checkpoint: .* cannot be written: Read-only file system"):
        go(checkpoint=tmp_path / "run.npz")
    assert not calls
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.npz", "log.csv", "pipe.npz"]


def test_bytes_are_names_too(tmp_path):
    path, log = os.fsencode(tmp_path / "run.npz"), os.fsencode(tmp_path / "log.jsonl")
    fit(*start(), epochs=1, checkpoint=path, log=log)
    fit(*start(), epochs=2, checkpoint=path, log=log, resume=True)
    assert tg.load(path)["fit"]["epoch"] == 2
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 2
    weights = os.fsencode(tmp_path / "w.npz")
    tg.save(nn.Linear(1, 1).state_dict(), weights)
    assert set(tg.load(weights)) == {"weight", "bias"}
    tg.io.save_safetensors(nn.Linear(1, 1), weights)
    assert set(tg.io.load_safetensors(weights)) == {"weight", "bias"}


KILLED = """
    import os, signal, sys
    import tinygrad_rnn as tg
    os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
    tg.save(sys.argv[1], a=tg.zeros(10))
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no process is asked for by its number")
def test_what_a_killed_write_has_left_goes_with_the_next_one(tmp_path, monkeypatch):
    for name in ("run.npz", "other.npz"):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / name)]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(atomic, "is_running", lambda number: True)
    tg.save(tmp_path / "run.npz", a=1)  # somebody is at work on it
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    atomic.tidied.clear()
    tg.save(tmp_path / "run.npz", a=1)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2  # that of the other path stays until that is written again
    assert left[0].startswith(".writing.")
    tg.save(tmp_path / "other.npz", a=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.npz", "run.npz"]


def test_the_mode_of_a_file_stays(tmp_path):
    path = tmp_path / "run.npz"
    tg.save(path, a=1)
    path.chmod(0o600)
    fit(*start(), epochs=1, checkpoint=path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.host
def test_modules_nested_500_deep(tmp_path):
    net = nn.Linear(2, 1)
    for _ in range(500):
        net = nn.Sequential(net)
    tg.save(tmp_path / "deep.npz", net, optim.SGD(net.parameters(), 0.1))
    before = net.state_dict()
    net.load_state_dict(tg.load(tmp_path / "deep.npz")["model"])
    tg.io.save_safetensors(tmp_path / "deep.safetensors", net)
    assert set(tg.io.load_safetensors(tmp_path / "deep.safetensors")) == set(before)


def test_patience_and_minutes_go_on(tmp_path):
    """Epochs without a better one, and the time, are counted over all resumed runs."""
    path, measured = tmp_path / "run.npz", {1: 1.0}
    settings = {"checkpoint": path, "patience": 4, "resume": True}

    def go(epochs, **more):
        begun, count = start(), []

        def validate(model):
            count.append(1)
            return measured.get(len(count) if epochs == 3 else 9, 2.0)

        return fit(*begun, epochs=epochs, validate=validate, **settings, **more)

    assert go(3).stopped == "epochs"  # two that are worse
    history = go(20)
    assert history.stopped == "patience"
    assert history["epoch"][-1] == 5
    fit(*start(), epochs=1, checkpoint=path)
    saved = tg.load(path)
    saved["fit"]["seconds"] = 3600.0
    tg.save(path, saved.pop("model"), saved.pop("optimizer"), **saved)
    history = fit(*start(), minutes=59, checkpoint=path, resume=True)
    assert history.stopped == "minutes"
    assert history["step"] == [PER_EPOCH]


@pytest.mark.host
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("now", [True, False])
def test_compiled_code_that_comes_or_goes_is_said(tmp_path, monkeypatch, before, now):
    """A run that is resumed with or without it has other last bits."""
    path = tmp_path / "run.npz"
    monkeypatch.setattr(type(tg.native), "compiles", before)
    fit(*start(), epochs=1, checkpoint=path)
    monkeypatch.setattr(type(tg.native), "compiles", now)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(*start(), epochs=2, checkpoint=path, resume=True)
    said = [str(w.message) for w in found if "the last bits of its numbers will differ" in str(w.message)]
    assert len(said) == (before != now)
    assert all(f"begun {'with' if before else 'without'} compiled code" in text for text in said)
