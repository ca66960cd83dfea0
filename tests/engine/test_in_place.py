"""Changes in place: what is allowed, what is refused, and what a backward finds out."""

from __future__ import annotations

import contextlib
import gc
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.testing import gradcheck


def leaf(*numbers):
    return tg.tensor(list(numbers), requires_grad=True)


def add_one(c):
    c += 1


def set_item(c):
    c[0] = 9.0


def through_a_view(c):
    v = c[1:]
    v *= 2


CHANGES = [
    add_one, set_item, through_a_view, lambda c: c.add_(1), lambda c: c.zero_(), lambda c: c.data.mul_(2),
    lambda c: c.clamp_(0, 1), lambda c: c.copy_(tg.zeros(2)), lambda c: c.masked_fill_(c > 0, 3.0),
    lambda c: c.uniform_(), lambda c: c.fill_(4.0), lambda c: c.scatter_(0, tg.tensor([0]), 2.0),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_saved_array_that_changed_is_noticed(change):
    w, c = leaf(1.0, 2.0), tg.tensor([3.0, 4.0])
    y = (w * c).sum()
    change(c)
    with pytest.raises(tg.GraphError, match="through mul: an array that its gradient needs was changed"):
        y.backward()
    (w * c).sum().backward()
    assert w.grad.tolist() == c.tolist()


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_gradient_needs_may_change(change):
    w, c = leaf(1.0, 2.0), tg.tensor([3.0, 4.0])
    y = (w + c).sum()
    change(c)
    y.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_an_update_before_backward_is_noticed():
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    with tg.no_grad():
        w -= 0.1
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    w.data.add_(1)
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()
    w = leaf(1.0, 2.0)
    (w * 2).sum().backward()
    steps = tg.optim.SGD([w], lr=0.1)
    y = (w * w).sum()
    steps.step()
    with pytest.raises(tg.GraphError, match="changed in place"):
        y.backward()


def test_an_update_after_backward_is_fine():
    w = leaf(1.0, 2.0)
    for _ in range(2):
        (w * w).sum().backward()
        with tg.no_grad():
            w -= 0.5 * w.grad
        w.grad = None
    assert w.tolist() == [0.0, 0.0]
    assert w.requires_grad
    assert w.is_leaf


def test_leaves_are_not_changed():
    w = leaf(1.0, 2.0)
    for change in (add_one, set_item, through_a_view, lambda x: x.zero_(), lambda x: x[0].fill_(2)):
        with pytest.raises(
            tg.GraphError, match=r"requires a gradient and cannot be changed in place\. Use where"
        ):
            change(w)
    assert w.tolist() == [1.0, 2.0]


def test_what_repeats_elements_is_not_changed():
    for x in (leaf(1.0) * 2, tg.ones(1)):
        with pytest.raises(tg.GraphError, match=r"add_: this tensor repeats elements .* work on a clone\(\)"):
            x.expand(3).add_(1)


def test_a_view_taken_without_gradients_is_not_changed_in_a_graph():
    y = leaf(1.0, 2.0) * 2
    with tg.no_grad():
        view = y[0]
        view += 1  # which nobody asked gradients of
    with pytest.raises(tg.GraphError, match=r"\+=: this tensor is a view, taken under no_grad\(\)"):
        view += 1
    assert y.tolist() == [3.0, 4.0]


def test_integers_take_no_value_that_requires_a_gradient():
    for change in (lambda n, v: n.copy_(v), lambda n, v: n.masked_fill_(n > 0, v[0])):
        with pytest.raises(tg.GraphError, match="a tensor of int64 would lose; use a floating tensor"):
            change(tg.tensor([1, 2]), leaf(1.0, 2.0))


def test_augmented_assignment_moves_a_tensor_to_another_vertex():
    w = leaf(1.0, 2.0)
    y = first = w * 2
    y += 1
    y *= w
    y -= w
    y /= 2
    assert first is y
    assert y.grad_fn.name() == "div"
    y.sum().backward()
    assert w.grad.tolist() == [(4 * v + 1 - 1) / 2 for v in (1.0, 2.0)]
    total = same = tg.zeros(2)
    for _ in range(3):
        total += w  # joins the graph
    assert total is same
    assert total.requires_grad
    assert total.tolist() == [3.0, 6.0]
    with pytest.raises(
        ValueError, match=r"\+=: the result has shape \(2,\) and does not fit a tensor of \(\)"
    ):
        tg.zeros(1).sum().__iadd__(w)


def test_augmented_assignment_on_plain_data_is_in_place():
    c = tg.tensor([1.0, 2.0])
    same = c
    c += 1
    c *= 2
    c -= 1
    c /= 3
    assert c is same
    assert same.tolist() == pytest.approx([1.0, 5 / 3])
    n = tg.tensor([1, 2])
    with pytest.raises(TypeError, match="an integer tensor cannot hold the result"):
        n += 0.5
    with pytest.raises(TypeError, match="an integer tensor cannot hold the result"):
        n /= 2


@pytest.mark.parametrize(
    "look_up",
    [
        lambda w, i: w[i],
        lambda w, i: tg.nn.functional.embedding(i, w.reshape(3, 1)),
        lambda w, i: w.gather(0, i),
        lambda w, i: w.index_select(0, i),
    ],
)
def test_an_index_changed_in_place_is_noticed(look_up):
    w, i = leaf(1.0, 2.0, 3.0), tg.tensor([0, 1])
    y = look_up(w, i)
    i[0] = 2
    with contextlib.suppress(tg.GraphError):  # an op that copied the index need not complain
        y.sum().backward()
        assert w.grad.tolist() == [1.0, 1.0, 0.0]


# ---------------------------------------------------------------- gradients through changes


def numbers(*shape):
    return np.random.default_rng(0).uniform(0.5, 1.5, shape)


def filled(x, v):
    out = tg.zeros(3, 4, dtype="float64")
    for t in range(3):
        out[t] = x[t] * v[t]
    return out * out


def changed(change):
    """A function of two tensors: what a product of the first is after a change by the second."""

    def program(x, v):
        y = x * x
        change(y, v)
        return y * y

    return program


def overlapping(x, v):
    y = x * x
    a, b = y[0:2], y[1:3]
    a *= v[0, 0]
    b += a[0] * 2
    return tg.concat([(a * a).reshape(-1), (b * y[1:]).reshape(-1), (y * y).reshape(-1)])


def siblings(x, v):
    y = x * x
    left, right = tg.split(y, 2, 1)
    whole = y.reshape(-1)
    left *= v[:, :2]
    whole[5] = v[0, 1] + right[0, 0]
    return tg.concat([(left * right).reshape(-1), whole * whole, (y * y).reshape(-1)])


def view_of_a_constant(x, v):
    out = tg.zeros(3, 4, dtype="float64")
    row = out[1]
    row.copy_(x[0])
    row *= v[1]
    return out * out


def view_of_a_view(x, v):
    y = x * x
    inner = y.T[1:][0]
    inner.mul_(v[:, 0])
    y[0, 0] = inner[1]
    return tg.concat([(inner * inner).reshape(-1), (y * y).reshape(-1)])


def through_the_view_and_the_whole(x, v):
    y = x * x
    row = y[1]
    y[1] = v[0]
    row += x[2]
    y *= 2
    return tg.concat([(row * row).reshape(-1), (y * y).reshape(-1)])


def with_itself(x, v):
    y = x * v
    y *= y
    y[0] = y[1] + y[2]
    y += y.T[:, :3].reshape(-1)[:4]
    return y * y


index, mask = np.array([2, 0]), np.array([True, False, True])
PROGRAMS = {
    "y[t] = v in a loop": filled,
    "y[0, 1] = v": changed(lambda y, v: y.__setitem__((0, 1), v[0, 0])),
    "y[:, 1:] = v": changed(lambda y, v: y.__setitem__((slice(None), slice(1, None)), v[:, 1:])),
    "y[..., ::2] = v, broadcast": changed(lambda y, v: y.__setitem__((..., slice(None, None, 2)), v[:1, :1])),
    "y[[2, 0]] = v": changed(lambda y, v: y.__setitem__(tg.tensor(index), v[:2])),
    "y[mask] = v": changed(lambda y, v: y.__setitem__(tg.tensor(mask), v[1:])),
    "y[0] = 2": changed(lambda y, v: y.__setitem__(0, 2.0)),
    "y += v": changed(lambda y, v: y.__iadd__(v)),
    "y -= v, a row": changed(lambda y, v: y.__isub__(v[0])),
    "y *= v": changed(lambda y, v: y.__imul__(v)),
    "y /= v": changed(lambda y, v: y.__itruediv__(v)),
    "add_": changed(lambda y, v: y.add_(v, alpha=0.5)),
    "sub_": changed(lambda y, v: y.sub_(v, alpha=2)),
    "mul_": changed(lambda y, v: y.mul_(v[:, :1])),
    "div_": changed(lambda y, v: y.div_(v)),
    "clamp_": changed(lambda y, v: y.clamp_(0.7, 1.2).mul_(v)),
    "fill_": changed(lambda y, v: y.fill_(v[0, 0])),
    "zero_": changed(lambda y, v: y.zero_().add_(v)),
    "copy_": changed(lambda y, v: y.copy_(v[0])),
    "masked_fill_": changed(lambda y, v: y.masked_fill_(y > 1, v[0, 0]).mul_(v)),
    "scatter_": changed(lambda y, v: y.scatter_(0, tg.tensor([[2, 0, 1, 1]]), v[:1])),
    "y[0] += v": changed(lambda y, v: y.__setitem__(0, y[0].__iadd__(v[0]))),
    "a row of it": changed(lambda y, v: y[0].mul_(v[0])),
    "its transpose": changed(lambda y, v: y.T.__setitem__(1, v[:, 1])),
    "its halves": changed(lambda y, v: [y.narrow(1, 2 * k, 2).mul_(v[:, k:k + 1]) for k in range(2)]),
    "flattened": changed(lambda y, v: y.reshape(-1).__setitem__(slice(2, 5), v[0, :3])),
    "each of its rows": changed(lambda y, v: [row.mul_(v[0]) for row in y]),
    "two overlapping views": overlapping,
    "chunks and the whole": siblings,
    "a view of a constant": view_of_a_constant,
    "a view of a view": view_of_a_view,
    "the view after the whole": through_the_view_and_the_whole,
    "a tensor by itself": with_itself,
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_go_through_changes(name):
    """Against differences of the same program without a graph, where memory is all there is."""
    gradcheck(PROGRAMS[name], numbers(3, 4), numbers(3, 4)[::-1].copy() + 0.1, order=2)


@pytest.mark.host
def test_of_two_values_at_one_place_the_last_gets_the_gradient():
    """On a GPU which of them stays is undefined."""
    program = changed(lambda y, v: y.__setitem__([0, 0], v[:2]))
    gradcheck(program, numbers(3, 4), numbers(3, 4), order=2)


STEPS = ["view", "chunk", "transpose", "set", "add", "mul", "copy", "fill", "new", "masked"]


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), *[st.integers(0, 7)] * 3), min_size=2, max_size=9))
def test_random_programs_of_views_and_changes(steps):
    def program(x, v):
        pool = [x * 1.5, tg.zeros(2, 4, dtype="float64")]
        for name, i, j, k in steps:
            a, b = pool[i % len(pool)], pool[j % len(pool)]
            scalar = b.reshape(-1)[k % b.numel()].clone() * v[k % 2, k % 4]
            if name == "view":
                pool.append(a[k % len(a)] if a.ndim > 1 else a[k % len(a) :])
            elif name == "chunk":
                pool += tg.chunk(a, 2, -1) if a.shape[-1] > 1 else ()
            elif name == "transpose":
                pool.append(a.T)
            elif name == "set":
                a[k % len(a)] = scalar
            elif name == "add":
                a += scalar
            elif name == "mul":
                a *= 0.5 + scalar
            elif name == "copy":
                a.copy_(b.reshape(-1)[:1] + v.reshape(-1)[k])
            elif name == "fill":
                a[..., : k % 3] = 0.25 * k
            elif name == "masked":
                a.masked_fill_(tg.arange(a.shape[-1]) == k % 4, scalar)
            else:
                pool.append(a.clone() * scalar)
        return tg.concat([(p * p * (1.0 + n)).reshape(-1) for n, p in enumerate(pool)])

    gradcheck(program, 0.3 * numbers(2, 4), 0.3 * numbers(4, 2).reshape(2, 4) + 0.2)


