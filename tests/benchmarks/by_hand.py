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

    def __init__(self, x, weight_ih, weight_hh, b):
        self.x, self.weight_ih, self.weight_hh, self.bias = x, weight_ih, weight_hh, b
        n_steps, n, _ = x.shape
        h = weight_hh.shape[0]
        self.h = np.zeros((n_steps + 1, n, h), x.dtype)
        self.c = np.zeros((n_steps + 1, n, h), x.dtype)
        self.tanh_c = np.empty((n_steps, n, h), x.dtype)
        self.d = np.empty((n_steps, n, 4 * h), x.dtype)

    def step(self):
        """Forward, and backward from the sum of the outputs: gradients of x, weight_ih, weight_hh, b."""
        n_steps, n, n_in = self.x.shape
        size = self.weight_hh.shape[0]
        gates = (self.x.reshape(-1, n_in) @ self.weight_ih + self.bias).reshape(n_steps, n, 4 * size)
        for t in range(n_steps):
            a = gates[t]
            a += self.h[t] @ self.weight_hh
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
            dh = self.d[t] @ self.weight_hh.T
        d = self.d.reshape(-1, 4 * size)
        return (
            (d @ self.weight_ih.T).reshape(self.x.shape),
            self.x.reshape(-1, n_in).T @ d,
            self.h[:-1].reshape(-1, size).T @ d,
            d.sum(0),
        )


class GRU:
    """The same of a GRU in PyTorch's form, r * (U h + b)."""

    def __init__(self, x, weight_ih, weight_hh, b, bias_hh):
        self.x, self.weight_ih, self.weight_hh, self.bias, self.bias_hh = x, weight_ih, weight_hh, b, bias_hh
        n_steps, n, _ = x.shape
        size = weight_hh.shape[0]
        self.h = np.zeros((n_steps + 1, n, size), x.dtype)
        self.u = np.empty((n_steps, n, size), x.dtype)
        self.d_x, self.d_h = (np.empty((n_steps, n, 3 * size), x.dtype) for _ in range(2))

    def step(self):
        """Forward, and backward from the sum of the outputs: gradients of all that it was made with."""
        n_steps, n, n_in = self.x.shape
        size = self.weight_hh.shape[0]
        gates = (self.x.reshape(-1, n_in) @ self.weight_ih + self.bias).reshape(n_steps, n, 3 * size)
        for t in range(n_steps):
            a, h = gates[t], self.h[t]
            u = h @ self.weight_hh
            a[:, : 2 * size] += u[:, : 2 * size]
            _sigmoid(a[:, : 2 * size])
            r, z, new = (a[:, k * size : (k + 1) * size] for k in range(3))
            np.add(u[:, 2 * size :], self.bias_hh, out=self.u[t])
            new += r * self.u[t]
            np.tanh(new, out=new)
            np.multiply(new - h, z, out=self.h[t + 1])
            self.h[t + 1] += h
        dh = np.zeros_like(self.h[0])
        for t in reversed(range(n_steps)):
            r, z, new = (gates[t][:, k * size : (k + 1) * size] for k in range(3))
            dr, dz, dn = (self.d_x[t][:, k * size : (k + 1) * size] for k in range(3))
            dh = dh + 1
            np.multiply(dh * z, 1 - new * new, out=dn)
            np.multiply(dh * (new - self.h[t]), z * (1 - z), out=dz)
            np.multiply(dn * self.u[t], r * (1 - r), out=dr)
            self.d_h[t][:, : 2 * size] = self.d_x[t][:, : 2 * size]
            np.multiply(dn, r, out=self.d_h[t][:, 2 * size :])
            dh = dh * (1 - z) + self.d_h[t] @ self.weight_hh.T
        d_x, d_h = self.d_x.reshape(-1, 3 * size), self.d_h.reshape(-1, 3 * size)
        return (
            (d_x @ self.weight_ih.T).reshape(self.x.shape),
            self.x.reshape(-1, n_in).T @ d_x,
            self.h[:-1].reshape(-1, size).T @ d_h,
            d_x.sum(0),
            d_h[:, 2 * size :].sum(0),
        )


def _normalise(x, eps=1e-5):
    """Rows with mean 0 and variance 1, in the memory of x, and what they were multiplied by."""
    x -= x.mean(1, keepdims=True)
    scale = (np.vecdot(x, x)[:, None] / x.shape[1] + eps) ** -0.5
    x *= scale
    return x, scale


def _of_normalised(d, y, scale):
    """The gradient of what was normalised to y, in the memory of d."""
    along, mean = np.vecdot(d, y)[:, None] / d.shape[1], d.mean(1, keepdims=True)
    d -= mean
    d -= y * along
    d *= scale
    return d


