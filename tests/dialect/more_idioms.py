"""More statements of notebooks and of larger projects; see idioms.py."""

_TEXT = """
class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.l: nn.Linear = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.acts = [F.relu, torch.tanh]

    def forward(
        self, x: torch.Tensor, h: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        return self.l(x), h
# --
d = D()
d(torch.ones(1, 2))
d.to("cpu").train()
[p.data.clone() for p in d.parameters()]
d.load_state_dict({k: v.clone() for k, v in d.state_dict().items()})
# --
class Locked(nn.Module):
    def forward(self, x, dropout=0.5):
        if not self.training or not dropout:
            return x
        m = x.data.new(1, x.size(1), x.size(2)).bernoulli_(1 - dropout)
        mask = Variable(m, requires_grad=False) / (1 - dropout)
        mask = mask.expand_as(x)
        return mask * x
# --
Locked()(torch.ones(3, 2, 4)).shape
# --
def embedded_dropout(embed, words, dropout=0.1):
    mask = embed.weight.data.new().resize_((embed.weight.size(0), 1)).bernoulli_(1 - dropout).expand_as(
        embed.weight
    ) / (1 - dropout)
    w = mask * embed.weight
    pad = embed.padding_idx
    pad = -1 if pad is None else pad
    return F.embedding(
        words,
        w,
        pad if pad >= 0 else None,
        embed.max_norm,
        embed.norm_type,
        embed.scale_grad_by_freq,
        embed.sparse,
    )
# --
embedded_dropout(nn.Embedding(4, 3), torch.tensor([[0, 1]])).shape
# --
p = nn.Linear(2, 2)
loss = p(torch.ones(1, 2)).sum()
loss.backward()
[q.data.add_(q.grad.data, alpha=-0.1) for q in p.parameters()]
total = sum([q.grad.data.norm(2).item() ** 2 for q in p.parameters()]) ** 0.5
# --
x = torch.ones(5, 3, 2)
x = pack_padded_sequence(x, [5, 3, 1])
y, h = nn.GRU(2, 4)(x)
y = PackedSequence(y.data * 2, y.batch_sizes, y.sorted_indices, y.unsorted_indices)
pad_packed_sequence(y, batch_first=True, total_length=6)[0].shape
# --
o, (h, c) = nn.LSTM(2, 4, bidirectional=True, batch_first=True)(torch.ones(3, 5, 2))
f, b = o[:, :, :4], o[:, :, 4:]
torch.cat((f[:, -1], b[:, 0]), 1)
(o[:, :, :4] + o[:, :, 4:]).size()
idx = (torch.tensor([5, 3, 1]) - 1).view(-1, 1).expand(3, o.size(2)).unsqueeze(1)
o.gather(1, idx).squeeze(1).shape
# --
mask = torch.arange(5).expand(3, 5) < torch.tensor([5, 3, 1]).unsqueeze(1)
mask = mask.float()
s = torch.randn(3, 5)
s = s.masked_fill(mask == 0, -1e9)
a = F.softmax(s, dim=-1)
torch.bmm(a.unsqueeze(1), o).squeeze(1)
# --
loss_f = nn.CrossEntropyLoss(reduction="none")
l = loss_f(torch.randn(3, 4, 5), torch.zeros(3, 5).long())
(l * mask).sum() / mask.sum()
# --
bs = torch.LongTensor(2, 3).zero_()
bs[0, 1] = 4
bs.fill_(2)
bs.numpy()
bs.max().item() + 1
# --
for t in range(2):
    bs[:, t] = torch.multinomial(torch.ones(2, 5), 1).squeeze(1)
# --
w = nn.Parameter(torch.Tensor(3, 3))
nn.init.eye_(w)
nn.init.constant_(w, 1.0)
w.data.clamp_(0, 0.5)
w.data.zero_()
w.numel()
# --
torch.nn.init.normal_(torch.empty(2, 2), mean=0.0, std=0.02)
nn.init.uniform_(torch.empty(2), -0.1, 0.1)
# --
opt = optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
sch = optim.lr_scheduler.LambdaLR(opt, lr_lambda=[lambda e: 0.95**e])
opt.step()
sch.step()
sch.state_dict()
opt.param_groups[0]["lr"]
# --
sch = optim.lr_scheduler.ReduceLROnPlateau(opt, mode="max", factor=0.5, patience=1)
sch.step(0.5)
sch.num_bad_epochs
# --
class Own(
    optim.lr_scheduler._LRScheduler
    if hasattr(optim.lr_scheduler, "_LRScheduler")
    else optim.lr_scheduler.LRScheduler
):
    def get_lr(self):
        return [b * 0.5 for b in self.base_lrs]
# --
Own(opt).step()
# --
class DS(data_utils.Dataset):
    def __init__(self, x, y):
        self.x = torch.from_numpy(x)
        self.y = torch.LongTensor(y)

    def __len__(self):
        return self.x.shape[0]

    def __getitem__(self, i):
        return {"x": self.x[i].float(), "y": self.y[i]}
# --
for b in data_utils.DataLoader(DS(np.ones((4, 2)), [0, 1, 0, 1]), batch_size=2, shuffle=True):
    b["x"].shape, b["y"].dtype
# --
tr, va = data_utils.random_split(
    DS(np.ones((4, 2)), [0, 1, 0, 1]), [3, 1], generator=torch.Generator().manual_seed(1)
)
len(tr)
# --
sampler = data_utils.WeightedRandomSampler(torch.ones(4).double(), 4, replacement=True)
list(sampler)
data_utils.SubsetRandomSampler([0, 1])
# --
correct = 0
out = torch.randn(4, 3)
tgt = torch.tensor([0, 1, 2, 0])
correct += out.max(1)[1].eq(tgt).sum().item()
out.argmax(dim=1).cpu().numpy()
F.softmax(out, dim=1).cpu().detach().numpy()[:, 1]
torch.topk(out, 2)[1].t().eq(tgt.view(1, -1).expand(2, 4)).reshape(-1).float().sum(0)
# --
torch.stack([torch.tensor(1.0), torch.tensor(2.0)])
torch.tensor([[1.0, 2.0]])[0].tolist()
torch.Tensor([1]).item()
torch.tensor(np.array([1, 2])).float() / 2
torch.as_tensor(np.ones(2), dtype=torch.float32)
# --
h = [torch.zeros(2, 3), torch.zeros(2, 3)]
h[0] = h[0].clone()
torch.stack(h).sum(0)
[t.fill_(0) for t in h]
h[0].data.fill_(0)
# --
net = nn.LSTM(2, 3)
net.hidden = (torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))
o, net.hidden = net(torch.ones(4, 1, 2), net.hidden)
net.hidden = tuple(v.detach() for v in net.hidden)
# --
e = torch.exp(torch.tensor([1.0, 2.0]))
e /= e.sum()
e *= 2
e -= 1
e += 1
e **= 2
a, b = torch.max(e, 0)
a.item()
b.item()
e[e > 1]
# --
logp = torch.log_softmax(torch.randn(2, 5), -1)
t = torch.tensor([1, 2])
logp.gather(1, t.unsqueeze(1))
logp[range(2), t]
logp[torch.arange(2), t].mean()
-logp[np.arange(2), t.numpy()].sum()
# --
if torch.cuda.is_available():
    torch.cuda.manual_seed(1)
# --
torch.backends.cudnn.deterministic = True
torch.set_num_threads(1)
torch.get_num_threads()
# --
c = copy.deepcopy(nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True)))
c[0].weight.data[0] = 1
c[-1]
list(c.children())[:-1]
nn.Sequential(*list(c.children())[:-1])
c[:1]
# --
torch.cat([torch.zeros(1, 2).long(), torch.ones(1, 2).long()]).float().std()
torch.zeros(3).uniform_(-1, 1).abs().sum()
torch.tensor([3, 1, 2]).sort(descending=True)[1]
torch.tensor([1.0, float("nan")]).isnan().any()
# --
x = torch.randn(2, 4, 6)
x.view(2, 4, 2, 3).permute(0, 2, 1, 3).contiguous().view(2, 8, 3)
x.reshape(-1, 6).shape
x.transpose(-2, -1)
x[:, -1, :].unsqueeze(1)
x[..., :3]
x[:, 1::2]
x.flip(1)
torch.flip(x, dims=[1])
x.mean(1).unsqueeze(1).repeat(1, 4, 1)
x.repeat_interleave(2, dim=1).shape
# --
rnn = nn.RNN(2, 3, nonlinearity="relu")
rnn.all_weights
[w.shape for w in rnn._flat_weights]
rnn.nonlinearity
rnn.mode
rnn.bias
rnn.batch_first
rnn.dropout
rnn.bidirectional
rnn.num_layers
# --
str(torch.device("cpu"))
torch.device("cpu").type == "cpu"
torch.ones(1).device
next(nn.Linear(1, 1).parameters()).device
next(nn.Linear(1, 1).parameters()).is_cuda
# --
loss = nn.MSELoss(reduction="sum")(torch.ones(2), torch.zeros(2))
loss.item()
"%.3f" % loss
"{:.3f}".format(loss.item())
f"{loss:.2f}"
print("loss", loss)
# --
torch.tensor([1, 2, 3]).numpy().dtype
torch.tensor([1, 2]).double().numpy()
np.array(torch.ones(2))
np.mean([torch.tensor(1.0).item()])
torch.from_numpy(np.zeros((2, 2), dtype=np.float32)).requires_grad_()
sum([torch.tensor(1.0), torch.tensor(2.0)]) / 2
max([torch.tensor(1.0), torch.tensor(2.0)])
sorted([torch.tensor(2.0), torch.tensor(1.0)])
# --
int(torch.tensor(3))
float(torch.tensor(3.0))
bool(torch.tensor(True))
range(torch.tensor(3))
[1, 2, 3][torch.tensor(1)]
{torch.tensor(1): 2}
torch.tensor(2) in [torch.tensor(2)]
# --
torch.no_grad().__enter__()
torch.set_grad_enabled(True)
# --
@torch.no_grad()
def ev(m, x):
    return m(x)
# --
ev(nn.Linear(2, 2), torch.ones(1, 2)).requires_grad
# --
F.cross_entropy(
    torch.randn(2, 3), torch.tensor([0, 1]), weight=torch.ones(3), reduction="sum", label_smoothing=0.1
)
F.mse_loss(torch.ones(2, 2), torch.ones(2, 2), reduction="none").mean(dim=1)
F.cosine_similarity(torch.ones(2, 3), torch.ones(2, 3), dim=-1)
F.pairwise_distance(torch.ones(2, 3), torch.zeros(2, 3))
"""
GROUPS = _TEXT.strip().split("\n# --\n")
