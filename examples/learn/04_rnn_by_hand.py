"""Lesson 4: backpropagation through time, by hand and from the graph.

    python examples/learn/04_rnn_by_hand.py

A recurrent net is one small function, applied at each time step to the input and to what it returned before.
Unrolled it is an ordinary program with a loop, and lessons 1 to 3 say all there is to say about its gradient.
You write that gradient down once, see that the graph gives the same numbers, and cut it off where sequences
are too long.
"""

import signal

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

T, B, D, H = 12, 3, 4, 5  # time steps, batch, features of the input, of the state
rng = np.random.default_rng(0)
xs, ys = rng.normal(size=(T, B, D)), rng.normal(size=(T, B, H))
w_x, w_h, b = rng.normal(size=(D, H)), rng.normal(size=(H, H)) / 2, rng.normal(size=H)

# ---------------------------------------------------------------- 1. by hand


def forward(w_x, w_h, b):
    """Elman's net: h_t = tanh(x_t w_x + h_{t-1} w_h + b). All states, h_{-1} = 0 in front, and the loss."""
    hs = [np.zeros((B, H))]
    for x in xs:
        hs.append(np.tanh(x @ w_x + hs[-1] @ w_h + b))
    return hs, sum(((h - y) ** 2).sum() for h, y in zip(hs[1:], ys, strict=True)) / 2


def by_hand(hs, every=T):
    """The gradients of w_x, w_h and b, and that of each state. `every`: see part 3."""
    d_w_x, d_w_h, d_b = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    d_hs, later = [None] * T, np.zeros((B, H))
    for t in reversed(range(T)):
        # A state is read twice: by the loss now, and by the next step. So it receives two gradients.
        d_h = (hs[t + 1] - ys[t]) + later
        d_u = d_h * (1 - hs[t + 1] ** 2)  # through tanh
        d_w_x += xs[t].T @ d_u  # weights are used at each step, so they receive a sum
        d_w_h += hs[t].T @ d_u
        d_b += d_u.sum(axis=0)
        later = d_u @ w_h.T if t % every else np.zeros((B, H))  # to h_{t-1}
        d_hs[t] = d_h
    return (d_w_x, d_w_h, d_b), d_hs


hs, loss = forward(w_x, w_h, b)
hand, d_hs = by_hand(hs)

# Differences confirm it: the slope of the loss in a random direction is the gradient's product with it.
directions = [rng.normal(size=v.shape) for v in (w_x, w_h, b)]
ahead, behind = (forward(*(v + s * d for v, d in zip((w_x, w_h, b), directions, strict=True)))[1]
                 for s in (1e-6, -1e-6))  # fmt: skip
slope = (ahead - behind) / 2e-6
product = sum((g * d).sum() for g, d in zip(hand, directions, strict=True))
assert abs(slope - product) < 1e-6 * abs(slope)
print(f"1. The slope in a random direction: {slope:.6f} by differences, {product:.6f} by hand")

# ---------------------------------------------------------------- 2. from the graph


def same(found, expected):
    for name, f, e in zip(("w_x", "w_h", "b"), found, expected, strict=True):
        assert np.allclose(f.numpy(), e, rtol=1e-10, atol=1e-12), name


def leaves():
    return [tg.tensor(v, requires_grad=True) for v in (w_x, w_h, b)]


X, Y = tg.tensor(xs), tg.tensor(ys)
W_x, W_h, bias = parameters = leaves()
h, states, total = tg.zeros(B, H, dtype="float64"), [], 0.0
for t in range(T):
    h = tg.tanh(X[t] @ W_x + h @ W_h + bias)
    total = total + (h - Y[t]).square().sum() / 2
    states.append(h)
assert abs(total.item() - loss) < 1e-10 * loss
middle = tg.grad(total, states, retain_graph=True)  # gradients of values in the middle, too
for d_h, expected in zip(middle, d_hs, strict=True):
    assert np.allclose(d_h.numpy(), expected, rtol=1e-10, atol=1e-12)
total.backward()
same([p.grad for p in parameters], hand)
print("2. The plain loop in the library: the same gradients, of each state as well")

# The layer: the input's product for all steps at once, the steps as one node, and the same numbers.
layer = nn.RNN(D, H, dtype="float64")
layer.cells[0].load_state_dict({"w_x": tg.tensor(w_x), "w_h": tg.tensor(w_h), "b": tg.tensor(b)})
output, final = layer(X)
assert np.allclose(output.numpy(), np.stack(hs[1:]), rtol=1e-12)
assert np.array_equal(final[0].numpy(), output[-1].numpy())
((output - Y).square().sum() / 2).backward()
cell = layer.cells[0]
same([cell.w_x.grad, cell.w_h.grad, cell.b.grad], hand)
print("   nn.RNN: the same again")

# ---------------------------------------------------------------- 3. truncated

# Over a million steps the graph would not fit into memory. So cut the sequence into stretches: the state goes
# on, its gradient does not. `detach` gives the value as a constant, and backward ends there.
every = 4
truncated, _ = by_hand(hs, every)
W_x, W_h, bias = parameters = leaves()
h = tg.zeros(B, H, dtype="float64")
for start in range(0, T, every):
    h, part = h.detach(), 0.0
    for t in range(start, start + every):
        h = tg.tanh(X[t] @ W_x + h @ W_h + bias)
        part = part + (h - Y[t]).square().sum() / 2
    part.backward()  # frees this stretch; gradients add up in the leaves
same([p.grad for p in parameters], truncated)
assert np.allclose(h.numpy(), hs[-1], rtol=1e-12)  # the values do not know of the cut

layer.zero_grad()
for part, output, _ in nn.tbptt(layer, X, every):
    ((output - Y[part]).square().sum() / 2).backward()
same([cell.w_x.grad, cell.w_h.grad, cell.b.grad], truncated)

# What is lost is what a stretch could have learned about the ones before it.
missing = np.linalg.norm(truncated[1] - hand[1]) / np.linalg.norm(hand[1])
assert missing > 0.01
print(f"3. Cut after every {every} steps, the gradient of w_h is off by {missing:.0%} of its norm")

# Exercises
# a) Give only the last step a loss. Which line of `by_hand` changes, and which gradients become smaller?
# b) Derive the gradient of the initial state, and compare it with a leaf in place of `zeros`.
# c) Let the stretches overlap: 8 steps back, moving on by 4. What must not be counted twice?
