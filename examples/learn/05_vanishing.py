"""Lesson 5: gradients that vanish, and what gates do about it.

    python examples/learn/05_vanishing.py [PICTURE.png]

Going back one time step multiplies a gradient with the step's Jacobian. After k steps there are k of them,
and a product of k like factors grows or shrinks like a k-th power. You see the power in a linear net, what
tanh adds to it, why the cell of an LSTM has factors near one, and what all that means for learning.
"""

import math
import signal
import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.nn import functional as F

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

T, H = 50, 32
tg.manual_seed(0)


def norms(step, state, steps=T):
    """The norm of d loss / d state for the states 0, 1, ..., `steps` steps before the last one, over that of
    the last. The loss is a random projection of it.
    """
    states = [state.detach().requires_grad_()]
    for t in range(steps):
        states.append(step(states[-1], t))
    loss = (states[-1] * tg.randn(*state.shape, dtype="float64", rng=1)).sum()
    found = [g.norm().item() for g in reversed(tg.grad(loss, states))]
    return [norm / found[0] for norm in found]


# ---------------------------------------------------------------- 1. a linear net: powers

# h_t = h_{t-1} W. If W is r times a rotation, a step back multiplies the norm by r exactly.
rng = np.random.default_rng(0)
rotation = np.linalg.qr(rng.normal(size=(H, H)))[0]
start = tg.randn(1, H, dtype="float64")
print(f"1. The gradient's norm {T} steps back, over the last one, if h_t = h_(t-1) W:")
for r in (0.9, 1.0, 1.1):
    w = tg.tensor(r * rotation)
    found = norms(lambda h, t, w=w: h @ w, start)
    assert np.allclose(found, r ** np.arange(T + 1), rtol=1e-8)
    print(f"   W = {r} times a rotation: {found[-1]:.1e}")

# For any other W it is the largest eigenvalue (by its absolute value) that wins in the long run.
w = rng.normal(size=(H, H)) * 0.8 / math.sqrt(H)
largest = abs(np.linalg.eigvals(w)).max()
found = norms(lambda h, t: h @ tg.tensor(w), start, 10 * T)
rate = (found[-1] / found[5 * T]) ** (1 / (5 * T))
assert abs(rate - largest) < 0.01
print(f"   W at random: a factor of {rate:.4f} a step; its largest eigenvalue {largest:.4f}")

# ---------------------------------------------------------------- 2. tanh: factors below one

# The Jacobian of tanh(h W) is that of the linear net times 1 - h^2, which is at most 1. Where units saturate
# it is near 0: with tanh, even a rotation forgets, and the more so the larger the states are.
curves = {}
for scale in (0.01, 1.0):
    xs = scale * tg.randn(T, 1, H, dtype="float64")  # what the input adds at each step
    found = norms(lambda h, t, xs=xs: tg.tanh(xs[t] + h @ tg.tensor(rotation)), 0 * start)
    curves[f"tanh, input {scale}"] = found
    print(f"2. tanh(x + h W), W a rotation, x of size {scale}: {found[-1]:.1e}")
small, large = (curve[-1] for curve in curves.values())
assert large < 1e-3 < small < 1

# ---------------------------------------------------------------- 3. an LSTM's cell: factors that are learned

# c_t = f * c_{t-1} + i * g. From c_t to c_{t-1} leads no matrix and no tanh, only the gate f, a number
# between 0 and 1 for each unit. Without weights that is the only way, and the gradient is the product of the
# f. With them the ways through the gates add to it, and it may even grow. That is the lesser evil: a gradient
# that is too long can be cut to length (part 4), one that is gone cannot be found again.
print(f"3. An LSTM's cell over {T} steps, by the bias of its forget gate:")
xs = tg.randn(T, 1, 1, dtype="float64")
for bias in (0.0, 1.0, 3.0, 5.0):
    cell = nn.LSTMCell(1, H, dtype="float64", rng=0)
    cell.b.data[H : 2 * H] = bias  # blocks i, f, g, o

    def step(state, t, cell=cell):
        return tg.concat(cell(xs[t], tg.chunk(state, 2, axis=1)), axis=1)  # h and c side by side

    curves[f"LSTM, forget bias {bias:.0f}"] = whole = norms(step, tg.zeros(1, 2 * H, dtype="float64"))
    cell.w_h.data.zero_()
    cell.w_x.data.zero_()
    first = tg.zeros(1, H, dtype="float64", requires_grad=True)
    state = tg.zeros(1, H, dtype="float64"), first
    for t in range(T):
        state = cell(xs[t], state)
    state.c.sum().backward()
    f = 1 / (1 + math.exp(-bias))
    assert np.allclose(first.grad.numpy(), f**T, rtol=1e-8)
    print(f"   bias {bias:.0f}: f = {f:.3f}, f^{T} = {f**T:.1e}; the whole LSTM {whole[-1]:.1e}")
assert curves["LSTM, forget bias 5"][-1] > 1e4 * curves["LSTM, forget bias 0"][-1]

# ---------------------------------------------------------------- 4. what it means for learning

# The first input is 1 or -1, and has to be said after the last one; what lies between is noise. A net whose
# gradient vanishes on the way cannot find out that the first input matters.


def learned(layer, steps=150, n=40):
    """The mean squared error at the end of some training; knowing nothing has 1."""
    out = nn.Linear(16, 1, rng=0)
    optimizer = optim.Adam([*layer.parameters(), *out.parameters()], lr=0.01)
    rng, losses = np.random.default_rng(0), []
    for _ in range(steps):
        x = rng.normal(size=(n, 32, 1)) * 0.2
        x[0] = np.sign(x[0])
        x = tg.tensor(x).float()
        loss = F.mse_loss(out(layer(x)[0][-1]), x[0])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)  # what explodes is cut
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


lstm = nn.LSTM(1, 16, rng=0)
lstm.cells[0].b.data[16:32] = 3.0
errors = {"RNN": learned(nn.RNN(1, 16, rng=0, init="torch")), "LSTM, forget bias 3": learned(lstm)}
print("4. Remembering a bit over 40 steps; knowing nothing has a mean squared error of 1:")
for name, error in errors.items():
    print(f"   {name}: {error:.4f}")
assert errors["RNN"] > 0.8
assert errors["LSTM, forget bias 3"] < 0.1

if len(sys.argv) > 1:
    viz.gradient_through_time(sys.argv[1], curves)

# Exercises
# a) Replace tanh by relu in part 2. Which factor does a step have now, and what can go wrong instead?
# b) Measure the GRU: its state goes through 1 - z. Which bias of z helps, and with which sign?
# c) In part 4, find the n from which on the LSTM fails, too. Does a forget bias of 5 move it?
