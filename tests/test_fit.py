"""tg.fit: what is trained, what is written, and that interruptions change nothing."""

import csv
import itertools
import json
import math
import os
import signal
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.io import atomic

N, BATCH = 32, 8
PER_EPOCH = N // BATCH


def problem(seed=0):
    """The sum of a sequence: x (N, 5, 3), y (N, 1)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 5, 3)).astype("float32")
    return tg.tensor(x), tg.tensor(x.sum((1, 2))[:, None])


class Net(nn.Module):
    """With dropout from the package's generator and from one of its own, and a buffer."""

    def __init__(self, hidden=6):
        super().__init__()
        self.rnn = nn.GRU(3, hidden, batch_first=True)
        self.drop, self.own = nn.Dropout(0.1), nn.Dropout(0.1, rng=5)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.out(self.own(self.drop(self.rnn(x)[0][:, -1])))


def loss(model, batch):
    x, y = batch
    return tg.mse_loss(model(x), y)


def loader(seed=0, **settings):
    return data.DataLoader(data.TensorDataset(*problem(seed)), batch_size=BATCH, shuffle=True, **settings)


def drawn(epoch):
    """Batches made on the way, from the package's generator."""
    for _ in range(PER_EPOCH):
        x = tg.randn(BATCH, 5, 3)
        yield x, x.sum((1, 2)).reshape(-1, 1) + epoch


SOURCES = {
    "loader": loader,
    "loader with rng": lambda: loader(rng=3),
    "list": lambda: list(data.DataLoader(data.TensorDataset(*problem()), batch_size=BATCH)),
    "function": lambda: drawn,
    "function of a loader": lambda: lambda epoch, it=loader: iter(it()),
}


def start(source="loader", lr=0.05, **net):
    tg.manual_seed(1)
    model = Net(**net)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    batches = SOURCES[source]()
    return model, loss, batches, optimizer


def fit(*begun, **settings):
    return tg.fit(*begun, progress=False, **settings)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(np.array_equal(a[name].numpy(), b[name].numpy()) for name in a)


def rows(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


# ---------------------------------------------------------------- training


def test_it_trains_and_tells():
    valid = [problem(1)]
    begun = start()
    history = fit(*begun, epochs=25, validate=valid, clip=5.0, metrics={
        "error": lambda model, batch: (model(batch[0]) - batch[1]).abs().mean()
    })  # fmt: skip
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert len(history) == 25
    assert history.stopped == "epochs"
    assert not history.interrupted
    assert list(history.rows[0]) == ["epoch", "step", "loss", "valid_loss", "error", "lr", "seconds"]
    assert history["step"] == [PER_EPOCH * (i + 1) for i in range(25)]
    assert history.best["valid_loss"] == min(history["valid_loss"])
    with pytest.raises(KeyError, match="no column 'speed'; there are: epoch, step"):
        history["speed"]


def test_it_is_the_plain_loop():
    model, _, batches, optimizer = start()
    means = []
    for _ in range(3):
        losses = []
        for batch in batches:
            optimizer.zero_grad()
            value = loss(model, batch)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(value.item())
        means.append(sum(losses) / len(losses))
    begun = start()
    history = fit(*begun, epochs=3, clip=1.0)
    assert history["loss"] == means
    assert same_weights(model, begun[0])


def test_modes_and_graph_in_validation():
    model, _, batches, optimizer = start()
    seen = []

    def watched(model, batch):
        seen.append((model.training, tg.is_grad_enabled()))
        return loss(model, batch)

    model.eval()
    fit(model, watched, batches, optimizer, epochs=1, validate=[problem(1)])
    assert seen == [(True, True)] * PER_EPOCH + [(False, False)]
    assert not model.training  # as it was


def test_weights_of_batches_count_in_means():
    model, _, _, optimizer = start(lr=0.0)
    x, y = problem()
    uneven = [(x[:24], y[:24]), (x[24:], y[24:])]

    def weighted(model, batch):
        return loss(model, batch), len(batch[0])

    history = fit(model, weighted, uneven, optimizer, epochs=1, validate=uneven)
    model.eval()
    assert history["valid_loss"] == [pytest.approx(loss(model, (x, y)).item(), rel=1e-5)]


def test_validation_by_a_function_and_what_is_monitored():
    quality = iter([0.1, 0.5, 0.3, 0.4])
    begun = start()
    history = fit(
        *begun, epochs=4, validate=lambda model: {"quality": next(quality)}, monitor="quality", mode="max"
    )
    assert history.best["epoch"] == 2
    with pytest.raises(
        ValueError, match="monitor is 'quality', but there is no such column; there are epoch"
    ):
        fit(*begun, epochs=1, monitor="quality")
    assert "valid_loss" in fit(*begun, epochs=1, validate=lambda model: 3).rows[0]


def test_early_stopping_keeps_the_best_weights(tmp_path):
    kept, measured = {}, [3.0, 2.0, math.nan, 2.5, 1.0]

    def note(run):
        kept[run.epoch] = {name: value.numpy().copy() for name, value in run.model.state_dict().items()}

    for restore in (True, False):
        kept.clear()
        model, _, batches, optimizer = start()
        history = fit(
            model, loss, batches, optimizer, epochs=9, patience=2, callbacks=note, restore_best=restore,
            validate=lambda model: measured[len(kept)], checkpoint=tmp_path / "best.npz",
        )  # fmt: skip
        assert history.stopped == "patience"
        assert len(history) == 4
        assert history.best["epoch"] == 2
        saved = tg.load(tmp_path / "best.npz")["model"]
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), kept[2 if restore else 4][name])
            np.testing.assert_array_equal(saved[name].numpy(), kept[2][name])


