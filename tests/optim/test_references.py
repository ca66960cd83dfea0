"""Every optimiser and schedule against its equations, as the papers have them, in float64 on plain NumPy:
what holds without PyTorch. The optimisers compute in another order, so that the last bits differ.
"""

from itertools import product
from math import cos, pi

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.optim import lbfgs, lr_scheduler

N_STEPS = 12
TARGET = np.array([[1.0, -2.0, 0.5], [0.3, 0.0, -1.0]])


def gradient(p):
    """Of a function whose gradients are of different sizes, and change their signs."""
    return np.array([[1.0], [30.0]]) * np.sin(3 * (p - TARGET)) + 0.2 * p


def walked(make, options):
    """The parameter after each step of an optimiser of ours."""
    p = tg.tensor([[0.9, -0.4, 0.2], [0.1, -0.6, 1.1]], dtype="float64", requires_grad=True)
    optimizer, found = make([p], **options), []
    for _ in range(N_STEPS):
        p.grad = tg.tensor(gradient(p.detach().numpy()))
        optimizer.step()
        found.append(p.detach().numpy().copy())
    return found


def reference(rule, options):
    """The same by a rule: a generator that is sent gradients, with decay and sign, and gives changes."""
    p = np.array([[0.9, -0.4, 0.2], [0.1, -0.6, 1.1]])
    options = dict(options)
    decay, sign = options.pop("weight_decay", 0.0), -1 if options.pop("maximize", False) else 1
    decoupled = options.pop("decoupled", False)
    step, found = rule(**options), []
    next(step)
    for _ in range(N_STEPS):
        g = sign * gradient(p)
        if decoupled:
            p = p - options["lr"] * decay * p
        else:
            g = g + decay * p
        p = p - step.send(g)
        next(step)
        found.append(p)
    return found


def sgd(lr, momentum=0.0, dampening=0.0, nesterov=False):
    b = None
    while True:
        g = yield
        if momentum:
            b = g if b is None else momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        yield lr * g


def adam(lr, betas=(0.9, 0.999), eps=1e-8, amsgrad=False):
    m = v = largest = 0.0
    t = 0
    while True:
        g = yield
        t += 1
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt((largest if amsgrad else v) / (1 - betas[1] ** t))
        yield lr * m / (1 - betas[0] ** t) / (root + eps)


def rmsprop(lr, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    v = mean = b = 0.0
    while True:
        g = yield
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - mean**2 if centered else v) + eps)
        yield lr * b


