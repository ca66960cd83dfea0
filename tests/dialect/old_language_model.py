"""A character model as scripts had it before PyTorch 0.4: Variables, typed constructors, steps by hand;
and a cell of its own from bare parameters."""

import math

import torch
import torch.nn as nn
import torch.onnx
from torch.autograd import Variable
from torch.nn import Parameter

torch.backends.cudnn.benchmark = False
TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood " * 3
LETTERS = sorted(set(TEXT))
cuda = torch.cuda.is_available()
LongTensor = torch.cuda.LongTensor if cuda else torch.LongTensor
ids = LongTensor([LETTERS.index(letter) for letter in TEXT])


class OwnLSTM(nn.Module):
    """The cell's equations over bare weights."""

    def __init__(self, input_sz, hidden_sz):
        super().__init__()
        self.input_sz, self.hidden_size = input_sz, hidden_sz
        self.W = Parameter(torch.Tensor(input_sz, hidden_sz * 4))
        self.U = Parameter(torch.Tensor(hidden_sz, hidden_sz * 4))
        self.bias = Parameter(torch.Tensor(hidden_sz * 4))
        self.init_weights()

    def init_weights(self):
        stdv = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            weight.data.uniform_(-stdv, stdv)

    def forward(self, x, init_states):
        seq_sz, _, _ = x.size()
        hidden_seq = []
        h_t, c_t = init_states
        h_t, c_t = h_t[0], c_t[0]
        HS = self.hidden_size
        for t in range(seq_sz):
            gates = x[t, :, :] @ self.W + h_t @ self.U + self.bias
            i_t, f_t, g_t, o_t = (
                torch.sigmoid(gates[:, :HS]),
                torch.sigmoid(gates[:, HS : HS * 2]),
                torch.tanh(gates[:, HS * 2 : HS * 3]),
                torch.sigmoid(gates[:, HS * 3 :]),
            )
            c_t = f_t * c_t + i_t * g_t
            h_t = o_t * torch.tanh(c_t)
            hidden_seq.append(h_t.unsqueeze(0))
        return torch.cat(hidden_seq, dim=0), (h_t.unsqueeze(0), c_t.unsqueeze(0))


class CharModel(nn.Module):
    def __init__(self, own, ntoken, ninp, nhid):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = OwnLSTM(ninp, nhid) if own else nn.LSTM(ninp, nhid)
        self.decoder = nn.Linear(nhid, ntoken)
        self.nhid = nhid
        self.init_weights()

    def init_weights(self):
        initrange = 0.1
        self.encoder.weight.data.uniform_(-initrange, initrange)
        self.decoder.bias.data.fill_(0)
        self.decoder.weight.data.uniform_(-initrange, initrange)

    def forward(self, input, hidden):
        output, hidden = self.rnn(self.encoder(input), hidden)
        decoded = self.decoder(output.view(output.size(0) * output.size(1), output.size(2)))
        return decoded.view(output.size(0), output.size(1), decoded.size(1)), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters()).data
        return (
            Variable(weight.new(1, bsz, self.nhid).zero_()),
            Variable(weight.new(1, bsz, self.nhid).zero_()),
        )


def repackage_hidden(h):
    if isinstance(h, Variable):
        return Variable(h.data)
    return tuple(repackage_hidden(v) for v in h)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    data = data.narrow(0, 0, nbatch * bsz)
    return data.view(bsz, -1).t().contiguous()


def build_model(own):
    return CharModel(own == "own", len(LETTERS), 8, 12)


def train(model, steps):
    criterion = nn.CrossEntropyLoss()
    data, lr, bptt = batchify(ids, 4), 1.0, 10
    losses = []
    model.train()
    while len(losses) < steps:
        hidden = model.init_hidden(4)
        for i in range(0, data.size(0) - 1, bptt):
            seq_len = min(bptt, len(data) - 1 - i)
            inputs = Variable(data[i : i + seq_len])
            targets = Variable(data[i + 1 : i + 1 + seq_len].view(-1))
            hidden = repackage_hidden(hidden)
            model.zero_grad()
            output, hidden = model(inputs, hidden)
            loss = criterion(output.view(-1, len(LETTERS)), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            for p in model.parameters():
                p.data.add_(p.grad.data, alpha=-lr)
            losses.append(loss.data.item())
            if len(losses) == steps:
                break
    return losses


def sample(model, n=20):
    with torch.no_grad():
        hidden, input = model.init_hidden(1), Variable(torch.zeros(1, 1).type(LongTensor))
        letters = []
        for _ in range(n):
            output, hidden = model(input, hidden)
            weights = output.squeeze().data.div(0.8).exp()
            index = torch.multinomial(weights, 1)[0]
            input.data.fill_(index)
            letters.append(LETTERS[index])
    return "".join(letters)


if __name__ == "__main__":
    torch.manual_seed(3)
    net = build_model("own")
    print(train(net, 60))
    print(sample(net))
