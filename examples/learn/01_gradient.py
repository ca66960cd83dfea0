"""Lesson 1: the gradient of a program.

    python examples/learn/01_gradient.py

A derivative belongs to a function, and a program that takes a number and returns a number is one, loops and
all. Here you see three ways to it: by differences, by hand with the chain rule, and by letting the library
do what the hand did. And you see why the chain rule is best applied from the end of a program to its
beginning: that is reverse mode, and everything else in this course builds on it.
"""

import math
import signal
from itertools import pairwise

import numpy as np

import tinygrad_rnn as tg

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

# ---------------------------------------------------------------- 1. a program has a derivative


def root(x):
    """Heron's rule: a better guess is the mean of y and x / y. Five times, and y is the root of x."""
    y = 1.0
    for _ in range(5):
        y = (y + x / y) / 2
    return y


def difference(f, x, h):
    """The slope of f at x, read off two points that are 2 h apart."""
    return (f(x + h) - f(x - h)) / (2 * h)


# Nobody told the program that it computes a root, yet its slope is that of a root.
x, exact = 2.0, 1 / (2 * math.sqrt(2.0))
print("1. The slope of root(x) at 2 is 1 / (2 sqrt 2); differences come near it, up to a point:")
errors = {}
for h in (1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13):
    errors[h] = abs(difference(root, x, h) - exact)
    print(f"   h = {h:.0e}   error {errors[h]:.1e}")

# A large h bends the line (an error like h^2), a small one leaves few digits in f(x + h) - f(x - h), where
# two nearly equal numbers cancel (an error like 1e-16 / h). The best h for doubles lies near 1e-5.
assert errors[1e-5] < 1e-9
assert min(errors[1e-1], errors[1e-13]) > 1e4 * errors[1e-5]

# ---------------------------------------------------------------- 2. the chain rule by hand

# A neuron and its error, one operation in a line. Forward we keep what we compute, because the derivatives
# of the operations are made of it.
w, b, target = 0.7, -0.3, 0.5
u = w * x
v = u + b
y = math.tanh(v)
e = y - target
loss = e * e

# Backwards: d_ is the derivative of the loss with respect to a value. Each line multiplies the one above
# with the derivative of a single operation, which is all that one has to know about it.
d_loss = 1.0
d_e = d_loss * 2 * e
d_y = d_e
d_v = d_y * (1 - y * y)  # tanh' = 1 - tanh^2: the result is enough, the argument may be forgotten
d_u, d_b = d_v, d_v
d_w, d_x = d_u * x, d_u * w


def neuron(w, b):
    return (math.tanh(w * x + b) - target) ** 2


assert abs(d_w - difference(lambda w: neuron(w, b), w, 1e-5)) < 1e-9
assert abs(d_b - difference(lambda b: neuron(w, b), b, 1e-5)) < 1e-9
print(f"2. By hand: d loss / d w = {d_w:.6f}, d loss / d b = {d_b:.6f}, and differences agree")

# ---------------------------------------------------------------- 3. the library does the same

# A tensor that requires a gradient remembers what is computed from it; `backward` goes through that from the
# end, with the very multiplications above.
W = tg.tensor(w, dtype="float64", requires_grad=True)
B = tg.tensor(b, dtype="float64", requires_grad=True)
((tg.tanh(W * x + B) - target) ** 2).backward()
assert abs(W.grad.item() - d_w) < 1e-14
assert abs(B.grad.item() - d_b) < 1e-14
print(f"3. The library: {W.grad.item():.6f} and {B.grad.item():.6f}")

# It differentiates the loop of `root` too: what runs is recorded, and the loop has become a chain.
X = tg.tensor(x, dtype="float64", requires_grad=True)
root(X).backward()
assert abs(X.grad.item() - exact) < 1e-11
print(f"   and for root(x) {X.grad.item():.12f}; exact is {exact:.12f}")

# ---------------------------------------------------------------- 4. why from the end

# With many inputs a derivative of one operation is a matrix, its Jacobian, and the chain rule is a product of
# matrices. The product may be worked out from either end. From the inputs on (forward mode) a matrix with
# a column for each input goes through all layers; from the loss back (reverse mode) it is a single row.
rng = np.random.default_rng(0)
sizes = [200, 200, 200, 1]
weights = [rng.normal(size=(m, n)) / math.sqrt(m) for m, n in pairwise(sizes)]
start = rng.normal(size=sizes[0])

jacobians, h = [], start
for weight in weights:
    h = np.tanh(h @ weight)
    jacobians.append((1 - h * h)[:, None] * weight.T)  # (outputs, inputs) of this layer


def multiplied(matrices):
    """The product from the left, and how many multiplications of numbers it took."""
    product, count = matrices[0], 0
    for matrix in matrices[1:]:
        count += product.shape[0] * matrix.shape[0] * matrix.shape[1]
        product = product @ matrix
    return product, count


reverse, n_reverse = multiplied(jacobians[::-1])  # (J3 J2) J1: a row stays a row
forward, n_forward = multiplied([j.T for j in jacobians])  # J3 (J2 J1), written transposed
print(f"4. {sizes[0]} inputs, one loss: reverse mode multiplies {n_reverse:,} times, forward {n_forward:,}")
assert np.allclose(reverse, forward.T, rtol=1e-10)
assert n_forward > 100 * n_reverse

# Differences would need two runs for each of the inputs; `backward` is one, about as long as the forward.
H = inputs = tg.tensor(start, dtype="float64", requires_grad=True)
for weight in weights:
    H = tg.tanh(H @ tg.tensor(weight, dtype="float64"))
H.sum().backward()
assert np.allclose(inputs.grad.numpy(), reverse.sum(axis=0), rtol=1e-10)

# Exercises
# a) Which h would be best for one-sided differences, (f(x + h) - f(x)) / h, and how good is it?
# b) Let `root` stop once y is right to three digits. How many digits of its derivative are right then?
# c) When is forward mode the cheaper one? Change `sizes` until it is.
