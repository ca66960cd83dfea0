"""A price from the days before: windows over a scaled series, an LSTM or GRU, and Variables as of old."""

import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Variable


def series(n=90):
    t = np.arange(n)
    return (100 + 0.3 * t + 5 * np.sin(t / 5.0) + 2 * np.cos(t / 2.0)).reshape(-1, 1)


def sliding_windows(data, seq_length):
    x, y = [], []
    for i in range(len(data) - seq_length - 1):
        x.append(data[i : i + seq_length])
        y.append(data[i + seq_length])
    return np.array(x), np.array(y)


prices = series()
low, high = prices.min(), prices.max()
scaled = (prices - low) / (high - low)
x, y = sliding_windows(scaled, 6)
train_size = int(len(y) * 0.67)
dataX = Variable(torch.Tensor(np.array(x)))
dataY = Variable(torch.Tensor(np.array(y)))
trainX = Variable(torch.Tensor(np.array(x[0:train_size])))
trainY = Variable(torch.Tensor(np.array(y[0:train_size])))
testX = Variable(torch.Tensor(np.array(x[train_size:])))


class Forecaster(nn.Module):
    def __init__(self, kind, num_classes, input_size, hidden_size, num_layers):
        super().__init__()
        self.kind = kind
        self.num_layers = num_layers
        self.hidden_size = hidden_size
        if kind == "lstm":
            self.rnn = nn.LSTM(input_size, hidden_size, num_layers=num_layers, batch_first=True)
        else:
            self.rnn = nn.GRU(input_size, hidden_size, num_layers, batch_first=True)
        self.bn = nn.BatchNorm1d(hidden_size)
        self.fc = nn.Linear(hidden_size, num_classes)
        for name, param in self.rnn.named_parameters():
            if "bias" in name:
                nn.init.constant_(param, 0.0)
            elif "weight" in name:
                nn.init.xavier_normal_(param)

    def forward(self, x):
        h_0 = Variable(torch.zeros(self.num_layers, x.size(0), self.hidden_size))
        if self.kind == "lstm":
            c_0 = Variable(torch.zeros(self.num_layers, x.size(0), self.hidden_size))
            _, (h_out, _) = self.rnn(x, (h_0, c_0))
        else:
            _, h_out = self.rnn(x, h_0)
        h_out = h_out[-1].view(-1, self.hidden_size)
        return self.fc(self.bn(h_out))


def build_model(kind):
    return Forecaster(kind, 1, 1, 5, 2)


def train(model, steps):
    criterion = torch.nn.MSELoss()
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.03, step_size_up=5, cycle_momentum=False)
    losses = []
    model.train()
    for epoch in range(steps):
        outputs = model(trainX)
        optimizer.zero_grad()
        loss = criterion(outputs, trainY)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if epoch % 10 == 0:
            print("Epoch: %d, loss: %1.5f" % (epoch, loss.item()))  # noqa: UP031
    model.eval()
    data_predict = model(dataX).data.numpy() * (high - low) + low
    dataY_plot = dataY.data.numpy() * (high - low) + low
    print("RMSE", np.sqrt(np.mean((data_predict - dataY_plot) ** 2)))
    test_inputs = testX[0].view(-1).data.tolist()
    for _ in range(5):  # from its own predictions
        seq = torch.FloatTensor(test_inputs[-6:])
        with torch.no_grad():
            test_inputs.append(model(seq.view(1, 6, 1)).item())
    assert len(test_inputs) == 11
    return losses


if __name__ == "__main__":
    torch.manual_seed(0)
    print(train(build_model("lstm"), 60))
