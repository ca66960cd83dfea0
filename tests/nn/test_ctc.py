"""CTC against its definition: the sum over all paths, written out."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tests.extras import extra
from tinygrad_rnn import nn
from tinygrad_rnn.testing import gradcheck


def reads(path, blank):
    """The labels that a path stands for."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def by_enumeration(log_probs, blank):
    """The probability of each labelling, summed over all paths: log_probs (T, C)."""
    found = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        p = math.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
        found[reads(path, blank)] = found.get(reads(path, blank), 0.0) + p
    return found


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@st.composite
def batches(draw, max_steps=5, max_labels=3):
    """Values (T, N, C), targets (N, S), input lengths, target lengths and the blank."""
    n_rows, n_classes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    blank = draw(st.integers(0, n_classes - 1))
    ends = draw(st.lists(st.integers(0, max_steps), min_size=n_rows, max_size=n_rows))
    sizes = draw(st.lists(st.integers(0, max_labels), min_size=n_rows, max_size=n_rows))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.normal(size=(max(ends) + draw(st.integers(0, 1)), n_rows, n_classes)) * 2
    labels = np.array([k for k in range(n_classes) if k != blank])
    targets = rng.choice(labels, (n_rows, max(sizes) + draw(st.integers(0, 1))))
    return x, targets, ends, sizes, blank


# ---------------------------------------------------------------- the loss


@settings(max_examples=50, deadline=None)
@given(batches())
def test_the_loss_is_the_sum_over_all_paths(batch):
    x, targets, ends, sizes, blank = batch
    log_probs = log_softmax(x)
    losses = F.ctc_loss(tg.tensor(log_probs), tg.tensor(targets), ends, sizes, blank, "none").numpy()
    for n, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        p = by_enumeration(log_probs[:end, n], blank).get(tuple(targets[n, :size]), 0.0)
        assert losses[n] == pytest.approx(-math.log(p) if p else math.inf, rel=1e-10, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(batches(max_steps=4, max_labels=2), st.sampled_from(["none", "sum", "mean"]))
def test_gradients(batch, reduction):
    x, targets, ends, sizes, blank = batch
    targets = tg.tensor(targets)
    gradcheck(lambda v: F.ctc_loss(v, targets, ends, sizes, blank, reduction, True), x, order=2)


def test_the_gradient_is_minus_the_probability_of_saying_it_then():
    log_probs = log_softmax(np.random.default_rng(0).normal(size=(4, 3)))
    expected, total = np.zeros((4, 3)), 0.0
    for path in itertools.product(range(3), repeat=4):
        if reads(path, 0) == (1, 2):
            p = math.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
            total += p
            for t, k in enumerate(path):
                expected[t, k] -= p
    x = tg.tensor(log_probs, requires_grad=True)
    F.ctc_loss(x, tg.tensor([1, 2]), 4, 2, reduction="sum").backward()
    np.testing.assert_allclose(x.grad.numpy(), expected / total, atol=1e-12)


@pytest.mark.extras("torch")
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=5),
    st.integers(2, 6),
    st.sampled_from(["none", "sum", "mean"]),
    st.sampled_from(["padded", "joined", "one"]),
    st.booleans(),
)
def test_it_agrees_with_pytorch(lengths, n_classes, reduction, layout, double):
    torch = extra("torch")
    ends, sizes = map(list, zip(*lengths, strict=True))
    if layout == "one":
        ends, sizes = ends[:1], sizes[:1]
    kind = "float64" if double else "float32"
    rng = np.random.default_rng(sum(ends) + n_classes)
    blank = n_classes - 1
    x = rng.normal(size=(max(1, *ends, 1), len(ends), n_classes)).astype(kind)
    targets = rng.integers(0, n_classes - 1, (len(ends), max(1, *sizes, 1)))
    if layout == "joined":
        targets = np.concatenate([row[:size] for row, size in zip(targets, sizes, strict=True)])
    if layout == "one":
        x, targets, ends, sizes = x[:, 0], targets[0, : sizes[0]], ends[0], sizes[0]
    ours, theirs = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = F.ctc_loss(F.log_softmax(ours, -1), tg.tensor(targets), ends, sizes, blank, reduction, True)
    expected = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1), torch.tensor(targets), torch.tensor(ends), torch.tensor(sizes), blank,
        reduction, zero_infinity=True,
    )  # fmt: skip
    accuracy = {"rtol": 1e-9, "atol": 1e-10} if double else {"rtol": 1e-4, "atol": 1e-5}
    assert loss.shape == tuple(expected.shape)
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), **accuracy)
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), **accuracy)


