"""Graphs and memory on the stand-in, whose pool poisons what is freed and hands it out again."""

import gc
import threading
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.support import strict
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import amp
from tinygrad_rnn.nn import functional as F

pytestmark = pytest.mark.host  # brings its own backend


@pytest.fixture(autouse=True, params=["calls", pytest.param("kernels", marks=needs_compiler)])
def _on_the_stand_in(request):
    """Whole-array calls, and the GPU's kernels."""
    with strict.kernels() if request.param == "kernels" else tg.use("strict"):
        yield


def both(run, **settings):
    """What `run(wrap)` gives with a step as it is and as a graph."""
    found = []
    for wrap in (lambda step: step, lambda step: tg.cuda.graphed(step, **settings)):
        tg.manual_seed(0)
        found.append(run(wrap))
    return found


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def numbers(*tensors):
    return [None if t is None else t.numpy().copy() for t in tensors]


# ---------------------------------------------------------------- what the host writes before each replay

FEEDS = {
    "dropout": (lambda net, x: F.dropout(net(x), 0.5), {}),
    "lengths": (lambda net, x: nn.MeanPool()(net.rnn(x)[0], [3, 1]), {}),
    "lengths of a layer": (lambda net, x: net.rnn(x, lengths=[2, 4])[0], {}),
    "clipping": (lambda net, x: net(x), {"clip": 0.1}),
    "Adam": (lambda net, x: net(x), {"kind": optim.Adam}),
    "all": (
        lambda net, x: F.dropout(nn.MeanPool()(net.rnn(x, lengths=[4, 2])[0], [4, 2]), 0.3),
        {"clip": 0.1, "kind": optim.AdamW},
    ),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4, num_layers=2), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


@pytest.mark.parametrize("name", FEEDS)
def test_what_is_fed_is_what_is_read(name):
    forward, options = FEEDS[name]

    def run(wrap):
        net = Net()
        optimiser = options.get("kind", optim.SGD)(net.parameters(), lr=0.05)

        def step(x):
            optimiser.zero_grad()
            loss = (
                forward(net, x * 1.0).square().mean()
            )  # the first block that is freed is that of a feed's size
            loss.backward()
            if "clip" in options:
                nn.utils.clip_grad_norm_(net.parameters(), options["clip"])
            optimiser.step()
            return loss

        step = wrap(step)
        losses = [step(tg.randn(4, 2, 3)) for _ in range(6)]
        return numbers(*losses, *net.parameters())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(*both(run))


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_a_feed_after_any_number_of_freed_blocks(n):
    """Whatever block it would be given in the capture's pool: none of them is the feed's."""

    def run(wrap):
        def step(x):
            y = x
            for k in range(n):
                y = y * 1.5 + k  # frees a block at each turn
            return F.dropout(y, 0.5) + F.dropout(y * 2, 0.25)

        step = wrap(step)
        return numbers(*[step(tg.ones(16) * k) for k in range(5)])

    assert_same(*both(run))


# ---------------------------------------------------------------- what outlives the step that made it


def test_state_that_begins_in_a_capture():
    """A parameter that learns from now on: its state is not begun anew at each replay."""
    kinds = {
        "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
        "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
        "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5),
        "master": lambda p: amp.master_weights(optim.Adam(p, lr=0.1)),
    }
    for name, make in kinds.items():

        def run(wrap, name=name, make=make):
            dtype = "float16" if name == "master" else "float32"
            first, late = (nn.Parameter(tg.randn(3).to(dtype)) for _ in range(2))
            late.requires_grad_(False)
            optimiser = make([first, late])

            def step(x):
                optimiser.zero_grad()
                ((first * late).square() * x).sum().backward()
                optimiser.step()

            step, found = wrap(step), []
            for k in range(8):
                if k == 3:
                    late.requires_grad_()
                step(tg.full((3,), k + 1.0, dtype=dtype))
                found += numbers(first, late)
            return found

        assert_same(*both(run))


def test_a_scaler_that_begins_in_a_capture():
    def run(wrap):
        p = nn.Parameter(tg.randn(3))
        optimiser = optim.SGD([p], lr=0.1)
        scalers = [amp.GradScaler(init_scale=4.0, growth_interval=2)]

        def step(x):
            scaler = scalers[-1]
            optimiser.zero_grad()
            scaler.scale((p * p * x).sum()).backward()
            scaler.step(optimiser)
            scaler.update()

        step = wrap(step)
        step(tg.ones(3))
        scalers.append(amp.GradScaler(init_scale=4.0, growth_interval=2))
        for _ in range(5):
            step(tg.ones(3))
        return numbers(p), [scalers[-1].get_scale()]

    for one, other in zip(*both(run), strict=True):
        assert_same(one, other)


