"""Steps that nobody wrote: random programs over time, read once, against the same op by op."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.fuse.scan import leaves, scan
from tinygrad_rnn.nn import functional as F

pytestmark = pytest.mark.host
WIDTH = 4


@tg.pointwise
def halves_meet(a, b):
    c, d = tg.chunk(a, 2, axis=-1)
    return tg.tanh(c * b) + d, tg.sigmoid(d - b)


def quiet(x):
    with tg.no_grad():
        return x * 2 - 1


UNARY = [
    tg.tanh,
    tg.sigmoid,
    tg.relu,
    tg.neg,
    tg.abs,
    tg.sin,
    lambda x: tg.exp(tg.tanh(x)),
    lambda x: x * x,
    tg.softplus,
    lambda x: x * 0.5,
    lambda x: 1 - x,
    lambda x: 1 / (x * x + 1),
    lambda x: x.clip(-0.9, 1.1),
    lambda x: x**3,
    lambda x: x.detach(),
    quiet,
    lambda x: x.float().double(),
    lambda x: x[:, [2, 0, 0, 1]],
    lambda x: x.flip(-1),
    lambda x: F.softmax(x, -1),
    lambda x: F.layer_norm(x, (WIDTH,)),
    lambda x: x - x.sum(0, keepdims=True) * 0.2,
    lambda x: x.mean(-1, keepdims=True) * x,
    lambda x: x.sum() * 0.01 + x,
    lambda x: x.cumsum(-1) * 0.3,
    lambda x: x.reshape(-1, 2, 2).permute(0, 2, 1).reshape(-1, 4),
    lambda x: tg.cat(x.chunk(2, -1)[::-1], -1),
    lambda x: tg.where(x > 0.1, x, x * 0.2),
    lambda x: tg.stack([x, -x], 1).max(1)[0],
    lambda x: x.t().t(),
    lambda x: halves_meet(tg.cat([x, x * 0.5], -1), x)[0],
    lambda x: x[:, 1:3].repeat(1, 2),
    lambda x: x.expand(*x.shape),
    lambda x: x * x.shape[0],
    lambda x: x.unsqueeze(-1).squeeze(-1),
    lambda x: x.var(-1, keepdims=True) + x,
    lambda x: x.clone(),
    lambda x: tg.cat([x[:, :1], x[:, 1:]], 1),
    lambda x: x.norm(dim=-1, keepdims=True) + x,
]
BINARY = [
    tg.add,
    tg.sub,
    tg.mul,
    tg.maximum,
    tg.minimum,
    lambda a, b: a / (b * b + 1),
    lambda a, b: tg.where(a > b, a, b * 0.5),
    lambda a, b: tg.cat([a[:, :2], b[:, 2:]], -1),
    lambda a, b: a * b[:, :1],
    lambda a, b: a + b.sum(0) * 0.1,
    lambda a, b: sum(halves_meet(tg.cat([a, b], -1), b)),
    lambda a, b: (a.unsqueeze(1) @ b.unsqueeze(2)).squeeze(2) + a,
    lambda a, b: tg.logaddexp(a, b),
    lambda a, b: a * (b > 0),
    lambda a, b: tg.einsum("ni,nj->nij", a, b).sum(1),
]


def made(rng, shape):
    return tg.tensor(np.array(rng.standard_normal(shape) * 0.7), requires_grad=True)


def program(seed):
    """A step of random ops, the tensors that it reads, and how many states it has."""
    choose = random.Random(seed)
    rng = np.random.default_rng(seed)
    shapes = [(WIDTH, WIDTH), (WIDTH, 2 * WIDTH), (WIDTH,), (1, WIDTH), (), (2 * WIDTH,)]
    tensors = [made(rng, s) for s in shapes]
    square, wide, row, line, one, wide_row = tensors
    if choose.random() < 0.3:
        row.requires_grad = False
    with_weights = [
        lambda x: x @ square,
        lambda x: tg.addmm(row, x, square),
        lambda x: x * row,
        lambda x: x * line + one,
        lambda x: x * (row * 0.5),
        lambda x: (x @ wide + wide_row).chunk(2, -1)[1],
        lambda x: x * row.tanh() / 2,
        lambda x: tg.addmm(x, x, square),
        lambda x: F.linear(x, square, row),
        lambda x: x * row.sum(),
        lambda x: x + line.expand(*x.shape),
        lambda x: F.layer_norm(x, (WIDTH,), row, row),
        lambda x: x * one * one,
        lambda x: sum(halves_meet(x @ wide, x)),
        lambda x: x @ (square * one),
        lambda x: tg.where(row > 0, x, line),
    ]
    n_states, n_ops = choose.choice([1, 1, 2, 3]), choose.randint(2, 9)
    plan = [(choose.choice("uubbw"), choose.random(), choose.random(), choose.random()) for _ in range(n_ops)]
    ends = [choose.random() for _ in range(n_states + 1)]

    def step(x, states):
        known = [x, *states]

        def pick(r):
            return known[int((1 - r * r) * len(known)) if r > 0.02 else -1]

        for kind, which, a, b in plan:
            if kind == "b":
                y = BINARY[int(which * len(BINARY))](pick(a), pick(b))
            else:
                ops = UNARY if kind == "u" else with_weights
                y = ops[int(which * len(ops))](pick(a))
            known.append(y)
        found = [pick(r) for r in ends]
        return found[0], tuple(tg.tanh(0.3 * s + v) for s, v in zip(states, found[1:], strict=True))

    return step, tensors, n_states


def everything(step, tensors, x, states, settings, order):
    outputs, final = scan(step, x, states, **settings)
    results = [outputs, *leaves(final)]
    wanted = [x, *states, *(t for t in tensors if t.requires_grad)]
    rng = np.random.default_rng(0)
    loss = sum((r * tg.tensor(rng.standard_normal(r.shape))).sum() for r in results)
    found = [*results]
    for k in range(order):
        if not loss.requires_grad:
            break
        first = tg.grad(loss, wanted, create_graph=k + 1 < order, allow_unused=True)
        found += [tg.zeros_like(p) if g is None else g for p, g in zip(wanted, first, strict=True)]
        loss = sum(((g * g).sum() for g in first if g is not None and g.requires_grad), tg.zeros(()))
    return [r.numpy().copy() for r in found]


def compare(seed, fallbacks=None):
    tg.manual_seed(seed)
    tg.set_default_dtype("float64")
    step, tensors, n_states = program(seed)
    choose, rng = random.Random(-seed), np.random.default_rng(seed)
    n_steps, n = choose.choice([1, 2, 5]), choose.choice([1, 3, 4, 5])
    x, states = made(rng, (n_steps, n, WIDTH)), tuple(made(rng, (n, WIDTH)) for _ in range(n_states))
    settings = {"reverse": choose.random() < 0.4}
    if choose.random() < 0.4:
        settings["lengths"] = [choose.randint(0, n_steps) for _ in range(n)]
    order = choose.choice([1, 1, 2])
    with np.errstate(all="ignore"):
        fast = everything(step, tensors, x, states, settings, order)
        with tg.eager():
            slow = everything(step, tensors, x, states, settings, order)
    assert len(fast) == len(slow)
    for k, (a, b) in enumerate(zip(fast, slow, strict=True)):
        size = max(1.0, abs(b[np.isfinite(b)]).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * size, err_msg=f"seed {seed}, result {k}")


@pytest.mark.parametrize("part", range(8))
def test_a_random_step_read_once_is_the_step(part, fallbacks):
    for seed in range(part * 25, part * 25 + 25):
        compare(seed)
    assert not fallbacks
