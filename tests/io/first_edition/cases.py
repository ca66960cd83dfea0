"""The models whose checkpoints the first edition wrote, and how each is trained: what write.py and the test
share. Only what both editions have is used here: constructors, calls, losses and optimisers, no names of
parameters.
"""

from __future__ import annotations

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F

N_BEFORE, N_AFTER = 4, 3  # training steps before the checkpoint, and those that the test goes on with


class Net(nn.Module):
    """A recurrent layer and a readout, with the layer two names deep."""

    def __init__(self, layer, n_features):
        super().__init__()
        self.body = nn.ModuleDict({"rnn": layer})
        self.out = nn.Linear(n_features, 2)

    def forward(self, x, lengths=None):
        output, _ = self.body["rnn"](x, lengths=lengths)
        return self.out(output)


def over_time(cell, **settings):
    return nn.Recurrent(cell, **settings)


# name: (the layer, features of its output)
LAYERS = {
    "rnn": lambda: (nn.RNN(3, 4), 4),
    "rnn_relu_no_bias": lambda: (nn.RNN(3, 4, nonlinearity="relu", bias=False), 4),
    "lstm_projected": lambda: (nn.LSTM(3, 5, proj_size=2), 2),
    "gru_reset_before": lambda: (nn.GRU(3, 4), 4),
    "gru_reset_after": lambda: (nn.GRU(3, 4, reset_after=True), 4),
    "rnn_normalised": lambda: (over_time(nn.LayerNormRNNCell(3, 4)), 4),
    "lstm_normalised": lambda: (over_time(nn.LayerNormLSTMCell(3, 4, proj_size=3)), 3),
    "gru_normalised": lambda: (over_time(nn.LayerNormGRUCell(3, 4)), 4),
    "lstm_peepholes": lambda: (over_time(nn.PeepholeLSTMCell(3, 4)), 4),
    "lstm_deep_both_ways": lambda: (nn.LSTM(3, 3, num_layers=2, bidirectional=True), 6),
    "lstm_torch_start": lambda: (nn.LSTM(3, 4, init="torch"), 4),
    "gru_torch_start": lambda: (nn.GRU(3, 4, reset_after=True, init="torch"), 4),
    "lstm_learned_start": lambda: (nn.LSTM(3, 4, learn_initial_state=True), 4),
    "gru_in_two_layers": lambda: (nn.Bidirectional(nn.GRU(3, 3)), 6),
    "lstm_weight_drop": lambda: (over_time(nn.WeightDrop(nn.LSTMCell(3, 4, proj_size=3), 0.0)), 3),
}
SINGLE = {"lstm_projected"}  # in float32, as most checkpoints are; the others in float64


def net_of(name):
    """The model, its optimiser and its scheduler, as new."""
    tg.set_default_dtype("float32" if name in SINGLE else "float64")
    layer, n_features = LAYERS[name]()
    net = Net(layer, n_features)
    if name in ("gru_reset_after", "lstm_torch_start"):
        optimizer = tg.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    elif name in ("gru_normalised", "lstm_deep_both_ways"):
        optimizer = tg.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.1, amsgrad=True)
    else:
        optimizer = tg.optim.Adam(net.parameters(), lr=0.02)
    scheduler = tg.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    return net, optimizer, scheduler


def data_for(name):
    """Sequences of several lengths and what to learn of them."""
    tg.manual_seed(len(name))
    return tg.randn(6, 3, 3), tg.randn(6, 3, 2), [6, 2, 5]


def train(net, optimizer, scheduler, x, y, lengths, n_steps):
    """Trains for so many steps. Returns the loss of each and the output after the last."""
    losses = []
    for _ in range(n_steps):
        loss = F.mse_loss(net(x, lengths), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    with tg.no_grad():
        return losses, net(x, lengths)


def learning_rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]