def test_a_change_of_a_view_changes_the_gradient_of_its_base():
    x = leaf(1.0, 2.0)
    h = x * 3
    y = h[0]
    y *= 5
    (h * tg.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == [15.0, 30.0]
    assert h.tolist() == [15.0, 6.0]


def test_an_old_value_that_was_saved_is_noticed_in_a_graph_too():
    w = leaf(1.0, 2.0)
    for change in (add_one, set_item, through_a_view, lambda y: y.zero_(), lambda y: y.reshape(2, 1).mul_(2)):
        y = w * 2
        z = (y * y).sum()
        change(y)
        with pytest.raises(tg.GraphError, match="through mul: an array that its gradient needs was changed"):
            z.backward()
        (y * y).sum().backward()


def test_without_gradients_only_the_memory_changes():
    w = leaf(1.0, 2.0)
    y = w * 2
    with tg.no_grad():
        y += 1
        y[0] = 7
    assert y.grad_fn.name() == "mul"
    assert y.tolist() == [7.0, 5.0]
    y.sum().backward()
    assert w.grad.tolist() == [2.0, 2.0]


def test_retain_grad_stays_with_the_tensor():
    w = leaf(1.0, 2.0)
    y = w * 2
    y.retain_grad()
    y *= 3
    (y * y).sum().backward()
    assert y.grad.tolist() == [12.0, 24.0]


def test_types_of_what_is_put():
    x, v = leaf(1.0, 2.0), tg.tensor([3.0], dtype="float64", requires_grad=True)
    y = x * 1
    y[:1] = v
    y += v
    y.sum().backward()
    assert y.dtype == tg.float32
    assert (v.grad.dtype, v.grad.tolist()) == (tg.float64, [3.0])
    assert (x.grad.dtype, x.grad.tolist()) == (tg.float32, [0.0, 1.0])


def test_nothing_stays_of_views_and_changes():
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(5):
            for program in (overlapping, siblings, filled):
                x, v = (tg.tensor(numbers(3, 4), requires_grad=True) for _ in range(2))
                program(x, v).sum().backward()
        del x, v
        assert not tg.engine.versions.moved
        assert len(gc.get_objects()) - before < 50
        assert gc.collect() == 0
    finally:
        gc.enable()


def put_from_outside(out, x, t):
    out[t] = x


def put_from_the_step_before(out, x, t):
    out[t] = x if t == 0 else out[t - 1] * 1.0


def add_to_a_row(out, x, t):
    out[t] += x


@pytest.mark.host
@pytest.mark.parametrize("put", [put_from_outside, put_from_the_step_before, add_to_a_row])
def test_assignments_in_a_loop_are_linear_in_the_steps(put):
    """Forward and back through outputs[t] = h: four times the steps take less than seven times as long."""

    def seconds(n_steps):
        x = tg.ones(1000, requires_grad=True)
        start = time.thread_time()
        out = tg.zeros(n_steps, 1000)
        for t in range(n_steps):
            put(out, x, t)
        (out * out).sum().backward()
        assert x.grad[0].item() == 2 * n_steps
        return time.thread_time() - start

    seconds(100)
    ratios = []
    while len(ratios) < 12 and min(ratios, default=99.0) > 7:
        short = min(seconds(250) for _ in range(3))
        ratios.append(seconds(1000) / short)
    assert min(ratios) < 7


@pytest.mark.parametrize("n", [3, 300])
def test_gradients_of_halves_are_added_up_in_float32(n):
    """Also where the sum is an array that an assignment's gradient owns: 2049 halves of 1 stall at 2048."""
    x = tg.ones(4, dtype="float16", requires_grad=True)
    y = x * 1.0
    z = y.clone()
    z[0] = 5.0
    terms = [y * 2048.0, z, *[y * 1.0 for _ in range(n)]]
    tg.stack([t.sum() for t in terms]).float().sum().backward()
    first, other = (np.float16(2048 + n + k).item() for k in (0, 1))
    assert x.grad.dtype == "float16"
    assert x.grad.tolist() == [first, other, other, other]


@pytest.mark.host
def test_of_several_values_at_one_place_the_last_counts():
    """On NumPy; on a GPU their order is not defined."""
    x, v = tg.zeros(2, 3, requires_grad=True), tg.tensor([[1.0] * 3, [2.0] * 3], requires_grad=True)
    y = x * 1
    y[tg.tensor([0, 0])] = v
    (y * y).sum().backward()
    np.testing.assert_array_equal(y[0].numpy(), [2, 2, 2])
    np.testing.assert_array_equal(v.grad.numpy(), [[0, 0, 0], [4, 4, 4]])
    assert not x.grad.numpy().any()
