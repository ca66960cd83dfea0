"""Searches against all sequences there are, for models drawn by chance."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

BOS, EOS = 0, 1


def random_model(seed, n_tokens, batch):
    """A model whose next token hangs on all before it, through a state: an integer and a vector for each row
    of the batch, as a nested tuple. Returns step, its initial state and log P(sequence | row)."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((97, n_tokens)) * 2
    table[rng.random(table.shape) < 0.1] = -40
    table -= np.log(np.exp(table).sum(1, keepdims=True))
    table = tg.tensor(table)
    start = tg.tensor(rng.integers(0, 97, batch))

    def step(tokens, state):
        number, (seen,) = state
        assert tokens.shape == number.shape
        number = (number * 31 + tokens * 7 + 3) % 97
        return table[number], (number, (seen + 1,))

    def log_prob(row, sequence):
        number, total = int(start[row].item()), 0.0
        for before, token in itertools.pairwise([BOS, *sequence]):
            number = (number * 31 + before * 7 + 3) % 97
            total += table[number, token].item()
        return total

    return step, (start, (tg.zeros(batch, 2),)), log_prob


def all_sequences(n_tokens, max_length):
    """Every sequence that ends in EOS within so many tokens."""
    others = [t for t in range(n_tokens) if t != EOS]
    for n in range(max_length):
        for body in itertools.product(others, repeat=n):
            yield (*body, EOS)


def penalised(log_prob, sequence, alpha):
    return log_prob / ((5 + len(sequence)) / 6) ** alpha


models = st.tuples(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 3))


@settings(max_examples=25, deadline=None)
@given(models, st.integers(1, 4), st.sampled_from([0.0, 0.6, 1.0, 3.0]), st.integers(1, 4))
def test_a_beam_as_wide_as_all_there_is_finds_the_best(model, max_length, alpha, n_best):
    seed, n_tokens, batch = model
    step, state, log_prob = random_model(seed, n_tokens, batch)
    wide = max(n_best, n_tokens**max_length)
    found = nn.beam_search(
        step,
        state,
        bos=BOS,
        eos=EOS,
        max_length=max_length,
        beam_size=wide,
        n_best=n_best,
        length_penalty=alpha,
    )
    for row in range(batch):
        ranked = sorted(
            ((penalised(log_prob(row, s), s, alpha), s) for s in all_sequences(n_tokens, max_length)),
            reverse=True,
        )[:n_best]
        for k, (score, sequence) in enumerate(ranked):
            n = found.lengths[row, k].item()
            tokens = tuple(found.tokens[row, k].tolist())
            assert found.finished[row, k].item()
            assert math.isclose(found.scores[row, k].item(), score, rel_tol=1e-4, abs_tol=1e-4)
            assert (
                tokens[: n + 1] == sequence
                or math.isclose(  # equal scores may come in any order
                    penalised(log_prob(row, tokens[: n + 1]), tokens[: n + 1], alpha),
                    score,
                    rel_tol=1e-4,
                    abs_tol=1e-4,
                )
            )
            assert set(tokens[n:]) == {EOS}
        for k in range(len(ranked), n_best):
            assert not found.finished[row, k].item()


@settings(max_examples=25, deadline=None)
@given(models, st.integers(1, 6), st.sampled_from([0.0, 1.0]))
def test_a_beam_of_one_is_greedy(model, max_length, alpha):
    seed, n_tokens, batch = model
    step, state, log_prob = random_model(seed, n_tokens, batch)
    greedy = nn.greedy_search(step, state, bos=BOS, eos=EOS, max_length=max_length)
    beam = nn.beam_search(
        step, state, bos=BOS, eos=EOS, max_length=max_length, beam_size=1, length_penalty=alpha
    )
    assert beam.lists() == greedy.lists()
    assert greedy.tokens.tolist() == beam.tokens.tolist()
    assert greedy.finished.tolist() == beam.finished.tolist()
    for row, tokens in enumerate(greedy.lists()):
        sequence = (*tokens, EOS) if greedy.finished[row, 0].item() else tuple(tokens)
        expected = log_prob(row, sequence)
        assert math.isclose(greedy.scores[row, 0].item(), expected, rel_tol=1e-4, abs_tol=1e-4)
        expected = penalised(expected, sequence, alpha)
        assert math.isclose(beam.scores[row, 0].item(), expected, rel_tol=1e-4, abs_tol=1e-4)
        for t, token in enumerate(sequence):  # no other token was more probable
            other = max(range(n_tokens), key=lambda v: log_prob(row, (*sequence[:t], v)))
            assert log_prob(row, (*sequence[:t], other)) <= log_prob(row, (*sequence[:t], token)) + 1e-4


