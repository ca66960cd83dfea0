"""Going back through graphs: accumulation, freeing, errors, gradients of gradients, retained gradients."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.support import strict


def leaf(*numbers, dtype=None):
    return tg.tensor(list(numbers), dtype=dtype, requires_grad=True)


# ---------------------------------------------------------------- accumulating and freeing


def test_gradients_accumulate_over_backward_calls():
    x = leaf(1.0, 2.0)
    for n in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * n, 4.0 * n]


def test_a_gradient_shares_no_memory_with_another():
    for create_graph in (False, True):
        x, y, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), tg.ones(2)
        (x + y).backward(seed, create_graph=create_graph)
        (2 * x).sum().backward()
        assert y.grad.tolist() == seed.tolist() == [1.0, 1.0]
        assert x.grad.tolist() == [3.0, 3.0]
        one, other = tg.grad(x + y, [x, y], seed, create_graph=create_graph)
        one += 1
        assert other.tolist() == seed.tolist() == [1.0, 1.0]


def test_gradients_without_axes_are_arrays():
    x = leaf(3.0).sum().detach().requires_grad_()
    g = tg.grad(x * x, x)
    assert type(g.array) is type(x.array)
    assert (g.shape, g.item()) == ((), 6.0)


def test_a_freed_graph_says_which_op_and_what_to_do():
    x = leaf(1.0, 2.0)
    y = tg.exp(x).sum()
    y.backward()
    with pytest.raises(tg.GraphError, match=r"through sum .*second time.*retain_graph=True.*detach\(\)"):
        y.backward()
    assert x.grad.tolist() == pytest.approx(np.exp([1.0, 2.0]).tolist())


def test_retain_graph_allows_another_time():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(tg.GraphError, match="second time"):
        y.backward()


def test_two_losses_on_one_trunk_need_retain_graph():
    x = leaf(1.0, 2.0)
    trunk = tg.exp(x)
    one, two = trunk.sum(), (trunk * 2).sum()
    one.backward()
    with pytest.raises(tg.GraphError, match="through exp"):
        two.backward()


def test_grad_in_the_middle_frees_nothing_behind_it():
    x = leaf(1.0, 2.0)
    middle = tg.exp(x)
    assert tg.grad((3 * middle).sum(), middle).tolist() == [3.0, 3.0]
    middle.sum().backward()
    assert x.grad.tolist() == pytest.approx(np.exp([1.0, 2.0]).tolist())


# ---------------------------------------------------------------- grad()


def test_grad_of_middle_tensors_and_of_several_outputs():
    x = leaf(1.0, 2.0)
    h = x * 3
    y, z = h * h, tg.exp(h)
    gh, gx = tg.grad([y, z], [h, x], [tg.ones(2), 2 * tg.ones(2)])
    value = np.array([3.0, 6.0])
    np.testing.assert_allclose(gh.numpy(), 2 * value + 2 * np.exp(value), rtol=1e-6)
    np.testing.assert_allclose(gx.numpy(), 3 * gh.numpy(), rtol=1e-6)
    assert x.grad is None
    assert h.grad is None


def test_grad_of_an_output_by_itself_and_of_one_given_twice():
    x = leaf(1.0, 2.0)
    assert tg.grad(x, x, tg.ones(2)).tolist() == [1.0, 1.0]
    y = x * 5
    assert tg.grad([y, y], x, [tg.ones(2), tg.ones(2)]).tolist() == [10.0, 10.0]


def test_grad_of_unused_inputs():
    x, unused, constant = leaf(1.0), leaf(1.0), tg.ones(1)
    y = (x * x).sum()
    with pytest.raises(tg.GraphError, match="does not depend on one of the inputs; allow_unused=True"):
        tg.grad(y, [x, unused], retain_graph=True)
    gx, none = tg.grad(y, [x, unused], retain_graph=True, allow_unused=True)
    assert (gx.tolist(), none) == ([2.0], None)
    with pytest.raises(tg.GraphError, match="does not require a gradient"):
        tg.grad(y, constant)


def test_one_of_several_results_is_watched():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    a, b = tg.split(x, 2)
    ga, gb = tg.grad((a * a).sum(), [a, b], allow_unused=True)
    assert (ga.tolist(), gb) == ([2.0, 4.0], None)


def test_gradients_of_gradients_to_third_order():
    x = leaf(0.3, -1.2, dtype=tg.float64)
    y, value = tg.tanh(x), np.tanh([0.3, -1.2])
    slope = 1 - value**2
    expected = [slope, -2 * value * slope, (6 * value**2 - 2) * slope]
    for wanted in expected:
        y = tg.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), (16 * value - 24 * value**3) * slope, rtol=1e-10)


def test_a_penalty_on_the_gradient_through_a_loop_with_shared_weights():
    w = tg.tensor(np.random.default_rng(0).uniform(-1, 1, (3, 3)), requires_grad=True)
    x = tg.tensor(np.random.default_rng(1).uniform(-1, 1, (4, 2, 3)), requires_grad=True)

    def penalty():
        h = tg.zeros(2, 3, dtype=tg.float64)
        for t in range(4):
            h = tg.tanh(x[t] + h @ w)
        g = tg.grad(h.sum(), x, create_graph=True)
        return (g * g).sum()

    penalty().backward()
    eps, got = 1e-6, w.grad.numpy()
    for place in [(0, 0), (1, 2)]:
        step = np.zeros((3, 3))
        step[place] = eps
        values = []
        for sign in (1, -1):
            w.data += tg.tensor(sign * step)
            values.append(penalty().item())
            w.data -= tg.tensor(sign * step)
        assert got[place] == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-6)


# ---------------------------------------------------------------- retain_grad


def test_retained_gradients_of_nodes_and_of_pieces():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    h = x * 2
    a, b = tg.split(h, 2)
    c = tg.exp(a)
    for t in (h, a, c):
        t.retain_grad()
    (c * 5 + b).sum().backward()
    assert c.grad.tolist() == [5.0, 5.0]
    assert b.grad is None
    np.testing.assert_allclose(a.grad.numpy(), 5 * np.exp([2.0, 4.0]), rtol=1e-6)
    np.testing.assert_allclose(h.grad.numpy(), [*a.grad.tolist(), 1.0, 1.0], rtol=1e-6)
    x.retain_grad()  # a leaf keeps it anyway
    y = x * 2
    y.retain_grad()
    tg.grad((y * y).sum(), [x, y])  # changes no .grad
    assert y.grad is None
    with pytest.raises(tg.GraphError, match="retain_grad: this tensor does not require"):
        tg.ones(2).retain_grad()


def test_backward_to_chosen_inputs():
    x, y = leaf(1.0), leaf(2.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2.0]
    assert y.grad is None


# ---------------------------------------------------------------- errors


def test_only_floats_require_gradients():
    for make in (
        lambda: tg.tensor([1, 2], requires_grad=True),
        lambda: tg.ones(2, dtype="int64").requires_grad_(),
        lambda: tg.tensor([True], requires_grad=True),
    ):
        with pytest.raises(TypeError, match="only floating tensors can require a gradient"):
            make()


def test_backward_says_what_is_missing_or_wrong():
    x = leaf(1.0, 2.0)
    with pytest.raises(
        ValueError, match=r"shape \(2,\) needs a gradient of that shape; for a loss, take its"
    ):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"has shape \(2,\), its gradient \(3,\)"):
        (x * 2).backward(tg.ones(3))
    with pytest.raises(tg.GraphError, match="nothing it was computed from does"):
        tg.ones(2).sum().backward()
    with tg.no_grad():
        y = (x * 2).sum()
    with pytest.raises(tg.GraphError, match="no_grad"):
        y.backward()
    with pytest.raises(tg.GraphError, match="computed in the graph; detach"):
        (x * 2).requires_grad = False


def test_grad_takes_only_what_fits():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match="grad: expected float32"):
        x.grad = tg.ones(3)
    with pytest.raises(TypeError, match="grad: expected a Tensor"):
        x.grad = 1.0
    constant = tg.ones(2)
    constant.grad = tg.ones(2)  # which an optimiser takes
    assert constant.grad.tolist() == [1, 1]
    assert not constant.requires_grad


def test_mixed_devices_name_the_op_the_argument_and_both():
    strict.install()
    here, there = tg.ones(2, device="numpy"), tg.ones(2, device="strict")
    for call in (lambda: here * there, lambda: tg.where(here > 0, here, there), lambda: here @ there):
        with pytest.raises(TypeError, match=r"\w+: argument [23] is on strict.*on numpy.*\.to\('numpy'\)"):
            call()
    with pytest.raises(TypeError, match=r"x\[i\]: argument 2 is on strict"):
        here[there.long()]
    with pytest.raises(TypeError, match="argument 2 is on strict"):
        here += there
    with pytest.raises(TypeError, match="backward"):
        here.requires_grad_().backward(there)


def test_gradients_cross_devices():
    strict.install()
    x = tg.ones(2, device="numpy", requires_grad=True)
    (x.to("strict") * 3).sum().backward()
    assert type(x.grad.array) is np.ndarray
    assert x.grad.tolist() == [3.0, 3.0]


# ---------------------------------------------------------------- types


@pytest.mark.parametrize("kind", [tg.float16, tg.float32, tg.float64])
@pytest.mark.parametrize("other", [tg.float16, tg.float32, tg.float64])
def test_gradients_have_the_shape_and_type_of_their_tensor(kind, other):
    x, y = tg.ones(2, 1, dtype=kind, requires_grad=True), tg.ones(3, dtype=other, requires_grad=True)
    z = 2 * x * y + 1
    assert z.dtype == np.promote_types(kind, other)
    z.sum().backward()
    assert (x.grad.shape, x.grad.dtype) == ((2, 1), kind)
    assert (y.grad.shape, y.grad.dtype) == ((3,), other)
    assert x.grad.tolist() == [[6.0], [6.0]]


def test_numbers_are_weak():
    for kind in (tg.float16, tg.float32, tg.float64):
        x = tg.ones(2, dtype=kind, requires_grad=True)
        for y in (x + 1, 1.5 * x, x / 3, 2**x, x**2, np.float32(2) * x, x * np.float64(2), 1 - x):
            assert isinstance(y, tg.Tensor)
            assert y.dtype == kind
            assert y.requires_grad
        assert (x + tg.ones(2, dtype="int64")).dtype == kind
    assert (tg.ones(2, dtype="int64") * 1.5).dtype == tg.float32


# ---------------------------------------------------------------- modes


def test_modes_as_blocks_and_decorators():
    x = leaf(1.0)

    @tg.no_grad()
    def off():
        return x * 2

    @tg.no_grad
    def off_too():
        return x * 2

    @tg.set_grad_enabled(False)
    def off_three():
        return x * 2

    @tg.enable_grad()
    def on():
        return x * 2

    assert tg.is_grad_enabled()
    assert [f().requires_grad for f in (off, off_too, off_three, on)] == [False, False, False, True]
    with tg.no_grad():
        assert not (x * 2).requires_grad
        assert on().requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
        with tg.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not tg.is_grad_enabled()
    tg.set_grad_enabled(False)
    assert not tg.is_grad_enabled()
    tg.set_grad_enabled(True)
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert tg.is_grad_enabled()


def test_threads_build_graphs_at_once_and_modes_are_their_own():
    start, found = threading.Barrier(4), {}

    def work(k):
        x = leaf(float(k), 1.0, dtype=tg.float64)
        start.wait()
        if k == 0:
            with tg.no_grad():
                found[k] = [(x * x).requires_grad for _ in range(300)]
            return
        for _ in range(300):
            y = x
            for _ in range(10):
                y = y * 1.0 + x * 0.1
            y.sum().backward()
        found[k] = x.grad.tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(found[0])
    for k in (1, 2, 3):
        assert found[k] == pytest.approx([600.0, 600.0])
    assert tg.is_grad_enabled()


def test_debug_names_the_op_and_the_line():
    x = leaf(1.0, 0.0)

    def log():
        return tg.log(x)

    line = log.__code__.co_firstlineno + 1
    with tg.debug(), np.errstate(divide="ignore"):
        with pytest.raises(
            FloatingPointError, match=rf"^log made NaN or infinity in .*graph.py, line {line};"
        ):
            log()
        y = x * 2
        y.sum().backward()
        with pytest.raises(
            tg.GraphError, match=r"through mul \(called in .*test_graph.py, line \d+\) a second time"
        ):
            y.backward(tg.ones(2))
        with pytest.raises(FloatingPointError, match="argument 1 had some already"):
            tg.tensor([float("nan")]) + 1
    with np.errstate(divide="ignore"):
        assert log().tolist()[1] == -np.inf
