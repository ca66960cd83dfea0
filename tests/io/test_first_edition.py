"""What the first edition wrote is read and goes on as there; and names that it used still work.

The checkpoints are in first_edition/, whose write.py says how they were made.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import deprecation, nn
from tinygrad_rnn.nn import weights

from .first_edition import cases

HERE = Path(__file__).parent / "first_edition"
EXPECTED = json.loads((HERE / "expected.json").read_text())
WEIGHTS_OF = {  # today's names in the order of parameters(), and those of the first edition
    "rnn": ("weight_ih weight_hh bias", "w_x w_h b"),
    "rnn_relu_no_bias": ("weight_ih weight_hh", "w_x w_h"),
    "lstm_projected": ("weight_ih weight_hh bias weight_hr", "w_x w_h b w_r"),
    "gru_reset_before": ("weight_ih weight_hh weight_hn bias", "w_x w_h w_n b"),
    "gru_reset_after": ("weight_ih weight_hh bias bias_hh", "w_x w_h b b_h"),
    "rnn_normalised": ("weight_ih weight_hh bias weight_norm", "w_x w_h b gain"),
    "lstm_normalised": (
        "weight_ih weight_hh bias weight_hr weight_norm_ih weight_norm_hh weight_norm_c bias_norm_c",
        "w_x w_h b w_r gain_x gain_h gain_c b_c",
    ),
    "gru_normalised": (
        "weight_ih weight_hh bias bias_hh weight_norm_ih weight_norm_hh",
        "w_x w_h b b_h gain_x gain_h",
    ),
    "lstm_peepholes": ("weight_ih weight_hh bias weight_ci weight_cf weight_co", "w_x w_h b p_i p_f p_o"),
    "lstm_torch_start": ("weight_ih weight_hh bias bias_hh", "w_x w_h b b_h"),
}


@pytest.fixture(autouse=True)
def _first_mention(monkeypatch):
    """As in a new process: nothing has been warned of."""
    monkeypatch.setattr(deprecation, "mentioned", set())


def close(found, expected):
    found = found.numpy() if isinstance(found, tg.Tensor) else found
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", cases.LAYERS)
def test_a_training_goes_on_as_it_would_have(name):
    saved, expected = tg.load(HERE / f"{name}.npz"), EXPECTED[name]
    net, optimizer, scheduler = cases.net_of(name)
    net.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    losses, output = cases.train(
        net, optimizer, scheduler, saved["x"], saved["y"], saved["lengths"], cases.N_AFTER
    )
    close(losses, expected["losses"])
    close(output, expected["output"])
    assert cases.learning_rates(optimizer) == pytest.approx(expected["learning rates"], rel=1e-12)


@pytest.mark.parametrize("name", WEIGHTS_OF)
def test_parameters_have_their_names_in_the_old_order(name):
    new, old = (names.split() for names in WEIGHTS_OF[name])
    saved = tg.load(HERE / f"{name}.npz")["model"]
    net, _, _ = cases.net_of(name)
    net.load_state_dict(saved)
    assert [f"body.rnn.cells.0.{n}" for n in old] == list(saved)[: len(old)]
    cell = net.body["rnn"].cells[0]
    assert [n for n, _ in cell.named_parameters()] == new
    for before, now in zip(old, new, strict=True):
        expected = saved[f"body.rnn.cells.0.{before}"].numpy()
        np.testing.assert_array_equal(getattr(cell, now).numpy(), expected)
    again, _, _ = cases.net_of(name)
    again.load_state_dict(net.state_dict())  # and by the names of today
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_safetensors():
    net, _, _ = cases.net_of("lstm_peepholes")
    saved = tg.load(HERE / "lstm_peepholes.npz")
    net.load_state_dict(tg.io.load_safetensors(HERE / "lstm_peepholes.safetensors"))
    close(net(saved["x"], saved["lengths"]), EXPECTED["safetensors"])
    cell = nn.LayerNormLSTMCell(2, 3, dtype="float64")  # names without a prefix
    cell.load_state_dict(tg.io.load_safetensors(HERE / "cell.safetensors"))
    state = cell(tg.ones(2, 2, dtype="float64"))
    close(state.h, EXPECTED["cell"]["h"])
    close(state.c, EXPECTED["cell"]["c"])


# ---------------------------------------------------------------- which names count as old


def test_old_names_are_those_of_cells_alone():
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="missing bias and unexpected b;"):
        layer.load_state_dict({"weight": layer.weight, "b": layer.bias})

    class Own(nn.Cell):  # a user's names are the user's, whatever the flags beside them are called
        def __init__(self):
            super().__init__(2, 2)
            self.bias = True
            self.w_h, self.w_x, self.b = (nn.Parameter(tg.ones(*s)) for s in ((2, 2), (2, 2), (2,)))
            self.weight_hh = nn.Parameter(tg.zeros(2, 2))

    cell = Own()
    assert cell.bias is True
    assert cell.weight_hh is not cell.w_h
    assert [n for n, _ in cell.named_parameters()] == ["w_h", "w_x", "b", "weight_hh"]
    assert nn.WeightDrop(cell).names == ("w_h", "weight_hh")
    cell.load_state_dict({**cell.state_dict(), "w_h": tg.full((2, 2), 3.0)})
    assert cell.w_h.tolist() == [[3, 3], [3, 3]]
    assert cell.weight_hh.tolist() == [[0, 0], [0, 0]]

    class Gained(nn.LSTMCell):  # no name of its cell is called so
        def __init__(self):
            super().__init__(2, 2)
            self.gain = nn.Parameter(tg.ones(2))

    assert nn.Recurrent(Gained()).load_state_dict(nn.Recurrent(Gained()).state_dict()) == ([], [])
    assert "gain" in dict(Gained().named_parameters())
    with pytest.raises(AttributeError, match="no attribute 'w_n'"):
        Gained().w_n  # noqa: B018


def test_a_name_given_twice_is_not_guessed_at():
    cell = nn.RNNCell(2, 3)
    both = {**cell.state_dict(), "w_h": tg.ones(3, 3)}
    with pytest.raises(ValueError, match="unexpected w_h;"):
        cell.load_state_dict(both)
    missing, unexpected = cell.load_state_dict({"w_h": tg.ones(3, 3), "w_n": tg.ones(1)}, strict=False)
    assert (missing, unexpected) == (["weight_ih", "bias"], ["w_n"])
    assert (cell.weight_hh.numpy() == 1).all()


@pytest.mark.parametrize("row", weights.TABLE, ids=lambda row: row.name)
def test_old_names_as_attributes(row):
    """Read, written and deleted; and one warning for all of a process, at the line that began."""
    cells = [
        nn.LSTMCell(2, 3, proj_size=2, init="torch"),
        nn.GRUCell(2, 3),
        nn.PeepholeLSTMCell(2, 3),
        nn.LayerNormRNNCell(2, 3),
        nn.LayerNormLSTMCell(2, 3),
    ]
    cell = next(c for c in cells if row.name in dict(c.named_parameters()))
    with pytest.warns(DeprecationWarning, match=f"{row.former_name} is called {row.name} now") as told:
        found = getattr(cell, row.former_name)
    assert [w.filename for w in told] == [__file__]
    assert found is getattr(cell, row.name)
    other = nn.Parameter(tg.zeros(*found.shape))
    setattr(cell, row.former_name, other)
    assert getattr(cell, row.name) is other
    assert row.former_name not in vars(cell)
    with pytest.raises(TypeError, match=f"{row.name} is a Parameter and cannot become a plain tensor"):
        setattr(cell, row.former_name, tg.zeros(1))
    delattr(cell, row.former_name)
    assert row.name not in vars(cell)
    assert not hasattr(cell, row.former_name)


def test_what_is_not_there_is_none_or_missing_as_it_was():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert nn.LSTMCell(2, 3).w_r is None
        assert nn.GRUCell(2, 3, reset_after=True).w_n is None
        assert nn.RNNCell(2, 3, bias=False).b is None
        assert not hasattr(nn.RNNCell(2, 3), "w_r")
    with pytest.raises(AttributeError, match="'RNNCell' object has no attribute 'weigth_hh'"):
        nn.RNNCell(2, 3).weigth_hh  # noqa: B018


def test_an_error_inside_a_property_stays_itself():
    class Broken(nn.Cell):
        @property
        def output_size(self):
            return self.no_such_thing

    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        Broken(2, 2).output_size  # noqa: B018


def test_a_cell_written_for_the_first_edition_runs():
    """A subclass that reads the old names in its step, and makes a parameter in the old way."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")

        class Scaled(nn.LSTMCell):
            def _add_parameters(self, **place):
                super()._add_parameters(**place)
                self.scale = nn.Parameter(tg.ones(self.hidden_size, **place))

            def step(self, px, state):
                h, c = nn.cells.lstm(px + state.h @ self.w_h, state.c)
                return nn.LSTMState(h * self.scale, c)

        layer = nn.Recurrent(Scaled(3, 4))
        layer.cells[0].scale.data.fill_(1.0)
        x = tg.randn(5, 2, 3)
        output, _ = layer(x)
    assert [str(w.message).partition(": ")[2].split()[0] for w in told] == ["_add_parameters", "w_h"]
    assert {w.filename for w in told} == {__file__}
    names = [name for name, _ in layer.cells[0].named_parameters()]
    assert names == ["weight_ih", "weight_hh", "bias", "scale"]
    plain = nn.Recurrent(nn.LSTMCell(3, 4))
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "scale" not in k})
    np.testing.assert_allclose(output.numpy(), plain(x)[0].numpy(), rtol=1e-5, atol=1e-6)