@pytest.mark.extras("torch")
def test_long_and_sure_sequences_agree_with_pytorch_in_float32():
    torch = extra("torch")
    rng = np.random.default_rng(0)
    x = (6 * rng.normal(size=(300, 2, 20))).astype("float32")
    targets, ends, sizes = rng.integers(1, 20, (2, 40)), [300, 211], [40, 33]
    ours, theirs = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = nn.CTCLoss()(F.log_softmax(ours, -1), tg.tensor(targets), tg.tensor(ends), tg.tensor(sizes))
    lengths = torch.tensor(ends), torch.tensor(sizes)
    expected = torch.nn.CTCLoss()(theirs.log_softmax(-1), torch.tensor(targets), *lengths)
    loss.backward()
    expected.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-5)
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=2e-3, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(batches(), st.sampled_from([np.nan, np.inf, -np.inf, 3.0]), st.booleans())
def test_what_stands_behind_an_end_counts_nothing(batch, filling, joined):
    x, targets, ends, sizes, blank = batch
    log_probs = log_softmax(x)
    alone = [
        F.ctc_loss(tg.tensor(log_probs[:end, n]), tg.tensor(targets[n, :size]), end, size, blank, "sum")
        for n, (end, size) in enumerate(zip(ends, sizes, strict=True))
    ]
    for n, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        log_probs[end:, n] = filling
        targets[n, size:] = -1
    if joined:
        targets = targets[targets >= 0]
    v = tg.tensor(log_probs, requires_grad=True)
    losses = F.ctc_loss(v, tg.tensor(targets), ends, np.array(sizes, "uint8"), blank, "none")
    np.testing.assert_allclose(losses.numpy(), [loss.item() for loss in alone], rtol=1e-12)
    losses.sum().backward()
    assert np.isfinite(v.grad.numpy()).all()
    for n, end in enumerate(ends):
        assert not v.grad.numpy()[end:, n].any()


def test_the_ways_to_run_it_agree():
    """As one node, op by op, under debug, and for few steps."""
    rng = np.random.default_rng(1)
    log_probs, targets = log_softmax(rng.normal(size=(6, 3, 4))), tg.tensor(rng.integers(1, 4, (3, 3)))

    def run():
        v = tg.tensor(log_probs, requires_grad=True)
        losses = F.ctc_loss(v, targets, [6, 3, 5], [2, 1, 0], reduction="none")
        losses.sum().backward()
        return losses.numpy(), v.grad.numpy()

    expected = run()
    for way in (tg.eager, tg.debug):
        with way():
            for got, right in zip(run(), expected, strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-12, atol=1e-15)
    with tg.no_grad():
        losses = F.ctc_loss(tg.tensor(log_probs), targets, [6, 3, 5], [2, 1, 0], reduction="none")
    np.testing.assert_allclose(losses.numpy(), expected[0], rtol=1e-12)


def test_what_cannot_be_said():
    """Too many labels, or a class that is impossible."""
    x = tg.zeros(3, 3, 4)
    targets, ends, sizes = tg.tensor([[1, 1], [1, 2], [3, 0]]), [2, 2, 3], [2, 2, 1]
    x = F.log_softmax(tg.where(tg.tensor([False, False, False, True]), -math.inf, x), -1)
    x.requires_grad_()
    losses = F.ctc_loss(x, targets, ends, sizes, reduction="none")
    np.testing.assert_allclose(losses.numpy(), [math.inf, 2 * math.log(3), math.inf], rtol=1e-6)
    assert math.isinf(F.ctc_loss(x, targets, ends, sizes).item())
    kept = nn.CTCLoss(zero_infinity=True)(x, targets, ends, sizes)
    assert kept.item() == pytest.approx(math.log(3) / 3, rel=1e-6)
    kept.backward()
    assert not x.grad.numpy()[:, [0, 2]].any()
    np.testing.assert_allclose(x.grad.numpy()[:2, 1, 1:3] * 6, -np.eye(2), atol=1e-6)


