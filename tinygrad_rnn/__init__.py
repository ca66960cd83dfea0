"""tinygrad_rnn: recurrent nets on a small reverse-mode tensor engine, on NumPy or CuPy.

import tinygrad_rnn as tg

x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = (x * x).sum()
y.backward()
print(y.item(), x.grad)
"""

import builtins
from importlib import import_module
from math import e, inf, nan, pi
from typing import TYPE_CHECKING, Any

from . import nn
from .backend import current as current_backend
from .backend import default_rng, deterministic, device, get_rng_state, manual_seed, set_rng_state, use
from .backend.dtypes import (
    bool_,
    default_dtype,
    double,
    dtype,
    float16,
    float32,
    float64,
    half,
    int8,
    int16,
    int32,
    int64,
    long,
    set_default_dtype,
    short,
    uint8,
)  # fmt: skip
from .creation import (
    arange,
    as_tensor,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from .dialect import names as _dialect
from .dialect.arithmetic import add, addmm, div, sub
from .differentiation import grad
from .engine import (
    GraphError,
    debug,
    eager,
    enable_grad,
    is_grad_enabled,
    no_grad,
    primitive,
    set_grad_enabled,
    unfused,
)  # fmt: skip
from .fuse.pointwise import pointwise
from .ops import (
    Size,
    abs,
    all,
    allclose,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    binary_cross_entropy_with_logits,
    broadcast_to,
    cat,
    chunk,
    clip,
    clone,
    concat,
    cos,
    cross_entropy,
    cumsum,
    einsum,
    elu,
    embedding,
    eq,
    equal,
    erf,
    exp,
    expand,
    expm1,
    flatten,
    flip,
    floor,
    floor_divide,
    gather,
    ge,
    gelu,
    gt,
    huber_loss,
    index_select,
    isclose,
    isfinite,
    isinf,
    isnan,
    l1_loss,
    le,
    leaky_relu,
    log,
    log1p,
    log_softmax,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logsumexp,
    lt,
    masked_fill,
    masked_select,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mse_loss,
    mul,
    multinomial,
    narrow,
    ne,
    neg,
    nll_loss,
    nonzero,
    norm,
    one_hot,
    outer,
    pad,
    permute,
    pow,
    prod,
    reciprocal,
    relu,
    remainder,
    repeat_interleave,
    reshape,
    round,
    rsqrt,
    select,
    sigmoid,
    sign,
    sin,
    softmax,
    softplus,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sum,
    swapaxes,
    t,
    take_along_axis,
    tanh,
    tile,
    topk,
    transpose,
    unbind,
    unsqueeze,
    var,
    where,
)  # fmt: skip
from .tensor import Tensor, is_floating_point, is_tensor, numel
from .version import __version__

mm = bmm = dot = mv = matmul
clamp, subtract, multiply, divide, true_divide = clip, sub, mul, div, div
get_default_dtype = default_dtype
bool = bool_
float = float32
int = int32
inference_mode = no_grad
mse, l1, huber = mse_loss, l1_loss, huber_loss

if TYPE_CHECKING:
    from . import accelerator, amp, autograd, backends, cuda, data, io, jit, onnx, optim, utils
    from .backend.native import native, set_num_threads
    from .data.generator import Generator
    from .fuse.scan import scan
    from .io import load, save
    from .training.fit import fit

# imported when asked for: whoever does not use them does not wait for them
_MODULES = {
    "cuda",
    "data",
    "io",
    "optim",
    "testing",
    "training",
    "utils",
    "version",
    "viz",
    *_dialect.MODULES,
}
_NAMES = {
    "Generator": "data.generator", "fit": "training", "load": "io", "native": "backend.native", "save": "io",
    "scan": "fuse.scan", "set_num_threads": "backend.native",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    module, there = _dialect.NAMES.get(name) or (_NAMES.get(name), name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{module}", __name__), there)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES, *_dialect.NAMES})


# `from tinygrad_rnn import *` takes what shadows none of Python's own names
__all__ = [name for name in globals() if name[0] != "_" and name not in vars(builtins)]
