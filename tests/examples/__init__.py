"""The examples as their users run them: in processes of their own."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


EXTRAS = ("Babel", "hassil", "matplotlib", "tqdm")  # what examples use and the library does not need


def skip_what_is_not_there(done, pictures=True):
    """Skips the test where an example ended because its data cannot be had, or a package that is indeed not
    installed here; with `pictures` also where it goes on, but can draw none.
    """
    said = done.stderr.strip().splitlines()
    if done.returncode == 1 and "could not be downloaded" in done.stderr:
        pytest.skip(said[-1])
    for name in EXTRAS:
        words = f"need {name}", f"No module named '{name.lower()}"
        line = next((line for line in said if any(part in line for part in words)), None)
        stops = done.returncode != 0 or (pictures and name == "matplotlib")
        if line is not None and stops and importlib.util.find_spec(name.lower()) is None:
            pytest.skip(line)


def run_example(script, *arguments, check=0):
    """Runs an example to its end, which must be the exit status `check`, and returns what it said. Skips the
    test where the example's data, or a package that it uses, cannot be had.
    """
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=180, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    skip_what_is_not_there(done)
    assert done.returncode == check, done.stderr
    return done
