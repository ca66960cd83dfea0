"""A step happens whole or not at all: whatever breaks it off, nothing half done is saved."""

import os
import signal
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.optim import signals
from tinygrad_rnn.optim.signals import signals_wait, users_code

from .test_optimizer import MAKERS, leaves, loss_of

FOLDER = os.path.dirname(optim.__file__)


class OwnStep(optim.Optimizer):
    """An optimiser of a user's, with a step of its own."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self, closure=None):
        loss = None if closure is None else closure()
        for p in self.param_groups[0]["params"]:
            p.data -= 0.1 * p.grad
        return loss


ALL = {
    **MAKERS,
    "LBFGS": lambda ps: optim.LBFGS(ps, lr=0.3, max_iter=3),
    "LBFGS with a line search": lambda ps: optim.LBFGS(ps, max_iter=3, line_search_fn="strong_wolfe"),
    "a step of its own": OwnStep,
    "scaled": lambda ps: optim.Adam(ps, 0.05),
}


class Broken(BaseException):
    pass


class BrokenAt:
    """Raises at the n-th line of the optimisers' files, as an interrupt might."""

    def __init__(self, n):
        self.n, self.count = n, 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_):
        sys.settrace(self.before)

    def trace(self, frame, event, arg):
        name = frame.f_code.co_filename
        if not name.startswith((FOLDER, __file__)) or name.endswith("signals.py"):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.n:
                raise Broken
        return self.trace


def content(optimizer, ps):
    """All of it, as something that compares."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return value.numpy().tobytes() if isinstance(value, tg.Tensor) else value

    return [p.detach().numpy().tobytes() for p in ps], plain(optimizer.state_dict())


def begun(name):
    """Parameters and an optimiser after a step, and what makes the next one."""
    ps = leaves("float32", shapes=((3, 2), (2,)))
    optimizer = ALL[name](ps)
    scaler = nn.amp.GradScaler(init_scale=4.0)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(ps)
        loss.backward()
        return loss

    def step():
        if name == "scaled":
            optimizer.zero_grad()
            scaler.scale(loss_of(ps)).backward()
            scaler.step(optimizer)
        else:
            optimizer.step(closure)

    step()
    if name == "scaled":
        scaler.update()
    return ps, optimizer, step


@pytest.mark.parametrize("name", ALL)
def test_broken_off_at_every_line(name, tmp_path):
    ps, optimizer, step = begun(name)
    before = content(optimizer, ps)
    step()
    after = content(optimizer, ps)
    assert after != before
    n = refused = 0
    while True:
        n += 1
        ps, optimizer, step = begun(name)
        try:
            with BrokenAt(n) as broken:
                step()
            break
        except Broken:
            pass
        if optimizer.torn:
            refused += 1
            with pytest.raises(RuntimeError, match="broken off in its middle"):
                tg.save(tmp_path / "run.npz", nn.Linear(1, 1), optimizer)
            assert not list(tmp_path.iterdir())
        else:
            assert content(optimizer, ps) in (before, after), n
            assert optimizer.n_changes == (1 if content(optimizer, ps) == before else 2), n
        assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)
        del broken
    assert n > 20
    assert refused
    assert content(optimizer, ps) == after


@pytest.mark.parametrize("name", ALL)
def test_a_closure_that_raises_changes_nothing(name):
    for at in range(1, 9):
        ps, optimizer, _ = begun(name)
        before, n = content(optimizer, ps), 0

        def closure(ps=ps, optimizer=optimizer, at=at):
            nonlocal n
            n += 1
            if n == at:
                raise KeyboardInterrupt
            optimizer.zero_grad()
            loss = loss_of(ps)
            loss.backward()
            return loss

        try:
            optimizer.step(closure)
        except KeyboardInterrupt:
            if name == "a step of its own":  # of which nobody knows whether it has changed anything
                assert optimizer.torn
            else:
                assert content(optimizer, ps) == before
                assert not optimizer.torn
        else:
            assert at > 1
            break


def test_a_torn_optimiser_is_whole_again_when_a_checkpoint_is_loaded():
    ps, optimizer, step = begun("Adam")
    saved = optimizer.state_dict()
    state = {key: {k: v if isinstance(v, int) else v.clone() for k, v in kept.items()}
             for key, kept in saved["state"].items()}  # fmt: skip
    ps[1].data = tg.zeros(3)  # another shape than its state
    ps[1].grad = tg.ones(3)
    with pytest.raises(ValueError, match="shape has become"):
        optimizer.step()
    assert optimizer.torn
    with pytest.raises(ValueError, match="lacks 'lr'"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    assert optimizer.torn
    ps[1].data = tg.zeros(2)
    optimizer.load_state_dict({**saved, "state": state})
    assert not optimizer.torn
    step()
    optimizer.state_dict()


# ---------------------------------------------------------------- signals


@pytest.fixture
def handled():
    """The numbers of signals whose handler, a program's own, has run; it raises KeyboardInterrupt."""
    found, before = [], {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def handler(number, frame):
        found.append(number)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, handler)
    yield found
    assert all(signal.getsignal(number) is handler for number in before)
    for number, usual in before.items():
        signal.signal(number, usual)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_end_of_a_step(handled, number, monkeypatch):
    ps, optimizer, _ = begun("Adam")
    coefficients = optimizer.coefficients

    def interrupted(group, state):
        signal.raise_signal(number)
        return coefficients(group, state)

    monkeypatch.setattr(optimizer, "coefficients", interrupted)
    before = content(optimizer, ps)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert handled == [number]
    assert not optimizer.torn
    assert content(optimizer, ps) != before


