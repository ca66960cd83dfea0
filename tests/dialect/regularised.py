"""A classifier with the habits of larger projects: forget-gate biases by PyTorch's names, hooks, a seed
function, mixed precision switched off, a schedule of restarts, weights in a file, a module of one's own with
gradients of its own."""

import copy
import os
import random

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.cuda.amp import GradScaler, autocast
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataset import random_split
from torch.utils.data.sampler import SequentialSampler


def seed_everything(seed):
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


class GradientReversal(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.neg() * ctx.alpha, None


class SpatialDropout(nn.Dropout2d):
    def forward(self, x):
        x = x.unsqueeze(2)
        x = x.permute(0, 3, 2, 1)
        x = super().forward(x)
        x = x.permute(0, 3, 2, 1)
        return x.squeeze(2)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.arange(24.0).view(8, 3) / 24, freeze=False)
        self.embedding_dropout = SpatialDropout(0.0)
        self.lstm = nn.LSTM(3, 6, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 4, batch_first=True)
        self.out = nn.Linear(12, 2)
        self.domain = nn.Linear(12, 1)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.long))
        for names in self.lstm._all_weights:
            for name in filter(lambda n: "bias" in n, names):
                bias = getattr(self.lstm, name)
                n = bias.size(0)
                start, end = n // 4, n // 2
                bias.data[start:end].fill_(0.5)

    def forward(self, x):
        h_embedding = self.embedding_dropout(self.embedding(x))
        h_lstm, _ = self.lstm(h_embedding)
        h_gru, hh_gru = self.gru(h_lstm)
        hh_gru = hh_gru.view(-1, 4)
        avg_pool = torch.mean(h_gru, 1)
        max_pool, _ = torch.max(h_gru, 1)
        conc = torch.cat((hh_gru, avg_pool, max_pool), 1)
        self.steps += 1
        return self.out(F.silu(conc)), self.domain(GradientReversal.apply(conc, 0.1))


RNG = np.random.RandomState(4)
INPUTS = RNG.randint(0, 8, (40, 5))
DATA = TensorDataset(torch.from_numpy(INPUTS).long(), torch.from_numpy((INPUTS.sum(1) > 17).astype("int64")))


def build_model():
    return Model()


def train(model, steps):
    model.train()
    loader = DataLoader(DATA, batch_size=8, sampler=SequentialSampler(DATA), num_workers=0, drop_last=True)
    no_decay = ["bias", "LayerNorm.weight"]
    groups = [
        {
            "params": [p for n, p in model.named_parameters() if not any(nd in n for nd in no_decay)],
            "weight_decay": 0.01,
        },
        {
            "params": [p for n, p in model.named_parameters() if any(nd in n for nd in no_decay)],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.02, eps=1e-6)
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=5, T_mult=2)
    scaler = GradScaler(enabled=False)
    seen, losses, best = [], [], None
    handle = model.gru.register_forward_hook(lambda module, args, output: seen.append(output[1].shape))
    while len(losses) < steps:
        for inputs, labels in loader:
            optimizer.zero_grad(set_to_none=True)
            with autocast(enabled=False):
                logits, domain = model(inputs)
                loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
                loss = loss + 0.1 * F.binary_cross_entropy_with_logits(domain.squeeze(-1), labels.float())
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            losses.append(loss.item())
            if best is None or loss.item() < best[0]:
                best = (loss.item(), copy.deepcopy(model.state_dict()))
            if len(losses) == steps:
                break
    handle.remove()
    assert len(seen) == steps == model.steps.item()
    model.load_state_dict(best[1])
    parts = random_split(DATA, [30, 10])
    assert [len(part) for part in parts] == [30, 10]
    return losses


if __name__ == "__main__":
    seed_everything(42)
    print(train(build_model(), 60))
