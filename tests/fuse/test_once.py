"""Pointwise functions in C outside of loops: the numbers of NumPy, whatever the arrays are like."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.fuse.test_random_steps import compare, of_a_pointwise_function
from tinygrad_rnn import chunk, exp, pointwise, sigmoid, sqrt, tanh, where
from tinygrad_rnn.backend import compiling
from tinygrad_rnn.backend.native import native
from tinygrad_rnn.fuse import once

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not compiling.compiler(), reason="no C compiler is installed"),
]


def lstm(gates, bias, c):
    i, f, g, o = (x + b for x, b in zip(chunk(gates, 4, axis=-1), chunk(bias, 4, axis=-1), strict=True))
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def several(x, y, z):
    return where(x > y, exp(-x * x), sqrt(abs(y) + 1)) * z, x * sigmoid(x), z


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(once, "ENOUGH", 1)


@pytest.fixture
def runs(monkeypatch):
    found, call = [], once.Once.__call__
    monkeypatch.setattr(
        once.Once, "__call__", lambda self, arrays: (found.append(self), call(self, arrays))[1]
    )
    return found


def results(function, shapes, dtype, change=lambda x: x):
    rng, fused = np.random.default_rng(0), pointwise(function)
    given = [tg.tensor(change(rng.standard_normal(s).astype(dtype)), requires_grad=True) for s in shapes]
    seeds = np.random.default_rng(1)
    outs = fused(*given)
    total = sum((o * tg.tensor(seeds.standard_normal(o.shape).astype(dtype))).sum() for o in outs)
    firsts = tg.grad(total, given, create_graph=True)
    sum((g * g).sum() for g in firsts if g is not None).backward()
    return [x.numpy() for x in (*outs, *firsts, *(x.grad for x in given)) if x is not None]


CASES = {
    "lstm": (lstm, [(7, 20), (20,), (7, 5)]),
    "several": (several, [(6, 3)] * 3),
    "three axes": (several, [(6, 2, 3)] * 3),
    "one row": (lstm, [(1, 12), (12,), (1, 3)]),
    "no rows": (lstm, [(0, 12), (12,), (0, 3)]),
    "many": (several, [(3000, 11)] * 3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_numpy(name, dtype, runs):
    with native(False):
        wanted = results(*CASES[name], dtype)
    assert not runs
    with native(True):
        found = results(*CASES[name], dtype)
    assert runs
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_any_number_of_threads_has_the_same_bits(monkeypatch, runs):
    found = []
    for n in (1, 2, 5):
        monkeypatch.setattr(native, "n_threads", n)
        with native(True):
            found.append(results(*CASES["many"], "float32"))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, -1)[..., ::2],
        lambda x: x[::-1],
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    ],
    ids=["turned", "every other", "backwards", "one row for all", "unaligned"],
)
def test_arrays_as_users_have_them(change, runs):
    def made(x):
        return change(x) if x.ndim > 1 else x

    def run():
        rng = np.random.default_rng(0)
        given = [tg.tensor(made(rng.standard_normal(s))) for s in CASES["lstm"][1]]
        for x, s in zip(given, CASES["lstm"][1], strict=True):
            x.array = made(np.random.default_rng(sum(s)).standard_normal(s))
        return [y.numpy() for y in pointwise(lstm)(*given)]

    with native(False):
        wanted = run()
    with native(True):
        found = run()
    assert runs
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_it_is_on_and_off_from_call_to_call(runs):
    fused = pointwise(lambda x: tanh(x) * x)
    x = tg.ones(4, 3)
    for on, n in ((True, 1), (False, 1), (True, 2)):
        with native(on):
            fused(x)
        assert len(runs) == n


def test_small_arguments_are_left_to_numpy(monkeypatch, runs):
    monkeypatch.setattr(once, "ENOUGH", 100)
    fused = pointwise(lambda x: tanh(x) * x)
    with native(True):
        fused(tg.ones(9, 11))
        assert not runs
        fused(tg.ones(10, 10))
        assert runs


def test_random_functions():
    for seed in range(40):
        with native(True):
            compare(of_a_pointwise_function, seed, "float64")
