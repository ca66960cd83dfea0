"""Optimisers and schedules that scripts use beside Adam and SGD: 20 steps against their equations in
NumPy."""

import io
import math

import numpy as np
import pytest

import tinygrad_rnn as torch
from tests.extras import extra
from tinygrad_rnn import nn, optim
from tinygrad_rnn.optim import lr_scheduler

RNG = np.random.default_rng(3)
START, GRADIENTS = RNG.normal(size=5), RNG.normal(size=(20, 5))


def adadelta(p, gs, lr=1.0, rho=0.9, eps=1e-6):
    v, u = np.zeros(5), np.zeros(5)
    for g in gs:
        v = rho * v + (1 - rho) * g * g
        d = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d * d
        p = p - lr * d
    return p


def adamax(p, gs, lr=2e-3, b1=0.9, b2=0.999, eps=1e-8):
    m, u = np.zeros(5), np.zeros(5)
    for t, g in enumerate(gs, 1):
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, abs(g) + eps)
        p = p - lr / (1 - b1**t) * m / u
    return p


def nadam(p, gs, lr=2e-3, b1=0.9, b2=0.999, eps=1e-8, decay=4e-3):
    m, v, product = np.zeros(5), np.zeros(5), 1.0
    for t, g in enumerate(gs, 1):
        mu, after = (b1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in (t, t + 1))
        product *= mu
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        root = np.sqrt(v / (1 - b2**t)) + eps
        p = p - lr * (1 - mu) / (1 - product) * g / root - lr * after / (1 - product * after) * m / root
    return p


def radam(p, gs, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    m, v = np.zeros(5), np.zeros(5)
    most = 2 / (1 - b2) - 1
    for t, g in enumerate(gs, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        length = most - 2 * t * b2**t / (1 - b2**t)
        step = m / (1 - b1**t)
        if length > 5:
            r = math.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
            step = step * math.sqrt(1 - b2**t) / (np.sqrt(v) + eps) * r
        p = p - lr * step
    return p


def rprop(p, gs, lr=1e-2, low=0.5, high=1.2):
    before, size = np.zeros(5), np.full(5, lr)
    for g in gs:
        same = np.sign(g * before)
        size = np.clip(size * np.where(same > 0, high, np.where(same < 0, low, 1)), 1e-6, 50)
        g = np.where(same < 0, 0, g)
        p, before = p - np.sign(g) * size, g
    return p


def asgd(p, gs, lr=1e-2, lambd=1e-4, alpha=0.75):
    eta = lr
    for t, g in enumerate(gs, 1):
        p = p * (1 - lambd * eta) - eta * g
        eta = lr / (1 + lambd * lr * t) ** alpha
    return p


KINDS = {"Adadelta": adadelta, "Adamax": adamax, "NAdam": nadam, "RAdam": radam, "Rprop": rprop, "ASGD": asgd}


def trained(library, kind, n=20, state=None, start=START, begin=0, **options):
    p = library.nn.Parameter(library.tensor(start.tolist(), dtype=library.float64))
    optimizer = getattr(library.optim, kind)([p], **options)
    if state is not None:
        optimizer.load_state_dict(state)
    for g in GRADIENTS[begin:n]:
        p.grad = library.tensor(g.tolist(), dtype=library.float64)
        optimizer.step()
    return p.detach().numpy(), optimizer


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_equations(kind):
    found, optimizer = trained(torch, kind)
    np.testing.assert_allclose(found, KINDS[kind](START, GRADIENTS), rtol=1e-10)
    half, first = trained(torch, kind, 10)  # resumed from a file it goes on
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again, _ = trained(torch, kind, 20, torch.load(file), half, 10)
    np.testing.assert_allclose(again, found, rtol=1e-12)
    assert kind in repr(optimizer)


OPTIONS = [
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}), ("Adadelta", {"maximize": True}),
    ("Adamax", {"betas": (0.5, 0.9), "weight_decay": 0.1}), ("Adamax", {"maximize": True}),
    ("NAdam", {"weight_decay": 0.1}), ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"betas": (0.5, 0.7), "lr": 0.1}), ("RAdam", {"weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1, "maximize": True}),
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2)}), ("ASGD", {"t0": 5, "weight_decay": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.5, "maximize": True}),
    *((kind, {}) for kind in KINDS),
]  # fmt: skip


@pytest.mark.extras("torch")
@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_steps_are_pytorchs(kind, options):
    theirs, other = trained(extra("torch"), kind, **options)
    ours, mine = trained(torch, kind, **options)
    exact = 1e-6 if kind == "ASGD" else 1e-9  # whose eta PyTorch keeps in float32
    np.testing.assert_allclose(ours, theirs, rtol=exact)
    assert sorted(mine.state_dict()["state"][0]) == sorted(other.state_dict()["state"][0])
    if kind == "ASGD":
        ax = [o.state_dict()["state"][0]["ax"] for o in (mine, other)]
        np.testing.assert_allclose(ax[0].numpy(), ax[1].numpy(), rtol=exact)
    theirs, other = trained(extra("torch"), kind, 10, **options)  # its state is read
    resumed, _ = trained(torch, kind, 20, other.state_dict(), theirs, 10, **options)
    np.testing.assert_allclose(resumed, ours, rtol=1e-6)


