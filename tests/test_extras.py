"""What is installed decides which tests run, and no more; a run that is to need it says what is missing."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests import extras

pytestmark = pytest.mark.host
HERE = pathlib.Path(__file__).parent
CONFTEST = "from tests.conftest import *\n"
TESTS = {
    "passes": "import pytest\n@pytest.mark.extras('{name}')\ndef test_it():\n    pass\n",
    "unmarked": "from tests.extras import extra\ndef test_it():\n    extra('{name}')\n",
    "module": "from tests.extras import extra\nextra('{name}')\ndef test_it():\n    pass\n",
    "skips": "import pytest\n@pytest.mark.extras('{name}')\ndef test_it():\n    pytest.skip('never')\n",
    "misnamed": "import pytest\n@pytest.mark.extras('{name}s')\ndef test_it():\n    pass\n",
}


def pytest_says(folder, kinds, there, *arguments):
    """The status and the output of pytest on such tests, where `there` of the extras seem to be installed."""
    found = "{" + ", ".join(f"'{name}': object()" for name in there) + "}"
    (folder / "conftest.py").write_text(f"from tests import extras\nextras._found = {found}.get\n{CONFTEST}")
    for kind in kinds:
        for name in extras.EXTRAS:
            (folder / f"test_{kind}_{name}.py").write_text(TESTS[kind].format(name=name))
    options = [
        "-v",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-c",
        HERE.parent / "pyproject.toml",
        "--rootdir",
        folder,
    ]
    command = [sys.executable, "-m", "pytest", *map(str, options), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_what_is_missing_is_skipped(tmp_path):
    status, said = pytest_says(tmp_path, ["passes"], ["torch"])
    assert (status, "1 passed, 3 skipped" in said) == (0, True)
    assert "cupy is not installed: pip install '.[kernels]'" in said


def test_with_extras_nothing_may_be_missing(tmp_path):
    status, said = pytest_says(tmp_path, ["passes"], ["torch", "cupy", "ziglang"], "--extras")
    assert status == 1
    assert "nvrtc is not installed: pip install '.[kernels]'" in said
    assert "--extras: no test of nvrtc has passed" in said


def test_with_extras_only_marked_tests_run(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_it():\n    raise AssertionError\n")
    status, said = pytest_says(tmp_path, ["passes"], list(extras.EXTRAS), "--extras")
    assert (status, "4 passed, 1 deselected" in said) == (0, True)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two"])
def test_with_extras_all_skipped_is_a_failure(tmp_path, workers):
    status, said = pytest_says(tmp_path, ["skips"], list(extras.EXTRAS), "--extras", *workers)
    assert status == 1
    assert "--extras: no test of torch, cupy, nvrtc, ziglang has passed" in said


@pytest.mark.parametrize("kind", ["unmarked", "module", "misnamed"])
def test_a_test_says_what_it_needs(tmp_path, kind):
    status, said = pytest_says(tmp_path, [kind], list(extras.EXTRAS))
    assert status != 0
    assert "must be marked: @pytest.mark.extras" in said or "needs pytestmark = pytest.mark.extras" in said


def test_nobody_goes_round_it():
    """`importorskip` of an extra would skip in silence where it must not be missing."""
    for path in HERE.rglob("*.py"):
        assert not re.search(r"importorskip\(.(torch|cupy)", path.read_text(encoding="utf-8")), path


def test_another_order_has_all_tests(tmp_path):
    orders = []
    for seed in ("1", "1", "2"):
        order = ["--random-order", seed]
        _, said = pytest_says(tmp_path, ["passes", "skips"], list(extras.EXTRAS), *order)
        orders.append(re.findall(r"(test_\w+\.py)::test_it [PS]", said))
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == 8
    assert sorted(orders[0]) == sorted(orders[2])
