"""What tests of the examples share."""

import importlib
import pathlib
import sys

import pytest

from tests.examples import EXAMPLES


@pytest.fixture
def example(monkeypatch):
    """A function that imports a script, or what scripts share, as a module; forgotten after the test."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["toy.py"])
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and pathlib.Path(file).parent == EXAMPLES:
            del sys.modules[name]
