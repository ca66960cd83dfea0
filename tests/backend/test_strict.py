"""The stand-in for CuPy: it refuses what CuPy refuses, and every op, forward and back, gets along with it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.extras import extra
from tests.support import strict
from tests.support.rows import ROWS
from tinygrad_rnn import Tensor, backend, engine, nn

strict.install()
xp = strict.module
HERE = Path(tg.__file__).parent


@pytest.fixture(autouse=True)
def _on_the_stand_in():
    with tg.use("strict"):
        yield


def array(*numbers):
    return xp.from_numpy(np.array(numbers, "float32"))


REFUSED = [
    (lambda x: np.asarray(x), "implicit conversion"),
    (lambda x: np.exp(x), "ufuncs"),
    (lambda x: x + np.ones(3, "float32"), "NumPy array"),
    (lambda x: np.ones(3, "float32") + x, "ufuncs|unsupported|NumPy array"),
    (lambda x: x + [1.0, 2.0, 3.0], "list"),
    (lambda x: x[np.array([0, 1])], "NumPy array"),
    (lambda x: x[[0, 1]], "list"),
    (lambda x: x.__setitem__(slice(None), np.ones(3)), "NumPy array"),
    (lambda x: xp.exp(np.ones(3)), "NumPy array"),
    (lambda x: xp.exp([1.0, 2.0]), "list"),
    (lambda x: xp.concatenate([x, np.ones(3)]), "NumPy array"),
    (lambda x: xp.add(x, x, where=x > 0), "where="),
    (lambda x: x.sum(initial=0.0), "initial="),
    (lambda x: x.sum(where=x > 0), "where="),
    (lambda x: x.copy(order="F"), "order="),
    (lambda x: xp.clip(x, min=0.0, max=1.0), "max="),
    (lambda x: x.var(correction=1), "correction="),
    (lambda x: x.take(xp.arange(2), mode="wrap"), "mode="),
    (lambda x: x.__setitem__(xp.zeros(2, "int64"), 1.0), "twice"),
    (lambda x: hash(x), "unhashable"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_what_cupy_refuses(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call(array(1.0, 2.0, 3.0))


@pytest.mark.parametrize("name", sorted(strict.MISSING))
def test_names_that_are_missing(name):
    assert hasattr(np, name) or name in ("seterr", "matvec", "vecmat")
    with pytest.raises(AttributeError, match=name):
        getattr(xp.library, name)


@pytest.mark.parametrize("name", sorted(strict.METHODS))
def test_the_methods_are_numpys(name):
    assert callable(getattr(array(1.0), name))


def test_reductions_give_arrays_without_axes():
    x = array(1.0, 2.0)
    for y in (x.sum(), xp.max(x), x[0], xp.dot(x, x), x.argmax()):
        assert type(y) is strict.StrictArray
        assert y.shape == ()


def test_wrong_indices_wrap_in_silence():
    assert float(array(1.0, 2.0, 3.0)[xp.from_numpy(np.array([4]))]) == 2.0


@pytest.mark.parametrize(
    "call", [lambda x: x @ x, lambda x: xp.dot(x, x), lambda x: x.dot(x), lambda x: x.argsort(), xp.argsort]
)
def test_what_no_graph_can_hold(call):
    x = array(1.0, 2.0)
    call(x)
    with pytest.raises(backend.CannotCapture, match=r"CuPy's (matmul|dot|argsort) cannot be captured"):
        xp.capture(lambda: call(x))
    xp.capture(lambda: xp.matmul(x, x))


WAITS = [
    lambda x: float(x[0]),
    lambda x: int(x[0]),
    lambda x: bool(x[0] > 0),
    lambda x: x[0].item(),
    lambda x: x.tolist(),
    lambda x: x[x > 0],
    lambda x: xp.nonzero(x),
    lambda x: xp.where(x > 0),
    lambda x: xp.to_numpy(x),
]


@pytest.mark.parametrize("call", WAITS)
def test_waits_are_refused_where_asked(call):
    x = array(1.0, 2.0)
    call(x)
    with strict.no_waits(), pytest.raises(RuntimeError, match="wait"):
        call(x)
    call(x)


def test_views_know_whose_memory_they_look_into():
    x = array(1.0, 2.0, 3.0, 4.0)
    view = x.reshape(2, 2)[1]
    assert xp.owner(view) is x
    assert xp.owner(x + 1) is not x
    view += 1
    assert x.tolist() == [1.0, 2.0, 4.0, 5.0]


# ---------------------------------------------------------------- the package on it


def moved(value):
    """What a row gives as arguments and settings, with arrays of the stand-in for NumPy's."""
    if isinstance(value, np.ndarray):
        return xp.from_numpy(value)
    return tuple(map(moved, value)) if isinstance(value, tuple) and type(value) is tuple else value


def flat(results):
    return [y for part in results for y in flat(part)] if isinstance(results, (tuple, list)) else [results]


def values_and_gradients(row, arrays, arguments, create_graph):
    """The results of a row's op and the gradients of their weighted sum, as NumPy arrays."""
    leaves = [Tensor._of(a) for a in arrays]
    for x in leaves:
        x.requires_grad = row.order > 0 and x.is_floating_point()
    results = flat(row.op(*leaves, **arguments))
    outputs = [y for y in results if y.requires_grad]
    module = backend.array_module(*arrays)
    seeds = [
        module.from_numpy(np.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).reshape(y.shape)) for y in outputs
    ]
    if create_graph:
        seeds = [Tensor._of(seed) for seed in seeds]
    found = engine.backward(outputs, seeds, inputs=leaves, create_graph=create_graph) if outputs else []
    found = [g.array if isinstance(g, Tensor) else g for g in found]
    return [None if v is None else backend.to_numpy(v) for v in [*(y.array for y in results), *found]]


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), create_graph=st.booleans())
def test_every_op_gets_along(name, data, create_graph):
    """Values and gradients are NumPy's, bit for bit or nearly."""
    row = ROWS[name]
    case = data.draw(row.cases)
    there = values_and_gradients(row, [moved(a) for a in case.arrays], moved_settings(case), create_graph)
    with tg.use("numpy"):
        here = values_and_gradients(row, [a.copy() for a in case.arrays], case.settings, create_graph)
    for a, b in zip(there, here, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def moved_settings(case):
    return {key: moved(value) for key, value in case.settings.items()}


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_training_a_recurrent_layer_never_waits(kind):
    layer = kind(3, 4, num_layers=2)
    head = nn.Linear(4, 2)
    x, y = tg.randn(5, 2, 3), tg.randn(5, 2, 2)
    steps = tg.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    with strict.no_waits():
        for _ in range(2):
            steps.zero_grad()
            output, _ = layer(x)
            loss = ((head(output) - y) ** 2).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            steps.step()
    assert loss.item() > 0


@pytest.mark.extras("cupy")
def test_functions_that_the_package_calls_are_in_the_real_cupy():
    cupy = extra("cupy")
    own = {*vars(backend.ArrayModule), *vars(type(backend.find("numpy")))}
    called = set()
    for path in HERE.rglob("*.py"):
        called.update(re.findall(r"\bxp\.([a-z_0-9]+)", path.read_text()))
    own |= {"name", "array_type", "device_type", "library"}
    assert sorted(name for name in called - own if not hasattr(cupy, name)) == []
    assert [name for name in strict.MISSING if hasattr(cupy, name)] == []
    assert [name for name in strict.METHODS if not hasattr(cupy.ndarray, name)] == []
