"""The array library under test, `pytest --backend numpy` (the default), `strict` or `cupy`; and which tests
run, in which order.
"""

import getpass
import os
import random
import signal
import tempfile

import pytest

import tinygrad_rnn as tg
from tests import extras
from tests.support import cpu_kernels, strict
from tinygrad_rnn.fuse import scan, stretch


def pytest_addoption(parser):
    parser.addoption(
        "--backend", default="numpy", choices=["numpy", "strict", "cupy"], help="the array library"
    )
    parser.addoption(
        "--extras", action="store_true", help="only what needs PyTorch, CuPy, NVRTC; these must be there"
    )
    parser.addoption("--native", action="store_true", help="with compiled loops, where there is a C compiler")
    parser.addoption("--random-order", type=int, metavar="SEED", help="another order of modules and tests")


def pytest_configure(config):
    os.environ.setdefault(
        "TINYGRAD_RNN_CACHE", f"{tempfile.gettempdir()}/tinygrad_rnn_of_{getpass.getuser()}"
    )
    strict.install()
    extras.required = config.getoption("--extras")
    try:
        tg.use(config.getoption("--backend"))
    except RuntimeError as reason:
        raise pytest.UsageError(str(reason)) from None


def pytest_collection_modifyitems(config, items):
    """Those marked gpu need `--backend cupy`; those marked host are about NumPy's arrays alone."""
    chosen = config.getoption("--backend")
    extras.check(items)
    for item in items:
        if item.get_closest_marker("gpu") and chosen != "cupy":
            item.add_marker(pytest.mark.skip(reason="needs a GPU: pytest --backend cupy"))
        if item.get_closest_marker("host") and chosen != "numpy":
            item.add_marker(pytest.mark.skip(reason="is about arrays on the host"))
        if item.get_closest_marker("compiler") and cpu_kernels.compiler() is None:
            item.add_marker(pytest.mark.skip(reason="no C++ compiler is installed"))
    if config.getoption("--extras"):
        config.hook.pytest_deselected(items=[item for item in items if not extras.marks_of(item)])
        items[:] = [item for item in items if extras.marks_of(item)]
    seed = config.getoption("--random-order")
    if seed is not None:
        shuffle(items, random.Random(seed))


def shuffle(items, rng):
    """Modules in another order, and the tests in each: what a module prepares is prepared once."""
    modules = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    groups = list(modules.values())
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
    items[:] = [item for group in groups for item in group]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    extras.current = extras.marks_of(item)
    try:
        return (yield)
    finally:
        extras.current = None


def pytest_runtest_setup(item):
    for name in extras.current:
        extras.extra(name)


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        extras.passed.update(name for key, name in report.user_properties if key == "extra")


def pytest_sessionfinish(session):
    config = session.config
    at_work = not hasattr(config, "workerinput") and not config.option.collectonly
    if config.getoption("--extras") and at_work and not config.option.keyword:
        missing = extras.without_a_pass(config.getoption("--backend"))
        if missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(f"\n--extras: no test of {', '.join(missing)} has passed")


@pytest.fixture(autouse=True)
def _same_start(request):
    """Every test begins with the same random numbers, in float32, on the backend under test; and with
    Python's handler of Ctrl-C, which a script's background job does not have, nor hand on.
    """
    tg.manual_seed(0)
    tg.set_default_dtype("float32")
    tg.use(request.config.getoption("--backend"))
    tg.native(request.config.getoption("--native"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fallbacks(monkeypatch):
    """The loops over time of this test that ran op by op though nobody asked for it."""
    found = []

    def watched(*args, one_by_one=stretch.one_by_one):
        if tg.engine.mode.current().fused:
            found.append(args)
        return one_by_one(*args)

    for module in (stretch, scan):
        monkeypatch.setattr(module, "one_by_one", watched)
    return found
