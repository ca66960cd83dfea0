"""From which language does a name come? Twice: a recurrent net built of Linear layers that reads one name
letter by letter, and nn.RNN in both directions over a packed batch of names."""

import random
import string

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset, random_split

NAMES = {
    "Finnish": "Aalto Heikkinen Hietala Jokinen Korhonen Laaksonen Lehtinen Makela Nieminen Salonen Virtanen",
    "Italian": "Bianchi Colombo Esposito Ferrari Galli Moretti Ricci Rinaldi Romano Rossi Vitale Zanetti",
    "Japanese": "Fujita Hayashi Inoue Kobayashi Matsumoto Nakamura Saito Sasaki Suzuki Tanaka Yamada Yoshida",
    "Scottish": "Buchanan Campbell Douglas Fraser MacDonald MacGregor Mackay MacLeod Murray Ross Stewart",
}
LANGUAGES = sorted(NAMES)
LETTERS = string.ascii_letters
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def letter_to_index(letter):
    return LETTERS.index(letter) + 1  # 0 is padding


def name_to_tensor(name):
    """<length x 1 x letters>, one-hot."""
    tensor = torch.zeros(len(name), 1, len(LETTERS) + 1)
    for i, letter in enumerate(name):
        tensor[i][0][letter_to_index(letter)] = 1
    return tensor.to(device)


class NameDataset(Dataset):
    def __init__(self):
        self.items = [(name, k) for k, lang in enumerate(LANGUAGES) for name in NAMES[lang].split()]
        random.Random(3).shuffle(self.items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, idx):
        name, label = self.items[idx]
        return torch.tensor([letter_to_index(c) for c in name], dtype=torch.long), label


def collate(batch):
    names, labels = zip(*batch, strict=True)
    lengths = torch.tensor([len(n) for n in names])
    return pad_sequence(list(names), batch_first=True), lengths, torch.tensor(labels, dtype=torch.long)


class CharRNN(nn.Module):
    """Elman's net from Linear layers; one letter per call."""

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        output = self.softmax(self.i2o(combined))
        return output, hidden

    def init_hidden(self):
        return torch.zeros(1, self.hidden_size, device=device)


class PackedClassifier(nn.Module):
    def __init__(self, n_letters, embed_dim, hidden_size, n_classes, num_layers=2):
        super().__init__()
        self.num_layers, self.hidden_size = num_layers, hidden_size
        self.embedding = nn.Embedding(n_letters, embed_dim, padding_idx=0)
        self.rnn = nn.RNN(embed_dim, hidden_size, num_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(p=0.0)
        self.head = nn.Sequential(
            nn.Linear(4 * hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, n_classes)
        )

    def forward(self, names, lengths):
        embedded = self.dropout(self.embedding(names))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed_out, hidden = self.rnn(packed)
        output, out_lengths = pad_packed_sequence(packed_out, batch_first=True)
        assert out_lengths.tolist() == lengths.tolist()
        assert output.size() == (names.size(0), int(lengths.max()), 2 * self.hidden_size)
        hidden = hidden.view(self.num_layers, 2, -1, self.hidden_size)[-1]  # the last layer's
        last = torch.cat([hidden[0], hidden[1]], dim=1)
        mask = (names != 0).unsqueeze(2).float()
        mean = (output * mask).sum(dim=1) / lengths.to(output.device).unsqueeze(1)
        return self.head(torch.cat([last, mean], dim=-1))


def build_model(kind="letters"):
    if kind == "letters":
        return CharRNN(len(LETTERS) + 1, 32, len(LANGUAGES)).to(device)
    model = PackedClassifier(len(LETTERS) + 1, 12, 16, len(LANGUAGES)).to(device)
    for name, param in model.named_parameters():
        if param.dim() > 1 and "head" in name:
            nn.init.xavier_uniform_(param)
    return model


def category_from_output(output):
    top_n, top_i = output.topk(1)
    return LANGUAGES[top_i[0].item()], top_n.item()


def train_letters(model, steps, learning_rate=0.05):
    criterion = nn.NLLLoss()
    examples = NameDataset().items
    losses = []
    for step in range(steps):
        name, label = examples[step % len(examples)]
        hidden = model.init_hidden()
        model.zero_grad()
        line = name_to_tensor(name)
        for i in range(line.size()[0]):
            output, hidden = model(line[i], hidden)
        loss = criterion(output, torch.tensor([label], dtype=torch.long, device=device))
        loss.backward()
        for p in model.parameters():  # gradient descent by hand
            p.data.add_(p.grad.data, alpha=-learning_rate)
        losses.append(loss.item())
        guess, score = category_from_output(output)
        assert guess in LANGUAGES
        assert score <= 0
    return losses


def train_packed(model, steps):
    dataset = NameDataset()
    loader = DataLoader(dataset, batch_size=8, shuffle=False, collate_fn=collate)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()
    losses, step = [], 0
    model.train()
    while step < steps:
        for names, lengths, labels in loader:
            names, labels = names.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = model(names, lengths)
            loss = criterion(logits, labels)
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
            step += 1
            if step == steps:
                break
    _, probe = random_split(dataset, [len(dataset) - 12, 12])
    print(f"accuracy on a random probe: {accuracy(model, probe):.2f}")
    return losses


def accuracy(model, dataset):
    model.eval()
    correct = 0
    with torch.no_grad():
        for names, lengths, labels in DataLoader(dataset, batch_size=5, collate_fn=collate, drop_last=False):
            probabilities = F.softmax(model(names.to(device), lengths), dim=1)
            _, predicted = torch.max(probabilities, 1)
            correct += (predicted == labels.to(device)).sum().item()
    model.train()
    return correct / len(dataset)


def train(model, steps):
    return train_letters(model, steps) if isinstance(model, CharRNN) else train_packed(model, steps)


if __name__ == "__main__":
    torch.manual_seed(0)
    for kind in ("letters", "packed"):
        print(kind, " ".join(f"{loss:.4f}" for loss in train(build_model(kind), 20)))
