"""Programs that nobody wrote: random steps over time and pointwise functions, read once, against the same op
by op; of less precise types both are held against float64.
"""

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
    lambda x: x.float().double().to(x.dtype),
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


def made(rng, shape, dtype):
    return tg.tensor(np.array(rng.standard_normal(shape) * 0.7), dtype=dtype, requires_grad=True)


def program(seed, dtype):
    """A step of random ops, the tensors that it reads, and how many states it has."""
    choose = random.Random(seed)
    rng = np.random.default_rng(seed)
    shapes = [(WIDTH, WIDTH), (WIDTH, 2 * WIDTH), (WIDTH,), (1, WIDTH), (), (2 * WIDTH,)]
    tensors = [made(rng, s, dtype) for s in shapes]
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


def random_sum(results):
    rng = np.random.default_rng(0)
    return sum((r * tg.tensor(rng.standard_normal(r.shape), dtype=r.dtype)).sum() for r in results)


def gradients(results, wanted, order):
    """Results, and gradients of a random sum of them; of order 2 also of the squares of these."""
    found, loss = [*results], random_sum(results)
    for k in range(order):
        first = [None] * len(wanted)  # where the gradients are constants
        if loss.requires_grad:
            first = tg.grad(loss, wanted, create_graph=k + 1 < order, allow_unused=True)
        found += [tg.zeros_like(p) if g is None else g for p, g in zip(wanted, first, strict=True)]
        loss = sum(((g * g).sum() for g in first if g is not None and g.requires_grad), tg.zeros(()))
    return [r.numpy().copy() for r in found]


def of_a_step(seed, dtype, with_lengths=False):
    """What a random step over time computes, in its first or second derivatives."""
    step, tensors, n_states = program(seed, dtype)
    choose, rng = random.Random(-seed), np.random.default_rng(seed)
    n_steps, n = choose.choice([1, 2, 5]), choose.choice([1, 3, 4, 5])
    x = made(rng, (n_steps, n, WIDTH), dtype)
    states = tuple(made(rng, (n, WIDTH), dtype) for _ in range(n_states))
    settings = {"reverse": choose.random() < 0.4}
    if choose.random() < 0.4 or with_lengths:
        settings["lengths"] = [choose.randint(0, n_steps) for _ in range(n)]
    order = 2 if with_lengths else choose.choice([1, 1, 2])
    outputs, final = scan(step, x, states, **settings)
    wanted = [x, *states, *(t for t in tensors if t.requires_grad)]
    return gradients([outputs, *leaves(final)], wanted, order)


ELEMENTWISE = [
    tg.tanh, tg.sigmoid, tg.relu, tg.neg, tg.abs, tg.sin, tg.softplus, lambda x: tg.exp(-x * x),
    lambda x: x * 0.5, lambda x: 1 - x, lambda x: 1 / (x * x + 1), lambda x: x**3, lambda x: x.clip(-0.5, 1),
    lambda x: x * True, lambda x: x + 2, lambda x: x.detach() * x, lambda x: tg.where(x > 0.1, x, x * 0.2),
    lambda x: -x * -0.0 + x, tg.square,
]  # fmt: skip
OF_TWO = [
    tg.add, tg.sub, tg.mul, tg.maximum, tg.minimum, tg.logaddexp, lambda a, b: a / (b * b + 1),
    lambda a, b: tg.where(a > b, a, b * 0.5), lambda a, b: a * (b > 0), lambda a, b: a + 2 * b,
]  # fmt: skip


