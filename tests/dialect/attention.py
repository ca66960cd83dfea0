"""Sequences turned round: an encoder and a decoder with additive attention, a batch at a time, the outputs
written step by step into one tensor."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

PAD, SOS, EOS = 0, 1, 2
N_WORDS = 9
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_batches(n_batches, batch_size, seed):
    rng, found = random.Random(seed), []
    for _ in range(n_batches):
        rows = [[rng.randint(3, N_WORDS - 1) for _ in range(rng.randint(2, 5))] for _ in range(batch_size)]
        rows.sort(key=len, reverse=True)
        longest = len(rows[0]) + 2
        src, trg = torch.zeros(longest, batch_size).long(), torch.zeros(longest, batch_size).long()
        for i, row in enumerate(rows):
            src[: len(row) + 2, i] = torch.LongTensor([SOS, *row, EOS])
            trg[: len(row) + 2, i] = torch.LongTensor([SOS, *reversed(row), EOS])
        found.append((src, torch.LongTensor([len(row) + 2 for row in rows]), trg))
    return found


class Encoder(nn.Module):
    def __init__(self, input_dim, emb_dim, enc_hid_dim, dec_hid_dim, dropout):
        super().__init__()
        self.embedding = nn.Embedding(input_dim, emb_dim)
        self.rnn = nn.GRU(emb_dim, enc_hid_dim, bidirectional=True)
        self.fc = nn.Linear(enc_hid_dim * 2, dec_hid_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, src, src_len):
        embedded = self.dropout(self.embedding(src))
        packed_embedded = nn.utils.rnn.pack_padded_sequence(embedded, src_len.to("cpu"))
        packed_outputs, hidden = self.rnn(packed_embedded)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(packed_outputs)
        hidden = torch.tanh(self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)))
        return outputs, hidden


class Attention(nn.Module):
    def __init__(self, enc_hid_dim, dec_hid_dim):
        super().__init__()
        self.attn = nn.Linear((enc_hid_dim * 2) + dec_hid_dim, dec_hid_dim)
        self.v = nn.Linear(dec_hid_dim, 1, bias=False)

    def forward(self, hidden, encoder_outputs, mask):
        src_len = encoder_outputs.shape[0]
        hidden = hidden.unsqueeze(1).repeat(1, src_len, 1)
        encoder_outputs = encoder_outputs.permute(1, 0, 2)
        energy = torch.tanh(self.attn(torch.cat((hidden, encoder_outputs), dim=2)))
        attention = self.v(energy).squeeze(2)
        attention = attention.masked_fill(mask == 0, -1e10)
        return F.softmax(attention, dim=1)


class Decoder(nn.Module):
    def __init__(self, output_dim, emb_dim, enc_hid_dim, dec_hid_dim, dropout, attention):
        super().__init__()
        self.output_dim = output_dim
        self.attention = attention
        self.embedding = nn.Embedding(output_dim, emb_dim)
        self.rnn = nn.GRU(enc_hid_dim * 2 + emb_dim, dec_hid_dim)
        self.fc_out = nn.Linear((enc_hid_dim * 2) + dec_hid_dim + emb_dim, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input, hidden, encoder_outputs, mask):
        embedded = self.dropout(self.embedding(input.unsqueeze(0)))
        a = self.attention(hidden, encoder_outputs, mask).unsqueeze(1)
        weighted = torch.bmm(a, encoder_outputs.permute(1, 0, 2)).permute(1, 0, 2)
        output, hidden = self.rnn(torch.cat((embedded, weighted), dim=2), hidden.unsqueeze(0))
        assert torch.allclose(output, hidden, atol=1e-6)
        output, embedded, weighted = output.squeeze(0), embedded.squeeze(0), weighted.squeeze(0)
        prediction = self.fc_out(torch.cat((output, weighted, embedded), dim=1))
        return prediction, hidden.squeeze(0), a.squeeze(1)


class Seq2Seq(nn.Module):
    def __init__(self, encoder, decoder, src_pad_idx, device):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.src_pad_idx = src_pad_idx
        self.device = device

    def create_mask(self, src):
        return (src != self.src_pad_idx).permute(1, 0)

    def forward(self, src, src_len, trg, teacher_forcing_ratio=0.5):
        batch_size, trg_len = src.shape[1], trg.shape[0]
        outputs = torch.zeros(trg_len, batch_size, self.decoder.output_dim).to(self.device)
        encoder_outputs, hidden = self.encoder(src, src_len)
        input = trg[0, :]
        mask = self.create_mask(src)
        for t in range(1, trg_len):
            output, hidden, _ = self.decoder(input, hidden, encoder_outputs, mask)
            outputs[t] = output
            teacher_force = random.random() < teacher_forcing_ratio
            top1 = output.argmax(1)
            input = trg[t] if teacher_force else top1
        return outputs


def init_weights(m):
    for name, param in m.named_parameters():
        if "weight" in name:
            nn.init.normal_(param.data, mean=0, std=0.3)
        else:
            nn.init.constant_(param.data, 0)


def build_model():
    attention = Attention(6, 7)
    encoder = Encoder(N_WORDS, 5, 6, 7, dropout=0.0)
    decoder = Decoder(N_WORDS, 5, 6, 7, 0.0, attention)
    model = Seq2Seq(encoder, decoder, PAD, device).to(device)
    model.apply(init_weights)
    return model


def train(model, steps):
    random.seed(2)
    data = make_batches(5, 8, seed=3)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    losses = []
    model.train()
    while len(losses) < steps:
        for src, src_len, trg in data:
            optimizer.zero_grad()
            output = model(src.to(device), src_len, trg.to(device), 1.0)
            output_dim = output.shape[-1]
            output = output[1:].view(-1, output_dim)
            loss = criterion(output, trg[1:].to(device).view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    model.eval()
    with torch.no_grad():
        model(*data[0][:2], data[0][2], 0)
    return losses


if __name__ == "__main__":
    torch.manual_seed(1234)
    print(train(build_model(), 60))