def adagrad(lr, lr_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    total, t = initial_accumulator_value, 0
    while True:
        g = yield
        total = total + g**2
        yield lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
        t += 1


BOTH = {"weight_decay": (0.0, 0.1), "maximize": (False, True)}
CASES = {
    "SGD": (optim.SGD, sgd, {"lr": (0.01,), "momentum": (0.0, 0.9), "dampening": (0.0, 0.3), **BOTH}),
    "Nesterov": (optim.SGD, sgd, {"lr": (0.01,), "momentum": (0.5, 0.9), "nesterov": (True,), **BOTH}),
    "Adam": (optim.Adam, adam, {"lr": (0.1,), "betas": ((0.9, 0.999), (0.5, 0.7)), "eps": (1e-8, 0.3),
                                "amsgrad": (False, True), **BOTH}),
    "AdamW": (optim.AdamW, adam, {"lr": (0.1,), "betas": ((0.8, 0.9),), "eps": (0.1,),
                                  "amsgrad": (False, True), **BOTH}),
    "RMSprop": (optim.RMSprop, rmsprop, {"lr": (0.05,), "alpha": (0.99, 0.6), "eps": (1e-8, 0.2),
                                         "momentum": (0.0, 0.5), "centered": (False, True), **BOTH}),
    "Adagrad": (optim.Adagrad, adagrad, {"lr": (0.3,), "lr_decay": (0.0, 0.2), "eps": (1e-10, 0.1),
                                         "initial_accumulator_value": (0.0, 0.5), **BOTH}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_step_is_the_papers(name):
    make, rule, grid = CASES[name]
    seen = set()
    for values in product(*grid.values()):
        options = dict(zip(grid, values, strict=True))
        expected = reference(rule, {**options, "decoupled": make is optim.AdamW})
        for k, (found, wanted) in enumerate(zip(walked(make, options), expected, strict=True)):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12, err_msg=f"{options}, step {k}")
        seen.add(expected[-1].tobytes())
    options_without_effect = 2 if name == "SGD" else 1  # dampening needs a momentum
    assert len(seen) * options_without_effect >= len(list(product(*grid.values())))


def test_defaults_are_those_of_the_papers():
    assert optim.Adam([tg.ones(1, requires_grad=True)]).defaults["betas"] == (0.9, 0.999)
    assert optim.Adam([tg.ones(1, requires_grad=True)]).defaults["eps"] == 1e-8
    assert optim.AdamW([tg.ones(1, requires_grad=True)]).defaults["weight_decay"] == 1e-2
    assert optim.RMSprop([tg.ones(1, requires_grad=True)]).defaults["alpha"] == 0.99


# ---------------------------------------------------------------- L-BFGS

MATRIX = np.array([[3.0, 1.0, 0.2], [1.0, 2.0, 0.4], [0.2, 0.4, 1.0]])


def test_lbfgs_takes_the_steps_of_bfgs():
    """With all changes remembered it is BFGS whose first matrix is scaled anew (Nocedal and Wright, 6.17)."""
    p = tg.tensor([1.0, -2.0, 0.5], dtype="float64", requires_grad=True)
    a = tg.tensor(MATRIX)

    def closure():
        p.grad = None
        loss = (p @ a @ p) / 2 + (p**4).sum() / 10
        loss.backward()
        return loss

    slope = lambda x: MATRIX @ x + 0.4 * x**3
    x, pairs, eye = np.array([1.0, -2.0, 0.5]), [], np.eye(3)
    for n in range(1, 7):
        q = tg.tensor([1.0, -2.0, 0.5], dtype="float64")
        p.data = q
        optim.LBFGS([p], lr=0.7, max_iter=n, max_eval=100).step(closure)
        g = slope(x)
        h = eye * (pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]) if pairs else 1.0)
        for s, y in pairs:
            left = eye - np.outer(s, y) / (s @ y)
            h = left @ h @ left.T + np.outer(s, s) / (s @ y)
        t = min(1.0, 1.0 / np.abs(g).sum()) * 0.7 if n == 1 else 0.7
        new = x - t * h @ g
        pairs.append((new - x, slope(new) - g))
        x = new
        np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-8, err_msg=f"{n} iterations")


def test_the_minimum_of_a_cubic():
    for a, b, c in [(1.0, -2.0, 0.3), (0.5, 1.0, -3.0), (2.0, -1.0, -1.0)]:
        value = lambda t, a=a, b=b, c=c: a * t**3 + b * t**2 + c * t
        slope = lambda t, a=a, b=b, c=c: 3 * a * t**2 + 2 * b * t + c
        least = (-b + (b * b - 3 * a * c) ** 0.5) / (3 * a)
        low, high = least - 0.7, least + 0.4
        points = [lbfgs.Point(t, value(t), None, slope(t)) for t in (low, high)]
        assert lbfgs.minimum_of_cubic(*points) == pytest.approx(least)
        assert lbfgs.minimum_of_cubic(*points[::-1]) == pytest.approx(least)
        assert lbfgs.minimum_of_cubic(*points, bounds=(least + 0.1, high)) == least + 0.1
        assert lbfgs.minimum_of_cubic(*points, bounds=(low, least - 0.2)) == least - 0.2


def test_a_line_search_ends_where_wolfes_conditions_hold():
    p = tg.tensor([1.5, -2.0, 0.5], dtype="float64", requires_grad=True)
    a = tg.tensor(MATRIX)
    loss_of = lambda x: x @ MATRIX @ x / 2 + (x**4).sum() / 10
    slope = lambda x: MATRIX @ x + 0.4 * x**3

    def closure():
        p.grad = None
        loss = (p @ a @ p) / 2 + (p**4).sum() / 10
        loss.backward()
        return loss

    for lr in (1e-3, 0.1, 1.0, 30.0):
        p.data = tg.tensor([1.5, -2.0, 0.5], dtype="float64")
        before = p.detach().numpy().copy()
        optim.LBFGS([p], lr=lr, max_iter=1, max_eval=50, line_search_fn="strong_wolfe").step(closure)
        after = p.detach().numpy()
        d = -slope(before)
        t = ((after - before) @ d) / (d @ d)
        assert loss_of(after) <= loss_of(before) + 1e-4 * t * (slope(before) @ d)
        assert abs(slope(after) @ d) <= 0.9 * abs(slope(before) @ d)