@pytest.mark.parametrize(("measured", "mode", "best", "epochs"), [
    ([math.nan] * 9, "min", None, 2),
    ([math.nan] * 9, "max", None, 2),
    ([math.inf] * 9, "min", None, 2),
    ([-math.inf] * 9, "max", None, 2),
    ([math.nan, 3.0, 2.0, math.nan, math.nan], "min", 3, 5),
    ([math.inf, 3.0, math.nan, 3.0], "min", 2, 4),
    ([math.nan, -3.0, math.inf, math.nan, math.inf], "max", 3, 5),
    ([1.0, math.nan, 0.5, math.nan, math.nan], "min", 3, 5),
    ([1.0, -math.inf, math.nan, -math.inf], "min", 2, 4),
    ([2.0, math.nan, math.inf], "min", 1, 3),
])  # fmt: skip
def test_nan_is_never_the_best(measured, mode, best, epochs, tmp_path):
    """And it counts as an epoch without a better one."""
    kept = {}
    for resumed in (False, True):
        kept.clear()
        model, _, batches, optimizer = start()
        weight = next(name for name in model.state_dict())

        def note(run, weight=weight):
            kept[run.epoch] = run.model.state_dict()[weight].numpy().copy()

        settings = {
            "mode": mode, "patience": 2, "callbacks": note, "validate": lambda model: measured[len(kept)],
            "checkpoint": tmp_path / f"{resumed}.npz", "monitor": "valid_loss",
        }  # fmt: skip
        if resumed:
            fit(model, loss, batches, optimizer, epochs=1, **settings)
        history = fit(model, loss, batches, optimizer, epochs=9, resume=resumed, **settings)
        assert history.stopped == "patience"
        assert len(history) == epochs
        assert history.best["epoch"] == (best or epochs)  # the weights there are, where none was best
        found = [model.state_dict()[weight], tg.load(settings["checkpoint"])["model"][weight]]
        for value in found:
            np.testing.assert_array_equal(value.numpy(), kept[best or epochs])


@pytest.mark.parametrize("never", [math.nan, math.inf])
def test_a_rate_goes_down_where_what_is_watched_is_nan(never):
    model, _, batches, optimizer = start(lr=1.0)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    measured = iter([never, never, 2.0, never, 1.0, never, never])
    history = fit(
        model, loss, batches, optimizer, epochs=7, scheduler=scheduler, validate=lambda model: next(measured)
    )
    assert history["lr"] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert scheduler.best == 1.0


def test_minutes():
    history = fit(*start(), minutes=0.5 / 60)
    assert history.stopped == "minutes"
    assert 0.4 < history["seconds"][-1] < 10


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_schedulers(every):
    model, _, batches, optimizer = start(lr=1.0)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 2 if every == "epoch" else 2 * PER_EPOCH, gamma=0.5)
    history = fit(model, loss, batches, optimizer, epochs=5, scheduler=scheduler, scheduler_every=every)
    # at an epoch's end the rate of its last step; one that goes by steps has gone on by then
    assert history["lr"] == ([1.0, 1.0, 0.5, 0.5, 0.25] if every == "epoch" else [1.0, 0.5, 0.5, 0.25, 0.25])


