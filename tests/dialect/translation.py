"""Sequence to sequence with attention: numbers written as digits are read, and spelled out in words."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, TensorDataset

PAD, SOS, EOS = 0, 1, 2
ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TENS = ["ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SOURCE = ["<pad>", "<sos>", "<eos>", *"0123456789"]
TARGET = ["<pad>", "<sos>", "<eos>", "hundred", *ONES, *TENS]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def spell(n):
    words = []
    if n >= 100:
        words += [ONES[n // 100], "hundred"]
    if n % 100 >= 10:
        words.append(TENS[n % 100 // 10 - 1])
    return words + [ONES[n % 10]]


def indices(words, vocab, length):
    found = [vocab.index(w) for w in words] + [EOS]
    return found + [PAD] * (length - len(found))


def make_batches(n=96, batch_size=12):
    rng = random.Random(5)
    numbers = [rng.randrange(1000) for _ in range(n)]
    source = torch.tensor([indices(str(k), SOURCE, 4) for k in numbers])
    target = torch.tensor([indices(spell(k), TARGET, 5) for k in numbers])
    return DataLoader(TensorDataset(source, target), batch_size=batch_size)


class Encoder(nn.Module):
    def __init__(self, vocab_size, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size, padding_idx=PAD)
        self.gru = nn.GRU(hidden_size, hidden_size, bidirectional=True)
        self.fc = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, source):
        outputs, hidden = self.gru(self.embedding(source).transpose(0, 1))
        hidden = torch.tanh(self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)))
        return outputs.permute(1, 0, 2), hidden.unsqueeze(0)


class Attention(nn.Module):
    """Bahdanau's score: v . tanh(W [query; key])."""

    def __init__(self, hidden_size):
        super().__init__()
        self.attn = nn.Linear(3 * hidden_size, hidden_size)
        self.v = nn.Parameter(torch.rand(hidden_size))

    def forward(self, query, keys, mask):
        batch_size, src_len = keys.shape[0], keys.shape[1]
        query = query.repeat(src_len, 1, 1).transpose(0, 1)
        energy = torch.tanh(self.attn(torch.cat([query, keys], 2)))
        v = self.v.repeat(batch_size, 1).unsqueeze(1)  # [B, 1, H]
        scores = torch.bmm(v, energy.transpose(1, 2)).squeeze(1)
        return F.softmax(scores.masked_fill(mask, float("-inf")), dim=1)


class Decoder(nn.Module):
    def __init__(self, vocab_size, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.attention = Attention(hidden_size)
        self.gru = nn.GRU(3 * hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(4 * hidden_size, vocab_size)

    def forward(self, word, hidden, keys, mask):
        embedded = self.embedding(word).unsqueeze(1)
        weights = self.attention(hidden, keys, mask)
        context = torch.bmm(weights.unsqueeze(1), keys)
        output, hidden = self.gru(torch.cat((embedded, context), dim=2), hidden)
        logits = self.out(torch.cat((output, context, embedded), dim=2).squeeze(1))
        return F.log_softmax(logits, dim=-1), hidden, weights


class Seq2Seq(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, source, target, teacher_forcing):
        keys, hidden = self.encoder(source)
        mask = source == PAD
        word = torch.full((source.size(0),), SOS, dtype=torch.long, device=source.device)
        outputs = []
        for t in range(target.size(1)):
            log_probs, hidden, weights = self.decoder(word, hidden, keys, mask)
            assert torch.allclose(weights.sum(dim=1), torch.ones(source.size(0), device=device), atol=1e-5)
            outputs.append(log_probs)
            if teacher_forcing[t]:
                word = target[:, t]
            else:
                _, top = log_probs.topk(1)
                word = top.squeeze(-1).detach()
        return torch.stack(outputs, dim=1)


def build_model(hidden_size=24):
    model = Seq2Seq(Encoder(len(SOURCE), hidden_size), Decoder(len(TARGET), hidden_size)).to(device)
    for name, p in model.named_parameters():
        if "embedding" in name:
            nn.init.normal_(p.data, mean=0, std=0.3)
    print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters")
    return model


def train(model, steps):
    rng = random.Random(1)
    encoder_optimizer = optim.Adam(model.encoder.parameters(), lr=0.004)
    decoder_optimizer = optim.Adam(model.decoder.parameters(), lr=0.004)
    criterion = nn.NLLLoss(ignore_index=PAD)
    batches = list(make_batches())
    losses = []
    model.train()
    for step in range(steps):
        source, target = (b.to(device) for b in batches[step % len(batches)])
        forced = [rng.random() < 0.7 for _ in range(target.size(1))]
        encoder_optimizer.zero_grad()
        decoder_optimizer.zero_grad()
        output = model(source, target, forced)
        loss = criterion(output.reshape(-1, output.size(-1)), target.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        encoder_optimizer.step()
        decoder_optimizer.step()
        losses.append(loss.item())
    return losses


def translate(model, number):
    model.eval()
    with torch.no_grad():
        source = torch.tensor(indices(str(number), SOURCE, 4), device=device)[None, :]
        output = model(source, torch.zeros(1, 5, dtype=torch.long, device=device), [False] * 5)
        words = output.argmax(dim=-1).squeeze(0)
    return " ".join(TARGET[i] for i in words.tolist() if i > EOS)


if __name__ == "__main__":
    torch.manual_seed(0)
    net = build_model()
    print(" ".join(f"{loss:.4f}" for loss in train(net, 20)))
    print("42:", translate(net, 42))
