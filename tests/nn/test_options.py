"""What a recurrent layer may be asked for beside its equations: noise, norms, projections, learned starts,
merge modes, the states of all steps. Each against its definition, with any depth, direction and lengths.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.scan import flattened
from tinygrad_rnn.testing import gradcheck

quick = settings(max_examples=15, deadline=None, database=None)


@pytest.fixture(autouse=True)
def _double():
    tg.set_default_dtype("float64")
    tg.manual_seed(0)
    yield
    tg.set_default_dtype("float32")


CELLS = {
    "RNN": nn.RNNCell,
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
    "GRU after": lambda *a: nn.GRUCell(*a, reset_after=True),
    "projected": lambda *a: nn.LSTMCell(*a, proj_size=2),
    "norm RNN": nn.LayerNormRNNCell,
    "norm relu": lambda *a: nn.LayerNormRNNCell(*a, nonlinearity="relu", bias=False),
    "norm LSTM": nn.LayerNormLSTMCell,
    "norm GRU": nn.LayerNormGRUCell,
    "no bias": lambda *a: nn.LayerNormGRUCell(*a, bias=False),
    "peepholes": nn.PeepholeLSTMCell,
    "projected norm": lambda *a: nn.LayerNormLSTMCell(*a, proj_size=2),
}
WRAPPERS = {
    "plain": lambda cell: cell,
    "dropout": lambda cell: nn.RecurrentDropout(cell, 0.5),
    "weights": lambda cell: nn.WeightDrop(cell, 0.5),
    "zoneout": lambda cell: nn.Zoneout(cell, 0.3),
    "all": lambda cell: nn.Zoneout(nn.RecurrentDropout(nn.WeightDrop(cell, 0.3), 0.3), 0.3),
}


def filled(cell):
    """With weights that are not near zero, so that nothing hides."""
    for p in cell.parameters():
        p.data.normal_(0, 0.7)
    return cell


def deep(name, around, depth, both, **settings):
    """A layer of cells, each in its wrapper, so many deep and perhaps in both directions."""
    cells, width = [], 3
    for _ in range(depth):
        cells += [WRAPPERS[around](filled(CELLS[name](width, 4))) for _ in range(1 + both)]
        width = (1 + both) * cells[-1].output_size
    return nn.Recurrent(*cells, bidirectional=both, **settings)


def state_for(cell, n, *more):
    return nn.cells.map_state(lambda s: tg.randn(*more, *s.shape), cell.initial_state(n, tg.zeros(1)))


# ---------------------------------------------------------------- the equations, in NumPy


def sig(x):
    return 1 / (1 + np.exp(-x))


def norm(x, gain, bias=0.0):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gain + bias


def equations(name, cell, x, h, c=None):
    w = {key: p.numpy() for key, p in cell.named_parameters()}
    zero = np.zeros(1)
    if name in ("norm RNN", "norm relu"):
        a = norm(x @ w["weight_ih"] + h @ w["weight_hh"], w["weight_norm"], w.get("bias", zero))
        return (np.tanh(a) if name == "norm RNN" else np.maximum(a, 0),)
    if name in ("norm GRU", "no bias"):
        px = norm(x @ w["weight_ih"], w["weight_norm_ih"], w.get("bias", zero))
        u = norm(h @ w["weight_hh"], w["weight_norm_hh"])
        (xr, xz, xn), (ur, uz, un) = np.split(px, 3, -1), np.split(u, 3, -1)
        r, z = sig(xr + ur), sig(xz + uz)
        return (z * np.tanh(xn + r * (un + w.get("bias_hh", zero))) + (1 - z) * h,)
    if "norm" in name:
        a = norm(x @ w["weight_ih"], w["weight_norm_ih"], w["bias"]) + norm(
            h @ w["weight_hh"], w["weight_norm_hh"]
        )
    else:
        a = x @ w["weight_ih"] + h @ w["weight_hh"] + w["bias"]
    i, f, g, o = np.split(a, 4, -1)
    p_i, p_f, p_o = (w.get(k, zero) for k in ("weight_ci", "weight_cf", "weight_co"))
    c_new = sig(f + p_f * c) * c + sig(i + p_i * c) * np.tanh(g)
    shown = norm(c_new, w["weight_norm_c"], w["bias_norm_c"]) if "norm" in name else c_new
    h = sig(o + p_o * c_new) * np.tanh(shown)
    return (h @ w["weight_hr"] if "weight_hr" in w else h), c_new


@pytest.mark.parametrize("name", [n for n in CELLS if n not in ("RNN", "LSTM", "GRU", "GRU after")])
def test_a_step_is_its_equations(name):
    cell = filled(CELLS[name](3, 4))
    x, state = tg.randn(5, 3), state_for(cell, 5)
    expected = equations(name, cell, x.numpy(), *(s.numpy() for s in flattened(state)))
    for a, b in zip(flattened(cell(x, state)), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-12)
    with tg.eager():
        for a, b in zip(flattened(cell(x, state)), expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- any cell, with any wrapper


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("around", WRAPPERS)
@quick
@given(data=st.data())
def test_all_steps_at_once_are_the_steps_one_by_one(name, around, data):
    """The same values and gradients from the recorded loop as from a plain one, noise and all."""
    n_steps, n = data.draw(st.integers(4, 6)), data.draw(st.integers(1, 3))
    layer = deep(name, around, data.draw(st.sampled_from([1, 1, 2])), data.draw(st.booleans()))
    layer.reverse = not layer.bidirectional and data.draw(st.booleans())
    layer.train(data.draw(st.booleans()))
    lengths = data.draw(st.none() | st.lists(st.integers(0, n_steps), min_size=n, max_size=n))
    x, state = tg.randn(n_steps, n, 3).requires_grad_(), state_for(layer.cells[0], n, len(layer.cells))
    found = []
    for how in (contextlib.nullcontext(), tg.eager()):
        tg.manual_seed(4)
        with how:
            output, final = layer(x, state, lengths)
        loss = sum((r * r).sum() for r in [output, *flattened(final)])
        grads = tg.grad(loss, [x, *layer.parameters()], allow_unused=True) if loss.requires_grad else []
        found.append([output, *flattened(final), *grads])
    for a, b in zip(*found, strict=True):
        there = [t.numpy() for t in (a, b) if t is not None]
        if len(there) == 2:
            np.testing.assert_allclose(*there, rtol=1e-8, atol=1e-10)
        else:
            assert not any(t.any() for t in there)


def nodes_of(outputs):
    """The names of all nodes of a graph."""
    left, seen, names = [t.vertex for t in outputs], set(), []
    while left:
        vertex = left.pop()
        node = getattr(vertex, "node", vertex)
        if id(node) in seen or not hasattr(node, "op"):
            continue
        seen.add(id(node))
        names.append(node.op.name)
        left += [parent for parent in node.parents if parent is not None]
    return names


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("around", WRAPPERS)
@quick
@given(data=st.data())
def test_no_option_takes_the_steps_one_by_one(name, around, data):
    """However many steps there are, the graph has as many nodes, among them one loop for each direction of
    each layer and each stretch of equally many rows.
    """
    depth, both = data.draw(st.integers(1, 2)), data.draw(st.booleans())
    learned, shown, lengths = (data.draw(st.booleans()) for _ in range(3))
    layer = deep(name, around, depth, both, learn_initial_state=learned, dropout=0.3 * (depth > 1))
    layer.train(data.draw(st.booleans()))
    counts = []
    for n_steps in (5, 14):
        given_lengths = [n_steps, 0, n_steps] if lengths else None
        x = tg.randn(n_steps, 3, 3)
        results = [layer.states(x, None, given_lengths)] if shown else layer(x, lengths=given_lengths)
        names = nodes_of([t for result in results for t in flattened(result)])
        assert names.count("loop") == depth * (1 + both)
        counts.append(len(names))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", CELLS)
@quick
@given(data=st.data())
def test_padding_changes_nothing(name, data):
    """Each row of a padded batch gives what its sequence gives alone, at two layers and two directions."""
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    merge = data.draw(st.sampled_from(["concat", "sum", "mean", "product", None]))
    make, first = CELLS[name], CELLS[name](3, 4)
    deep = nn.Recurrent(filled(first), filled(make(first.output_size, 4)), learn_initial_state=True)
    layer = nn.Bidirectional(deep, merge=merge)
    for p in layer.parameters():
        p.data.normal_(0, 0.5)
    x = tg.randn(max(lengths), len(lengths), 3)

    def run(x, lengths):
        (output, final), states = layer(x, None, lengths), layer.states(x, None, lengths)
        outputs = output if merge is None else [output]
        return outputs, flattened(final), flattened(states)

    outputs, finals, states = run(x, lengths)
    for row, length in enumerate(lengths):
        one_outputs, one_finals, one_states = run(x[:length, row : row + 1], None)
        for a, b in zip(outputs, one_outputs, strict=True):
            np.testing.assert_allclose(a.numpy()[:length, row], b.numpy()[:, 0], rtol=1e-8, atol=1e-10)
            assert not a.numpy()[length:, row].any()
        for a, b in zip(finals, one_finals, strict=True):
            np.testing.assert_allclose(a.numpy()[:, row], b.numpy()[:, 0], rtol=1e-8, atol=1e-10)
        for a, b in zip(states, one_states, strict=True):
            np.testing.assert_allclose(a.numpy()[:, :length, row], b.numpy()[:, :, 0], rtol=1e-8, atol=1e-10)
            assert not a.numpy()[:, length:, row].any()


@pytest.mark.parametrize("name", ["norm RNN", "norm LSTM", "norm GRU", "peepholes", "projected"])
def test_gradients(name):
    cell = filled(CELLS[name](2, 3))
    layer = nn.Recurrent(cell)
    names = [n for n, _ in cell.named_parameters()]

    def run(x, *values):
        for key, value in zip(names, values, strict=True):
            vars(cell)[key] = value
        output, final = layer(x, None, [5, 3])
        return [output, *flattened(final)][-1] + output.sum()

    values = [p.numpy().copy() for p in cell.parameters()]
    gradcheck(run, np.random.default_rng(0).standard_normal((5, 2, 2)), *values)


# ---------------------------------------------------------------- noise


def test_recurrent_dropout_keeps_its_mask_over_time():
    """An RNN that hands its state on, so that what was dropped stays away and what stays grows."""
    cell = nn.RNNCell(1, 50, nonlinearity="relu")
    cell.weight_ih.data.zero_()
    cell.bias.data.zero_()
    cell.weight_hh.data = tg.eye(50)
    layer = nn.Recurrent(nn.RecurrentDropout(cell, 0.5))
    _, h = layer(tg.zeros(6, 4, 1), tg.ones(1, 4, 50))
    assert set(np.unique(h.numpy())) == {0.0, 2.0**6}
    layer.eval()
    _, h = layer(tg.zeros(6, 4, 1), tg.ones(1, 4, 50))
    assert (h.numpy() == 1).all()


def test_recurrent_dropout_of_a_gru_leaves_the_old_state_whole():
    cell = nn.GRUCell(1, 4)
    for p in cell.parameters():
        p.data.zero_()
    cell.bias.data[4:8] = -50.0  # z = 0: everything is kept
    output, _ = nn.Recurrent(nn.RecurrentDropout(cell, 0.9))(tg.zeros(5, 1, 1), tg.ones(1, 1, 4))
    np.testing.assert_allclose(output.numpy(), 1.0)


def test_weight_drop_is_one_mask_for_all():
    cell = nn.RNNCell(2, 30, nonlinearity="relu")
    cell.weight_hh.data = tg.ones(30, 30)
    layer = nn.Recurrent(nn.WeightDrop(cell, 0.5))
    with tg.no_grad():
        output, _ = layer(tg.zeros(4, 3, 2), tg.ones(1, 3, 30))
    first = output.numpy()[0]
    assert (first == first[0]).all()  # every row of the batch has seen the same weights
    assert len(np.unique(first)) > 5
    assert (cell.weight_hh.numpy() == 1).all()
    output, _ = layer(tg.randn(4, 3, 2), tg.ones(1, 3, 30))
    output.sum().backward()
    dropped = cell.weight_hh.grad.numpy() == 0
    assert 0.3 < dropped.mean() < 0.7
    assert set(layer.state_dict()) == {
        "cells.0.cell.weight_ih",
        "cells.0.cell.weight_hh",
        "cells.0.cell.bias",
    }


def test_zoneout_keeps_elements_in_training_and_mixes_otherwise():
    cell = nn.RNNCell(1, 500, nonlinearity="relu")
    for p in cell.parameters():
        p.data.zero_()
    cell.bias.data.fill_(1.0)  # every step makes ones
    layer = nn.Recurrent(nn.Zoneout(cell, 0.25))
    output, _ = layer(tg.zeros(3, 4, 1))
    values = output.numpy()
    assert set(np.unique(values)) == {0.0, 1.0}
    for t in range(3):
        kept = 0.25 ** (t + 1)  # zero as long as it was kept at every step
        assert abs((values[t] == 0).mean() - kept) < 0.05
    layer.eval()
    output, _ = layer(tg.zeros(3, 4, 1))
    np.testing.assert_allclose(output.numpy()[:, 0, 0], [1 - 0.25**k for k in (1, 2, 3)])


def test_zoneout_has_odds_for_each_part_of_the_state():
    layer = nn.Recurrent(nn.Zoneout(nn.LSTMCell(2, 3), (0.0, 1.0)))
    output, state = layer(tg.randn(4, 2, 2), nn.LSTMState(tg.zeros(1, 2, 3), tg.ones(1, 2, 3)))
    assert (state.c.numpy() == 1).all()
    assert output.numpy().any()


@pytest.mark.parametrize("around", ["dropout", "weights", "zoneout", "all"])
def test_seeds(around):
    def run(seed):
        tg.manual_seed(seed)
        layer = nn.Recurrent(WRAPPERS[around](nn.LSTMCell(2, 8, rng=0)))
        return layer(tg.ones(5, 3, 2))[0].numpy()

    assert (run(1) == run(1)).all()
    assert (run(1) != run(2)).any()


@pytest.mark.parametrize("around", ["dropout", "weights", "zoneout", "all"])
def test_noise_goes_with_stretches_that_are_computed_again(around):
    x, found = tg.randn(9, 3, 2).requires_grad_(), []
    cell = WRAPPERS[around](filled(nn.LSTMCell(2, 4)))
    for every in (None, 4):
        layer = nn.Recurrent(cell, checkpoint_every=every)
        tg.manual_seed(3)
        y, _ = layer(x)
        if around in ("zoneout", "all") and every:
            assert y.requires_grad  # drawn stretch by stretch: other noise
            y.sum().backward()
            continue
        found.append([y, *tg.grad((y * y).sum(), [x, *cell.parameters()])])
    for a, b in zip(*found, strict=True) if len(found) == 2 else ():
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- states


def test_states_of_all_steps():
    layer = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
    x = tg.randn(2, 5, 3)
    states = layer.states(x, lengths=[5, 3])
    output, final = layer(x, lengths=[5, 3])
    assert states.h.shape == states.c.shape == (4, 2, 5, 4)
    np.testing.assert_array_equal(tg.concat([states.h[2], states.h[3]], -1).numpy(), output.numpy())
    np.testing.assert_allclose(states.c.numpy()[0, 1, 2], final.c.numpy()[0, 1])
    np.testing.assert_allclose(states.c.numpy()[1, 1, 0], final.c.numpy()[1, 1])
    assert nn.GRU(3, 4).states(x[0]).shape == (1, 5, 4)  # one sequence


def test_learned_initial_states():
    layer = nn.LSTM(2, 3, 2, bidirectional=True, learn_initial_state=True)
    names = [n for n, _ in layer.named_parameters() if "initial" in n]
    assert len(names) == 8  # h and c of four cells
    assert all((p.numpy() == 0).all() for n, p in layer.named_parameters() if n in names)
    for p in layer.parameters():
        p.data.normal_(0, 1)
    output, _ = layer(tg.randn(3, 4, 2), lengths=[3, 0, 1, 2])
    output.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    start = layer.initial_state
    _, state = layer(tg.randn(2, 1, 2), lengths=[0])
    np.testing.assert_array_equal(state.h.numpy()[:, 0], np.stack([start[k].numpy() for k in (0, 2, 4, 6)]))
    given = nn.cells.map_state(lambda s: s * 0, state)
    _, other = layer(tg.randn(2, 1, 2), given, lengths=[0])
    assert not other.h.numpy().any()  # what is given goes before what was learned


@pytest.mark.extras("torch")
@pytest.mark.parametrize("depth", [1, 2])
def test_projection_is_pytorchs(depth):
    torch = extra("torch")
    theirs = torch.nn.LSTM(3, 5, depth, bidirectional=True, proj_size=2, dtype=torch.float64)
    layer = nn.LSTM(3, 5, depth, bidirectional=True, proj_size=2)
    tg.io.load_torch(layer, theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 3, 3))
    ours = layer(tg.tensor(x))
    expected = theirs(torch.tensor(x))
    for a, b in zip(flattened(ours), (expected[0], *expected[1]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
    again = tg.io.torch_state_dict(layer) if hasattr(tg.io, "torch_state_dict") else None
    if again is not None:
        assert set(again) == set(theirs.state_dict())


def test_merge_modes():
    there, back = nn.GRU(2, 3), nn.GRU(2, 3)
    x = tg.randn(4, 2, 2)
    pair, state = nn.Bidirectional(there, back, merge=None)(x)
    a, b = (t.numpy() for t in pair)
    expected = {"concat": np.concatenate([a, b], -1), "sum": a + b, "mean": (a + b) / 2, "product": a * b}
    for merge, value in expected.items():
        output, same = nn.Bidirectional(there, back, merge=merge)(x)
        np.testing.assert_allclose(output.numpy(), value)
        np.testing.assert_array_equal(same.numpy(), state.numpy())
    with pytest.raises(ValueError, match="merge is 'add', expected one of 'concat', 'sum'"):
        nn.Bidirectional(there, merge="add")


def test_tbptt_carries_and_detaches():
    layer = nn.LSTM(2, 3, batch_first=True)
    x = tg.randn(4, 10, 2)
    whole, final = layer(x)
    parts = []
    for part, output, carried in nn.tbptt(layer, x, 4):
        np.testing.assert_allclose(output.numpy(), whole.numpy()[:, part], rtol=1e-9)
        output.sum().backward()  # the stretch before is freed already
        parts.append((part, carried.c))
    assert [part for part, _ in parts] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    np.testing.assert_allclose(parts[-1][1].numpy(), final.c.numpy(), rtol=1e-9)
    with pytest.raises(ValueError, match="every must be a positive integer, got 0"):
        next(nn.tbptt(layer, x, 0))


@pytest.mark.parametrize("name", CELLS)
@quick
@given(data=st.data())
def test_stretches_are_the_whole(name, data):
    """The same outputs and state, and gradients that end where a stretch begins."""
    n_steps, every = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 8))
    layer = deep(name, "plain", data.draw(st.integers(1, 2)), False, batch_first=data.draw(st.booleans()))
    x = tg.randn(n_steps, 2, 3)
    if layer.batch_first:
        x = x.swapaxes(0, 1).contiguous()
    x.requires_grad_()
    axis = int(layer.batch_first)
    whole, final = layer(x)
    outputs, parts = [], []
    for part, output, carried in nn.tbptt(layer, x, every):
        outputs.append(output)
        parts.append((part, carried))
    np.testing.assert_allclose(tg.concat(outputs, axis).numpy(), whole.numpy(), rtol=1e-9, atol=1e-12)
    for a, b in zip(flattened(parts[-1][1]), flattened(final), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
    assert [t for part, _ in parts for t in range(part.start, part.stop)] == list(range(n_steps))
    (g,) = tg.grad((outputs[-1] * outputs[-1]).sum(), [x])
    g = g.numpy().swapaxes(0, 1) if axis else g.numpy()
    last = parts[-1][0]
    assert not g[: last.start].any()
    assert g[last].any() or name == "norm relu"  # all of whose units may be off


@pytest.mark.parametrize("name", CELLS)
@quick
@given(data=st.data())
def test_rows_that_begin_anew(name, data):
    """Those of the mask go on as if nothing had been before, the others as if nothing had been reset."""
    rows = data.draw(st.lists(st.booleans(), min_size=1, max_size=4))
    layer = deep(name, "plain", data.draw(st.integers(1, 2)), data.draw(st.booleans()))
    before, after = tg.randn(4, len(rows), 3), tg.randn(5, len(rows), 3)
    _, state = layer(before)
    mixed, fresh, carried = (
        layer(after, start)[0].numpy() for start in (nn.reset_rows(state, rows), None, state)
    )
    for row, anew in enumerate(rows):
        expected = fresh if anew else carried
        np.testing.assert_allclose(mixed[:, row], expected[:, row], rtol=1e-9, atol=1e-12)


def test_reset_rows():
    layer = nn.LSTM(2, 3)
    _, state = layer(tg.randn(5, 3, 2))
    fresh = nn.reset_rows(state, [True, False, True])
    assert type(fresh) is nn.LSTMState
    assert not fresh.h.numpy()[:, [0, 2]].any()
    np.testing.assert_array_equal(fresh.c.numpy()[:, 1], state.c.numpy()[:, 1])
    given = nn.cells.map_state(tg.ones_like, state)
    assert (nn.reset_rows(state, tg.tensor([True, True, True]), given).h.numpy() == 1).all()
    assert nn.reset_rows(None, [True]) is None
    with pytest.raises(ValueError, match=r"rows has shape \(2,\), expected \(3,\)"):
        nn.reset_rows(state, [True, False])
    fresh.h.sum().backward()


# ---------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.RecurrentDropout(nn.LSTM(2, 2)),
            TypeError,
            "RecurrentDropout: expected a cell, got LSTM",
        ),
        (lambda: nn.RecurrentDropout(nn.RNNCell(2, 2), 2), ValueError, "RecurrentDropout: "),
        (lambda: nn.Zoneout(nn.RNNCell(2, 2), -1), ValueError, "Zoneout: "),
        (
            lambda: nn.Recurrent(nn.Zoneout(nn.RNNCell(2, 2), (0.1, 0.2)))(tg.zeros(2, 1, 2)),
            ValueError,
            "2 prob",
        ),
        (
            lambda: nn.WeightDrop(nn.RNNCell(2, 2), 0.5, ("u",)),
            ValueError,
            "RNNCell has no parameter u; it has",
        ),
        (
            lambda: nn.LSTM(2, 3, proj_size=3),
            ValueError,
            "LSTMCell: proj_size must be at least 0 and less than",
        ),
        (lambda: nn.LayerNormGRUCell(2, 3, reset_after=False), ValueError, "reset gate comes after"),
    ],
)
def test_bad_settings_are_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_cell_that_its_user_wrote_takes_part():
    class Leaky(nn.Cell):
        def __init__(self):
            super().__init__(3, 4)
            self.weight_ih, self.weight_hh = (nn.Parameter(tg.randn(n, 4)) for n in (3, 4))

        def project(self, x):
            return x @ self.weight_ih

        def step(self, px, h):
            return 0.5 * h + tg.tanh(px + self.dropped(h) @ self.weight_hh)

    for around in WRAPPERS.values():
        layer = nn.Recurrent(around(Leaky()), learn_initial_state=True)
        x = tg.randn(6, 2, 3)
        tg.manual_seed(1)  # the same noise
        output, _ = layer(x, lengths=[6, 2])
        tg.manual_seed(1)
        states = layer.states(x, lengths=[6, 2])
        output.sum().backward()
        assert states.shape == (1, 6, 2, 4)
        assert F.mse_loss(states[0], output).item() == 0
        assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("make", [
    lambda: nn.LSTM(3, 4, dropout=0.5), lambda: nn.GRU(3, 4, 1, dropout=0.1, bidirectional=True),
    lambda: nn.RNN(3, 4, dropout=1.0), lambda: nn.Recurrent(nn.GRUCell(3, 4), dropout=0.5),
])  # fmt: skip
def test_dropout_between_layers_of_which_there_is_one_says_so(make):
    with pytest.warns(
        UserWarning, match=r"dropout=\d\.\d is for what goes from one layer to the next"
    ) as caught:
        make()
    assert caught[0].filename == __file__


def test_options_that_would_do_nothing_are_errors():
    x, classes = tg.randn(2, 3), tg.tensor([0, 1])
    with pytest.raises(ValueError, match="Bidirectional: rng is for the twin of one layer"):
        nn.Bidirectional(nn.GRU(3, 4), nn.GRU(3, 4), rng=0)
    with pytest.raises(ValueError, match="cross_entropy: ignore_index is for classes"):
        F.cross_entropy(x, x.softmax(-1), ignore_index=1)
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
            F.cross_entropy(x, classes, label_smoothing=wrong)
    model = nn.Linear(3, 4)
    used = model.parameters()
    assert list(used)
    with pytest.raises(ValueError, match="SGD: the generator of a parameter group gave nothing"):
        tg.optim.SGD([{"params": used, "lr": 0.1}, {"params": [nn.Parameter(tg.ones(1))]}])
    with pytest.raises(ValueError, match="the parameter groups are all empty"):
        tg.optim.SGD([{"params": []}, {"params": []}])
    with pytest.raises(ValueError, match=r"SGD: parameter 1 of the group, of shape .* was given before"):
        tg.optim.SGD([model.weight, model.weight])
