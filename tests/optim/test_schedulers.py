"""Schedules: resuming, our own warm-up, errors."""

import math

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.optim import lr_scheduler as s

MAKERS = {
    "StepLR": lambda o: s.StepLR(o, 3),
    "MultiStepLR": lambda o: s.MultiStepLR(o, [4, 9]),
    "ConstantLR": lambda o: s.ConstantLR(o, 0.5, 7),
    "LinearLR": lambda o: s.LinearLR(o, total_iters=12),
    "ExponentialLR": lambda o: s.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, 8),
    "LambdaLR": lambda o: s.LambdaLR(o, lambda e: 1 / (e + 1)),
    "WarmupCosineLR": lambda o: s.WarmupCosineLR(o, 4, 15),
    "OneCycleLR": lambda o: s.OneCycleLR(o, 0.5, 25),
    "SequentialLR": lambda o: s.SequentialLR(o, [s.LinearLR(o), s.ExponentialLR(o, 0.9)], [5]),
    "nested": lambda o: s.SequentialLR(
        o, [s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 2)], [3]), s.ExponentialLR(o, 0.9)], [9]
    ),
}


def optimizer(lr=0.1):
    return optim.SGD([tg.zeros(2, requires_grad=True)], lr=lr, momentum=0.9)


def rates(o, schedule, n):
    found = []
    for _ in range(n):
        found.append(o.param_groups[0]["lr"])
        schedule.step()
    return found


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_resuming_gives_the_same_rates(make):
    o = optimizer()
    schedule = make(o)
    whole = rates(o, schedule, 20)
    o = optimizer()
    schedule = make(o)
    begun = rates(o, schedule, 8)
    o2 = optimizer()
    schedule2 = make(o2)
    o2.load_state_dict(o.state_dict())
    schedule2.load_state_dict(schedule.state_dict())
    assert schedule2.get_last_lr() == schedule.get_last_lr() == [o.param_groups[0]["lr"]]
    assert begun + rates(o2, schedule2, 12) == whole
    assert plain(schedule.state_dict())


def plain(value):
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def test_warmup_cosine():
    o = optimizer(1.0)
    schedule = s.WarmupCosineLR(o, 4, 10, eta_min=0.2)
    found = rates(o, schedule, 13)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[7] == pytest.approx(0.6)
    assert found[10:] == [0.2] * 3
    assert found[6] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 3)) / 2)


