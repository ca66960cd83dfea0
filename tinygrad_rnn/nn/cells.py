"""The equations of the recurrent cells: one time step each. recurrent.py runs them over time.

A cell has two halves. `project` is what the input contributes; it does not depend on the state, so it is
computed for all time steps in one matrix product. `step` takes one time step of that and the state to the
next state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from ..backend import default_rng
from ..creation import empty
from ..deprecation import warn_once
from ..ops import addmm, chunk, relu, sigmoid, tanh
from ..ops.pointwise import pointwise
from ..tensor import Tensor
from . import init as start
from . import weights
from .module import Module, Parameter
from .state import State, map_state, match_state, shapes_of

Shapes = Mapping[str, tuple[int, ...] | None]  # of a cell's parameters, by name


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

        class Leaky(nn.Cell):
            def __init__(self, input_size, hidden_size):
                super().__init__(input_size, hidden_size)
                self.add_weights()

            def weight_shapes(self, bias):
                return {"weight_ih": (self.input_size, self.hidden_size), "bias": (self.hidden_size,)}

            def project(self, x):  # of all time steps at once: (..., input_size) -> (..., n)
                return x @ self.weight_ih + self.bias

            def step(self, px, h):  # of one: that, (batch, n), and the state -> the next state
                return 0.9 * h + 0.1 * tg.tanh(px)

        output, h = nn.Recurrent(Leaky(8, 16))(tg.randn(20, 4, 8))

    Parameters may also be assigned in `__init__` under names of your own. Those that multiply the state are
    `recurrent_weights`, if their names are not in the table of weights.py.
    The state is a tensor (batch, hidden_size) or a (named) tuple of such; `output` says what of it the next
    layer sees.
    """

    static = (
        False  # whether step does the same at every time step: Recurrent then reads it once, see ops/loop/
    )
    projects_anew = False  # whether project gives memory that nobody else looks at: steps may write there
    init = "default"  # how reset_parameters fills the weights; "torch" is the other way
    dropout_mask: Any = None  # of recurrent dropout, for the sequences at hand
    recurrent_weights = weights.RECURRENT  # names of parameters that multiply the state: see WeightDrop
    _fitting: Any = None  # batch size and shapes of the last state that was checked

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "step" in vars(cls) and "static" not in vars(cls):
            cls.static = False  # what was promised of the step before does not hold for this one
        if "project" in vars(cls) and "projects_anew" not in vars(cls):
            cls.projects_anew = False
        if "_add_parameters" in vars(cls):
            message = f"{cls.__name__}: _add_parameters still works; weight_shapes(bias) has taken its place"
            warn_once("_add_parameters", message)

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
        return h if self.dropout_mask is None else h * self.dropout_mask[: h.shape[0]]

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
            raise TypeError(f"{name}: x must be a Tensor, got {type(x).__name__}")
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{name}: x has shape {x.shape}, expected (batch, {self.input_size}) or ({self.input_size},)"
            )
        if x.ndim == 1:
            state = None if state is None else map_state(lambda s: s.unsqueeze(0), state)
            return map_state(lambda s: s.squeeze(0), self.forward(x.unsqueeze(0), state))
        if state is None:
            state = self.initial_state(x.shape[0], x)
        elif (x.shape[0], shapes_of(state)) != self._fitting:
            state = match_state(name, state, self.initial_state(x.shape[0], x))
            self._fitting = (x.shape[0], shapes_of(state))
        cell = self.for_sequence(x.shape[0], x)
        return cell.step(cell.project(x), state)

    def weight_shapes(self, bias: bool) -> Shapes:
        """The names of the cell's parameters, in order, and their shapes; None for one that this cell is
        without. `add_weights` makes them.
        """
        return {}

    def add_weights(
        self,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        """Makes the parameters that `weight_shapes` names, and fills them: how all cells here are built."""
        self.init = init
        for name, shape in self.weight_shapes(bias).items():
            value = None if shape is None else Parameter(empty(*shape, device=device, dtype=dtype))
            setattr(self, name, value)
        self._add_parameters(device=device, dtype=dtype)
        self.reset_parameters(rng)

    def _add_parameters(self, **place: Any) -> None:
        """Where cells written for version 0.1 made what they have besides."""

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values: input weights Glorot, recurrent weights orthogonal, both gate by gate; biases
        0, that of an LSTM's forget gate 1; gains of layer normalisation 1 (Glorot & Bengio 2010; Saxe et al.
        2014; Jozefowicz et al. 2015). Parameters of your own names: vectors 0, matrices orthogonal.

        Cells made with init="torch" have PyTorch's parameters: a second bias, and all but gains drawn evenly
        from +-1/sqrt(hidden_size).
        """
        if self.init not in ("default", "torch"):
            raise ValueError(f"{type(self).__name__}: init is {self.init!r}, expected 'default' or 'torch'")
        rng = None if rng is None else default_rng(rng)
        h = self.hidden_size
        for name, p in self.named_parameters():
            name = name.rpartition(".")[2]
            name = weights.FORMER_NAMES.get(name, name)  # of a cell written for version 0.1
            how = weights.STARTS.get(name, "zeros" if p.ndim == 1 else "orthogonal")
            if how == "ones":
                start.ones_(p)
            elif self.init == "torch":
                start.uniform_(p, -(h**-0.5), h**-0.5, rng=rng)
            elif how == "zeros":
                start.zeros_(p)
            else:
                fill = start.xavier_uniform_ if how == "glorot" else start.orthogonal_
                for k in range(0, p.shape[1], h):
                    fill(p.data[:, k : k + h], rng=rng)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


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

    static = projects_anew = True
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

    static = projects_anew = True
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

    static = projects_anew = True
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
        y: Tensor = x @ self.weight_ih if self.bias is None else addmm(self.bias, x, self.weight_ih)
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
