"""The scripts written for PyTorch run on this library, and from the same weights give the same losses."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.extras import extra

from . import CASES, load, translate

STEPS = 20
cases = pytest.mark.parametrize(("name", "option"), CASES)


def build(script, option):
    return script.build_model() if option is None else script.build_model(option)


NAME_A_DEVICE = {"attention", "regularised"}  # scripts that bring models, or data, to one they choose
on_their_devices = pytest.mark.parametrize(
    ("name", "option"),
    [pytest.param(*case, marks=pytest.mark.host if case[0] in NAME_A_DEVICE else ()) for case in CASES],
)


@on_their_devices
def test_the_loss_falls(name, option):
    tg.manual_seed(0)
    script = load(name, ours=True)
    model = build(script, option)
    losses = script.train(model, 2 * STEPS)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-8:]) < np.mean(losses[:8])


@pytest.fixture
def torch():
    """PyTorch, computing in float32 where it says so: on a GPU its recurrent layers would round factors to
    10 bits (TensorFloat-32) by default, which shows in the fourth digit of a loss.
    """
    torch = extra("torch")
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = False
    yield torch
    for place, on in zip(places, before, strict=True):
        place.allow_tf32 = on


def of_pytorch(torch, name, option, state=None, seed=None):
    """The first state of a script's model, PyTorch's losses from there, and their type's unit of rounding.
    With a seed each weight begins one unit higher, lower, or as it is, by chance.
    """
    torch.manual_seed(0)
    script = load(name, ours=False)
    model = build(script, option)
    if state is not None:
        model.load_state_dict(state)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    unit = torch.finfo(next(model.parameters()).dtype).eps
    if seed is not None:
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + unit * torch.from_numpy(rng.integers(-1, 2, p.shape)).to(p))
    return state, np.array(script.train(model, STEPS)), unit


def rounding(torch, name, option, state, expected, unit):
    """How far two runs may be apart at each step, if all that they differ in is how they round.

    A step of training rounds its new weights and the loss once more, whatever else it does, so that after t
    steps each of the two runs has been pushed off t times, by about a unit in each weight. What such a push
    does is measured: a run whose weights begin a unit off. Pushes at later steps have less time to grow than
    this one; at their worst all 2 t of them add up.
    """
    _, pushed, _ = of_pytorch(torch, name, option, state, seed=1)
    effect = np.maximum.accumulate(np.abs(pushed - expected))
    return 2 * np.arange(1, STEPS + 1) * (effect + unit * np.abs(expected))


@pytest.mark.extras("torch")
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # of PyTorch's own names of old
@on_their_devices
def test_losses_are_those_of_pytorch(torch, name, option):
    from tinygrad_rnn.io import load_torch

    state, expected, unit = of_pytorch(torch, name, option)
    script = load(name, ours=True)
    model = build(script, option)
    load_torch(model, state)
    losses = np.array(script.train(model, STEPS))
    assert losses.shape == expected.shape == (STEPS,)
    bound = rounding(torch, name, option, state, expected, unit)
    assert bound.max() < 1e-4  # what was once the bound, and is less than a mistake would do
    assert (np.abs(losses - expected) <= bound).all(), (losses - expected, bound)


@pytest.mark.extras("torch")
@pytest.mark.parametrize("wrong", [lambda p: p * (1 + 2**-11), lambda p: p.half().float()])
def test_the_bound_sees_less_than_tensor_float_32_would_do(torch, wrong):
    """Weights that are rounded to 10 bits, once, at the start: what the bound must tell from rounding."""
    name, option = "name_classification", "packed"
    state, expected, unit = of_pytorch(torch, name, option)
    _, losses, _ = of_pytorch(torch, name, option, {key: wrong(value) for key, value in state.items()})
    bound = rounding(torch, name, option, state, expected, unit)
    assert (np.abs(losses - expected) > bound).any()


WRITERS = {
    "name_generation": lambda script, model: script.sample(model, 1, "p", temperature=1.0),
    "translation": lambda script, model: script.translate(model, 42),
    "word_language_model": lambda script, model: script.generate(model),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_drawn_is_text(name):
    tg.manual_seed(0)
    script = load(name, ours=True)
    text = WRITERS[name](script, script.build_model())
    assert isinstance(text, str)
    assert text.replace(" ", "").replace("<eos>", "").isalpha()


def test_only_imports_and_recurrent_layers_are_translated():
    for name, _ in CASES:
        path = load(name, ours=True).build_model.__code__.co_filename
        with open(path, encoding="utf-8") as file:
            source = file.read()
        changed = [
            line
            for line, before in zip(translate(source).splitlines(), source.splitlines(), strict=True)
            if line != before
        ]
        assert changed
        assert all("import" in line or re.search(r"nn\.(RNN|LSTM|GRU)", line) for line in changed)
        assert not any(
            "import torch" in line or "from torch" in line for line in translate(source).splitlines()
        )
