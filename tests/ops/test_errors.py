"""What the ops say to bad input: one sentence that names the op, what was expected and what came."""

from __future__ import annotations

import contextlib
import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import ops

x = tg.ones(2, 3)
i = tg.ones(2, 3, dtype="int64")

CASES = [
    (lambda: x + tg.ones(4), ValueError, r"add: got float32 \(2, 3\) and float32 \(4,\): .*broadcast"),
    (lambda: ops.maximum(x, tg.ones(2)), ValueError, r"maximum: got .*\(2,\)"),
    (lambda: ops.where(x > 0, x, tg.ones(5)), ValueError, r"where: got .*\(5,\)"),
    (lambda: x + "a", TypeError, r"add: argument 2 is a str, expected a tensor, an array or a number"),
    (lambda: x * [1, 2, 3], TypeError, r"mul: argument 2 is a list.*tensor\("),
    (lambda: ops.exp(None), TypeError, r"exp: argument 1 is a NoneType"),
    (lambda: ops.exp(x, x), TypeError, r"exp: expected 1 argument.*got 2"),
    (lambda: ops.bitwise_and(x, i), TypeError, r"bitwise_and: got float32 \(2, 3\) and int64 \(2, 3\)"),
    (lambda: ops.clip(x), ValueError, r"clip: give min, max or both"),
    (lambda: x @ tg.ones(2, 3), ValueError, r"matmul: \(2, 3\) @ \(2, 3\): .*\(3\) must equal"),
    (lambda: x @ tg.tensor(1.0), ValueError, r"matmul: both arguments need at least one axis"),
    (lambda: x @ tg.ones(2), ValueError, r"matmul: .*the only axis of the second \(2\)"),
    (lambda: ops.addmm(tg.ones(2, 4), x, tg.ones(3, 5)), ValueError, r"addmm: got .*broadcast"),
    (lambda: x.sum(2), IndexError, r"sum: axis 2 does not exist; the tensor has 2 axes"),
    (lambda: x.mean((0, 0)), ValueError, r"mean: axis \(0, 0\) names an axis twice"),
    (lambda: x.var("a"), TypeError, r"var: axis must be an integer, got str"),
    (lambda: x.amax(-3), IndexError, r"amax: axis -3 does not exist"),
    (lambda: x.max((0, 1)), ValueError, r"max: one axis"),
    (lambda: tg.zeros(0).max(), ValueError, r"max: no elements along axis None of shape \(0,\)"),
    (lambda: tg.zeros(0, 2).amin(0), ValueError, r"amin: no elements along axis 0"),
    (lambda: tg.zeros(0).argmax(), ValueError, r"argmax: no elements"),
    (lambda: x.argmin(5), IndexError, r"argmin: axis 5"),
    (lambda: x.cumsum(4), IndexError, r"cumsum: axis 4"),
    (lambda: x.norm(float("nan")), ValueError, r"norm: p must be a number, got nan"),
    (lambda: x.reshape(4, 2), ValueError, r"reshape: 6 elements of shape \(2, 3\) do not fit shape \(4, 2\)"),
    (lambda: x.reshape(-1, -1), ValueError, r"reshape: .*\(-1, -1\)"),
    (lambda: x.permute(0), ValueError, r"permute: .* names 1 axes, the tensor has 2"),
    (lambda: x.permute(0, 0), ValueError, r"permute: .*twice"),
    (lambda: x.swapaxes(0, 2), IndexError, r"swapaxes: axis 2"),
    (lambda: tg.ones(1, 1, 1).t(), ValueError, r"t: expected at most 2 axes, got 3"),
    (lambda: x.squeeze(3), IndexError, r"squeeze: axis 3"),
    (lambda: x.unsqueeze(4), IndexError, r"unsqueeze: axis 4"),
    (lambda: x.flatten(1, 0), ValueError, r"flatten: start_dim 1 comes after end_dim 0"),
    (lambda: x.broadcast_to(4, 3), ValueError, r"broadcast_to: shape .2, 3. does not broadcast to"),
    (lambda: x.broadcast_to(3), ValueError, r"broadcast_to: shape \(2, 3\) does not broadcast to \(3,\)"),
    (lambda: x.expand(-1, 2, 3), ValueError, r"expand: shape \(2, 3\) does not expand to \(-1, 2, 3\)"),
    (lambda: x.flip(2), IndexError, r"flip: axis 2"),
    (lambda: ops.pad(x, [(1, 1)]), ValueError, r"pad: expected 2 pairs"),
    (lambda: ops.pad(x, [(1, 1), (-1, 0)]), ValueError, r"pad: expected 2 pairs .* of sizes >= 0"),
    (lambda: x.repeat_interleave(-1), ValueError, r"repeat_interleave: repeats must be >= 0, got -1"),
    (lambda: x.repeat(-1, 2), ValueError, r"tile: repeats must be >= 0"),
    (lambda: tg.concat([]), ValueError, r"concat: got no tensors"),
    (lambda: tg.concat([x, tg.ones(3, 3)], 1), ValueError, r"concat: shapes \(2, 3\), \(3, 3\) differ"),
    (lambda: tg.concat([x, x], 2), IndexError, r"concat: axis 2"),
    (lambda: tg.stack([]), ValueError, r"stack: got no tensors"),
    (lambda: tg.stack([x, tg.ones(3)]), ValueError, r"stack: shapes differ: \(2, 3\), \(3,\)"),
    (lambda: x.split(0), ValueError, r"split: the size of a piece must be positive, got 0"),
    (lambda: x.split([1, 2]), ValueError, r"split: sizes \(1, 2\) add up to 3, axis 0 has 2"),
    (lambda: x.chunk(0), ValueError, r"chunk: expected at least 1 chunk, got 0"),
    (lambda: x.unbind(2), IndexError, r"unbind: axis 2"),
    (lambda: x[2], IndexError, r"index 2 is outside a tensor of shape \(2, 3\)"),
    (lambda: x[0, 3], IndexError, r"index 3 is outside axis 1 of a tensor of shape \(2, 3\)"),
    (lambda: x[0, 0, 0], IndexError, r"an index for 3 axes is too long for a tensor of shape \(2, 3\)"),
    (lambda: x["a"], IndexError, r"indexed by integers.*not str"),
    (lambda: x[x], IndexError, r"indexed by integers.*not ndarray of float32"),
    (lambda: x[[2]], IndexError, r"pick: got float32 \(2, 3\): index 2 is out of bounds"),
    (lambda: x.gather(1, tg.ones(3, 1, dtype="int64")), ValueError, r"gather: index of shape .3, 1. "),
    (lambda: x.gather(1, x), TypeError, r"gather: indices must be integers, got float32"),
    (lambda: x.take_along_axis(i[0], 1), ValueError, r"take_along_axis: indices of shape \(3,\) do not fit"),
    (lambda: x.take_along_axis(i[:, :1].float(), 1), TypeError, r"take_along_axis: indices must be"),
    (lambda: ops.embedding(x, x), TypeError, r"embedding: indices must be a tensor of integers, got"),
    (lambda: ops.embedding(i + 1, x), IndexError, r"embedding: indices run from 2 to 2"),
    (lambda: ops.embedding(i, x, 2), IndexError, r"embedding: padding_idx 2 is outside the table of 2 rows"),
    (lambda: ops.embedding(i, x[0]), ValueError, r"embedding: weight must be .*got \(3,\)"),
    (lambda: x.sort(2), IndexError, r"sort: axis 2"),
    (lambda: x.topk(4), ValueError, r"topk: k = 4 is not between 0 and the 3"),
    (lambda: ops.one_hot(x), TypeError, r"one_hot: expected integers, got float32"),
    (lambda: ops.one_hot(i, 1), ValueError, r"one_hot: values from 1 to 1 do not fit 1 classes"),
    (lambda: ops.multinomial(-x, 1), ValueError, r"multinomial: weights must be finite and >= 0"),
    (lambda: ops.multinomial(x, 4), ValueError, r"multinomial: 4 samples without replacement"),
    (lambda: ops.multinomial(x, -1), ValueError, r"multinomial: num_samples must be >= 0, got -1"),
    (lambda: ops.multinomial(tg.ones(1, 1, 1), 1), ValueError, r"multinomial: expected weights of shape"),
    (lambda: tg.einsum("ij->i", x, x), ValueError, r"einsum: 'ij->i' names 1 operands, got 2"),
    (lambda: tg.einsum("i->i", x), ValueError, r"einsum: 'i' names 1 axes, the operand has shape \(2, 3\)"),
    (lambda: tg.einsum("ii->i", x), ValueError, r"einsum: 'ii' repeats a letter"),
    (lambda: tg.einsum("ij->ii", x), ValueError, r"einsum: the result 'ii' names an axis twice"),
    (lambda: tg.einsum("ij->k", x), ValueError, r"einsum: the result names 'k', which no operand has"),
    (lambda: tg.einsum("ij,jk", x, x), ValueError, r"einsum: axis 'j' is 3 in one operand and 2 in another"),
    (lambda: ops.binary_cross_entropy(x, x[0]), ValueError, r"entropy: input has shape \(2, 3\) and"),
    (lambda: ops.mse_loss(x, 1.0), TypeError, r"mse_loss: expected two tensors, got .* and 1.0"),
    (lambda: ops.l1_loss(x, x, reduction="avg"), ValueError, r"l1_loss: reduction is 'avg', expected 'mean'"),
    (lambda: ops.huber_loss(x, x, delta=0), ValueError, r"huber_loss: delta must be positive"),
    (lambda: ops.nll_loss(x, x[:, 0]), TypeError, r"nll_loss: target must be a tensor of integer"),
    (lambda: ops.nll_loss(x, i), ValueError, r"nll_loss: input of shape \(2, 3\) needs a target"),
    (lambda: ops.cross_entropy(x, i[:, 0] + 2), IndexError, r"nll_loss: target has classes outside 0 to 2"),
    (lambda: ops.cross_entropy(x, i[:, 0], tg.ones(2)), ValueError, r"cross_entropy: weight has shape .2,"),
    (lambda: ops.cross_entropy(x, [0, 1]), TypeError, r"cross_entropy: target must be .*got a list"),
    (lambda: ops.layer_norm(x, 2), ValueError, r"layer_norm: x has shape \(2, 3\), its last"),
    (lambda: ops.softmax(x, 2), IndexError, r"softmax: axis 2 does not exist"),
    (lambda: ops.normalize(x, axis=2), IndexError, r"normalize: axis 2 does not exist"),
]  # fmt: skip


