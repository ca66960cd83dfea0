"""Products of matrices, with what is added to them; large ones are written to lent memory."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_rnn.backend import array_module
from tinygrad_rnn.backend.numpy_ import LARGE, LONG, PIECE

pytestmark = pytest.mark.host
SIZES = [(2, 3, 4), (LARGE // 64 + 5, 7, 64), (513, 300, 600), (1, 5, LARGE + 3), (3 * LARGE, 2, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_product_is_the_product_in_any_layout(size, kind):
    n, k, m = size
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, k)).astype(kind), rng.standard_normal((k, m)).astype(kind)
    row, whole = rng.standard_normal(m).astype(kind), rng.standard_normal((n, m)).astype(kind)
    expected = a.astype("float64") @ b.astype("float64")
    rtol, atol = (1e-12, 1e-12) if kind == "float64" else (1e-4, 1e-4)
    xp = array_module(a)
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.ascontiguousarray(b.T).T):
            for add in (None, row, whole):
                kept = None if add is None else add.copy()
                y = xp.product(left, right, add)
                assert y.dtype == kind
                assert y.shape == (n, m)
                np.testing.assert_allclose(y, expected + (0 if add is None else add), rtol=rtol, atol=atol)
                if add is not None:
                    np.testing.assert_array_equal(add, kept)


def test_what_is_added_may_be_of_another_type():
    xp = array_module(np.ones(1))
    a = np.ones((LARGE // 4, 2), "float32")
    y = xp.product(a, np.ones((2, 4), "float32"), np.full(4, 0.25))
    assert y.dtype == np.float64
    assert (y == 2.25).all()


@pytest.mark.parametrize("m", [1, 3, LONG - 1, LONG, 1000])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_sums_along_rows(m, kind):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((5, m)).astype(kind) for _ in range(2))
    xp = array_module(x)
    for given, terms in (((x,), x), ((x, y), x.astype("float64") * y)):
        found = xp.row_sums(*given)
        assert found.shape == (5, 1)
        assert found.dtype == kind
        expected = terms.astype("float64").sum(-1, keepdims=True)
        tolerance = {"float16": 5e-2, "float32": 1e-4, "float64": 1e-12}[kind]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "shape", [(LONG - 1, 3), (LONG, 3), (1000, 1), (1000, 40), (10, 30, 7), (0, 4), (70, 0)]
)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
def test_sums_of_columns(shape, kind, turned):
    x = np.random.default_rng(0).standard_normal(shape).astype(kind)
    x = np.swapaxes(x, 0, 1) if turned else x
    found = array_module(x).column_sums(x)
    assert found.shape == x.shape[-1:]
    assert found.dtype == kind
    expected = x.astype("float64").sum(tuple(range(x.ndim - 1)))
    tolerance = {"float16": 1e-1, "float32": 1e-4, "float64": 1e-12}[kind]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_sums_of_columns_keep_what_is_not_finite():
    x = np.ones((2 * LONG, 3), "float32")
    x[5, 1], x[7, 2] = np.inf, np.nan
    np.testing.assert_array_equal(array_module(x).column_sums(x), [2 * LONG, np.inf, np.nan])


@pytest.mark.parametrize("n", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 17])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25, 1e30])
def test_sum_of_squares(n, kind, scale):
    """Also where float32 cannot hold the squares, though it holds the numbers."""
    if kind == "float16" and scale != 1:
        return
    x = (np.random.default_rng(0).standard_normal(n) * scale).astype(kind)
    found = array_module(x).square_sum(x)
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, (x.astype("float64") ** 2).sum(), rtol=1e-6)


def test_sum_of_squares_of_a_transposed_and_of_a_cut_matrix():
    x = np.random.default_rng(0).standard_normal((100, 300)).astype("float32")
    for part in (x.T, x[:, 3:290], x[::2]):
        found = array_module(x).square_sum(part)
        np.testing.assert_allclose(found, (part.astype("float64") ** 2).sum(), rtol=1e-6)
    x[3, 3] = np.nan
    assert np.isnan(array_module(x).square_sum(x))
    x[3, 3] = -np.inf
    assert array_module(x).square_sum(x) == np.inf
