"""Every op against its row: forward, gradients of both orders, memory."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.support.rows import ROWS
from tinygrad_rnn import Tensor, engine
from tinygrad_rnn.engine import REGISTRY, Node, Output
from tinygrad_rnn.testing import gradcheck

pytestmark = pytest.mark.host  # on other libraries: tests/backend/test_strict.py

quick = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
slow = settings(quick, max_examples=10)
all_rows = pytest.mark.parametrize("name", ROWS)
differentiable = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.order])
any_dtype = st.sampled_from(["float32", "float64"])


def as_type(array, dtype):
    return array.astype(dtype) if array.dtype.kind == "f" else array


def tensors(arrays, requires_grad=True):
    """The arrays as tensors over the same memory; floating ones require a gradient."""
    made = [Tensor._of(a) for a in arrays]
    for x in made:
        x.requires_grad = requires_grad and x.is_floating_point()
    return made


def flat(results):
    if isinstance(results, (tuple, list)):
        return [y for part in results for y in flat(part)]
    return [results]


def tracked(results):
    return [y for y in flat(results) if y.requires_grad]


def nodes(results):
    """The nodes behind the results."""
    stack = [y.vertex for y in results]
    found = set()
    while stack:
        vertex = stack.pop()
        node = vertex.node if isinstance(vertex, Output) else vertex
        if isinstance(node, Node) and node not in found:
            found.add(node)
            stack.extend(node.parents)
    return found


def arrays_in(value):
    """The arrays in what a node keeps, in tuples and slices too."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from arrays_in(part)


def upstream(results, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, y.shape)).astype(y.dtype) for y in results]


def gradients(leaves, results, seeds):
    engine.backward(results, seeds)
    return [x.grad for x in leaves if x.requires_grad]


def test_every_primitive_has_a_row():
    covered = {primitive for row in ROWS.values() for primitive in row.covers}
    # What passes put into blocks has no gradient and no name that users call: tests/fuse.
    ours = {
        name
        for name, p in REGISTRY.items()
        if p.forward.__module__.startswith("tinygrad_rnn.")
        and not p.forward.__module__.startswith("tinygrad_rnn.fuse.")
    }
    assert ours - covered == set(), "register a row in tests/support/rows"
    assert covered - ours == set()


NO_GRADIENT = {
    "allclose",
    "equal",
    "isclose",
    "multinomial",
    "argwhere",
    "one_hot",
    "bincount",
    "count_nonzero",
}
NO_GRADIENT |= {"isin", "logical_xor", "searchsorted", "unique", "unique_consecutive"}


def test_every_public_op_has_a_row():
    """By the first word of the row's name, which may be any of the names that an op has."""
    names = {}
    for module in (tg, tg.nn.functional):
        for name in dir(module):
            op = getattr(module, name)
            if inspect.isfunction(op) and op.__module__.startswith("tinygrad_rnn.ops."):
                names.setdefault(op, set()).add(name)
    assert len(names) > 90
    tested = {row.split()[0] for row in ROWS}
    without = {min(of) for op, of in names.items() if not tested & {*of, op.__name__}}
    constants = {n for n in without if n in REGISTRY and not REGISTRY[n].has_rules}
    assert without - constants - NO_GRADIENT == set(), "add a row in tests/support/rows"


@all_rows
@quick
@given(data=st.data(), dtype=any_dtype)
def test_forward_is_the_reference(name, data, dtype):
    row = ROWS[name]
    case = data.draw(row.cases)
    arrays = [as_type(a, dtype) for a in case.arrays]
    results = flat(row.op(*tensors(arrays, False), **case.settings))
    expected = flat(row.reference(*case.arrays, **case.settings))
    assert len(results) == len(expected)
    for y, wanted in zip(results, expected, strict=True):
        wanted = np.asarray(wanted)
        assert isinstance(y, Tensor)
        assert y.shape == wanted.shape
        if wanted.dtype.kind == "f":
            assert y.dtype == case.settings.get("dtype", dtype)
            bound = 1e-9 if dtype == "float64" else 2e-4
            np.testing.assert_allclose(y.numpy(), wanted, rtol=bound, atol=bound)
        else:
            assert y.dtype.kind == wanted.dtype.kind
            np.testing.assert_array_equal(y.numpy(), wanted)


