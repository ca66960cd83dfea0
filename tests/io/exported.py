"""Exported nets as libraries, and nets to export."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.backend import compiling

CLEAN = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
COMPILER = compiling.compiler()


class Exported:
    """A model as a library: streams of its steps."""

    def __init__(self, model, path, *flags, **settings):
        self.found = tg.native.export_c(model, path, **settings)
        self.header = Path(self.found.h).read_text()
        self.name = self.header.split("typedef struct")[1].split("} ")[1].split("_state;")[0]
        library = f"{self.found.c}.so"
        object_file = f"{self.found.c}.o"  # linked without the flags: -ffast-math would change this process
        done = subprocess.run(
            [*COMPILER, *CLEAN, *flags, "-fPIC", "-c", self.found.c, "-o", object_file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        subprocess.run([*COMPILER, "-shared", object_file, "-o", library, "-lm"], check=True)
        self.library = ctypes.CDLL(library)
        self.kind = np.dtype("float64" if "double s" in self.header else "float32")
        self.is_token = "_TOKENS" in self.header
        self.n_outputs = int(self.header.split("_OUTPUTS ")[1].split()[0])

    def stream(self):
        return Stream(self)


class Stream:
    """A state, and its steps."""

    def __init__(self, of):
        self.of, self.state = of, np.full(1 << 16, 0xFF, np.uint8)  # what was there before must not matter
        self.call("init", self.state)

    def call(self, what, *arrays):
        function = getattr(self.of.library, f"{self.of.name}_{what}")
        function.restype = None
        function(*(ctypes.c_void_p(a.ctypes.data) for a in arrays))

    def step(self, x):
        x = np.ascontiguousarray(x, np.int32 if self.of.is_token else self.of.kind)
        y = np.empty(self.of.n_outputs, self.of.kind)
        self.call("step", x, self.state, y)
        return y

    def steps(self, xs):
        return np.stack([self.step(x) for x in xs])


def sequence(model, n=20, features=3, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(n, features)).astype(dtype)


def by_python(model, xs):
    """The outputs (steps, outputs) of a model for a sequence, in eval mode."""
    was = model.training
    model.eval()
    with tg.no_grad():
        y = model(tg.tensor(xs).unsqueeze(1))
    model.train(was)
    y = y[0] if isinstance(y, tuple) else y
    return y.numpy().reshape(len(xs), -1)


def close(ours, right, most=1e-6):
    assert ours.shape == right.shape
    assert np.abs(ours - right).max() <= most * max(1, np.abs(right).max())


def moved(model, seed=1):
    """The model with parameters that are all away from where they start."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = tg.tensor((p.numpy() + 0.2 * rng.normal(size=p.shape)).astype(p.dtype))
    return model


def through(*modules):
    """Modules in a row, recurrent ones without their state."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(modules)

        def forward(self, x):
            for part in self.parts:
                x = part(x)
                x = x[0] if isinstance(x, tuple) else x
            return x

    return Chain()


class CharLM(nn.Module):
    """Tokens (T, B) and a state -> scores and the next state."""

    def __init__(self, n=11, tied=False):
        super().__init__()
        self.embed = nn.Embedding(n, 6)
        self.rnn = nn.LSTM(6, 6, 2)
        self.out = nn.Linear(6, n, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, x, state=None):
        y, state = self.rnn(self.embed(x), state)
        return self.out(y), state
