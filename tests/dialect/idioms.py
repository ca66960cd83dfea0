"""Statements as notebooks have them, in groups: each must run, with either library."""

_TEXT = """
net = nn.LSTM(3, 4, 2, batch_first=True)
weight = next(net.parameters()).data
h = (weight.new(2, 5, 4).zero_(), weight.new(2, 5, 4).zero_())
h = tuple([each.data for each in h])
o, h = net(torch.randn(5, 2, 3), h)
# --
x = torch.from_numpy(np.ones((2, 2))).type(torch.FloatTensor)
assert x.dtype == torch.float32
# --
pred = torch.round(torch.sigmoid(torch.randn(5, 1)).squeeze())
c = pred.eq(torch.ones(5).float().view_as(pred))
np.squeeze(c.numpy())
np.sum(c.numpy())
# --
p = F.softmax(torch.randn(1, 6), dim=1).data
p, top = p.topk(3)
top = top.numpy().squeeze()
p = p.numpy().squeeze()
np.random.choice(top, p=p / p.sum())
# --
f = io.BytesIO()
torch.save({"tokens": ("a", "b"), "state_dict": nn.Linear(2, 2).state_dict(), "n_hidden": 3}, f)
f.seek(0)
ck = torch.load(f)
nn.Linear(2, 2).load_state_dict(ck["state_dict"])
# --
o = optim.Adam(nn.Linear(2, 2).parameters())
for g in o.param_groups:
    g["lr"] *= 0.9
# --
s = optim.lr_scheduler.StepLR(optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1), 1)
s.get_last_lr()
# --
print(nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)))
# --
m = copy.deepcopy(nn.GRU(2, 3))
m(torch.zeros(1, 1, 2))
# --
cells = nn.ModuleList([nn.LSTMCell(2, 3), nn.LSTMCell(3, 3)])
h = [torch.zeros(1, 3)] * 2
c = [torch.zeros(1, 3)] * 2
x = torch.ones(1, 2)
for i, cell in enumerate(cells):
    h[i], c[i] = cell(x, (h[i], c[i]))
    x = h[i]
# --
t = torch.empty(3, dtype=torch.long).random_(5)
nn.CrossEntropyLoss()(torch.randn(3, 5, requires_grad=True), t).backward()
# --
l = torch.ones(1, requires_grad=True).sum()
l.cpu().data.numpy()
l.detach().cpu().numpy()
float(l)
l.data.item()
# --
v = nn.Parameter(torch.FloatTensor(4))
init.uniform_(v, -1, 1)
nn.Parameter(torch.Tensor(2, 3)).data.normal_(0, 0.1)
# --
inp = torch.rand(4, 3)
tgt = torch.tensor([0, 1, 2, 0])
mask = torch.BoolTensor([[1], [0], [1], [1]])
ce = -torch.log(torch.gather(inp, 1, tgt.view(-1, 1)).squeeze(1))
loss = ce.masked_select(mask.squeeze(1)).mean()
mask.sum().item()
# --
d = torch.ones(1, 1, device="cpu", dtype=torch.long) * 1
a = torch.zeros([0], device="cpu", dtype=torch.long)
b = torch.zeros([0], device="cpu")
a = torch.cat((a, d.squeeze(0)), dim=0)
s, i = torch.max(torch.rand(1, 4), dim=1)
b = torch.cat((b, s), dim=0)
torch.unsqueeze(i, 0)
# --
net = nn.Linear(2, 2)
o = optim.Adam(net.parameters())
net(torch.ones(1, 2)).sum().backward()
o.step()
for state in o.state.values():
    for k, v2 in state.items():
        if isinstance(v2, torch.Tensor):
            state[k] = v2.cpu()
# --
o.step()
# --
e = nn.Embedding(4, 3, padding_idx=0, _weight=torch.ones(4, 3))
assert e.weight[1].sum() == 3
# --
rnn = getattr(nn, "LSTM")(2, 3, 1, dropout=0.0)
# --
F.pad(torch.ones(2, 3, 4), (0, 0, 1, 0))
F.pad(torch.ones(2, 3), (1, 1), value=9)
# --
lengths = torch.tensor([2, 5, 3])
sl, perm = lengths.sort(0, descending=True)
x = torch.zeros(3, 5, 2)[perm]
_, un = perm.sort()
nn.utils.rnn.pack_padded_sequence(x, sl.cpu().numpy(), batch_first=True)
# --
e = nn.Embedding(3, 2)
e.weight.data.copy_(torch.from_numpy(np.ones((3, 2))))
e.weight.requires_grad = False
# --
x = torch.randn(6, 2)
idx = torch.randperm(6)[:3]
x[idx]
x[idx, 1]
x[:, [0, 1]]
torch.where(x > 0)[0]
(x > 0).nonzero(as_tuple=False)
x[x > 0] = 0
x[x[:, 0] > 0]
for m in nn.Sequential(nn.Linear(2, 2)).modules():
    cn = m.__class__.__name__
    if cn.find("Linear") != -1:
        list(m.weight.data.size())
        m.weight.data.uniform_(-1, 1)
        m.bias.data.fill_(0)
# --
net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
list(net._modules.items())
list(net._modules.values())
net[0]._parameters["weight"].shape
net._modules["0"]
# --
outputs = torch.randn(3, 4)
outputs.data.max(1, keepdim=True)[1]
_, pr = torch.max(outputs.data, 1)
(pr == torch.zeros(3).long()).sum().item()
# --
loss = torch.tensor(0.0)
w = torch.ones(2, requires_grad=True)
loss += (w * 2).sum()
loss.backward()
w.grad
# --
loss = 0
for t in range(3):
    loss += (w * t).sum()
# --
(loss / 3).backward()
# --
x = torch.linspace(-1, 1, 10)
y = torch.sin(x) + torch.randn(x.size()) * 0.1
x, y = Variable(x), Variable(y)
np.asarray(x)
# --
x = torch.unsqueeze(torch.linspace(-1, 1, 10), dim=1)
x.data.numpy()
# --
w.grad = None
w.register_hook(lambda g: g.clamp(-1, 1))
(w * 5).sum().backward()
assert w.grad.max() <= 1
# --
d = data_utils.DataLoader(
    data_utils.TensorDataset(torch.ones(4, 2), torch.zeros(4)),
    batch_size=2,
    shuffle=True,
    num_workers=0,
    drop_last=False,
)
[(a.shape, b.shape) for a, b in d]
len(d.dataset)
# --
x = torch.ones(2, 3).to(device=torch.device("cpu"), dtype=torch.float64)
x.size(1)
x.t()
x.view(-1, 1).squeeze(-1)
# --
t = torch.tensor([[1, 2], [3, 4]])
t.view(1, -1)[0]
t[0][1].item()
t.flatten().tolist()
torch.LongTensor(t.tolist())
torch.LongTensor(np.array([1, 2]))
torch.Tensor([np.float32(1.0)])
# --
nn.init.kaiming_normal_(torch.empty(3, 4))
nn.init.xavier_uniform_(nn.Linear(2, 3).weight, gain=nn.init.calculate_gain("relu"))
nn.init.orthogonal_(nn.LSTM(2, 3).weight_hh_l0)
# --
out, (h, c) = nn.LSTM(2, 3, 2, bidirectional=True)(torch.ones(4, 5, 2))
h = h.view(2, 2, 5, 3)
h[-1]
torch.cat([h[-1, 0], h[-1, 1]], 1)
out[-1]
out.permute(1, 0, 2)[:, -1]
# --
x = torch.zeros(3, 4).scatter_(1, torch.tensor([[0], [1], [2]]), 1)
F.one_hot(torch.tensor([0, 1]), 3).float()
torch.eye(5)[[1, 2]]
with torch.autograd.profiler.profile() as prof:
    torch.ones(1)
# --
g = torch.Generator()
g.manual_seed(0)
torch.randn(3, generator=g)
torch.rand(2, generator=g)
torch.randint(0, 3, (2,), generator=g)
torch.randperm(3, generator=g)
torch.multinomial(torch.ones(3), 1, generator=g)
torch.bernoulli(torch.ones(2), generator=g)
torch.normal(0.0, 1.0, (2,), generator=g)
# --
torch.zeros(2, pin_memory=False)
torch.tensor([1.0], pin_memory=False)
torch.empty(2, layout=torch.strided)
torch.zeros_like(torch.ones(2), memory_format=torch.preserve_format)
torch.ones(2).clone(memory_format=torch.contiguous_format)
# --
torch.rand(2, out=None)
torch.arange(3, out=None)
torch.zeros(2, out=None)
torch.eye(2, requires_grad=True)
torch.arange(3.0, requires_grad=True)
torch.linspace(0, 1, 3, requires_grad=True)
# --
a = torch.ones(2, 3)
b = torch.empty(2, 3)
torch.add(a, a, out=b)
torch.matmul(a, a.t())
# --
torch.tensor(3.0).log()
torch.tensor([True]).any()
torch.tensor(2) ** 2
2 / torch.tensor(4.0)
-torch.ones(2)
torch.ones(2).__len__()
# --
x = torch.randn(2, 3)
torch.sum(x, dim=(0, 1))
torch.mean(x, [0, 1])
x.mean(dim=[0], keepdim=True)
torch.max(x, dim=1, keepdim=True).values
x.var(dim=1, unbiased=False)
x.norm(p="fro")
torch.norm(x, p="fro", dim=1)
# --
F.dropout(x, p=0.5, training=False)
F.log_softmax(x)
F.softmax(x)
nn.Softmax()(x)
nn.LogSoftmax(dim=-1)(x)
F.normalize(x, p=2, dim=-1)
# --
F.nll_loss(F.log_softmax(x, -1), torch.tensor([0, 1]), ignore_index=0, reduction="mean")
F.binary_cross_entropy(torch.sigmoid(x), torch.ones(2, 3))
F.mse_loss(x, x)
F.smooth_l1_loss(x, x)
# --
x = torch.randn(3, requires_grad=True)
x.grad is None
(x**2).sum().backward()
x.grad.zero_()
x.grad.data.zero_()
x.grad.detach_()
# --
torch.cuda.device_count()
torch.cuda.is_available()
torch.__version__
torch.version.cuda
torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
# --
str(torch.float32)
repr(torch.ones(2))
print(torch.ones(2).shape, torch.ones(2).dtype)


class N(nn.Module):
    def __init__(self):
        nn.Module.__init__(self)
        self.a = nn.Linear(2, 2)
        self.b = nn.Parameter(torch.zeros(1))
        self.register_parameter("c", None)

    def forward(self, x):
        return self.a(x) * self.b
# --
n = N()
n.zero_grad()
n.double()
n.float()
n.half().float()
n.cpu()
list(n.named_children())
n.a.extra_repr()
n.train()
n.eval()
n.requires_grad_(False)
n.share_memory()
dict(n.named_parameters())
# --
torch.allclose(torch.ones(2), torch.ones(2))
torch.equal(torch.ones(2), torch.ones(2))
torch.all(torch.eq(torch.ones(2), torch.ones(2))).item()
for name, p in nn.LSTM(2, 3).named_parameters():
    if "bias" in name:
        nn.init.constant_(p, 0.0)
    elif "weight" in name:
        nn.init.orthogonal_(p)
# --
torch.nn.utils.clip_grad_norm_(nn.Linear(2, 2).parameters(), max_norm=1, norm_type=2)
torch.nn.utils.parameters_to_vector(nn.Linear(2, 2).parameters())
# --
torch.ones(3).numpy().tolist()
torch.ones(3).new_zeros(2, 2)
torch.ones(3).new_full((2,), 1.5)
torch.zeros(3).bool().logical_not()
(~torch.ones(2).bool())
# --
x = torch.ones(2, 3, 4)
x.sum(-1).sum(-1)
x.transpose(1, 2).contiguous().view(2, -1)
x.split(1, dim=2)
x.chunk(2, -1)
torch.split(x, [1, 3], dim=2)
x.unbind(1)
x.select(1, 0)
x.index_select(1, torch.tensor([0, 2]))
x.narrow(2, 0, 2)
# --
h = torch.zeros(1, 2, 3)
isinstance(h, tuple)
isinstance((h, h), tuple)
h.detach_()
[s.detach() for s in (h, h)]
# --
a = torch.tensor([1.0, 2.0])
a[0] += 1
a.data[1] = 5
a.tolist()
a.add_(1).mul_(2)
a.sub_(0.1, a)
# --
net = nn.LSTM(2, 3)
opt = optim.SGD(
    [{"params": net.parameters()}, {"params": nn.Linear(2, 2).parameters(), "lr": 1e-3}],
    lr=1e-2,
    momentum=0.9,
)
opt.add_param_group({"params": nn.Linear(1, 1).parameters()})
# --
opt.zero_grad()
opt.state_dict()["param_groups"][0]["lr"]
# --
torch.nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(2)])[0]
nn.Sequential(*[nn.Linear(2, 2) for _ in range(2)])(torch.ones(1, 2))
# --
from collections import OrderedDict

nn.Sequential(OrderedDict([("a", nn.Linear(2, 2)), ("b", nn.ReLU())])).a
# --
torch.stack([torch.ones(2)], 0).mean(0)
torch.cat([torch.ones(1, 2)] * 3, 0)
torch.repeat_interleave(torch.ones(2), 2)
torch.repeat_interleave(torch.tensor([1, 2]), torch.tensor([1, 2]))
# --
torch.einsum("bi,bj->bij", torch.ones(2, 3), torch.ones(2, 4))
torch.einsum("ij,jk", torch.ones(2, 3), torch.ones(3, 2))
torch.bmm(torch.ones(1, 2, 3), torch.ones(1, 3, 2))
torch.baddbmm(torch.ones(1, 2, 2), torch.ones(1, 2, 3), torch.ones(1, 3, 2))
# --
torch.cumsum(torch.ones(3), 0)
torch.triu(torch.ones(3, 3), diagonal=1).bool()
torch.tril(torch.ones(3, 3))
(torch.triu(torch.ones(3, 3)) == 1).transpose(0, 1).float().masked_fill(torch.eye(3) == 0, float("-inf"))
# --
torch.nn.functional.embedding(torch.tensor([0]), torch.ones(2, 2))
F.linear(torch.ones(1, 2), torch.ones(3, 2))
torch.sigmoid_(torch.ones(1))
F.relu_(torch.ones(1))
torch.relu_(torch.ones(1))
F.tanh(torch.ones(1))
"""
GROUPS = _TEXT.strip().split("\n# --\n")
