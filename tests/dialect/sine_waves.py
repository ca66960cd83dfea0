"""Forecasts sine waves: two LSTMCells stepped by hand, in double precision, trained with L-BFGS or Adam."""

import random

import torch
from torch import nn, optim


def make_waves(n=8, length=30, period=8.0):
    """<n x length>, each wave with a phase of its own."""
    rng = random.Random(2)
    phases = torch.tensor([rng.uniform(-16, 16) for _ in range(n)], dtype=torch.double).unsqueeze(1)
    t = torch.arange(length, dtype=torch.float64).unsqueeze(0)
    return torch.sin((t + phases) / (period / (2 * torch.pi)))


class Sequence(nn.Module):
    def __init__(self, hidden_size=12):
        super().__init__()
        self.hidden_size = hidden_size
        self.lstm1 = nn.LSTMCell(1, hidden_size)
        self.lstm2 = nn.LSTMCell(hidden_size, hidden_size)
        self.linear = nn.Linear(hidden_size, 1)

    def forward(self, input, future=0):
        outputs = []
        h_t = torch.zeros(input.size(0), self.hidden_size, dtype=torch.double)
        c_t = torch.zeros(input.size(0), self.hidden_size, dtype=torch.double)
        h_t2 = input.new_zeros(input.size(0), self.hidden_size)
        c_t2 = input.new_zeros((input.size(0), self.hidden_size))

        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        for _ in range(future):  # goes on from its own forecasts
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        return torch.cat(outputs, dim=1)


def build_model(optimizer="LBFGS"):
    seq = Sequence()
    seq.double()
    seq.optimizer_name = optimizer
    for name, p in seq.named_parameters():
        if name.startswith("linear") and p.ndimension() == 2:
            nn.init.kaiming_uniform_(p, nonlinearity="linear")
    return seq


def train(seq, steps):
    data = make_waves()
    train_data, test_data = data[2:], data[:2]
    input, target = train_data[:, :-1], train_data[:, 1:]
    test_input, test_target = test_data[:, :-1], test_data[:, 1:]
    criterion = nn.MSELoss()
    losses = []

    if seq.optimizer_name == "LBFGS":
        optimizer = optim.LBFGS(seq.parameters(), lr=0.3, max_iter=4)

        def closure():
            optimizer.zero_grad()
            out = seq(input)
            loss = criterion(out, target)
            loss.backward()
            return loss

        for _ in range(steps):
            loss = optimizer.step(closure)
            losses.append(loss.item())
    else:
        optimizer = optim.Adam(seq.parameters(), lr=0.01, betas=(0.9, 0.99))
        scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = criterion(seq(input), target)
            loss.backward()
            optimizer.step()
            scheduler.step(loss.item())
            losses.append(float(loss.detach()))

    with torch.no_grad():
        future = 5
        pred = seq(test_input, future=future)
        assert pred.dtype == torch.float64
        assert pred.shape == (2, test_input.size(1) + future)
        test_loss = criterion(pred[:, :-future], test_target)
        print("test loss:", test_loss.item())
        y = pred.detach().numpy()
        assert y.shape[1] == test_input.shape[1] + future
    return losses


if __name__ == "__main__":
    torch.manual_seed(0)
    for name in ("LBFGS", "Adam"):
        print(name, " ".join(f"{loss:.5f}" for loss in train(build_model(name), 20)))
