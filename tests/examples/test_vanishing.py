"""Gradients through time as users look at them: in a process of its own."""

import re

import pytest

from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("vanishing.py", *arguments, check=check)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("vanishing")
    return out, run("--quick", "--out", out).stdout


def test_quick_run_shows_what_gates_change(quick):
    out, said = quick
    norms = {name.strip(): float(norm) for name, norm in re.findall(r"^    (.{24})(\d\S+)$", said, re.M)}
    assert norms["RNN, uniform start"] < 0.1 * norms["RNN, orthogonal start"]
    assert norms["LSTM, forget bias 0"] < 0.1 * norms["LSTM, forget bias 1"] < norms["LSTM, forget bias 3"]
    errors = {cell: float(e) for cell, e in re.findall(r"^    (\w+) +squared error (\S+)", said, re.M)}
    assert errors["lstm"] < 0.05 < errors["rnn"]
    assert errors["gru"] < 0.05  # always saying 1: 0.167
    assert "knowing nothing: 0.8318" in said
    names = {p.name for p in out.iterdir()}
    assert {f"vanishing_quick_{name}.png" for name in ("start", "trained", "adding")} <= names
    assert (out / "vanishing_quick_start.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_that_is_complete_stays_as_it_is(quick):
    out, said = quick
    again = run("--quick", "--resume", "--out", out).stdout
    assert re.findall("squared error.*", again) == re.findall("squared error.*", said)


def test_a_long_one_leaves_the_pictures_of_a_short_one(tmp_path):
    said = run("--quick", "--long", "--out", tmp_path).stdout
    assert re.findall(r"^    (\w+) +squared error", said, re.M) == ["gru"]
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {f"vanishing_long_quick_{name}.png" for name in ("start", "trained", "adding")}


def test_adding_what_the_user_gives(quick):
    out, _ = quick
    said = run("--predict", "0.3 0.9* 0.1 0.4* 0.5 0.5", "--out", out).stdout
    assert "the sum is 1.300" in said
    assert float(re.search(r"gru-adding-20: (\S+)", said).group(1)) == pytest.approx(1.3, abs=0.3)
    for bad in ("", "one two", "0.3 0.9* 0.1", "nan* 0.5*"):
        done = run("--predict", bad, "--out", out, check=2)
        assert "with a star" in done.stderr or "must have a star" in done.stderr
        assert done.stderr.count("\n") == 1


def test_no_checkpoint(tmp_path):
    assert "there is no checkpoint" in run("--predict", "0.1* 0.2*", "--out", tmp_path, check=2).stderr
    (tmp_path / "vanishing_gru-adding-20.npz").write_text("hello")
    assert "is no checkpoint" in run("--predict", "0.1* 0.2*", "--out", tmp_path, check=2).stderr
