"""What users write, a line each: statements, and an expression whose value is compared.

`test_api.py` runs every line on PyTorch and here. Beside `torch`, `nn`, `F`, `optim` and `np` there are
`sched` (optim.lr_scheduler), `data` (utils.data) and `rnn` (nn.utils.rnn). The tensors are those of `ARRAYS`,
and w is a parameter of two ones. An indented line goes on with the one above.
"""

import numpy as np

RNG = np.random.default_rng(0)
ARRAYS = {
    "x": RNG.normal(size=(3, 4)).astype("float32"),
    "y": RNG.normal(size=(3, 4)).astype("float32"),
    "v": RNG.normal(size=4).astype("float32"),
    "c": RNG.normal(size=(2, 3, 4)).astype("float32"),
    "p": RNG.uniform(0.1, 0.9, (3, 4)).astype("float32"),
    "q": RNG.integers(0, 2, (3, 4)).astype("float32"),
    "e": RNG.normal(size=(7, 2)).astype("float32"),
    "k": RNG.integers(0, 7, (3, 4)),
    "t": np.array([1, 3, 0]),
}

_TEXT = """
x.size()
x.size(0), x.size(-1), x.size(dim=1)
x.shape, x.dim(), x.ndim, x.ndimension(), x.numel(), x.nelement(), torch.numel(x), len(x)
x.shape == torch.Size([3, 4]), isinstance(x.shape, torch.Size), isinstance(x.dtype, torch.dtype)
x.dtype == torch.float32, x.dtype is torch.float, k.dtype == torch.long, (x > 0).dtype == torch.bool
x.dtype, k.dtype, (x > 0).dtype, x.double().dtype, x.half().dtype, k.int().dtype, k.short().dtype
k.byte().dtype
x.view(-1), x.view(2, 6), x.view((4, 3)), x.view(4, -1), x.reshape(12), x.reshape((2, -1)), x.view(-1, 2, 3)
x.unsqueeze(0), x.unsqueeze(-1), x.unsqueeze(dim=1), x[None].squeeze(), x[None].squeeze(0), x.squeeze(1)
x.t(), x.T, x.transpose(0, 1), x.transpose(-1, -2), x.transpose(dim0=0, dim1=1), x.permute(1, 0)
x.swapaxes(0, 1)
c.permute(2, 0, 1), c.transpose(0, 1).contiguous().view(3, -1), c.flatten(1), c.flatten(), c.mT
c.flatten(0, 1)
torch.flatten(c, start_dim=1), torch.flatten(c, 1), torch.reshape(c, (4, 6)), torch.transpose(c, 0, 2)
x[0], x[0, 1], x[:, 1], x[..., -1], x[1:], x[:, None], x[t % 3], x[x > 0], x[[0, 2]], x[t % 3, t], x[-1][-1]
x[0][0].item(), x[0, 0].item(), x[:1, :1].item(), x.sum().item()
x.tolist(), k.tolist(), k[0, 0].item(), float(x[0, 0]), int(k[0, 0]), bool(k[0, 0] == k[0, 0])
k.long(), k.float(), x.long(), x.int(), x.double(), x.bool(), k.to(torch.float32), x.to(torch.float64)
x.to("cpu"), x.to(torch.device("cpu")), x.to("cpu", torch.float64), x.to(k), x.to(dtype=torch.int64)
x.cpu()
x.type(torch.int64), x.type_as(k), k.type_as(x)
str(x.device), x.device.type, x.device == torch.device("cpu"), str(torch.device("cuda:0"))
torch.device("cuda", 0).index
x.detach(), x.detach().requires_grad, x.clone(), x.data, x.numpy(), x.detach().cpu().numpy()
torch.zeros(2, 3), torch.zeros((2, 3)), torch.zeros([2]), torch.zeros(2, dtype=torch.long), torch.zeros(())
torch.ones(2, 3, device="cpu"), torch.ones(x.size()), torch.ones(x.size(0), 1)
torch.ones(2, requires_grad=True)
torch.full((2, 2), 7), torch.full((2,), 0.5), torch.full((2,), True)
torch.full((1,), 3, dtype=torch.float32)
torch.full(size=(2,), fill_value=1.5), torch.full_like(x, 3), torch.zeros_like(k)
torch.ones_like(x, dtype=torch.int64)
torch.arange(5), torch.arange(2, 5), torch.arange(0, 1, 0.25), torch.arange(5, dtype=torch.float)
torch.arange(5.0)
torch.arange(5, 0, -2), torch.arange(start=1, end=4, step=2), torch.arange(3)
torch.linspace(0, 1, 5), torch.linspace(0, 1, steps=3), torch.linspace(start=-1, end=1, steps=4)
torch.eye(3)
torch.empty(2, 3).shape, torch.empty(2, dtype=torch.long).dtype, torch.empty_like(k).dtype, torch.empty(0)
torch.tensor(1).dtype, torch.tensor(1.0).dtype, torch.tensor(True).dtype, torch.tensor([]).dtype
torch.tensor([1, 2.5])
torch.tensor([[1, 2], [3, 4]]), torch.tensor(np.ones((2, 2))).dtype, torch.tensor([1, 2], dtype=torch.float)
torch.tensor([1.0, 2.0], requires_grad=True).requires_grad, torch.tensor([[]]).shape
torch.tensor(np.float64(2)).dtype
torch.as_tensor([1, 2]), torch.from_numpy(np.arange(3.0)), torch.from_numpy(np.arange(3, dtype="int32"))
a = np.zeros(3, dtype="float32"); b = torch.from_numpy(a); a[1] = 5; b
torch.rand(2, 3).shape, torch.rand((2,)).dtype, torch.randn(2, 3).shape
torch.randn(4, dtype=torch.float64).dtype
r = torch.rand(1000); bool((r >= 0).all() and (r < 1).all())
r = torch.randint(3, 7, (1000,)); r.min().item(), r.max().item(), r.dtype, r.shape
r = torch.randint(5, (2, 3)); r.shape, r.dtype
torch.randint(0, 2, size=(2, 2)).shape, torch.randint(high=5, size=(3,)).shape, torch.randperm(5).sort()[0]
torch.rand_like(x).shape, torch.randn_like(x).dtype, torch.normal(0.0, 1.0, size=(2, 3)).shape
torch.normal(mean=torch.zeros(3), std=torch.ones(3)).shape, torch.normal(0, torch.ones(2)).shape
torch.bernoulli(torch.zeros(3)), torch.bernoulli(torch.ones(3))
x.new_zeros(2, 3), x.new_zeros((2, 3)), k.new_zeros(2), x.new_ones(2), x.new_full((2,), 3)
k.new_tensor([1, 2])
x.new_zeros(2, dtype=torch.long), x.new_empty(2).shape, x.new_tensor([1, 2])
x.new_zeros(x.size(0), 2, device=x.device)
torch.cat([x, x]), torch.cat((x, y), 1), torch.cat([x, y], dim=-1), torch.cat([k, x.long()])
torch.concat([x, x], dim=0)
torch.stack([x, y]), torch.stack((x, y), dim=1), torch.stack([x, y], -1), torch.cat([torch.empty(0), v])
x.split(2), x.split(1, dim=1), x.split([1, 3], 1), x.chunk(2), x.chunk(2, dim=1), x.unbind(0)
torch.split(x, 2, dim=1)
torch.chunk(x, 4, dim=-1), torch.unbind(x, dim=1), [r for r in x], [r.item() for r in v]
x.expand(2, 3, 4), x[:1].expand(5, -1), x.repeat(2, 1), x.repeat(1, 2, 1), x.expand_as(x), v.expand(2, -1)
x.repeat_interleave(2), x.repeat_interleave(2, dim=0), torch.tile(v, (2,)), torch.flip(x, [0]), x.flip(1)
x.flip(0, 1)
x.max(), x.min(), x.max(1), x.max(dim=0), x.max(1, keepdim=True), torch.max(x, 1), torch.max(x, y)
x.max(1)[1]
x.max(1).values, x.max(1).indices, torch.max(x, dim=1)[1], torch.min(x, 0)[0], x.min(dim=1, keepdim=True)[0]
_, predicted = torch.max(x, 1); (predicted == predicted).sum().item()
x.argmax(), x.argmax(1), x.argmax(dim=1, keepdim=True), x.argmin(0), torch.argmax(x, dim=-1), x.amax(1)
x.amin((0, 1))
x.sum(), x.sum(0), x.sum(dim=1), x.sum(1, keepdim=True), x.sum((0, 1)), torch.sum(x, 1), k.sum()
(x > 0).sum(), k.sum(1)
x.mean(), x.mean(0), x.mean(dim=(0, 1)), x.mean(1, True), torch.mean(x, dim=0), k.float().mean()
x.var(), x.var(0), x.std(), x.std(1), x.var(dim=1, unbiased=False), x.std(0, correction=0)
x.var(0, keepdim=True)
x.std(dim=0, keepdim=True), torch.var(x, 1, unbiased=False), torch.std(x, dim=1), x.var(unbiased=False)
x.var(0, True)
x.prod(), x.prod(1), x.cumsum(0), x.cumsum(dim=1), k.cumsum(1), x.logsumexp(1)
torch.logsumexp(x, dim=(0, 1))
x.norm(), x.norm(2), x.norm(p=1), x.norm(2, 1), x.norm(dim=1), x.norm(p=2, dim=1, keepdim=True)
torch.norm(x)
x.norm(float("inf")), torch.norm(x, 2, dim=0), torch.norm(x, p=2)
(x > 0).all(), (x > 0).any(), (x > 0).any(dim=1), (x > -9).all(1), torch.all(x > 0)
torch.any(x > 0, dim=0), k.any()
x.topk(2), x.topk(2, dim=0), x.topk(1)[1], torch.topk(x, 2, 1), x.topk(2, largest=False), v.topk(3).values
x.topk(k=2, dim=1, largest=True, sorted=True), torch.topk(v, k=2), v.data.topk(1)[1][0]
x.sort(), x.sort(dim=0), x.sort(descending=True), x.sort(1, True), torch.sort(v)[1], x.argsort()
x.argsort(dim=1, descending=True)
torch.nonzero(k), k.nonzero(), (k > 2).nonzero(as_tuple=True), torch.nonzero(v > 0).squeeze()
torch.multinomial(torch.tensor([0.0, 1.0]), 1), torch.multinomial(torch.ones(3, 4), 2).shape
torch.multinomial(torch.ones(3), num_samples=5, replacement=True).shape
x.masked_fill(x > 0, 0.0), x.masked_fill(x > 0, float("-inf")), x.masked_fill(v > 0, 1)
torch.masked_fill(x, x < 0, 2.0)
x.masked_fill((x > 0) == 0, -1e9), x.masked_fill(mask=x > 0, value=3)
torch.where(x > 0, x, y), torch.where(x > 0, x, 0.0), torch.where(x > 0, 1, 0)
torch.where(x > 0, x, torch.zeros_like(x))
x.where(x > 0, y), torch.where(k > 2, k, 0), torch.where(k > 2)
x.gather(1, k[:3, :2] % 4), torch.gather(x, 1, k[:3] % 4), x.gather(dim=0, index=k % 3)
x.index_select(0, k[0] % 3)
torch.index_select(x, 1, k[0] % 4), x.select(1, 2), x.narrow(1, 1, 2), torch.masked_select(x, x > 0)
x.masked_select(v > 0)
torch.narrow(x, 0, 1, 2), torch.select(x, 0, -1)
torch.zeros(3, 5).scatter_(1, k[:, :1] % 5, 1), torch.zeros(3, 5).scatter_(1, k[:, :1] % 5, 1.5)
z = torch.zeros(3, 4); z.scatter_(dim=1, index=k % 4, src=torch.ones(3, 4)); z
x @ y.t(), torch.matmul(x, y.T), torch.mm(x, y.t()), x.mm(y.t()), torch.bmm(c, c.transpose(1, 2))
c.bmm(c.permute(0, 2, 1))
torch.dot(v, v), v.dot(v), torch.mv(x, v), x.mv(v), x @ v, torch.outer(v, v), v.outer(v), c @ c.mT
torch.einsum("ij,kj->ik", x, y), torch.einsum("bij,bkj->bik", c, c), torch.einsum("ij,ij->", x, y)
torch.einsum("i,j", v, v)
x + y, x - 1, 2 * x, x / 2, 1 / p, x ** 2, 2 ** x, -x, +x, abs(x), x // 2, x % 2, k // 2, k % 3, k / 2
3 - x
k + 1, k * 2.5, k + x, k + k.double(), k * True, (x > 0) * x, (x > 0).float() * 2, x * np.float32(2), k - 1
torch.add(x, y), x.add(y), x.sub(1), x.mul(2), x.div(2), torch.sub(x, y), torch.mul(x, y)
torch.div(x, y), x.pow(2), torch.pow(p, 0.5), torch.pow(2, x), torch.neg(x), torch.multiply(x, 2)
torch.divide(x, 2)
torch.exp(x), p.log(), torch.log(p), p.sqrt(), torch.sqrt(p), torch.abs(x), x.abs(), torch.sign(x)
torch.square(x)
torch.tanh(x), torch.sigmoid(x), torch.relu(x), x.tanh(), x.sigmoid(), x.relu(), torch.sin(x)
torch.cos(x), p.rsqrt()
torch.log1p(p), torch.expm1(x), p.reciprocal(), torch.erf(x), torch.floor(x), torch.round(x), x.floor()
torch.remainder(x, 2)
torch.exp(k), torch.sqrt(k), torch.tanh(k), torch.sigmoid(k), k.sin(), k.exp()
x.clamp(min=0), x.clamp(-0.5, 0.5), torch.clamp(x, max=0.1), x.clip(0, 1), torch.clip(x, min=0.0)
k.clamp(1, 3)
torch.maximum(x, y), torch.minimum(x, y), x.maximum(y)
x == y, x != y, x > 0, x >= y, x < 0, x <= 0, torch.eq(x, y), x.eq(y), x.gt(0), x.lt(0), x.ge(0), x.le(0)
x.ne(0)
~(x > 0), (x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), torch.logical_not(x > 0)
torch.logical_and(x > 0, y > 0)
torch.logical_or(x > 0, y > 0), torch.isnan(x), torch.isinf(x), torch.isfinite(x), x.isnan().any()
torch.logical_and(k, v), torch.logical_not(k), k.logical_or(v), k & 1, k | 1, k ^ 3
torch.allclose(x, x + 1e-9), torch.allclose(x, y), torch.equal(x, x.clone()), torch.equal(x, y)
x.equal(x), x.allclose(x)
torch.isclose(x, x + 1e-3, atol=1e-2), torch.allclose(x, x + 1e-3, rtol=0, atol=1e-2)
torch.allclose(x, x, equal_nan=True)
torch.is_tensor(x), torch.is_tensor(1), torch.is_floating_point(x), k.is_floating_point()
isinstance(x, torch.Tensor)
torch.softmax(x, 1), torch.softmax(x, dim=-1), x.softmax(0), x.softmax(dim=1), torch.log_softmax(x, dim=1)
x.log_softmax(-1)
F.softmax(x, dim=1), F.log_softmax(x, dim=1), F.softmax(v, dim=0), F.relu(x), F.tanh(x), F.sigmoid(x)
F.softmax(x, -1)
F.leaky_relu(x, 0.1), F.elu(x), F.gelu(x), F.softplus(x), F.normalize(x), F.normalize(x, dim=0)
F.normalize(x, p=1, dim=1)
F.one_hot(k), F.one_hot(k, 9), F.one_hot(k, num_classes=8), F.pad(x, (1, 2))
F.pad(x, (1, 0, 0, 2), value=3)
F.pad(k, (0, 2)), F.pad(x, (0, 1), "constant", 0), F.linear(x, y), F.linear(x, y, v[:3]), F.embedding(k, e)
F.embedding(k, e, padding_idx=0), F.layer_norm(x, (4,)), F.layer_norm(x, [4], v, v)
F.cosine_similarity(x, y)
F.cosine_similarity(x, y, dim=0), F.dropout(x, 0.5, training=False), F.dropout(x, p=0.0)
F.dropout(x, 1.0, True)
F.cross_entropy(x, t), F.cross_entropy(x, t, reduction="sum"), F.cross_entropy(x, t, reduction="none")
F.cross_entropy(x, t, ignore_index=1), F.cross_entropy(x, t, weight=p[0]), F.cross_entropy(x, p)
F.cross_entropy(v, t[0])
F.cross_entropy(x, t, label_smoothing=0.1), F.cross_entropy(c.transpose(1, 2), k[:2, :3] % 4)
F.nll_loss(x, t)
F.nll_loss(x, t, ignore_index=2), F.nll_loss(F.log_softmax(x, dim=1), t, reduction="sum")
F.nll_loss(x, t, p[0])
F.mse_loss(x, y), F.mse_loss(x, y, reduction="sum"), F.l1_loss(x, y), F.smooth_l1_loss(x, y)
F.huber_loss(x, y, delta=0.3)
F.binary_cross_entropy(p, q), F.binary_cross_entropy_with_logits(x, q)
F.binary_cross_entropy(p, q, reduction="sum")
F.binary_cross_entropy_with_logits(x, q, pos_weight=p[0])
F.binary_cross_entropy_with_logits(x, q, p, reduction="none")
nn.CrossEntropyLoss()(x, t), nn.CrossEntropyLoss(ignore_index=1)(x, t), nn.CrossEntropyLoss(p[0])(x, t)
nn.NLLLoss()(x, t)
nn.CrossEntropyLoss(reduction="none")(x, t), nn.CrossEntropyLoss(label_smoothing=0.2)(x, t)
nn.NLLLoss(ignore_index=0)(x, t)
nn.MSELoss()(x, y), nn.L1Loss()(x, y), nn.BCELoss()(p, q), nn.BCEWithLogitsLoss()(x, q)
nn.SmoothL1Loss()(x, y)
nn.MSELoss(reduction="sum")(x, y), nn.BCEWithLogitsLoss(pos_weight=p[0])(x, q)
nn.HuberLoss(delta=0.5)(x, y)
nn.Tanh()(x), nn.Sigmoid()(x), nn.ReLU()(x), nn.Softmax(dim=1)(x), nn.LogSoftmax(dim=1)(x)
nn.Softmax(-1)(x), nn.GELU()(x)
nn.Dropout(0.5).eval()(x), nn.Dropout()(x).shape, nn.Identity()(x), nn.Flatten()(c), nn.LayerNorm(4)(x)
nn.LayerNorm([3, 4])(x)
nn.Linear(4, 2).weight.shape, nn.Linear(4, 2, bias=False).bias, nn.Linear(4, 2)(x).shape
nn.Embedding(5, 3).weight.shape
nn.Embedding(9, 3, padding_idx=0).weight[0], nn.Embedding(9, 3)(k).shape, nn.Embedding(9, 3).num_embeddings
nn.Embedding.from_pretrained(e)(k), nn.Embedding.from_pretrained(e).weight.requires_grad
nn.LSTM(4, 5)(c)[0].shape, [s.shape for s in nn.LSTM(4, 5, 2, batch_first=True)(c)[1]]
nn.GRU(4, 5, bidirectional=True)(c)[1].shape
nn.LSTM(4, 5, 2, True, True, 0.0, True)(c)[0].shape, nn.GRU(4, 5, 2, False, False, 0.5, True).bidirectional
nn.RNN(4, 5, 1, "relu", True, True)(c)[0].shape
nn.RNN(4, 5, nonlinearity="relu", batch_first=True)(c)[1].shape
nn.GRU(4, 5)(x)[0].shape
nn.LSTM(4, 5, num_layers=2, dropout=0.3, bidirectional=True).num_layers, nn.LSTM(4, 5).hidden_size
nn.LSTM(4, 5).bidirectional
nn.LSTMCell(4, 5)(x)[1].shape, nn.GRUCell(4, 5)(x, torch.zeros(3, 5)).shape, nn.RNNCell(4, 5)(x).shape
nn.RNNCell(4, 5)(v).shape
h, (a, b) = nn.LSTM(4, 5)(c, (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5))); a.shape, b.shape
nn.LSTM(4, 5, device="cpu", dtype=torch.float64)(c.double())[0].dtype
nn.GRUCell(4, 5, device=x.device)(x).dtype
nn.RNN(4, 5, batch_first=True).batch_first, nn.GRU(4, 5, dtype=torch.float64)(c.double())[1].dtype
nn.Linear(4, 2, dtype=torch.float64).weight.dtype, nn.Linear(4, 2).double().weight.dtype
nn.Linear(4, 2).to(torch.float64).bias.dtype
m = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)); len(m)
m = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)); [n for n, _ in m.named_parameters()]
m = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)); list(m.state_dict())
m = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)]); len(m), [n for n, _ in m.named_parameters()]
m = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)]); m[-1](torch.ones(1, 2)).shape
m = nn.ModuleDict({"a": nn.Linear(2, 2)}); list(m.keys()), [n for n, _ in m.named_parameters()], "a" in m
m = nn.Linear(2, 2); m.training, m.eval().training, m.train().training, m.train(False).training
m = nn.Linear(2, 3); str(m.load_state_dict(m.state_dict())) == "<All keys matched successfully>"
m = nn.Linear(2, 3); [p.shape for p in m.parameters()]
m = nn.Linear(2, 3); m.requires_grad_(False); [p.requires_grad for p in m.parameters()]
m = nn.Linear(2, 3); m.weight.requires_grad, isinstance(m.weight, nn.Parameter)
m = nn.Linear(2, 3); isinstance(m.weight, torch.Tensor), m.weight.is_leaf
m = nn.Linear(4, 3); m(x).sum().backward(); m.zero_grad(); m.weight.grad is None
m = nn.Module(); m.register_buffer("s", torch.ones(2)); list(m.state_dict()), m.s
m = nn.Module(); m.register_buffer("s", torch.ones(2)); [n for n, _ in m.named_buffers()]
m = nn.Sequential(nn.Linear(2, 2), nn.ReLU()); [type(c).__name__ for c in m.modules()]
m = nn.Sequential(nn.Linear(2, 2), nn.ReLU()); [n for n, _ in m.named_modules()]
m = nn.Sequential(nn.Linear(2, 2)); m[0].apply(lambda c: nn.init.constant_(c.weight, 2.0)); m[0].weight
m = nn.Sequential(nn.Linear(2, 2)); m.add_module("last", nn.Tanh()); len(m)
m = nn.Sequential(nn.Linear(2, 2)); m.add_module("last", nn.Tanh()); [n for n, _ in m.named_children()]
w = torch.empty(3, 5); nn.init.ones_(w); nn.init.constant_(w, 0.5); w
w = torch.empty(2, 2); nn.init.zeros_(w), nn.init.uniform_(w, 1, 1), nn.init.normal_(w, 3, 0)
w = torch.empty(30, 50); nn.init.xavier_uniform_(w); round(float(w.abs().max()), 1)
w = torch.empty(30, 50); nn.init.xavier_uniform_(w); nn.init.orthogonal_(w).shape
nn.init.calculate_gain("tanh"), nn.init.calculate_gain("leaky_relu", 0.2)
nn.init.kaiming_uniform_(torch.empty(3, 2)).shape
(w * 3).sum().backward(); w.grad, w.grad.data, w.grad.shape
(w * w).sum().backward(); (w * w).sum().backward(); w.grad
b = (w * 2).detach(); b.requires_grad, b.is_leaf, (w * 2).is_leaf, w.grad is None
(w * 2).backward(torch.tensor([1.0, 3.0])); w.grad
l = (w ** 3).sum(); l.backward(retain_graph=True); l.backward(); w.grad
w.data -= 0.5; w.data.add_(torch.ones(2), alpha=-0.1); w.data.mul_(2); w
w = torch.ones(3); w[0] = 5; w[1:] = torch.tensor([7.0, 8.0]); w += 1; w *= 2; w /= 4; w -= 1; w
w = torch.ones(3); w.fill_(2), w.zero_(), w.copy_(v[:3]), w.clamp_(0, 1), w.add_(1), w.sub_(2), w.mul_(3)
w = torch.ones(3); w.div_(2)
w = torch.ones(2, 3); w[:, 1] = 0; w[w > 0] = 4; w[0] += 1; w
w = torch.zeros(2, 1, 5); w[0][0][3] = 1; w[1, 0, 2] = 1; w
w = torch.zeros(3, 4); w[torch.arange(3), t] = 1; w
w = torch.ones(3, 4); w.masked_fill_(x > 0, 0.5); w
torch.set_grad_enabled(False); a = torch.is_grad_enabled(); torch.set_grad_enabled(True); a
torch.no_grad()(lambda: torch.ones(1, requires_grad=True) * 2)().requires_grad
torch.inference_mode()(lambda: torch.is_grad_enabled())()
f"{v[0]:.3f}", "%.2f" % v[0], str(torch.tensor(3).item()), round(v[0].item(), 3), max(v).item()
sum(v).item()
torch.get_default_dtype() == torch.float32, torch.pi, torch.inf, torch.nan != torch.nan
torch.cuda.is_available() in (True, False), torch.manual_seed(0) is not None
torch.manual_seed(7); a = torch.randn(3); torch.manual_seed(7); torch.equal(a, torch.randn(3))
nn.utils.clip_grad_norm_([], 1.0).item(), nn.utils.parameters_to_vector([x, y])
w = torch.ones(3, requires_grad=True); (w * 2).sum().backward(); float(nn.utils.clip_grad_norm_([w], 1.0))
w = torch.ones(3, requires_grad=True); (w * 2).sum().backward(); w.grad
w = torch.ones(3, requires_grad=True); (w * 2).sum().backward(); nn.utils.clip_grad_value_([w], 0.5);
    w.grad
rnn.pad_sequence([v, v[:2]]), rnn.pad_sequence([v, v[:2]], batch_first=True, padding_value=9.0)
s = rnn.pack_padded_sequence(c, torch.tensor([2, 1, 1])); s.data, s.batch_sizes
s = rnn.pack_padded_sequence(c, [1, 2, 1], enforce_sorted=False); rnn.pad_packed_sequence(s)
s = rnn.pack_padded_sequence(c, [3, 2], True);
    rnn.pad_packed_sequence(s, batch_first=True, total_length=4)
s = rnn.pack_sequence([x, x[:2]]); s.data, s.batch_sizes, rnn.unpack_sequence(s)
d = data.TensorDataset(x, t); len(d), d[0], [b[0].shape for b in data.DataLoader(d, batch_size=2)]
d = data.TensorDataset(x, t); len(data.DataLoader(d, 2))
d = data.TensorDataset(x, t);
    [b[1] for b in data.DataLoader(d, batch_size=2, shuffle=False, drop_last=True)]
d = [(1, 2.0, v), (3, 4.0, v)]; next(iter(data.DataLoader(d, batch_size=2)))
d = [{"a": 1, "b": "s"}, {"a": 2, "b": "t"}]; next(iter(data.DataLoader(d, batch_size=2)))
d = data.random_split(range(10), [7, 3]); [len(part) for part in d], sorted([*d[0], *d[1]])
d = data.random_split(range(10), [0.8, 0.2]); [len(part) for part in d]
d = data.Subset([5, 6, 7], [2, 0]); len(d), d[0], list(data.DataLoader(d, batch_size=1))
d = data.DataLoader(data.TensorDataset(x, y), batch_size=3, shuffle=True); next(iter(d))[0].sum()
d = data.DataLoader(data.TensorDataset(x, y), batch_size=3, shuffle=True); len(d.dataset)
o = optim.SGD([w], lr=0.1); (w * 2).sum().backward(); o.step(); o.zero_grad(); w, w.grad is None
o = optim.Adam([{"params": [w], "lr": 0.5}], lr=0.1); [g["lr"] for g in o.param_groups]
o = optim.SGD([w], lr=1.0); s = sched.StepLR(o, 1, gamma=0.5); o.step(); s.step(); s.get_last_lr()
o = optim.SGD([w], 1.0); s = sched.LambdaLR(o, lambda n: 0.1**n); o.step(); s.step(); s.get_last_lr()
o = optim.Adam([w]); (w * 3).sum().backward(); o.step(); sorted(o.state_dict()), w
[(a.shape, b.shape) for a, b in zip(x, y)], c[:, -1, :], c[-1], c[:, :, 1:3], x[:, [0, 2]]
x[..., None].shape
torch.tensor([v[0], v[1]]), torch.tensor([v[0].item(), 2]), torch.stack([v[0], v[1]]), torch.stack(list(v))
np.asarray(v).sum() == v.numpy().sum(), x.numpy().argmax(), torch.from_numpy(np.ones(2)).float()
x.view(x.size(0), -1), c.view(-1, c.shape[-1]), c.view(*c.shape[:2], 2, 2).shape
c.view(c.size(0) * c.size(1), -1)
x.to("cpu", non_blocking=True), torch.device(type="cuda", index=0).type, torch.device("cpu") == x.device
x.cpu().device.type
F.one_hot(t, 4).float(), F.one_hot(t, num_classes=4).to(torch.float32), torch.eye(4)[t]
torch.eye(4)[k % 4].shape
torch.cat([v, v], dim=-1), torch.stack([x, y]).mean(), torch.stack([x, y]).mean(dim=0)
torch.max(x).item(), x.max().item()
torch.sum(x * y, dim=-1, keepdim=True), (x - x.mean()) / x.std(), (x - x.mean(0)) / (x.std(0) + 1e-7)
x.sum(-1), x.mean(-1)
torch.sqrt(torch.mean((x - y) ** 2)), ((x - y) ** 2).mean().sqrt(), (x - y).abs().mean()
(x - y).pow(2).sum()
(x.argmax(dim=1) == t).float().mean(), (x.argmax(1) == t).sum().item() / len(t), x.argmax(dim=-1).tolist()
(t == t).all()
torch.exp(torch.tensor(1.5)), torch.exp(torch.tensor(2)).item(), torch.log(torch.tensor([1.0, 2.0]))
torch.sin(torch.arange(4) * 0.5)
torch.arange(4).unsqueeze(1) * torch.arange(3).unsqueeze(0), torch.arange(4).view(2, 2) % 2
torch.arange(4)[:, None] < t
torch.arange(5)[None, :] < torch.tensor([2, 3])[:, None], (torch.arange(3) >= 1).long()
torch.ones(2, 3).bool(), torch.zeros(1).bool()
p.detach().requires_grad_().requires_grad, x.requires_grad, (x * 2).requires_grad, w.requires_grad
w.grad is None, w.is_leaf
(w * 3).sum().backward(); w.data.add_(w.grad, alpha=-0.1); w.grad.zero_(); w, w.grad
(w * 3).sum().backward(); w.grad = None; w.grad is None
(w * 3).sum().backward(); w.grad.data.zero_(); w.grad.detach_(); w.grad
(w * v[:2]).sum().backward(); w.grad.norm().item(), w.grad.data.norm(2).item(), w.grad.abs().max()
a = w * 2; b = a.detach(); b.requires_grad, b, a.grad_fn is not None, w.grad_fn is None
a = w * 2; a.retain_grad(); a.sum().backward(); a.grad, w.grad
s = 0; s += (w * 2).sum(); s = s / 2; s.backward(); s.item(), w.grad
a = w * 1; a = a + 1; a *= 2; a.sum().backward(); w.grad
(w[0] * 3 + w[1]).backward(); w.grad
torch.cat([w, w]).sum().backward(); w.grad
torch.where(w > 0, w, -w).sum().backward(); w.grad
(w.unsqueeze(0).expand(3, -1) * 2).sum().backward(); w.grad
w.max().backward(); w.grad
(w.view(2, 1) @ w.view(1, 2)).sum().backward(); w.grad
m = nn.LSTM(4, 5); o, (h, a) = m(c); b = tuple(s.detach() for s in (h, a)); m(c, b)[0].shape, len(b)
m = nn.LSTM(4, 5); o, (h, a) = m(c); b = tuple(s.detach() for s in (h, a)); h[-1].shape
m = nn.LSTM(4, 5); o, s = m(c); s = tuple([e.data for e in s]); isinstance(s, tuple), m(c, s)[1][0].shape
m = nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True); o, (h, _) = m(c); o[:, -1].shape
m = nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True); o, (h, _) = m(c);
    torch.cat((h[-2], h[-1]), 1).shape
m = nn.GRU(4, 5, 2); o, h = m(c); o[-1].allclose(h[-1], atol=1e-6), h.shape, m(c, None)[1].shape
m = nn.GRU(4, 5, 2); o, h = m(c); m(c, hx=None)[0].shape
m = nn.LSTM(4, 5); m.flatten_parameters(); m.input_size, m.hidden_size, m.num_layers, m.batch_first
m = nn.LSTM(4, 5); m.flatten_parameters(); m.dropout, m.bidirectional
m = nn.GRUCell(4, 5); h = torch.zeros(3, 5); h = m(x, h); h = m(x, hx=h); h.shape, m.input_size
m = nn.GRUCell(4, 5); h = torch.zeros(3, 5); h = m(x, h); h = m(x, hx=h); m.hidden_size
m = nn.LSTMCell(4, 5); h, a = m(x); h, a = m(x, (h, a)); h.shape, a.shape
m = nn.LSTM(4, 5); s = rnn.pack_padded_sequence(c, [2, 2, 1]); o, (h, _) = m(s);
    rnn.pad_packed_sequence(o)[0].shape
m = nn.LSTM(4, 5); s = rnn.pack_padded_sequence(c, [2, 2, 1]); o, (h, _) = m(s); h.shape
m = nn.Linear(4, 2); m.in_features, m.out_features, m.weight.data.shape, m.bias.data.fill_(0.0)
m = nn.Linear(4, 2); m.bias is not None, m.weight.size(0)
m = nn.Linear(4, 2); m.weight.data.uniform_(-0.1, 0.1); m.bias.data.zero_();
    bool(m.weight.abs().max() <= 0.1)
m = nn.Linear(4, 2); m.weight.data.uniform_(-0.1, 0.1); m.bias.data.zero_(); m.bias
m = nn.Linear(4, 2); m.weight = nn.Parameter(torch.ones(2, 4)); m.bias.data.copy_(torch.ones(2)); m(x)
m = nn.Linear(4, 2); nn.init.constant_(m.weight, 0.5); nn.init.constant_(m.bias.data, 1); m(x), m(x[0])
m = nn.Linear(4, 2); nn.init.constant_(m.weight, 0.5); nn.init.constant_(m.bias.data, 1); m(c).shape
m = nn.Embedding(7, 2); m.weight.data.copy_(e); m(k), m(k[0, 0]), m.embedding_dim, m(t).shape
m = nn.Embedding(7, 2); m.weight = nn.Parameter(e); m(torch.tensor([[1, 2], [3, 4]]))
m = nn.Linear(4, 2); a = {n: q.shape for n, q in m.state_dict().items()}; a, len(list(m.parameters()))
m = nn.Linear(4, 2); a = {n: q.shape for n, q in m.state_dict().items()}; m.weight.requires_grad
m = nn.Linear(4, 2); sum(q.numel() for q in m.parameters())
m = nn.Linear(4, 2); sum(q.numel() for q in m.parameters() if q.requires_grad)
m = nn.Linear(4, 2); m.weight.requires_grad = False; [q.requires_grad for q in m.parameters()]
m = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)); m.eval(); torch.equal(m(x), m(x)), m[1].training
m = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)); m.eval(); next(m.parameters()).dtype
m = nn.Dropout(0.5); a = m(torch.ones(1000)); sorted(set(a.tolist())), m.p
m = nn.Sequential(); m.append(nn.Linear(4, 2)); m.append(nn.Tanh()); len(m), m(x).shape, m[0].weight.shape
m = nn.Sequential(); m.append(nn.Linear(4, 2)); m.append(nn.Tanh()); m[-1](x).shape
m = nn.ModuleList(); m.append(nn.Linear(4, 4)); m.extend([nn.Linear(4, 4)]); len(m)
m = nn.ModuleList(); m.append(nn.Linear(4, 4)); m.extend([nn.Linear(4, 4)]); [i for i, _ in enumerate(m)]
o = optim.Adam([w], lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1);
    (w * v[:2]).sum().backward(); o.step(); w
o = optim.AdamW([w], lr=0.1); (w * v[:2]).sum().backward(); o.step(); w
o = optim.SGD([w], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1);
    (w * v[:2]).sum().backward(); o.step(); o.step(); w
o = optim.RMSprop([w]); (w * v[:2]).sum().backward(); o.step(); w
o = optim.Adagrad([w], 0.1); (w * v[:2]).sum().backward(); o.step(); w
o = optim.SGD([w], lr=0.1); o.param_groups[0]["lr"] = 1.0; (w * v[:2]).sum().backward(); o.step();
    o.zero_grad(set_to_none=True); w
o = optim.SGD([w], lr=0.1); (w * 2).sum().backward(); o.zero_grad(set_to_none=False); w.grad
o = optim.SGD([w], lr=0.1, momentum=0.9); a = o.state_dict(); o.load_state_dict(a); sorted(a)
o = optim.SGD([w], lr=0.1, momentum=0.9); a = o.state_dict(); o.load_state_dict(a); len(o.param_groups)
o = optim.LBFGS([w], lr=0.5, max_iter=3);
    f = lambda: (o.zero_grad(), (a := (w ** 2).sum()).backward(), a)[-1]; o.step(f)
o = optim.LBFGS([w], lr=0.5, max_iter=3);
    f = lambda: (o.zero_grad(), (a := (w ** 2).sum()).backward(), a)[-1]; w
o = optim.SGD([w], 1.0); s = sched.CosineAnnealingLR(o, T_max=4);
    [(o.step(), s.step(), s.get_last_lr()[0])[-1] for _ in range(4)]
o = optim.SGD([w], 1.0); s = sched.ReduceLROnPlateau(o, "min", factor=0.1, patience=0); s.step(1.0);
    s.step(2.0); s.get_last_lr()
o = optim.SGD([w], 1.0); s = sched.MultiStepLR(o, milestones=[1, 2], gamma=0.1); o.step(); s.step();
    o.step(); s.step(); s.get_last_lr()
o = optim.SGD([w], 1.0); s = sched.ExponentialLR(o, gamma=0.9); o.step(); s.step(); s.get_last_lr()
o = optim.SGD([w], 1.0); s = sched.ExponentialLR(o, gamma=0.9); o.step(); s.step(); s.last_epoch
F.cross_entropy(c.view(-1, 4), k[:2, :3].reshape(-1) % 4)
F.nll_loss(F.log_softmax(c.view(-1, 4), 1), k[:2, :3].reshape(-1) % 4)
F.cross_entropy(x, t, ignore_index=0).item()
nn.CrossEntropyLoss(weight=torch.ones(4), ignore_index=3, reduction="sum")(x, t)
nn.CrossEntropyLoss(reduction="none")(c.permute(1, 2, 0), k[:3, :2] % 4)
nn.NLLLoss(reduction="none")(x, t), nn.NLLLoss(p[0])(x, t)
nn.BCEWithLogitsLoss()(v, torch.ones(4)), nn.BCELoss()(torch.sigmoid(v), torch.zeros(4))
nn.MSELoss()(x, torch.zeros_like(x))
nn.BCEWithLogitsLoss(reduction="none")(x, q), nn.BCELoss(weight=p, reduction="sum")(p, q)
nn.L1Loss(reduction="none")(x, y)
d = data.DataLoader(list(range(5)), batch_size=2); [b for b in d], len(d), [b.tolist() for b in d]
d = data.DataLoader([(x[0], 1), (x[1], 0)], batch_size=2); a, b = next(iter(d)); a.shape, b, b.dtype
d = data.DataLoader(data.TensorDataset(x), batch_size=2); [b[0].shape for b in d]
d = data.DataLoader(data.TensorDataset(x), batch_size=2); [i for i, (b,) in enumerate(d)]
d = data.ConcatDataset([data.TensorDataset(x), data.TensorDataset(y)]); len(d), d[4]
d = data.TensorDataset(x, y); s = data.SequentialSampler(d); list(s)
d = data.TensorDataset(x, y); s = data.SequentialSampler(d);
    len(data.DataLoader(d, sampler=s, batch_size=2))
d = data.BatchSampler(data.SequentialSampler(range(5)), batch_size=2, drop_last=False); list(d), len(d)
d = data.DataLoader(range(4), batch_size=4, collate_fn=lambda b: torch.tensor(b) * 2); next(iter(d))
d = data.DataLoader(range(4), 2, True, num_workers=0, pin_memory=False);
    sorted(i for b in d for i in b.tolist())
g = torch.Generator(); g.manual_seed(3); a = data.random_split(range(9), [5, 4], generator=g);
    sorted([*a[0], *a[1]])
g = torch.Generator(); g.manual_seed(3); a = data.random_split(range(9), [5, 4], generator=g); len(a[0])
isinstance(torch.nn.Linear(2, 2), nn.Module), torch.optim.SGD is optim.SGD
torch.utils.data.DataLoader is data.DataLoader
torch.nn.functional.relu(x), torch.nn.init.zeros_(torch.ones(2)), torch.nn.utils.rnn.pad_sequence([v])
torch.optim.lr_scheduler is sched
f"{x.mean():.4f}", f"{x.mean().item():>8.2f}", "{:.3f}".format(x.sum()), f"{tuple(x.shape)}"
str(x.tolist()) == str(x.numpy().tolist())
repr(torch.tensor([1.0, 2.0])), repr(torch.tensor([1, 2])), repr(torch.zeros(2, 2))
x.T.contiguous().view(-1), x.t().reshape(-1), x.is_contiguous(), x.t().is_contiguous()
x.t().contiguous().is_contiguous()
len(x), x.shape[0], x.size()[0], x.size(0) == len(x), [*x.shape], x.dim() == 2, list(x.size())
(x.shape[0], *x.shape[1:])
1.0 * k, k / 3, k * 1.5, k // 2, -k, k ** 2, 2 ** k, k.float() ** 0.5
x > k[:3, :4] if k.shape == x.shape else x, (k == 3).any()
x.logsumexp(dim=-1, keepdim=True), torch.cumsum(x, dim=1), torch.prod(v), x.std(dim=-1, keepdim=True)
torch.var(v), v.var().sqrt()
k.max(), k.min(dim=1), k.sum(dim=0), k.float().std(), k.argmax(), k.sort(1)[0], k.topk(1, dim=1)[0]
k.bool().sum(), k.cumsum(0)
torch.zeros(0, 3).sum(), torch.zeros(0, 3).shape, torch.cat([torch.zeros(0, 4), x]).shape, x[:0].shape
x[5:].numel()
"""
LINES = _TEXT.strip().replace("\n    ", " ").splitlines()
