"""The equations of the recurrent cells: one time step each. recurrent.py runs them over time."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ..fuse.pointwise import pointwise
from ..ops import addmm, chunk, relu, sigmoid, tanh
from ..tensor import Tensor
from . import init as start
from . import weights
from .cell import Cell, Shapes
from .module import Parameter
from .state import State as State
from .state import map_state as map_state


class LSTMState(NamedTuple):
    """The state of an LSTM: what it shows, and what it remembers."""

    h: Tensor
    c: Tensor


# ---------------------------------------------------------------- the equations


@pointwise
def rnn_tanh(x: Any, h: Any) -> Any:
    return tanh(x + h)


@pointwise
def rnn_relu(x: Any, h: Any) -> Any:
    return relu(x + h)


@pointwise
def lstm(gates: Any, c: Any) -> Any:
    i, f, g, o = chunk(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


@pointwise
def gru_reset(x: Any, u: Any, h: Any) -> Any:
    return sigmoid(x + u) * h


@pointwise
def gru_update(xz: Any, uz: Any, xn: Any, un: Any, h: Any) -> Any:
    z = sigmoid(xz + uz)
    return z * tanh(xn + un) + (1 - z) * h


@pointwise
def gru_reset_after(x: Any, u: Any, b: Any, h: Any) -> Any:
    xr, xz, xn = chunk(x, 3, axis=-1)
    ur, uz, un = chunk(u, 3, axis=-1)
    r, z = sigmoid(xr + ur), sigmoid(xz + uz)
    return z * tanh(xn + r * (un + b)) + (1 - z) * h


# ---------------------------------------------------------------- the cells


class GatedCell(Cell):
    """What RNNCell, LSTMCell and GRUCell have in common: their weights, with the gates side by side."""

    former_names = weights.FORMER_NAMES
    transposed_in_pytorch = frozenset({"weight_ih", "weight_hh", "weight_hr"})
    n_gates: ClassVar[int]
    weight_ih: Parameter
    weight_hh: Parameter
    bias: Parameter | None
    bias_hh: Parameter | None

    def weight_shapes(self, bias: bool) -> Shapes:
        width = self.n_gates * self.hidden_size
        return {
            "weight_ih": (self.input_size, width),
            "weight_hh": (self.output_size, width),
            "bias": (width,) if bias else None,
            "bias_hh": (width,) if bias and self.init == "torch" else None,
        }

    def project(self, x: Tensor) -> Tensor:
        """x @ weight_ih + bias, and with PyTorch's parameters a second bias, which only adds to the first."""
        bias = self.bias if self.bias_hh is None else self.bias + self.bias_hh
        y: Tensor = x @ self.weight_ih if bias is None else addmm(bias, x, self.weight_ih)
        return y


class RNNCell(GatedCell):
    """h' = g(W [h, x] + b) with g = tanh or relu (Elman 1990).

    `cell(x, h)`: x (batch, input_size), h (batch, hidden_size) -> (batch, hidden_size).
    """

    n_gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        self.add_weights(bias, device=device, dtype=dtype, init=init, rng=rng)

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        g = rnn_tanh if self.nonlinearity == "tanh" else rnn_relu
        return g(px, self.dropped(h) @ self.weight_hh)


class LSTMCell(GatedCell):
    """f, i, o = sigmoid(W [h, x] + b), g = tanh(W [h, x] + b); c' = f * c + i * g; h' = o * tanh(c')
    (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    `cell(x, (h, c))`: x (batch, input_size), h and c (batch, hidden_size) -> LSTMState(h, c). Gate blocks: i,
    f, g, o. With `proj_size`, h' = (o * tanh(c')) weight_hr is of that size (Sak, Senior & Beaufays 2014, eq.
    6).
    """

    n_gates = 4
    weight_hr: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if not isinstance(proj_size, int) or not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{type(self).__name__}: proj_size must be at least 0 and less than hidden_size = "
                f"{hidden_size}, got {proj_size!r}"
            )
        self.proj_size = proj_size
        self.add_weights(bias, device=device, dtype=dtype, init=init, rng=rng)

    def weight_shapes(self, bias: bool) -> Shapes:
        projection = (self.hidden_size, self.proj_size) if self.proj_size else None
        return {**super().weight_shapes(bias), "weight_hr": projection}

    @property
    def output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def reset_parameters(self, rng: Any = None) -> None:
        super().reset_parameters(rng)
        if self.bias is not None and self.init == "default":
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            start.ones_(self.bias.data[forget])  # the forget gate starts open

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        h, c = lstm(addmm(px, self.dropped(state.h), self.weight_hh), state.c)
        return LSTMState(self.projected(h), c)

    def projected(self, h: Tensor) -> Tensor:
        """The state as it is shown: projected, where the cell does so."""
        return h if self.weight_hr is None else h @ self.weight_hr

    def initial_state(self, batch_size: int, like: Tensor) -> LSTMState:
        c = like.new_zeros(batch_size, self.hidden_size)
        return LSTMState(like.new_zeros(batch_size, self.proj_size) if self.proj_size else c, c)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


class GRUCell(GatedCell):
    """z, r = sigmoid(W [h, x] + b); n = tanh(W [r * h, x] + b); h' = z * n + (1 - z) * h (Cho et al. 2014).

    With `reset_after` the reset gate comes after the product, n = tanh(W x + b + r * (U h + bias_hh)): the
    form of cuDNN and PyTorch. There z means the opposite: it keeps the old state.
    `cell(x, h)`: x (batch, input_size), h (batch, hidden_size) -> (batch, hidden_size). Gate blocks: r, z, n;
    without `reset_after` weight_hh has r and z, and weight_hn is the weight of r * h.
    """

    n_gates = 3
    weight_hn: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.reset_after = reset_after
        self.add_weights(bias, device=device, dtype=dtype, init=init, rng=rng)

    def weight_shapes(self, bias: bool) -> Shapes:
        n = self.hidden_size
        second = 3 * n if self.init == "torch" else n  # with PyTorch's start a bias for every gate
        return {
            "weight_ih": (self.input_size, 3 * n),
            "weight_hh": (n, 3 * n if self.reset_after else 2 * n),
            "weight_hn": None if self.reset_after else (n, n),
            "bias": (3 * n,) if bias else None,
            "bias_hh": (second,) if bias and self.reset_after else None,
        }

    def project(self, x: Tensor) -> Tensor:
        bias = self.bias  # a second one is the candidate's, or, where the reset comes before, only adds to it
        if self.bias_hh is not None and not self.reset_after:
            bias = bias + self.bias_hh
        y: Tensor = x @ self.weight_ih if bias is None else addmm(bias, x, self.weight_ih)
        return y

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        if self.reset_after:
            u: Tensor = self.dropped(h) @ self.weight_hh
            b: Tensor | None = self.bias_hh
            if b is None or b.shape[0] > self.hidden_size:
                u, b = (u if b is None else u + b), px.new_zeros(self.hidden_size)
            return gru_reset_after(px, u, b, h)
        xr, xz, xn = chunk(px, 3, axis=-1)
        known = self.dropped(h)
        ur, uz = chunk(known @ self.weight_hh, 2, axis=-1)
        return gru_update(xz, uz, xn, gru_reset(xr, ur, known) @ self.weight_hn, h)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", reset_after=True" if self.reset_after else "")