def test_a_scheduler_that_watches():
    model, _, batches, optimizer = start(lr=1.0)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    history = fit(model, loss, batches, optimizer, epochs=4, scheduler=scheduler, validate=lambda model: 1.0)
    assert history["lr"] == [1.0, 1.0, 0.5, 0.25]
    with pytest.raises(ValueError, match="ReduceLROnPlateau needs validate"):
        fit(model, loss, batches, optimizer, epochs=4, scheduler=scheduler)


def test_an_optimiser_that_asks_for_the_loss_again():
    tg.manual_seed(0)
    model = nn.Linear(3, 1)
    x, y = problem()
    begun = (model, lambda model, batch: tg.mse_loss(model(batch[0].sum(1)), batch[1]), [(x, y)])
    history = fit(*begun, optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe"), epochs=3)
    assert history["loss"][-1] < 1e-6 < history["loss"][0]


def test_callbacks():
    calls = []

    class Watch:
        def on_start(self, run):
            calls.append("start")

        def on_step(self, run):
            calls.append((run.step, run.loss))
            if run.step == PER_EPOCH + 2:
                run.stop()

        def on_end(self, run):
            calls.append(run.history.stopped)

    history = fit(*start(), epochs=9, callbacks=[Watch(), lambda run: calls.append(run.row)])
    assert history.stopped == "callback"
    assert calls[0] == "start"
    assert calls[-1] == "callback"
    steps = [call for call in calls if isinstance(call, tuple)]
    assert [step for step, _ in steps] == list(range(1, PER_EPOCH + 3))
    assert [call for call in calls if isinstance(call, dict)] == history.rows
    assert history["loss"][0] == pytest.approx(np.mean([value for _, value in steps[:PER_EPOCH]]))
    assert history["loss"][1] == pytest.approx(np.mean([value for _, value in steps[PER_EPOCH:]]))


# ---------------------------------------------------------------- interruptions


class Interrupt:
    """Raises KeyboardInterrupt, or is interrupted by a signal, at a step."""

    def __init__(self, at, how):
        self.at, self.how = at, how

    def on_step(self, run):
        if run.step == self.at and self.how == "signal":
            signal.raise_signal(signal.SIGINT)
        elif run.step == self.at and self.how == "callback":
            raise KeyboardInterrupt


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("at", "how"), [(1, "signal"), (PER_EPOCH + 2, "callback"), (2 * PER_EPOCH, "signal")]
)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, source, at, how):
    settings = {"epochs": 3, "validate": [problem(1)], "clip": 1.0}

    def go(**more):
        model, loss, batches, optimizer = start(source)
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
        found = fit(model, loss, batches, optimizer, scheduler=scheduler, **settings, **more)
        return model, found, tg.get_rng_state()

    whole, expected, rng = go(log=tmp_path / "whole.csv", restore_best=False)
    path = tmp_path / "run.npz"
    _, cut, _ = go(checkpoint=path, callbacks=Interrupt(at, how))
    assert cut.interrupted
    _, cut, _ = go(checkpoint=path, callbacks=Interrupt(at + 3, how), resume=True)
    assert cut.interrupted
    tg.manual_seed(99)
    resumed, history, rng_then = go(
        checkpoint=path, resume=True, log=tmp_path / "resumed.csv", restore_best=False
    )
    assert rows(history) == rows(expected)
    assert {**history.best, "seconds": 0} == {**expected.best, "seconds": 0}
    assert same_weights(whole, resumed)
    assert rng_then == rng
    lines = [(tmp_path / name).read_text().splitlines() for name in ("whole.csv", "resumed.csv")]
    assert [x.rpartition(",")[0] for x in lines[0]] == [x.rpartition(",")[0] for x in lines[1]]


@pytest.mark.parametrize("where", ["loss", "batches", "validation", "epoch"])
def test_interrupted_in_the_users_code(tmp_path, where):
    """In the middle of a step: the resumed run begins before it."""

    def go(at=None, **more):
        model, _, _, optimizer = start()
        count = itertools.count(1)

        def tick(here):
            if here == where and at is not None and next(count) == at:
                raise KeyboardInterrupt

        def interruptible(model, batch):
            tick("loss" if model.training else "validation")
            return loss(model, (batch[0] + 0.01 * tg.randn(*batch[0].shape), batch[1]))

        def batches(epoch):
            for batch in drawn(epoch):
                tick("batches")
                yield batch

        history = fit(
            model, interruptible, batches, optimizer, epochs=3, validate=[problem(1)],
            callbacks=lambda run: tick("epoch"), restore_best=False, **more,
        )  # fmt: skip
        return model, history

    whole, expected = go()
    _, cut = go(at=2, checkpoint=tmp_path / "run.npz")
    assert cut.interrupted
    resumed, history = go(checkpoint=tmp_path / "run.npz", resume=True)
    assert rows(history) == rows(expected)
    assert same_weights(whole, resumed)


