"""The tagger as its users run it: in a process of its own."""

import re

import pytest

import tinygrad_rnn as tg
from tests.examples import run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("tagging.py", *arguments, check=check)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A quick run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("tagging")
    return out, run("--quick", "--cell", "gru", "--out", out).stdout


def test_quick_run_learns_in_one_direction_and_in_two(tagger):
    out, said = tagger
    rows = re.findall(r"^(.{18}) +(\d+\.\d+)% +\d+\.\d+% +\d+\.\d+%$", said, re.MULTILINE)
    right = {name.strip(): float(value) for name, value in rows}
    assert right.keys() == {"most frequent tag", "one direction", "both directions"}
    assert 85 < right["most frequent tag"] < 92
    assert min(right.values()) > 50  # one word in five has the most frequent of all tags
    assert right["both directions"] > right["one direction"]
    assert "reference: 90.6 %" in said
    assert {p.name for p in out.iterdir()} == {
        "tagging_quick_gru_one.npz", "tagging_quick_gru_both.npz", "tagging_quick_gru.png"
    }  # fmt: skip
    assert (out / "tagging_quick_gru.png").read_bytes()[:4] == b"\x89PNG"


def test_texts_of_users(tagger):
    said = run("--predict", "我 食 飯 ?", "我哋去食飯", "佢 search 緊", "--out", tagger[0]).stdout
    spaced, cut, latin = said.splitlines()
    assert re.fullmatch(r"我/\w+ 食/\w+ 飯/\w+ \?", spaced)
    assert cut.startswith("我哋/r ")  # the longest word that is known
    assert re.sub(r"/\w+ ?", "", cut) == "我哋去食飯"
    assert re.fullmatch(r"佢/\w+ search/\w+ 緊/\w+", latin)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(" ", "there is nothing to tag"), ("жж", "no character of 'жж' stood in the utterances")],
)
def test_nothing_to_tag(tagger, text, complaint):
    said = run("--predict", text, "--out", tagger[0], check=2).stderr
    assert complaint in said
    assert said.count("\n") == 1


def test_wrong_checkpoints(tmp_path):
    assert "there is no file" in run("--predict", "我", "--out", tmp_path, check=2).stderr
    path = tmp_path / "tagging_both.npz"
    path.write_text("hello")
    assert "is no checkpoint" in run("--predict", "我", "--out", tmp_path, check=2).stderr
    tg.save(path, {"w": tg.ones(2)}, example="another.py")
    assert "is no checkpoint of tagging.py" in run("--predict", "我", "--out", tmp_path, check=2).stderr
