"""What to hold against: backpropagation through time written by hand, and the matrix products alone."""

from __future__ import annotations

import numpy as np


def _sigmoid(x):
    np.multiply(x, 0.5, out=x)
    np.tanh(x, out=x)
    np.multiply(x, 0.5, out=x)
    return np.add(x, 0.5, out=x)


class LSTM:
    """A training step of an LSTM with one product for all inputs and one for each weight's gradient."""

    def __init__(self, x, w_x, w_h, b):
        self.x, self.w_x, self.w_h, self.b = x, w_x, w_h, b
        n_steps, n, _ = x.shape
        h = w_h.shape[0]
        self.h = np.zeros((n_steps + 1, n, h), x.dtype)
        self.c = np.zeros((n_steps + 1, n, h), x.dtype)
        self.tanh_c = np.empty((n_steps, n, h), x.dtype)
        self.d = np.empty((n_steps, n, 4 * h), x.dtype)

    def step(self):
        """Forward, and backward from the sum of the outputs: gradients of x, w_x, w_h, b."""
        n_steps, n, n_in = self.x.shape
        size = self.w_h.shape[0]
        gates = (self.x.reshape(-1, n_in) @ self.w_x + self.b).reshape(n_steps, n, 4 * size)
        for t in range(n_steps):
            a = gates[t]
            a += self.h[t] @ self.w_h
            _sigmoid(a[:, : 2 * size])
            np.tanh(a[:, 2 * size : 3 * size], out=a[:, 2 * size : 3 * size])
            _sigmoid(a[:, 3 * size :])
            i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
            np.multiply(f, self.c[t], out=self.c[t + 1])
            self.c[t + 1] += i * g
            np.tanh(self.c[t + 1], out=self.tanh_c[t])
            np.multiply(o, self.tanh_c[t], out=self.h[t + 1])
        dh = dc = np.zeros_like(self.h[0])
        for t in reversed(range(n_steps)):
            i, f, g, o = (gates[t][:, k * size : (k + 1) * size] for k in range(4))
            di, df, dg, do = (self.d[t][:, k * size : (k + 1) * size] for k in range(4))
            dh = dh + 1
            tanh_c = self.tanh_c[t]
            np.multiply(dh * tanh_c, o * (1 - o), out=do)
            dc = dc + dh * o * (1 - tanh_c * tanh_c)
            np.multiply(dc * g, i * (1 - i), out=di)
            np.multiply(dc * self.c[t], f * (1 - f), out=df)
            np.multiply(dc * i, 1 - g * g, out=dg)
            dc = dc * f
            dh = self.d[t] @ self.w_h.T
        d = self.d.reshape(-1, 4 * size)
        return (
            (d @ self.w_x.T).reshape(self.x.shape),
            self.x.reshape(-1, n_in).T @ d,
            self.h[:-1].reshape(-1, size).T @ d,
            d.sum(0),
        )


class Products:
    """The matrix products of a training step in their order, and nothing else: the limit."""

    def __init__(self, n_steps, n, n_in, size, n_gates):
        rng = np.random.default_rng(0)

        def array(*shape):
            return rng.standard_normal(shape).astype("float32")

        self.x, self.d = array(n_steps * n, n_in), array(n_steps * n, n_gates * size)
        self.w_x, self.w_h = array(n_in, n_gates * size), array(size, n_gates * size)
        self.h, self.n_steps, self.n = array(n_steps * n, size), n_steps, n
        self.px, self.g = np.empty_like(self.d), np.empty((n, n_gates * size), "float32")
        self.dx, self.dh = np.empty_like(self.x), np.empty((n, size), "float32")

    def step(self):
        np.matmul(self.x, self.w_x, out=self.px)
        for t in range(self.n_steps):
            np.matmul(self.h[t * self.n : (t + 1) * self.n], self.w_h, out=self.g)
        for t in reversed(range(self.n_steps)):
            np.matmul(self.d[t * self.n : (t + 1) * self.n], self.w_h.T, out=self.dh)
        np.matmul(self.d, self.w_x.T, out=self.dx)
        return self.x.T @ self.d, self.h.T @ self.d
