"""Time steps that are read once and run as one node, against the same steps one by one."""

from __future__ import annotations

import contextlib
import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.support import strict
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.cells import Cell

quick = settings(max_examples=30, deadline=None, database=None)


class Mixing(Cell):
    """A state of three tensors, of which one is handed on and one does not reach the output; rules that read
    x; a weight used twice; an op with several results, one that takes several tensors, settings, shapes.
    """

    def __init__(self, input_size, hidden_size, dtype="float64"):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(tg.randn(hidden_size, hidden_size, dtype=dtype) * 0.5)
        self.b = nn.Parameter(tg.randn(hidden_size, dtype=dtype))
        self.scale = tg.randn(hidden_size, dtype=dtype)  # a constant

    def project(self, x):
        return x[..., : self.hidden_size]

    def step(self, px, state):
        a, before, count = state
        new = tg.tanh(a @ self.w + before @ self.w + self.b) * px * self.scale
        left, right = tg.split(tg.concat([new, a], axis=-1), [self.hidden_size] * 2, axis=-1)
        mean = (left * right).mean(axis=-1, keepdims=True)
        return (new - mean.reshape(-1, 1), a, count + 1)

    def initial_state(self, batch_size, like):
        return tuple(like.new_zeros(batch_size, self.hidden_size) for _ in range(3))


class Pieces(Cell):
    """A state that is a piece of a piece of a product."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(tg.randn(hidden_size, 4 * hidden_size, dtype="float64"))

    def project(self, x):
        return x[..., : self.hidden_size]

    def step(self, px, state):
        a, b = tg.chunk(tg.addmm(tg.concat([px] * 4, -1), state[0], self.w), 2, axis=-1)
        c, d = tg.chunk(a, 2, axis=-1)
        e, _ = tg.chunk(b, 2, axis=-1)
        return tg.tanh(d + e) * state[1], c

    def initial_state(self, batch_size, like):
        return tuple(like.new_zeros(batch_size, self.hidden_size) for _ in range(2))


@tg.pointwise
def summed_gates(x, u, v, h):
    """Gates that are sums of three arguments, from another chunk on in each; one is a result too."""
    _, a, b, c = tg.chunk(x, 4, axis=-1)
    d, e, f, _ = tg.chunk(u, 4, axis=-1)
    g, i, j, k = tg.chunk(v, 4, axis=-1)
    r, s, t = tg.sigmoid(a + d + g), tg.tanh(i + (b + e)), tg.sigmoid(c + f + j)
    inside = tg.tanh(s * h + k)
    return r * inside + t * h, t


class Gated(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w, self.v = (
            nn.Parameter(tg.randn(hidden_size, 4 * hidden_size, dtype="float64")) for _ in range(2)
        )

    def project(self, x):
        return tg.concat([x[..., : self.hidden_size]] * 4, -1)

    def step(self, px, state):
        return summed_gates(px, state[0] @ self.w, state[1] @ self.v, state[0])

    def initial_state(self, batch_size, like):
        return tuple(like.new_zeros(batch_size, self.hidden_size) for _ in range(2))


class Normalised(Pieces):
    """Layer normalisation of a product, whose gradient goes into a product, and of the state."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.gain = nn.Parameter(tg.randn(4 * hidden_size, dtype="float64"))

    def step(self, px, state):
        gates = F.layer_norm(state[0] @ self.w, 4 * self.hidden_size) * self.gain
        a, b = tg.chunk(gates, 2, axis=-1)
        c, d = tg.chunk(a + tg.sigmoid(b), 2, axis=-1)
        return F.layer_norm(px * state[0] + tg.tanh(c), self.hidden_size), d * state[1]


class TwiceNormalised(Normalised):
    """Two products, and only then both are normalised: going back, the rules run one after the other."""

    def step(self, px, state):
        a, b = state[0] @ self.w, state[1] @ self.w
        a, b = F.layer_norm(a, 4 * self.hidden_size), F.layer_norm(b, 4 * self.hidden_size)
        c, d, _, _ = tg.chunk(a * self.gain + tg.sigmoid(b), 4, axis=-1)
        return tg.tanh(c + px), d * state[1]


