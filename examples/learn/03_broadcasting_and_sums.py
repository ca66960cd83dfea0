"""Lesson 3: what is used many times receives a sum.

    python examples/learn/03_broadcasting_and_sums.py

Two kinds of use: a bias that broadcasting repeats for each row, and a weight that a loop uses at each time
step. Both receive the sum of what their uses would receive, and for weights that sum is best not made term by
term. You see how the engine adds (tinygrad_rnn/engine/gradients.py), and why a plain loop over time can cost
what a hand-written backward pass costs.
"""

import signal
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.engine import Deferred

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

rng = np.random.default_rng(0)

# ---------------------------------------------------------------- 1. broadcasting repeats, its reverse sums


def sum_to(g, shape):
    """The gradient of what was broadcast from `shape`: summed over each axis that was added or stretched."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    for axis, size in enumerate(shape):
        if size == 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


print("1. The gradient of a bias of each shape, added to x (4, 3):")
x = rng.normal(size=(4, 3))
for shape in ((4, 3), (3,), (4, 1), (1, 3), ()):
    bias = tg.tensor(rng.normal(size=shape), requires_grad=True)
    y = tg.tensor(x) * bias
    g = rng.normal(size=y.shape)  # some gradient that arrives at y
    y.backward(tg.tensor(g))
    assert bias.grad.shape == shape
    assert np.allclose(bias.grad.numpy(), sum_to(g * x, shape), rtol=1e-12)

    # Summing is the transpose of repeating: <repeat(v), g> = <v, sum(g)> for all v and g. That is what a
    # rule for a linear op has to be, always: the op's transpose.
    v = rng.normal(size=shape)
    assert np.isclose((np.broadcast_to(v, x.shape) * g).sum(), (v * sum_to(g, shape)).sum())
    print(f"   {shape!s:8} sums {g.size // max(1, bias.numel()):2} numbers for each of its elements")

# ---------------------------------------------------------------- 2. a weight used T times

T, rows, n = 6, 2, 4
xs = rng.normal(size=(T, rows, n))
w = rng.normal(size=(n, n)) / 2


def unrolled(weights):
    """The loop of a recurrent net, here with a weight for each step."""
    h = tg.zeros(rows, n, dtype="float64")
    for t, weight in enumerate(weights):
        h = tg.tanh(tg.tensor(xs[t]) + h @ weight)
    return h.square().sum()


shared = tg.tensor(w, requires_grad=True)
unrolled([shared] * T).backward()
copies = [tg.tensor(w, requires_grad=True) for _ in range(T)]
unrolled(copies).backward()
assert np.allclose(shared.grad.numpy(), sum(copy.grad.numpy() for copy in copies), rtol=1e-10)
print(f"2. One weight at {T} steps receives the sum of what {T} copies of it would")

# ---------------------------------------------------------------- 3. one product in place of T

# At each step the weight receives h_t^T g_t, a whole matrix: T products and T additions of matrices. Below
# each other, the h_t and g_t are two tall matrices, whose one product is the same sum.
T, rows, n = 200, 4, 256
hs, gs = rng.normal(size=(2, T, rows, n))


def term_by_term():
    result = np.zeros((n, n))
    for h, g in zip(hs, gs, strict=True):
        result += h.T @ g
    return result


def at_once():
    return np.concatenate(list(hs)).T @ np.concatenate(list(gs))


def milliseconds(function):
    """The best of several runs, which other work on the machine disturbs least."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


assert np.allclose(term_by_term(), at_once())
slow, fast = milliseconds(term_by_term), milliseconds(at_once)
print(f"3. {T} products and additions: {slow:.1f} ms; one product: {fast:.1f} ms")

# ---------------------------------------------------------------- 4. how an engine does so without being told

# A rule may return an object that stands for an array. The engine puts such objects in a list, by kind, and
# asks the kind for the sum when it is needed. The rule below is that of the library's matmul for a weight.
counts = {"at once": 0, "later": 0}


class Later(Deferred):
    """h^T g, not yet multiplied."""

    def __init__(self, g, h):
        self.g, self.h = g, h

    @classmethod
    def total(cls, terms):
        counts["later"] += 1
        return np.concatenate([t.h for t in terms]).T @ np.concatenate([t.g for t in terms])


def multiply(g, h):
    counts["at once"] += 1
    return h.T @ g


def make(rule):
    """A matrix product as a new op, with a rule of ours for its second argument."""

    @tg.primitive(vjp=(lambda g, w: g @ w.T, rule))
    def product(xp, h, w):
        return h @ w

    return product


gradients, w = {}, rng.normal(size=(n, n)) / n**0.5
for name, product in {"at once": make(multiply), "later": make(Later), "library": tg.matmul}.items():
    weight = tg.tensor(w, requires_grad=True)
    h = tg.zeros(rows, n, dtype="float64")
    for t in range(T):
        h = tg.tanh(tg.tensor(hs[t]) + product(h, weight))
    h.sum().backward()
    gradients[name] = weight.grad.numpy()

assert counts == {"at once": T, "later": 1}
assert np.allclose(gradients["at once"], gradients["later"])
assert np.allclose(gradients["library"], gradients["later"])
print("4. Products that made the weight's gradient, by the rule:", counts)

# The same with x[t]: each slice's gradient is an array of zeros but for one step. They become one buffer.
x = tg.tensor(hs, requires_grad=True)
sum((t + 1.0) * x[t].sum() for t in range(T)).backward()
assert np.array_equal(x.grad.numpy()[:, 0, 0], np.arange(1.0, T + 1))

# Exercises
# a) What is the rule of `mean(axis=0)`, seen as a linear op? Check it with the identity of part 1.
# b) Let rows grow in part 3. From where on is it no longer worth stacking? Compare `_stacking_pays` in
#    tinygrad_rnn/ops/linalg.py.
# c) Tie weights: use one matrix as an embedding and, transposed, as the output layer. What does it receive?
