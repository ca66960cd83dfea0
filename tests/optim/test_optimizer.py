"""What every optimiser does: in place, without allocations, groups, resuming, errors."""

import tracemalloc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim

MAKERS = {
    "SGD": lambda ps: optim.SGD(ps, 0.05),
    "momentum": lambda ps: optim.SGD(ps, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "RMSprop": lambda ps: optim.RMSprop(ps, 0.01),
    "RMSprop centred": lambda ps: optim.RMSprop(ps, 0.01, momentum=0.5, centered=True),
    "Adagrad": lambda ps: optim.Adagrad(ps, 0.3),
    "Adam": lambda ps: optim.Adam(ps, 0.05),
    "amsgrad": lambda ps: optim.Adam(ps, 0.05, amsgrad=True, weight_decay=1e-4),
    "AdamW": lambda ps: optim.AdamW(ps, 0.05),
}
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
SEARCHES = pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])


def leaves(dtype=None, shapes=((4, 3), (3,), ())):
    return [tg.randn(*shape, dtype=dtype, requires_grad=True, rng=i) for i, shape in enumerate(shapes)]


def loss_of(ps):
    return sum(((p - 1) ** 2 * (i + 1)).sum() for i, p in enumerate(ps))


def train(optimizer, ps, n):
    for _ in range(n):
        optimizer.zero_grad()
        loss_of(ps).backward()
        optimizer.step()


def bits(ps):
    return [p.detach().numpy().tobytes() for p in ps]


@EVERY
def test_converges(make):
    ps = leaves()
    optimizer = make(ps)
    train(optimizer, ps, 400)
    assert loss_of(ps).item() < 1e-3


@SEARCHES
def test_lbfgs_converges(line_search_fn):
    ps = leaves("float64")
    optimizer = optim.LBFGS(ps, lr=0.3 if line_search_fn is None else 1, line_search_fn=line_search_fn)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(ps)
        loss.backward()
        return loss

    for _ in range(5):
        with tg.no_grad():  # the closure builds its graph all the same
            optimizer.step(closure)
    assert loss_of(ps).item() < 1e-7


@EVERY
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_in_place_and_gradients_unchanged(make, dtype):
    ps = leaves(dtype)
    optimizer = make(ps)
    train(optimizer, ps, 1)
    arrays = [p.array for p in ps]
    grads = [p.grad.array for p in ps]
    before = [g.copy() for g in grads]
    kept = [[v.array for v in optimizer.state[p].values() if isinstance(v, tg.Tensor)] for p in ps]
    values = bits(ps)
    optimizer.step()
    assert all(p.array is a for p, a in zip(ps, arrays, strict=True))
    assert all(p.dtype == dtype for p in ps)
    assert all(p.grad.array is g for p, g in zip(ps, grads, strict=True))
    assert [tg.as_tensor(g).tolist() for g in grads] == [tg.as_tensor(g).tolist() for g in before]
    assert bits(ps) != values
    after = [[v.array for v in optimizer.state[p].values() if isinstance(v, tg.Tensor)] for p in ps]
    assert [[id(a) for a in row] for row in kept] == [[id(a) for a in row] for row in after]


@EVERY
def test_a_step_allocates_nothing_of_a_parameters_size(make):
    p = tg.randn(500, 800, requires_grad=True)
    p.grad = tg.randn(500, 800)
    optimizer = make([p])
    optimizer.step()
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 < p.nbytes


@EVERY
@pytest.mark.parametrize("transposed", ["parameter", "gradient", "both"])
def test_any_memory_layout_gives_the_same_numbers(make, transposed):
    start, grads = tg.randn(300, 200, rng=0), [tg.randn(300, 200, rng=i) for i in range(3)]

    def run(wanted):
        p = start.clone()
        if wanted in ("parameter", "both"):
            p = p.transpose(0, 1).contiguous().transpose(0, 1)
        p.requires_grad = True
        optimizer = make([p])
        for g in grads:
            p.grad = g.transpose(0, 1).contiguous().transpose(0, 1) if wanted in ("gradient", "both") else g
            optimizer.step()
        return p.tolist()

    assert run(transposed) == run("neither")