def pointwise_program(seed):
    """A random function of elements, and of its arguments: in how many pieces, and whether they are rows."""
    choose = random.Random(seed)
    arguments = [(choose.choice([1, 1, 2, 3, 4]), choose.random() < 0.2) for _ in range(choose.randint(1, 3))]
    arguments[0] = (arguments[0][0], False)
    n_ops, n_results = choose.randint(1, 10), choose.choice([1, 1, 2, 3])
    plan = [(choose.random(), choose.random(), choose.random(), choose.random()) for _ in range(n_ops)]
    ends = [choose.random() for _ in range(n_results)]
    columns_first = len(arguments) == 1  # a result that is a row alone is none of elements

    def function(*args):
        known = []
        for x, (n_pieces, _) in zip(args, arguments, strict=True):
            known += tg.chunk(x, n_pieces, axis=-1) if n_pieces > 1 else [x]

        def pick(r):
            return known[int((1 - r * r) * len(known)) if r > 0.02 else -1]

        for of_two, which, a, b in plan:
            if of_two < 0.4:
                known.append(OF_TWO[int(which * len(OF_TWO))](pick(a), pick(b)))
            else:
                known.append(ELEMENTWISE[int(which * len(ELEMENTWISE))](pick(a)))
        found = [pick(r) if columns_first else pick(r) + known[0] for r in ends]
        return found[0] if len(found) == 1 else tuple(found)

    names = [f"a{k}" for k in range(len(arguments))]
    space = {"function": function}
    exec(f"def named({', '.join(names)}): return function({', '.join(names)})", space)
    return tg.pointwise(space["named"]), arguments


def of_a_pointwise_function(seed, dtype):
    """What a random function computes, for batches of several sizes, up to the second order."""
    function, arguments = pointwise_program(seed)
    choose, rng, found = random.Random(-seed), np.random.default_rng(seed), []
    between = choose.choice([(), (), (2,)])
    for n in choose.sample([0, 1, 3, 6], 3):
        shapes = [(*([] if is_row else [n]), *between, WIDTH * pieces) for pieces, is_row in arguments]
        given = [made(rng, s, dtype) for s in shapes]
        for x in given:
            x.requires_grad = choose.random() < 0.8
        returned = function(*given)
        results = returned if isinstance(returned, tuple) else (returned,)
        wanted = [x for x in given if x.requires_grad]
        found += gradients(results, wanted, choose.choice([1, 2]) if wanted else 0)
    return found


def compare(compute, seed, dtype, **settings):
    """What is read once against what runs op by op. In less than float64 the latter has errors of its own:
    those of the former may be somewhat larger, since it sums in another order.
    """
    found = []
    for kind, is_eager in ((dtype, False), (dtype, True), ("float64", True)):
        tg.manual_seed(seed)
        tg.set_default_dtype("float64" if kind == "float64" else "float32")
        with np.errstate(all="ignore"):
            if is_eager:
                with tg.eager():
                    found.append(compute(seed, kind, **settings))
            else:
                found.append(compute(seed, kind, **settings))
    tolerance = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-2}[dtype]
    for k, (fast, slow, exact) in enumerate(zip(*found, strict=True)):
        assert (fast.dtype, fast.shape) == (slow.dtype, slow.shape)
        np.testing.assert_array_equal(np.isfinite(fast), np.isfinite(slow), err_msg=f"{seed}: {k}")
        real = np.isfinite(fast) & np.isfinite(exact)
        a, b, c = (y[real].astype("float64") for y in (fast, slow, exact))
        size = max(1.0, abs(c).max(initial=0))
        if dtype == "float64":
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=tolerance * size, err_msg=f"{seed}: {k}")
        error, own = abs(a - c).max(initial=0), abs(b - c).max(initial=0)
        assert error <= max(tolerance * size, 8 * own), f"seed {seed}, result {k}: {error}, op by op {own}"


@pytest.mark.parametrize("part", range(8))
def test_a_random_step_read_once_is_the_step(part, fallbacks):
    for seed in range(part * 25, part * 25 + 25):
        compare(of_a_step, seed, "float64")
    assert not fallbacks


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_random_step_of_less_precise_types(dtype, fallbacks):
    for seed in range(200, 260):
        compare(of_a_step, seed, dtype)
    assert not fallbacks


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_random_step_with_lengths_to_the_second_order(dtype, fallbacks):
    for seed in range(300, 340):
        compare(of_a_step, seed, dtype, with_lengths=True)
    assert not fallbacks


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_random_pointwise_function_is_what_it_says(dtype):
    for seed in range(60):
        compare(of_a_pointwise_function, seed, dtype)