def test_a_step_that_hangs_can_be_left(handled):
    """With the third signal."""

    def hanging():
        with signals_wait():
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
                assert not handled
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        hanging()
    assert len(handled) == 1
    with signals_wait():  # nothing is left of it
        pass


def test_where_a_user_is_at_work_signals_run(handled):
    def at_work():
        with users_code():
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    def stepping_at_work():
        with users_code(), signals_wait():
            signal.raise_signal(signal.SIGINT)
            assert len(handled) == 2

    with signals_wait():
        with pytest.raises(KeyboardInterrupt):
            at_work()
        signal.raise_signal(signal.SIGINT)
        assert len(handled) == 1
        with pytest.raises(KeyboardInterrupt):  # it has waited for that
            at_work()
        with pytest.raises(KeyboardInterrupt):
            stepping_at_work()
    assert len(handled) == 3


def test_a_signal_between_two_blocks_leaves_none_open(handled):
    """Where a block is entered or left, a handler runs at the next occasion."""
    frame = next(frame for frame in frames_of_signals())
    with signals_wait():
        with users_code():
            signals.waiting.on_signal(signal.SIGINT, frame)
        assert not handled
        with pytest.raises(KeyboardInterrupt), users_code():
            pass
    assert len(handled) == 1


def frames_of_signals():
    """A frame in the module itself."""
    block = signals_wait.__wrapped__()
    next(block)
    yield block.gi_frame
    block.close()


def test_a_handler_that_is_installed_meanwhile_stays(handled):
    before = signal.getsignal(signal.SIGINT)
    other = lambda *_: None
    with signals_wait():
        signal.signal(signal.SIGINT, other)
    assert signal.getsignal(signal.SIGINT) is other
    signal.signal(signal.SIGINT, before)


def test_what_is_saved_is_not_torn(tmp_path):
    ps, optimizer, step = begun("Adam")
    step()
    tg.save(tmp_path / "run.npz", optimizer=optimizer)
    other = optim.Adam(leaves("float32", shapes=((3, 2), (2,))))
    other.load_state_dict(tg.load(tmp_path / "run.npz")["optimizer"])
    np.testing.assert_array_equal(other.state[other.param_groups[0]["params"][0]]["exp_avg"].numpy(),
                                  optimizer.state[ps[0]]["exp_avg"].numpy())  # fmt: skip
