"""Attention and the attention decoder: against their equations, and what must not change a result."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn, optim
from tinygrad_rnn.testing import gradcheck

SCORES = ["additive", "dot", "scaled_dot", "general"]
CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}


@pytest.fixture(autouse=True)
def _double():
    tg.set_default_dtype("float64")
    yield
    tg.set_default_dtype("float32")


def attention_of(score, **settings):
    key_size = 3 if "dot" in score else 2
    return nn.Attention(3, key_size, 4 if score == "additive" else None, score, rng=1, **settings)


def literal(attention, query, keys, values):
    """One query (Q,), keys (n, K), values (n, V): the papers' equations on NumPy arrays."""
    if not len(keys):
        return np.zeros(values.shape[1]), np.zeros(0)
    if attention.score == "additive":
        w, u, b = (
            attention.query_projection.weight.numpy(),
            attention.key_projection.weight.numpy(),
            attention.key_projection.bias.numpy(),
        )
        scores = np.tanh(w @ query + keys @ u.T + b) @ attention.v.numpy()[:, 0]
    elif attention.score == "general":
        scores = (keys @ attention.key_projection.weight.numpy().T) @ query
    else:
        scores = keys @ query / (np.sqrt(3) if attention.score == "scaled_dot" else 1)
    weights = np.exp(scores) / np.exp(scores).sum()
    return weights @ values, weights


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SCORES),
    st.lists(st.integers(0, 4), min_size=0, max_size=3),
    st.integers(0, 2),
    st.sampled_from([None, 0, 1, 2]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.nan, np.inf, 3.0]),
)
def test_each_row_attends_to_its_own_steps(score, lengths, beyond, n_queries, batch_first, separate, filling):
    tg.set_default_dtype("float64")
    attention = attention_of(score, batch_first=batch_first)
    rng = np.random.default_rng(0)
    n_steps, batch = max(lengths, default=0) + beyond, len(lengths)
    keys = rng.standard_normal((batch, n_steps, attention.key_size))
    values = rng.standard_normal((batch, n_steps, 2)) if separate else keys
    query = rng.standard_normal((batch, 1 if n_queries is None else n_queries, 3))
    for b, n in enumerate(lengths):
        keys[b, n:] = values[b, n:] = filling

    def lay_out(x):
        return tg.tensor(x if batch_first else x.swapaxes(0, 1), requires_grad=True)

    k, v = lay_out(keys), lay_out(values) if separate else None
    q = tg.tensor(query[:, 0]) if n_queries is None else lay_out(query)
    context, weights = attention(q, k, v, np.array(lengths, "int16"))
    got = [
        x.unsqueeze(1) if n_queries is None else x if batch_first else x.swapaxes(0, 1)
        for x in (context, weights)
    ]
    assert got[0].shape == (*query.shape[:2], values.shape[2])
    assert got[1].shape == (*query.shape[:2], n_steps)
    for b, n in enumerate(lengths):
        for s in range(query.shape[1]):
            c, w = literal(attention, query[b, s], keys[b, :n], values[b, :n])
            np.testing.assert_allclose(got[0][b, s].numpy(), c, atol=1e-12)
            np.testing.assert_allclose(got[1][b, s].numpy()[:n], w, atol=1e-12)
            assert not got[1][b, s].numpy()[n:].any()

    gradients = tg.grad(
        (context * context).sum() + (weights * weights).sum(), [k, *attention.parameters()], allow_unused=True
    )
    assert all(g is None or np.isfinite(g.numpy()).all() for g in gradients)
    for b, n in enumerate(lengths if n_steps else []):
        assert not (gradients[0] if batch_first else gradients[0].swapaxes(0, 1))[b, n:].numpy().any()