class NormalisedLSTM:
    """An LSTM with layer normalisation of both products and of the cell, from the last output's sum."""

    def __init__(self, x, weight_ih, weight_hh, b, gain):
        self.x, self.weight_ih, self.weight_hh, self.bias, self.weight_norm = x, weight_ih, weight_hh, b, gain

    def step(self):
        """Gradients of x, weight_ih, weight_hh, b and gain."""
        n_steps, n, n_in = self.x.shape
        size = self.weight_hh.shape[0]
        y_x, scale_x = _normalise(self.x.reshape(-1, n_in) @ self.weight_ih)
        gates = (y_x * self.weight_norm + self.bias).reshape(n_steps, n, 4 * size)
        h, c = np.zeros((n, size), self.x.dtype), np.zeros((n, size), self.x.dtype)
        kept = []
        for t in range(n_steps):
            y_h, scale_h = _normalise(h @ self.weight_hh)
            a = gates[t]
            a += y_h * self.weight_norm
            _sigmoid(a[:, : 2 * size])
            np.tanh(a[:, 2 * size : 3 * size], out=a[:, 2 * size : 3 * size])
            _sigmoid(a[:, 3 * size :])
            i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
            before, c = c, f * c + i * g
            y_c, scale_c = _normalise(c.copy())
            tanh_c = np.tanh(y_c)
            kept.append((h, before, y_h, scale_h, y_c, scale_c, tanh_c))
            h = o * tanh_c
        d = np.empty_like(gates)
        d_gain, d_hh = np.zeros_like(self.weight_norm), np.zeros_like(self.weight_hh)
        dh, dc = np.ones_like(h), np.zeros_like(c)
        for t in reversed(range(n_steps)):
            h, before, y_h, scale_h, y_c, scale_c, tanh_c = kept[t]
            i, f, g, o = (gates[t][:, k * size : (k + 1) * size] for k in range(4))
            di, df, dg, do = (d[t][:, k * size : (k + 1) * size] for k in range(4))
            np.multiply(dh * tanh_c, o * (1 - o), out=do)
            dc = dc + _of_normalised(dh * o * (1 - tanh_c * tanh_c), y_c, scale_c)
            np.multiply(dc * g, i * (1 - i), out=di)
            np.multiply(dc * before, f * (1 - f), out=df)
            np.multiply(dc * i, 1 - g * g, out=dg)
            dc = dc * f
            d_gain += (d[t] * y_h).sum(0)
            product = _of_normalised(d[t] * self.weight_norm, y_h, scale_h)
            d_hh += h.T @ product
            dh = product @ self.weight_hh.T
        d = d.reshape(-1, 4 * size)
        d_gain += (d * y_x).sum(0)
        product = _of_normalised(d * self.weight_norm, y_x, scale_x)
        d_x = (product @ self.weight_ih.T).reshape(self.x.shape)
        return d_x, self.x.reshape(-1, n_in).T @ product, d_hh, d.sum(0), d_gain


def multiply_adds(x, w, n):
    """The gradients of x and w of a sum after n times y = y * w + x, beginning with y = x."""
    before, y = [], x
    for _ in range(n):
        before.append(y)
        y = y * w + x
    g, of_x, of_w = np.ones_like(x), np.zeros_like(x), np.zeros_like(w)
    for y in reversed(before):
        of_x += g
        of_w += g * y
        g = g * w
    return of_x + g, of_w


class Products:
    """The matrix products of a training step in their order, and nothing else: the limit."""

    def __init__(self, n_steps, n, n_in, size, n_gates):
        rng = np.random.default_rng(0)

        def array(*shape):
            return rng.standard_normal(shape).astype("float32")

        self.x, self.d = array(n_steps * n, n_in), array(n_steps * n, n_gates * size)
        self.weight_ih, self.weight_hh = array(n_in, n_gates * size), array(size, n_gates * size)
        self.h, self.n_steps, self.n = array(n_steps * n, size), n_steps, n
        self.px, self.g = np.empty_like(self.d), np.empty((n, n_gates * size), "float32")
        self.dx, self.dh = np.empty_like(self.x), np.empty((n, size), "float32")

    def step(self):
        np.matmul(self.x, self.weight_ih, out=self.px)
        for t in range(self.n_steps):
            np.matmul(self.h[t * self.n : (t + 1) * self.n], self.weight_hh, out=self.g)
        for t in reversed(range(self.n_steps)):
            np.matmul(self.d[t * self.n : (t + 1) * self.n], self.weight_hh.T, out=self.dh)
        np.matmul(self.d, self.weight_ih.T, out=self.dx)
        return self.x.T @ self.d, self.h.T @ self.d
