"""The recurrent layers that people know: RNN, LSTM and GRU, stacks of cells of one kind."""

from __future__ import annotations

from typing import Any, ClassVar

from ..backend import default_rng
from .cell import Cell
from .cells import GRUCell, LSTMCell, RNNCell
from .recurrent import Recurrent


class StackedCells(Recurrent):
    """Layers of cells of one kind, `cell_type`: the constructor of RNN, LSTM and GRU, whose signatures are
    PyTorch's. A subclass that says `cell_type = nn.LayerNormLSTMCell` is that layer with other cells.
    """

    cell_type: ClassVar[type[Any]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        checkpoint_every: int | None,
        learn_initial_state: bool,
        rng: Any,
        **settings: Any,
    ) -> None:
        """`settings` are the cells'. Every layer after the first reads the outputs of all directions of the
        one below.
        """
        if not isinstance(num_layers, int) or num_layers < 1:
            raise ValueError(f"num_layers must be a positive integer, got {num_layers!r}")
        rng = None if rng is None else default_rng(rng)  # one for all cells, so that no two start alike
        cells: list[Cell] = []
        n_directions = 2 if bidirectional else 1
        for k in range(num_layers * n_directions):
            size = input_size if k < n_directions else n_directions * cells[0].output_size
            cells.append(self.cell_type(size, hidden_size, rng=rng, **settings))
        super().__init__(
            *cells,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dropout=dropout,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            rng=rng,
        )


class RNN(StackedCells):
    """Elman's net: `RNNCell` over time, `num_layers` deep. `nonlinearity` is "tanh" or "relu". See
    `Recurrent`.
    """

    cell_type: ClassVar[type[Any]] = RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            bias=bias,
            nonlinearity=nonlinearity,
            device=device,
            dtype=dtype,
            init=init,
            rng=rng,
        )


class LSTM(StackedCells):
    """Long short-term memory: `LSTMCell` over time, `num_layers` deep; the state is LSTMState(h, c), h of
    `proj_size` features where that is given. See `Recurrent`.
    """

    cell_type: ClassVar[type[Any]] = LSTMCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            bias=bias,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
            init=init,
            rng=rng,
        )


class GRU(StackedCells):
    """Gated recurrent units: `GRUCell` over time, `num_layers` deep; `reset_after` is PyTorch's form. See
    `Recurrent`.
    """

    cell_type: ClassVar[type[Any]] = GRUCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = False,
        checkpoint_every: int | None = None,
        learn_initial_state: bool = False,
        device: Any = None,
        dtype: Any = None,
        init: str = "default",
        rng: Any = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            checkpoint_every=checkpoint_every,
            learn_initial_state=learn_initial_state,
            bias=bias,
            reset_after=reset_after,
            device=device,
            dtype=dtype,
            init=init,
            rng=rng,
        )
