"""Lesson 9: gradients of gradients.

    python examples/learn/09_gradients_of_gradients.py

Going back through a graph is a computation as well: products, sums, the ops that rules are made of. If it
runs on tensors in place of arrays it leaves a graph of its own, and that can be gone through again. So second
derivatives cost nobody a line of code. Three uses: Newton's method, curvature without its matrix, and a
learning rate that is itself learned, by differentiating a step of training.
"""

import signal
from itertools import pairwise

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

tg.manual_seed(0)

# ---------------------------------------------------------------- 1. rules that run on tensors


def tanh_rule(g, y):
    """The rule of tanh, as it stands in the library. Nothing in it says whether g and y are arrays."""
    return g * (1 - y * y)


x = tg.tensor(0.3, dtype="float64", requires_grad=True)
y = tg.tanh(x)
dy = tanh_rule(1.0, y)  # on tensors: the gradient is a value with a graph behind it
dy.backward()
t = np.tanh(0.3)
assert abs(x.grad.item() - -2 * t * (1 - t * t)) < 1e-15

# `create_graph` does so for all rules on the way. The derivatives of x^4, one after the other:
x = tg.tensor(2.0, dtype="float64", requires_grad=True)
derivative, found = x**4, []
for _ in range(4):
    (derivative,) = tg.grad(derivative, [x], create_graph=True)
    found.append(derivative.item())
print("1. The derivatives of x^4 at 2:", found)
assert np.allclose(found, [32.0, 48.0, 48.0, 24.0])

# ---------------------------------------------------------------- 2. Newton's method

# The minimum is where the gradient is zero. Newton solves for that as if the gradient were a line, whose
# slope is the second derivative. Near the solution each step doubles the number of right digits.


def f(x):
    return tg.exp(x) - 2.0 * x  # least at log 2


x = tg.tensor(2.0, dtype="float64", requires_grad=True)
errors = []
for _ in range(6):
    (slope,) = tg.grad(f(x), [x], create_graph=True)
    (curvature,) = tg.grad(slope, [x])
    x = (x - slope / curvature).detach().requires_grad_()
    errors.append(abs(x.item() - np.log(2.0)))
print("2. Newton's distance from the minimum:", " ".join(f"{e:.0e}" for e in errors))
assert errors[-1] < 1e-14
assert all(after < before**2 for before, after in pairwise(errors[:5]))

# ---------------------------------------------------------------- 3. the Hessian times a vector

# A net with n weights has n^2 second derivatives, too many to write down. Their product with a vector v is
# what is wanted most, and that is the gradient of <gradient, v>: the price of two more passes, whatever n is.
# Here through a recurrent net: 20 steps that run as one node, whose way back nobody wrote, let alone twice.
rnn = nn.LSTM(2, 6, dtype="float64")
data = tg.randn(20, 3, 2, dtype="float64")


def loss():
    return rnn(data)[0][-1].square().sum()


weights = list(rnn.parameters())
v = [tg.randn(*w.shape, dtype="float64") for w in weights]
gradients = tg.grad(loss(), weights, create_graph=True)
product = tg.grad(sum((g * d).sum() for g, d in zip(gradients, v, strict=True)), weights)


def moved(size):
    """The gradient after a move of all weights by size * v, and back."""
    for w, d in zip(weights, v, strict=True):
        w.data += size * d
    found = tg.grad(loss(), weights)
    for w, d in zip(weights, v, strict=True):
        w.data -= size * d
    return found


for p, ahead, behind in zip(product, moved(1e-5), moved(-1e-5), strict=True):
    assert np.allclose(p.numpy(), (ahead - behind).numpy() / 2e-5, rtol=1e-4, atol=1e-6)
n = sum(w.numel() for w in weights)
print(f"3. {n} weights, {n * n:,} second derivatives; their product with a vector agrees with differences")

# ---------------------------------------------------------------- 4. through a step of training

# A step of gradient descent, w - lr * gradient, is a function of lr. If the gradient has a graph, so has the
# step, and the loss after it can be differentiated with respect to lr: how should it have been chosen?
inputs = tg.randn(50, 4, dtype="float64") * tg.tensor([3.0, 1.0, 1.0, 0.3], dtype="float64")
answers = inputs @ tg.tensor([1.0, -2.0, 0.5, 3.0], dtype="float64")


def after_training(log_lr, steps=5):
    """The loss after some steps of gradient descent from zero, one learning rate for each weight."""
    w = tg.zeros(4, dtype="float64", requires_grad=True)
    for _ in range(steps):
        error = (inputs @ w - answers).square().mean()
        (g,) = tg.grad(error, [w], create_graph=True)
        w = w - log_lr.exp() * g  # no detach: the graph goes on through the step
    return (inputs @ w - answers).square().mean()


log_lr = tg.full((4,), np.log(0.03), dtype="float64").requires_grad_()
(meta,) = tg.grad(after_training(log_lr), [log_lr])
for k in range(4):
    step = 1e-5 * tg.eye(4, dtype="float64")[k]
    slope = (after_training(log_lr + step) - after_training(log_lr - step)).item() / 2e-5
    assert abs(meta[k].item() - slope) < 1e-5 * abs(slope) + 1e-8
before = after_training(log_lr).item()
for _ in range(100):
    (meta,) = tg.grad(after_training(log_lr), [log_lr])
    log_lr = (log_lr - 0.1 * meta / meta.norm()).detach().requires_grad_()
after = after_training(log_lr).item()
print(f"4. Loss after five steps: {before:.4f} with one rate for all, {after:.4f} with learned ones,")
print("   which are larger where inputs are smaller:", np.round(log_lr.exp().detach().numpy(), 3))
assert after < before / 20
assert log_lr[3].item() > log_lr[0].item()

# Exercises
# a) Newton's method for two variables: build the Hessian row by row, and solve with np.linalg.solve.
# b) Find the largest eigenvalue of the Hessian in part 3 by repeated products. Which learning rate does it
#    allow?
# c) In part 4, detach g. What does the gradient of lr still see, and what not?
