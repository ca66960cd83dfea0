"""What some tests need beside `.[dev]`: PyTorch, CuPy, NVRTC, Zig. They are marked by `extras("torch")`.

Where it is not installed they are skipped; `pytest --extras` runs them alone, and there nothing is skipped: a
library that is missing, or of which no test has passed, is a failure.
"""

from __future__ import annotations

import collections
import importlib
import sys

import pytest

# Name: the extra in pyproject.toml.
EXTRAS = {"torch": "parity", "cupy": "kernels", "nvrtc": "kernels", "ziglang": "native"}
passed = collections.Counter()  # tests of each, in this run
required = False  # whether a library that is missing is a failure
current = None  # what the test that runs is marked with; None while modules are imported
asked_by_modules = collections.defaultdict(set)


def extra(name):
    """The library (for "nvrtc" CuPy's binding of it). Where it is not installed, the test or the module that
    asks is skipped.
    """
    if current is None:
        asked_by_modules[sys._getframe(1).f_globals["__name__"]].add(name)
    elif name not in current:
        raise AssertionError(f"a test that asks for {name} must be marked: @pytest.mark.extras({name!r})")
    found = _found(name)
    if found is None:
        sentence = f"{name} is not installed: pip install '.[{EXTRAS[name]}]'"
        if required:
            raise RuntimeError(sentence)  # no pytest.fail, which says less where modules are imported
        pytest.skip(sentence, allow_module_level=True)
    return found


def _found(name):
    try:
        if name != "nvrtc":
            return importlib.import_module(name)
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
        return nvrtc
    except ImportError:
        return None
    except Exception:  # CuPy raises its own kinds for libraries that it cannot load
        if name != "nvrtc":
            raise
        return None


def marks_of(item):
    """The names in an item's marks."""
    return {name for mark in item.iter_markers("extras") for name in mark.args}


def check(items):
    """Raises where a module asks for a library and its tests do not say so, or a mark names no extra."""
    for item in items:
        names = marks_of(item)
        missing = asked_by_modules.get(item.module.__name__, set()) - names
        if missing or not names <= set(EXTRAS):
            raise pytest.UsageError(
                f"{item.nodeid}: its module needs pytestmark = pytest.mark.extras{tuple(missing or EXTRAS)}"
            )
        item.user_properties += [("extra", name) for name in names]


def without_a_pass(backend):
    """The extras of which no test has passed. Of other libraries than NumPy there are few, of PyTorch."""
    return [name for name in (EXTRAS if backend == "numpy" else ["torch"]) if not passed[name]]