@pytest.mark.host
@pytest.mark.parametrize(("call", "kind", "words"), CASES, ids=[case[2][:40] for case in CASES])
def test_the_sentence(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 250


@pytest.mark.parametrize("bad", [[1.0, 2.0], "a", None])
def test_what_is_no_tensor(bad):
    """Ops of one tensor say that a list is none."""
    for op in (tg.sum, tg.tanh, tg.softmax, tg.squeeze, tg.sort, tg.cumsum):
        arguments = (0,) if op is tg.cumsum else ()
        with pytest.raises(TypeError, match=f"{op.__name__}: .*expected a tensor") as caught:
            op(bad, *arguments)
        assert type(bad).__name__ in str(caught.value)


def test_arrays_are_welcome():
    np.testing.assert_array_equal(tg.sum(np.ones((2, 3)), 0), [2, 2, 2])


PUBLIC = sorted(
    {op for m in (tg, F) for op in vars(m).values() if inspect.isfunction(op) and ".ops." in op.__module__},
    key=lambda op: op.__name__,
)


@pytest.mark.parametrize("op", [op for op in PUBLIC if op is not tg.pointwise], ids=lambda op: op.__name__)
@pytest.mark.parametrize("bad", [[1.0, 2.0], None, "a"], ids=["list", "None", "str"])
def test_what_is_no_tensor_gets_a_sentence(op, bad):
    for rest in ((), (0,), (1, 2)):
        with contextlib.suppress(TypeError, ValueError, IndexError):  # AttributeError it may not be
            op(bad, *rest)
