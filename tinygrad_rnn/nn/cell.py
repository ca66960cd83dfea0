"""What all cells are: one time step of a recurrent net, its parameters and its state.

A cell has two halves. `project` is what the input contributes; it does not depend on the state, so it is
computed for all time steps in one matrix product. `step` takes one time step of that and the state to the
next state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend import default_rng
from ..backend.naming import came
from ..creation import empty
from ..deprecation import warn_once
from ..engine.errors import Mismatch, WrongKind
from ..tensor import Tensor
from . import init as start
from . import weights
from .module import Module, Parameter
from .state import State, map_state, match_state, shapes_of

Shapes = Mapping[str, tuple[int, ...] | None]  # of a cell's parameters, by name


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

    init = "default"  # how reset_parameters fills the weights; "torch" is the other way
    dropout_mask: Any = None  # of recurrent dropout, for the sequences at hand
    recurrent_weights = weights.RECURRENT  # names of parameters that multiply the state: see WeightDrop
    _fitting: Any = None  # batch size and shapes of the last state that was checked

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "_add_parameters" in vars(cls):
            message = f"{cls.__name__}: _add_parameters still works; weight_shapes(bias) has taken its place"
            warn_once("_add_parameters", message)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise Mismatch(f"{type(self).__name__}: {name} must be a positive integer, got {size!r}")
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
            raise WrongKind(f"{name}: x must be a Tensor, got {came(x)}")
        shape = x.array.shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise Mismatch(
                f"{name}: x has shape {shape}, expected (batch, {self.input_size}) or ({self.input_size},)"
            )
        if len(shape) == 1:
            state = None if state is None else map_state(lambda s: s.unsqueeze(0), state)
            return map_state(lambda s: s.squeeze(0), self.forward(x.unsqueeze(0), state))
        if state is None:
            state = self.initial_state(shape[0], x)
        elif (shape[0], shapes_of(state)) != self._fitting:
            state = match_state(name, state, self.initial_state(shape[0], x))
            self._fitting = (shape[0], shapes_of(state))
        cell = self.for_sequence(shape[0], x)
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
            raise Mismatch(f"{type(self).__name__}: init is {self.init!r}, expected 'default' or 'torch'")
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