MAKERS = {
    "RNN": lambda: nn.RNNCell(3, 2, dtype="float64"),
    "relu": lambda: nn.RNNCell(3, 2, nonlinearity="relu", dtype="float64"),
    "LSTM": lambda: nn.LSTMCell(3, 2, dtype="float64"),
    "GRU": lambda: nn.GRUCell(3, 2, dtype="float64"),
    "GRU after": lambda: nn.GRUCell(3, 2, reset_after=True, dtype="float64"),
    "GRU torch": lambda: nn.GRUCell(3, 2, reset_after=True, init="torch", dtype="float64"),
    "no bias": lambda: nn.GRUCell(3, 2, reset_after=True, bias=False, dtype="float64"),
    "mixing": lambda: Mixing(3, 2),
    "pieces": lambda: Pieces(3, 2),
    "sums as gates": lambda: Gated(3, 2),
    "normalised": lambda: Normalised(3, 3),
    "twice normalised": lambda: TwiceNormalised(3, 3),
}


def everything(layer, x, state, lengths, order):
    """Outputs, states, gradients; gradients of gradients for order 2."""
    leaves = [x, *layer.parameters(), *(s for s in tg.nn.scan.flattened(state) if s.requires_grad)]
    output, final = layer(x, state, lengths)
    results = [output, *tg.nn.scan.flattened(final)]
    rng = np.random.default_rng(1)
    loss = sum((r * tg.tensor(rng.standard_normal(r.shape))).sum() for r in results)
    first = tg.grad(loss, leaves, create_graph=order == 2, allow_unused=True)
    second = []
    if order == 2:
        squares = sum((g * g * g).sum() for g in first if g is not None)
        if getattr(squares, "requires_grad", False):
            second = tg.grad(squares, leaves, allow_unused=True)
    return [*results, *first, *second]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", MAKERS)
@quick
@given(data=st.data())
def test_one_node_computes_what_the_steps_do(name, order, data):
    cell = MAKERS[name]()
    layer = nn.Recurrent(cell, reverse=data.draw(st.booleans()))
    n_steps, n = data.draw(st.integers(4, 6)), data.draw(st.integers(1, 3))
    x = tg.randn(n_steps, n, 3, dtype="float64", requires_grad=data.draw(st.booleans()))
    lengths = data.draw(st.none() | st.lists(st.integers(0, n_steps), min_size=n, max_size=n))
    state = nn.cells.map_state(lambda s: tg.randn(1, *s.shape, dtype="float64"), cell.initial_state(n, x))
    for s in tg.nn.scan.flattened(state):
        s.requires_grad = data.draw(st.booleans())
    x.requires_grad = True
    fast = everything(layer, x, state, lengths, order)
    with tg.eager():
        slow = everything(layer, x, state, lengths, order)
    for a, b in zip(fast, slow, strict=True):
        missing = [t for t in (a, b) if t is not None]
        if len(missing) == 2:  # sums of large terms that cancel have errors of these terms' size
            size = abs(b.numpy()).max(initial=0)
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11 + 1e-13 * size)
        else:
            assert all(not t.numpy().any() for t in missing)


@needs_compiler
@pytest.mark.host
@pytest.mark.parametrize("lengths", [None, [5, 9, 14]])
@pytest.mark.parametrize("name", MAKERS)
def test_the_gpus_kernels_compute_what_numpy_computes(name, lengths):
    found = []
    for here in (tg.use("numpy"), strict.kernels()):
        with here:
            tg.manual_seed(0)
            layer = nn.Recurrent(MAKERS[name]())
            x = tg.randn(14, 3, 3, dtype="float64", requires_grad=True)
            state = layer.cells[0].initial_state(3, x)
            state = nn.cells.map_state(lambda s: tg.randn(1, *s.shape, dtype="float64"), state)
            found.append([t if t is None else t.numpy() for t in everything(layer, x, state, lengths, 1)])
    for a, b in zip(*found, strict=True):
        if a is not None or b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def read_in_part(name):
    """Functions of several arguments in chunks, of which not every one is read."""
    chunk = tg.chunk

    def nothing_of_the_first(x, y):
        return tg.tanh(chunk(y, 2, axis=-1)[1]) + 0.0

    def the_last_of_the_first(x, y):
        return chunk(x, 3, axis=-1)[2] * y

    def a_row_before_the_rest(x, b, y):
        return tg.sigmoid(b * y), chunk(x, 3, axis=-1)[1]

    def handed_through(x, y):
        return chunk(x, 2, axis=-1)[1], y

    functions = nothing_of_the_first, the_last_of_the_first, a_row_before_the_rest, handed_through
    return next(f for f in functions if f.__name__ == name)