def test_cells_are_copied():
    cell = nn.PeepholeLSTMCell(2, 3)
    for again in (copy.copy(cell), copy.deepcopy(cell)):
        assert vars(again).keys() == vars(cell).keys()


# ---------------------------------------------------------------- WeightDrop


def test_weight_drop_takes_recurrent_weights_by_the_table():
    for make, expected in [
        (lambda: nn.LSTMCell(3, 4, proj_size=2), {"weight_hh", "weight_hr"}),
        (lambda: nn.GRUCell(3, 4), {"weight_hh", "weight_hn"}),
        (lambda: nn.PeepholeLSTMCell(3, 4), {"weight_hh"}),
        (lambda: nn.LayerNormLSTMCell(3, 4), {"weight_hh"}),
    ]:
        assert set(nn.WeightDrop(make()).names) == expected
    with pytest.warns(DeprecationWarning, match="w_h is called weight_hh now"):
        wrapped = nn.WeightDrop(nn.LSTMCell(3, 4), names=("w_h",))
    assert wrapped.names == ("weight_hh",)
    with pytest.raises(ValueError, match="no parameter w_n; it has weight_ih, weight_hh, bias"):
        nn.WeightDrop(nn.LSTMCell(3, 4), names=("w_n",))

    class Own(nn.Cell):
        recurrent_weights = ("matrix",)

        def __init__(self):
            super().__init__(3, 4)
            self.matrix, self.w = nn.Parameter(tg.ones(4, 4)), nn.Parameter(tg.ones(3, 4))

    assert nn.WeightDrop(Own()).names == ("matrix",)


