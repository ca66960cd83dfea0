"""Digits in a noisy sequence of frames, by CTC: targets one after the other, and the best path read off."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

BLANK, N_LABELS, N_FEATURES = 0, 5, 6


def utterance(rng):
    labels = [rng.randint(1, N_LABELS - 1) for _ in range(rng.randint(1, 4))]
    frames = []
    for label in labels:
        frames += [
            [float(label == k) + 0.1 * rng.gauss(0, 1) for k in range(N_FEATURES)]
            for _ in range(rng.randint(2, 4))
        ]
        frames.append([0.1 * rng.gauss(0, 1) for _ in range(N_FEATURES)])
    return torch.tensor(frames), torch.tensor(labels, dtype=torch.int32)


RNG = random.Random(8)
DATA = [utterance(RNG) for _ in range(24)]


def batches(size):
    for i in range(0, len(DATA), size):
        frames, labels = zip(*DATA[i : i + size])  # noqa: B905
        input_lengths = torch.IntTensor([len(f) for f in frames])
        target_lengths = torch.IntTensor([len(t) for t in labels])
        yield pad_sequence(frames, batch_first=True), torch.cat(labels), input_lengths, target_lengths


class Recogniser(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.norm = nn.LayerNorm(N_FEATURES)
        self.rnn = nn.GRU(N_FEATURES, n_hidden, batch_first=True, bidirectional=True)
        self.act = nn.Hardtanh(0, 20, inplace=True)
        self.classifier = nn.Sequential(
            nn.Linear(2 * n_hidden, n_hidden), nn.PReLU(), nn.Linear(n_hidden, N_LABELS)
        )
        self.rnn.flatten_parameters()

    def forward(self, x):
        x, _ = self.rnn(self.norm(x))
        return F.log_softmax(self.classifier(self.act(x)), dim=2).transpose(0, 1)


def build_model():
    return Recogniser(12)


def greedy_decode(log_probs, lengths):
    arg_maxes = torch.argmax(log_probs, dim=2).t()
    decodes = []
    for row, n in zip(arg_maxes, lengths):  # noqa: B905
        path = torch.unique_consecutive(row[:n])
        decodes.append(path[path != BLANK].tolist())
    return decodes


def train(model, steps):
    criterion = nn.CTCLoss(blank=BLANK, zero_infinity=True)
    optimizer = torch.optim.AdamW(model.parameters(), 0.02, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.03, steps_per_epoch=4, epochs=20)
    losses = []
    model.train()
    while len(losses) < steps:
        for spectrograms, labels, input_lengths, label_lengths in batches(6):
            optimizer.zero_grad()
            output = model(spectrograms)
            loss = criterion(output, labels, input_lengths, label_lengths)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    print(greedy_decode(output.detach(), input_lengths))
    return losses


if __name__ == "__main__":
    torch.manual_seed(7)
    print(train(build_model(), 60))
