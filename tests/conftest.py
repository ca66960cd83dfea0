"""The array library under test: `pytest --backend numpy` (the default), `strict` or `cupy`."""

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.testing import strict


def pytest_addoption(parser):
    parser.addoption(
        "--backend", default="numpy", choices=["numpy", "strict", "cupy"], help="the array library"
    )


def pytest_configure(config):
    strict.install()
    try:
        tg.use(config.getoption("--backend"))
    except RuntimeError as reason:
        raise pytest.UsageError(str(reason)) from None


def pytest_collection_modifyitems(config, items):
    """Those marked gpu need `--backend cupy`; those marked host are about NumPy's arrays alone."""
    chosen = config.getoption("--backend")
    for item in items:
        if item.get_closest_marker("gpu") and chosen != "cupy":
            item.add_marker(pytest.mark.skip(reason="needs a GPU: pytest --backend cupy"))
        if item.get_closest_marker("host") and chosen != "numpy":
            item.add_marker(pytest.mark.skip(reason="is about arrays on the host"))


@pytest.fixture(autouse=True)
def _same_start(request):
    """Every test begins with the same random numbers, in float32, on the backend under test."""
    tg.manual_seed(0)
    tg.set_default_dtype("float32")
    tg.use(request.config.getoption("--backend"))
