"""Optimisers against PyTorch's: the same parameters and gradients, every option, step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import optim

torch = extra("torch")
pytestmark = pytest.mark.extras("torch")

SHAPES = [(), (3,), (4, 5), (0, 2), (190, 210)]  # the last one is updated in two pieces
DECAY = st.sampled_from([0, 0.01])
FLAG = st.booleans()
OPTIONS = {
    "SGD": {
        "lr": st.sampled_from([0.1, 1e-3]),
        "momentum": st.sampled_from([0, 0.9]),
        "dampening": st.sampled_from([0, 0.3]),
        "weight_decay": DECAY,
        "nesterov": FLAG,
        "maximize": FLAG,
    },
    "RMSprop": {
        "lr": st.sampled_from([0.01, 1e-3]),
        "alpha": st.sampled_from([0.99, 0.5]),
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": DECAY,
        "momentum": st.sampled_from([0, 0.9]),
        "centered": FLAG,
        "maximize": FLAG,
    },
    "Adagrad": {
        "lr": st.sampled_from([0.01, 0.5]),
        "lr_decay": st.sampled_from([0, 0.1]),
        "weight_decay": DECAY,
        "initial_accumulator_value": st.sampled_from([0, 0.2]),
        "eps": st.sampled_from([1e-10, 1e-3]),
        "maximize": FLAG,
    },
    "Adam": {
        "lr": st.sampled_from([1e-3, 0.1]),
        "betas": st.sampled_from([(0.9, 0.999), (0.0, 0.5)]),
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": DECAY,
        "amsgrad": FLAG,
        "maximize": FLAG,
    },
}
OPTIONS["AdamW"] = OPTIONS["Adam"]
TOLERANCES = {"float64": 1e-11, "float32": 2e-5}


def problem(dtype, seed, n_steps=25):
    rng = np.random.default_rng(seed)
    starts = [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]
    # A gradient is left out now and then: the parameter and its state then stay as they are.
    grads = [
        [None if rng.random() < 0.1 else np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]
        for _ in range(n_steps)
    ]
    ours = [tg.tensor(p.tolist(), dtype=dtype, requires_grad=True).reshape(p.shape).detach() for p in starts]
    for p in ours:
        p.requires_grad = True
    theirs = [torch.tensor(p, requires_grad=True) for p in starts]
    return ours, theirs, grads


def give(ours, theirs, grads):
    for p, q, g in zip(ours, theirs, grads, strict=True):
        p.grad = None if g is None else tg.tensor(g.tolist(), dtype=str(g.dtype)).reshape(g.shape)
        q.grad = None if g is None else torch.tensor(g)


def assert_close(ours, theirs, tolerance):
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(OPTIONS))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_same_numbers_as_pytorch(name, data):
    chosen = data.draw(st.fixed_dictionaries({}, optional=OPTIONS[name]))
    if chosen.get("nesterov") and (not chosen.get("momentum") or chosen.get("dampening")):
        chosen["nesterov"] = False
    dtype = data.draw(st.sampled_from(sorted(TOLERANCES)))
    ours, theirs, grads = problem(dtype, data.draw(st.integers(0, 99)))
    if dtype == "float32":
        # Where a gradient and the decay cancel, float32 leaves few digits, and some rules divide by what is
        # left. float64 looks there; here no gradient is so small.
        grads = [[None if g is None else g + np.sign(g) for g in step] for step in grads]
    # eps at 1e-8 makes the first steps of an element hang on the last bits of a tiny gradient
    tolerance = TOLERANCES[dtype] * (10 if chosen.get("centered") else 1)
    a = getattr(optim, name)(ours, **chosen)
    b = getattr(torch.optim, name)(theirs, **chosen, foreach=False)
    for step in grads:
        give(ours, theirs, step)
        a.step()
        b.step()
    assert_close(ours, theirs, tolerance)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_groups_with_options_of_their_own(name):
    ours, theirs, grads = problem("float64", 1)
    groups = [
        [{"params": ps[:2], "lr": 0.02}, {"params": ps[2], "weight_decay": 0.1}, {"params": ps[3:]}]
        for ps in (ours, theirs)
    ]
    a = getattr(optim, name)(groups[0], lr=0.01)
    b = getattr(torch.optim, name)(groups[1], lr=0.01)
    for i, step in enumerate(grads):
        for optimizer in (a, b):
            optimizer.param_groups[1]["lr"] = 0.01 / (i + 1)
        give(ours, theirs, step)
        a.step()
        b.step()
    assert_close(ours, theirs, 1e-11)


@pytest.mark.parametrize("name", [*sorted(OPTIONS), "LBFGS"])
def test_defaults_and_positional_order_are_pytorchs(name):
    import inspect

    mine = inspect.signature(getattr(optim, name)).parameters
    pytorchs = inspect.signature(getattr(torch.optim, name)).parameters
    positional = [n for n, p in mine.items() if p.kind is not p.KEYWORD_ONLY]
    assert positional == list(pytorchs)[: len(positional)]
    for n, p in mine.items():
        assert p.default == pytorchs[n].default


def quadratic(lib, x, a, b):
    return ((x @ a) ** 2).sum() + (x * b).sum()


def rosenbrock(lib, x, a, b):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.5, "max_iter": 7}, {"history_size": 3}, {"max_iter": 10, "max_eval": 12}],
    ids=["defaults", "lr", "history", "max_eval"],
)
@pytest.mark.parametrize("function", [quadratic, rosenbrock])
def test_lbfgs_same_numbers_as_pytorch(function, options, line_search_fn):
    if function is rosenbrock and line_search_fn is None:
        options = {**options, "lr": 1e-3}  # without a search a step of 1 flies off, in PyTorch too
    rng = np.random.default_rng(3)
    start, a, b = rng.standard_normal(6) * 0.5, rng.standard_normal((6, 8)), rng.standard_normal(6)

    def run(lib, x, optimizer, constants):
        def closure():
            optimizer.zero_grad()
            loss = function(lib, x, *constants)
            loss.backward()
            return loss

        return [(optimizer.step(closure).item(), x.detach().numpy().copy()) for _ in range(4)]

    settings = {**options, "line_search_fn": line_search_fn}
    x = tg.tensor(start.tolist(), dtype="float64", requires_grad=True)
    y = torch.tensor(start, requires_grad=True)
    constants = [tg.tensor(c.tolist(), dtype="float64") for c in (a, b)]
    ours_by = optim.LBFGS([x], **settings)
    theirs_by = torch.optim.LBFGS([y], **settings)
    ours = run(tg, x, ours_by, constants)
    theirs = run(torch, y, theirs_by, [torch.tensor(a), torch.tensor(b)])
    for (loss, point), (their_loss, their_point) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(loss, their_loss, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(point, their_point, rtol=1e-6, atol=1e-7)
    counted = theirs_by.state[y]
    assert ours_by.state[x]["n_iter"] == counted["n_iter"]
    assert ours_by.state[x]["func_evals"] == counted["func_evals"]


def test_float16_is_computed_in_float32_and_rounded():
    rng = np.random.default_rng(0)
    start = rng.standard_normal((300, 200)).astype("float16")
    p = tg.tensor(start.tolist(), dtype="float16", requires_grad=True)
    q = torch.tensor(start.astype("float32"), requires_grad=True)
    a, b = optim.Adam([p], lr=0.01), torch.optim.Adam([q], lr=0.01)
    for _ in range(5):
        g = (rng.standard_normal(start.shape) * 1e-4).astype("float16")  # its square is no float16
        p.grad = tg.tensor(g.tolist(), dtype="float16")
        q.grad = torch.tensor(g.astype("float32"))
        a.step()
        b.step()
        with torch.no_grad():
            q.copy_(q.half().float())
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=2e-3, atol=1e-3)
    assert p.dtype == "float16"
    assert a.state[p]["exp_avg"].dtype == "float32"


def test_a_state_dict_of_pytorchs_goes_on_here():
    ours, theirs, grads = problem("float64", 5)
    b = torch.optim.Adam(theirs, lr=0.02, amsgrad=True)
    for step in grads[:10]:
        give(ours, theirs, step)
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        p.data.copy_(tg.tensor(q.detach().numpy(), device=p.device))
    a = optim.Adam(ours)
    saved = b.state_dict()
    as_arrays = {i: {k: v.numpy() for k, v in kept.items()} for i, kept in saved["state"].items()}
    a.load_state_dict({**saved, "state": as_arrays})
    for step in grads[10:]:
        give(ours, theirs, step)
        a.step()
        b.step()
    assert_close(ours, theirs, 1e-11)
