"""The examples with `--backend`: each runs to its end and writes its files."""

import os
import subprocess
import sys

import pytest

from tests.examples import EXAMPLES, skip_what_is_not_there

NAMES = [
    "caption",
    "forecast",
    "intents",
    "music",
    "sentiment",
    "speech",
    "tagging",
    "translate",
    "vanishing",
]
PROGRAM = """
import runpy, sys
from tests.support import strict
strict.install()
sys.path.insert(0, sys.argv[1].rsplit("/", 1)[0])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_every_example_has_a_row():
    scripts = {path.stem for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {*NAMES, "char_lm", "export"}  # char_lm.py: test_training.py; export.py is of CPUs


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(gpu, name, tmp_path):
    command = [sys.executable, "-c", PROGRAM, (EXAMPLES / f"{name}.py").as_posix(), "--quick"]
    command += ["--backend", gpu.name, "--out", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280, check=False,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    skip_what_is_not_there(done, pictures=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir())
