"""Fused functions against the same functions op by op."""

import functools
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.engine import REGISTRY, primitive
from tinygrad_rnn.fuse import plan as plan_module
from tinygrad_rnn.fuse.ir import N, Type
from tinygrad_rnn.fuse.passes import gates
from tinygrad_rnn.fuse.plan import Plan
from tinygrad_rnn.fuse.pointwise import pointwise
from tinygrad_rnn.fuse.trace import trace
from tinygrad_rnn.ops import clip, gelu, maximum, relu, sigmoid, softplus, tanh, where


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
    assert repr(fused(*inputs)[0].grad_fn) == "<gated>"
    fast = gradients(lambda: fused(*inputs), tracked)
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(*inputs), tracked))


def gates_of(function):
    block = pointwise(function).example().block
    names = {r: f"a{k}" for k, r in enumerate(block.params)}
    return [
        (tuple((names[r], k) for r, k in group[0].pieces), [g.instr.op.name == "sigmoid" for g in group])
        for group in gates.gates_of(block)
    ]


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
    assert gates_of(of_other_counts) == [((("a0", 0), ("a1", 0)), [True, True])]
    for none in (crossed, read_twice, of_itself):
        assert gates_of(none) == [], none.__name__
    for function, widths in (
        (of_sums, (6, 6)),
        (shifted, (6, 6)),
        (of_other_counts, (4, 6)),
        (crossed, (4, 4)),
    ):
        inputs = [tg.randn(3, w, dtype="float64", requires_grad=True) for w in widths]
        run = functools.partial(pointwise(function), *inputs)
        fast = gradients(run, inputs)
        with tg.eager():
            assert_same(fast, gradients(run, inputs))


def test_chunks_of_a_row_and_chunks_not_used():
    fused = pointwise(lambda x, b: tanh(x + tg.chunk(b, 3, axis=-1)[1]))
    x, b = tg.randn(4, 2, requires_grad=True), tg.randn(6, requires_grad=True)
    assert repr(fused(x, b).grad_fn) == "<<lambda>>"
    fast = gradients(lambda: fused(x, b), [x, b])
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(x, b), [x, b]), 1e-5)
    assert fused(tg.ones(4, 2), tg.ones(5)).shape == (4, 2)  # chunks of 2, 2 and 1: op by op


def test_rows_are_broadcast_and_summed_back():
    fused = pointwise(lambda x, b: (tanh(x * b) + b, sigmoid(x)))
    x, b = tg.randn(4, 3, requires_grad=True), tg.randn(3, requires_grad=True)
    assert repr(fused(x, b)[0].grad_fn) == "<<lambda>>"  # one node
    fast = gradients(lambda: fused(x, b), [x, b])
    with tg.eager():
        assert_same(fast, gradients(lambda: fused(x, b), [x, b]), 1e-5)
    column = tg.randn(4, 1, requires_grad=True)  # any other broadcasting runs op by op
    assert fused(x, column)[0].shape == (4, 3)


def test_one_node_and_no_garbage():
    fused = pointwise(lstm)
    args = [tg.randn(2, 3, requires_grad=True) for _ in range(5)]
    h, c = fused(*args)
    assert repr(h.grad_fn) == repr(c.grad_fn) == "<lstm>"
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
    program = fused.source("program")
    assert program == fused.explain()
    forward, reverse = program.split("\n\n")
    assert "%5: float32[n, 32] = sigmoid(%1)" in forward
    assert "sigmoid" not in reverse
    assert "reverse, from the gradients %14 of %13, %15 of %10:" in reverse
    assert "= mul(%21, %5)" in reverse  # the forget gate, under the name that it has in the forward
    with pytest.raises(ValueError, match="'fortran' is unknown"):
        fused.source("fortran")
    with pytest.raises(ValueError, match="no Python text is made any more; 'program' shows"):
        fused.source("python")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a.sum(), "sum does not work element by element; call it outside"),
        (lambda a: a @ a, "matmul does not work element by element"),
        (lambda a: tg.sum(a), "sum does not work element by element"),
        (lambda a: tg.softmax(a), "softmax does not work element by element"),
        (lambda a: a if a > 0 else -a, "may not branch on a value"),
        (lambda a: a * tg.ones(3, 4), "must come in as an argument"),
        (lambda a: where(a > 0, a, np.ones((3, 4))), "given a ndarray .* must come in as an argument"),
        (lambda a: a * tg.exp(a.reshape(-1)), "reshape does not work element by element"),
        (lambda a: a * float(a), r"cannot be read: \w+: item: .* belongs outside of it"),
        (lambda a: a * float(a), "may not branch on a value"),
        (lambda a: 1.0, "returns a float"),
        (lambda a: (a, None), "returns a NoneType"),
        (lambda a: tg.ones(3, 4), "must come in as an argument"),
        (lambda a: tg.chunk(a, 2)[0], "along the last axis, axis=-1, got axis=0"),
        (lambda a: tg.chunk(a * 2, 2, axis=-1)[0], "chunk works on an argument"),
        (lambda a: tg.chunk(a, 2, axis=-1)[0] + tg.chunk(a, 4, axis=-1)[0], "into one number of chunks"),
        (lambda a: tg.chunk(a, 2, axis=-1)[0] + a, "both in chunks and whole"),
        (lambda a: a.nothing(), "no attribute 'nothing'"),
    ],
)
def test_what_is_not_pointwise_says_so(function, message):
    with pytest.raises((TypeError, AttributeError), match=message):
        pointwise(function)(tg.ones(3, 4))