def literal_beam(step, state, log_prob, row, n_tokens, max_length, beam_size, alpha):
    """Beam search as one writes it for one row: lists, and a beam that shrinks."""
    running, ended = [()], []
    for _ in range(max_length):
        candidates = sorted(
            ((log_prob(row, (*s, v)), (*s, v)) for s in running for v in range(n_tokens)),
            key=lambda c: -c[0],
        )[: beam_size - len(ended)]
        running = [s for _, s in candidates if s[-1] != EOS]
        ended += [(penalised(p, s, alpha), s) for p, s in candidates if s[-1] == EOS]
    return sorted(ended, reverse=True)


@settings(max_examples=40, deadline=None)
@given(models, st.integers(2, 5), st.integers(2, 4), st.sampled_from([0.0, 1.0, 2.0]), st.booleans())
def test_batched_search_is_the_search_of_each_row(model, max_length, beam_size, alpha, all_of_them):
    seed, n_tokens, batch = model
    step, state, log_prob = random_model(seed, n_tokens, batch)
    found = nn.beam_search(
        step, state, bos=BOS, eos=EOS, max_length=max_length, beam_size=beam_size,
        n_best=beam_size if all_of_them else 1, length_penalty=alpha,
    )  # fmt: skip
    for row in range(batch):
        expected = literal_beam(step, state, log_prob, row, n_tokens, max_length, beam_size, alpha)
        expected = expected[: found.scores.shape[1]]
        n_finished = int(found.finished[row].sum().item())
        assert n_finished == len(expected)
        for k, (score, _) in enumerate(expected):
            assert math.isclose(found.scores[row, k].item(), score, rel_tol=1e-4, abs_tol=1e-4)


def test_length_penalty_prefers_longer_sequences():
    """P(end now) = 0.5, else a sequence of five whose probability is 0.4."""
    table = np.full((6, 3), -np.inf)
    table[0] = np.log([1e-9, 0.5, 0.4])
    table[1:5] = [-np.inf, -np.inf, 0.0]
    table[5] = [-np.inf, 0.0, -np.inf]
    table = tg.tensor(table)

    def step(tokens, state):
        return table[state], state + 1

    for alpha, length in ((0.0, 0), (1.0, 5)):
        found = nn.beam_search(
            step, tg.zeros(1, dtype="int64"), bos=BOS, eos=EOS, max_length=8, length_penalty=alpha
        )
        assert found.lengths.tolist() == [[length]]


def test_it_stops_as_soon_as_nothing_can_change():
    calls = []
    log_probs = tg.tensor(np.log([[0.05, 0.9, 0.05]]))

    def step(tokens, state):
        calls.append(tokens.shape)
        return log_probs.expand(tokens.shape[0], 3), None

    found = nn.beam_search(step, None, bos=BOS, eos=EOS, max_length=50, beam_size=3, batch_size=2)
    assert calls == [(6,)]
    assert found.lists() == [[], []]
    nn.beam_search(step, None, bos=BOS, eos=EOS, max_length=50, beam_size=3, n_best=3, batch_size=2)
    assert len(calls) == 3  # until the third best cannot be beaten
    nn.greedy_search(step, None, bos=BOS, eos=EOS, max_length=50, batch_size=2)
    assert len(calls) == 4


def test_no_graph_is_built():
    w = tg.randn(3, 3, requires_grad=True)
    seen = []

    def step(tokens, state):
        y = tg.log_softmax(state @ w, -1)
        seen.append(y.requires_grad)
        return y, state

    for search in (nn.greedy_search, nn.beam_search):
        assert not search(step, tg.randn(2, 3), bos=BOS, eos=EOS, max_length=3).scores.requires_grad
    assert not any(seen)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: nn.beam_search(s, None, bos=0, eos=1, max_length=3), TypeError, "or None with batch_size"),
        (
            lambda s: nn.greedy_search(s, 3, bos=0, eos=1, max_length=3),
            TypeError,
            "greedy_search: state must be",
        ),
        (
            lambda s: nn.beam_search(s, tg.ones(2), bos=0, eos=1, max_length=0),
            ValueError,
            "max_length must be a",
        ),
        (
            lambda s: nn.beam_search(s, tg.ones(2), bos=0, eos=9, max_length=3),
            ValueError,
            "eos is 9, but there",
        ),
        (
            lambda s: nn.beam_search(s, tg.ones(2), bos=0, eos=1, max_length=3, n_best=6),
            ValueError,
            "n_best is 6",
        ),
        (
            lambda s: nn.beam_search(s, tg.ones(2), bos=0, eos=1, max_length=3, length_penalty=-1.0),
            ValueError,
            "length_penalty must not be negative, got -1.0",
        ),
        (
            lambda s: nn.greedy_search(s, tg.ones(2), bos=0, eos=1, max_length=3, batch_size=4),
            ValueError,
            "the state has 2 rows, but batch_size is 4",
        ),
        (
            lambda s: nn.greedy_search(lambda t, s: (tg.ones(3), s), tg.ones(2), bos=0, eos=1, max_length=3),
            ValueError,
            "step must return log probabilities (2, vocabulary), got float32 (3,)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call(lambda tokens, state: (tg.zeros(tokens.shape[0], 3), state))