def test_what_is_kept_from_step_to_step_was_made_outside():
    """A cache that a capture fills, or that is emptied later: graphs and eager steps both go on."""

    def run(wrap):
        layers = [nn.LSTM(3, n) for n in (2, 3, 4, 5, 6, 7)]
        optimiser = optim.AdamW([p for layer in layers for p in layer.parameters()], lr=0.01)
        found = []

        def step(x, k):
            optimiser.zero_grad()
            loss = layers[k](x)[0].square().sum()
            loss.backward()
            optimiser.step()
            return loss

        graph = wrap(step)
        # The second captures; another batch size asks for other constants.
        found += [graph(tg.randn(5, n, 3), 0) for n in (2, 2, 5, 5)]
        # Caches of some shapes forget the first, scratch memory becomes larger.
        found += [step(tg.randn(5, 2, 3), k) for k in range(6)]
        for n in (2, 5, 2):
            found.append(graph(tg.randn(5, n, 3), 0))
            found.append(step(tg.randn(5, n, 3), 0))
        return numbers(*found, *layers[0].parameters())

    assert_same(*both(run))


def test_what_a_failed_capture_kept_is_not_used():
    """Caches, states and gradients that a capture began, and which it has never computed."""

    def run(wrap):
        tg.manual_seed(1)
        layer, late = nn.LSTM(3, 7), nn.Parameter(tg.randn(7))
        late.requires_grad_(False)
        optimiser, scaler = optim.Adam([*layer.parameters(), late], lr=0.1), amp.GradScaler(init_scale=8.0)

        def step(x):
            optimiser.zero_grad()
            loss = (layer(x)[0] * late).square().sum()
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
            return loss.item()  # cannot be captured

        step, found = wrap(step), []
        for k in range(5):
            if k == 1:
                late.requires_grad_()
            found.append(step(tg.randn(4, 2 + (k == 1), 3)))
        found += numbers(late, *(p.grad for p in layer.parameters()))
        other = nn.LSTM(3, 7)
        return found + numbers(other(tg.ones(4, 3, 3))[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(*both(run))


def test_values_that_a_failed_capture_left_behind_are_named():
    """A state that the step hands on by itself: it was captured, never computed, and is of no use."""
    cell, kept = nn.GRUCell(2, 3), [tg.zeros(4, 3)]

    @tg.cuda.graphed
    def step(x):
        kept[0] = cell(x, kept[0]).detach()
        return kept[0].sum().item()

    step(tg.ones(4, 2))
    with pytest.warns(UserWarning, match="tensors of the attempt are still in use and hold NaN"):
        assert np.isnan(step(tg.ones(4, 2)))


# ---------------------------------------------------------------- what a replay writes over


def accumulated(wrap, hold):
    """Gradients of six steps, of which `hold(p)` keeps something each time."""
    p, q, held = nn.Parameter(tg.randn(4)), nn.Parameter(tg.randn(4)), []

    def step(x):
        p.grad = q.grad = None
        (p * q * x).sum().backward()

    step = wrap(step)
    for k in range(6):
        step(tg.full((4,), k + 1.0))
        held.append(hold(p))
    return numbers(*held, p.grad, q.grad)


HOLD = {
    "the gradient": lambda p: p.grad,
    "a view": lambda p: p.grad[1:3],
    "the same memory": lambda p: p.grad.detach(),
    "a view of a view": lambda p: p.grad.reshape(2, 2)[0],
}


@pytest.mark.parametrize("what", HOLD)
def test_a_gradient_that_somebody_holds_is_not_written_over(what):
    assert_same(*both(lambda wrap: accumulated(wrap, HOLD[what])))


def test_a_gradient_that_nobody_holds_costs_no_second_capture():
    p, captures = nn.Parameter(tg.randn(4)), []

    @tg.cuda.graphed
    def step(x):
        captures.append(1)
        p.grad = None
        (p * p * x).sum().backward()

    for k in range(6):
        step(tg.full((4,), k + 1.0))
        float(p.grad.sum())
        assert len(numbers(p.grad.detach(), p.grad[0])) == 2
    assert len(captures) == 2
    kept = []
    for k in range(6):  # once, when it is noticed
        step(tg.full((4,), k + 1.0))
        kept.append(p.grad)
    assert len(captures) == 3
    assert [g[0].item() for g in kept] == [kept[0][0].item() * (k + 1) for k in range(6)]


def test_results_are_of_their_call():
    """Also those that are views, arguments, parameters, or one tensor twice."""
    p = nn.Parameter(tg.zeros(3))

    def run(wrap):
        p.data.fill_(0.0)

        def step(x):
            p.data.add_(1.0)
            y = x * 2
            return y, y[1:], x, p.data, (y, p)

        step, found = wrap(step), []
        for k in range(5):
            a, b, c, d, (e, f) = step(tg.full((3,), float(k)))
            found.append((a, b, c, d.clone(), e, f.detach().clone()))
        return [n for row in found for n in numbers(*row)]

    assert_same(*both(run))


def test_an_argument_that_the_step_changes_is_changed():
    def run(wrap):
        def step(h, x):
            h.mul_(0.5)
            h[0] = x[0]
            return h.sum()

        step, found = wrap(step), []
        h = tg.ones(3)
        for k in range(5):
            found.append(step(h, tg.full((3,), k + 1.0)))
            found.append(h.clone())
        return numbers(*found)

    assert_same(*both(run))


# ---------------------------------------------------------------- whose memory it is


def test_a_tensor_that_is_let_go_is_still_the_graphs():
    """What a graph read at its capture it may go on reading, whoever forgets it."""
    table, p = [tg.arange(6).float(), tg.tensor([1, 3])], nn.Parameter(tg.ones(6))

    @tg.cuda.graphed
    def step(x):
        picked = (table[0] * p)[table[1]] + x
        picked.sum().backward()
        return picked

    for _ in range(2):
        step(tg.ones(2))
    expected = step(tg.ones(2)).tolist()
    table[:] = [tg.zeros(6), tg.zeros(2, dtype="int64")]  # the old ones are gone, their memory is others'
    others = [tg.full((6,), 7.0) for _ in range(20)]
    assert step(tg.ones(2)).tolist() == expected == [2.0, 4.0]
    assert {x.item() for other in others for x in other} == {7.0}


def test_memory_that_is_changed_in_place_is_still_the_graphs():
    p, buffers = nn.Parameter(tg.ones(6)), [tg.zeros(6)]

    @tg.cuda.graphed
    def step(x):
        buffers[0].add_(x)
        return (buffers[0] * p).sum()

    for _ in range(3):
        step(tg.ones(6))
    buffers[0] = None
    others = [tg.full((6,), 7.0) for _ in range(20)]
    assert [step(tg.ones(6)).item() for _ in range(2)] == [24.0, 30.0]
    assert {x.item() for other in others for x in other} == {7.0}


@pytest.mark.parametrize("change", [
    lambda y, v, rows: y.__setitem__(slice(None), v), lambda y, v, rows: y.__setitem__(rows, v[0]),
    lambda y, v, rows: y.add_(v), lambda y, v, rows: y.copy_(v), lambda y, v, rows: y.clamp_(v),
    lambda y, v, rows: y.masked_fill_(rows > 0, v[0]), lambda y, v, rows: y.scatter_(0, rows, v),
])  # fmt: skip
def test_what_changes_memory_in_place_is_still_the_graphs(change):
    given = [tg.arange(6).float() + 1, tg.arange(6)]

    @tg.cuda.graphed
    def step(x):
        y = x * 0.5
        change(y, *given)
        return y * 1.0

    for _ in range(3):
        expected = step(tg.ones(6)).tolist()
    given[:] = [tg.zeros(6), tg.zeros(6, dtype="int64")]
    others = [tg.full((6,), 7.0) for _ in range(20)] + [tg.full((6,), 5) for _ in range(20)]
    assert step(tg.ones(6)).tolist() == expected
    assert {x.item() for other in others for x in other} == {7.0, 5}


@pytest.mark.parametrize("what", ["data", "load_state_dict", "half", "optimiser", "grad"])
def test_parameters_and_states_that_are_replaced(what):
    def run(wrap):
        net = nn.Linear(3, 3)
        optimiser = optim.Adam(net.parameters(), lr=0.1)

        def step(x):
            optimiser.zero_grad()
            net(x.to(net.weight.dtype)).float().square().sum().backward()
            optimiser.step()

        step, found, others = wrap(step), [], []
        for k in range(8):
            if k == 4:
                if what == "data":
                    net.weight.data = tg.randn(3, 3)
                elif what == "load_state_dict":
                    net.load_state_dict({name: x.clone() + 1 for name, x in net.state_dict().items()})
                elif what == "half":
                    net.half()
                elif what == "optimiser":
                    optimiser.load_state_dict(optimiser.state_dict())
                else:
                    net.weight.grad = tg.ones_like(net.weight)
                gc.collect()
                others = [tg.full((3, 3), 7.0) for _ in range(20)]
            step(tg.randn(2, 3))
            found += numbers(*net.parameters(), *(p.grad for p in net.parameters()))
        assert {x.item() for other in others for x in other.flatten()} == {7.0}
        return found

    assert_same(*both(run))


def test_a_graph_goes_and_what_it_computed_stays():
    def run(wrap):
        net, kept = nn.Linear(3, 3), []
        for k in range(3):  # each with a graph of its own

            def step(x):
                net.zero_grad()
                y = net(x)
                y.square().sum().backward()
                return y

            step = wrap(step)
            kept += [step(tg.randn(2, 3)) for _ in range(3)]
            kept.append(net.weight.grad)
            del step
            gc.collect()
            kept.append(tg.full((2, 3), float(k)))  # takes what was freed
        return numbers(*kept, net.weight.grad, net.bias.grad)

    assert_same(*both(run))


def test_several_graphs_and_eager_steps_in_turn():
    """Of one net and optimiser: other shapes and options, and evaluation between, of the same parameters."""

    def run(wrap):
        net = Net()
        optimiser = optim.Adam(net.parameters(), lr=0.05)

        def step(x, clip):
            optimiser.zero_grad()
            loss = F.dropout(net(x), 0.2).square().mean()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimiser.step()
            return loss

        graph, evaluate = wrap(step), wrap(lambda x: net(x))
        found = []
        for k in range(12):
            x = tg.randn(3 + k % 3, 2, 3)
            found.append(graph(x, 0.5 if k % 2 else None))
            if k % 4 == 3:
                found.append(step(x, 0.5))
            with tg.no_grad():
                found.append(evaluate(tg.ones(2, 2, 3)))
        return numbers(*found, *net.parameters())

    assert_same(*both(run, max_graphs=32))


# ---------------------------------------------------------------- streams


def test_a_graph_on_two_streams_is_replayed_in_turn():
    """The second writes where the first may still be reading, unless it waits."""

    def run(wrap):
        net = nn.Linear(3, 3)
        step = wrap(lambda x: F.dropout(net(x), 0.5))
        streams, found = strict.new_streams(2), []
        with tg.no_grad():
            for k in range(6):
                with streams[k % 2]:
                    found.append(step(tg.ones(2, 3) * k))
        for stream in streams:
            stream.synchronize()
        return numbers(*found)

    assert_same(*both(run))


def test_streams_that_do_not_wait_are_seen():
    """The stand-in itself: work on another stream's memory needs an event or a wait between."""
    one, other = strict.new_streams(2)
    with one:
        x = tg.ones(3)
    with other, pytest.raises(RuntimeError, match="strict: a stream uses memory that another has written"):
        x + 1
    with other:
        other.wait_event(one.record())
        y = x + 1
    with one, pytest.raises(RuntimeError, match="strict: a stream changes memory that another has read"):
        x.add_(1)
    other.synchronize()
    with one:
        assert (x.add_(1) + y).tolist() == [4.0, 4.0, 4.0]


def test_a_graph_in_two_threads():
    net = nn.Linear(3, 3)
    step = tg.cuda.graphed(lambda x: (net(x) * 2, x))
    module, wrong = tg.backend.current(), []

    def work(k):
        with tg.use(module), tg.no_grad():
            for _ in range(50):
                y, x = step(tg.full((2, 3), float(k)))
                if not ((x.numpy() == k).all() and np.array_equal(y.numpy(), (net(x) * 2).numpy())):
                    wrong.append(k)

    with tg.no_grad():
        for _ in range(2):
            step(tg.ones(2, 3))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert step.n_graphs == 1
