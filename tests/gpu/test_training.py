"""Training on a GPU: nothing waits, graphs replay bit for bit, memory stays, files and seeds go across."""

import runpy
import signal
import sys
import threading
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.backend import test_switching as switching
from tests.examples.test_char_lm import SCRIPT
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import amp
from tinygrad_rnn.nn import functional as F


@pytest.fixture(autouse=True)
def _in_one_order():
    with tg.deterministic():
        yield


class Net:
    """A net with an embedding, dropout and layers; its training step; and what it has learned."""

    def __init__(self, seed=0, graph=False, dropout=0.3, hidden=8, half=False):
        tg.manual_seed(seed)
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(hidden, 11)
        self.rnn = nn.LSTM(6, hidden, num_layers=2, dropout=dropout)
        modules = nn.ModuleList([self.embed, self.rnn, self.out])
        self.scaler = amp.GradScaler(enabled=half)
        self.parameters = list(modules.parameters())
        self.optimiser = optim.Adam(self.parameters, lr=0.01)
        if half:
            modules.half()
            amp.master_weights(self.optimiser)
        self.run = tg.cuda.graphed(self.step) if graph else self.step

    def step(self, tokens):
        self.optimiser.zero_grad()
        logits = self.out(self.rnn(self.embed(tokens[:-1]))[0])
        loss = F.cross_entropy(logits.float().reshape(-1, 11), tokens[1:].reshape(-1))
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser) if self.scaler.is_enabled() else None
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss

    def values(self):
        return [p.numpy() for p in self.parameters]


def tokens(n_steps=9, batch=4):
    return tg.randint(0, 11, (n_steps, batch))


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


EVERY = switching.EVERY_LAYER


@pytest.mark.parametrize(("name", "make", "arguments"), EVERY, ids=[row[0] for row in EVERY])
def test_no_layer_waits_and_graphs_replay_the_eager_step(gpu, name, make, arguments):
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that cannot be captured warns
        for graph in (False, True):
            training = switching.Training(make, arguments)
            step = tg.cuda.graphed(training.step) if graph else training.step
            losses = []
            for _ in range(5):
                with gpu.no_waits():
                    losses.append(step(training.arguments))
            found[graph] = [*(x.numpy() for x in losses), *training.values()]
            assert not graph or step.n_graphs == 1
    assert_same(found[False], found[True])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_no_optimiser_waits(gpu, name):
    p = tg.ones(3, requires_grad=True)
    optimiser = getattr(optim, name)([p], lr=0.1)
    for _ in range(3):
        with gpu.no_waits():
            optimiser.zero_grad()
            (p * p).sum().backward()
            optimiser.step()
    assert p.tolist() != [1.0] * 3


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_a_graph_of_a_whole_step_is_the_step(gpu, half):
    """Two shapes in turn, dropout drawn anew at each replay, a learning rate that changes."""
    nets, losses = [Net(graph=graph, half=half) for graph in (False, True)], []
    for net in nets:
        tg.manual_seed(3)
        found = []
        for k in range(12):
            net.optimiser.param_groups[0]["lr"] = 0.01 / (1 + k)
            found.append(net.run(tokens(6 + k % 2)))
        losses.append([x.item() for x in found])
    assert losses[0] == losses[1]
    assert_same(nets[0].values(), nets[1].values())
    assert nets[1].run.n_graphs == 2


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_memory_does_not_grow(gpu, graph):
    net, x = Net(graph=graph), tokens()
    for _ in range(10):
        net.run(x)
    before = gpu.memory()
    for _ in range(gpu.n_steps):
        net.run(x)
    assert gpu.memory() == before


