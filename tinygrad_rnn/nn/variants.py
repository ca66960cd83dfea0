"""Other cells from the literature: normalised layers, peepholes. Used like those of cells.py."""

from __future__ import annotations

from typing import Any

from ..creation import empty
from ..ops import addmm, chunk, layer_norm, relu, sigmoid, tanh
from ..ops.pointwise import pointwise
from ..tensor import Tensor
from . import init as start
from .cells import GRUCell, LSTMCell, LSTMState, RNNCell, gru_reset_after
from .module import Parameter


@pointwise
def lstm_memory(gates: Any, c: Any) -> Any:
    i, f, g, o = chunk(gates, 4, axis=-1)
    return sigmoid(f) * c + sigmoid(i) * tanh(g), sigmoid(o)


@pointwise
def gated(o: Any, c: Any) -> Any:
    return o * tanh(c)


@pointwise
def lstm_with_peepholes(gates: Any, c: Any, to_i: Any, to_f: Any, to_o: Any) -> Any:
    i, f, g, o = chunk(gates, 4, axis=-1)
    new = sigmoid(f + to_f * c) * c + sigmoid(i + to_i * c) * tanh(g)
    return sigmoid(o + to_o * new) * tanh(new), new


class _Gains:
    """Layer normalisation inside a cell: gains start at one, not where weights do."""

    gains: tuple[str, ...]

    def reset_parameters(self, rng: Any = None) -> None:
        super().reset_parameters(rng)  # type: ignore[misc]
        for name in self.gains:
            start.ones_(getattr(self, name))


def _normalised(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = layer_norm(x, x.shape[-1], gain, bias)
    return y


class LayerNormRNNCell(_Gains, RNNCell):
    """h' = g(LN(W [h, x]) + b) with g = tanh or relu (Ba, Kiros & Hinton 2016, eq. 4). Settings of
    `RNNCell`.
    """

    static = True
    gains = ("gain",)

    def _add_parameters(self, **place: Any) -> None:
        self.gain = Parameter(empty(self.hidden_size, **place))

    def project(self, x: Tensor) -> Tensor:
        return x @ self.w_x

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        act = tanh if self.nonlinearity == "tanh" else relu
        y: Tensor = act(_normalised(addmm(px, self.dropped(h), self.w_h), self.gain, self.b))
        return y


class LayerNormLSTMCell(_Gains, LSTMCell):
    """The LSTM with LN(W x) + LN(U h) + b in its gates and o * tanh(LN(c')) (Ba, Kiros & Hinton 2016, eq. 20
    to 22). Settings of `LSTMCell`.
    """

    static = True
    gains = ("gain_x", "gain_h", "gain_c")

    def _add_parameters(self, **place: Any) -> None:
        self.gain_x = Parameter(empty(4 * self.hidden_size, **place))
        self.gain_h = Parameter(empty(4 * self.hidden_size, **place))
        self.gain_c = Parameter(empty(self.hidden_size, **place))
        self.b_c = Parameter(empty(self.hidden_size, **place)) if self.b is not None else None

    def project(self, x: Tensor) -> Tensor:
        return _normalised(x @ self.w_x, self.gain_x, self.b)

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        gates = px + _normalised(self.dropped(state.h) @ self.w_h, self.gain_h)
        c, o = lstm_memory(gates, state.c)
        return LSTMState(self._projected(gated(o, _normalised(c, self.gain_c, self.b_c))), c)


class LayerNormGRUCell(_Gains, GRUCell):
    """The GRU that resets after the product, with LN(W x) and LN(U h) (Ba, Kiros & Hinton 2016, eq. 26 to
    28). Settings of `GRUCell`.
    """

    static = True
    gains = ("gain_x", "gain_h")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **settings: Any) -> None:
        if not settings.setdefault("reset_after", True):
            raise ValueError("LayerNormGRUCell: the reset gate comes after the product; reset_after is True")
        super().__init__(input_size, hidden_size, bias, **settings)

    def _add_parameters(self, **place: Any) -> None:
        self.gain_x = Parameter(empty(3 * self.hidden_size, **place))
        self.gain_h = Parameter(empty(3 * self.hidden_size, **place))

    def project(self, x: Tensor) -> Tensor:
        return _normalised(x @ self.w_x, self.gain_x, self.b)

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        u = _normalised(self.dropped(h) @ self.w_h, self.gain_h)
        b = px.new_zeros(self.hidden_size) if self.b_h is None else self.b_h
        y: Tensor = gru_reset_after(px, u, b, h)
        return y


class PeepholeLSTMCell(LSTMCell):
    """The LSTM whose gates see the memory: i and f the one before, o the new one, each element its own (Gers,
    Schraudolph & Schmidhuber 2002, eq. 2 to 5). Settings of `LSTMCell`.
    """

    static = True

    def _add_parameters(self, **place: Any) -> None:
        self.p_i, self.p_f, self.p_o = (Parameter(empty(self.hidden_size, **place)) for _ in range(3))

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        gates = addmm(px, self.dropped(state.h), self.w_h)
        h, c = lstm_with_peepholes(gates, state.c, self.p_i, self.p_f, self.p_o)
        return LSTMState(self._projected(h), c)