@pytest.mark.parametrize("score", SCORES)
def test_gradients(score):
    attention = attention_of(score)
    parameters = dict(attention.named_parameters())

    def run(query, keys, values, *weights):
        for (path, _), w in zip(parameters.items(), weights, strict=True):
            *owners, name = path.split(".")
            owner = attention
            for part in owners:
                owner = getattr(owner, part)
            object.__setattr__(owner, name, w)
        return attention(query, keys, values, [3, 0, 1])

    inputs = [tg.randn(2, 3, 3), tg.randn(3, 3, attention.key_size), tg.randn(3, 3, 2)]
    gradcheck(run, *inputs, *(p.detach().numpy().copy() for p in parameters.values()), order=2)


@pytest.mark.parametrize("score", SCORES)
def test_several_queries_to_a_row_lie_next_to_each_other(score):
    attention = attention_of(score)
    keys, query = tg.randn(4, 2, attention.key_size), tg.randn(6, 3)
    memory = attention.remember(keys, lengths=[4, 2])
    context, weights = attention.attend(query, memory)
    assert weights.shape == (2, 3, 4)
    for n in range(6):
        b = n // 3
        c, w = attention(query[n : n + 1], keys[:, b : b + 1], lengths=[[4, 2][b]])
        np.testing.assert_allclose(context[n].numpy(), c[0].numpy(), atol=1e-12)
        np.testing.assert_allclose(weights[b, n % 3].numpy(), w[0].numpy(), atol=1e-12)


# ---------------------------------------------------------------- the decoder


def decoder_of(cell="gru", score="additive", batch_first=False, n_tokens=5, values=4, rng=None):
    attention = nn.Attention(3, values, None, score, batch_first)
    return nn.AttentionDecoder(
        nn.Embedding(n_tokens, 2),
        CELLS[cell](2 + values, 3),
        attention,
        nn.Linear(3 + values, n_tokens),
        rng=rng,
    )


def start_of(decoder, batch):
    """A cell state drawn by chance."""
    zeros = decoder.cell.initial_state(batch, tg.zeros(1))
    return (
        nn.LSTMState(tg.randn(batch, 3), tg.randn(batch, 3))
        if isinstance(zeros, tuple)
        else tg.randn(batch, 3)
    )


