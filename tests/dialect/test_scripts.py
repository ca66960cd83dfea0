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


@cases
def test_the_loss_falls(name, option):
    tg.manual_seed(0)
    script = load(name, ours=True)
    model = build(script, option)
    losses = script.train(model, 2 * STEPS)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-8:]) < np.mean(losses[:8])


@pytest.mark.extras("torch")
@cases
def test_losses_are_those_of_pytorch(name, option):
    torch = extra("torch")
    from tinygrad_rnn.io import load_torch

    torch.manual_seed(0)
    theirs, ours = load(name, ours=False), load(name, ours=True)
    their_model, our_model = build(theirs, option), build(ours, option)
    load_torch(our_model, their_model.state_dict())
    expected = theirs.train(their_model, STEPS)
    losses = ours.train(our_model, STEPS)
    assert len(losses) == len(expected) == STEPS
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


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
