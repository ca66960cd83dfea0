"""The captioner as its users run it: in a process of its own."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("caption.py", *arguments, check=check)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("caption")
    return out, run("--quick", "--out", out).stdout


def test_quick_run_learns_and_writes_what_it_promises(quick):
    out, said = quick
    assert float(re.search(r"held out: (\d+\.\d+)% of captions exact", said).group(1)) > 20  # by chance: 5.5
    assert "SVM" in said
    assert {p.name for p in out.iterdir()} == {
        "caption_quick.npz", "caption_quick.png", "caption_quick_strip.png"
    }  # fmt: skip
    assert all(
        (out / name).read_bytes()[:4] == b"\x89PNG"
        for name in ("caption_quick.png", "caption_quick_strip.png")
    )


def test_pictures_by_users(quick, tmp_path):
    """The strip that the run wrote; the same on paper, in colour and three times as large."""
    image = pytest.importorskip("matplotlib.image")
    out, _ = quick
    strip = image.imread(out / "caption_quick_strip.png")[..., :3]
    image.imsave(tmp_path / "paper.png", np.repeat(np.repeat(1 - 0.8 * strip, 3, 0), 3, 1))
    done = run("--predict", out / "caption_quick_strip.png", tmp_path / "paper.png", "--out", out)
    first, second = (line.split(": ")[1] for line in done.stdout.splitlines())
    assert re.fullmatch(r"(zero|one|two|three|four|five|six|seven|eight|nine| )+", first)
    assert first == second


def test_bad_pictures_get_one_sentence(quick, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    out, _ = quick
    bad = {
        "empty.png": b"",
        "text.png": b"hello",
        "cut.png": (out / "caption_quick_strip.png").read_bytes()[:60],
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    image.imsave(tmp_path / "grey.png", np.full((28, 60), 0.5), cmap="gray", vmin=0, vmax=1)
    image.imsave(tmp_path / "thin.png", np.random.default_rng(0).random((90, 3)), cmap="gray")
    for name, text in [
        *((name, "is no picture that can be read") for name in bad),
        ("grey.png", "shows no row of digits: it is of one colour"),
        ("thin.png", "shows no row of digits: it is 3 x 90 pixels"),
        ("none.png", "there is no file"),
    ]:
        done = run("--predict", tmp_path / name, "--out", out, check=2)
        assert text in done.stderr
        assert done.stderr.count("\n") == 1


def test_wrong_checkpoints(quick, tmp_path):
    out, _ = quick
    strip = out / "caption_quick_strip.png"
    assert "there is no file" in run("--predict", strip, "--out", tmp_path, check=2).stderr
    tg.save(tmp_path / "caption.npz", {"w": tg.ones(2)}, example="another.py")
    assert "is no checkpoint of caption.py" in run("--predict", strip, "--out", tmp_path, check=2).stderr
