"""The reader of intents as its users run it: in a process of its own."""

import re
import subprocess
import sys

import pytest

from tests.examples import EXAMPLES, run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("intents.py", *arguments, check=check)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    pytest.importorskip("hassil")
    out = tmp_path_factory.mktemp("intents")
    return out, run("--quick", "--out", out).stdout


def test_quick_run_learns_with_each_cell_and_writes_what_it_promises(reader):
    out, said = reader
    found = re.findall(r"held out: (\d+\.\d+)% right, (\w+)", said)
    right = {cell: float(value) for value, cell in found}
    assert right.keys() == {"rnn", "lstm", "gru"}
    assert min(right.values()) > 70  # the largest intent is a sixth of the sentences
    assert "reference: 99.1 %" in said
    assert {p.name for p in out.iterdir()} == {
        "intents_quick_rnn.npz", "intents_quick_lstm.npz", "intents_quick_gru.npz", "intents_quick.png"
    }  # fmt: skip
    assert (out / "intents_quick.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_what_time_is_it(reader, cell):
    said = run("--predict", "What time is it?", "--cell", cell, "--out", reader[0]).stdout
    assert said.startswith("What time is it? -> HassGetCurrentTime, ")
    parts = re.findall(r"(\w+) ([+-]\d+)%", said.splitlines()[1])
    assert [word for word, _ in parts] == ["what", "time", "is", "it"]
    assert 97 <= sum(abs(int(part)) for _, part in parts) <= 103  # parts of one whole, rounded


def test_chat(reader):
    command = [sys.executable, str(EXAMPLES / "intents.py"), "--demo", "--out", str(reader[0])]
    said = "what time is it?\nxyzzy!\nstop\n\nnot heard\n"
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("> ") == 4
    assert "> HassGetCurrentTime, " in done.stdout
    assert "no word of 'xyzzy!' stood in the sentences for training" in done.stdout
    assert "heard" not in done.stdout


@pytest.mark.parametrize("text", [" ", "Xyzzy жж"])
def test_nothing_to_understand(reader, text):
    said = run("--predict", text, "--out", reader[0], check=2).stderr
    assert f"no word of {text!r} stood in the sentences for training" in said
    assert said.count("\n") == 1


def test_wrong_checkpoints(tmp_path):
    assert "there is no file" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    (tmp_path / "intents_lstm.npz").write_text("hello")
    assert "is no checkpoint" in run("--demo", "--out", tmp_path, check=2).stderr
