"""The equations of the recurrent cells: one time step each. recurrent.py runs them over time.

A cell has two halves. `project` is what the input contributes; it does not depend on the state, so it is
computed for all time steps in one matrix product. `step` takes one time step of that and the state to the
next state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend import default_rng
from ..creation import empty
from ..engine.errors import came
from ..ops import addmm, chunk, relu, sigmoid, tanh
from ..ops.pointwise import pointwise
from ..tensor import Tensor
from . import init as start
from .module import Module, Parameter

State = Any  # a tensor (batch, hidden_size), or a tuple of states


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


# ---------------------------------------------------------------- what cells have in common


class Cell(Module):
    """One time step of a recurrent net. Subclass it and define `step`; `Recurrent(cell)` runs it over time.

        class Leaky(Cell):
            def __init__(self, input_size, hidden_size):
                super().__init__(input_size, hidden_size)
                self.w = Parameter(tg.randn(input_size, hidden_size) * 0.1)

            def project(self, x):            # (..., input_size) -> anything (..., n): every time step in one
            product
                return x @ self.w

            def step(self, px, h):           # one time step of that, (batch, n), and the state -> the next
            state
                return 0.9 * h + 0.1 * tanh(px)

    The state is a tensor (batch, hidden_size) or a (named) tuple of such; `output` says what of it the next
    layer sees.
    """

    static = (
        False  # whether step does the same at every time step: Recurrent then reads it once, see ops/loop/
    )
    projects_anew = False  # whether project gives memory that nobody else looks at: steps may write there
    init = "default"  # how reset_parameters fills the weights; "torch" is the other way
    _fitting: Any = None  # batch size and shapes of the last state that was checked
    _mask: Any = None  # of recurrent dropout, for the sequences at hand

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "step" in vars(cls) and "static" not in vars(cls):
            cls.static = False  # what was promised of the step before does not hold for this one
        if "project" in vars(cls) and "projects_anew" not in vars(cls):
            cls.projects_anew = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{type(self).__name__}: {name} must be a positive integer, got {size!r}")
        self.input_size, self.hidden_size = input_size, hidden_size

    def project(self, x: Tensor) -> Tensor:
        """What the input contributes, for any number of leading axes. By default the input itself."""
        return x

    def step(self, px: Tensor, state: State) -> State:
        """The state after one time step: px (batch, ...) is `project`'s, state the one before."""
        raise NotImplementedError(f"{type(self).__name__} must define step(px, state)")

    @property
    def output_size(self) -> int:
        """The features of what `output` shows."""
        return self.hidden_size

    def for_sequence(self, batch_size: int, like: Tensor) -> Cell:
        """The cell as it is for all steps of one batch of sequences: wrappers draw here what is random and
        stays the same over time. Rows of the batch may end early, never join.
        """
        return self

    def dropped(self, h: Tensor) -> Tensor:
        """The state as it enters the cell's products: without what `RecurrentDropout` drops."""
        return h if self._mask is None else h * self._mask[: h.shape[0]]

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        """Zeros for `batch_size` rows, in the type and on the device of `like`."""
        return like.new_zeros(batch_size, self.hidden_size)

    def output(self, state: State) -> Tensor:
        """The part of the state that is shown: the state itself, its `h`, or the first of the tuple."""
        if isinstance(state, Tensor):
            return state
        return state.h if hasattr(state, "h") else state[0]

    def forward(self, x: Tensor, state: State = None, *, hx: State = None) -> State:
        """One step: x (batch, input_size) and the state before, zeros if not given -> the state.
        (input_size,) works.
        """
        name = type(self).__name__
        state = hx if state is None else state  # PyTorch's name for it
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: x must be a Tensor, got {came(x)}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: x has shape {x.shape}, expected (batch, {self.input_size}) or ({self.input_size},)"
            )
        if x.ndim == 1:
            state = None if state is None else map_state(lambda s: s.unsqueeze(0), state)
            return map_state(lambda s: s.squeeze(0), self.forward(x.unsqueeze(0), state))
        if state is None:
            state = self.initial_state(x.shape[0], x)
        elif (x.shape[0], _shapes(state)) != self._fitting:
            state = match_state(name, state, self.initial_state(x.shape[0], x))
            self._fitting = (x.shape[0], _shapes(state))
        cell = self.for_sequence(x.shape[0], x)
        return cell.step(cell.project(x), state)

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values: input weights Glorot, recurrent weights orthogonal, both gate by gate; biases
        0, that of an LSTM's forget gate 1 (Glorot & Bengio 2010; Saxe et al. 2014; Jozefowicz et al. 2015).

        Cells made with init="torch" have PyTorch's parameters: a second bias, and all drawn evenly from
        +-1/sqrt(hidden_size).
        """
        if self.init not in ("default", "torch"):
            raise ValueError(f"{type(self).__name__}: init is {self.init!r}, expected 'default' or 'torch'")
        rng = None if rng is None else default_rng(rng)
        h = self.hidden_size
        for name, p in self.named_parameters():
            if self.init == "torch":
                start.uniform_(p, -(h**-0.5), h**-0.5, rng=rng)
            elif p.ndim == 1:
                start.zeros_(p)
            else:
                fill = start.xavier_uniform_ if name == "w_x" else start.orthogonal_
                for k in range(0, p.shape[1], h):
                    fill(p.data[:, k : k + h], rng=rng)

    def _add_parameters(self, **place: Any) -> None:
        """What a variant of a cell has besides, made before all are filled."""

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


# ---------------------------------------------------------------- the cells


class RNNCell(Cell):
    """h' = g(W [h, x] + b) with g = tanh or relu (Elman 1990).

    `cell(x, h)`: x (batch, input_size), h (batch, hidden_size) -> (batch, hidden_size).
    """

    static = projects_anew = True

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
        self.nonlinearity, self.init = nonlinearity, init
        place = {"device": device, "dtype": dtype}
        self.w_x = Parameter(empty(input_size, hidden_size, **place))
        self.w_h = Parameter(empty(hidden_size, hidden_size, **place))
        self.b = Parameter(empty(hidden_size, **place)) if bias else None
        self.b_h = Parameter(empty(hidden_size, **place)) if bias and init == "torch" else None
        self._add_parameters(**place)
        self.reset_parameters(rng)

    def project(self, x: Tensor) -> Tensor:
        return _affine(x, self.w_x, self.b, self.b_h)

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        g = rnn_tanh if self.nonlinearity == "tanh" else rnn_relu
        return g(px, self.dropped(h) @ self.w_h)


class LSTMCell(Cell):
    """f, i, o = sigmoid(W [h, x] + b), g = tanh(W [h, x] + b); c' = f * c + i * g; h' = o * tanh(c')
    (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    `cell(x, (h, c))`: x (batch, input_size), h and c (batch, hidden_size) -> LSTMState(h, c). Gate blocks: i,
    f, g, o. With `proj_size`, h' = (o * tanh(c')) w_r is of that size (Sak, Senior & Beaufays 2014, eq. 6).
    """

    static = projects_anew = True

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
        self.init, self.proj_size = init, proj_size
        place = {"device": device, "dtype": dtype}
        self.w_x = Parameter(empty(input_size, 4 * hidden_size, **place))
        self.w_h = Parameter(empty(self.output_size, 4 * hidden_size, **place))
        self.b = Parameter(empty(4 * hidden_size, **place)) if bias else None
        self.b_h = Parameter(empty(4 * hidden_size, **place)) if bias and init == "torch" else None
        self.w_r = Parameter(empty(hidden_size, proj_size, **place)) if proj_size else None
        self._add_parameters(**place)
        self.reset_parameters(rng)

    @property
    def output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def reset_parameters(self, rng: Any = None) -> None:
        super().reset_parameters(rng)
        if self.b is not None and self.init == "default":
            start.ones_(self.b.data[self.hidden_size : 2 * self.hidden_size])  # the forget gate starts open

    def project(self, x: Tensor) -> Tensor:
        return _affine(x, self.w_x, self.b, self.b_h)

    def step(self, px: Tensor, state: LSTMState) -> LSTMState:
        h, c = lstm(addmm(px, self.dropped(state.h), self.w_h), state.c)
        return LSTMState(self._projected(h), c)

    def _projected(self, h: Tensor) -> Tensor:
        return h if self.w_r is None else h @ self.w_r

    def initial_state(self, batch_size: int, like: Tensor) -> LSTMState:
        c = like.new_zeros(batch_size, self.hidden_size)
        return LSTMState(like.new_zeros(batch_size, self.proj_size) if self.proj_size else c, c)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


class GRUCell(Cell):
    """z, r = sigmoid(W [h, x] + b); n = tanh(W [r * h, x] + b); h' = z * n + (1 - z) * h (Cho et al. 2014).

    With `reset_after` the reset gate comes after the product, n = tanh(W x + b + r * (U h + b_h)): the form
    of cuDNN and PyTorch. There z means the opposite: it keeps the old state.
    `cell(x, h)`: x (batch, input_size), h (batch, hidden_size) -> (batch, hidden_size). Gate blocks: r, z, n;
    without `reset_after` w_h has r and z, and w_n is the weight of r * h.
    """

    static = projects_anew = True

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
        self.reset_after, self.init = reset_after, init
        place = {"device": device, "dtype": dtype}
        self.w_x = Parameter(empty(input_size, 3 * hidden_size, **place))
        self.w_h = Parameter(empty(hidden_size, (3 if reset_after else 2) * hidden_size, **place))
        self.w_n = None if reset_after else Parameter(empty(hidden_size, hidden_size, **place))
        self.b = Parameter(empty(3 * hidden_size, **place)) if bias else None
        n = (3 if init == "torch" else 1) * hidden_size
        self.b_h = Parameter(empty(n, **place)) if bias and reset_after else None
        self._add_parameters(**place)
        self.reset_parameters(rng)

    def project(self, x: Tensor) -> Tensor:
        return _affine(x, self.w_x, self.b)

    def step(self, px: Tensor, h: Tensor) -> Tensor:
        if self.reset_after:
            u: Tensor = self.dropped(h) @ self.w_h
            b: Tensor | None = self.b_h
            if b is None or b.shape[0] > self.hidden_size:
                u, b = (u if b is None else u + b), px.new_zeros(self.hidden_size)
            return gru_reset_after(px, u, b, h)
        xr, xz, xn = chunk(px, 3, axis=-1)
        known = self.dropped(h)
        ur, uz = chunk(known @ self.w_h, 2, axis=-1)
        return gru_update(xz, uz, xn, gru_reset(xr, ur, known) @ self.w_n, h)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", reset_after=True" if self.reset_after else "")


def _affine(x: Tensor, w: Tensor, b: Tensor | None, second: Tensor | None = None) -> Tensor:
    """x @ w + b, and with PyTorch's parameters a second bias, which only ever adds to the first."""
    if b is None:
        return x @ w
    y: Tensor = addmm(b if second is None else b + second, x, w)
    return y


