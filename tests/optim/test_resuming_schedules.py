"""A training resumed in any order of making and loading goes on with the saved rates: every schedule, several
groups, at every step.
"""

import itertools
import json

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim
from tinygrad_rnn.optim import lr_scheduler as s

N_STEPS = 14
# name: what makes the schedules of one optimiser; `other` asks for other settings than those that were saved
MAKERS = {
    "StepLR": lambda o, other: [s.StepLR(o, 1 if other else 3, gamma=0.5)],
    "MultiStepLR": lambda o, other: [s.MultiStepLR(o, [0, 1] if other else [4, 9])],
    "ConstantLR": lambda o, other: [s.ConstantLR(o, 0.3 if other else 0.5, 7)],
    "LinearLR": lambda o, other: [s.LinearLR(o, 0.9 if other else 0.1, total_iters=9)],
    "ExponentialLR": lambda o, other: [s.ExponentialLR(o, 0.5 if other else 0.9)],
    "CosineAnnealingLR": lambda o, other: [s.CosineAnnealingLR(o, 5 if other else 8, 0.01)],
    "LambdaLR": lambda o, other: [s.LambdaLR(o, [lambda e: 1 / (e + 2), lambda e: 0.9**e])],
    "WarmupCosineLR": lambda o, other: [s.WarmupCosineLR(o, 2 if other else 4, 12)],
    "OneCycleLR": lambda o, other: [s.OneCycleLR(o, 9 if other else [0.5, 0.7], N_STEPS)],
    "OneCycleLR, three phases": lambda o, other: [s.OneCycleLR(o, 0.5, N_STEPS, three_phase=not other)],
    "OneCycleLR, rates alone": lambda o, other: [s.OneCycleLR(o, 0.5, N_STEPS, cycle_momentum=False)],
    "SequentialLR": lambda o, other: [
        s.SequentialLR(o, [s.LinearLR(o), s.StepLR(o, 2), s.ExponentialLR(o, 0.9)], [1 if other else 3, 8])
    ],
    "nested": lambda o, other: [
        s.SequentialLR(
            o, [s.SequentialLR(o, [s.ConstantLR(o), s.StepLR(o, 2)], [3]), s.OneCycleLR(o, 0.3, 9)], [6]
        )
    ],
    "two on one optimiser": lambda o, other: [s.LinearLR(o, total_iters=4), s.ExponentialLR(o, 0.8)],
    "ReduceLROnPlateau": lambda o, other: [s.ReduceLROnPlateau(o, patience=1, cooldown=1, factor=0.5)],
    "a plateau after a warm-up": lambda o, other: [
        s.LinearLR(o, total_iters=4),
        s.ReduceLROnPlateau(o, patience=1, min_lr=[0.001, 0.01]),
    ],
}
ORDERS = [
    order
    for order in itertools.permutations(("make", "load optimiser", "load schedules"))
    if order.index("make") < order.index("load schedules")
] + [("make", "load schedules in another order", "load optimiser")]
METRICS = [5, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2]


def optimizer(method):
    p, q = tg.zeros(2, requires_grad=True), tg.zeros(3, requires_grad=True)
    options = {"momentum": 0.9} if method == "SGD" else {}
    return getattr(optim, method)([{"params": [p]}, {"params": [q], "lr": 0.03}], lr=0.1, **options)


def options_of(o):
    names = ("lr", "initial_lr", "momentum", "betas", "max_lr", "min_lr", "max_momentum", "base_momentum")
    return [{name: group[name] for name in names if name in group} for group in o.param_groups]


def go_on(o, schedules, steps):
    """The groups' options before each of the steps, and at their end."""
    found = []
    for k in steps:
        found.append(options_of(o))
        for schedule in schedules:
            schedule.step(*([METRICS[k]] if isinstance(schedule, s.ReduceLROnPlateau) else []))
    return [*found, options_of(o)]


def resumed(make, method, order, saved, other):
    o, schedules = optimizer(method), []
    for action in order:
        if action == "make":
            schedules = make(o, other)
        elif action == "load optimiser":
            o.load_state_dict(saved["optimiser"])
        else:
            pairs = list(zip(schedules, saved["schedules"], strict=True))
            for schedule, state in reversed(pairs) if "another" in action else pairs:
                schedule.load_state_dict(state)
    return o, schedules


def copied(o, schedules):
    """What a file would hold."""
    return json.loads(
        json.dumps({"optimiser": o.state_dict(), "schedules": [x.state_dict() for x in schedules]})
    )