def test_wrong_number_of_arguments():
    with pytest.raises(TypeError, match=r"expected 2 arguments \(a, b\), got 1"):
        pointwise(lambda a, b: a + b)(tg.ones(2))
    with pytest.raises(TypeError, match="plain positional arguments"):
        pointwise(lambda *a: a[0])


def test_debug_names_the_op_inside():
    fused = pointwise(lambda a: tg.log(a) + 1)
    with np.errstate(invalid="ignore"), tg.debug(), pytest.raises(FloatingPointError, match="log made NaN"):
        fused(tg.tensor([-1.0]))


# ---------------------------------------------------------------- what a call rests on


@pytest.fixture
def cube():
    """An op of a user's own, with its traits."""

    @primitive(vjp=(lambda g, x: g * (3 * x * x),))
    def cube(xp, x):
        return x * x * x

    cube.primitive.elementwise, cube.primitive.c = True, "{0} * {0} * {0}"
    yield cube
    del REGISTRY["cube"]


def test_a_users_op_is_taken(cube):
    fused = pointwise(lambda a, b: tanh(cube(a)) * b)
    plain = pointwise(lambda a, b: tanh(a * a * a) * b)
    inputs = [tg.randn(3, 4, dtype="float64", requires_grad=True) for _ in range(2)]
    assert repr(fused(*inputs).grad_fn) == "<<lambda>>"
    assert_same(gradients(lambda: fused(*inputs), inputs), gradients(lambda: plain(*inputs), inputs))
    assert "= a0 * a0 * a0;" in fused.explain("cuda")
    cube.primitive.elementwise = False
    with pytest.raises(TypeError, match="cube does not work element by element"):
        pointwise(lambda a: cube(a))(inputs[0])


@pytest.mark.parametrize("n", [5, 7, 1, 0, 3])
def test_the_batch_size_may_be_read(n):
    """One plan serves every batch size; where a function reads more of it, there is one for each."""
    linear = pointwise(lambda a, b: a * a.shape[0] + tanh(b))
    other = pointwise(lambda a, b: a * (2 * a.shape[0]) + tanh(b))
    x, y = (tg.randn(n, 3, dtype="float64", requires_grad=True) for _ in range(2))
    for function in (linear, other):
        assert repr(function(x, y).grad_fn) == "<<lambda>>"
        fast = gradients(lambda function=function: function(x, y), [x, y])
        with tg.eager():
            assert_same(fast, gradients(lambda function=function: function(x, y), [x, y]))


def test_plans_are_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(plan_module, "Plan", lambda *a: made.append(a) or Plan(*a))
    fused = pointwise(lambda a, b: tanh(a) * b)
    for n in (1, 4, 9, 4):
        x, y = tg.randn(n, 3, requires_grad=True), tg.randn(n, 3)
        fused(x, y).sum().backward()
        assert x.grad.shape == (n, 3)
    assert len(made) == 1
    fused(y, y)  # no gradient is wanted
    fused(tg.randn(4, 2), tg.randn(4, 2))  # other columns
    fused(tg.randn(4, 2, dtype="float64"), tg.randn(4, 2, dtype="float64"))
    assert len(made) == 4


