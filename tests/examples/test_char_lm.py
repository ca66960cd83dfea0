"""The language model as its users run it: in a process of its own."""

import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "char_lm.py"
pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
    )
    assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def text(tmp_path):
    """A small language: three words in an order drawn by chance."""
    rng = random.Random(0)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(rng.choice(["alpha", "beta", "gamma"]) for _ in range(2500)))
    return path


def test_quick_run_writes_what_it_promises(tmp_path):
    done = run("--quick", "--out", tmp_path)
    assert re.search(r"bzip2 \d\.\d\d, xz \d\.\d\d", done.stdout)
    assert float(re.search(r"held out: (\d\.\d+) bits per character", done.stdout).group(1)) < 6
    assert {p.name for p in tmp_path.iterdir()} == {
        "char_lm_quick.npz", "char_lm_quick_learning_curve.png", "char_lm_quick_gradient_through_time.png"
    }  # fmt: skip
    assert (tmp_path / "char_lm_quick_learning_curve.png").read_bytes()[:4] == b"\x89PNG"
    again = run("--sample", "The ", "--length", 30, "--out", tmp_path)
    assert again.stdout.startswith("The ")
    assert again.stdout == run("--sample", "The ", "--length", 30, "--out", tmp_path).stdout
    unknown = run("--sample", "The \N{SNOWMAN}", "--out", tmp_path, check=2).stderr
    assert "'\N{SNOWMAN}' did not stand in the text for training" in unknown
    assert "complete; there is nothing to resume" in run("--resume", "--out", tmp_path, check=2).stderr