def test_a_second_interrupt_stops_at_once(tmp_path):
    def twice(run):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(*start(), epochs=3, callbacks=twice, checkpoint=tmp_path / "run.npz")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not list(tmp_path.iterdir())


def test_in_a_thread():
    found = []
    backend = tg.current_backend().name

    def work():
        tg.use(backend)
        found.append(fit(*start(), epochs=1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found[0]) == 1


def test_a_resumed_run_that_is_complete_and_then_longer(tmp_path):
    path = tmp_path / "run.npz"
    whole = start()
    fit(*whole, epochs=5)
    first = start()
    fit(*first, epochs=3, checkpoint=path, resume=True)  # there is nothing yet: it begins
    before = path.read_bytes()
    again = start()
    history = fit(*again, epochs=3, checkpoint=path, resume=True)
    assert len(history) == 3
    assert same_weights(first[0], again[0])
    assert path.read_bytes() == before
    longer = start()
    history = fit(*longer, epochs=5, checkpoint=path, resume=True)
    assert history["epoch"] == [1, 2, 3, 4, 5]
    assert same_weights(whole[0], longer[0])


def test_stopped_in_mid_epoch_then_resumed(tmp_path):
    whole = start()
    expected = fit(*whole, epochs=3)

    class Stop:
        def on_step(self, run):
            if run.step == PER_EPOCH + 3:
                run.stop()

    path = tmp_path / "run.npz"
    cut = fit(*start(), epochs=3, checkpoint=path, callbacks=[Stop()])
    assert cut["step"] == [PER_EPOCH, PER_EPOCH + 3]
    resumed = start()
    history = fit(*resumed, epochs=3, checkpoint=path, resume=True)
    assert rows(history) == rows(expected)
    assert same_weights(whole[0], resumed[0])


def test_state_of_loss_and_callbacks_is_kept(tmp_path):
    class Carried:
        """A loss that carries something from step to step, and a callback that counts."""

        def __init__(self):
            self.carried, self.count = 0.0, 0

        def __call__(self, model, batch):
            value = loss(model, batch) + 0.1 * self.carried
            self.carried = value.item()
            return value

        def on_step(self, run):
            self.count += 1

        def state_dict(self):
            return {"carried": self.carried, "count": self.count}

        def load_state_dict(self, state):
            self.carried, self.count = state["carried"], state["count"]

    def go(at=None, **more):
        model, _, batches, optimizer = start()
        parts = Carried(), Carried()
        found = fit(
            model,
            parts[0],
            batches,
            optimizer,
            epochs=2,
            callbacks=[parts[1], Interrupt(at, "signal")],
            **more,
        )
        return found, parts

    expected, _ = go()
    go(at=4, checkpoint=tmp_path / "run.npz")
    history, parts = go(checkpoint=tmp_path / "run.npz", resume=True)
    assert rows(history) == rows(expected)
    assert parts[1].count == 2 * PER_EPOCH


# ---------------------------------------------------------------- files


def test_logs(tmp_path):
    tables = {}
    for name in ("log.csv", "log.jsonl"):
        history = fit(*start(), epochs=3, log=tmp_path / name, validate=lambda model: math.nan)
        tables[name] = history
    with open(tmp_path / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in table] == tables["log.csv"]["loss"]
    assert list(table[0]) == ["epoch", "step", "loss", "valid_loss", "lr", "seconds"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == tables["log.jsonl"]["loss"]
    assert lines[0]["valid_loss"] is None  # JSON has no NaN


def test_checkpoints_hold_what_they_are_given(tmp_path):
    begun = start()
    fit(*begun, epochs=1, checkpoint=tmp_path / "run.npz", extras={"vocab": ["a", "b"]})
    saved = tg.load(tmp_path / "run.npz")
    assert saved["vocab"] == ["a", "b"]
    other = Net()
    other.load_state_dict(saved["model"])
    assert same_weights(other, begun[0])
    with pytest.raises(TypeError, match=r"extras\['net'\] is a Net, which is not plain"):
        fit(*begun, epochs=1, checkpoint=tmp_path / "run.npz", extras={"net": other})
    with pytest.raises(ValueError, match="'model' is an entry of the checkpoint already"):
        fit(*begun, epochs=1, extras={"model": 1})


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """The older checkpoint stays as it was, training goes on, and a later write succeeds."""
    path, log = tmp_path / "run.npz", tmp_path / "log.csv"
    whole = start()
    fit(*whole, epochs=4)
    fit(*start(), epochs=2, checkpoint=path, log=log)
    before, full = (path.read_bytes(), log.read_bytes()), True
    really = os.fsync

    def fsync(handle):
        if full:
            raise OSError(28, "No space left on device")
        return really(handle)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.warns(RuntimeWarning, match="could not be written .No space left on device.; the older file"):
        history = fit(*start(), epochs=4, checkpoint=path, log=log, resume=True)
    assert len(history) == 4
    assert (path.read_bytes(), log.read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "run.npz"]
    full = False
    resumed = start()
    fit(*resumed, epochs=4, checkpoint=path, log=log, resume=True)
    assert same_weights(whole[0], resumed[0])


# ---------------------------------------------------------------- progress


def test_plain_lines(capsys):
    tg.fit(*start(), epochs=2, validate=[problem(1)])
    out = capsys.readouterr()
    assert out.out.startswith("epoch 1/2: loss ")
    assert "epoch 2/2: loss " in out.out
    assert " (best)" in out.out
    assert not out.err
    fit(*start(), epochs=2)
    assert not capsys.readouterr().out


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    tg.fit(*start(), epochs=2)
    out = capsys.readouterr()
    assert f"{2 * PER_EPOCH}/{2 * PER_EPOCH}" in out.err
    assert "epoch 1/2: loss " in out.out


# ---------------------------------------------------------------- errors


def test_a_loss_that_is_nan_names_the_step(tmp_path):
    count = itertools.count(1)

    def broken(model, batch):
        return loss(model, batch) + (math.nan if next(count) == PER_EPOCH + 2 else 0.0)

    model, _, batches, optimizer = start()
    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 6 \(epoch 2, batch 2\); `with tg.debug"
    ) as error:
        fit(model, broken, batches, optimizer, epochs=3, log=tmp_path / "log.csv")
    assert "\n" not in str(error.value)
    assert (tmp_path / "log.csv").read_text().count("\n") == 2  # the epoch before it


def test_losses_that_wait_on_a_device_are_read_together(monkeypatch):
    """As on a GPU: nothing reads the loss at every step, and a NaN is still named by its step."""
    from tinygrad_rnn.training import mean

    readings = []
    read = mean.Mean.read
    monkeypatch.setattr(mean.Mean, "read", lambda self: readings.append(self.n_waiting) or read(self))
    monkeypatch.setattr(tg.Tensor, "is_cuda", True)
    history = fit(*start(), epochs=2)
    assert [n for n in readings if n] == [PER_EPOCH, PER_EPOCH]
    expected = start()
    monkeypatch.undo()
    assert rows(history) == rows(fit(*expected, epochs=2))
    monkeypatch.setattr(tg.Tensor, "is_cuda", True)
    count = itertools.count(1)
    model, _, batches, optimizer = start()
    broken = lambda model, batch: loss(model, batch) + (math.inf if next(count) == 3 else 0.0)
    with pytest.raises(FloatingPointError, match=r"at step 3 \(epoch 1, batch 3\)"):
        fit(model, broken, batches, optimizer, epochs=3)


def test_nothing_to_train_on():
    model, _, _, optimizer = start()
    with pytest.raises(ValueError, match="batches gave nothing in epoch 1; is the data set smaller"):
        fit(model, loss, [], optimizer, epochs=1)
    with pytest.raises(ValueError, match="nothing in epoch 2; an iterator can be read only once"):
        fit(model, loss, iter(loader()), optimizer, epochs=2)
    with pytest.raises(ValueError, match="validate gave no batches in epoch 1"):
        fit(model, loss, loader(), optimizer, epochs=1, validate=[])


def test_checkpoints_that_do_not_fit(tmp_path):
    path = tmp_path / "run.npz"
    fit(*start(), epochs=1, checkpoint=path)
    other = start(hidden=7)
    before = {name: value.numpy().copy() for name, value in other[0].state_dict().items()}
    with pytest.raises(
        ValueError, match=r"is of another model or optimiser .*shape .*; give another file"
    ) as error:
        fit(*other, epochs=2, checkpoint=path, resume=True)
    assert "\n" not in str(error.value)
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in other[0].state_dict().items())
    with pytest.raises(ValueError, match="monitored None, this one monitors 'valid_loss'"):
        fit(*start(), epochs=2, checkpoint=path, resume=True, validate=[problem(1)])
    tg.save(path, Net())
    with pytest.raises(ValueError, match="was not written by fit"):
        fit(*start(), epochs=2, checkpoint=path, resume=True)
    path.write_text("hello")
    with pytest.raises(ValueError, match="is no checkpoint"):
        fit(*start(), epochs=2, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give epochs or minutes"),
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"epochs": 1, "patience": 3}, "patience needs something to monitor"),
        ({"epochs": 1, "mode": "max"}, 'mode="max" needs something to monitor'),
        ({"epochs": 1, "scheduler_every": "step"}, "scheduler_every needs a scheduler"),
        ({"epochs": 1, "extras": {"a": 1}}, "extras stand in the checkpoint; give its file name"),
        ({"epochs": 1, "callbacks": [3]}, "a callback must be a function"),
        ({"epochs": 1, "mode": "least"}, 'mode must be "min" or "max"'),
        ({"epochs": 1, "scheduler_every": "day"}, 'must be "epoch" or "step"'),
        ({"epochs": 1, "resume": True}, "resume needs a checkpoint"),
        ({"epochs": 1, "log": "log.txt"}, "ends in .csv or .jsonl"),
        ({"epochs": 1, "checkpoint": "no/such/folder/run.npz"}, "the folder of checkpoint"),
        ({"epochs": 1, "metrics": {"error": loss}}, "metrics are measured on the batches of validate"),
        ({"epochs": 1, "validate": [1], "metrics": {"lr": loss}}, "a metric cannot be called 'lr'"),
    ],
)
def test_arguments_that_make_no_sense(settings, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        fit(*start(), **settings)


def test_wrong_things_in_the_first_places():
    model, _, batches, optimizer = start()
    with pytest.raises(TypeError, match="model must be a Module, got a function"):
        fit(loss, model, batches, optimizer, epochs=1)
    with pytest.raises(TypeError, match="loss must be a function"):
        fit(model, 3, batches, optimizer, epochs=1)
    with pytest.raises(TypeError, match="optimizer must be an Optimizer, got a DataLoader"):
        fit(model, loss, optimizer, batches, epochs=1)
    with pytest.raises(TypeError, match=r"must return a scalar tensor, got float32 \(8, 1\); take its mean"):
        fit(model, lambda model, batch: model(batch[0]), batches, optimizer, epochs=1)
    with pytest.raises(TypeError, match="loss returned 3 values"):
        fit(model, lambda model, batch: (1, 2, 3), batches, optimizer, epochs=1)


def test_files_are_written_before_anything_is_said(tmp_path, monkeypatch):
    """Where the output is gone (`| head -1`), what was learned is not."""
    path, seen = tmp_path / "run.npz", []

    def line(self, text, *, always):
        seen.append((text, tg.load(path)["fit"]["epoch"]))
        if len(seen) == 3:
            raise BrokenPipeError

    monkeypatch.setattr("tinygrad_rnn.training.progress.Progress.line", line)
    monkeypatch.setattr("time.perf_counter", lambda: 1.0)  # so that every epoch is written
    model = nn.Linear(1, 1)

    def train(epochs):
        tg.fit(
            model, lambda model, x: model(x).square().mean(), [tg.ones(2, 1)],
            optim.SGD(model.parameters(), lr=0.1), epochs=epochs, checkpoint=path,
        )  # fmt: skip

    with pytest.raises(BrokenPipeError):
        train(5)
    assert [epoch for _, epoch in seen] == [1, 2, 3]
    seen.clear()
    train(2)
    assert [epoch for _, epoch in seen] == [1, 2]  # the last line, too


def test_a_name_that_the_console_does_not_have(tmp_path, monkeypatch):
    path = tmp_path / "console"
    with open(path, "w", encoding="ascii") as console:
        monkeypatch.setattr("sys.stdout", console)
        model = nn.Linear(1, 1)
        tg.fit(
            model, lambda model, x: model(x).square().mean(), [tg.ones(2, 1)],
            optim.SGD(model.parameters(), lr=0.1), epochs=1, validate=lambda model: {"pr\u00e9cision": 1.0},
            monitor="loss",
        )  # fmt: skip
    assert "pr\\xe9cision 1" in path.read_text()
