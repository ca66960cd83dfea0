"""What PyTorch refuses is refused, and `except RuntimeError` catches what it catches there."""

import pytest

import tinygrad_rnn as torch
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import rnn

X, K = torch.ones(2, 3), torch.arange(3)
W = torch.ones(2, requires_grad=True)
REFUSED = {
    "shapes": lambda: X + torch.ones(2, 4),
    "matmul": lambda: X @ X,
    "view": lambda: X.view(4),
    "cat": lambda: torch.cat([X, torch.ones(2, 4)]),
    "stack": lambda: torch.stack([X, K]),
    "expand": lambda: X.expand(4, 3),
    "split": lambda: X.split([1, 3]),
    "gather": lambda: X.gather(1, torch.zeros(3, 4, 1, dtype=torch.long)),
    "item": lambda: X.item(),
    "bool": lambda: bool(X),
    "backward of several": lambda: (W * 2).backward(),
    "backward of a constant": lambda: X.sum().backward(),
    "gradient's shape": lambda: (W * 2).backward(torch.ones(3)),
    "integers require no gradient": lambda: K.requires_grad_(),
    "leaf in place": lambda: W.add_(1),
    "linear": lambda: nn.Linear(4, 2)(X),
    "rnn, features": lambda: nn.LSTM(4, 5)(torch.ones(2, 1, 3)),
    "rnn, axes": lambda: nn.GRU(4, 5)(torch.ones(1, 1, 1, 4)),
    "rnn, state": lambda: nn.GRU(3, 5)(torch.ones(2, 1, 3), torch.ones(1, 2, 5)),
    "cell": lambda: nn.LSTMCell(4, 5)(X),
    "load_state_dict": lambda: nn.Linear(2, 2).load_state_dict({"weight": torch.ones(2, 2)}),
    "load_state_dict, shape": lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(3, 2).state_dict()),
    "lengths": lambda: rnn.pack_padded_sequence(torch.ones(3, 2, 1), [1, 2]),
    "topk": lambda: X.topk(5),
    "x[i] = v": lambda: X.clone().__setitem__(0, torch.ones(4)),
    "copy_": lambda: X.clone().copy_(torch.ones(4)),
    "x.grad": lambda: setattr(torch.ones(2, requires_grad=True), "grad", torch.ones(3)),
    "norms": lambda: nn.utils.clip_grad_norm_([nan()], 1.0, error_if_nonfinite=True),
}


def nan():
    p = nn.Parameter(torch.ones(1))
    p.grad = torch.full((1,), float("nan"))
    return p


@pytest.mark.parametrize("name", REFUSED)
def test_runtime_errors_are_caught(name):
    with pytest.raises(RuntimeError) as caught:
        REFUSED[name]()
    assert "\n" not in str(caught.value)


VALUE_ERRORS = {
    "train": lambda: nn.Linear(2, 2).train("x"),
    "cross_entropy": lambda: F.cross_entropy(X, torch.tensor([0])),
    "binary_cross_entropy": lambda: F.binary_cross_entropy(X, torch.ones(2)),
    "dropout": lambda: nn.Dropout(2.0),
    "reduction": lambda: nn.MSELoss(reduction="max"),
    "nonlinearity": lambda: nn.RNN(2, 3, nonlinearity="gelu"),
    "optimiser": lambda: torch.optim.SGD([W], lr=-1),
    "no parameters": lambda: torch.optim.SGD([], lr=1),
    "proj_size": lambda: nn.LSTM(2, 3, proj_size=5),
}


@pytest.mark.parametrize("name", VALUE_ERRORS)
def test_value_errors(name):
    with pytest.raises(ValueError, match=r"\w"):
        VALUE_ERRORS[name]()


@pytest.mark.host  # elsewhere looking at indices would wait
def test_indices_and_types():
    for call in (lambda: X[5], lambda: X.sum(3), lambda: nn.Embedding(3, 2)(torch.tensor([3])),
                 lambda: F.nll_loss(X, torch.tensor([3, 0]))):  # fmt: skip
        with pytest.raises(IndexError):
            call()
    for call in (lambda: len(torch.tensor(1.0)), lambda: list(torch.tensor(1.0)), lambda: torch.tanh("x")):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(KeyError):
        nn.Module().register_buffer("a.b", X)
    with pytest.raises(NotImplementedError):
        nn.Module()(X)
