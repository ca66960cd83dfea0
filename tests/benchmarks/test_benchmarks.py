"""The benchmarks run, compare results before they time them, and write what they measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from . import rows
from .by_hand import LSTM
from .measure import Times, assert_close, race

pytestmark = pytest.mark.host


def run(*arguments, **environment):
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)


def check_table(file, peers):
    """What the command prints and writes: the same rows, whoever else is installed."""
    command = ["--quick", "--rows", "lstm,gru,rnn,users,engine,memory", "--json", str(file), "--markdown"]
    done = run(*command, *peers, OPENBLAS_CORETYPE="Haswell")
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    assert {"LSTM", "GRU", "RNN", "a user's LSTM, plain loop"} <= {r["group"] for r in written["results"]}
    assert all(r["ours"] > 0 for r in written["results"] if r["unit"] == "ms")
    by_hand = {r["group"] for r in written["results"] if "by hand" in r["others"]}
    assert {"LSTM", "GRU"} <= by_hand
    assert "cleared" in written["machine"]["OPENBLAS_CORETYPE"]
    assert "| LSTM | 50, 1, 32, 32 |" in done.stdout
    return done.stdout, written


def test_a_table_and_a_file(tmp_path):
    """Without any of the others, also where they are installed."""
    said, written = check_table(tmp_path / "figures.json", ["--peers", ""])
    assert "torch" not in said
    assert "torch" not in written["machine"]["versions"]


@pytest.mark.extras("torch")
def test_a_table_beside_pytorch(tmp_path):
    said, written = check_table(tmp_path / "figures.json", [])
    assert "torch" in written["machine"]["versions"]
    assert all("torch" in r["others"] for r in written["results"] if r["group"] in ("LSTM", "GRU", "RNN"))
    assert "jax" in said


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("settings", [{}, {"default": True}, {"bidirectional": True}], ids=str)
def test_rows_of_layers_without_pytorch(monkeypatch, kind, settings):
    """By hand is held against ours wherever it is timed."""
    monkeypatch.setattr(rows, "race", lambda contestants, _: Times({name: [1.0] for name in contestants}))
    (found,) = rows.layer_row(kind, **settings)(rows.Settings({}, 0.0, quick=True))
    assert set(found.others) == (set() if "bidirectional" in settings else {"products"} | set(
        () if settings else ["by hand"]
    ))  # fmt: skip


def test_wrong_arguments_are_one_sentence():
    for arguments, sentence in (
        (("--rows", "nothing"), "there is no row nothing; there are lstm, gru"),
        (("--peers", "nobody"), "nobody is no peer"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(sentence)


def test_results_that_differ_are_not_timed():
    with pytest.raises(AssertionError, match="results differ by"):
        assert_close("x", np.ones(3), np.ones(3) * 1.01, 1e-3)
    with pytest.raises(AssertionError, match="differ"):
        assert_close("x", np.full(3, np.nan), np.ones(3), 1e-3)


def test_ratios_are_of_rounds_side_by_side():
    times = Times({"ours": [1.0, 2.0, 10.0], "other": [2.0, 4.0, 20.0]})
    assert times.ratio("other") == (2.0, 2.0, 2.0)
    calls = []
    found = race(
        {"ours": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.0, block=0.0, rest=0.0
    )
    assert (
        "".join(calls) == "aabb" + "aabb" + "bbaa" + "aabb" + "bbaa" + "aabb"
    )  # each turn after one untimed
    assert len(found.of["ours"]) == len(found.of["b"]) == 5


def test_what_is_short_is_timed_in_blocks():
    calls = []

    def short():
        time.sleep(0.002)
        calls.append("short")

    times = race({"ours": short}, 0.0, block=0.1, rest=0.0)
    assert (
        2 + 5 + 5 < len(calls) <= 2 + 5 * (1 + 50)
    )  # five blocks of fifty runs at most, fewer on a busy machine
    assert 0.002 <= times.median("ours") < 0.1  # of one run, not of a block


def test_the_lstm_by_hand_has_the_gradient_of_its_sum():
    rng = np.random.default_rng(0)
    x, w_x, w_h, b = (rng.standard_normal(s) for s in ((3, 2, 2), (2, 8), (2, 8), (8,)))
    found = LSTM(x, w_x, w_h, b).step()
    for place, gradient in zip((x, w_x, w_h, b), found, strict=True):
        for index in np.ndindex(place.shape):
            totals = []
            for change in (1e-6, -1e-6):
                moved = place.copy()
                moved[index] += change
                hand = LSTM(*(moved if a is place else a for a in (x, w_x, w_h, b)))
                hand.step()
                totals.append(hand.h[1:].sum())
            np.testing.assert_allclose((totals[0] - totals[1]) / 2e-6, gradient[index], rtol=1e-4, atol=1e-6)