def test_half_precision_is_computed_in_single():
    x = tg.randn(5, 2, 3)
    half = F.log_softmax(x, -1).half().requires_grad_()
    loss = F.ctc_loss(half, tg.tensor([[1, 2], [2, 2]]), [5, 5], [2, 2])
    loss.backward()
    assert loss.dtype == tg.float32
    assert half.grad.dtype == tg.float16
    full = F.ctc_loss(half.detach().float(), tg.tensor([[1, 2], [2, 2]]), [5, 5], [2, 2])
    assert loss.item() == full.item()


def test_it_trains():
    """A net that has never been told when learns to say two labels in their order."""
    targets, x = tg.tensor([[1, 2], [2, 1]]), tg.eye(2).unsqueeze(0).expand(8, 2, 2)
    layer, head = nn.LSTM(2, 8), nn.Linear(8, 3)
    optimizer = tg.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        log_probs = F.log_softmax(head(layer(x)[0]), -1)
        nn.CTCLoss()(log_probs, targets, [8, 8], [2, 2]).backward()
        optimizer.step()
    assert nn.ctc_greedy(log_probs) == [[1, 2], [2, 1]]


# ---------------------------------------------------------------- reading


@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 3), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_greedy_reads_the_best_path(path, blank, beyond):
    scores = np.zeros((len(path) + beyond, 2, 4))
    scores[np.arange(len(path)), 0, path] = 1
    scores[len(path) :, 0, 1] = 1
    found = nn.ctc_greedy(tg.tensor(scores), [len(path), 0], blank=blank)
    assert found == [list(reads(path, blank)), []]
    assert nn.ctc_greedy(tg.tensor(scores[: len(path), 0]), blank=blank) == found[0]


@given(batches(max_steps=4))
@settings(max_examples=30, deadline=None)
def test_a_wide_beam_finds_all_labellings(batch):
    x, _, ends, _, blank = batch
    log_probs = log_softmax(x)
    found = nn.ctc_beam(tg.tensor(log_probs), ends, blank=blank, beam_size=200, n_best=200)
    for n, end in enumerate(ends):
        expected = by_enumeration(log_probs[:end, n], blank)
        got = {tuple(hypothesis.labels): math.exp(hypothesis.log_prob) for hypothesis in found[n]}
        assert got == pytest.approx(expected)
        assert [h.log_prob for h in found[n]] == sorted((h.log_prob for h in found[n]), reverse=True)


def test_the_best_labels_need_not_be_those_of_the_best_path():
    """Two steps, twice blank with 0.6: the best path reads nothing (0.36), but "a" has 0.64 on its paths."""
    log_probs = tg.tensor(np.log([[0.6, 0.4], [0.6, 0.4]]))
    assert nn.ctc_greedy(log_probs) == []
    (best,) = nn.ctc_beam(log_probs, beam_size=2)
    assert best.labels == [1]
    assert best.log_prob == pytest.approx(math.log(0.64))


