"""Other cells from the literature: normalised layers, peepholes. Used like those of cells.py."""

from __future__ import annotations

from typing import Any

from ..fuse.pointwise import pointwise
from ..ops import addmm, chunk, layer_norm, relu, sigmoid, tanh
from ..tensor import Tensor
from .cell import Shapes
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


def _normalised(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = layer_norm(x, x.shape[-1], gain, bias)
    return y


class LayerNormRNNCell(RNNCell):
    """h' = g(LN(W [h, x]) + b) with g = tanh or relu (Ba, Kiros & Hinton 2016, eq. 4). Settings of
    `RNNCell`.
    """

    weight_norm: Parameter

    def weight_shapes(self, bias: bool) -> Shapes:
        return {**super().weight_shapes(bias), "weight_norm": (self.hidden_size,)}

    def project(self, x: Tensor) -> Tensor:
        return x @ self.weight_ih

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        act = tanh if self.nonlinearity == "tanh" else relu
        y: Tensor = act(_normalised(addmm(px, self.dropped(h), self.weight_hh), self.weight_norm, self.bias))
        return y


class LayerNormLSTMCell(LSTMCell):
    """The LSTM with LN(W x) + LN(U h) + b in its gates and o * tanh(LN(c')) (Ba, Kiros & Hinton 2016, eq. 20
    to 22). Settings of `LSTMCell`.
    """

    weight_norm_ih: Parameter
    weight_norm_hh: Parameter
    weight_norm_c: Parameter
    bias_norm_c: Parameter | None

    def weight_shapes(self, bias: bool) -> Shapes:
        n = self.hidden_size
        return {
            **super().weight_shapes(bias),
            "weight_norm_ih": (4 * n,),
            "weight_norm_hh": (4 * n,),
            "weight_norm_c": (n,),
            "bias_norm_c": (n,) if bias else None,
        }

    def project(self, x: Tensor) -> Tensor:
        return _normalised(x @ self.weight_ih, self.weight_norm_ih, self.bias)

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        gates = px + _normalised(self.dropped(state.h) @ self.weight_hh, self.weight_norm_hh)
        c, o = lstm_memory(gates, state.c)
        return LSTMState(self.projected(gated(o, _normalised(c, self.weight_norm_c, self.bias_norm_c))), c)


class LayerNormGRUCell(GRUCell):
    """The GRU that resets after the product, with LN(W x) and LN(U h) (Ba, Kiros & Hinton 2016, eq. 26 to
    28). Settings of `GRUCell`.
    """

    weight_norm_ih: Parameter
    weight_norm_hh: Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        if not reset_after:
            raise ValueError("LayerNormGRUCell: the reset gate comes after the product; reset_after is True")
        super().__init__(
            input_size, hidden_size, bias, reset_after=True, device=device, dtype=dtype, init=init, rng=rng
        )

    def weight_shapes(self, bias: bool) -> Shapes:
        width = (3 * self.hidden_size,)
        return {**super().weight_shapes(bias), "weight_norm_ih": width, "weight_norm_hh": width}

    def project(self, x: Tensor) -> Tensor:
        return _normalised(x @ self.weight_ih, self.weight_norm_ih, self.bias)

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        u = _normalised(self.dropped(h) @ self.weight_hh, self.weight_norm_hh)
        b = px.new_zeros(self.hidden_size) if self.bias_hh is None else self.bias_hh
        y: Tensor = gru_reset_after(px, u, b, h)
        return y


class PeepholeLSTMCell(LSTMCell):
    """The LSTM whose gates see the memory: i and f the one before, o the new one, each element its own (Gers,
    Schraudolph & Schmidhuber 2002, eq. 2 to 5). Settings of `LSTMCell`.
    """

    weight_ci: Parameter
    weight_cf: Parameter
    weight_co: Parameter

    def weight_shapes(self, bias: bool) -> Shapes:
        n = (self.hidden_size,)
        return {**super().weight_shapes(bias), "weight_ci": n, "weight_cf": n, "weight_co": n}

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        gates = addmm(px, self.dropped(state.h), self.weight_hh)
        h, c = lstm_with_peepholes(gates, state.c, self.weight_ci, self.weight_cf, self.weight_co)
        return LSTMState(self.projected(h), c)
