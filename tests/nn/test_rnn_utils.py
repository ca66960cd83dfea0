"""pad_sequence, PackedSequence and what goes with them."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def drawn(lengths, *tail, **settings):
    return [tg.randn(n, *tail, rng=k, requires_grad=True, **settings) for k, n in enumerate(lengths)]


def raises(kind, text):
    return pytest.raises(kind, match=re.escape(text))


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.booleans(), st.sampled_from([(), (2,), (2, 1)]), st.sampled_from([0.0, -1.5]))
def test_padding_there_and_back(lengths, batch_first, tail, value):
    sequences = drawn(lengths, *tail)
    padded = pad_sequence(sequences, batch_first, value)
    rows = padded if batch_first else padded.swapaxes(0, 1)
    assert rows.shape == (len(lengths), max(lengths), *tail)
    for row, n, sequence in zip(rows, lengths, sequences, strict=True):
        assert (row[:n] == sequence).all()
        assert (row[n:] == value).all()
    for back, sequence in zip(unpad_sequence(padded, lengths, batch_first), sequences, strict=True):
        assert (back == sequence).all()
    (padded * 2).sum().backward()
    assert all((s.grad == 2).all() for s in sequences)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.booleans())
def test_packing_there_and_back(lengths, batch_first):
    sequences = drawn(lengths, 2)
    padded = pad_sequence(sequences, batch_first, padding_value=9.0)
    packed = pack_padded_sequence(padded, tg.tensor(lengths), batch_first, enforce_sorted=False)
    assert packed.lengths == tuple(lengths)
    assert packed.data.shape == (sum(lengths), 2)
    assert sum(packed.batch_sizes.tolist()) == sum(lengths)
    back, n = pad_packed_sequence(packed, batch_first, padding_value=9.0)
    assert n.tolist() == lengths
    assert (back == padded).all()
    for one, other in zip(unpack_sequence(packed), sequences, strict=True):
        assert (one == other).all()


def test_what_stood_in_the_padding_is_gone():
    x = tg.full((3, 2, 1), 5.0, requires_grad=True)
    y, _ = pad_packed_sequence(pack_padded_sequence(x, [3, 1]), padding_value=-1.0)
    assert y[..., 0].tolist() == [[5, 5], [5, -1], [5, -1]]
    y.sum().backward()
    assert x.grad[..., 0].tolist() == [[1, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "float64"])
def test_the_type_is_kept(dtype):
    sequences = [tg.ones(2).to(dtype=dtype), tg.ones(1).to(dtype=dtype)]
    for value in (0, 1):
        padded = pad_sequence(sequences, padding_value=value)
        assert padded.dtype == dtype
        assert padded[1, 1] == value
    packed = pack_sequence(sequences)
    assert packed.data.dtype == dtype
    assert pad_packed_sequence(packed, padding_value=1, total_length=4)[0].dtype == dtype


@pytest.mark.host
def test_a_packed_sequence_moves_and_prints():
    packed = pack_sequence(drawn([2, 1], 3))
    assert packed.to(tg.float64).padded.dtype == tg.float64
    assert packed.cpu().lengths == (2, 1)
    assert not packed.is_cuda
    assert repr(packed) == "PackedSequence(padded: float32 (2, 2, 3), lengths: [2, 1])"
    assert packed.with_padded(packed.padded * 2).lengths == (2, 1)
    assert packed.sorted_indices is None
    assert PackedSequence.of(packed.padded, (1, 2)).sorted_indices.tolist() == [1, 0]
    assert PackedSequence.of(packed.padded, (1, 2)).unsorted_indices.tolist() == [1, 0]
    assert "..." in repr(PackedSequence.of(tg.zeros(1, 9), [1] * 9))


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_layers_read_packed_sequences(make):
    layer = make(2, 3, num_layers=2, bidirectional=True)
    padded, lengths = tg.randn(4, 3, 2), [2, 4, 0]
    expected, state = layer(padded, lengths=lengths)
    packed, other = layer(pack_padded_sequence(padded, lengths, enforce_sorted=False))
    output, n = pad_packed_sequence(packed)
    assert n.tolist() == lengths
    np.testing.assert_allclose(output.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    for a, b in zip(state, other, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)


def test_errors():
    x = tg.ones(3, 2, 1)
    packed = pack_padded_sequence(x, [3, 1])
    for call, kind, text in [
        (lambda: pad_sequence([]), ValueError, "pad_sequence: expected at least one sequence"),
        (lambda: pack_sequence([]), ValueError, "pack_sequence: expected at least one sequence"),
        (
            lambda: pad_sequence([[1]]),
            TypeError,
            "pad_sequence: sequence 0 must be a Tensor (length, ...), got a list",
        ),
        (
            lambda: pad_sequence([tg.tensor(1)]),
            TypeError,
            "sequence 0 must be a Tensor (length, ...), got a 0-d tensor",
        ),
        (
            lambda: pad_sequence([x, x[0]]),
            ValueError,
            "sequence 1 has shape (2, 1), the first (3, 2, 1); all axes but",
        ),
        (
            lambda: pad_sequence([x], padding_side="top"),
            ValueError,
            "padding_side is 'top', expected 'right' or 'left'",
        ),
        (
            lambda: pack_padded_sequence([1], [1]),
            TypeError,
            "pack_padded_sequence: expected a Tensor, got a list",
        ),
        (
            lambda: pack_padded_sequence(x[0, 0], [1]),
            ValueError,
            "input has shape (1,), expected time and batch axes",
        ),
        (
            lambda: pack_padded_sequence(x, [1, 3]),
            ValueError,
            "must fall from the longest to the shortest, got [1, 3]",
        ),
        (lambda: pack_padded_sequence(x, [4, 1]), ValueError, "between 0 and the 3 time steps, got [4, 1]"),
        (lambda: pack_padded_sequence(x, [3, -1]), ValueError, "between 0 and the 3 time steps, got [3, -1]"),
        (
            lambda: pack_padded_sequence(x, [3]),
            ValueError,
            "pack_padded_sequence: 1 lengths for a batch of 2",
        ),
        (
            lambda: pack_padded_sequence(x, [3, 1.0]),
            TypeError,
            "lengths must be integers, one for each sequence",
        ),
        (lambda: pack_padded_sequence(x, [True, True]), TypeError, "lengths must be integers"),
        (
            lambda: pad_packed_sequence(x),
            TypeError,
            "pad_packed_sequence: expected a PackedSequence, got a Tensor",
        ),
        (
            lambda: pad_packed_sequence(packed, total_length=2),
            ValueError,
            "total_length is 2, the longest sequence has 3",
        ),
        (
            lambda: unpad_sequence(x, [4, 1]),
            ValueError,
            "unpad_sequence: lengths must be between 0 and the 3 time steps",
        ),
    ]:
        with raises(kind, text):
            call()


def test_lengths_of_any_integer_type():
    x = tg.ones(3, 2, 1)
    for lengths in (
        np.array([3, 1], np.int8),
        (3, 1),
        tg.tensor([3, 1], dtype="int32"),
        [np.int64(3), 1],
        range(3, 0, -2),
    ):
        assert pack_padded_sequence(x, lengths).lengths == (3, 1)
