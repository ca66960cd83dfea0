"""Sentiment of short texts: packed bidirectional LSTM over word vectors of given starting values, the best
weights kept in a file."""

import io
import random
import time

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset

GOOD = ["great", "lovely", "fine", "superb", "moving"]
BAD = ["dull", "awful", "weak", "boring", "flat"]
OTHER = ["the", "film", "was", "a", "plot", "and", "actors", "very", "really"]
PAD_IDX, UNK_IDX = 0, 1
VOCAB = {word: i for i, word in enumerate(["<pad>", "<unk>"] + GOOD + BAD + OTHER)}
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Reviews(Dataset):
    def __init__(self, n, seed):
        rng = random.Random(seed)
        self.rows = []
        for _ in range(n):
            label = rng.randrange(2)
            words = [rng.choice(OTHER) for _ in range(rng.randint(2, 7))]
            words.insert(rng.randrange(len(words)), rng.choice(GOOD if label else BAD))
            self.rows.append(([VOCAB.get(w, UNK_IDX) for w in words], float(label)))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def collate(batch):
    batch.sort(key=lambda row: len(row[0]), reverse=True)
    lengths = torch.LongTensor([len(ids) for ids, _ in batch])
    text = torch.LongTensor(len(batch), int(lengths.max())).fill_(PAD_IDX)
    for i, (ids, _) in enumerate(batch):
        text[i, : len(ids)] = torch.LongTensor(ids)
    return text.t().contiguous(), lengths, torch.FloatTensor([label for _, label in batch])


class Classifier(nn.Module):
    def __init__(self, vocab_size, embedding_dim, hidden_dim, output_dim, n_layers, dropout, pad_idx):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=pad_idx)
        self.rnn = nn.LSTM(embedding_dim, hidden_dim, n_layers, bidirectional=True, dropout=dropout)
        self.fc = nn.Linear(hidden_dim * 2, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text, text_lengths):
        embedded = self.dropout(self.embedding(text))
        packed_embedded = nn.utils.rnn.pack_padded_sequence(embedded, text_lengths.to("cpu"))
        packed_output, (hidden, _) = self.rnn(packed_embedded)
        output, _ = nn.utils.rnn.pad_packed_sequence(packed_output)
        assert output.shape[:2] == text.shape
        hidden = self.dropout(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))
        return self.fc(hidden)


def count_parameters(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def binary_accuracy(preds, y):
    rounded_preds = torch.round(torch.sigmoid(preds))
    correct = (rounded_preds == y).float()
    return correct.sum() / len(correct)


def build_model():
    model = Classifier(len(VOCAB), 10, 8, 1, n_layers=2, dropout=0.0, pad_idx=PAD_IDX)
    vectors = torch.empty(len(VOCAB), 10).normal_(0, 0.5)
    model.embedding.weight.data.copy_(vectors)
    model.embedding.weight.data[UNK_IDX] = torch.zeros(10)
    model.embedding.weight.data[PAD_IDX] = torch.zeros(10)
    print(f"The model has {count_parameters(model):,} trainable parameters")
    return model.to(device)


def evaluate(model, iterator, criterion):
    epoch_loss, epoch_acc = 0, 0
    model.eval()
    with torch.no_grad():
        for text, lengths, label in iterator:
            predictions = model(text.to(device), lengths).squeeze(1)
            epoch_loss += criterion(predictions, label.to(device)).item()
            epoch_acc += binary_accuracy(predictions, label.to(device)).item()
    return epoch_loss / len(iterator), epoch_acc / len(iterator)


def train(model, steps):
    iterator = DataLoader(Reviews(60, 1), batch_size=12, collate_fn=collate, num_workers=0, pin_memory=False)
    valid = DataLoader(Reviews(20, 2), batch_size=10, collate_fn=collate)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    criterion = nn.BCEWithLogitsLoss().to(device)
    losses, best_valid_loss, best = [], float("inf"), io.BytesIO()
    while len(losses) < steps:
        start = time.time()
        model.train()
        for text, lengths, label in iterator:
            optimizer.zero_grad()
            predictions = model(text.to(device), lengths).squeeze(1)
            loss = criterion(predictions, label.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
        valid_loss, valid_acc = evaluate(model, valid, criterion)
        print(f"{time.time() - start:.1f} s, val. loss {valid_loss:.3f}, acc {valid_acc * 100:.2f}%")
        if valid_loss < best_valid_loss:
            best_valid_loss, best = valid_loss, io.BytesIO()
            torch.save(model.state_dict(), best)
    best.seek(0)
    model.load_state_dict(torch.load(best, map_location=device, weights_only=True))
    assert abs(evaluate(model, valid, criterion)[0] - best_valid_loss) < 1e-6
    return losses


if __name__ == "__main__":
    torch.manual_seed(1234)
    print(train(build_model(), 60))
