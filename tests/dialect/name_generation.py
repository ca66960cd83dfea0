"""Writes names, letter by letter, in the manner of a category: a GRU or an LSTM on what stood before."""

import random

import torch
from torch import nn, optim
from torch.nn import functional as F

NAMES = {
    "river": "amazon danube elbe ganges indus loire mekong niger oder rhine rhone seine thames tiber volga",
    "star": "algol altair antares arcturus bellatrix canopus capella deneb mira polaris rigel sirius vega",
}
CATEGORIES = list(NAMES)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
EOS = len(LETTERS)
N_LETTERS = len(LETTERS) + 1
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


class Generator(nn.Module):
    def __init__(self, cell, n_categories, n_letters, hidden_size, n_layers=1):
        super().__init__()
        self.cell = cell
        self.n_layers = n_layers
        self.hidden_size = hidden_size
        self.encoder = nn.Embedding(n_letters, hidden_size)
        self.category = nn.Embedding(n_categories, 8)
        if cell == "gru":
            self.rnn = nn.GRU(hidden_size + 8, hidden_size, n_layers)
        else:
            self.rnn = nn.LSTM(hidden_size + 8, hidden_size, n_layers)
        self.decoder = nn.Linear(hidden_size, n_letters)
        self.init_weights()

    def init_weights(self):
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.normal_(self.category.weight, mean=0.0, std=0.02)
        nn.init.zeros_(self.decoder.bias)
        self.decoder.weight.data.uniform_(-0.1, 0.1)

    def forward(self, category, letters, hidden):
        seq_len, batch_size = letters.size()
        context = self.category(category).unsqueeze(0).expand(seq_len, batch_size, -1)
        embedded = torch.cat((self.encoder(letters), context), dim=2)
        output, hidden = self.rnn(embedded, hidden)
        decoded = self.decoder(output.contiguous().view(-1, self.hidden_size))
        return decoded.view(seq_len, batch_size, -1), hidden

    def init_hidden(self, batch_size):
        h = torch.zeros(self.n_layers, batch_size, self.hidden_size).to(device)
        return h if self.cell == "gru" else (h, torch.zeros_like(h))


def build_model(cell="gru"):
    return Generator(cell, len(CATEGORIES), N_LETTERS, hidden_size=32, n_layers=2).to(device)


def random_example(rng):
    k = rng.randrange(len(CATEGORIES))
    name = rng.choice(NAMES[CATEGORIES[k]].split())
    indices = [LETTERS.index(c) for c in name]
    category = torch.tensor([k])
    line = torch.tensor(indices, dtype=torch.int64).view(-1, 1)
    target = torch.tensor(indices[1:] + [EOS]).view(-1, 1)
    return category.to(device), line.to(device), target.to(device)


def train(model, steps):
    rng = random.Random(11)
    optimizer = optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for _ in range(steps):
        category, line, target = random_example(rng)
        model.zero_grad()
        output, _hidden = model(category, line, model.init_hidden(1))
        loss = criterion(output.view(-1, N_LETTERS), target.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    names = [sample(model, 0, start) for start in "rdv"] + [sample(model, 1, "s", temperature=0.8)]
    assert all(set(name) <= set(LETTERS) for name in names)
    return losses


@torch.no_grad()
def sample(model, category, start="a", temperature=None, max_length=12):
    """The likeliest letter at each step, or with a temperature one drawn by chance."""
    model.eval()
    hidden = model.init_hidden(1)
    category = torch.full((1,), category, dtype=torch.long, device=device)
    letter = torch.tensor([[LETTERS.index(start)]], device=device)
    name = start
    for _ in range(max_length):
        output, hidden = model(category, letter, hidden)
        logits = output.squeeze()
        if temperature is None:
            _, top = logits.data.topk(1)
            top = top[0].item()
        else:
            weights = F.softmax(logits / temperature, dim=-1)
            top = torch.multinomial(weights, 1)[0].item()
        if top == EOS:
            break
        name += LETTERS[top]
        letter = letter.new_full((1, 1), top)
    model.train()
    return name


if __name__ == "__main__":
    torch.manual_seed(0)
    for cell in ("gru", "lstm"):
        net = build_model(cell)
        print(cell, " ".join(f"{loss:.4f}" for loss in train(net, 20)))
        print(sample(net, 0, "t"), sample(net, 1, "p", temperature=1.0))
