"""What all examples have in common, and the gallery that shows them."""

import pathlib
import re
import signal
import subprocess
import sys
import types

import pytest

import tinygrad_rnn as tg
from tests.examples import EXAMPLES, run_example
from tinygrad_rnn import nn, optim

pytestmark = pytest.mark.host  # the backend is an option of the scripts

HELPERS = {"common.py", "datasets.py", "numerals.py", "series.py", "sound.py", "table.py"}
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in HELPERS)
GALLERY = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["toy.py"])
    import common

    yield common
    sys.modules.pop("common", None)


@pytest.mark.parametrize("script", SCRIPTS)
def test_options_that_make_no_sense(script, tmp_path):
    for options, message in [
        (("--seed", "-1"), "argument --seed: -1 is not 0 or more"),
        (("--cell", "transformer"), "invalid choice: 'transformer'"),
        (("--backend", "tpu"), "no backend is called 'tpu'"),
        (("--resume", "--out", tmp_path), "there is no file"),
    ]:
        said = run_example(script, *options, check=2).stderr
        assert message in said
        assert said.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_says_what_it_is(script):
    """The use that it shows, the commands and how long they take; the gallery has its rows."""
    said = re.search(r'"""(.*?)"""', (EXAMPLES / script).read_text(encoding="utf-8"), re.S).group(1)
    assert "the notes' " in " ".join(said.lower().split())[:240]
    assert f"python examples/{script}" in said
    assert re.search("seconds|minute", said)
    assert re.search("licen[cs]e|BSD|MIT|Apache|CC BY|public domain|drawn by chance", said, re.I)
    gallery, _, own = GALLERY.partition("## Your own input")
    assert f"| `{script}" in gallery
    assert f"| `{script}" in own


def test_the_gallery_has_its_pictures():
    shown = re.findall(r'src="(pictures/\S+?)"', GALLERY)
    assert {f"pictures/{path.name}" for path in (EXAMPLES / "pictures").iterdir()} == set(shown)
    assert len(shown) == len(set(shown))


def test_a_loss_that_is_nan_is_one_sentence(common, capsys):
    model = nn.Linear(1, 1)
    with pytest.raises(SystemExit) as stopped:
        common.fit(
            model, lambda model, x: (model(x) * float("nan")).sum(), [tg.ones(1, 1)],
            optim.SGD(model.parameters(), lr=1.0), epochs=1, progress=False, resume=False,
        )  # fmt: skip
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("toy.py: fit: the loss is nan at step 1")
    assert said.count("\n") == 1


def test_rows_come_back_in_their_order(common):
    seen = []

    def lengths(rows):
        seen.append([len(row) for row in rows])
        return [len(row) for row in rows]

    rows = ["aaa", "", "a", "aa", "aaaa"]
    assert common.by_length(lengths, rows, size=2) == [3, 0, 1, 2, 4]
    assert seen == [[0, 1], [2, 3], [4]]
    assert common.by_length(lengths, []) == []


def test_batches_are_columns_of_rows_alike_in_size(common):
    args = types.SimpleNamespace(batch=2, seed=0)
    rows = [(n, str(n)) for n in (5, 1, 4, 2)]
    found = sorted(common.batches(rows, [n for n, _ in rows], args))
    assert [sorted(numbers) for numbers, _ in found] == [[1, 2], [4, 5]]
    assert all(tuple(map(str, numbers)) == names for numbers, names in found)


def test_no_picture_is_no_end(common, capsys):
    with common.picture("it is there"):
        pass
    with common.picture("it is there"):
        raise ImportError("plots need matplotlib")
    said = capsys.readouterr()
    assert said.out == "it is there\n"
    assert said.err == "toy.py: no picture: plots need matplotlib\n"


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    """Ctrl-C while the second of two nets learns, then --resume."""

    def table(said):
        return said.partition("held out ")[2].splitlines()[:4]

    settings = ("--quick", "--cell", "gru", "--epochs", "2")
    whole = run_example("tagging.py", *settings, "--out", tmp_path / "whole").stdout
    command = [sys.executable, "-u", str(EXAMPLES / "tagging.py"), *settings, "--out", str(tmp_path / "cut")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        epochs = (line for line in process.stdout if line.startswith("epoch 1/"))
        next(epochs), next(epochs)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "tagging.py: stopped and saved; --resume goes on\n"
    resumed = run_example("tagging.py", *settings, "--resume", "--out", tmp_path / "cut").stdout
    assert table(resumed) == table(whole)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (MemoryError(), 1, "there is not enough memory for this; take smaller sizes"),
        (OSError(28, "No space left on device"), 1, "the output cannot be used: No space left on device"),
        (PermissionError(13, "Permission denied", "a.txt"), 1, "a.txt cannot be used: Permission denied"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_ends_a_run_is_one_sentence(common, capsys, error, status, sentence):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        common.run(main)
    assert stopped.value.code == status
    assert capsys.readouterr().err == f"toy.py: {sentence}\n"


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_behind_the_output():
    with open("/dev/full", "w") as full:
        command = [sys.executable, str(EXAMPLES / "music.py"), "--help"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "music.py: the output cannot be used: No space left on device\n"
