"""The README's Python runs, and prints what stands beside it."""

import contextlib
import io
import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.host
def test_the_examples_run_and_print_what_they_say():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    scope = {}
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "README.md", "exec"), scope)
        for expected in re.findall(r"print\(.*\)\s+# (\S.*\d.*)$", block, re.MULTILINE):
            assert expected in printed.getvalue()
    assert len(blocks) >= 4


def test_the_files_of_the_reading_order_exist():
    order = README.read_text().split("## Reading it")[1].split("\n## ")[0]
    files = re.findall(r"`(tinygrad_rnn/\S+\.py)`", order)
    assert len(files) >= 7
    assert all((README.parent / name).exists() for name in files)