@pytest.mark.parametrize(("cell", "score"), [*itertools.product(CELLS, ["additive", "general"])])
def test_the_decoder_is_its_equations(cell, score):
    decoder = decoder_of(cell, score)
    tokens, encoded, lengths = tg.randint(0, 5, (4, 2)), tg.randn(6, 2, 4), [6, 3]
    state = start_of(decoder, 2)
    logits, weights = decoder(tokens, encoded, state, lengths)
    assert logits.shape == (4, 2, 5)
    assert weights.shape == (4, 2, 6)
    context = tg.zeros(2, 4)
    for t in range(4):
        state = decoder.cell(tg.concat([decoder.embedding(tokens[t]), context], -1), state)
        h = decoder.cell.output(state)
        context, w = decoder.attention(h, encoded, lengths=lengths)
        expected = decoder.out(tg.concat([h, context], -1))
        np.testing.assert_allclose(logits[t].numpy(), expected.numpy(), atol=1e-12)
        np.testing.assert_allclose(weights[t].numpy(), w.numpy(), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_is_the_whole(cell):
    decoder = decoder_of(cell)
    tokens, memory = tg.randint(0, 5, (4, 2)), decoder.attention.remember(tg.randn(6, 2, 4), lengths=[2, 6])
    whole, _ = decoder(tokens, memory)
    state = decoder.initial_state(memory)
    for t in range(4):
        logits, state = decoder.step(tokens[t], state, memory)
        np.testing.assert_allclose(logits.numpy(), whole[t].numpy(), atol=1e-12)


def test_batch_first_is_the_same_transposed():
    a, b = decoder_of(), decoder_of(batch_first=True)
    b.load_state_dict(a.state_dict())
    tokens, encoded, lengths = tg.randint(0, 5, (4, 2)), tg.randn(6, 2, 4), [6, 3]
    for x, y in zip(
        a(tokens, encoded, None, lengths), b(tokens.T, encoded.swapaxes(0, 1), None, lengths), strict=True
    ):
        np.testing.assert_array_equal(x.numpy(), y.swapaxes(0, 1).numpy())


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(CELLS)), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2))
def test_padding_of_what_is_read_changes_nothing(cell, lengths, beyond):
    tg.set_default_dtype("float64")
    decoder, batch = decoder_of(cell), len(lengths)
    values = np.random.default_rng(0).standard_normal((max(lengths) + beyond, batch, 4))
    for b, n in enumerate(lengths):
        values[n:, b] = np.nan
    encoded, tokens = tg.tensor(values, requires_grad=True), tg.randint(0, 5, (3, batch))
    logits, weights = decoder(tokens, encoded, lengths=lengths)
    up = tg.randn(*logits.shape)
    g, *of_weights = tg.grad((logits * up).sum(), [encoded, *decoder.parameters()], allow_unused=True)
    totals = [0] * len(of_weights)
    for b, n in enumerate(lengths):
        one = tg.tensor(values[:n, b : b + 1], requires_grad=True)
        alone, w = decoder(tokens[:, b : b + 1], one)
        np.testing.assert_allclose(logits[:, b].numpy(), alone[:, 0].numpy(), atol=1e-12)
        np.testing.assert_allclose(weights[:, b].numpy()[:, :n], w[:, 0].numpy(), atol=1e-12)
        single, *shares = tg.grad(
            (alone * up[:, b : b + 1]).sum(), [one, *decoder.parameters()], allow_unused=True
        )
        np.testing.assert_allclose(g.numpy()[:n, b], single.numpy()[:, 0], atol=1e-12)
        assert not g.numpy()[n:, b].any()
        totals = [t if s is None else t + s.numpy() for t, s in zip(totals, shares, strict=True)]
    for whole, total in zip(of_weights, totals, strict=True):
        np.testing.assert_allclose(0 if whole is None else whole.numpy(), total, atol=1e-11)


def own_writing(decoder, memory, first, n_steps):
    """Logits of a decoder that reads what it holds most probable."""
    token, state, logits = first, decoder.initial_state(memory), []
    for _ in range(n_steps):
        y, state = decoder.step(token, state, memory)
        logits.append(y)
        token = y.argmax(-1)
    return tg.stack(logits)


def test_without_teacher_forcing_it_reads_what_it_writes():
    decoder = decoder_of(rng=0)
    tokens, memory = tg.randint(0, 5, (6, 3)), decoder.attention.remember(3 * tg.randn(4, 3, 4))
    free, _ = decoder(tokens, memory, teacher_forcing=0.0)
    np.testing.assert_allclose(free.numpy(), own_writing(decoder, memory, tokens[0], 6).numpy(), atol=1e-12)
    greedy = decoder.search(memory, bos=1, eos=4, max_length=6, beam_size=1)
    free, _ = decoder(tg.ones(6, 3, dtype="int64"), memory, teacher_forcing=0.0)
    for row, found in enumerate(greedy.lists()):
        assert free[:, row].argmax(-1).tolist()[: len(found)] == found


def test_scheduled_sampling_draws_each_token_for_itself():
    """With probability p the right token is read: seen in how often the embeddings of wrong ones come."""
    read = []

    class Spy(nn.RNNCell):
        def step(self, px, state):
            read.append(px.numpy())
            return super().step(px, state)

    decoder = decoder_of("rnn", rng=3)
    decoder.cell = Spy(6, 3)
    decoder.cell.weight_ih.data[2:] = 0.0  # what is read is the embedding alone
    tokens = tg.zeros(40, 50, dtype="int64")
    decoder.out.bias.data[4] = 100.0  # it always writes a 4
    decoder(tokens, tg.randn(3, 50, 4), teacher_forcing=0.7)
    right = (decoder.embedding.weight @ decoder.cell.weight_ih[:2] + decoder.cell.bias).numpy()
    which = np.array([np.abs(x[:, None] - right).sum(-1).argmin(-1) for x in read])
    assert set(which.reshape(-1).tolist()) == {0, 4}
    assert not which[0].any()
    assert 0.65 < (which[1:] == 0).mean() < 0.75
    mixed = (which[1:] == 0).mean(1)
    assert ((mixed > 0) & (mixed < 1)).all()  # within each step, row by row


