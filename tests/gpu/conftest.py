"""`gpu`: the machine a test runs on. Each test runs on the stand-in, and with `--backend cupy` on a GPU."""

import pytest

from tests.gpu.machine import Gpu, StandIn


@pytest.fixture(
    params=[pytest.param(StandIn, marks=pytest.mark.host), pytest.param(Gpu, marks=pytest.mark.gpu)],
    ids=["stand-in", "cupy"],
)
def gpu(request):
    machine = request.param()
    with machine.in_use():
        yield machine