@pytest.mark.parametrize("other", [False, True], ids=["made alike", "made otherwise"])
@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("method", ["SGD", "Adam"])
def test_every_order_of_making_and_loading(method, make, order, other):
    whole_o = optimizer(method)
    whole = go_on(whole_o, make(whole_o, False), range(N_STEPS))
    o = optimizer(method)
    schedules = make(o, False)
    for k in range(N_STEPS):
        saved = copied(o, schedules)
        o2, schedules2 = resumed(make, method, order, saved, other)
        assert options_of(o2) == options_of(o)
        assert [x.get_last_lr() for x in schedules2] == [x.get_last_lr() for x in schedules]
        assert go_on(o2, schedules2, range(k, N_STEPS)) == whole[k:]
        go_on(o, schedules, [k])


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
def test_a_rate_changed_by_hand_is_the_saved_one(order):
    o = optimizer("SGD")
    (schedule,) = make_two = MAKERS["ExponentialLR"](o, False)
    schedule.step()
    o.param_groups[1]["lr"] = 0.5
    o2, (schedule2,) = resumed(MAKERS["ExponentialLR"], "SGD", order, copied(o, make_two), False)
    assert [g["lr"] for g in o2.param_groups] == [g["lr"] for g in o.param_groups]
    schedule2.step()
    assert o2.param_groups[1]["lr"] == 0.5 * 0.9


def test_the_schedule_alone_brings_its_rates():
    o = optimizer("Adam")
    schedule = s.OneCycleLR(o, 0.5, N_STEPS)
    for _ in range(5):
        schedule.step()
    o2 = optimizer("Adam")
    schedule2 = s.OneCycleLR(o2, 0.1, N_STEPS)
    schedule2.load_state_dict(schedule.state_dict())
    assert options_of(o2) == options_of(o)


def test_a_state_with_rates_alone():
    """What PyTorch saves, and what was saved here before the groups were."""
    o = optimizer("SGD")
    schedule = s.StepLR(o, 1)
    schedule.step()
    state = {name: value for name, value in schedule.state_dict().items() if name != "groups"}
    o2 = optimizer("SGD")
    s.StepLR(o2, 5).load_state_dict(state)
    assert options_of(o2) == options_of(o)


def test_an_optimiser_saved_before_it_had_a_schedule():
    saved = optimizer("SGD").state_dict()
    o = optimizer("SGD")
    schedule = s.OneCycleLR(o, 0.5, N_STEPS)
    o.load_state_dict(saved)
    assert [group["lr"] for group in o.param_groups] == [0.1, 0.03]
    schedule.step()
    assert 0.02 < o.param_groups[0]["lr"] < 0.5


def test_a_schedule_of_ones_own_names_what_it_sets():
    class Decay(s.LRScheduler):
        options = (*s.LRScheduler.options, "weight_decay")

        def get_lr(self):
            for group in self.optimizer.param_groups:
                group["weight_decay"] = 0.1 / (1 + self.last_epoch)
            return self.base_lrs

    o = optimizer("SGD")
    schedule = Decay(o)
    schedule.step()
    o2 = optimizer("SGD")
    Decay(o2).load_state_dict(schedule.state_dict())
    assert [group["weight_decay"] for group in o2.param_groups] == [0.05, 0.05]


def test_what_does_not_fit_changes_nothing():
    o = optimizer("SGD")
    one = optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    schedule = s.SequentialLR(o, [s.StepLR(o, 1), s.ExponentialLR(o, 0.5)], [3])
    before = schedule.state_dict(), options_of(o)
    with pytest.raises(ValueError, match="the optimiser has 2 parameter groups, the dict is of"):
        s.StepLR(o, 1).load_state_dict(s.StepLR(one, 1).state_dict())
    broken = s.SequentialLR(o, [s.StepLR(o, 2), s.LinearLR(o)], [3]).state_dict()
    o.param_groups[0]["lr"], o.param_groups[1]["lr"] = (group["lr"] for group in before[1])
    with pytest.raises(ValueError, match=r"ExponentialLR\.load_state_dict: 'gamma' is missing"):
        schedule.load_state_dict(broken)
    assert (schedule.state_dict(), options_of(o)) == before
    for wrong in (None, [], "state"):
        with pytest.raises(TypeError, match="load_state_dict: expected a dict, as state_dict"):
            schedule.load_state_dict(wrong)


def test_a_state_is_a_copy():
    o = optimizer("SGD")
    schedule = s.MultiStepLR(o, [2, 4])
    state = schedule.state_dict()
    schedule.load_state_dict(state)
    state["milestones"].append(1)
    assert schedule.milestones == [2, 4]
