"""The course: each lesson runs, and what it claims would fail if it were not so."""

import re
import subprocess
import sys

import pytest

from tests.examples import EXAMPLES, run_example

pytestmark = pytest.mark.host  # lessons hold the library against NumPy

LESSONS = sorted(path.name for path in (EXAMPLES / "learn").glob("[0-9]*.py"))
BENT = """
import runpy, sys
from tinygrad_rnn.engine import REGISTRY
path, op = sys.argv[1:]
spec = REGISTRY[op]
spec.rules = tuple(lambda *args, rule=rule: rule(*args) * 1.01 for rule in spec.rules)
spec.pulls = [(rule, reads) for rule, (_, reads) in zip(spec.rules, spec.pulls)]
runpy.run_path(path, run_name="__main__")
"""
README = (EXAMPLES / "learn" / "README.md").read_text()


@pytest.mark.parametrize("lesson", LESSONS)
def test_lesson_runs(lesson):
    done = run_example(f"learn/{lesson}")
    parts = re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE)
    assert parts[-1] == max(re.findall(r"-{9} (\d)\. ", (EXAMPLES / "learn" / lesson).read_text()))
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("number", "op"),
    [
        (1, "tanh"),
        (2, "exp"),
        (3, "mul"),
        (4, "tanh"),
        (5, "mul"),
        (6, "sigmoid"),
        (7, "take_rows"),
        (8, "log_softmax"),
        (9, "tanh"),
        (10, "tanh"),
    ],
)
def test_a_wrong_rule_of_the_library_is_noticed(number, op):
    (lesson,) = (EXAMPLES / "learn").glob(f"{number:02}_*.py")
    command = [sys.executable, "-c", BENT, str(lesson), op]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180, check=False
    )
    assert done.returncode == 1
    assert "AssertionError" in done.stderr
    assert lesson.name in done.stderr


def test_picture(tmp_path):
    run_example("learn/05_vanishing.py", tmp_path / "norms.png")
    assert (tmp_path / "norms.png").read_bytes()[:4] == b"\x89PNG"


def test_readme_has_every_lesson_and_a_hint_for_every_exercise():
    rows = re.findall(r"^\| `(\d\d_\w+\.py)` \|.*\| ([^|]+) \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == LESSONS
    for name, reading in rows:
        text = (EXAMPLES / "learn" / name).read_text()
        assert f"    python examples/learn/{name}" in text
        exercises = re.findall(r"^# ([a-c])\) ", text.split("\n# Exercises\n")[1], re.MULTILINE)
        hints = README.split(f"\n**{int(name[:2])}** ")[1].split("\n\n")[0]
        assert re.findall(r"(?:^|\s)([a-c])\) ", hints) == exercises
        assert all((EXAMPLES.parent / file).exists() for file in re.findall(r"`(\S+)`", reading))
