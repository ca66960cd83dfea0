"""Additions in a fixed order: `deterministic(True)`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.cuda_tools import compile_for_gpu, needs_compiler, needs_nvrtc
from tests.support import strict
from tinygrad_rnn import nn
from tinygrad_rnn.backend import CannotCapture, segments

pytestmark = pytest.mark.host


@needs_nvrtc
@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_nvrtc_compiles_it(itemsize):
    assert compile_for_gpu(segments.source(itemsize)) > 0


@st.composite
def additions(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    size = draw(st.integers(0, 9))
    many = st.lists(st.integers(-shape[0], shape[0] - 1), min_size=size, max_size=size)
    rows = np.array(draw(many), "int64")
    how = draw(st.sampled_from(["rows", "matrix of rows", "pairs", "mask"]))
    if how == "matrix of rows":
        index = rows.reshape(1, -1)
    elif how == "pairs" and len(shape) > 1:
        index = (
            rows,
            np.array(draw(st.lists(st.integers(0, shape[1] - 1), min_size=size, max_size=size)), "int64"),
        )
    elif how == "mask":
        index = np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0
    else:
        index = rows
    return shape, index, draw(st.sampled_from(["float16", "float32", "float64"]))


@needs_compiler
def test_in_a_graph_the_sums_have_the_same_bits():
    """Without sorting, which no graph can hold."""
    rng = np.random.default_rng(0)
    start, rows = rng.standard_normal((5, 3)).astype("float32"), rng.integers(0, 4, 40) - 2
    values = rng.standard_normal((40, 3)).astype("float32")
    with strict.kernels() as xp, tg.deterministic():
        target, moved, added = (xp.from_numpy(a) for a in (start, rows, values))
        xp.scatter_add(target, moved, added)
        again = xp.from_numpy(start)
        _, replay = xp.capture(lambda: xp.scatter_add(again, moved, added))
        replay()
        np.testing.assert_array_equal(xp.to_numpy(again), xp.to_numpy(target))
        assert xp.launched == {"add_segments": 1, "add_places": 1}


@needs_compiler
def test_too_many_for_a_graph_are_told(monkeypatch):
    monkeypatch.setattr(segments, "LOOKS", 10)
    with strict.kernels() as xp, tg.deterministic():
        target, rows, values = xp.zeros((4, 3), "float32"), xp.asarray([1, 1]), xp.ones((2, 3), "float32")
        with pytest.raises(CannotCapture, match=r"2 for a tensor of shape \(4, 3\) are too many"):
            xp.capture(lambda: xp.scatter_add(target, rows, values))


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(additions())
def test_sums_are_those_of_numpy(case):
    shape, index, kind = case
    rng = np.random.default_rng(0)
    target = rng.integers(-4, 5, shape).astype(kind)
    values = rng.integers(-4, 5, target[index].shape).astype(kind)
    expected = target.copy()
    np.add.at(expected, index, values)
    with strict.kernels() as xp, tg.deterministic():
        moved = tuple(map(xp.from_numpy, index)) if isinstance(index, tuple) else xp.from_numpy(index)
        there = xp.from_numpy(target)
        xp.scatter_add(there, moved, xp.from_numpy(values))
        np.testing.assert_array_equal(xp.to_numpy(there), expected)


@needs_compiler
def test_the_gradient_of_an_embedding_waits_for_nothing():
    def gradient():
        tg.manual_seed(0)
        table, rows = nn.Embedding(7, 3), tg.tensor([[1, 2, 1], [6, 1, 0]])
        (table(rows) * tg.randn(2, 3, 3)).sum().backward()
        return table.weight.grad

    with tg.use("numpy"):
        here = gradient().numpy()
    with strict.kernels() as xp, tg.deterministic():
        there = gradient()
        assert xp.launched["add_segments"] == 1
    np.testing.assert_allclose(there.numpy(), here, rtol=1e-6)
    with tg.use("strict"), tg.deterministic(), strict.no_waits():
        gradient()


def test_the_switch_is_a_statement_and_a_block():
    assert not tg.deterministic.on
    with tg.deterministic():
        assert tg.deterministic.on
        with tg.deterministic(False):
            assert not tg.deterministic.on
        assert tg.deterministic.on
    assert not tg.deterministic.on
    tg.deterministic(True)
    assert tg.deterministic.on
    tg.deterministic(False)


def test_only_floating_targets():
    with strict.kernels() as xp, pytest.raises(TypeError, match="floating target"):
        segments.scatter_add(xp, xp.zeros(3, "int64"), xp.asarray([0]), xp.asarray([1]))
