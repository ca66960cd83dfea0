"""The rows of a GPU, run on the stand-in for CuPy with PyTorch on the host, by a clock that is not one."""

import argparse
import json

import pytest

import tinygrad_rnn as tg
from tests.extras import extra

from . import gpu_rows, report
from .rows import Result
from .test_benchmarks import run

pytestmark = pytest.mark.host


class Clock:
    """As much later each time that somebody looks as a turn should take: so a turn is one run."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.05
        return self.now


class StandIn:
    name, torch_device = "strict", "cpu"

    def __init__(self):
        self.n_waits = 0

    def wait(self):
        self.n_waits += 1

    def facts(self, torch):
        return {"GPU": "none"}


@pytest.fixture
def settings():
    torch = extra("torch")
    return gpu_rows.GpuSettings({"torch": torch}, 0.0, True, StandIn(), Clock())


@pytest.mark.extras("torch")
def test_every_row_runs_and_every_target_has_its_figures(settings, capsys):
    shown = []
    found = gpu_rows.measure(settings, list(gpu_rows.ROWS), shown.append)
    assert shown == found
    assert settings.machine.n_waits > 100
    table = report.targets(found, hoped=gpu_rows.TARGETS).split("\n")
    assert [line.split("  ")[0] for line in table[1:]] == [name for name, *_ in gpu_rows.TARGETS]
    by_group = {r.group: r for r in found}
    for kind in ("LSTM", "GRU", "RNN", "a user's cell"):
        loop = {gpu_rows.LOOP} if kind == "LSTM" else set()
        assert set(by_group[f"{kind}, eager"].ratios) == {"graphed", "torch"} | loop
        assert set(by_group[f"{kind}, graphed"].ratios) == {"eager", "torch"} | loop
        assert set(by_group[f"{kind}, against NumPy"].ratios) == {"numpy"}
    assert all(r.ours == pytest.approx(50.0) for r in found)  # milliseconds
    assert capsys.readouterr().err == ""  # all was captured
    assert tg.current_backend().name == "numpy"


def test_without_pytorch_ours_remain():
    settings = gpu_rows.GpuSettings({}, 0.0, True, StandIn(), Clock())
    found = gpu_rows.measure(settings, ["rnn", "users"], lambda r: None)
    assert {name for r in found for name in r.others} == {"eager", "graphed", "numpy"}


@pytest.mark.extras("torch")
@pytest.mark.parametrize("row", ["lstm", "gru", "rnn", "users"])
def test_results_that_differ_are_not_timed(settings, monkeypatch, row):
    torch = settings.peers["torch"]
    monkeypatch.setattr(gpu_rows, "race", lambda *a, **k: pytest.fail("timed"))
    monkeypatch.setattr(torch, "sigmoid", torch.tanh)  # the user's cell
    monkeypatch.setattr(tg.io, "load_torch", lambda layer, weights: None)  # the layers
    with pytest.raises(AssertionError, match="results differ"):
        gpu_rows.measure(settings, [row], lambda r: None)


@pytest.mark.extras("torch")
def test_a_loop_that_differs_is_not_timed(settings, monkeypatch):
    torch = settings.peers["torch"]
    works = torch.nn.LSTMCell.load_state_dict

    def otherwise(cell, weights):
        return works(cell, {name: value * 2 for name, value in weights.items()})

    monkeypatch.setattr(torch.nn.LSTMCell, "load_state_dict", otherwise)
    with pytest.raises(AssertionError, match=r"loop over LSTMCell: x: results differ"):
        gpu_rows.measure(settings, ["lstm"], lambda r: None)


@pytest.mark.extras("torch")
def test_a_host_that_differs_is_not_timed(settings, monkeypatch):
    works = gpu_rows.Ours.gradients

    def otherwise(self):
        on_host = tg.backend.array_module(self.x.array).name == "numpy"
        return [g * 1.5 for g in works(self)] if on_host else works(self)

    monkeypatch.setattr(gpu_rows.Ours, "gradients", otherwise)
    with pytest.raises(AssertionError, match=r"NumPy: results differ"):
        gpu_rows.measure(settings, ["rnn"], lambda r: None)


@pytest.mark.extras("torch")
def test_what_cannot_be_a_graph_is_told(settings, monkeypatch, capsys):
    works = gpu_rows.Ours.step

    def looks(self):
        loss = works(self)
        loss.item()
        return loss

    monkeypatch.setattr(gpu_rows.Ours, "step", looks)
    found = gpu_rows.measure(settings, ["rnn"], lambda r: None)
    assert {r.group for r in found} == {"RNN, eager", "RNN, against NumPy"}
    assert "RNN (2, 1, 4, 512): no graph: graphed: looks runs eagerly: " in capsys.readouterr().err


def test_each_turn_begins_and_ends_with_waiting():
    events = []

    class Machine:
        def wait(self):
            events.append("wait")

    def clock():
        events.append("clock")
        return float(len(events))

    settings = gpu_rows.GpuSettings({}, 0.0, True, Machine(), clock)
    times = gpu_rows.race({"ours": lambda: events.append("run")}, settings, 0.0, rounds=2)
    turn = ["wait", "clock", "run", "wait", "clock"]
    before = ["run", *turn]  # and how long does it take?
    assert events == [*before, "clock", "clock", *turn, "clock", *turn, "clock"]
    assert len(times.of["ours"]) == 2


def row(size, ratio):
    return Result("LSTM, against NumPy", size, 1.0, {}, {"numpy": (ratio, ratio, ratio)})


def test_the_crossover_is_where_the_gpu_stays_ahead():
    rows = [row("50, 64, 512, 512", 9.0), row("50, 1, 8, 8", 0.1), row("50, 1, 64, 64", 1.2),
            row("50, 8, 64, 64", 0.9), row("50, 16, 128, 128", 2.0)]  # fmt: skip
    assert gpu_rows.crossover(rows) == (
        "From (T, B, I, H) = 50, 16, 128, 128 on the GPU pays; at 50, 8, 64, 64 it does not."
    )
    assert gpu_rows.crossover(rows[:1]) == "From (T, B, I, H) = 50, 64, 512, 512 on the GPU pays."
    assert gpu_rows.crossover([rows[1]]) == "The GPU does not pay at any of 1 sizes of the LSTM."
    assert gpu_rows.crossover([]) == ""


@pytest.mark.extras("torch")
def test_the_whole_command(settings, monkeypatch, capsys, tmp_path):
    """As on a machine with a GPU, with the stand-in in its place."""
    monkeypatch.setattr(gpu_rows, "Gpu", StandIn)
    monkeypatch.setattr(gpu_rows, "torch_on_gpu", lambda options: settings.peers)
    monkeypatch.setattr(
        gpu_rows.tg, "use", lambda name, use=tg.use: use("strict" if name == "cupy" else name)
    )
    before, file = tg.cuda.allow_tf32.on, tmp_path / "figures.json"
    options = argparse.Namespace(
        rows="rnn", tf32=True, threads=1, quick=True, seconds=0.0, markdown=True, json=str(file)
    )
    try:
        assert gpu_rows.main(options, "") == 0
    finally:
        gpu_rows.set_tf32(settings.peers["torch"], before)
    written, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert (written["machine"]["GPU"], written["machine"]["TF32"]) == ("none", "on, on both sides")
    assert "| RNN, graphed | 3, 2, 4, 8 |" in printed
    assert "RNN, graphed against eager, H <= 256" in printed


@pytest.mark.extras("torch")
def test_tf32_is_set_on_both_sides():
    torch = extra("torch")
    before = tg.cuda.allow_tf32.on
    for on in (True, False):
        gpu_rows.set_tf32(torch, on)
        found = tg.cuda.allow_tf32.on, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert found == (on, on, on)
    tg.cuda.allow_tf32(before)


def test_wrong_arguments_and_no_gpu_are_one_sentence():
    wrong = run("--backend", "cupy", "--rows", "nothing")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("there is no row nothing for a GPU; there are lstm, gru")
    if tg.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run("--backend", "cupy", "--quick")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nothing is measured: the cupy backend ")
    assert done.stderr.count("\n") == 1