PARTS = {  # widths of the arguments, in units of the state; a row is one without a batch
    "nothing_of_the_first": ([1, 2], ()),
    "the_last_of_the_first": ([3, 1], ()),
    "a_row_before_the_rest": ([3, 1, 1], (1,)),
    "handed_through": ([2, 1], ()),
}


@pytest.mark.host
@pytest.mark.parametrize("how", ["numpy", "strict", pytest.param("kernels", marks=needs_compiler)])
@pytest.mark.parametrize("name", PARTS)
def test_pointwise_functions_in_a_loop_may_leave_chunks_out(name, how):
    """The first argument, or its first chunk, is the one that tells the shape, where somebody reads it."""
    widths, rows = PARTS[name]
    function = tg.pointwise(read_in_part(name))

    class Partly(Cell):
        def __init__(self):
            super().__init__(3, 2)
            self.w = nn.ParameterList(
                nn.Parameter(
                    tg.randn(2 * n, dtype="float64") if k in rows else tg.randn(2, 2 * n, dtype="float64")
                )
                for k, n in enumerate(widths)
            )

        def project(self, x):
            return x[..., :2] * 1.0

        def step(self, px, h):
            wide = [w if k in rows else (h + px) @ w for k, w in enumerate(self.w)]
            found = function(*wide)
            return tg.tanh(h + (found[0] * found[1] if isinstance(found, tuple) else found))

        def initial_state(self, batch_size, like):
            return like.new_zeros(batch_size, 2)

    with strict.kernels() if how == "kernels" else tg.use(how):
        cell = Partly()
        x = tg.randn(14, 3, 3, dtype="float64", requires_grad=True)
        fast = everything(nn.Recurrent(cell), x, tg.zeros(1, 3, 2, dtype="float64"), [5, 9, 14], 1)
        with tg.eager():
            slow = everything(nn.Recurrent(cell), x, tg.zeros(1, 3, 2, dtype="float64"), [5, 9, 14], 1)
        for a, b in zip(fast, slow, strict=True):
            missing = [t for t in (a, b) if t is not None]
            if len(missing) == 2:
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)
            else:
                assert all(not t.numpy().any() for t in missing)


def test_it_is_one_node_and_none_without_gradients():
    layer, x = nn.LSTM(3, 2), tg.randn(6, 4, 3)
    output, (h, c) = layer(x)
    assert h.requires_grad
    assert c.requires_grad
    names = set()
    stack, seen = [output.vertex], set()
    while stack:
        vertex = stack.pop()
        node = getattr(vertex, "node", vertex)
        if node in seen or not hasattr(node, "op"):
            continue
        seen.add(node)
        names.add(node.op.name)
        stack += [p for p in node.parents if p is not None]
    assert "loop" in names
    assert "lstm" not in names
    with tg.no_grad():
        output, (h, c) = layer(x)
    assert not output.requires_grad
    assert not h.requires_grad
    with tg.eager():
        np.testing.assert_allclose(layer(x)[0].numpy(), output.numpy(), rtol=1e-5, atol=1e-6)


def test_freed_after_backward_and_no_garbage():
    layer, x = nn.GRU(3, 2), tg.randn(6, 4, 3)
    layer(x)[0].sum().backward()
    gc.collect()
    gc.disable()
    try:
        output, _ = layer(x)
        loss = output.sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            loss.backward()
        del output, loss
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_retained_graph_gives_the_same_gradients_again():
    layer, x = nn.LSTM(3, 2), tg.randn(6, 4, 3)
    loss = layer(x)[0].sum()
    loss.backward(retain_graph=True)
    once = [p.grad.numpy().copy() for p in layer.parameters()]
    loss.backward()
    for p, g in zip(layer.parameters(), once, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g, rtol=1e-6)