def test_results_outlive_later_calls():
    """Memory that a call uses again is none that it gave away, in either direction."""
    fused = pointwise(gated)
    rng = np.random.default_rng(0)

    def once():
        inputs = [tg.tensor(rng.standard_normal((3, 4 * n)), requires_grad=True) for n in (4, 1, 2)]
        results = fused(*inputs)
        return inputs, results

    before = [once() for _ in range(3)]
    for inputs, results in before:  # backward in between the forwards of others
        once()
        found = tg.grad(sum((r * r).sum() for r in results), inputs)
        with tg.eager():
            again = fused(*inputs)
            expected = tg.grad(sum((r * r).sum() for r in again), inputs)
        assert_same([*results, *found], [*again, *expected])


def test_results_that_need_no_gradient():
    fused = pointwise(lambda a, b: (a * 2, tanh(b), a > b))
    a, b = tg.randn(3, 2, requires_grad=True), tg.randn(3, 2)
    twice, t, larger = fused(a, b)
    assert (twice.requires_grad, t.requires_grad, larger.requires_grad) == (True, False, False)
    assert larger.dtype == bool
    assert not pointwise(lambda a: tg.isnan(a))(a).requires_grad


def test_threads_do_not_share_memory():
    fused = pointwise(lstm)
    inputs = [[tg.randn(20, 30, requires_grad=True) for _ in range(5)] for _ in range(4)]

    def run(xs):
        found = []
        for _ in range(50):
            h, c = fused(*xs)
            found.append([h.numpy(), *(g.numpy() for g in tg.grad(h.sum() + c.sum(), xs))])
        return found

    expected = [run(xs)[0] for xs in inputs]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(run, inputs), expected, strict=True):
            for one in found:
                for a, b in zip(one, right, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_large_scratch_does_not_wait():
    """What a call needs beside its results is given back, unless it is small."""
    fused = pointwise(lambda a: tanh(tg.exp(a) + 1) * a)
    for n, waits in ((8, 1), (1 << 18, 0)):
        x = tg.ones(n, 2)
        with tg.native(False):
            fused(x)
            fused(x)
        ((_, program),) = [p for p in fused._ready.values() if p[1].n == n]
        assert len(program._waiting) == (waits if program.xp.device_type == "cpu" else 0)


def test_hidden_results_have_gradients():
    """A gradient of a gradient flows into what the first call saved; a third order too."""
    fused = pointwise(lambda a, b: tanh(a * b) * sigmoid(b))
    a, b = (tg.tensor([[0.3, -0.8]], dtype="float64", requires_grad=True) for _ in range(2))

    def third():
        y = fused(a, b).sum()
        for _ in range(2):
            y = tg.grad(y, [a], create_graph=True)[0].sum()
        return tg.grad(y, [a, b])

    fast = third()
    with tg.eager():
        assert_same(fast, third())


def test_a_function_is_only_called_while_another_is_traced():
    fused = pointwise(lambda a: tanh(a) * 2)
    block = trace(lambda a: [fused(a)], [Type((N, 3), np.dtype("float32"))]).block
    assert [i.op.name for i in block.instructions] == ["tanh", "mul"]


SLOPE = 2.0


def test_numbers_from_outside_may_change(monkeypatch):
    """A global and a closure variable are what they are at a call, in both directions."""
    shift = 1.0

    @pointwise
    def leaky(x):
        return where(x > 0, x, x * SLOPE) + shift * x

    def result():
        x = tg.tensor([[-1.0, 1.0]], requires_grad=True)
        y = leaky(x)
        return [y.tolist(), tg.grad(y.sum(), [x])[0].tolist()]

    assert result() == [[[-3.0, 2.0]], [[3.0, 2.0]]]
    monkeypatch.setattr(sys.modules[__name__], "SLOPE", 0.5)
    assert result() == [[[-1.5, 2.0]], [[1.5, 2.0]]]
    shift = 0.0
    assert result() == [[[-0.5, 1.0]], [[0.5, 1.0]]]
    monkeypatch.undo()
    shift = 1.0
    assert result() == [[[-3.0, 2.0]], [[3.0, 2.0]]]
