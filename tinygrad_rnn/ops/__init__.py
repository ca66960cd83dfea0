"""The ops: functions of tensors, each with its gradient beside it. They take plain arrays too, and then return arrays."""

from .arguments import axes_of, axis_of, both_dialects, ints, plain
from .compose import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, l1_loss, layer_norm,
    log_softmax, mse_loss, nll_loss, normalize, softmax,
)  # fmt: skip
from .convert import as_array, cast, clone, contiguous, transfer
from .elementwise import (
    abs, add, bitwise_and, bitwise_or, bitwise_xor, clip, cos, div, elu, eq, exp, expm1, floor, floor_divide, ge, gelu,
    gt, isfinite, isinf, isnan, le, leaky_relu, log, log1p, logical_and, logical_not, logical_or, lt, masked_fill,
    maximum, minimum, mul, ne, neg, pow, relu, remainder, round, sigmoid, sign, sin, softplus, sqrt, sub, tanh, where,
)  # fmt: skip
from .index import (
    argsort, clean_index, embedding, gather, getitem, index_select, multinomial, nonzero, one_hot, sort,
    take_along_axis, topk,
)  # fmt: skip
from .linalg import einsum, matmul
from .reduce import (
    all, amax, amin, any, argmax, argmin, cumsum, logsumexp, max, mean, min, norm, prod, std, sum, var,
)  # fmt: skip
from .shape import (
    broadcast_to, cat, chunk, concat, expand, flatten, flip, pad, permute, repeat_interleave, reshape, split, squeeze,
    stack, swapaxes, t, tile, transpose, unbind, unsqueeze,
)  # fmt: skip