def test_the_last_state_is_not_a_view_of_the_outputs():
    layer, x = nn.RNN(3, 2), tg.randn(6, 4, 3)
    with tg.no_grad():
        output, h = layer(x)
        before = h.numpy().copy()
        output.zero_()
    np.testing.assert_array_equal(h.numpy(), before)


class Detaching(Cell):
    """What takes no part in gradients, said in all the ways one may."""

    def __init__(self):
        super().__init__(3, 3)
        self.w, self.v = (nn.Parameter(tg.randn(3)) for _ in range(2))

    def step(self, px, h):
        with tg.no_grad():
            fixed = h * self.v
        return 0.5 * h.detach() * self.w + fixed * self.w.detach() + tg.tanh(h * px.data) + self.v * px


class Asking(Detaching):
    """Asks whether gradients are wanted, and goes where they are."""

    def step(self, px, h):
        y = h * self.w + px * self.v
        return y * 2 if y.requires_grad and not y.detach().requires_grad and not y.is_leaf else y


class WithinThemselves(Detaching):
    """A gradient inside a step; a hook; both need a graph that a trace has not."""

    def step(self, px, h):
        y = h * self.w + px * self.v
        if not h.requires_grad:
            return y
        y.register_hook(lambda g: 2 * g)
        (g,) = tg.grad((y * y).sum(), [h], create_graph=True)
        return y + g


class Adding(Detaching):
    """+= makes another value of a name; of the state, or of what others look at, it changes more."""

    def step(self, px, h):
        y = h * self.w
        y += px
        y *= self.v
        return y


class AddingToAView(Detaching):
    def step(self, px, h):
        y = h * self.w + px * self.v
        first = y[:, :1]
        y += 1.0
        return y * first.exp().clip(max=2.0)


class AddingToAWeight(Detaching):
    def step(self, px, h):
        w = self.w * 1.0
        seen = w[:2].sum()
        w += px[:1].sum() * 0.1
        return h * w + px * seen


@pytest.mark.parametrize(
    ("make", "reads"),
    [
        (Detaching, True),
        (Asking, True),
        (WithinThemselves, False),
        (Adding, True),
        (AddingToAView, False),
        (AddingToAWeight, False),
    ],
)
def test_a_step_may_say_where_gradients_go(make, reads, fallbacks):
    """Detached values, no_grad, graphs inside a step, changes in place, read or not: as one by one."""
    tg.manual_seed(0)
    layer, x = nn.Recurrent(make()), tg.randn(5, 2, 3, requires_grad=True)
    start = tg.randn(1, 2, 3, requires_grad=True)
    found = []
    for how in (contextlib.nullcontext(), tg.eager()):
        with how:
            output, h = layer(x, start)
            wanted = [x, start, *layer.parameters()]
            gradients = tg.grad(output.square().sum() + h.sum(), wanted, allow_unused=True)
            found.append([output, h, *(g for g in gradients if g is not None)])
            with tg.no_grad():
                assert not layer(x, start)[0].requires_grad
    assert bool(fallbacks) != reads
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


class Growing(Cell):
    def step(self, px, h):
        return (h.double() if h.dtype == np.float32 else h) * 0.5 + px


class Counting(nn.RNNCell):
    def step(self, px, h):
        self.n = getattr(self, "n", 0) + 1
        return super().step(px, h) * self.n


def test_steps_that_are_not_alike_run_one_by_one():
    x = tg.randn(5, 2, 3)
    _, h = nn.Recurrent(Growing(3, 3))(x)
    assert h.dtype == np.float64
    layer = nn.Recurrent(Counting(3, 3))
    layer(x)
    assert layer.cells[0].n == 5


def test_a_changed_weight_counts_at_once():
    layer, x = nn.RNN(3, 2), tg.randn(5, 2, 3)
    before = layer(x)[0].numpy().copy()
    layer.cells[0].weight_hh.data *= 2
    assert abs(layer(x)[0].numpy() - before).max() > 1e-3


def test_an_array_changed_before_backward_is_noticed():
    layer, x = nn.RNN(3, 2), tg.randn(5, 2, 3)
    loss = layer(x)[0].sum()
    with tg.no_grad():
        layer.cells[0].weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match=r"changed in place|has changed"):
        loss.backward()


