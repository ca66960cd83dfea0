"""Learning-rate schedules against PyTorch's, over 50 steps."""

import warnings

import pytest

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import optim

torch = extra("torch")
pytestmark = pytest.mark.extras("torch")

SINGLE = {
    "StepLR": [{"step_size": 7}, {"step_size": 1, "gamma": 0.9}],
    "MultiStepLR": [{"milestones": [3, 10, 10, 30]}, {"milestones": [30, 5], "gamma": 0.5}],
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 12}],
    "LinearLR": [{}, {"start_factor": 0.1, "end_factor": 0.6, "total_iters": 20}],
    "ExponentialLR": [{"gamma": 0.9}],
    "CosineAnnealingLR": [{"T_max": 10}, {"T_max": 50, "eta_min": 1e-4}, {"T_max": 1}],
    "LambdaLR": [{"lr_lambda": lambda e: 0.95**e}, {"lr_lambda": [lambda e: 1 / (e + 1), lambda e: e]}],
    "OneCycleLR": [
        {"max_lr": 0.1, "total_steps": 50},
        {"max_lr": [0.1, 0.2], "epochs": 5, "steps_per_epoch": 11, "anneal_strategy": "linear"},
        {"max_lr": 0.1, "total_steps": 60, "three_phase": True, "cycle_momentum": False, "pct_start": 0.4},
    ],
}
CASES = [(name, options) for name, many in SINGLE.items() for options in many]


def optimizers(name="SGD"):
    made = []
    for lib in (tg, torch):
        p, q = lib.zeros(2, requires_grad=True), lib.zeros(3, requires_grad=True)
        options = {"momentum": 0.9} if name == "SGD" else {}
        made.append(
            getattr(lib.optim, name)([{"params": [p]}, {"params": [q], "lr": 0.03}], lr=0.1, **options)
        )
    return made


def compare(a, b, first, second, n=50):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's about the order of steps
        for _ in range(n):
            for x, y in zip(first.param_groups, second.param_groups, strict=True):
                assert x["lr"] == pytest.approx(y["lr"], rel=1e-12, abs=1e-15)
                assert x.get("momentum", 0) == pytest.approx(y.get("momentum", 0), rel=1e-12)
                assert list(x.get("betas", ())) == pytest.approx(list(y.get("betas", ())), rel=1e-12)
            assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-12, abs=1e-15)
            a.step()
            b.step()


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("method", ["SGD", "Adam"])
def test_same_rates_as_pytorch(name, options, method):
    first, second = optimizers(method)
    a = getattr(optim.lr_scheduler, name)(first, **options)
    b = getattr(torch.optim.lr_scheduler, name)(second, **options)
    compare(a, b, first, second)


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0] not in ("OneCycleLR", "LambdaLR")])
def test_going_on_from_an_epoch(name, options):
    first, second = optimizers()
    for optimizer in (first, second):
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.2
    a = getattr(optim.lr_scheduler, name)(first, **options, last_epoch=4)
    b = getattr(torch.optim.lr_scheduler, name)(second, **options, last_epoch=4)
    compare(a, b, first, second, 30)


def test_two_schedules_on_one_optimiser_multiply():
    first, second = optimizers()
    pairs = []
    for lib, optimizer in ((tg, first), (torch, second)):
        s = lib.optim.lr_scheduler
        pairs.append(
            [s.ExponentialLR(optimizer, 0.9), s.StepLR(optimizer, 4), s.CosineAnnealingLR(optimizer, 9)]
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(30):
            for a, b in zip(*pairs, strict=True):
                a.step()
                b.step()
            assert first.param_groups[0]["lr"] == pytest.approx(
                second.param_groups[0]["lr"], rel=1e-10, abs=1e-18
            )


@pytest.mark.parametrize("milestones", [[5, 20], [1, 2], [0, 10]])
def test_one_schedule_after_the_other(milestones):
    first, second = optimizers()
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lib, optimizer in ((tg, first), (torch, second)):
            s = lib.optim.lr_scheduler
            parts = [
                s.LinearLR(optimizer, 0.1, total_iters=5),
                s.CosineAnnealingLR(optimizer, 15, 1e-3),
                s.ExponentialLR(optimizer, 0.9),
            ]
            made.append(s.SequentialLR(optimizer, parts, milestones))
        compare(*made, first, second)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "options", [{}, {"patience": 2, "cooldown": 3, "min_lr": [0.01, 0.002], "factor": 0.5}]
)
def test_on_plateau(mode, threshold_mode, options):
    first, second = optimizers()
    options = {**options, "mode": mode, "threshold_mode": threshold_mode}
    a = optim.lr_scheduler.ReduceLROnPlateau(first, **options)
    b = torch.optim.lr_scheduler.ReduceLROnPlateau(second, **options)
    for i in range(50):
        metric = [3.0, 2.0, 2.5, 2.5, 1.99999, 2.6, 2.0][i % 7] + (i > 25)
        a.step(tg.tensor(metric, dtype="float64"))
        b.step(metric)
        assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-12)
        assert (a.num_bad_epochs, a.cooldown_counter, a.best) == (
            b.num_bad_epochs,
            b.cooldown_counter,
            b.best,
        )
