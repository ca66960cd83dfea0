"""tg.cuda: what a script asks, and steps as graphs, on the stand-in that records and replays."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.support import strict
from tinygrad_rnn import nn, optim

pytestmark = pytest.mark.host  # brings its own backend


@pytest.fixture(autouse=True)
def _on_the_stand_in():
    with tg.use("strict"):
        yield


OPTIMISERS = {
    "Adam": lambda p: optim.Adam(p, lr=0.05),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05, amsgrad=True),
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.05, lr_decay=0.1),
}


class Training:
    """A small net and its training step; dropout, clipping and a schedule among what changes over time."""

    def __init__(self, make_optimiser=OPTIMISERS["Adam"], graph=True, **settings):
        tg.manual_seed(0)
        self.lstm, self.head = nn.LSTM(3, 4, num_layers=2, dropout=0.3), nn.Linear(4, 2)
        self.parameters = [*self.lstm.parameters(), *self.head.parameters()]
        self.optimiser = make_optimiser(self.parameters)
        self.schedule = optim.lr_scheduler.StepLR(self.optimiser, 3, 0.5)
        self.n_python = 0  # how often the step's Python is run
        self.run = tg.cuda.graphed(self.step, **settings) if graph else self.step

    def step(self, x, y):
        self.n_python += 1
        self.optimiser.zero_grad()
        output, _ = self.lstm(x)
        loss = ((self.head(output) - y) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 0.5)
        self.optimiser.step()
        return loss

    def train(self, n, length=5):
        losses = []
        for _ in range(n):
            x, y = tg.randn(length, 2, 3), tg.randn(length, 2, 2)
            with strict.no_waits():
                loss = self.run(x, y)
                self.schedule.step()
            losses.append(loss.item())
        return losses

    def values(self):
        return [p.numpy() for p in self.parameters] + [p.grad.numpy() for p in self.parameters]


def assert_same(one, other):
    for a, b in zip(one.values(), other.values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_replay_is_the_eager_step_bit_for_bit(name):
    graph, found = trained(OPTIMISERS[name])
    eager, expected = trained(OPTIMISERS[name], graph=False)
    assert found == expected
    assert_same(graph, eager)
    assert graph.n_python == 2  # once as it is, once to capture it
    assert graph.run.n_graphs == 1
    assert {s.get("step", 8) for s in graph.optimiser.state.values()} == {8}
    assert graph.optimiser.param_groups[0]["lr"] == eager.optimiser.param_groups[0]["lr"]


def trained(*args, **settings):
    training = Training(*args, **settings)
    return training, training.train(8)


@needs_compiler
def test_with_the_kernels_of_a_gpu():
    with strict.kernels() as xp:
        graph, found = trained()
        before = sum(xp.launched.values())
        graph.train(1)
        assert sum(xp.launched.values()) == before  # replayed, none of it called by Python
        assert found == trained(graph=False)[1]


def test_shapes_are_keyed_up_to_a_limit():
    training = Training(max_graphs=2)
    for length in (5, 6, 5, 6, 5, 6):
        training.train(1, length)
    assert (training.n_python, training.run.n_graphs) == (4, 2)
    with pytest.warns(UserWarning, match=r"step runs eagerly: there are graphs for 2 shapes already"):
        training.train(1, length=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.train(2, length=7)  # it has been said
    assert (training.n_python, training.run.n_graphs) == (7, 2)


def test_values_of_other_arguments_are_keyed_too():
    calls = []

    @tg.cuda.graphed
    def scaled(x, factor, *, shift=None):
        calls.append(factor)
        return x * factor + (0 if shift is None else shift)

    x = tg.ones(2)
    for factor in (2.0, 3.0, 2.0, 3.0, 2.0, 3.0, 2):
        assert scaled(x, factor).tolist() == [factor] * 2
    assert calls == [2.0, 3.0, 2.0, 3.0, 2]
    for _ in range(3):
        assert scaled(x, 2.0, shift=tg.ones(2)).tolist() == [3.0, 3.0]


class Pair(NamedTuple):
    a: tg.Tensor
    b: tg.Tensor


def test_arguments_and_results_in_any_structure():
    @tg.cuda.graphed
    def turned(state, *, also):
        return Pair(state.b * 2, state.a), [also["x"] + 1, "text", None], {"n": 3}

    for k in range(4):
        pair = Pair(tg.full((2,), float(k)), tg.zeros(1))
        (a, b), (x, text, nothing), rest = turned(pair, also={"x": tg.ones(1) * k})
        assert (a.tolist(), b.tolist(), x.tolist()) == ([0.0], [k, k], [k + 1])
        assert (text, nothing, rest) == ("text", None, {"n": 3})
    assert turned.n_graphs == 1


def test_what_comes_out_is_a_copy():
    doubled = tg.cuda.graphed(lambda x: x * 2)
    kept = [doubled(tg.full((1,), float(k))) for k in range(4)]
    assert [x.item() for x in kept] == [0.0, 2.0, 4.0, 6.0]


def test_carried_states_go_round():
    cell = nn.LSTMCell(2, 3)
    step = tg.cuda.graphed(lambda x, h, c: cell(x, (h, c)))
    x = tg.randn(4, 2)
    here = there = (tg.zeros(4, 3), tg.zeros(4, 3))
    with tg.no_grad():
        for _ in range(5):
            here, there = cell(x, here), step(x, *there)
    np.testing.assert_array_equal(here[0].numpy(), there[0].numpy())
    assert step.n_graphs == 1


REASONS = [
    (lambda x: x * x.sum().item(), "makes the host wait"),
    (lambda x: x if float(x.sum()) > 0 else -x, "makes the host wait"),
    (lambda x: x[x > 0], "makes the host wait"),
    (lambda x: x + tg.tensor([1.0, 2.0]), "comes from the host; give it to the step as an argument"),
    (lambda x: x + tg.randn(2), "comes from the host"),
    (lambda x: tg.sort(x)[0], "CuPy's argsort cannot be captured"),
]


@pytest.mark.parametrize(("step", "reason"), REASONS)
def test_what_cannot_be_captured_says_so_and_runs_eagerly(step, reason):
    run, x = tg.cuda.graphed(step), tg.tensor([1.0, 2.0])
    tg.manual_seed(1)
    expected = [step(x).tolist() for _ in range(3)]
    tg.manual_seed(1)
    found = [run(x).tolist()]
    with pytest.warns(UserWarning, match=reason):
        found.append(run(x).tolist())
    found.append(run(x).tolist())
    assert found == expected
    assert run.n_graphs == 0


def test_a_failed_capture_leaves_no_trace():
    """Counters of the optimiser and random numbers are as if the capture had not been tried."""

    def counted(graph):
        tg.manual_seed(0)
        p = tg.ones(3, requires_grad=True)
        optimiser, own = optim.Adam([p], lr=0.1), nn.Dropout(0.5, rng=np.random.default_rng(1))

        def step(x):
            optimiser.zero_grad()
            own(nn.functional.dropout(p * x, 0.5)).sum().backward()
            optimiser.step()
            return p.sum().item()  # at the end, when all has been done

        run = tg.cuda.graphed(step) if graph else step
        return [run(tg.ones(3)) for _ in range(8)], optimiser.state[p]["step"]

    with pytest.warns(UserWarning, match="makes the host wait"):
        assert counted(True) == counted(False)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([1.0], {1, 2}), "neither a tensor nor a value that can be compared"),
        ((tg.ones(2, requires_grad=True, device="cpu").detach(),), "computed at once; there is nothing"),
    ],
)
def test_arguments_that_cannot_be(arguments, reason):
    run = tg.cuda.graphed(lambda *a: len(a))
    run(*arguments) if "computed" in reason else None
    with pytest.warns(UserWarning, match=reason):
        assert run(*arguments) == len(arguments)


def test_an_argument_that_requires_a_gradient():
    x = tg.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="an argument requires a gradient"):
        tg.cuda.graphed(lambda x: (x * x).sum().backward())(x)
    assert x.grad.tolist() == [2.0, 2.0]


def test_on_numpy_it_is_the_step_itself():
    with tg.use("numpy"):
        training = Training()
        training.train(1)
        with pytest.warns(UserWarning, match="arrays of numpy are computed at once"):
            training.train(1)
        training.train(1)
        assert training.n_python == 3


def test_loaded_states_are_captured_anew():
    graph, eager = Training(), Training(graph=False)
    losses = []
    for training in (graph, eager):
        tg.manual_seed(5)
        found = training.train(3)
        saved = training.optimiser.state_dict()
        training.optimiser.load_state_dict(
            {"state": {k: dict(v) for k, v in saved["state"].items()}, "param_groups": saved["param_groups"]}
        )
        training.schedule = optim.lr_scheduler.StepLR(training.optimiser, 2, 0.1)
        losses.append(found + training.train(3))
    assert losses[0] == losses[1]
    assert_same(graph, eager)
    assert graph.n_python == 3
    assert [s["step"] for s in graph.optimiser.state.values()] == [6] * len(graph.parameters)


def test_tensors_given_other_arrays_are_read_anew():
    """Also where no optimiser is there to notice."""
    net, x = nn.Linear(2, 2), tg.ones(1, 2)
    run = tg.cuda.graphed(lambda x: net(x.to(net.weight.dtype)))
    with tg.no_grad():
        for _ in range(2):
            run(x)
        net.weight.data, net.bias.data = tg.ones(2, 2), tg.zeros(2)
        assert run(x).tolist() == [[2.0, 2.0]]
        net.half()
        for _ in range(2):
            assert run(x).dtype == "float16"
        net.weight.data.fill_(3.0)  # the same array: nothing to capture
        assert run(x).tolist() == [[6.0, 6.0]]
    assert run.n_graphs == 1


OPTIONS = [
    ("AdamW", "lr", [0.1, 0.1, 0.1, 0.0, 0.1]),  # without decay where it is zero
    ("AdamW", "lr", [0.0, 0.0, 0.1, 0.1]),
    ("SGD", "weight_decay", [0.1, 0.1, 0.1, 0.0, 0.1]),
    ("SGD", "momentum", [0.9, 0.9, 0.9, 0.0, 0.9]),
    ("RMSprop", "weight_decay", [0.0, 0.0, 0.1, 0.1]),
    ("Adam", "maximize", [False, False, False, True]),
]


@pytest.mark.parametrize(("name", "option", "values"), OPTIONS)
def test_options_that_change_the_equation(name, option, values):
    def trained(graph):
        p = tg.ones(2, requires_grad=True)
        optimiser = getattr(optim, name)([p], lr=0.1, weight_decay=0.1)

        def step(x):
            optimiser.zero_grad()
            (p * p * x).sum().backward()
            optimiser.step()

        run = tg.cuda.graphed(step) if graph else step
        for value in values:
            optimiser.param_groups[0][option] = value
            run(tg.ones(2))
        return p.tolist(), optimiser.state[p].get("step")

    assert trained(True) == trained(False)


L = optim.lr_scheduler
SCHEDULES = {
    "LambdaLR": lambda o: L.LambdaLR(o, lambda k: k / 5),
    "StepLR": lambda o: L.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: L.MultiStepLR(o, [2, 4], 0.5),
    "ConstantLR": lambda o: L.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: L.LinearLR(o, 0.1, total_iters=4),
    "ExponentialLR": lambda o: L.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: L.CosineAnnealingLR(o, 4),  # down to zero and up again
    "WarmupCosineLR": lambda o: L.WarmupCosineLR(o, 2, 7),
    "OneCycleLR": lambda o: L.OneCycleLR(o, 0.2, total_steps=9),
    "SequentialLR": lambda o: L.SequentialLR(o, [L.ConstantLR(o, 0.5, 9), L.ExponentialLR(o, 0.9)], [3]),
    "ReduceLROnPlateau": lambda o: L.ReduceLROnPlateau(o, patience=1),
    "CyclicLR": lambda o: L.CyclicLR(o, 0.1, 0.3, 3, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda o: L.CosineAnnealingWarmRestarts(o, 3),
    "MultiplicativeLR": lambda o: L.MultiplicativeLR(o, lambda k: 0.9),
    "PolynomialLR": lambda o: L.PolynomialLR(o, 6),
    "ChainedScheduler": lambda o: L.ChainedScheduler([L.ConstantLR(o, 0.5, 9), L.ExponentialLR(o, 0.9)]),
}


@pytest.mark.parametrize("make", [OPTIMISERS["SGD"], OPTIMISERS["AdamW"]], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_outside_a_graph(name, make):
    def trained(graph):
        p = tg.ones(2, requires_grad=True)
        optimiser = make([p])
        schedule = SCHEDULES[name](optimiser)

        def step(x):
            optimiser.zero_grad()
            (p * p * x).sum().backward()
            optimiser.step()

        run = tg.cuda.graphed(step) if graph else step
        for _ in range(8):
            with strict.no_waits():
                run(tg.ones(2))
                schedule.step(*([1.0] if name == "ReduceLROnPlateau" else []))
        return p.tolist(), optimiser.param_groups[0]["lr"]

    assert trained(True) == trained(False)


def test_every_schedule_has_a_row():
    own = {n for n, k in vars(L).items() if isinstance(k, type) and issubclass(k, L.LRScheduler)}
    assert set(SCHEDULES) == own - {"LRScheduler", "_LRScheduler"}


# What of a training step is in the graph, and how often its Python is run in six calls.
WAYS = {"zero_grad outside": 2, "zero_grad at the end": 2, "accumulating": 2, "the update alone": 6}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_go_in_and_out(way):
    """`.grad` before and after each call is what it is without a graph, whoever sets it."""

    def trained(graph):
        p, n_python, found = nn.Parameter(tg.ones(3)), [], []
        optimiser = optim.SGD([p], lr=0.1)

        def step(x):
            n_python.append(1)
            if way != "the update alone":
                (p * p * x).sum().backward()
            if way in ("the update alone", "zero_grad at the end"):
                optimiser.step()
            if way == "zero_grad at the end":
                optimiser.zero_grad()

        run = tg.cuda.graphed(step) if graph else step
        for k in range(6):
            if way in ("zero_grad outside", "the update alone"):
                optimiser.zero_grad()
            if way == "the update alone":
                (p * p * p).sum().backward()
            run(tg.full((3,), k + 1.0))
            found.append(p.grad.tolist() if p.grad is not None else None)
            if way == "zero_grad outside":
                optimiser.step()
        return found, p.tolist(), len(n_python)

    *expected, _ = trained(False)
    if way == "the update alone":  # gets other gradients each time
        with pytest.warns(UserWarning, match="other arrays are put in place of its own between calls"):
            *found, n_python = trained(True)
    else:
        *found, n_python = trained(True)
    assert found == expected
    assert n_python == WAYS[way]


@pytest.mark.parametrize("before", [None, 1.0])
def test_a_failed_capture_leaves_gradients_alone(before):
    p = nn.Parameter(tg.ones(2))
    p.grad = None if before is None else tg.full((2,), before)

    @tg.cuda.graphed
    def step(x):
        loss = (p * x).sum()
        loss.backward()
        return loss.item()

    step(tg.ones(2))
    p.grad = None if before is None else p.grad
    with pytest.warns(UserWarning, match="makes the host wait"):
        step(tg.ones(2))
    assert p.grad.tolist() == ([1.0] * 2 if before is None else [3.0] * 2)


def test_training_and_evaluation():
    """A module in another mode is another step; in the one it was in, the old one."""
    net, calls = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5)), []
    run, x = tg.cuda.graphed(lambda x: (calls.append(1), net(x))[1]), tg.ones(50, 2)
    with tg.no_grad():
        for _ in range(3):
            assert (run(x).numpy() == 0).any()
        expected = net.eval()(x)
        np.testing.assert_array_equal(run(x).numpy(), expected.numpy())
        net.train().eval()
        run(x)
        assert len(calls) == 3
        assert (net.train() and run(x).numpy() == 0).any()
    assert len(calls) == 4


def test_parameters_that_learn_from_now_on():
    frozen, late, first = (nn.Parameter(tg.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    optimiser = optim.SGD([first, frozen], lr=0.1)

    @tg.cuda.graphed
    def step(x):
        optimiser.zero_grad()
        ((first + frozen + late) * x).sum().backward()
        optimiser.step()

    x = tg.ones(2)
    for _ in range(3):
        step(x)
    frozen.requires_grad_()
    step(x), step(x)
    optimiser.add_param_group({"params": [late]})
    step(x)
    for p, n in ((first, 6), (frozen, 3), (late, 1)):
        np.testing.assert_allclose(p.tolist(), [1 - 0.1 * n] * 2, rtol=1e-6)


def test_changing_data_in_place_is_part_of_a_graph():
    p = tg.ones(2, requires_grad=True)

    @tg.cuda.graphed
    def step(x):
        p.data -= x
        return p.data.sum()

    found = [step(tg.ones(2)).item() for _ in range(4)]
    assert (found, step.n_graphs) == ([0.0, -2.0, -4.0, -6.0], 1)


def test_giving_a_tensor_another_array_cannot_be_captured():
    p = tg.ones(2, requires_grad=True)

    @tg.cuda.graphed
    def step(x):
        p.data = p.data * x
        return p.data.sum()

    found = [step(tg.full((2,), 2.0)).item()]
    with pytest.warns(UserWarning, match=r"gives a tensor another array; use x.data.copy_"):
        found.append(step(tg.full((2,), 2.0)).item())
    assert found + [step(tg.full((2,), 2.0)).item()] == [4.0, 8.0, 16.0]


def test_a_replay_counts_as_a_change_in_place():
    p = tg.ones(2, requires_grad=True)

    @tg.cuda.graphed
    def change(x):
        p.data.add_(x)

    change(tg.ones(2)), change(tg.ones(2))
    y = (p * p).sum()
    change(tg.ones(2))
    with pytest.raises(tg.GraphError, match="changed in place since"):
        y.backward()


def test_evaluation_and_training_modes_of_the_engine_are_told_apart():
    p = tg.ones(1, requires_grad=True)
    run = tg.cuda.graphed(lambda x: (p * x).requires_grad)
    for _ in range(3):
        assert run(tg.ones(1))
        with tg.no_grad():
            assert not run(tg.ones(1))


def test_errors():
    with pytest.raises(TypeError, match="expected a function, got a int"):
        tg.cuda.graphed(3)
    with pytest.raises(ValueError, match="max_graphs must be a positive integer, got 0"):
        tg.cuda.graphed(lambda: None, max_graphs=0)
    failing = tg.cuda.graphed(lambda x: x.reshape(7))
    with pytest.raises(ValueError, match="do not fit shape"):
        failing(tg.ones(2))
    assert tg.cuda.graphed(max_graphs=3)(lambda x: x).max_graphs == 3


def test_questions_without_a_gpu():
    if tg.cuda.is_available():
        pytest.skip("there is a GPU")
    assert tg.cuda.device_count() == tg.cuda.memory_allocated() == 0
    tg.cuda.synchronize()
    tg.cuda.empty_cache()
    with pytest.raises(RuntimeError, match="cupy"):
        tg.cuda.get_device_name()


def test_tf32_is_a_switch():
    before = tg.cuda.allow_tf32.on
    with tg.cuda.allow_tf32(not before):
        assert tg.cuda.allow_tf32.on is not before
    assert tg.cuda.allow_tf32.on is before