def test_a_narrow_beam_looks_at_enough_labels():
    """With many classes only the best are tried: nothing that belongs into the beam is lost."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_probs = log_softmax(2 * rng.normal(size=(4, 12)))
        narrow = nn.ctc_beam(tg.tensor(log_probs), beam_size=3, n_best=3)
        expected = all_labels_tried(log_probs, 3)
        assert [h.labels for h in narrow] == [list(prefix) for prefix, _ in expected]
        np.testing.assert_allclose([h.log_prob for h in narrow], [np.log(p) for _, p in expected])


def all_labels_tried(log_probs, beam_size):
    """Prefix beam search as it stands in the papers, on probabilities: blank 0."""
    beam = {(): (1.0, 0.0)}
    for probs in np.exp(log_probs):
        found = {}
        for prefix, (blanked, spoken) in beam.items():
            a, b = found.get(prefix, (0, 0))
            found[prefix] = a + (blanked + spoken) * probs[0], b + spoken * probs[prefix[-1] if prefix else 0]
            for label in range(1, len(probs)):
                a, b = found.get((*prefix, label), (0, 0))
                before = blanked if prefix and label == prefix[-1] else blanked + spoken
                found[(*prefix, label)] = a, b + before * probs[label]
        beam = dict(sorted(found.items(), key=lambda item: -sum(item[1]))[:beam_size])
    return [(prefix, sum(p)) for prefix, p in beam.items()]


def test_impossible_beginnings_leave_the_beam():
    log_probs = tg.tensor([[0.0, -math.inf], [-math.inf, 0.0]])
    assert nn.ctc_beam(log_probs, beam_size=5, n_best=5) == [nn.CTCHypothesis([1], 0.0)]


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
@settings(max_examples=60, deadline=None)
def test_edit_distance(a, b):
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        choices = distance(a[1:], b), distance(a, b[1:])
        return min(1 + min(choices), distance(a[1:], b[1:]) + (a[0] != b[0]))

    if len(a) + len(b) <= 9:
        assert nn.edit_distance(a, b) == distance(a, b)
    assert nn.edit_distance(a, b) == nn.edit_distance(list(b), tuple(a)) <= max(len(a), len(b))
    assert (nn.edit_distance(a, b) == 0) == (a == b)
    assert nn.edit_distance("kitten", "sitting") == 3


# ---------------------------------------------------------------- bad input

X, Y = tg.zeros(4, 2, 3), tg.tensor([[1, 2], [2, 1]])


@pytest.mark.host
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.ctc_loss(X, Y, [5, 4], [2, 2]), ValueError, "must be between 0 and the 4 time steps"),
        (lambda: F.ctc_loss(X, Y, [4], [2, 2]), ValueError, "ctc_loss: 1 lengths for a batch of 2"),
        (lambda: F.ctc_loss(X, Y, [4, 4], [2, 3]), ValueError, "between 0 and the 2 labels, got [2, 3]"),
        (lambda: F.ctc_loss(X, Y, [4, 4], [2, 0.5]), TypeError, "ctc_loss: lengths must be integers"),
        (lambda: F.ctc_loss(X, Y[:1], [4, 4], [2, 2]), ValueError, "targets has 1 rows, log_probs 2"),
        (lambda: F.ctc_loss(X, Y[0], [4, 4], [1, 0]), ValueError, "add to 1, but targets has 2 labels"),
        (lambda: F.ctc_loss(X, Y.float(), [4, 4], [2, 2]), TypeError, "targets must be a tensor of integers"),
        (lambda: F.ctc_loss(X, [[1]], [4, 4], [1, 1]), TypeError, "got a list"),
        (lambda: F.ctc_loss(X, Y + 1, [4, 4], [2, 2]), IndexError, "targets holds 3; labels are 0 to 2"),
        (lambda: F.ctc_loss(X, Y, [4, 4], [2, 2], 2), IndexError, "targets holds 2; labels are 0 to 2 "),
        (lambda: F.ctc_loss(X, Y, [4, 4], [2, 2], 3), ValueError, "blank is 3, but there are 3 classes"),
        (lambda: F.ctc_loss(X, Y, [4, 4], [2, 2], 0, "all"), ValueError, "ctc_loss: reduction is 'all'"),
        (lambda: F.ctc_loss(X[0, 0], Y, 1, 1), ValueError, "log_probs must be a floating tensor (T, N, C)"),
        (lambda: nn.CTCLoss(reduction="all"), ValueError, "CTCLoss: reduction is 'all'"),
        (lambda: nn.ctc_greedy([1.0]), ValueError, "ctc_greedy: log_probs must be a floating tensor"),
        (lambda: nn.ctc_beam(X, beam_size=0), ValueError, "beam_size must be a positive integer, got 0"),
        (lambda: nn.ctc_beam(X, beam_size=2, n_best=3), ValueError, "expected at most beam_size = 2"),
        (lambda: nn.ctc_beam(X, [4, 5]), ValueError, "ctc_beam: lengths must be between 0 and the 4 time"),
    ],
)
def test_bad_input_is_one_sentence(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
