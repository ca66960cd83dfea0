"""tg.fit broken off anywhere: by handlers of others, by the optimiser's calls of the loss, at every line."""

import asyncio
import itertools
import os
import signal
import sys
import warnings

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, training

from .test_fit import fit, loader, loss, rows, same_weights, start

FOLDERS = tuple(os.path.dirname(package.__file__) for package in (optim, training))


def tiny(make=lambda ps: optim.Adam(ps, lr=0.1)):
    """A model of two numbers, with dropout, and four batches."""
    tg.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))
    batches = [tg.randn(3, 2) for _ in range(4)]
    return model, lambda model, x: (model(x) - 1).square().mean(), batches, make(model.parameters())


def whole_or_refused(path, begun, expected, **settings):
    """A resumed run is the uninterrupted one, or there is no file."""
    again = begun()
    history = fit(*again, checkpoint=path, resume=True, **settings)
    whole, found = expected
    assert rows(history) == rows(found)
    assert same_weights(whole, again[0])


@pytest.fixture
def own_handler():
    """A program's own handler of Ctrl-C, which raises at once."""
    before = signal.getsignal(signal.SIGINT)

    def handler(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    yield
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_a_loss_that_raises_when_it_is_called_again(tmp_path, line_search_fn):
    """L-BFGS asks for it several times in a step, on its way: it goes back to where it came from."""
    make = lambda ps: optim.LBFGS(ps, lr=0.5, max_iter=4, line_search_fn=line_search_fn)
    begun = lambda: tiny(make)
    settings = {"epochs": 2, "restore_best": False}
    whole = begun()
    expected = whole[0], fit(*whole, **settings)
    for at in range(1, 40):
        model, value, batches, optimizer = begun()
        count, path = itertools.count(1), tmp_path / f"{at}.npz"

        def interrupting(model, x, count=count, at=at, value=value):
            found = value(model, x)
            if next(count) == at:
                raise KeyboardInterrupt
            return found

        history = fit(model, interrupting, batches, optimizer, checkpoint=path, **settings)
        if not history.interrupted:
            break
        assert path.exists()
        whole_or_refused(path, begun, expected, **settings)
    assert at > 8


class OwnStep(optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self, closure=None):
        loss = closure()
        for p in self.param_groups[0]["params"]:
            p.data -= 0.1 * p.grad
        return loss


def test_what_nobody_knows_is_refused(tmp_path):
    """An optimiser of a user's own, broken off in its step: the last whole checkpoint stays."""
    model, value, batches, optimizer = tiny(OwnStep)
    path, count = tmp_path / "run.npz", itertools.count(1)
    fit(model, value, batches, optimizer, epochs=1, checkpoint=path)
    before = path.read_bytes()

    def interrupting(model, x):
        if next(count) == 2:
            raise KeyboardInterrupt
        return value(model, x)

    with pytest.warns(RuntimeWarning, match=r"broken off in its middle.*run.npz' is the last whole one"):
        history = fit(model, interrupting, batches, optimizer, epochs=3, checkpoint=path, resume=True)
    assert history.interrupted
    assert path.read_bytes() == before


class AtLine:
    """Does something at the n-th line of the optimisers and of fit."""

    def __init__(self, n, act):
        self.n, self.act, self.count = n, act, 0

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(FOLDERS):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.n:
                self.act(frame)
        return self.trace


SETTINGS = {"epochs": 2, "validate": [tg.ones(3, 2)], "restore_best": False}


def go(**more):
    model, value, batches, optimizer = tiny()
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    return model, fit(model, value, batches, optimizer, scheduler=scheduler, **SETTINGS, **more)


def at_line(n, act, path):
    """Whether the n-th line was reached, and what was warned of."""
    before, trace = sys.gettrace(), AtLine(n, act)
    sys.settrace(trace.trace)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            go(checkpoint=path)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return trace.count >= n, [str(warning.message) for warning in said]


def at_lines(act, path, run=at_line):
    """Acts at one line after the other. What is saved is that of a whole run; the numbers of files and of
    warnings.
    """
    whole, expected = go()
    files = warned = 0
    for n in itertools.count(1, STRIDE):
        reached, said = run(n, act, path)
        if not reached:
            break
        warned += bool(said)
        files += path.exists()
        model, history = go(checkpoint=path, resume=True)
        assert rows(history) == rows(expected), n
        assert same_weights(whole, model), n
        path.unlink(missing_ok=True)
    assert n > 1000
    return files, warned


STRIDE = int(os.environ.get("STRIDE", 47))  # 1: all lines, in some minutes


def test_broken_off_at_any_line(tmp_path):
    def act(frame):
        if not frame.f_code.co_filename.endswith("signals.py"):
            raise KeyboardInterrupt

    files, refused = at_lines(act, tmp_path / "run.npz")
    assert files
    assert refused


@pytest.mark.usefixtures("own_handler")
def test_a_handler_of_the_programs_own(tmp_path):
    """Wherever a signal comes, what is saved is before a step or after it, and nothing is refused."""

    def act(frame):
        if not frame.f_code.co_filename.endswith("signals.py"):  # it knows its own frames, and not this one
            signal.raise_signal(signal.SIGINT)

    files, refused = at_lines(act, tmp_path / "run.npz")
    assert files
    assert not refused


def test_under_asyncio_with_ctrl_c_twice(tmp_path):
    """The first one cancels the task, the second one raises in it."""

    def act(frame):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    def run(n, act, path):
        async def main():
            return at_line(n, act, path)

        try:
            return asyncio.run(main())
        except (KeyboardInterrupt, asyncio.CancelledError):
            return True, []

    files, refused = at_lines(act, tmp_path / "run.npz", run)
    assert files
    assert not refused
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_the_loaders_pass(tmp_path):
    """The order of a DataLoader goes on, too, whoever handles signals."""
    settings = {"epochs": 2, "restore_best": False}
    whole = start("loader")
    expected = fit(*whole, **settings)
    model, _, _, optimizer = start("loader")

    class Interrupted:
        def __init__(self, batches):
            self.batches = batches

        def __iter__(self):
            for i, batch in enumerate(self.batches):
                if i == 2:
                    raise KeyboardInterrupt
                yield batch

        def state_dict(self):
            return self.batches.state_dict()

        def load_state_dict(self, state):
            self.batches.load_state_dict(state)

    cut = fit(model, loss, Interrupted(loader()), optimizer, checkpoint=tmp_path / "run.npz", **settings)
    assert cut.interrupted
    resumed = start("loader")
    history = fit(*resumed, checkpoint=tmp_path / "run.npz", resume=True, **settings)
    assert rows(history) == rows(expected)
    assert same_weights(whole[0], resumed[0])
