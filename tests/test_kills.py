"""A part of what `python -m tests.kills` does."""

import pytest

from . import kills

pytestmark = [pytest.mark.host, pytest.mark.skipif(not hasattr(kills.signal, "SIGKILL"), reason="no SIGKILL")]


@pytest.mark.parametrize(("command", "n"), [(kills.fit_command, 8), (kills.char_lm_command, 3)])
def test_ended_and_resumed(command, n):
    found = kills.ended_and_resumed(command, n, seed=1)
    assert found["kills"] >= n
    assert not found["wrong"]
