"""tinygrad_rnn: recurrent nets on a small reverse-mode tensor engine, on NumPy or CuPy.

    import tinygrad_rnn as tg

    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    print(y.item(), x.grad)
"""

from .backend import current as current_backend
from .backend import device, get_rng_state, manual_seed, set_rng_state, use
from .backend.dtypes import (
    bool_, default_dtype, double, float16, float32, float64, half, int8, int16, int32, int64, long, set_default_dtype,
    short, uint8,
)  # fmt: skip
from .creation import (
    arange, as_tensor, bernoulli, empty, empty_like, eye, from_numpy, full, full_like, linspace, normal, ones,
    ones_like, rand, rand_like, randint, randn, randn_like, randperm, tensor, zeros, zeros_like,
)  # fmt: skip
from .engine import (
    GraphError, debug, enable_grad, is_grad_enabled, no_grad, primitive, set_grad_enabled, unfused,
)  # fmt: skip
from .ops import (
    abs, add, all, amax, amin, any, argmax, argmin, argsort, broadcast_to, cat, chunk, clip, clone, concat, cos,
    cumsum, div, einsum, elu, embedding, eq, exp, expm1, expand, flatten, flip, floor, floor_divide, gather, ge, gelu,
    gt, index_select, isfinite, isinf, isnan, le, leaky_relu, log, log1p, log_softmax, logical_and, logical_not,
    logical_or, logsumexp, lt, masked_fill, matmul, max, maximum, mean, min, minimum, mul, multinomial, ne, neg,
    nonzero, norm, one_hot, pad, permute, pow, prod, relu, remainder, repeat_interleave, reshape, round, sigmoid, sign,
    sin, softmax, softplus, sort, split, sqrt, squeeze, stack, std, sub, sum, swapaxes, t, take_along_axis, tanh, tile,
    topk, transpose, unbind, unsqueeze, var, where,
)  # fmt: skip
from .tensor import Tensor, grad

mm = bmm = dot = matmul
clamp = clip
bool = bool_  # noqa: A001 - PyTorch's name
inf = float("inf")
nan = float("nan")
pi = 3.141592653589793

from .version import __version__  # noqa: E402
