"""Lesson 10: from a step to the loop.

    python examples/learn/10_from_step_to_loop.py

A net over 1,000 time steps does the same few operations 1,000 times, and a graph of them has thousands of
nodes that differ in nothing but their arrays. So the library reads a step once, as a list of operations, and
runs the list over time: forward, and with the ops' rules backwards. You write such a reader, see that it is
backpropagation through time for any step, learn which steps cannot be read, and find in what was made of an
LSTM the line that makes the gradient of its recurrent weight.
"""

import contextlib
import signal
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

T, B, H = 100, 4, 16
rng = np.random.default_rng(0)
xs, w = rng.normal(size=(T, B, H)), rng.normal(size=(H, H)) / H**0.5


def step(x, h, w):
    """Some step: half of the old state and half of a new one. Works on whatever has these operators."""
    return h * 0.5 + (x + h @ w).tanh() * 0.5


# ---------------------------------------------------------------- 1. reading a step

OPS = {  # a forward, and the rule: from g, the result y and the arguments to the gradients of the arguments
    "add": (lambda a, b: a + b, lambda g, y, a, b: (g, g)),
    "mul": (lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a)),
    "matmul": (lambda a, b: a @ b, lambda g, y, a, b: (g @ b.T, a.T @ g)),
    "tanh": (np.tanh, lambda g, y, x: (g * (1 - y * y),)),
}


class Symbol:
    """Stands for a value, by its name. What is done to it is written down, not computed."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def write(self, op, *others):
        args = [a.name if isinstance(a, Symbol) else a for a in (self, *others)]
        out = Symbol(f"v{len(self.calls)}", self.calls)
        self.calls.append((op, args, out.name))
        return out

    __add__ = lambda self, other: self.write("add", other)
    __mul__ = lambda self, other: self.write("mul", other)
    __matmul__ = lambda self, other: self.write("matmul", other)
    tanh = lambda self: self.write("tanh")


calls = []
result = step(*(Symbol(name, calls) for name in "xhw")).name
print("1. The step, read once:")
for op, args, out in calls:
    print(f"   {out} = {op}({', '.join(map(str, args))})")

# ---------------------------------------------------------------- 2. running what was read


def run(xs, h, w):
    """The list for each time step: the states, and all values of all steps."""
    states, memory = [], []
    for x in xs:
        values = {"x": x, "h": h, "w": w}
        for op, args, out in calls:
            values[out] = OPS[op][0](*(values.get(a, a) for a in args))
        h = values[result]
        states.append(h)
        memory.append(values)
    return np.stack(states), memory


def run_back(memory, gs):
    """The rules of the list, from its end to its beginning and from the last step to the first: from the
    gradients of the states to those of xs, the first state and w. No line of it knows what the step does.
    """
    d_h, d_w, d_xs = 0.0, 0.0, np.zeros_like(xs)
    for t in reversed(range(len(memory))):
        values, found = memory[t], {result: gs[t] + d_h}  # from the loss, and from the next step
        for op, args, out in reversed(calls):
            parts = [values.get(a, a) for a in args]
            gradients = OPS[op][1](found.pop(out), values[out], *parts)
            for a, g in zip(args, gradients, strict=True):
                if a in values:  # not for a number such as 0.5
                    found[a] = found[a] + g if a in found else g
        d_xs[t], d_h, d_w = found["x"], found["h"], d_w + found["w"]
    return d_xs, d_h, d_w


states, memory = run(xs, np.zeros((B, H)), w)
ours = run_back(memory, states)  # of the loss sum(states ** 2) / 2

X, h0, W = leaves = [tg.tensor(v, requires_grad=True) for v in (xs, np.zeros((B, H)), w)]
h, loss = h0, 0.0
for t in range(T):
    h = step(X[t], h, W)
    loss = loss + h.square().sum() / 2
loss.backward()
for mine, leaf in zip(ours, leaves, strict=True):
    assert np.allclose(mine, leaf.grad.numpy(), rtol=1e-8, atol=1e-10)
print(f"2. {len(calls)} operations, run {T} times: the gradients of a graph with {T * len(calls)} nodes")

# ---------------------------------------------------------------- 3. the library's reader


class Halving(nn.Cell):
    """The step as a cell."""

    def __init__(self):
        super().__init__(H, H)
        self.w = nn.Parameter(tg.tensor(w))

    def step(self, px, h):
        return step(px, h, self.w)


print("3. Forward and backward in the library:")
layer = nn.Recurrent(Halving())
for name, way in (("read once", contextlib.nullcontext), ("op by op", tg.eager)):
    for _ in range(2):  # the second time shows what it costs
        layer.zero_grad()
        start = time.perf_counter()
        with way():
            (layer(X)[0].square().sum() / 2).backward()
        took = time.perf_counter() - start
    assert np.allclose(layer.cells[0].w.grad.numpy(), ours[2], rtol=1e-8)
    print(f"   {name}: {1000 * took:4.1f} ms")
print("   And what it has read:\n")
print(layer.explain())

# ---------------------------------------------------------------- 4. what cannot be read once


class Fading(nn.Cell):
    """The mean of all inputs so far: it needs to know how many there were, and counts them in Python."""

    n = 0

    def step(self, px, h):
        self.n += 1
        return h + (px - h) / self.n


class Counted(nn.Cell):
    """The count is part of the state, so each step does the same."""

    def step(self, px, state):
        h, n = state
        n = n + 1.0
        return h + (px - h) / n, n

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, H), like.new_zeros(batch_size, H)


# A list that was read of Fading's first step would say / 1 at every step. The library sees that the step has
# changed something that is no value of the graph, and runs all steps one by one: slower, and right.
means = np.cumsum(xs, axis=0) / np.arange(1, T + 1)[:, None, None]
print("\n4. Both compute the mean, one of them step by step:")
for cell, is_read in ((Fading(H, H), False), (Counted(H, H), True)):
    layer = nn.Recurrent(cell)
    assert np.allclose(layer(X)[0].detach().numpy(), means, rtol=1e-8)
    first, second = layer.explain().splitlines()[:2]
    assert is_read != second.startswith("runs op by op")
    print(f"   {first}: {second}")

# ---------------------------------------------------------------- 5. the reverse of an LSTM

# Nobody wrote what follows: it is the rules of the ops in LSTMCell.step, from the last to the first, as in
# run_back. d_h and d_c come from the step after. Below it stands what is made once, after all steps: h^T @ ..
# is the gradient of the recurrent weight, one product over the rows of all steps (lesson 3). Find in the list
# what stands at its right, and follow it up to d_h.
lstm = nn.LSTM(4, H, dtype="float64")
print("\n5. An LSTM, backwards:\n")
text = lstm.explain("reverse")
print(text)
(line,) = [line for line in text.splitlines() if "gradient of weight_hh = h^T @" in line]

# Exercises
# a) Let `run_back` put aside (a, g) for w and make one product of all, as in lesson 3. How much faster is it?
# b) `run` keeps every value. Find out from the rules which ones are read, and keep only these.
# c) Dropout draws new numbers at each step. Why can such a step not be read once, and what would help?