class Keeping(nn.LSTMCell):
    """Looks at what it projects, later on."""

    def project(self, x):
        self.kept = super().project(x)
        return self.kept


def test_only_memory_that_nobody_else_looks_at_is_written_in():
    x = tg.randn(6, 4, 3, requires_grad=True)
    before = x.numpy().copy()
    layer = nn.Recurrent(Keeping(3, 2))
    output, _ = layer(x)
    kept = layer.cells[0].kept.numpy().copy()
    output.sum().backward()
    np.testing.assert_array_equal(layer.cells[0].kept.numpy(), kept)
    np.testing.assert_array_equal(x.numpy(), before)


def test_a_backward_that_keeps_the_graph_leaves_what_it_reads():
    layer, x = nn.LSTM(3, 2), tg.randn(6, 4, 3, requires_grad=True)
    output, _ = layer(x)
    v = tg.ones(6, 4, 2).requires_grad_()
    (g,) = tg.grad(output, [x], v, create_graph=True)
    (along,) = tg.grad(g, [v], tg.ones(6, 4, 3), retain_graph=True)  # reads the gates, not the loop's node
    output.sum().backward(retain_graph=True)
    (again,) = tg.grad(g, [v], tg.ones(6, 4, 3), retain_graph=True)
    np.testing.assert_array_equal(again.numpy(), along.numpy())
    output.sum().backward()  # the last, but a graph of gradients reads the gates still
    (again,) = tg.grad(g, [v], tg.ones(6, 4, 3))
    np.testing.assert_array_equal(again.numpy(), along.numpy())


def test_rows_that_end_after_many_steps():
    """Several loops, one behind the other, in the memory of one projection."""
    layer, x = nn.LSTM(3, 2, num_layers=2, bidirectional=True), tg.randn(30, 4, 3, requires_grad=True)
    found = []
    for unfused in (False, True):
        with tg.eager() if unfused else contextlib.nullcontext():
            layer.zero_grad()
            x.grad = None
            layer(x, lengths=[30, 22, 14, 5])[0].square().sum().backward()
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("lengths", [[5, 9, 14], [14, 4], [4, 4, 9, 9], [9, 4, 0]])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_that_was_read_holds_for_other_numbers_of_rows(name, lengths, reverse):
    cell = MAKERS[name]()  # of hidden size 2, which is also a number of rows
    layer, n = nn.Recurrent(cell, reverse=reverse), len(lengths)
    x = tg.randn(14, n, 3, dtype="float64", requires_grad=True)
    state = nn.cells.map_state(lambda s: tg.randn(1, *s.shape, dtype="float64"), cell.initial_state(n, x))
    for s in tg.nn.scan.flattened(state):
        s.requires_grad = True
    fast = everything(layer, x, state, lengths, 1)
    with tg.eager():
        slow = everything(layer, x, state, lengths, 1)
    for a, b in zip(fast, slow, strict=True):
        if a is not None and b is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


class Averaging(nn.RNNCell):
    """A step in which rows have to do with each other, and with how many there are."""

    def step(self, px, h):
        return super().step(px, h) + h.mean(0, keepdims=True) * px.shape[0]


def test_a_step_over_all_rows_is_read_anew():
    layer, x = nn.Recurrent(Averaging(3, 2, dtype="float64")), tg.randn(14, 3, 3, dtype="float64")
    fast = layer(x, lengths=[14, 9, 4])[0].numpy().copy()
    with tg.eager():
        np.testing.assert_allclose(fast, layer(x, lengths=[14, 9, 4])[0].numpy(), rtol=1e-9, atol=1e-12)


def test_gradients_do_not_lie_in_each_others_memory():
    layer, x = nn.LSTM(3, 2), tg.randn(6, 4, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    found = [x.grad, *(p.grad for p in layer.parameters())]
    copies = [g.numpy().copy() for g in found]
    layer(x)[0].sum().backward(retain_graph=True)  # adds as much again, in other memory
    for g, copy in zip(found, copies, strict=True):
        np.testing.assert_allclose(g.numpy(), 2 * copy, rtol=1e-5, atol=1e-6)
