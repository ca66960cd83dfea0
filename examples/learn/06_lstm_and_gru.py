"""Lesson 6: the equations of LSTM and GRU, and what the library makes of them.

    python examples/learn/06_lstm_and_gru.py

A cell's equations stand in the code once. You write an LSTM as a cell of your own, hold it against NumPy and
against `nn.LSTM`, and look at what @pointwise turned its elementwise part into: a list of operations, the
list of their rules backwards, and a function that runs over the data once. Then a GRU, and its two dialects.
"""

import signal

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, sigmoid, tanh
from tinygrad_rnn.testing import gradcheck

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

T, B, D, H = 9, 2, 3, 4  # time steps, batch, features of the input, of the state
tg.manual_seed(0)
x = tg.randn(T, B, D, dtype="float64")

# ---------------------------------------------------------------- 1. the equations as a cell


@tg.pointwise
def gated(i, f, g, o, c):
    """Of each element: forget some of the cell, write some of what is new, show some of the result."""
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


class MyLSTM(nn.Cell):
    """i, f, g, o = x weight_ih + h weight_hh + bias; c' = sigmoid(f) c + sigmoid(i) tanh(g);
    h' = sigmoid(o) tanh(c').
    """

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(tg.randn(input_size, 4 * hidden_size, dtype="float64"))
        self.weight_hh = nn.Parameter(
            tg.randn(hidden_size, 4 * hidden_size, dtype="float64") / hidden_size**0.5
        )
        self.bias = nn.Parameter(tg.zeros(4 * hidden_size, dtype="float64"))

    def initial_state(self, batch_size, like):
        return like.new_zeros(batch_size, self.hidden_size), like.new_zeros(batch_size, self.hidden_size)

    def project(self, x):  # what does not depend on the state: all time steps in one product
        return x @ self.weight_ih + self.bias

    def step(self, px, state):
        h, c = state
        return gated(*tg.chunk(px + h @ self.weight_hh, 4, axis=-1), c)


mine = nn.Recurrent(MyLSTM(D, H))
output, (h, c) = mine(x)


def by_numpy(x, weight_ih, weight_hh, b):
    """The same over time with nothing but NumPy."""
    h = c = np.zeros((x.shape[1], weight_hh.shape[0]))
    hs = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ weight_ih + h @ weight_hh + b, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        hs.append(h)
    return np.stack(hs)


weights = {name: p.detach() for name, p in mine.cells[0].named_parameters()}
assert np.allclose(output.numpy(), by_numpy(x.numpy(), *(p.numpy() for p in weights.values())), rtol=1e-10)

theirs = nn.LSTM(D, H, dtype="float64")
theirs.cells[0].load_state_dict(weights)
assert np.allclose(theirs(x)[0].numpy(), output.numpy(), rtol=1e-10)
print("1. The cell above, NumPy and nn.LSTM agree")

# ---------------------------------------------------------------- 2. what was made of it

# The function was traced: every operation on its arguments, %0 to %4, was written down. Below the forward
# list stands the reverse: the rules of those operations, from the last to the first, from the gradients of h'
# and c' to those of the arguments. What else it reads are values of the forward, under the names that they
# have there. The last one returned is that of the cell before: what arrives at c', times lesson 5's forget
# gate, %5.
print("\n2. The program of `gated`, forward and back:\n")
print(gated.explain())
print("\n   And on a GPU each of them is a kernel:\n")
print(gated.explain("cuda"))

# Of the reverse program nobody wrote a line. Differences say that it is right.
parts = [tg.randn(B, H, dtype="float64") for _ in range(5)]
gradcheck(gated, *parts, order=2)

# ---------------------------------------------------------------- 3. fused or not


def gradients(layer):
    """The gradients of all parameters, for a loss that reads everything."""
    layer.zero_grad()
    output, (h, c) = layer(x)
    (output.square().sum() + h.sum() + (c * c).sum()).backward()
    return [p.grad.numpy().copy() for p in layer.parameters()]


leaf = parts[0].requires_grad_()
assert gated(*parts)[1].grad_fn.name() == "gated"  # one node for all of it
fused = gradients(mine)
with tg.eager():  # the function as it stands, op by op: for looking at, and for testing
    assert gated(*parts)[1].grad_fn.name() == "add"
    single = gradients(mine)
for a, b in zip(fused, single, strict=True):
    assert np.allclose(a, b, rtol=1e-10, atol=1e-12)
for a, b in zip(fused, gradients(theirs), strict=True):
    assert np.allclose(a, b, rtol=1e-10, atol=1e-12)
print("\n3. One node, op by op, and nn.LSTM: the same gradients")

# ---------------------------------------------------------------- 4. the GRU

# A GRU does without a second state: z mixes the old state with a new one, r says how much of the old state
# the new one sees. The reset may come before the product with the weights (Cho et al.) or after it (PyTorch).


def gru_by_numpy(x, weight_ih, weight_hh, weight_hn, b):
    h, hs = np.zeros((x.shape[1], weight_hn.shape[0])), []
    for x_t in x:
        (xr, xz, xn), (ur, uz) = np.split(x_t @ weight_ih + b, 3, axis=1), np.split(h @ weight_hh, 2, axis=1)
        r, z = 1 / (1 + np.exp(-(xr + ur))), 1 / (1 + np.exp(-(xz + uz)))
        h = z * np.tanh(xn + (r * h) @ weight_hn) + (1 - z) * h
        hs.append(h)
    return np.stack(hs)


gru = nn.GRU(D, H, dtype="float64")
cell = gru.cells[0]
numbers = [p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.weight_hn, cell.bias)]
assert np.allclose(gru(x)[0].numpy(), gru_by_numpy(x.numpy(), *numbers), rtol=1e-10)

# With all gates shut nothing changes: the state goes through time, and its gradient with it.
cell.bias.data[H : 2 * H] = -50.0  # z
h = tg.randn(1, B, H, dtype="float64").requires_grad_()
_, last = gru(x, h)
last.sum().backward()
assert np.allclose(last.numpy(), h.numpy())
assert np.allclose(h.grad.numpy(), 1.0)
print("4. The GRU is its equations; with z = 0 it hands its state on as it is")

# Exercises
# a) Couple the gates of `gated`: write 1 - sigmoid(f) in place of sigmoid(i). What goes from the program?
# b) Peepholes: let the gates see the cell, sigmoid(f + p * c) with a weight p for each unit. Gradcheck it.
# c) PyTorch's z keeps the old state. Which change of the weights turns one GRU into the other?
