"""Updates as kernels of a GPU: the same equations, the same numbers as on NumPy."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import compile_for_gpu, needs_compiler, needs_nvrtc
from tests.support import strict
from tinygrad_rnn import backend, optim
from tinygrad_rnn.fuse.lower.interpret import GENERAL
from tinygrad_rnn.fuse.lower.update import LIST, InPlace
from tinygrad_rnn.ops import sqrt

pytestmark = pytest.mark.host

OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "SGD, nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "Adam, amsgrad": lambda p: optim.Adam(p, lr=0.1, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1, maximize=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "RMSprop, centered": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9, weight_decay=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.1),
}
TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}


def trained(make, kind, n=3, n_steps=3):
    """Parameters, some of them large, after some steps with gradients that are the same everywhere."""
    rng = np.random.default_rng(0)
    shapes = [(300, 2), (3,), (1, 1), (0, 2)] * n
    values = [rng.standard_normal(s) for s in shapes]
    ps = [tg.tensor(v, dtype=kind, requires_grad=True) for v in values]
    optimiser = make(ps)
    for _ in range(n_steps):
        for p in ps:
            p.grad = tg.tensor(rng.standard_normal(p.shape), dtype=kind)
        ps[1].grad = None  # one that takes no part
        with strict.no_waits():
            optimiser.step()
    return ps, optimiser


@needs_compiler
@pytest.mark.parametrize("kind", ["float32", "float16", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_numbers_are_those_of_numpy(name, kind):
    with tg.use("numpy"):
        here, _ = trained(OPTIMISERS[name], kind)
    with strict.kernels() as xp:
        there, optimiser = trained(OPTIMISERS[name], kind)
        assert dict(xp.launched) == {
            f"{type(optimiser).__name__.lower()}_update": 3
        }  # one for all, at each step
        for a, b in zip(there, here, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=TOLERANCE[kind], atol=TOLERANCE[kind])


@needs_compiler
def test_long_lists_take_several_kernels():
    with strict.kernels() as xp:
        trained(OPTIMISERS["Adam"], "float32", n=10, n_steps=1)
        assert xp.launched["adam_update"] == -(-39 // LIST)


@needs_compiler
def test_arrays_that_lie_otherwise_in_memory():
    values = np.random.default_rng(0).standard_normal((2, 4, 3))

    def step(turn):
        p = tg.tensor(values[0], requires_grad=True)
        p.grad = tg.tensor(values[1])
        if turn:
            p.data = tg.swapaxes(tg.tensor(values[0].T.copy()), 0, 1)
            p.grad = tg.swapaxes(tg.tensor(values[1].T.copy()), 0, 1)
        optim.SGD([p], lr=0.1).step()
        return p.numpy()

    with strict.kernels():
        np.testing.assert_array_equal(step(True), step(False))


@needs_nvrtc
@pytest.mark.parametrize("kind", ["float16", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_nvrtc_compiles_every_update(name, kind):
    _, optimiser = trained(OPTIMISERS[name], kind, n=1, n_steps=2)
    sizes = [2, 2] if kind == "float16" else [8, 8]
    for update in optimiser._equations.values():
        item = [*sizes, *([max(4, sizes[0])] * (len(update.arrays) - 2))]
        by_value = [k % 2 == 0 for k in range(len(update.given))]
        assert compile_for_gpu(update.kernel_source(item, by_value, LIST if kind == "float16" else 1)) > 0


def test_an_update_uses_little_memory():
    """As many scratch arrays as the longest expression needs, and results in their own memory."""

    def adam(n, p, g, m, v):
        m = m + (g - m) * n[0]
        v = v * n[1] + g * g * n[2]
        return p - m / (sqrt(v) + n[3]) * n[4], m, v

    update = InPlace("Adam", adam, (0.1, 0.9, 0.1, 1e-8, 0.5), 4)
    calls = update.calls(backend.find("numpy"))
    assert calls.n_scratch == 1
    assert len(calls.calls) == 12
    assert [f for f, *_ in calls.calls if f is np.copyto] == []
    assert all(b != GENERAL for _, _, b, _ in calls.calls)  # each writes where it belongs


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        (lambda n, p, g: p - g, "must return a tuple of 1"),
        (lambda n, p, g: (p - g * (n[0] * n[1]),), "mul of numbers alone; work it out before"),
    ],
)
def test_wrong_equations_say_so(equation, message):
    with pytest.raises(TypeError, match=f"Mine: .*{message}"):
        InPlace("Mine", equation, (0.1, 0.2), 2)
