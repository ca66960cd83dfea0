"""What the parameters of cells are called, and how each begins: one table for all cells.

The names are PyTorch's where it has one: `weight_...` for what multiplies, `bias_...` for what is added, so
that a loop over `named_parameters()` that asks for "weight" or "bias" finds what it means. Version 0.1 used
other names; they are still read: in state dicts, as attributes, and by `WeightDrop`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Weight(NamedTuple):
    """A parameter's name, its name in version 0.1, how `reset_parameters` fills it, and whether it multiplies
    the state (then `WeightDrop` drops from it).
    """

    name: str
    former_name: str
    start: str  # "glorot", "orthogonal", "zeros" or "ones"
    recurrent: bool = False


TABLE = (
    Weight("weight_ih", "w_x", "glorot"),  # input to gates
    Weight("weight_hh", "w_h", "orthogonal", recurrent=True),  # state to gates
    Weight("weight_hn", "w_n", "orthogonal", recurrent=True),  # the GRU's reset state to its candidate
    Weight("weight_hr", "w_r", "orthogonal", recurrent=True),  # the LSTM's projection
    Weight("bias", "b", "zeros"),
    Weight("bias_hh", "b_h", "zeros"),  # PyTorch's second one; that of the GRU's candidate
    Weight("weight_ci", "p_i", "zeros"),  # peepholes: memory to the input, forget and output gate
    Weight("weight_cf", "p_f", "zeros"),
    Weight("weight_co", "p_o", "zeros"),
    Weight("weight_norm", "gain", "ones"),  # gains of layer normalisation: of the sum of both products,
    Weight("weight_norm_ih", "gain_x", "ones"),  # of the input's alone,
    Weight("weight_norm_hh", "gain_h", "ones"),  # of the state's alone,
    Weight("weight_norm_c", "gain_c", "ones"),  # and of the memory
    Weight("bias_norm_c", "b_c", "zeros"),
)
FORMER_NAMES: Mapping[str, str] = {weight.former_name: weight.name for weight in TABLE}
STARTS: Mapping[str, str] = {weight.name: weight.start for weight in TABLE}
RECURRENT: tuple[str, ...] = tuple(weight.name for weight in TABLE if weight.recurrent)