def test_a_length_that_is_good_enough_is_taken_at_once():
    """A little beyond the minimum: two fifths of the decrease that the slope promises; 1e-4 is asked."""
    p = tg.tensor([4.0], dtype="float64", requires_grad=True)

    def closure():
        p.grad = None
        loss = (p * p).sum() / 2
        loss.backward()
        return loss

    optimizer = optim.LBFGS([p], lr=4.8, max_iter=1, max_eval=9, line_search_fn="strong_wolfe")
    optimizer.step(closure)
    assert p.item() == pytest.approx(4 - 1.2 * 4)
    assert optimizer.state[p]["func_evals"] == 2


# ---------------------------------------------------------------- schedules


def cycle(t, up=6, n=20, start=0.8 / 25, high=0.8, low=0.8 / 25 / 1e4):
    if t <= up - 1:
        return high + (start - high) * (1 + cos(pi * t / (up - 1))) / 2
    return low + (high - low) * (1 + cos(pi * (t - up + 1) / (n - up))) / 2


S = lr_scheduler
SCHEDULES = {
    "LambdaLR": (lambda o: S.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 0.8 / (1 + t)),
    "StepLR": (lambda o: S.StepLR(o, 3, gamma=0.5), lambda t: 0.8 * 0.5 ** (t // 3)),
    "MultiStepLR": (
        lambda o: S.MultiStepLR(o, [2, 5, 5], gamma=0.5), lambda t: 0.8 * 0.5 ** ((t >= 2) + 2 * (t >= 5)),
    ),
    "ConstantLR": (lambda o: S.ConstantLR(o, 0.25, 4), lambda t: 0.8 * (0.25 if t < 4 else 1)),
    "LinearLR": (lambda o: S.LinearLR(o, 0.2, 0.9, 5), lambda t: 0.8 * (0.2 + 0.7 * min(t, 5) / 5)),
    "ExponentialLR": (lambda o: S.ExponentialLR(o, 0.7), lambda t: 0.8 * 0.7**t),
    "CosineAnnealingLR": (
        lambda o: S.CosineAnnealingLR(o, 6, eta_min=0.1), lambda t: 0.1 + 0.7 * (1 + cos(pi * t / 6)) / 2,
    ),
    "WarmupCosineLR": (
        lambda o: S.WarmupCosineLR(o, 4, 14, eta_min=0.1),
        lambda t: 0.8 * (t + 1) / 4 if t < 4 else 0.1 + 0.7 * (1 + cos(pi * min(1, (t - 4) / 10))) / 2,
    ),
    "OneCycleLR": (lambda o: S.OneCycleLR(o, 0.8, total_steps=20, cycle_momentum=False), cycle),
    "SequentialLR": (
        lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.5, 3), S.ExponentialLR(o, 0.7)], [3]),
        lambda t: 0.4 if t < 3 else 0.8 * 0.7 ** (t - 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_rate_is_the_formulas(name):
    make, rate = SCHEDULES[name]
    optimizer = optim.SGD([tg.ones(1, requires_grad=True)], lr=0.8)
    scheduler = make(optimizer)
    for t in range(19):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate(t), rel=1e-9), t
        optimizer.step()
        scheduler.step()


def test_every_schedule_has_a_formula():
    theirs = {n for n, c in vars(S).items() if isinstance(c, type) and issubclass(c, S.LRScheduler)}
    others = {
        "CyclicLR",
        "CosineAnnealingWarmRestarts",
        "MultiplicativeLR",
        "PolynomialLR",
        "ChainedScheduler",
    }  # tests/dialect/test_optim.py
    assert theirs - {*others, "LRScheduler", "_LRScheduler", "ReduceLROnPlateau"} <= set(SCHEDULES)


@pytest.mark.parametrize("growth_interval", [1, 3])
def test_the_scale_of_a_scaler(growth_interval):
    """Half after a step that is void, doubled after so many good ones in a row."""
    p = tg.ones(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.0)
    scaler = nn.amp.GradScaler(init_scale=8.0, growth_interval=growth_interval)
    scale, good = 8.0, 0
    for void in [0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]:
        assert scaler.get_scale() == scale
        p.grad = None
        scaler.scale((p * (float("inf") if void else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        good = 0 if void else good + 1
        scale = scale / 2 if void else scale
        if good == growth_interval:
            scale, good = scale * 2, 0
    assert scaler.get_scale() == scale
