"""Tensors without axes on the host beside those of a GPU: as good as a number, by PyTorch's rule."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.support import strict
from tinygrad_rnn import nn, optim

pytestmark = pytest.mark.host  # brings its own backends


@pytest.fixture(autouse=True, params=["calls", pytest.param("kernels", marks=needs_compiler)])
def _on_the_stand_in(request):
    with strict.kernels() if request.param == "kernels" else tg.use("strict"):
        yield


def on_host(value, dtype=None):
    return tg.tensor(value, dtype=dtype, device="cpu")


def changed(change):
    """What an in-place change, which may return nothing, makes of its tensor."""

    def run(x, n):
        change(x, n)
        return x

    return run


def indexed(index):
    return changed(lambda x, n: x.__setitem__(index(x), n))


# What is done with x = [1, 2, 3] and the number n = 2, and what comes out.
OPERATIONS = {
    "+": (lambda x, n: x + n, [3.0, 4.0, 5.0]),
    "n +": (lambda x, n: n + x, [3.0, 4.0, 5.0]),
    "n -": (lambda x, n: n - x, [1.0, 0.0, -1.0]),
    "n /": (lambda x, n: n / x, [2.0, 1.0, 2 / 3]),
    "**": (lambda x, n: x**n, [1.0, 4.0, 9.0]),
    "//": (lambda x, n: x // n, [0.0, 1.0, 1.0]),
    "%": (lambda x, n: x % n, [1.0, 0.0, 1.0]),
    "<": (lambda x, n: x < n, [True, False, False]),
    "n >=": (lambda x, n: n >= x, [True, True, False]),
    "==": (lambda x, n: x == n, [False, True, False]),
    "maximum": (lambda x, n: tg.maximum(x, n), [2.0, 2.0, 3.0]),
    "where, of x": (lambda x, n: tg.where(x > 1, x, n), [2.0, 2.0, 3.0]),
    "where, of n": (lambda x, n: tg.where(x > 1, n, n * 2), [4.0, 2.0, 2.0]),
    "clip": (lambda x, n: tg.clip(x, n, n + 0.5), [2.0, 2.0, 2.5]),
    "clip, one bound": (lambda x, n: x.clamp(max=n), [1.0, 2.0, 2.0]),
    "clip, a number and n": (lambda x, n: x.clamp(1.5, n), [1.5, 2.0, 2.0]),
    "masked_fill": (lambda x, n: x.masked_fill(x > 2, n), [1.0, 2.0, 2.0]),
    "x[n]": (lambda x, n: x[n.long()], 3.0),
    "full": (lambda x, n: tg.full((2,), n), [2.0, 2.0]),
    "full_like": (lambda x, n: tg.full_like(x, n), [2.0] * 3),
    "new_full": (lambda x, n: x.new_full((2,), n), [2.0, 2.0]),
    "fill_": (lambda x, n: x.fill_(n), [2.0] * 3),
    "copy_": (lambda x, n: x.copy_(n), [2.0] * 3),
    "x[...] =": (indexed(lambda x: ...), [2.0] * 3),
    "x[i] =": (indexed(lambda x: 0), [2.0, 2.0, 3.0]),
    "x[slice] =": (indexed(lambda x: slice(1, None)), [1.0, 2.0, 2.0]),
    "x[mask] =": (indexed(lambda x: x > 2), [1.0, 2.0, 2.0]),
    "x[indices] =": (indexed(lambda x: tg.tensor([0, 2])), [2.0, 2.0, 2.0]),
    "add_": (lambda x, n: x.add_(n), [3.0, 4.0, 5.0]),
    "add_, alpha": (lambda x, n: x.add_(x, alpha=n), [3.0, 6.0, 9.0]),
    "sub_": (lambda x, n: x.sub_(n, alpha=2), [-3.0, -2.0, -1.0]),
    "*=": (changed(lambda x, n: x.__imul__(n)), [2.0, 4.0, 6.0]),
    "/=": (changed(lambda x, n: x.__itruediv__(n)), [0.5, 1.0, 1.5]),
    "clamp_": (lambda x, n: x.clamp_(n), [2.0, 2.0, 3.0]),
    "masked_fill_": (lambda x, n: x.masked_fill_(x > 2, n), [1.0, 2.0, 2.0]),
    "a pointwise function": (lambda x, n: tg.pointwise(lambda a, b: a * b + b)(x, n), [4.0, 6.0, 8.0]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_is_as_good_as_a_number(name):
    run, expected = OPERATIONS[name]
    for place in (on_host, tg.tensor):
        x = tg.tensor([1.0, 2.0, 3.0])
        y = run(x, place(2.0))
        assert y.device.type == "cuda"
        assert y.dtype == ("bool" if isinstance(expected, list) and expected[0] in (True, False)
                           and type(expected[0]) is bool else "float32")  # fmt: skip
        np.testing.assert_allclose(y.numpy(), np.array(expected), rtol=1e-6)


def test_a_graph_reads_it_anew_at_each_replay():
    n, held, calls = on_host(2.0), [on_host(0.5)], []

    @tg.cuda.graphed
    def step(x):
        calls.append(1)
        y = x.clone().fill_(n)
        y[0] = held[0]
        return x * n + tg.where(x > n, x, n), y

    for k in range(6):
        n.fill_(float(k))
        if k == 4:
            held[0] = on_host(0.25)  # another in its place
        a, b = step(tg.tensor([1.0, 10.0]))
        assert a.tolist() == [k + max(1.0, k), 10.0 * k + 10.0]
        assert b.tolist() == [0.5 if k < 4 else 0.25, k]
    assert step.n_graphs == 1
    assert len(calls) == 3


@pytest.mark.parametrize("make", [lambda n: n * 2, lambda n: on_host(float(n) * 2)])
def test_what_the_step_makes_on_the_host_no_graph_makes_anew(make):
    n = on_host(1.0)
    step = tg.cuda.graphed(lambda x: x * make(n))
    assert step(tg.ones(2)).tolist() == [2.0, 2.0]
    n.fill_(2.0)
    with pytest.warns(UserWarning, match="a tensor on the host is made in the step; make it before"):
        assert step(tg.ones(2)).tolist() == [4.0, 4.0]
    n.fill_(3.0)
    assert step(tg.ones(2)).tolist() == [6.0, 6.0]


def test_its_type_widens_nothing_and_its_kind_counts():
    """As a number of its kind: float32 stays; integers become floats beside a float."""
    x = tg.tensor([1.0, 2.0])
    assert (x * on_host(2.0, "float64")).dtype == "float32"
    assert (x.half() * on_host(2.0)).dtype == "float16"
    assert (x + on_host(2)).dtype == "float32"
    assert (x.long() + on_host(2)).tolist() == [3, 4]
    assert (x.long() * on_host(2.5)).tolist() == [2.5, 5.0]
    both = tg.tensor(3.0) * on_host(2.0)
    assert (both.device.type, both.item()) == ("cuda", 6.0)


def test_gradients_go_back_to_the_host():
    """d/dn sum(x n^2 + n / x) = sum(2 x n + 1 / x), and its derivative 2 sum(x), for n on the host."""
    x, n = tg.tensor([1.0, 2.0, 4.0], requires_grad=True), on_host(3.0).requires_grad_()
    y = (x * n * n + n / x).sum()
    (first,) = tg.grad(y, [n], create_graph=True)
    assert (first.device.type, first.item()) == ("cpu", 2 * 7 * 3 + 1.75)
    (second,) = tg.grad(first, [n])
    assert (second.device.type, second.item()) == ("cpu", 14.0)
    (x * n * n + n / x).sum().backward()
    assert n.grad.item() == first.item()
    np.testing.assert_allclose(x.grad.numpy(), [9 - 3, 9 - 3 / 4, 9 - 3 / 16], rtol=1e-6)


def test_inside_a_loop_over_time():
    class Scaled(nn.RNNCell):
        def step(self, px, h):
            return super().step(px, h * self.factor)

    def outputs(factor):
        tg.manual_seed(0)
        cell = Scaled(3, 2)
        object.__setattr__(cell, "factor", factor)
        x = tg.randn(6, 2, 3, requires_grad=True)
        y, _ = nn.Recurrent(cell)(x)
        return [y.numpy(), *(g.numpy() for g in tg.grad(y.square().sum(), [x, *cell.parameters()]))]

    for a, b in zip(outputs(on_host(0.5)), outputs(0.5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("graph", [False, True])
def test_options_of_an_optimiser(name, graph):
    found = []
    for place in (float, on_host):
        p = tg.ones(3, requires_grad=True)
        optimiser = getattr(optim, name)([p], lr=place(0.25), weight_decay=place(0.5))

        def step(x, optimiser=optimiser, p=p):
            optimiser.zero_grad()
            (p * p * x).sum().backward()
            optimiser.step()

        step = tg.cuda.graphed(step) if graph else step
        for k in range(5):
            if k == 3:
                optimiser.param_groups[0]["lr"] = place(0.125)
            with strict.no_waits():
                step(tg.ones(3))
        found.append(p.numpy())
    np.testing.assert_array_equal(*found)


REFUSED = [
    lambda x, n: tg.tensor([1.0, 2.0, 3.0], device="cpu") + x.sum(),  # axes are on the host
    lambda x, n: x + tg.tensor([1.0, 2.0, 3.0], device="cpu"),
    lambda x, n: tg.stack([x.sum(), n]),  # joins, and takes all from one device
    lambda x, n: n.add_(x.sum()),  # the result would be on the other device
    lambda x, n: x.fill_(tg.tensor([2.0], device="cpu")),
]


@pytest.mark.parametrize("call", REFUSED)
def test_the_rest_is_an_error_in_a_sentence(call):
    with pytest.raises(TypeError, match=r"is on (numpy|strict), the others are on (numpy|strict); move"):
        call(tg.tensor([1.0, 2.0, 3.0]), on_host(2.0))


def test_the_stand_in_takes_no_tensor_for_an_array():
    """NumPy would ask it for its values behind everybody's back; CuPy does not know it."""
    x, n = tg.ones(3).array, tg.ones(())
    for call in (lambda: x.__setitem__(..., n), lambda: tg.backend.current().add(x, n), lambda: x.fill(n)):
        with pytest.raises(TypeError, match="is given a tensor"):
            call()
