"""The examples as their users run them: in processes of their own."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def run_example(script, *arguments, check=0):
    """Runs an example to its end, which must be the exit status `check`, and returns what it said. Skips the
    test where the example's data cannot be had.
    """
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 1 and "could not be downloaded" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == check, done.stderr
    return done
