"""Updates in C: the numbers of NumPy, bit for bit, by one call for all parameters."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.backend import compiling
from tinygrad_rnn.backend.native import native
from tinygrad_rnn.fuse.lower import c_update

from .test_kernels import OPTIMISERS

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not compiling.compiler(), reason="no C compiler is installed"),
]
SHAPES = [(300, 70), (3,), (1, 1), (0, 2), (), (8192,), (8193,), (5, 4)]


def trained(make, kind, n_steps=4, turn=lambda x: x):
    rng = np.random.default_rng(0)
    ps = [tg.tensor(rng.standard_normal(s), dtype=kind, requires_grad=True) for s in SHAPES]
    optimiser = make(ps)
    for _ in range(n_steps):
        for p in ps:
            p.grad = turn(tg.tensor(rng.standard_normal(p.shape), dtype=kind))
        ps[1].grad = None  # one that takes no part
        optimiser.step()
    return [p.numpy() for p in ps], [
        v.numpy() for own in optimiser.state.values() for v in own.values() if isinstance(v, tg.Tensor)
    ]


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def runs(monkeypatch):
    """How many parameters were changed by each call of compiled code."""
    found, run = [], c_update.CUpdate.run
    monkeypatch.setattr(
        c_update.CUpdate,
        "run",
        lambda self, lists, numbers: (found.append(len(lists)), run(self, lists, numbers)),
    )
    return found


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_bits_are_those_of_numpy(name, kind, runs):
    with native(False):
        wanted = trained(OPTIMISERS[name], kind)
    assert not runs
    with native(True):
        found = trained(OPTIMISERS[name], kind)
    assert runs == [len(SHAPES) - 1] * 4
    for own, expected in zip(found, wanted, strict=True):
        same(own, expected)


def test_any_number_of_threads_has_the_same_bits(monkeypatch):
    found = []
    for n in (1, 2, 5):
        monkeypatch.setattr(native, "n_threads", n)
        monkeypatch.setattr(c_update, "ENOUGH", 100)
        with native(True):
            found.append(trained(OPTIMISERS["Adam"], "float32")[0])
    same(found[0], found[1])
    same(found[0], found[2])


@pytest.mark.parametrize(
    "turn",
    [
        lambda g: tg.tensor(g.numpy().T.copy()).T if g.ndim == 2 else g,
        lambda g: tg.tensor(np.repeat(g.numpy(), 2, 0))[::2] if g.ndim else g,
        lambda g: tg.zeros(1, dtype=g.dtype).expand(*g.shape) if g.ndim else g,
    ],
    ids=["turned", "every other", "expanded"],
)
def test_arrays_that_lie_otherwise_are_left_to_numpy(turn, runs):
    with native(False):
        wanted = trained(OPTIMISERS["Adam"], "float64", turn=turn)
    with native(True):
        found = trained(OPTIMISERS["Adam"], "float64", turn=turn)
    assert all(n < len(SHAPES) - 1 for n in runs)
    for own, expected in zip(found, wanted, strict=True):
        same(own, expected)


def test_a_read_only_parameter_is_refused_as_by_numpy():
    with native(True):
        p = tg.zeros(5000).requires_grad_()
        p.array.flags.writeable = False
        p.grad = tg.ones(5000)
        with pytest.raises(ValueError, match="read-only"):
            optim.SGD([p], lr=0.1).step()


def test_parameters_of_several_types_and_numbers_of_steps(runs):
    def run():
        ps = [tg.ones(5000, dtype=kind).requires_grad_() for kind in ("float32", "float64", "float16")]
        ps.append(tg.ones(5000).requires_grad_())
        optimiser = optim.Adam(ps, lr=0.1)
        for k in range(3):
            for p in ps[: 3 + (k > 0)]:  # the last one begins later
                p.grad = p.detach() * 0.5
            optimiser.step()
        return [p.numpy() for p in ps]

    with native(False):
        wanted = run()
    with native(True):
        same(run(), wanted)
    assert runs == [1, 1, 1, 1, 1, 1, 1, 1]


def test_small_groups_are_not_compiled(runs):
    with native(True):
        p = tg.zeros(100).requires_grad_()
        p.grad = tg.ones(100)
        optim.Adam([p]).step()
    assert not runs


def test_where_nothing_compiles_numpy_does_it(monkeypatch, runs):
    def fails(self, update, dtype):
        raise OSError

    monkeypatch.setattr(c_update.CUpdate, "__init__", fails)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with native(False):
            wanted = trained(OPTIMISERS["AdamW"], "float32")
        with native(True):
            found = trained(OPTIMISERS["AdamW"], "float32")
    assert not runs
    for own, expected in zip(found, wanted, strict=True):
        same(own, expected)