def test_the_king_james_bible(tmp_path):
    """Its words alone: no numbers of verses, no brackets."""
    said = run_example("char_lm.py", "--text", "kjv", "--quick", "--out", tmp_path).stdout
    assert float(re.search(r"held out: (\d\.\d+) bits per character", said).group(1)) < 6
    characters = set(tg.load(tmp_path / "char_lm_kjv_quick.npz")["vocab"]["tokens"])
    assert characters > set("abcdefghijklmnopqrstuvwxyz ,.:;")
    assert not characters & set("0123456789[]")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_learns(tmp_path, text, cell):
    settings = ("--hidden", 24, "--embedding", 8, "--window", 32, "--batch", 8, "--epochs", 4, "--lr", 0.02)
    done = run("--text", text, "--cell", cell, *settings, "--out", tmp_path / "run")
    # log2(3) bits for each word of 5.67 characters on average with its space: 0.28 is the best there is
    assert float(re.search(r"held out: (\d\.\d+)", done.stdout).group(1)) < 0.6


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, text):
    """Ctrl-C at any step, then --resume: the same weights and the same curve, bit for bit."""
    settings = ("--text", text, "--hidden", 16, "--window", 16, "--batch", 8, "--epochs", 6)
    run(*settings, "--out", tmp_path / "whole")
    command = [sys.executable, str(SCRIPT), *map(str, settings), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("step"):  # in the second epoch; what is said of the first is saved already
            assert len(list((tmp_path / "cut").glob("*.npz"))) == 1
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped and saved at step" in out
    assert "Traceback" not in err
    (path,) = (tmp_path / "cut").glob("char_lm_text-*_hidden-16.npz")
    cut = tg.load(path)
    assert 0 < cut["step"] < cut["total"]
    run("--text", text, "--resume", "--out", tmp_path / "cut")
    whole, resumed = (tg.load(tmp_path / name / path.name) for name in ("whole", "cut"))
    assert whole["history"] == resumed["history"]
    assert whole["step"] == resumed["step"] == whole["total"]
    for name, weight in whole["model"].items():
        np.testing.assert_array_equal(weight.numpy(), resumed["model"][name].numpy())


SMALL = ("--hidden", 8, "--embedding", 4, "--window", 16, "--batch", 8, "--epochs", 1)


def test_a_mark_at_the_beginning_and_a_console_that_shows_little(tmp_path):
    """The byte order mark is no character; snowmen are learned where the console has none."""
    path = tmp_path / "text.txt"
    path.write_text("\N{SNOWMAN} caf\u00e9. " * 300, encoding="utf-8-sig")
    command = [sys.executable, str(SCRIPT), "--text", path, *SMALL, "--out", tmp_path]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"\\u2603" in done.stdout
    (saved,) = tmp_path.glob("*.npz")
    assert "".join(tg.load(saved)["vocab"]["tokens"]) == " .acf\u00e9\N{SNOWMAN}"


def test_an_output_that_is_gone_leaves_what_was_learned(tmp_path, text):
    text.write_text(text.read_text()[:4000])
    command = [sys.executable, str(SCRIPT), "--text", text, *SMALL[:-1], 9, "--out", tmp_path / "run"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not process.stdout.readline().startswith(b"step"):
            pass
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    (path,) = (tmp_path / "run").iterdir()
    assert 0 < tg.load(path)["step"] < tg.load(path)["total"]
    run("--text", text, "--resume", "--out", tmp_path / "run")
    assert tg.load(path)["step"] == tg.load(path)["total"]
    text.write_text(text.read_text() + "!")
    said = run("--text", text, "--resume", "--out", tmp_path / "run", check=2).stderr
    assert "is complete; there is nothing to resume" in said


def test_the_colder_the_surer(example):
    """At a temperature of next to nothing the likeliest character, always."""
    char_lm = example("char_lm")
    vocab = tg.data.CharVocab.build("abc\n")
    tg.manual_seed(1)
    model = char_lm.CharLM(len(vocab), "gru", 1, 8, 4)
    cold = char_lm.sample(model, vocab, "a", 20, 1e-3, tg.default_rng(0))
    assert char_lm.sample(model, vocab, "a", 20, 1e-300, tg.default_rng(5)) == cold
    assert len(set(char_lm.sample(model, vocab, "a", 50, 1e3, tg.default_rng(0)))) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"", "has 0 characters; at least 2,000 are needed"),
        (b"\xff\xfe" * 500, "is no text in UTF-8"),
        (b"abc\0" * 600, "it holds zero bytes"),
        (b"a" * 3000, "repeats one character"),
    ],
)
def test_bad_texts_get_one_sentence(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    done = run("--text", path, "--out", tmp_path / "run", check=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wrong_arguments(tmp_path):
    assert "invalid choice" in run("--cell", "transformer", check=2).stderr
    assert "is not positive" in run("--hidden", "0", check=2).stderr
    assert "no backend is called 'tpu'" in run("--backend", "tpu", check=2).stderr
    assert "--graph is for a GPU" in run("--graph", check=2).stderr
    assert "there is no file" in run("--resume", "--out", tmp_path, check=2).stderr
    (tmp_path / "char_lm.npz").write_text("hello")
    assert "is no checkpoint" in run("--sample", "a", "--out", tmp_path, check=2).stderr
    tg.save(tmp_path / "char_lm.npz", example="another")
    assert "is no checkpoint of char_lm.py" in run("--sample", "a", "--out", tmp_path, check=2).stderr


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("--quick", "--out", tmp_path / "file", check=2)
    assert "cannot be written" in done.stderr
    assert os.listdir(tmp_path) == ["file"]


INTERRUPTED_AT = """
    import os, runpy, signal, sys

    import tinygrad_rnn as tg
    from tinygrad_rnn.training.progress import Progress

    at, Progress.done = int(sys.argv[1]), 0
    del sys.argv[:2]
    step = Progress.step

    def interrupted(self, loss):
        Progress.done += 1
        if Progress.done == at:
            os.kill(os.getpid(), signal.SIGINT)
        step(self, loss)

    Progress.step = interrupted
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_ctrl_c_at_the_last_step_of_an_epoch_and_of_all(tmp_path, text):
    """What is held out is measured; and what is complete promises no resume."""
    text.write_text(text.read_text()[:3000])
    settings = ("--text", text, *SMALL[:-1], 2)
    run(*settings, "--out", tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob("*.npz")
    whole = tg.load(path)
    total = whole["total"]
    for at, status in ((total // 2, 130), (total // 2 - 1, 130), (total, 0)):
        out = tmp_path / str(at)
        command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED_AT), at, SCRIPT, *settings, "--out", out]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=120, check=False,
            cwd=SCRIPT.parent, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        saved = tg.load(out / path.name)
        assert saved["step"] == at
        assert len(saved["history"]["held_out"]) == at * 2 // total
        if status:
            assert f"stopped and saved at step {at}; --resume goes on" in done.stdout
            run("--text", text, "--resume", "--out", out)
        assert tg.load(out / path.name)["history"] == whole["history"]