def test_capturing_anew_costs_no_memory(gpu):
    net, x = Net(graph=True), tokens()

    def again(n):
        for _ in range(n):
            net.optimiser.load_state_dict(net.optimiser.state_dict())  # other arrays: the graph is of no use
            for _ in range(3):
                net.run(x)

    again(5)
    before = gpu.memory()
    again(20)
    assert gpu.memory() == before
    assert net.run.n_graphs == 1


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_two_streams_in_turn(gpu, graph):
    """Work of two nets side by side is the work of each alone."""
    alone, batches = [Net(seed, dropout=0.0) for seed in (1, 2)], [tokens() for _ in range(6)]
    together = [Net(seed, graph=graph, dropout=0.0) for seed in (1, 2)]
    for net in alone:
        for x in batches:
            net.run(x)
    streams = gpu.streams(2)
    for x in batches:
        for net, stream in zip(together, streams, strict=True):
            with stream:
                net.run(x)
    gpu.wait()
    for one, other in zip(alone, together, strict=True):
        assert_same(one.values(), other.values())


def test_two_threads_with_a_stream_each(gpu):
    batches = [tokens() for _ in range(5)]
    alone, together = ([Net(seed, dropout=0.0) for seed in (1, 2)] for _ in range(2))
    for net in alone:
        for x in batches:
            net.run(x)
    failures = []

    def train(net, stream):
        try:
            with gpu.in_use(), tg.deterministic(), stream:
                for x in batches:
                    net.run(x)
        except BaseException as error:  # a thread's is lost otherwise
            failures.append(error)

    threads = [
        threading.Thread(target=train, args=pair) for pair in zip(together, gpu.streams(2), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gpu.wait()
    assert failures == []
    for one, other in zip(alone, together, strict=True):
        assert_same(one.values(), other.values())


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_training_goes_on_after_memory_ran_out(gpu, graph, monkeypatch):
    small, large = tokens(), tokens(60, 80)
    untroubled, net = Net(dropout=0.0), Net(graph=graph, dropout=0.0)
    for _ in range(3):
        untroubled.run(small), net.run(small)
    held = gpu.memory()[0]
    with gpu.little_memory(monkeypatch):
        with pytest.raises(
            MemoryError, match=r": got .*; a smaller batch, shorter sequences or float16 need less"
        ):
            net.run(large)
        net.optimiser.zero_grad()
    untroubled.optimiser.zero_grad()
    for _ in range(3):
        untroubled.run(small), net.run(small)
    assert_same(untroubled.values(), net.values())
    assert gpu.memory()[0] <= held
    net.run(large)


@pytest.mark.parametrize("written_on", ["host", "gpu"])
def test_checkpoints_go_across(gpu, tmp_path, written_on):
    here, there = ("numpy", gpu.name) if written_on == "host" else (gpu.name, "numpy")
    switching.check_checkpoints(tmp_path, here, there)


def test_one_seed_gives_the_same_start_and_batches(gpu):
    switching.check_same_start("numpy", gpu.name)


def test_the_language_model_learns_as_on_the_host(gpu, tmp_path, monkeypatch):
    """char_lm.py, eagerly and as graphs: the host's learning curve."""
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six seven eight nine ten " * 60)
    curves = {}
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.syspath_prepend(SCRIPT.parent)  # for what the examples share
    for how, options in (("host", ["numpy"]), ("eager", [gpu.name]), ("graph", [gpu.name, "--graph"])):
        settings = ["--hidden", 16, "--embedding", 8, "--window", 16, "--batch", 8, "--epochs", 3]
        command = [SCRIPT, "--text", text, *settings, "--out", tmp_path / how, "--backend", *options]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        try:
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(str(SCRIPT), run_name="__main__")
        finally:
            signal.signal(signal.SIGINT, before)
        assert stop.value.code == 0
        (path,) = (tmp_path / how).glob("char_lm_*.npz")
        history = tg.load(path)["history"]
        curves[how] = [value for _, value in history["train"] + history["held_out"]]
    assert len(curves["host"]) > 4
    assert min(curves["host"]) < 0.9 * max(curves["host"])
    np.testing.assert_allclose(curves["eager"], curves["host"], rtol=2e-3)
    np.testing.assert_allclose(curves["graph"], curves["host"], rtol=2e-3)