def test_on_plateau_resumes():
    metrics = [3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    o = optimizer()
    schedule = s.ReduceLROnPlateau(o, patience=1, cooldown=1)
    whole = [schedule.step(m) or schedule.get_last_lr() for m in metrics]
    o = optimizer()
    schedule = s.ReduceLROnPlateau(o, patience=1, cooldown=1)
    begun = [schedule.step(m) or schedule.get_last_lr() for m in metrics[:4]]
    o2 = optimizer()
    o2.load_state_dict(o.state_dict())
    schedule2 = s.ReduceLROnPlateau(o2, patience=1, cooldown=1)
    schedule2.load_state_dict(schedule.state_dict())
    assert begun + [schedule2.step(m) or schedule2.get_last_lr() for m in metrics[4:]] == whole
    assert whole[-1] != whole[0]


def test_a_schedule_of_ones_own():
    class Halving(s.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    o = optimizer(1.0)
    assert rates(o, Halving(o), 3) == [1.0, 0.5, 0.25]
    with pytest.raises(NotImplementedError, match="LRScheduler must define get_lr"):
        s.LRScheduler(o)


new = optimizer
ERRORS = [
    (lambda: s.StepLR(3, 1), TypeError, "StepLR: expected an optimiser, got a int"),
    (lambda: s.StepLR(new(), 0), ValueError, "StepLR: step_size must be at least 1, got 0"),
    (lambda: s.StepLR(new(), 1, last_epoch=3), ValueError, "StepLR: group 0 has no initial_lr"),
    (
        lambda: s.LambdaLR(new(), [abs, abs]),
        ValueError,
        "LambdaLR: lr_lambda has 2 entries for 1 parameter groups",
    ),
    (lambda: s.LambdaLR(new(), 3), TypeError, "LambdaLR: lr_lambda must be a function"),
    (lambda: s.ConstantLR(new(), 2), ValueError, "ConstantLR: factor must be above 0 and at most 1, got 2"),
    (lambda: s.LinearLR(new(), 0), ValueError, "LinearLR: start_factor must be above 0"),
    (lambda: s.LinearLR(new(), 1, 3), ValueError, "LinearLR: end_factor must be from 0 to 1, got 3"),
    (lambda: s.CosineAnnealingLR(new(), 0), ValueError, "CosineAnnealingLR: T_max must be at least 1, got 0"),
    (
        lambda: s.WarmupCosineLR(new(), 5, 5),
        ValueError,
        "WarmupCosineLR: warmup_steps must be from 0 to below",
    ),
    (
        lambda: s.OneCycleLR(new(), 1),
        ValueError,
        "OneCycleLR: give total_steps, or epochs and steps_per_epoch",
    ),
    (lambda: s.OneCycleLR(new(), 1, 0), ValueError, "OneCycleLR: total_steps must be at least 1, got 0"),
    (lambda: s.OneCycleLR(new(), 1, 5, pct_start=2), ValueError, "OneCycleLR: pct_start must be from 0 to 1"),
    (lambda: s.OneCycleLR(new(), 1, 5, anneal_strategy="x"), ValueError, "anneal_strategy must be"),
    (
        lambda: s.OneCycleLR(optim.Adagrad([tg.ones(1, requires_grad=True)]), 1, 5),
        ValueError,
        "Adagrad has no momentum; pass cycle_momentum=False",
    ),
    (lambda: s.SequentialLR(new(), [], []), ValueError, "SequentialLR: got no schedules"),
    (
        lambda: s.SequentialLR(new(), [s.StepLR(new(), 1)], []),
        ValueError,
        "its StepLR belongs to another optimiser",
    ),
    (
        lambda: s.ReduceLROnPlateau(new(), factor=1),
        ValueError,
        "ReduceLROnPlateau: factor must be below 1, got 1",
    ),
    (lambda: s.ReduceLROnPlateau(new(), mode="x"), ValueError, 'mode must be "min" or "max"'),
    (
        lambda: s.ReduceLROnPlateau(new(), threshold_mode="x"),
        ValueError,
        'threshold_mode must be "rel" or "abs"',
    ),
    (
        lambda: s.ReduceLROnPlateau(new(), min_lr=[1, 2]),
        ValueError,
        "min_lr has 2 entries for 1 parameter groups",
    ),
    (
        lambda: s.StepLR(new(), 1).load_state_dict({}),
        ValueError,
        "StepLR.load_state_dict: 'step_size' is missing",
    ),
]


@pytest.mark.parametrize(("make", "kind", "sentence"), ERRORS)
def test_errors(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_errors_of_sequences():
    o = optimizer()
    parts = [s.StepLR(o, 1), s.StepLR(o, 2)]
    with pytest.raises(ValueError, match="SequentialLR: 2 schedules need 1 milestones, got 2"):
        s.SequentialLR(o, parts, [1, 2])
    with pytest.raises(ValueError, match="ReduceLROnPlateau needs a metric"):
        s.SequentialLR(o, [s.ReduceLROnPlateau(o)], [])
    schedule = s.SequentialLR(o, parts, [3])
    with pytest.raises(ValueError, match="2 schedules here, 0 in the dict"):
        schedule.load_state_dict({})
    o.param_groups[0]["lr"] = 1
    one_cycle = s.OneCycleLR(o, 1, 2)
    one_cycle.step()
    one_cycle.step()
    with pytest.raises(ValueError, match="OneCycleLR: step 3 was asked for, the schedule has 2"):
        one_cycle.step()
