"""Lesson 7: sequences of several lengths, read from either side.

    python examples/learn/07_lengths_and_directions.py

A batch is a rectangle, sequences are not. The usual way out is to fill up with padding and to mask what comes
of it. Here the batch is laid out so that padding is not there at all: sorted by length, time step by time
step. You write that in a few lines, see that the layers of the library compute the same, and that nothing
that stands in the padding can matter, NaN included.
"""

import signal

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

D, H = 3, 4  # features of the input, of the state
lengths = [2, 5, 0, 3]
T, B = 6, len(lengths)
tg.manual_seed(0)
x = tg.randn(T, B, D, dtype="float64").numpy().copy()

layer = nn.GRU(D, H, dtype="float64")
cell = layer.cells[0]

# ---------------------------------------------------------------- 1. what is meant: each sequence for itself


def alone(b, reverse=False):
    """Sequence b without any padding, from its first step to its last or from the last to the first."""
    h, outputs = tg.zeros(1, H, dtype="float64"), [None] * lengths[b]
    for t in reversed(range(lengths[b])) if reverse else range(lengths[b]):
        h = cell(tg.tensor(x[t, b : b + 1]), h)
        outputs[t] = h.detach().numpy()[0]
    return outputs, h.detach().numpy()[0]


def same(output, state, reverse=False):
    """Asserts that a padded output and the last states are what each sequence gives by itself."""
    for b, n in enumerate(lengths):
        outputs, last = alone(b, reverse)
        assert np.allclose(output[:n, b], np.reshape(outputs, (n, H)), rtol=1e-10)
        assert np.all(output[n:, b] == 0)
        assert np.allclose(state[b], last, rtol=1e-10)


# ---------------------------------------------------------------- 2. packing

# Sorted by length, those still running at step t are always the first ones: rows[t] of them. A step works on
# the top of the state, and the rest of it has come to its end. No mask, and no row in vain.
order = sorted(range(B), key=lambda b: -lengths[b])
rows = [sum(n > t for n in lengths) for t in range(max(lengths))]
print(f"2. Lengths {lengths}, longest first {order}: rows per step {rows}")


def packed_run(reverse=False):
    """All sequences at once. From behind the same blocks, and sequences join in where they end."""
    h = tg.zeros(B, H, dtype="float64")  # in the order of `order`
    output = np.zeros((T, B, H))
    for t in reversed(range(len(rows))) if reverse else range(len(rows)):
        n = rows[t]
        running = cell(tg.tensor(x[t, order[:n]]), h[:n])
        h = tg.concat([running, h[n:]])
        output[t, order[:n]] = running.detach().numpy()
    return output, h.detach().numpy()[np.argsort(order)]


same(*packed_run())
same(*packed_run(reverse=True), reverse=True)
print(f"   {sum(rows)} rows computed; a padded rectangle has {T * B}")

# ---------------------------------------------------------------- 3. the layer does that


def run(layer, x, lengths=lengths):
    """Output, last state, and the gradients of the weights and of x."""
    layer.zero_grad()
    leaf = tg.tensor(x, requires_grad=True)
    output, state = layer(leaf, lengths=lengths)
    (output.square().sum() + state.sum()).backward()
    gradients = [leaf.grad, *(p.grad for p in layer.parameters())]
    return [v.detach().numpy().copy() for v in (output, state, *gradients)]


clean = run(layer, x)
same(clean[0], clean[1][0])

# The gradients of the weights are the sums of those that each sequence gives without padding.
layer.zero_grad()
for b, n in enumerate(lengths):
    if n == 0:
        continue  # depends on nothing
    output, state = layer(tg.tensor(x[:n, b : b + 1]))
    (output.square().sum() + state.sum()).backward()
for a, p in zip(clean[3:], layer.parameters(), strict=True):
    assert np.allclose(a, p.grad.numpy(), rtol=1e-10)

# The worst padding there is. A mask that multiplies would not help: 0 * NaN is NaN.
past = np.arange(T)[:, None] >= np.array(lengths)
dirty = x.copy()
dirty[past] = np.nan
for a, b in zip(clean, run(layer, dirty), strict=True):
    assert np.array_equal(a, b)
assert np.all(clean[2][past] == 0)  # and no gradient reaches it
longer = run(layer, np.concatenate([dirty, np.full((3, B, D), np.nan)]))
assert np.allclose(longer[0][:T], clean[0], rtol=1e-12)
print("3. NaN in the padding, or more of it: the same outputs, states and gradients")

# ---------------------------------------------------------------- 4. both directions

# A tag of a word depends on the words after it, too. So a second cell reads from the end of each sequence:
# its own end. Turning the padded rectangle round would make it begin in the padding.
both = nn.Recurrent(cell, cell, bidirectional=True)  # the same cell twice, to compare; usually two
output, state = (v.detach().numpy() for v in both(tg.tensor(dirty), lengths=lengths))
same(output[..., :H], state[0])
same(output[..., H:], state[1], reverse=True)

turned = layer(tg.tensor(x[::-1].copy()))[0].detach().numpy()[::-1]
b = lengths.index(2)
assert not np.allclose(turned[:2, b], output[:2, b, H:], rtol=0.01)
print("4. Forward and backward states, side by side:", output.shape)
print(f"   sequence {b}, read backwards from its end:    ", np.round(output[0, b, H:], 3))
print("   if reading begins in the padding instead:    ", np.round(turned[0, b], 3))

# In the middle of a sequence both halves together have read all of it: output[t] depends on each x[s].
leaf = tg.tensor(x, requires_grad=True)
output, _ = both(leaf, lengths=lengths)
b = lengths.index(5)
(g,) = tg.grad(output[2, b].sum(), [leaf])
reached = np.abs(g.numpy()).sum(axis=2) > 0
assert np.array_equal(np.argwhere(reached), [[t, b] for t in range(5)])

# Exercises
# a) Do it with a mask: h = where(running, new, h). Which rows are computed in vain, and what does NaN do?
# b) Sum the loss over real steps only, and divide by their number. What goes wrong if T * B is used?
# c) Sort a data set into batches of like lengths. How much padding is left, and what is lost by it?
