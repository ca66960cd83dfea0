"""Recurrent layers' weights by PyTorch's names and in its layout: views of the cells' parameters.

`lstm.weight_hh_l0` is (gates * hidden_size, hidden_size), the transpose of `lstm.cells[0].weight_hh`, in the
same memory: what is written to it, by `nn.init`, `.data.copy_` or `.data[k:m].fill_`, is the cell's. Its
`.grad` and `requires_grad` are the parameter's. PyTorch's second bias is made, of zeros, for whoever
asks for it. A GRU's z block stands as it is here, where z takes the new state: PyTorch's has the
opposite sign.
"""

from __future__ import annotations

import re
from typing import Any

from ..creation import zeros_like
from ..engine import Value
from ..tensor import Tensor
from .cells import GRUCell, LSTMCell, RNNCell
from .module import Module, Parameter

__all__ = ["PyTorchWeights", "WeightView"]

_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)_l(\d+)(_reverse)?")


class WeightView(Parameter):
    """A parameter transposed, in the same memory; `of` is the parameter."""

    __slots__ = ("of",)
    of: Parameter

    @classmethod
    def made(cls, of: Parameter) -> WeightView:
        """The view of a parameter: a matrix transposed, a vector as it is."""
        view = of.t()
        self: WeightView = cls._of(view.array, view.vertex)
        self.of = of
        if view is not of and getattr(view, "view_of", None) is not None:
            self.view_of = view.view_of
        return self

    @property
    def is_leaf(self) -> bool:
        return True

    @property
    def requires_grad(self) -> bool:
        """Whether the parameter does."""
        return self.of.requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.of.requires_grad = wanted
        self.vertex = self.of.t().vertex

    @property
    def grad(self) -> Any:
        """The parameter's gradient, transposed as it is."""
        return None if self.of.grad is None else self.of.grad.t()

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self.of.grad = None if value is None else value.t()

    @property
    def data(self) -> Tensor:
        """The same memory, outside the graph."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.detach().copy_(value)


class PyTorchWeights(Module):
    """What `Recurrent` answers by PyTorch's names, where its cells are RNNCell, LSTMCell or GRUCell."""

    cells: Any
    num_directions: int
    num_layers: int

    def __getattr__(self, name: str) -> Any:
        found = _NAME.fullmatch(name)
        if found is None:
            return super().__getattr__(name)  # type: ignore[misc]
        view = self._view(*found.groups())
        if view is None:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return view

    def __setattr__(self, name: str, value: Any) -> None:
        if _NAME.fullmatch(name) and isinstance(value, Value):
            view = getattr(self, name)
            view.data.copy_(value.detach())  # type: ignore[attr-defined]
            return
        super().__setattr__(name, value)

    def _view(self, kind: str, which: str, layer: str, reverse: str | None) -> WeightView | None:
        k = int(layer) * self.num_directions + bool(reverse)
        cells = vars(self).get("cells", ())
        if k >= len(cells) or (reverse and self.num_directions == 1):
            return None
        cell = cells[k]
        if type(cell) not in (RNNCell, LSTMCell, GRUCell):
            return None
        if kind == "bias":
            parameter = _bias(cell, which)
        else:
            parameter = getattr(cell, f"weight_{which}", None)
            if which == "hh" and getattr(cell, "weight_hn", None) is not None:
                raise AttributeError(
                    f"{type(self).__name__}: weight_hh_l{layer} is of PyTorch's form of the GRU; make this "
                    "one with reset_after=True"
                )
        return None if parameter is None else WeightView.made(parameter)

    @property
    def _all_weights(self) -> list[list[str]]:
        """The names of the weights, layer by layer and direction by direction."""
        found = []
        for layer in range(self.num_layers):
            for suffix in ("", "_reverse")[: self.num_directions]:
                names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
                names += ["weight_hr"] if self.proj_size else []
                found.append([f"{name}_l{layer}{suffix}" for name in names])
        return found

    @property
    def all_weights(self) -> list[list[WeightView]]:
        """The weights in PyTorch's layout, layer by layer and direction by direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[WeightView]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def bias(self) -> bool:
        """Whether the cells have biases."""
        return getattr(self.cells[0], "bias", None) is not None

    @property
    def proj_size(self) -> int:
        """The size of an LSTM's projected state; 0 without a projection."""
        return int(getattr(self.cells[0], "proj_size", 0))

    @property
    def nonlinearity(self) -> str:
        """An Elman net's: "tanh" or "relu"."""
        found: str = getattr(self.cells[0], "nonlinearity", "tanh")
        return found

    @property
    def mode(self) -> str:
        """PyTorch's name of the kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU"."""
        name = type(self.cells[0]).__name__.removesuffix("Cell")
        return f"RNN_{self.nonlinearity.upper()}" if name == "RNN" else name

    def reset_parameters(self, rng: Any = None) -> None:
        """New starting values of all cells."""
        for cell in self.cells:
            cell.reset_parameters(rng)


def _bias(cell: Any, which: str) -> Parameter | None:
    """A cell's bias for PyTorch's name; the second is made where there is none."""
    if cell.bias is None or which == "hr":
        return None
    if which == "ih":
        first: Parameter = cell.bias
        return first
    second = cell.bias_hh
    if second is None or second.shape != cell.bias.shape:
        made = Parameter(zeros_like(cell.bias.detach()), requires_grad=cell.bias.requires_grad)
        if second is not None:  # of a GRU's candidate alone, which becomes the last block
            made.data[-second.shape[0] :].copy_(second.detach())
        cell.bias_hh = second = made
    return second
