"""A language model on words: an LSTM with tied weights, truncated backpropagation through time, SGD with
clipping and a learning rate that falls."""

import math
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

SUBJECTS = ["the_cat", "a_dog", "my_neighbour", "the_old_man", "every_child", "our_teacher"]
VERBS = ["sees", "hears", "follows", "likes", "forgets", "paints"]
OBJECTS = ["the_river", "a_bird", "the_moon", "some_music", "the_garden", "an_apple"]
PLACES = ["in_the_morning", "near_the_sea", "at_night", "behind_the_house"]


class Dictionary:
    def __init__(self):
        self.word2idx = {}
        self.idx2word = []

    def add_word(self, word):
        if word not in self.word2idx:
            self.idx2word.append(word)
            self.word2idx[word] = len(self.idx2word) - 1
        return self.word2idx[word]

    def __len__(self):
        return len(self.idx2word)


class Corpus:
    def __init__(self, n_sentences=120):
        rng = random.Random(4)
        self.dictionary = Dictionary()
        ids = []
        for _ in range(n_sentences):
            i = rng.randrange(len(SUBJECTS))
            words = [SUBJECTS[i], VERBS[i], rng.choice(OBJECTS)]
            words += [rng.choice(PLACES)] if rng.random() < 0.5 else []
            words = "_".join(words).split("_") + ["<eos>"]
            ids += [self.dictionary.add_word(word) for word in words]
        cut = int(0.9 * len(ids))
        self.train = torch.tensor(ids[:cut]).type(torch.int64)
        self.valid = torch.tensor(ids[cut:]).long()


def batchify(data, bsz, device):
    nbatch = data.size(0) // bsz
    data = data[: nbatch * bsz]
    data = data.view(bsz, -1).t().contiguous()
    return data.to(device)


def get_batch(source, i, bptt):
    seq_len = min(bptt, len(source) - 1 - i)
    data = source[i : i + seq_len]
    target = source[i + 1 : i + 1 + seq_len].view(-1)
    return data, target


def repackage_hidden(h):
    """The same state, cut from its history."""
    if isinstance(h, torch.Tensor):
        return h.detach()
    return tuple(repackage_hidden(v) for v in h)


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp, nhid, nlayers, dropout=0.0, tie_weights=True):
        super().__init__()
        self.ntoken = ntoken
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, nhid, nlayers, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)
        if tie_weights:
            if nhid != ninp:
                raise ValueError("When using the tied flag, nhid must be equal to emsize")
            self.decoder.weight = self.encoder.weight
        self.init_weights()
        self.nhid = nhid
        self.nlayers = nlayers

    def init_weights(self):
        initrange = 0.1
        nn.init.uniform_(self.encoder.weight, -initrange, initrange)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, input, hidden):
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output))
        return F.log_softmax(decoded.view(-1, self.ntoken), dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return (
            weight.new_zeros(self.nlayers, bsz, self.nhid),
            weight.new_zeros(self.nlayers, bsz, self.nhid),
        )


corpus = Corpus()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
batch_size, bptt = 5, 7
train_data = batchify(corpus.train, batch_size, device)
val_data = batchify(corpus.valid, 2, device)
criterion = nn.NLLLoss()


def build_model():
    return RNNModel(len(corpus.dictionary), 24, 24, nlayers=2).to(device)


def evaluate(model):
    model.eval()
    total_loss = 0.0
    hidden = model.init_hidden(2)
    with torch.no_grad():
        for i in range(0, val_data.size(0) - 1, bptt):
            data, targets = get_batch(val_data, i, bptt)
            output, hidden = model(data, hidden)
            hidden = repackage_hidden(hidden)
            total_loss += len(data) * criterion(output, targets).item()
    model.train()
    return total_loss / (len(val_data) - 1)


def train(model, steps):
    optimizer = optim.SGD(model.parameters(), lr=2.0, momentum=0.5, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)
    losses, best_val_loss, best_state = [], None, None
    model.train()
    while len(losses) < steps:
        hidden = model.init_hidden(batch_size)
        for i in range(0, train_data.size(0) - 1, bptt):
            data, targets = get_batch(train_data, i, bptt)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(data, hidden)
            loss = criterion(output, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
            losses.append(loss.item())
            if len(losses) % 8 == 0:
                scheduler.step()
            if len(losses) == steps:
                break
        val_loss = evaluate(model)
        print(f"lr {scheduler.get_last_lr()[0]:.2f}, valid ppl {math.exp(val_loss):.2f}")
        if best_val_loss is None or val_loss < best_val_loss:
            best_val_loss = val_loss
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)
    assert abs(evaluate(model) - best_val_loss) < 1e-6
    return losses


def generate(model, n_words=20, temperature=1.0):
    model.eval()
    hidden = model.init_hidden(1)
    input = torch.randint(len(corpus.dictionary), (1, 1), dtype=torch.long).to(device)
    words = []
    with torch.no_grad():
        for _ in range(n_words):
            output, hidden = model(input, hidden)
            word_weights = output.squeeze().div(temperature).exp().cpu()
            word_idx = torch.multinomial(word_weights, 1)[0]
            input.fill_(word_idx)
            words.append(corpus.dictionary.idx2word[word_idx])
    return " ".join(words)


if __name__ == "__main__":
    torch.manual_seed(1111)
    net = build_model()
    print(" ".join(f"{loss:.4f}" for loss in train(net, 60)))
    print(generate(net))