def test_same_seed_same_tokens():
    tokens, encoded = tg.randint(0, 5, (6, 3)), tg.randn(4, 3, 4)
    runs = []
    for _ in range(2):
        tg.manual_seed(5)
        runs.append(decoder_of(rng=3)(tokens, encoded, teacher_forcing=0.5)[0].numpy())
    np.testing.assert_array_equal(*runs)


def test_beam_search_with_the_decoder_is_exhaustive_when_wide():
    decoder, bos, eos = decoder_of("lstm", n_tokens=3), 0, 2
    for p in decoder.parameters():
        p.data.normal_(0, 1)
    memory = decoder.attention.remember(tg.randn(4, 2, 4), lengths=[4, 2])
    start = nn.LSTMState(tg.randn(2, 3), tg.randn(2, 3))

    found = decoder.search(memory, start, bos=bos, eos=eos, max_length=4, beam_size=27, n_best=3)
    sequences = [(*body, eos) for n in range(4) for body in itertools.product([0, 1], repeat=n)]
    for row in range(2):
        one = nn.AttentionMemory(*(m[row : row + 1] if m is not None else None for m in memory))
        scores = {}
        for s in sequences:
            logits, _ = decoder(
                tg.tensor([bos, *s[:-1]]).unsqueeze(1), one, nn.LSTMState(*(x[row : row + 1] for x in start))
            )
            scores[s] = -F.cross_entropy(logits[:, 0], tg.tensor(list(s)), reduction="sum").item()
        best = sorted(scores, key=scores.get, reverse=True)[:3]
        for k, s in enumerate(best):
            assert tuple(found.tokens[row, k].tolist())[: len(s)] == s
            assert abs(found.scores[row, k].item() - scores[s]) < 1e-4