def test_optimisers_take_tensors_that_require_no_gradient():
    p = torch.ones(2)
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.step()
    p.grad = torch.tensor([1.0, 2.0])
    optimizer.step()
    assert p.tolist() == [0.5, 0]
    optimizer.zero_grad()
    assert p.grad is None
    with pytest.raises(RuntimeError, match="grad: expected float32"):
        p.grad = torch.ones(3)


def test_states_of_old_are_read():
    p = nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([p])
    p.grad = torch.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    for option in ("maximize", "amsgrad"):
        del state["param_groups"][0][option]
    other = optim.Adam([nn.Parameter(torch.ones(2))])
    other.load_state_dict(state)
    assert other.param_groups[0]["maximize"] is False


def rates(scheduler, n, *args):
    found = []
    for _ in range(n):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step(*args)
    return found


def sgd(lr=1.0, **options):
    p = nn.Parameter(torch.ones(1))
    p.grad = torch.zeros(1)
    return optim.SGD([p], lr=lr, **options)


def test_schedules():
    assert rates(lr_scheduler.MultiplicativeLR(sgd(), lambda n: 0.5), 3) == [1, 0.5, 0.25]
    found = rates(lr_scheduler.PolynomialLR(sgd(), total_iters=4, power=2.0), 6)
    np.testing.assert_allclose(found, [1, 0.5625, 0.25, 0.0625, 0, 0], atol=1e-12)
    found = rates(lr_scheduler.CosineAnnealingWarmRestarts(sgd(), T_0=2, T_mult=2), 7)
    np.testing.assert_allclose(found, [1, 0.5, 1, 0.8535534, 0.5, 0.1464466, 1], rtol=1e-6)
    o = sgd(momentum=0.9)
    s = lr_scheduler.CyclicLR(o, 0.1, 0.5, step_size_up=2, mode="triangular2")
    np.testing.assert_allclose(rates(s, 7), [0.1, 0.3, 0.5, 0.3, 0.1, 0.2, 0.3], rtol=1e-6)
    assert 0.8 <= o.param_groups[0]["momentum"] <= 0.9
    o = sgd()
    chained = lr_scheduler.ChainedScheduler(
        [lr_scheduler.ExponentialLR(o, 0.5), lr_scheduler.StepLR(o, 2, 0.1)]
    )
    np.testing.assert_allclose(rates(chained, 3), [1, 0.5, 0.025], rtol=1e-6)
    state = chained.state_dict()
    chained.step()
    chained.load_state_dict(state)
    assert chained.get_last_lr() == [pytest.approx(0.0125)]
    with pytest.raises(ValueError, match="no momentum to cycle"):
        lr_scheduler.CyclicLR(optim.Rprop([nn.Parameter(torch.ones(1))]), 0.1, 0.5)


def test_steps_to_an_epoch():
    s = lr_scheduler.StepLR(sgd(), 2, gamma=0.1)
    s.step(5)
    assert s.get_last_lr() == [pytest.approx(0.01)]
    s = lr_scheduler.CosineAnnealingLR(sgd(), T_max=4)
    s.step(2)
    assert s.get_last_lr() == [pytest.approx(0.5)]
    s = lr_scheduler.CosineAnnealingWarmRestarts(sgd(), 2)
    s.step(2.5)
    assert s.get_last_lr() == [pytest.approx((1 + math.cos(math.pi / 4)) / 2)]
    s = lr_scheduler.LambdaLR(sgd(), lambda n: 1 / (1 + n))
    s.step(3)
    assert s.get_last_lr() == [0.25]
    s = lr_scheduler.ReduceLROnPlateau(sgd(), patience=0, verbose=True)
    s.step(1.0, 0)
    s.step(2.0, 1)
    assert s.get_last_lr() == [pytest.approx(0.1)]
    assert issubclass(lr_scheduler.StepLR, lr_scheduler._LRScheduler)


SCHEDULES = {
    "cyclic": lambda s, o: s.CyclicLR(o, 0.1, 1.0, step_size_up=3, step_size_down=5, base_momentum=0.7),
    "exp_range": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 3, mode="exp_range", gamma=0.95, cycle_momentum=False),
    "scale_fn": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 3, scale_fn=lambda x: 0.9**x, scale_mode="iterations"),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.01),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=7, power=1.5),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda n: 0.9 if n % 2 else 1.1),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.9)]),
}


@pytest.mark.extras("torch")
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_pytorchs(name):
    theirs = extra("torch")
    found = []
    for library in (torch, theirs):
        p = library.nn.Parameter(library.ones(1))
        p.grad = library.zeros(1)
        o = library.optim.SGD([p], lr=1.0, momentum=0.9)
        s = SCHEDULES[name](library.optim.lr_scheduler, o)
        rows = []
        for _ in range(20):
            rows.append((o.param_groups[0]["lr"], o.param_groups[0]["momentum"], s.get_last_lr()[0]))
            o.step()
            s.step()
        found.append(rows)
    np.testing.assert_allclose(*found, rtol=1e-6)
