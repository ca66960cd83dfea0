"""The judge of sentences as its users run it: in a process of its own."""

import re

import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("sentiment.py", *arguments, check=check)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("sentiment")
    return out, run("--quick", "--out", out).stdout


def test_quick_run_learns_and_writes_what_it_promises(judge):
    out, said = judge
    assert float(re.search(r"held out: (\d+\.\d+)% right", said).group(1)) > 60  # by chance: 50
    assert "76.1 %" in said
    assert {p.name for p in out.iterdir()} == {"sentiment_quick_0.npz", "sentiment_quick.png"}
    assert (out / "sentiment_quick.png").read_bytes()[:4] == b"\x89PNG"


def test_sentences_of_users(judge):
    out, _ = judge
    done = run("--predict", "A charming, moving film.", "A dull, stupid mess: Xyzzy!", "Bad", "--out", out)
    good, words, bad, others, short, _ = done.stdout.splitlines()
    assert re.fullmatch(r"A charming, moving film\. -> positive, \d+% sure", good)
    assert re.fullmatch(r"A dull, stupid mess: Xyzzy! -> negative, \d+% sure", bad)
    assert re.findall(r"(\S+) [+-]\d", words) == ["a", "charming", ",", "moving", "film", "."]
    assert "xyzzy?" in others  # an unknown word is marked
    assert short.startswith("Bad -> ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(" ", "there is nothing to judge"), ("Xyzzy жж", "no word of 'Xyzzy жж' stood in the sentences")],
)
def test_nothing_to_judge(judge, text, complaint):
    said = run("--predict", text, "--out", judge[0], check=2).stderr
    assert complaint in said
    assert said.count("\n") == 1


def test_wrong_checkpoints(tmp_path):
    assert "there is no file" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    path = tmp_path / "sentiment_0.npz"
    path.write_text("hello")
    assert "is no checkpoint" in run("--predict", "a", "--out", tmp_path, check=2).stderr
    tg.save(path, {"w": tg.ones(2)}, example="another.py")
    assert "is no checkpoint of sentiment.py" in run("--predict", "a", "--out", tmp_path, check=2).stderr