@pytest.mark.host  # what it is made of is tested on every backend; here it takes long
def test_it_learns_to_write_backwards():
    """Sequences of 3 to 6 letters turned round: the weights must run from the end to the start."""
    tg.set_default_dtype("float32")
    tg.manual_seed(0)
    n_tokens, bos, eos = 8, 6, 7
    embed, encoder = nn.Embedding(n_tokens, 16), nn.GRU(16, 24, bidirectional=True)
    decoder = nn.AttentionDecoder(
        nn.Embedding(n_tokens, 16),
        nn.GRUCell(16 + 48, 32),
        nn.Attention(32, 48),
        nn.Linear(32 + 48, n_tokens),
    )
    parameters = [*embed.parameters(), *encoder.parameters(), *decoder.parameters()]
    optimizer, rng = optim.Adam(parameters, lr=0.01), np.random.default_rng(0)

    def batch(size):
        rows = [rng.integers(0, 6, rng.integers(3, 7)).tolist() for _ in range(size)]
        lengths = [len(r) for r in rows]
        read = tg.tensor([[*r, *[eos] * (6 - len(r))] for r in rows]).T
        write = tg.tensor([[bos, *r[::-1], eos, *[eos] * (6 - len(r))] for r in rows]).T
        return rows, lengths, read, write

    for step in range(220):
        optimizer.param_groups[0]["lr"] = 0.01 if step < 150 else 0.003
        rows, lengths, read, write = batch(32)
        encoded, _ = encoder(embed(read), lengths=lengths)
        logits, _ = decoder(write[:-1], encoded, lengths=lengths)
        losses = F.cross_entropy(logits.reshape(-1, n_tokens), write[1:].reshape(-1), reduction="none")
        loss = F.masked_mean(losses.reshape(*write[1:].shape), [n + 1 for n in lengths])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    rows, lengths, read, write = batch(50)
    with tg.no_grad():
        encoded, _ = encoder(embed(read), lengths=lengths)
        _, weights = decoder(write[:-1], encoded, lengths=lengths)
        found = decoder.search(encoded, lengths=lengths, bos=bos, eos=eos, max_length=8, beam_size=3)
    assert np.mean([f == r[::-1] for f, r in zip(found.lists(), rows, strict=True)]) > 0.9
    places = weights.argmax(-1).numpy()
    aligned = [abs(places[t, b] - (n - 1 - t)) <= 1 for b, n in enumerate(lengths) for t in range(n)]
    assert np.mean(aligned) > 0.8


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: nn.Attention(3, score="cosine"),
            ValueError,
            "score is 'cosine', expected one of 'additive'",
        ),
        (
            lambda: nn.Attention(3, 2, score="dot"),
            ValueError,
            "'dot' needs key_size = query_size, got 2 and 3",
        ),
        (lambda: nn.Attention(3, 3, 4, "dot"), ValueError, "only the additive score has a hidden_size"),
        (lambda: nn.Attention(0), ValueError, "query_size must be a positive integer, got 0"),
        (
            lambda: nn.Attention(3)(tg.ones(2, 3), tg.ones(4, 2)),
            ValueError,
            "keys must be (time, batch, features)",
        ),
        (
            lambda: nn.Attention(3)(tg.ones(2, 3), None),
            ValueError,
            "keys must be (time, batch, features), got a ",
        ),
        (lambda: nn.Attention(3)(tg.ones(2, 3), tg.ones(4, 2, 5)), ValueError, "expected key_size = 3"),
        (lambda: nn.Attention(3)(tg.ones(2, 4), tg.ones(4, 2, 3)), ValueError, "expected query_size = 3"),
        (lambda: nn.Attention(3)(tg.ones(5, 3), tg.ones(4, 2, 3)), ValueError, "the keys have a batch of 2"),
        (lambda: nn.Attention(3)(tg.ones(3), tg.ones(4, 2, 3)), ValueError, "query must be (batch, 3)"),
        (
            lambda: nn.Attention(3)(tg.ones(2, 3), tg.ones(4, 2, 3), tg.ones(5, 2, 3)),
            ValueError,
            "time and batch must be the same",
        ),
        (
            lambda: nn.Attention(3)(tg.ones(2, 3), tg.ones(4, 2, 3), lengths=[5, 1]),
            ValueError,
            "the 4 time steps",
        ),
        (
            lambda: nn.AttentionDecoder(None, None, None, None),
            TypeError,
            "a Cell and an Attention in the middle",
        ),
        (
            lambda: decoder_of()(tg.ones(2, 2), tg.ones(3, 2, 4)),
            ValueError,
            "tokens must be 2-D integers, got",
        ),
        (
            lambda: decoder_of()(tg.ones(2, 3, dtype="int64"), tg.ones(3, 2, 4)),
            ValueError,
            "tokens for 3 rows and 2 steps",
        ),
        (
            lambda: decoder_of().search(
                nn.AttentionMemory(*[None] * 4), lengths=[1], bos=0, eos=1, max_length=3
            ),
            ValueError,
            "an AttentionMemory has its lengths already",
        ),
        (
            lambda: decoder_of()(tg.ones(2, 2, dtype="int64"), tg.ones(3, 2, 4), teacher_forcing=1.5),
            ValueError,
            "teacher_forcing must be between 0 and 1",
        ),
        (
            lambda: nn.AttentionDecoder(
                nn.Embedding(5, 2), nn.GRUCell(9, 3), nn.Attention(3, 4), nn.Linear(7, 5)
            )(tg.ones(2, 2, dtype="int64"), tg.ones(3, 2, 4)),
            ValueError,
            "their sum must be the cell's input_size, 9",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
