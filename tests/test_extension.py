"""What users extend is public: the examples in its docstrings run as they stand, and subclasses written for
version 0.1, with its underscore names, do what they did.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import deprecation, nn, optim

X = lambda: tg.randn(6, 3, 8)


def example_of(cls):
    """What the indented code of a class's docstring defines."""
    blocks = re.findall(r"(?:^ {4,}.*\n|^\n)+", inspect.getdoc(cls) + "\n", re.MULTILINE)
    code = textwrap.dedent("\n".join(block for block in blocks if block.strip()))
    assert "class " in code
    names = {"tg": tg, "nn": nn}
    exec(compile(code, f"the docstring of {cls.__name__}", "exec"), names)
    return names


def losses_of(optimizer_of, n_steps=80):
    """Of a small regression, trained with it."""
    tg.manual_seed(0)
    layer, x = nn.Linear(3, 1), tg.randn(32, 3)
    y = x.sum(1, keepdims=True)
    optimizer, losses = optimizer_of(layer.parameters()), []
    for _ in range(n_steps):
        loss = nn.functional.mse_loss(layer(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return optimizer, losses


def test_the_cell():
    names = example_of(nn.Cell)
    cell = names["Leaky"](8, 16)
    assert [n for n, _ in cell.named_parameters()] == ["weight_ih", "bias"]
    assert abs(cell.weight_ih.numpy()).max() <= (6 / 24) ** 0.5  # Glorot's range
    assert not cell.bias.numpy().any()
    assert names["output"].shape == (20, 4, 16)
    x, h = X(), np.zeros((3, 16))
    for x_t in x.numpy():
        h = 0.9 * h + 0.1 * np.tanh(x_t @ cell.weight_ih.numpy() + cell.bias.numpy())
    np.testing.assert_allclose(nn.Recurrent(cell)(x)[1][0].numpy(), h, rtol=1e-5, atol=1e-6)


def test_the_wrapper():
    cell = nn.LSTMCell(8, 4)
    x = X()
    scaled, state = nn.Recurrent(example_of(nn.Wrapper)["Scaled"](cell))(x)
    plain, same = nn.Recurrent(cell)(x)
    np.testing.assert_allclose(scaled.numpy(), 0.5 * plain.numpy())
    np.testing.assert_array_equal(state.h.numpy(), same.h.numpy())


def test_the_module():
    assert example_of(nn.Module)["Net"]()(tg.randn(2, 4)).shape == (2, 1)


def test_former_names_of_a_module():
    class Net(nn.Module):
        former_names = {"readout": "out"}

        def __init__(self):
            super().__init__()
            self.out = nn.Parameter(tg.zeros(2))

    outer = nn.Sequential(Net())
    outer.load_state_dict({"0.readout": tg.ones(2)})
    assert outer[0].out.tolist() == [1, 1]


def test_the_optimizer():
    make = example_of(optim.Optimizer)["SignMomentum"]
    optimizer, losses = losses_of(lambda params: make(params, lr=0.03, momentum=0.5))
    assert losses[-1] < 0.05 * losses[0]
    assert set(optimizer.state_dict()["state"][0]) == {"average"}
    optimizer.load_state_dict(optimizer.state_dict())
    w = tg.tensor([1.0, -2.0, 3.0], requires_grad=True)
    optimizer = make([w], lr=0.1, momentum=0.75)
    average, expected = np.zeros(3), np.array([1.0, -2.0, 3.0])
    for g in ([1.0, 1.0, -1.0], [-0.1, -5.0, 0.2]):
        w.grad = tg.tensor(g)
        optimizer.step()
        average = average + (np.array(g) - average) * 0.25
        expected = expected - np.sign(average) * 0.1
    np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="SignMomentum: momentum must be at least 0 and below 1, got 1"):
        make([w], momentum=1)


@pytest.mark.parametrize("base", [optim.SGD, optim.Adam, optim.RMSprop, optim.Adagrad, optim.AdamW])
def test_an_optimizer_written_for_version_0_1(base, monkeypatch):
    """It overrides underscore names and calls its base by them; and takes the same steps as one of today."""
    monkeypatch.setattr(deprecation, "mentioned", set())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")

        class Old(base):
            _ranges = {**base._ranges, "lr": (0, 1)}

            def _check_options(self, group):
                super()._check_options(group)
                if group["lr"] == 0.5:
                    raise ValueError("not a half")

            def _buffers(self, group):
                return (*super()._buffers(group), "total")

            def _coefficients(self, group, state):
                return super()._coefficients(group, state)

            def _update(self, numbers, p, g, *buffers):
                *own, total = buffers
                return (*super()._update(numbers, p, g * 2.0, *own), total + g)

    assert [w.category for w in told] == [DeprecationWarning]
    assert told[0].filename == __file__

    class New(base):
        option_ranges = {**base.option_ranges, "lr": (0, 1)}

        def update(self, numbers, p, g, *buffers):
            return super().update(numbers, p, g * 2.0, *buffers)

    old, losses = losses_of(lambda params: Old(params, lr=0.01))
    _, expected = losses_of(lambda params: New(params, lr=0.01))
    assert losses == expected
    first = old.param_groups[0]["params"][0]
    assert "total" in old.state[first]
    for lr, text in ((1.0, "lr must be at least 0 and below 1"), (0.5, "not a half")):
        with pytest.raises(ValueError, match=text):
            Old([first], lr=lr)


def test_a_schedule_written_for_version_0_1(monkeypatch):
    """It hides an attribute, and restarts, by underscore names; its base has them, too."""
    monkeypatch.setattr(deprecation, "mentioned", set())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")

        class Old(optim.lr_scheduler.StepLR):
            _hidden = (*optim.lr_scheduler.StepLR._hidden, "told")
            told = None

            def _restart(self):
                self.told = "restarted"
                super()._restart()

    assert [w.category for w in told] == [DeprecationWarning]
    assert told[0].filename == __file__
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    first, second = optim.lr_scheduler.ConstantLR(optimizer), Old(optimizer, 1)
    schedule = optim.lr_scheduler.SequentialLR(optimizer, [first, second], [1])
    schedule.step()
    assert second.told == "restarted"
    assert schedule.get_last_lr() == [0.5]
    assert not {"told", "optimizer"} & set(second.state_dict())


def test_what_users_override_has_no_underscore_and_a_docstring():
    """Of each class that is made to be extended: what its subclasses in the package override."""

    def below(cls):
        """All of the package's classes below one."""
        found = [d for c in cls.__subclasses__() for d in (c, *below(c))]
        return [d for d in found if d.__module__.startswith("tinygrad_rnn") and is_written(d)]

    def is_written(cls):
        """Not made by a call, as what an export makes is."""
        return getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls

    former = {*optim.optimizer.FORMER_NAMES, *optim.lr_scheduler.base.FORMER_NAMES}
    for base in (optim.Optimizer, optim.lr_scheduler.LRScheduler, nn.Cell, nn.Wrapper):
        overridden = {n for c in below(base) for n in vars(c) if n in dir(base)} - set(dir(object)) - former
        overridden -= {
            "__module__",
            "__annotations__",
            "__static_attributes__",
            "__firstlineno__",
            "__slotnames__",
        }
        assert overridden
        for name in overridden:
            where = f"{base.__name__}.{name}"
            assert not name.startswith("_"), where
            member = inspect.getattr_static(base, name)
            if callable(member) or isinstance(member, property):
                assert inspect.getdoc(member), where


def test_one_constructor():
    """A layer of other cells is a class of two lines, with all that RNN, LSTM and GRU take."""

    class PeepholeLSTM(nn.LSTM):
        cell_type = nn.PeepholeLSTMCell

    layer = PeepholeLSTM(3, 4, 2, bidirectional=True, proj_size=2, dropout=0.1, rng=0)
    assert [type(cell) for cell in layer.cells] == [nn.PeepholeLSTMCell] * 4
    assert [cell.input_size for cell in layer.cells] == [3, 3, 4, 4]
    assert layer(tg.randn(5, 2, 3))[0].shape == (5, 2, 4)


COMMON = ["input_size", "hidden_size", "num_layers"]
AFTER = ["checkpoint_every", "learn_initial_state", "device", "dtype", "init", "rng"]


@pytest.mark.parametrize(
    ("kind", "positional", "more"),
    [
        (nn.RNN, ["nonlinearity", "bias", "batch_first", "dropout", "bidirectional"], []),
        (nn.LSTM, ["bias", "batch_first", "dropout", "bidirectional", "proj_size"], []),
        (nn.GRU, ["bias", "batch_first", "dropout", "bidirectional"], ["reset_after"]),
    ],
)
def test_signatures_say_everything(kind, positional, more):
    """As before, and as PyTorch's where it has the same: help() and type checkers see every name."""
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == [*COMMON, *positional, *more, *AFTER]
    keyword = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert keyword == {*more, *AFTER}
    with pytest.raises(TypeError, match="hiden_size"):
        kind(3, hiden_size=4)


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (nn.RNNCell, ["nonlinearity"]),
        (nn.LSTMCell, ["proj_size"]),
        (nn.GRUCell, ["reset_after"]),
        (nn.LayerNormRNNCell, ["nonlinearity"]),
        (nn.LayerNormLSTMCell, ["proj_size"]),
        (nn.LayerNormGRUCell, ["reset_after"]),
        (nn.PeepholeLSTMCell, ["proj_size"]),
    ],
)
def test_signatures_of_cells(make, more):
    parameters = list(inspect.signature(make).parameters)
    assert parameters == ["input_size", "hidden_size", "bias", *more, "device", "dtype", "init", "rng"]


@pytest.mark.parametrize(("before", "now"), [("Memory", "AttentionMemory"), ("Found", "SearchResult")])
def test_former_names_in_nn(before, now, monkeypatch):
    monkeypatch.setattr(deprecation, "mentioned", set())
    with pytest.warns(DeprecationWarning, match=f"nn.{before} is called nn.{now} now") as told:
        assert getattr(nn, before) is getattr(nn, now)
    assert told[0].filename == __file__
    assert getattr(nn, before) is getattr(nn, now)