def test_scripts_that_ask_names_for_weight_and_bias_find_every_parameter():
    """Half of all scripts begin so; each parameter must be one or the other."""
    for make, _ in (cases.LAYERS[name]() for name in cases.LAYERS):
        for name, p in make.named_parameters():
            last = name.rpartition(".")[2]
            if last.isdigit():
                continue  # learned initial states
            assert ("weight" in last) != ("bias" in last), name
            assert ("weight" in last) or p.ndim == 1


# ---------------------------------------------------------------- states of all steps


def test_return_states_still_works():
    x = tg.randn(5, 2, 3)
    for layer in (nn.LSTM(3, 4), nn.Bidirectional(nn.GRU(3, 4), merge="sum")):
        deprecation.mentioned.clear()
        with pytest.warns(DeprecationWarning, match=r"layer.states\(x\)") as told:
            layer(x, lengths=[5, 2], return_states=True)
        assert [w.filename for w in told] == [__file__]
        output, state, states = layer(x, lengths=[5, 2], return_states=True)
        plain, final = layer(x, lengths=[5, 2])
        pairs = [(output, plain), *zip(flat(state), flat(final), strict=True)]
        pairs += zip(flat(states), flat(layer.states(x, lengths=[5, 2])), strict=True)
        for a, b in pairs:
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def flat(state):
    return list(state) if isinstance(state, tuple) else [state]