# ---------------------------------------------------------------- states, whatever their structure


def map_state(function: Callable[..., Any], state: State, *others: State) -> State:
    """`function` applied to each tensor of a state (and those at the same place in others): the same
    structure.
    """
    if isinstance(state, tuple):
        parts = [map_state(function, *each) for each in zip(state, *others, strict=True)]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return function(state, *others)


def match_state(name: str, state: State, expected: State) -> State:
    """A state that the user gives, in the structure of `expected`. Raises where shapes or structure
    differ.
    """
    if isinstance(expected, tuple):
        if not isinstance(state, (tuple, list)) or len(state) != len(expected):
            fields = ", ".join(getattr(expected, "_fields", [f"s{i}" for i in range(len(expected))]))
            raise TypeError(f"{name}: state must be a tuple ({fields}), got {_kind(state)}")
        parts = [match_state(name, s, e) for s, e in zip(state, expected, strict=True)]
        return type(expected)(*parts) if hasattr(expected, "_fields") else tuple(parts)
    if not isinstance(state, Tensor):
        raise TypeError(f"{name}: state must be a Tensor, got {_kind(state)}")
    if state.shape != expected.shape:
        raise ValueError(f"{name}: state has shape {state.shape}, expected {expected.shape}")
    return state


def _shapes(state: State) -> Any:
    """The structure of a state, as something to compare."""
    if isinstance(state, Tensor):
        return state.shape
    return (type(state), *map(_shapes, state)) if isinstance(state, tuple) else None


def _kind(state: Any) -> str:
    return f"a tuple of {len(state)}" if isinstance(state, (tuple, list)) else came(state)


def detach(state: State) -> State:
    """The same state as a constant: the next stretch of truncated backpropagation through time starts
    here.
    """
    return None if state is None else map_state(lambda s: s.detach(), state)