@all_rows
@slow
@given(data=st.data())
def test_plain_arrays_give_plain_arrays(name, data):
    row = ROWS[name]
    case = data.draw(row.cases)
    results = flat(row.op(*case.arrays, **case.settings))
    expected = flat(row.op(*tensors(case.arrays), **case.settings))
    for y, wanted in zip(results, expected, strict=True):
        assert isinstance(y, (np.ndarray, np.generic))
        np.testing.assert_array_equal(y, wanted.numpy())


@differentiable
@slow
@given(data=st.data())
def test_gradients_of_both_orders(name, data):
    row = ROWS[name]
    case = data.draw(row.cases)

    def op(*xs):
        return row.op(*xs, **case.settings)

    gradcheck(op, *tensors(case.arrays, False), order=row.order)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.order])
@slow
@given(data=st.data())
def test_ops_without_gradient_give_constants(name, data):
    row = ROWS[name]
    case = data.draw(row.cases)
    assert tracked(row.op(*tensors(case.arrays), **case.settings)) == []


@differentiable
@slow
@given(data=st.data(), dtype=any_dtype)
def test_memory(name, data, dtype):
    """Inputs and upstream gradients stay as they are; gradients have the leaf's type and their own memory."""
    row = ROWS[name]
    case = data.draw(row.cases)
    arrays = [as_type(a, dtype) for a in case.arrays]
    for a in arrays:
        a.flags.writeable = False
    leaves = tensors(arrays)
    results = tracked(row.op(*leaves, **case.settings))
    seeds = upstream(results)
    for g in seeds:
        g.flags.writeable = False
    found = gradients(leaves, results, seeds)
    wanted = [x for x in leaves if x.requires_grad]
    got = [g.array for g in found if g is not None]
    for x, g in zip(wanted, found, strict=True):
        assert g is None or (g.shape, g.dtype) == (x.shape, x.dtype)
    for one, other in itertools.combinations([*got, *seeds, *arrays], 2):
        mine = any(one is g for g in got)
        assert not (mine and np.shares_memory(one, other)), "a gradient shares memory with something else"


@differentiable
@slow
@given(data=st.data())
def test_nothing_is_read_that_is_not_saved(name, data):
    row = ROWS[name]
    case = data.draw(row.cases)
    leaves = tensors([a.copy() for a in case.arrays])
    results = tracked(row.op(*leaves, **case.settings))
    seeds = upstream(results)
    expected = gradients(leaves, results, seeds)

    leaves = tensors([a.copy() for a in case.arrays])
    results = tracked(row.op(*leaves, **case.settings))
    kept = [a for node in nodes(results) for value in node.saved for a in arrays_in(value)]
    for x in [*leaves, *results]:
        if x.is_floating_point() and not any(np.shares_memory(x.array, a) for a in kept):
            if not x.array.flags.writeable:
                continue  # a view that repeats elements: its memory is an input's
            x.array[...] = np.nan
    for g, wanted in zip(gradients(leaves, results, seeds), expected, strict=True):
        assert (g is None) == (wanted is None)
        if g is not None:
            np.testing.assert_array_equal(g.numpy(), wanted.numpy())


def kept(results):
    """What the nodes behind the results keep, from the oldest on."""
    return [
        (node.op.name, [None if value is None else str(value) for value in node.saved])
        for node in sorted(nodes(results), key=lambda node: node.time)
    ]


@differentiable
@slow
@given(data=st.data(), dtype=any_dtype)
def test_the_short_way_of_a_call_is_the_long_one(name, data, dtype):
    """In the usual mode engine/fast.py has calls take a shorter way."""
    row = ROWS[name]
    case = data.draw(row.cases)
    arrays = [as_type(a, dtype) for a in case.arrays]

    def run():
        return tracked(row.op(*tensors([a.copy() for a in arrays]), **case.settings))

    short = run()
    with engine.mode.debug():
        try:
            long = run()
        except FloatingPointError:  # infinities are found
            return
    assert [(y.array.dtype, y.array.tolist()) for y in short] == [
        (y.array.dtype, y.array.tolist()) for y in long
    ]
    assert kept(short) == kept(long)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.order and row.covers])
def test_a_row_runs_what_it_covers(name):
    row = ROWS[name]

    def covers(case):
        results = tracked(row.op(*tensors(case.arrays), **case.settings))
        return set(row.covers) <= {node.op.name for node in nodes(results)}

    assert find(row.cases, covers, settings=settings(quick, max_examples=50, phases=[Phase.generate]))