def save_like_json(value):
    """What a file without pickles can hold: keys are strings, tuples lists, tensors copies."""
    if isinstance(value, tg.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {str(key): save_like_json(v) for key, v in value.items()}
    if isinstance(value, list):
        return [save_like_json(v) for v in value]
    assert value is None or isinstance(value, (bool, int, float, str)), type(value)
    return value


@EVERY
def test_resuming_is_the_same_bit_for_bit(make):
    whole = leaves()
    optimizer = make(whole)
    train(optimizer, whole, 20)
    first = leaves()
    before = make(first)
    train(before, first, 9)
    saved = save_like_json(before.state_dict())
    second = [p.detach().clone().requires_grad_() for p in first]
    after = make(second)
    after.load_state_dict(saved)
    train(before, first, 3)  # shares no memory with what was loaded
    train(after, second, 11)
    assert bits(second) == bits(whole)
    assert after.param_groups[0].keys() == optimizer.param_groups[0].keys()
    assert all(
        type(after.param_groups[0][k]) is type(optimizer.param_groups[0][k]) for k in optimizer.defaults
    )


@SEARCHES
def test_resuming_lbfgs_is_the_same_bit_for_bit(line_search_fn):
    def run(ps, optimizer, n):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(ps) + sum((p**4).sum() for p in ps)
            loss.backward()
            return loss

        for _ in range(n):
            optimizer.step(closure)

    options = {"lr": 0.02, "max_iter": 3, "history_size": 4, "line_search_fn": line_search_fn}
    whole, first = leaves(), leaves()
    run(whole, optim.LBFGS(whole, **options), 6)
    before = optim.LBFGS(first, **options)
    run(first, before, 2)
    second = [p.detach().clone().requires_grad_() for p in first]
    after = optim.LBFGS(second, **options)
    after.load_state_dict(save_like_json(before.state_dict()))
    run(second, after, 4)
    assert bits(second) == bits(whole)


def test_parameters_without_gradient_stay():
    p, q = leaves(shapes=((2,), (3,)))
    optimizer = optim.Adam([p, q])
    p.grad = tg.ones(2)
    before = q.tolist()
    optimizer.step()
    assert q.tolist() == before
    assert not optimizer.state[q]


def test_zero_grad():
    (p,) = leaves(shapes=((2,),))
    optimizer = optim.SGD([p])
    p.grad = tg.ones(2)
    g = p.grad.array
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.array is g
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_step_returns_what_the_closure_gives():
    (p,) = leaves(shapes=((2,),))
    assert optim.SGD([p]).step() is None
    assert optim.SGD([p]).step(lambda: 3.5) == 3.5


def test_options_change_and_numpy_numbers_widen_nothing():
    (p,) = leaves(shapes=((2,),))
    optimizer = optim.Adam([p], lr=np.float64(0.1), betas=(np.float64(0.9), np.float32(0.99)))
    p.grad = tg.ones(2)
    optimizer.step()
    before = p.tolist()
    optimizer.param_groups[0]["lr"] = 0
    optimizer.step()
    assert p.tolist() == before
    assert p.dtype == optimizer.state[p]["exp_avg"].dtype == "float32"


def test_adding_a_group():
    p, q = leaves(shapes=((2,), (3,)))
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.add_param_group({"params": q, "lr": 0.5})
    for x in (p, q):
        x.data.fill_(2)
        x.grad = tg.ones(*x.shape)
    optimizer.step()
    assert (p.tolist(), q.tolist()) == ([1, 1], [1.5] * 3)
    assert "Parameter Group 1\n    dampening: 0\n    lr: 0.5" in repr(optimizer)


def test_backward_through_a_changed_parameter_says_so():
    (p,) = leaves(shapes=((2,),))
    loss = (p * p).sum()
    p.grad = tg.ones(2)
    optim.SGD([p]).step()
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


def test_a_parameter_that_changed_its_type_takes_its_state_along():
    (p,) = leaves(shapes=((2,),))
    optimizer = optim.Adam([p])
    train(optimizer, [p], 2)
    p.data = p.data.double()
    train(optimizer, [p], 1)
    assert optimizer.state[p]["exp_avg"].dtype == "float64"
    p.data = tg.zeros(3)
    with pytest.raises(
        ValueError, match=r"Adam: a parameter's shape has become \(3,\), its exp_avg is \(2,\)"
    ):
        train(optimizer, [p], 1)


def test_frozen_parameters_of_a_module_are_left_alone():
    p, q = tg.nn.Parameter(tg.ones(2)), tg.nn.Parameter(tg.ones(2), requires_grad=False)
    optimizer = optim.SGD([p, q], lr=1.0)
    p.grad = tg.ones(2)
    optimizer.step()
    assert (p.tolist(), q.tolist()) == ([0, 0], [1, 1])
    optim.SGD([q], lr=1.0).step()
    assert q.tolist() == [1, 1]


def test_an_optimiser_of_ones_own():
    class Sign(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @tg.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    p.sub_(p.grad.sign() * group["lr"])

    ps = leaves(shapes=((2,),))
    optimizer = Sign(ps, lr=0.5)
    ps[0].grad = tg.tensor([3.0, -3.0])
    before = ps[0].tolist()
    optimizer.step()
    assert ps[0].tolist() == pytest.approx([before[0] - 0.5, before[1] + 0.5])
    assert optimizer.state_dict()["state"] == {0: {"count": 1}}
    optimizer.load_state_dict(optimizer.state_dict())

    class Nothing(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(NotImplementedError, match="Nothing must define coefficients and update, or step"):
        Nothing(ps).step()


X = pytest.param
ERRORS = [
    X(lambda p: optim.Adam([]), ValueError, "Adam: got an empty parameter list"),
    X(lambda p: optim.SGD(p), TypeError, "SGD: params must be a list .* got a single tensor"),
    X(lambda p: optim.SGD({"params": [p]}), TypeError, "SGD: params must be a list .* got a dict"),
    X(lambda p: optim.SGD({p}), TypeError, "SGD: parameters need an order .* got a set"),
    X(lambda p: optim.SGD([{"params": {p}}]), TypeError, "SGD: parameters need an order .* got a set"),
    X(lambda p: optim.SGD(3), TypeError, "SGD: params must be a list of tensors, got a int"),
    X(lambda p: optim.SGD([3]), TypeError, "SGD: parameter 0 must be a tensor, got a int"),
    X(lambda p: optim.SGD([("w", p)]), TypeError, r"got a tuple; give model.parameters\(\)"),
    X(lambda p: optim.SGD([{"lr": 1}]), TypeError, 'SGD: a parameter group is a dict with "params"'),
    X(
        lambda p: optim.Adagrad([p * 2]),
        ValueError,
        "Adagrad: parameter 0, of shape .* was computed by <mul>",
    ),
    X(
        lambda p: optim.SGD([p, p]),
        ValueError,
        r"SGD: parameter 1 of the group, of shape \(2,\), was given before",
    ),
    X(
        lambda p: optim.SGD([{"params": p}, {"params": p}]),
        ValueError,
        "SGD: parameter 0 .* was given before",
    ),
    X(lambda p: optim.SGD([p], lr=-1), ValueError, "SGD: lr must be at least 0, got -1"),
    X(lambda p: optim.SGD([p], lr=float("nan")), ValueError, "SGD: lr must be at least 0, got nan"),
    X(lambda p: optim.SGD([p], lr="x"), ValueError, "SGD: lr must be at least 0, got x"),
    X(lambda p: optim.SGD([{"params": p, "lr": -2}]), ValueError, "SGD: lr must be at least 0, got -2"),
    X(lambda p: optim.SGD([p], momentum=-1), ValueError, "SGD: momentum must be at least 0, got -1"),
    X(lambda p: optim.SGD([p], nesterov=True), ValueError, "SGD: nesterov needs a momentum above 0"),
    X(lambda p: optim.RMSprop([p], alpha=-1), ValueError, "RMSprop: alpha must be at least 0, got -1"),
    X(lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, "Adagrad: lr_decay must be at least 0"),
    X(lambda p: optim.Adam([p], eps=-1), ValueError, "Adam: eps must be at least 0, got -1"),
    X(
        lambda p: optim.Adam([p], betas=(0.9, 1)),
        ValueError,
        "Adam: betas must be at least 0 and below 1, got",
    ),
    X(lambda p: optim.Adam([p], betas=0.9), ValueError, "Adam: betas must be two numbers, got 0.9"),
    X(
        lambda p: optim.LBFGS([p], history_size=0),
        ValueError,
        "LBFGS: history_size must be at least 1, got 0",
    ),
    X(lambda p: optim.LBFGS([p], line_search_fn="x"), ValueError, "LBFGS: line_search_fn must be None or"),
    X(lambda p: optim.LBFGS([p]).step(), TypeError, "LBFGS: step needs a closure"),
    X(
        lambda p: optim.LBFGS([{"params": p}, {"params": tg.ones(2, requires_grad=True)}]),
        ValueError,
        "LBFGS: takes one parameter group",
    ),
]


@pytest.mark.parametrize(("make", "kind", "sentence"), ERRORS)
def test_errors(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make(tg.ones(2, requires_grad=True))


def changed(saved, **changes):
    return {**saved, **changes}


STATE_ERRORS = [
    X(lambda s: 3, 'expected a dict with "state" and "param_groups"'),
    X(lambda s: {"state": {}}, 'expected a dict with "state" and "param_groups"'),
    X(lambda s: changed(s, param_groups=s["param_groups"] * 2), "1 parameter groups here, 2 in the dict"),
    X(
        lambda s: changed(s, param_groups=[{**s["param_groups"][0], "params": [0, 1]}]),
        "group 0 has 1 parameters here, 2 in the dict",
    ),
    X(
        lambda s: optim.SGD([tg.ones(2, requires_grad=True)]).state_dict(),
        "group 0 lacks 'betas'; is it the state of another optimiser?",
    ),
    X(
        lambda s: changed(s, state={0: {"sum": tg.ones(2)}}),
        "parameter 0 has state 'sum'; is it the state of another optimiser?",
    ),
    X(
        lambda s: changed(s, state={0: {"exp_avg": tg.ones(3)}}),
        r"exp_avg of parameter 0 has shape \(3,\), the parameter \(2,\)",
    ),
    X(lambda s: changed(s, state={7: {}}), "there is state for a parameter 7"),
    X(lambda s: changed(s, param_groups=[{**s["param_groups"][0], "lr": -1}]), "lr must be at least 0"),
]


@pytest.mark.parametrize(("change", "sentence"), STATE_ERRORS)
def test_errors_of_loading_change_nothing(change, sentence):
    p = tg.ones(2, requires_grad=True)
    optimizer = optim.Adam([p], lr=0.5)
    train(optimizer, [p], 1)
    state, groups = dict(optimizer.state[p]), dict(optimizer.param_groups[0])
    with pytest.raises(ValueError, match=f"Adam.*{sentence}"):
        optimizer.load_state_dict(change(optimizer.state_dict()))
    assert all(optimizer.state[p][k] is v for k, v in state.items())
    assert optimizer.param_groups[0] == groups


def test_wrong_vectors_for_lbfgs():
    p = tg.ones(2, requires_grad=True)
    optimizer = optim.LBFGS([p])
    state = optimizer.state_dict()
    state["state"] = {0: {"old_dirs": [tg.ones(3)]}}
    with pytest.raises(ValueError, match="old_dirs should hold 2 numbers, one for each in the parameters"):
        optimizer.load_state_dict(state)
