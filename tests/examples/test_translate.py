"""The translator as its users run it: in a process of its own."""

import re

import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("translate.py", *arguments, check=check)


@pytest.fixture(scope="module")
def dates(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    pytest.importorskip("babel")
    out = tmp_path_factory.mktemp("dates")
    return out, run("--quick", "--out", out).stdout


def test_quick_run_learns_dates_and_writes_what_it_promises(dates):
    out, said = dates
    assert float(re.search(r"held out: (\d+\.\d+)% exact", said).group(1)) > 50  # by chance: one in 73,000
    assert "100 % exact is reachable" in said
    assert {p.name for p in out.iterdir()} == {"translate_dates_quick.npz", "translate_dates_quick.png"}
    assert (out / "translate_dates_quick.png").read_bytes()[:4] == b"\x89PNG"


def test_going_on_from_another_net_is_refused(dates):
    out, _ = dates
    said = run("--quick", "--cell", "rnn", "--resume", "--out", out, check=2).stderr
    assert "translate_dates_quick.npz is of --cell gru, not rnn; leave --cell out" in said
    assert said.count("\n") == 1


def test_dates_by_users(dates):
    out, _ = dates
    done = run("--predict", "5 Februarie 1984", "11 Maart 2031", "--out", out)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5 Februarie 1984 -> ")
    assert lines[1].startswith("11 Maart 2031 -> ")
    assert all(re.fullmatch(r".* -> [\d-]+( \(which is no date\))?", line) for line in lines)
    assert (
        "'ж' in '5 жж' did not stand in the texts for training"
        in run("--predict", "5 жж", "--out", out, check=2).stderr
    )
    assert "there is nothing to translate" in run("--predict", " ", "--out", out, check=2).stderr


def test_letters_to_sounds(tmp_path):
    settings = ("--quick", "--task", "g2p", "--cell", "lstm", "--sampling", 0.1)
    said = run(*settings, "--out", tmp_path).stdout
    assert float(re.search(r"word error (\d+\.\d+)", said).group(1)) < 99.6
    assert "39.6 %" in said
    sounds = run("--task", "g2p", "--predict", "cat", "--out", tmp_path).stdout
    assert re.fullmatch(r"cat -> [A-Z ]*\n", sounds)


def test_wrong_checkpoints(tmp_path):
    assert "there is no file" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    path = tmp_path / "translate_dates.npz"
    path.write_text("hello")
    assert "is no checkpoint" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    tg.save(path, {"w": tg.ones(2)}, example="another.py")
    assert "is no checkpoint of translate.py" in run("--predict", "a", "--out", tmp_path, check=2).stderr
