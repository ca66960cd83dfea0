"""More of what users write, a line each; see `snippets.py`."""

_TEXT = """
torch.hstack([v, v]), torch.vstack([x, y]), torch.vstack([v, v]), torch.dstack([x, y])
torch.column_stack([v, v])
torch.hstack((x, y)), torch.concatenate([x, y], 1)
torch.atleast_1d(v[0]), torch.atleast_2d(v), torch.atleast_3d(x), torch.broadcast_tensors(x, v)
torch.meshgrid(v, p[0, :3], indexing="ij"), torch.meshgrid(v, p[0], indexing="xy"), torch.cartesian_prod(t, t)
x.roll(1), x.roll(1, 0), x.roll((1, -1), (0, 1)), torch.roll(x, shifts=2, dims=1)
x.tril(), x.triu(1), torch.tril(x, -1), torch.triu(c), torch.tril(torch.ones(3, 3)).bool(), x.tril(diagonal=1)
torch.diag(v), torch.diag(x), torch.diag(v, 1), torch.diag(x, -1), x.diagonal(), c.diagonal(0, 1, 2)
x[:, :3].trace()
torch.diag_embed(x), torch.diag_embed(v, 1), torch.diagflat(x[0]), torch.tril_indices(3, 3)
torch.triu_indices(2, 4, 1)
x.unfold(1, 2, 1), v.unfold(0, 2, 2), c.unfold(1, 2, 1), x.unflatten(1, (2, 2)), c.movedim(0, -1)
c.movedim((0, 1), (2, 0))
torch.tensor_split(v, 3), x.tensor_split(2, dim=1), torch.hsplit(x, 2), torch.vsplit(c, 2), torch.fliplr(x)
torch.flipud(x)
torch.rot90(x), torch.rot90(x, 2), torch.swapdims(x, 0, 1)
x.cumprod(1), x.cumprod(dim=0), k.cumprod(1), x.cummax(1), x.cummin(0), torch.logcumsumexp(x, 1), x.diff()
x.diff(dim=0)
x.median(), x.median(1), x.median(dim=0, keepdim=True), v.median(), torch.median(k), k.median(1)
x.kthvalue(2, 1)
torch.quantile(x, 0.3), x.quantile(0.5, dim=1), torch.quantile(x, torch.tensor([0.1, 0.9]))
x.quantile(0.25, 0, True)
k.unique(), torch.unique(k, return_counts=True), k.unique(return_inverse=True), torch.unique(k, dim=0)
k.mode(1)
torch.unique_consecutive(torch.tensor([1, 1, 2, 2, 1])), torch.unique_consecutive(t, return_counts=True)
torch.bincount(t), torch.bincount(t, minlength=6), torch.bincount(t, weights=p[0, :3]), k.count_nonzero()
k.count_nonzero(1)
torch.isin(k, t), torch.searchsorted(torch.tensor([1.0, 2.0, 3.0]), v)
torch.bucketize(v, torch.tensor([-1.0, 0.0, 1.0]))
torch.histc(v, bins=4, min=-2, max=2), x.argwhere().shape, torch.argwhere(k > 3)
x.scatter(1, k[:, :2] % 4, 7.0), x.scatter(0, t[None] % 3, y), x.scatter_add(1, k % 4, y)
x.scatter(1, k[:, :1] % 4, y)
x.index_add(0, torch.tensor([0, 2]), y[:2]), x.index_copy(1, torch.tensor([3]), y[:, :1])
x.index_fill(0, t[:1], -1)
x.index_add(1, t % 4, y[:, :3], alpha=2), x.index_put((t % 3, t), torch.ones(3)), x.take(t), torch.take(x, k)
x.masked_scatter(x > 0, y), x.take_along_dim(k % 3, 0), torch.take_along_dim(x, k[:, :2] % 4, dim=1)
x.take_along_dim(t)
torch.ceil(x), x.trunc(), x.frac(), torch.fix(x), k.ceil(), torch.atan(x), x.tan(), torch.atan2(x, y)
torch.asin(p), p.acos()
torch.sinh(x), x.cosh(), p.log2(), torch.log10(p), x.exp2(), p.logit(), torch.logit(q, 0.1), torch.erfc(x)
torch.hypot(x, y)
torch.deg2rad(x), torch.rad2deg(x), x.sgn(), x.absolute(), torch.negative(x), torch.xlogy(q, p)
torch.fmod(x, 0.3), k.fmod(3)
torch.fmax(x, y), torch.fmin(x, y), torch.aminmax(x), torch.aminmax(x, dim=1)
torch.nan_to_num(torch.tensor([float("nan"), float("inf"), -float("inf"), 2.0]))
x.clamp_min(0)
torch.clamp_max(x, 0.1), torch.logical_xor(q, p > 0.5), torch.lerp(x, y, 0.3), x.addcmul(y, y, value=2)
torch.addcdiv(x, y, p)
torch.add(x, y, alpha=2), x.add(1, alpha=3), x.sub(y, alpha=0.5), torch.rsub(x, 1)
x.div(0.3, rounding_mode="floor")
k.div(2, rounding_mode="trunc"), torch.div(-k, 2, rounding_mode="floor")
torch.div(x, y, rounding_mode="trunc"), x.true_divide(2)
torch.addmm(v[:3], x, y.t()), torch.addmm(x[:, :3], x, y.t(), beta=2, alpha=0.5)
torch.baddbmm(c[:, :, :3], c, c.mT)
torch.tensordot(x, y, dims=([1], [1])), torch.inner(v, v)
torch.dist(x, y), x.dist(y, 1), torch.cdist(x, y), F.pairwise_distance(x, y), torch.std_mean(x)
torch.var_mean(x, 1)
torch.nansum(x), torch.nanmean(x, 0), x.nansum(1), torch.count_nonzero(k, dim=0), torch.is_nonzero(v[0])
torch.numel(c)
torch.greater(x, y), torch.less_equal(x, 0), x.not_equal(y), torch.bitwise_not(k), torch.bitwise_and(k, 3)
k.bitwise_or(1)
torch.result_type(k, x), torch.promote_types(torch.int32, torch.int64), torch.logspace(0, 2, 3)
torch.scalar_tensor(3)
torch.asarray([1, 2]), torch.randint_like(k, 3).dtype, x.stride(), x.t().stride(), x.storage_offset()
x[1].storage_offset()
x.is_same_size(y), x.is_signed(), k.is_complex(), x.element_size(), x.itemsize, x.is_cpu, x.is_sparse
x.get_device(), x.data_ptr() == x.data_ptr()
x.view(torch.int32).dtype, x.view_as(y.reshape(4, 3)), x.ravel(), x.swapdims(0, 1), x.expand_as(c)
x.sum_to_size(1, 4)
F.logsigmoid(x), F.silu(x), F.selu(x), F.celu(x), F.celu(x, 2.0), F.glu(x), F.hardtanh(x), F.relu6(x * 5)
F.mish(x), F.softsign(x)
F.tanhshrink(x), F.softshrink(x), F.hardshrink(x), F.hardsigmoid(x), F.hardswish(x), F.threshold(x, 0.1, 5)
F.prelu(x, torch.tensor([0.3]))
F.softmin(x, 1), F.kl_div(x, p, reduction="batchmean")
F.kl_div(x, p.log(), reduction="sum", log_target=True)
F.gaussian_nll_loss(x, y, p), F.gaussian_nll_loss(x, y, p[:, 0], full=True), F.poisson_nll_loss(x, q)
F.poisson_nll_loss(p, p * 9, False, True)
F.cosine_embedding_loss(x, y, torch.tensor([1, -1, 1]))
F.margin_ranking_loss(x[:, 0], y[:, 0], torch.tensor([1, -1, 1]), 0.2)
F.hinge_embedding_loss(x, q * 2 - 1), F.soft_margin_loss(x, q * 2 - 1), F.multilabel_soft_margin_loss(x, q)
F.triplet_margin_loss(x, y, x * y)
F.batch_norm(x, torch.zeros(4), torch.ones(4), training=False), F.batch_norm(x, None, None, v, v, True)
F.rms_norm(x, (4,))
nn.BatchNorm1d(4)(x), nn.LogSigmoid()(x), nn.SiLU()(x), nn.PReLU()(x), nn.GLU()(x), nn.Hardtanh(-2, 2)(x)
nn.KLDivLoss(reduction="batchmean")(x, p)
nn.Unflatten(1, (2, 2))(x).shape, nn.CosineSimilarity()(x, y), nn.PairwiseDistance()(x, y)
nn.Softmin(dim=1)(x), nn.Bilinear(4, 4, 2)(x, y).shape
nn.Embedding(9, 3, max_norm=1.0)(k).norm(dim=2).max().item() <= 1.0001
nn.Embedding.from_pretrained(e, padding_idx=0).padding_idx
m = nn.Sequential(nn.Linear(4, 3)) + nn.Sequential(nn.Tanh());
    len(m), len(m * 2), type(m.pop(1)).__name__, len(m)
m = nn.ParameterDict({"a": torch.ones(2)}); list(m.keys()), [n for n, _ in m.named_parameters()], "a" in m
m = nn.LSTM(4, 5, 2, bidirectional=True);
    [[n for n in r] for r in m._all_weights], m.proj_size, m.mode, m.bias, [q.shape for q in m.all_weights[1]]
m = nn.LSTM(4, 5);
    m.weight_ih_l0.shape, m.bias_hh_l0.shape, m.weight_hh_l0.requires_grad, m.weight_ih_l0.is_leaf
m = nn.LSTM(4, 5); m.bias_ih_l0.data.fill_(0); m.bias_ih_l0.data[5:10].fill_(1); m.bias_ih_l0
m = nn.LSTM(4, 5); nn.init.constant_(m.weight_hh_l0, 0.5);
    m.weight_hh_l0, isinstance(m, nn.RNNBase), isinstance(m.weight_hh_l0, nn.Parameter)
m = nn.Linear(4, 2); l = []; h = m.register_forward_hook(lambda m, i, o: l.append(o.shape)); m(x);
    h.remove(); m(x); l
m = nn.Linear(4, 2);
    m.get_parameter("weight").shape, m.type(torch.float64).weight.dtype, m.get_submodule("") is m
x.type(), k.type(), (x > 0).type(), x.type(torch.DoubleTensor).dtype, x.type("torch.LongTensor")
isinstance(x, torch.FloatTensor)
torch.FloatTensor([1, 2]), torch.LongTensor([[1, 2]]), torch.ByteTensor([1]), torch.Tensor([1, 2])
torch.Tensor(2, 3).shape
torch.FloatTensor(2, 3).shape, torch.LongTensor(x.size()).shape, torch.Tensor(x.shape).shape
x.new(2, 3).shape, x.new([1, 2]), k.new([3])
torch.BoolTensor([True, False]), torch.IntTensor(3).dtype, isinstance(k, torch.LongTensor)
isinstance(k, torch.FloatTensor)
g = torch.autograd.grad((w * w).sum(), w); type(g), g[0]
(w * 3).sum().backward(); w.grad.mul_(2); w.data.add_(w.grad, alpha=-1); w
w = torch.zeros(3, 4); w.add_(x).sub_(y).mul_(2).div_(3).clamp_(-1, 1).pow_(2).sqrt_().neg_().abs_(); w
w = torch.zeros(2, 3);
    w.unsqueeze_(0), w.squeeze_(0).shape, w.t_().shape, w.transpose_(0, 1).shape, w.resize_(3, 2).shape
w = torch.ones(3, 4); w.tril_().triu_(-1).fill_diagonal_(5); w
w = torch.zeros(3, 4);
    w.index_fill_(1, t, 2.0).scatter_add_(1, k % 4, y).masked_scatter_(x > 1, y).cumsum_(1); w
w = torch.zeros(3); w.lerp_(v[:3], 0.5).addcmul_(v[:3], v[:3], value=2).addcdiv_(v[:3], p[0, :3]); w
s = rnn.pack_padded_sequence(c, [2, 2, 1]); a, b, i, j = s; a.shape, b, i, s[1], len(s), s.float().data.dtype
s = rnn.pack_padded_sequence(c, [2, 2, 1]);
    rnn.pad_packed_sequence(rnn.PackedSequence(s.data * 2, s.batch_sizes))
torch.finfo(torch.float32).eps, torch.finfo(torch.float64).max, torch.iinfo(torch.int32).min
torch.finfo(torch.float16).bits
torch.backends.cudnn.is_available() in (True, False), torch.jit.is_scripting()
torch.initial_seed() >= 0
torch.distributions.Categorical(probs=p).log_prob(t), torch.distributions.Categorical(logits=x).entropy()
torch.distributions.Normal(v, 1.0).log_prob(v * 0), torch.distributions.Bernoulli(p).log_prob(q)
torch.distributions.Normal(v, 2.0).entropy()
torch.linalg.norm(x), torch.linalg.norm(v, 1), torch.linalg.vector_norm(x, dim=1)
torch.linalg.norm(x, dim=0), torch.linalg.multi_dot([x, y.t()])
o = optim.NAdam([w]); (w * v[:2]).sum().backward(); o.step(); w
o = optim.Adadelta([w]); (w * v[:2]).sum().backward(); o.step(); o.step(); w
o = optim.SGD([w], 1.0); s = sched.CyclicLR(o, 0.1, 0.4, 3, cycle_momentum=False); o.step(); s.step();
    s.get_last_lr()
o = optim.SGD([w], 1.0); s = sched.CosineAnnealingWarmRestarts(o, 3); o.step(); s.step(); s.get_last_lr()
"""
LINES = _TEXT.strip().replace("\n    ", " ").splitlines()
