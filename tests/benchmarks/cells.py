"""Recurrent steps as users write them, in primitive ops and a plain loop over x[t]: one text for all.

`np` is the library: torch, tinygrad_rnn, autograd.numpy, mygrad, jax.numpy.
"""

from __future__ import annotations


def start(np, x, size):
    """The zeros a loop begins with."""
    return x[0, :, :1] * 0 + np.zeros((x.shape[1], size), dtype=x.dtype)


def lstm_step(np, sigmoid, x, h, c, weight_ih, weight_hh, b, size):
    """One step of a plain LSTM."""
    gates = x @ weight_ih + h @ weight_hh + b
    i, f = sigmoid(gates[:, :size]), sigmoid(gates[:, size : 2 * size])
    g, o = np.tanh(gates[:, 2 * size : 3 * size]), sigmoid(gates[:, 3 * size :])
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm(np, sigmoid, x, weight_ih, weight_hh, b, size):
    """The sum of the last outputs of a plain LSTM."""
    h = c = start(np, x, size)
    for t in range(x.shape[0]):
        h, c = lstm_step(np, sigmoid, x[t], h, c, weight_ih, weight_hh, b, size)
    return h.sum()


def lstm_scanned(jax, sigmoid, x, weight_ih, weight_hh, b, size):
    """The same as JAX's users write it: the step under `scan`."""

    def step(state, x_t):
        return lstm_step(jax.numpy, sigmoid, x_t, *state, weight_ih, weight_hh, b, size), None

    zeros = start(jax.numpy, x, size)
    return jax.lax.scan(step, (zeros, zeros), x)[0][0].sum()


def normalised_lstm(np, sigmoid, layer_norm, x, weight_ih, weight_hh, b, gain, size):
    """The same with layer normalisation before the gates and of the cell (Ba et al. 2016)."""
    h = c = start(np, x, size)
    for t in range(x.shape[0]):
        gates = layer_norm(x[t] @ weight_ih) * gain + layer_norm(h @ weight_hh) * gain + b
        i, f = sigmoid(gates[:, :size]), sigmoid(gates[:, size : 2 * size])
        g, o = np.tanh(gates[:, 2 * size : 3 * size]), sigmoid(gates[:, 3 * size :])
        c = f * c + i * g
        h = o * np.tanh(layer_norm(c))
    return h.sum()
