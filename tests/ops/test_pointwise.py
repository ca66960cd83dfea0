"""Fused functions against the same functions op by op."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.ops import clip, gelu, maximum, relu, sigmoid, softplus, tanh, where
from tinygrad_rnn.ops.gates import find_gates
from tinygrad_rnn.ops.pointwise import pointwise


def lstm(i, f, g, o, c):
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def mixed(a, b, c):
    d = where(a > b, tg.exp(-a * a), 2.0 - b) / (1 + c * c)
    return d**3, relu(a) - softplus(b), maximum(d, c)


FUNCTIONS = {
    "lstm": (lstm, 5),
    "mixed": (mixed, 3),
    "one": (lambda a: tanh(a) * 0.5 + a, 1),
    "identity": (lambda a, b: (b, a * b), 2),
    "same twice": (lambda a, b: (tanh(a), tanh(a) + b), 2),
    "unused": (lambda a, b: a + a, 2),
    "activations": (lambda a, b: gelu(a) + clip(b, -0.5, 0.5) + tg.abs(a) - tg.sqrt(a * a + 1), 2),
    "powers": (lambda a, b: 1 / (2 + a * a) - 3 * b**2 + abs(a) ** 1.5, 2),
}


def gradients(run, inputs):
    """Values, gradients, and gradients of a function of the gradients."""
    outputs = run()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    rng = np.random.default_rng(0)
    loss = sum((o * tg.tensor(rng.standard_normal(o.shape), dtype=o.dtype)).sum() for o in outputs)
    first = tg.grad(loss, inputs, create_graph=True, allow_unused=True)
    squares = sum((g * g * g).sum() for g in first if g is not None)
    second = tg.grad(squares, inputs, allow_unused=True) if getattr(squares, "requires_grad", False) else ()
    return [*outputs, *first, *second]


def assert_same(a, b, tolerance=1e-12):
    assert len(a) == len(b)
    for p, q in zip(a, b, strict=True):
        missing = [t for t in (p, q) if t is not None]
        if len(missing) < 2:
            assert all(not t.numpy().any() for t in missing)
            continue
        assert p.dtype == q.dtype
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.sampled_from([(3,), (2, 3), (1, 1), (2, 0), (2, 2, 2), ()]),
    st.integers(1, 31),
    st.integers(0, 3),
)
def test_fused_equals_op_by_op(name, shape, needs, seed):
    function, n = FUNCTIONS[name]
    fused = pointwise(function)
    rng = np.random.default_rng(seed)
    inputs = [tg.tensor(np.asarray(rng.standard_normal(shape))) for _ in range(n)]
    for i, x in enumerate(inputs):
        x.requires_grad = bool(needs >> i & 1)
    tracked = [x for x in inputs if x.requires_grad]
    if not tracked:
        return
    for run in (fused, function):
        if not any(o.requires_grad for o in _tuple(run(*inputs))):
            return
    fast = gradients(lambda: fused(*inputs), tracked)
    with tg.eager():
        slow = gradients(lambda: fused(*inputs), tracked)
    assert_same(fast, slow)


def _tuple(x):
    return x if isinstance(x, tuple) else (x,)


def gated(gates, c, pair):
    i, f, g, o = tg.chunk(gates, 4, axis=-1)
    a, b = tg.chunk(pair, 2, axis=-1)
    return (*lstm(i, f, g, o, c * a), b * i)


@pytest.mark.parametrize("needs", range(1, 8))
@pytest.mark.parametrize("shape", [(3, 2), (2, 1, 3), (1,), (2, 0)])
def test_arguments_of_several_chunks(needs, shape):
    fused = pointwise(gated)
    inputs = [tg.randn(*shape[:-1], n * shape[-1], dtype="float64") for n in (4, 1, 2)]
    for k, x in enumerate(inputs):
        x.requires_grad = bool(needs >> k & 1)
    tracked = [x for x in inputs if x.requires_grad]
    assert fused(*inputs)[0].grad_fn.name() == "gated"
    fast = gradients(lambda: fused(*inputs), tracked)
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(*inputs), tracked))


def gates_of(function):
    program = pointwise(function).program
    return [(g.arguments, g.is_sigmoid) for g in find_gates(program, set())]


def test_which_chunks_are_gates():
    def pair(x, n):
        return tg.chunk(x, n, axis=-1)

    def of_all(x):
        a, b = pair(x, 2)
        return sigmoid(a) * tanh(b)

    def of_sums(x, u):
        (a, b, c), (d, e, f) = pair(x, 3), pair(u, 3)
        return sigmoid(a + d) * sigmoid(e + b) + c * f

    def shifted(x, u):
        (a, b, c), (d, e, f) = pair(x, 3), pair(u, 3)
        return tanh(b + d) * sigmoid(c + e) + a * f

    def crossed(x, u):  # neighbours in one of the arguments only
        (a, b), (c, d) = pair(x, 2), pair(u, 2)
        return sigmoid(a + d) * sigmoid(b + c)

    def read_twice(x):
        a, b = pair(x, 2)
        return sigmoid(a) * tanh(b) * b

    def of_other_counts(x, u):
        (a, b), (c, d, e) = pair(x, 2), pair(u, 3)
        return sigmoid(a + c) * sigmoid(b + d) * e

    def of_itself(x):
        a, b = pair(x, 2)
        return sigmoid(a + a) * sigmoid(b + b)

    assert gates_of(of_all) == [((("a0", 0),), [True, False])]
    assert gates_of(of_sums) == [((("a0", 0), ("a1", 0)), [True, True])]
    assert gates_of(shifted) == [((("a0", 1), ("a1", 0)), [False, True])]
    for none in (crossed, read_twice, of_other_counts, of_itself):
        assert gates_of(none) == [], none.__name__


def test_chunks_of_a_row_and_chunks_not_used():
    fused = pointwise(lambda x, b: tanh(x + tg.chunk(b, 3, axis=-1)[1]))
    x, b = tg.randn(4, 2, requires_grad=True), tg.randn(6, requires_grad=True)
    assert fused(x, b).grad_fn.name() == "<lambda>"
    fast = gradients(lambda: fused(x, b), [x, b])
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(x, b), [x, b]), 1e-5)
    assert fused(tg.ones(4, 2), tg.ones(5)).shape == (4, 2)  # chunks of 2, 2 and 1: op by op


def test_rows_are_broadcast_and_summed_back():
    fused = pointwise(lambda x, b: (tanh(x * b) + b, sigmoid(x)))
    x, b = tg.randn(4, 3, requires_grad=True), tg.randn(3, requires_grad=True)
    assert fused(x, b)[0].grad_fn.name() == "<lambda>"  # one node
    fast = gradients(lambda: fused(x, b), [x, b])
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(x, b), [x, b]), 1e-5)
    column = tg.randn(4, 1, requires_grad=True)  # any other broadcasting runs op by op
    assert fused(x, column)[0].shape == (4, 3)


def test_one_node_and_no_garbage():
    fused = pointwise(lstm)
    args = [tg.randn(2, 3, requires_grad=True) for _ in range(5)]
    h, c = fused(*args)
    assert h.grad_fn.name() == c.grad_fn.name() == "lstm"
    gc.collect()
    gc.disable()
    try:
        h, c = fused(*args)
        (h.sum() + c.sum()).backward()
        del h, c
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_inputs_are_not_changed():
    fused = pointwise(mixed)
    args = [tg.randn(2, 3, requires_grad=True) for _ in range(3)]
    before = [a.numpy().copy() for a in args]
    outputs = fused(*args)
    kept = [o.numpy().copy() for o in outputs]
    sum(o.sum() for o in outputs).backward()
    for a, b in zip([*args, *outputs], [*before, *kept], strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


def test_numbers_arrays_and_mixed_types_run_op_by_op():
    fused = pointwise(lambda a, b: a * b + 1)
    assert fused(2.0, 3.0) == 7
    np.testing.assert_array_equal(fused(np.ones(2), np.ones(2)), [2, 2])
    assert fused(tg.ones(2), 3.0).tolist() == [4, 4]
    assert fused(tg.ones(2), tg.ones(2, dtype="float64")).dtype == np.float64


def test_source_shows_what_was_made():
    fused = pointwise(lstm)
    assert "v0 = sigmoid(a1)" in fused.source("program")
    assert "xp.tanh" in fused.source()
    with pytest.raises(ValueError, match="'fortran' is unknown"):
        fused.source("fortran")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a.sum(), "'sum' is no operation on single elements"),
        (lambda a: a @ a, "unsupported operand"),
        (lambda a: tg.sum(a), "a single element has no ndim"),
        (lambda a: a if a > 0 else -a, "may not branch on a value"),
        (lambda a: a * tg.ones(3), "must come in as an argument"),
        (lambda a: 1.0, "returns a float"),
        (lambda a: tg.chunk(a, 2)[0], "along the last axis, axis=-1, got axis=0"),
        (lambda a: tg.chunk(a * 2, 2, axis=-1)[0], "chunk works on an argument"),
        (lambda a: tg.chunk(a, 2, axis=-1)[0] + a, "both in chunks and whole"),
    ],
)
def test_what_is_not_pointwise_says_so(function, message):
    with pytest.raises((TypeError, AttributeError), match=message):
        pointwise(function)(tg.ones(3))


def test_wrong_number_of_arguments():
    with pytest.raises(TypeError, match=r"expected 2 arguments \(a, b\), got 1"):
        pointwise(lambda a, b: a + b)(tg.ones(2))
    with pytest.raises(TypeError, match="plain positional arguments"):
        pointwise(lambda *a: a[0])


def test_debug_names_the_op_inside():
    fused = pointwise(lambda a: tg.log(a) + 1)
    with np.errstate(invalid="ignore"), tg.debug(), pytest.raises(FloatingPointError, match="log made NaN"):
        fused(tg.tensor([-1.0]))
