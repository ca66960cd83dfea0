"""The equation of an update as placed calls, against the code that is generated for it today."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_rnn.backend import find
from tinygrad_rnn.fuse.lower.update import InPlace
from tinygrad_rnn.ops import in_place

pytestmark = pytest.mark.host


def momentum(numbers, p, g, b):
    b = numbers[0] * b + g
    return p - numbers[1] * b, b


def adam_like(numbers, p, g, m, v):
    m = numbers[0] * m + numbers[1] * g
    v = numbers[2] * v + numbers[3] * g * g
    return p - numbers[4] * m / (v**0.5 + 1e-8), m, v


@pytest.mark.parametrize(
    ("equation", "numbers"), [(momentum, [0.9, 0.1]), (adam_like, [0.9, 0.1, 0.99, 0.01, 0.01])]
)
def test_an_update_computes_what_the_generated_code_does(equation, numbers):
    xp = find("numpy")
    n_arrays = equation.__code__.co_argcount - 1
    rng = np.random.default_rng(0)
    start = [abs(rng.standard_normal((3, 4))) for _ in range(n_arrays)]
    found = []
    for kind in (InPlace, in_place.InPlace):
        arrays = [a.copy() for a in start]
        update = kind("SGD", equation, numbers, n_arrays)
        for _ in range(3):
            update.run(xp, arrays, numbers, lambda n: [np.empty((3, 4)) for _ in range(n)])
        np.testing.assert_array_equal(arrays[1], start[1])  # the gradient is only read
        found.append(arrays)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert abs(found[0][0] - start[0]).max() > 1e-3
