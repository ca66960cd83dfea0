"""float16 training: master weights, scaled losses, and steps that change nothing."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import needs_compiler
from tests.extras import extra
from tests.support import strict
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import amp


def leaf(values, kind="float16"):
    return tg.tensor(values, dtype=kind, requires_grad=True)


def with_gradient(p, values):
    p.grad = tg.tensor(values, dtype=p.dtype)
    return p


OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=1e-4, momentum=0.5),
    "Adam": lambda p: optim.Adam(p, lr=1e-4, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-4, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1e-4),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_master_weights_add_up_small_steps(name):
    """What float16 would round away, 50 times over, is there: as if all had been float32."""
    half, wide, alone = leaf([1.0, -2.0]), leaf([1.0, -2.0], "float32"), leaf([1.0, -2.0])
    steps = [
        amp.master_weights(OPTIMISERS[name]([half])),
        OPTIMISERS[name]([wide]),
        OPTIMISERS[name]([alone]),
    ]
    for _ in range(50):
        for p, optimiser in zip((half, wide, alone), steps, strict=True):
            with_gradient(p, [0.5, -0.25])
            optimiser.step()
    master = steps[0].state[half]["master"]
    np.testing.assert_array_equal(master.numpy(), wide.numpy())
    np.testing.assert_array_equal(half.numpy(), wide.numpy().astype("float16"))
    assert np.abs(alone.numpy() - wide.numpy()).max() > np.abs(half.numpy() - wide.numpy()).max()


def test_master_weights_are_saved_and_loaded():
    def make(values):
        p = leaf(values)
        return p, amp.master_weights(optim.Adam([p], lr=1e-4))

    p, optimiser = make([1.0, 2.0])
    with_gradient(p, [1.0, 1.0])
    optimiser.step()
    saved = optimiser.state_dict()
    assert saved["state"][0]["master"].dtype == np.float32
    q, other = make(p.numpy())
    other.load_state_dict(saved)
    for x, o in ((p, optimiser), (q, other)):
        with_gradient(x, [1.0, 1.0])
        o.step()
    np.testing.assert_array_equal(p.numpy(), q.numpy())
    np.testing.assert_array_equal(optimiser.state[p]["master"].numpy(), other.state[q]["master"].numpy())


def test_float32_parameters_need_no_copy():
    p = with_gradient(leaf([1.0], "float32"), [1.0])
    optimiser = amp.master_weights(optim.SGD([p], lr=0.5))
    optimiser.step()
    assert p.tolist() == [0.5]
    assert "master" not in optimiser.state[p]


def train(kind, n=40):
    """A small LSTM that learns to tell the sign of a sum; the losses."""
    tg.manual_seed(0)
    layer, head = nn.LSTM(2, 8), nn.Linear(8, 2)
    parameters = [*layer.parameters(), *head.parameters()]
    optimiser, scaler = optim.Adam(parameters, lr=0.02), amp.GradScaler(enabled=kind == "float16")
    if kind == "float16":
        layer.half(), head.half()
        amp.master_weights(optimiser)
    losses = []
    for _ in range(n):
        x = tg.randn(6, 16, 2)
        y = (x[..., 0].sum(0) > 0).long()
        with strict.no_waits():
            optimiser.zero_grad()
            output, _ = layer(x.to(kind))
            loss = nn.functional.cross_entropy(head(output[-1]).float(), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            scaler.step(optimiser)
            scaler.update()
        losses.append(loss.item())
    return losses, scaler


def test_it_learns_as_float32_does():
    half, scaler = train("float16")
    wide, _ = train("float32")
    assert np.mean(half[-8:]) < 0.6 * half[0]
    np.testing.assert_allclose(half, wide, atol=0.05)
    assert scaler.get_scale() == 65536.0


@needs_compiler
@pytest.mark.host
def test_with_the_kernels_of_a_gpu():
    expected, _ = train("float16", 6)
    with strict.kernels() as xp:
        found, _ = train("float16", 6)
        assert xp.launched["adam_update"] == 6
        assert xp.launched["group"] >= 2 * 6 * 6
    np.testing.assert_allclose(found, expected, atol=2e-3)


@needs_compiler
@pytest.mark.host
@pytest.mark.parametrize("unscale", [False, True])
def test_void_steps_in_kernels_and_graphs(unscale):
    def run(graph):
        p = leaf([1.0, 2.0])
        optimiser, scaler = amp.master_weights(optim.Adam([p], lr=0.1)), amp.GradScaler(init_scale=4.0)

        def step(x):
            optimiser.zero_grad()
            scaler.scale((p * x).float().sum()).backward()
            if unscale:
                scaler.unscale_(optimiser)
            scaler.step(optimiser)
            scaler.update()
            return p * 1

        step = tg.cuda.graphed(step) if graph else step
        found = [
            step(tg.tensor([1.0, x], dtype="float16")).tolist() for x in (1, 1, math.inf, 1, math.nan, 1)
        ]
        return found, scaler.get_scale()

    here = run(False)
    assert here[0][1] == here[0][2]
    assert here[0][3] == here[0][4]
    assert here[0][0] != here[0][1] != here[0][3] != here[0][5]
    assert here[1] == 1.0
    with strict.kernels():
        assert run(False) == run(True) == here
    with tg.use("strict"):
        assert run(False) == run(True) == here


# ---------------------------------------------------------------- the factor


@pytest.mark.extras("torch")
def test_the_factor_goes_as_pytorchs():
    torch = extra("torch")
    settings = {"init_scale": 8.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 2}
    ours, theirs = amp.GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    p, q = leaf([1.0, 2.0], "float32"), torch.tensor([1.0, 2.0], requires_grad=True)
    one, other = optim.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for k, x in enumerate([1.0, 2.0, 3.0, math.inf, 1.0, 1.0, math.nan, math.nan, 1.0, 1.0, 1.0]):
        p.grad = q.grad = None
        ours.scale((p * x).sum()).backward()
        theirs.scale((q * x).sum()).backward()
        if k % 2:
            ours.unscale_(one)
            theirs.unscale_(other)
            np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
        ours.step(one), theirs.step(other)
        ours.update(), theirs.update()
        assert ours.get_scale() == theirs.get_scale()
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6)
    assert ours.state_dict() == theirs.state_dict()


def test_gradients_that_vanish_in_float16_arrive():
    p = leaf([1.0])
    optimiser, scaler = amp.master_weights(optim.SGD([p], lr=1.0)), amp.GradScaler()
    scaler.scale((p.float() * 1e-8).sum()).backward()
    scaler.unscale_(optimiser)
    assert p.grad.dtype == np.float32
    np.testing.assert_allclose(p.grad.item(), 1e-8, rtol=1e-3)
    scaler.step(optimiser)
    np.testing.assert_allclose(1 - optimiser.state[p]["master"].numpy().astype("float64"), [0.0], atol=1e-7)


def test_two_optimisers_share_a_factor():
    p, q = leaf([1.0], "float32"), leaf([1.0], "float32")
    first, second = optim.SGD([p], lr=0.5), optim.SGD([q], lr=0.5)
    scaler = amp.GradScaler(init_scale=2.0)
    scaler.scale((p + q * math.inf).sum()).backward()
    scaler.step(first), scaler.step(second)
    scaler.update()
    assert (p.tolist(), q.tolist(), scaler.get_scale()) == ([0.5], [1.0], 1.0)


def test_saving_going_on_and_settings():
    scaler = amp.GradScaler(init_scale=4.0, growth_interval=3)
    p = leaf([1.0], "float32")
    optimiser = optim.SGD([p], lr=0.0)
    scaler.scale([p.sum(), p.sum()])[0].backward()
    scaler.step(optimiser), scaler.update()
    other = amp.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert scaler.state_dict()["_growth_tracker"] == 1
    scaler.load_state_dict({**scaler.state_dict(), "scale": 16.0})
    assert scaler.get_scale() == 16.0
    scaler.update(32.0)
    assert scaler.get_scale() == 32.0
    with pytest.raises(ValueError, match="'scale' is missing"):
        scaler.load_state_dict({k: v for k, v in scaler.state_dict().items() if k != "scale"})
    off = amp.GradScaler(enabled=False)
    x = tg.ones(1)
    assert off.scale(x) is x
    off.unscale_(optimiser), off.update(), off.load_state_dict({})
    p.grad = tg.ones(1)
    assert off.step(optimiser, lambda: 3.0) == 3.0
    assert (off.state_dict(), off.get_scale(), off.is_enabled()) == ({}, 1.0, False)


def test_errors():
    p = with_gradient(leaf([1.0], "float32"), [1.0])
    scaler, optimiser = amp.GradScaler(), optim.SGD([p], lr=0.1)
    with pytest.raises(ValueError, match="expected init_scale > 0"):
        amp.GradScaler(growth_factor=1.0)
    with pytest.raises(TypeError, match=r"scale: expected a tensor, got a float"):
        scaler.scale(1.0)
    with pytest.raises(RuntimeError, match="no scaled gradients"):
        scaler.step(optimiser)
    with pytest.raises(RuntimeError, match="no step was made"):
        scaler.update()
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimiser)
    with pytest.raises(RuntimeError, match="a second time"):
        scaler.unscale_(optimiser)
    with pytest.raises(TypeError, match="give none"):
        scaler.step(optimiser, lambda: 0)
    for call in (amp.master_weights, amp.GradScaler().step):
        with pytest.raises(TypeError, match="got LBFGS, which makes its steps itself"):
            call(optim.LBFGS([p]))


def test_sums_of_float16_are_made_in_float32():
    x = tg.full((3, 4000), 300.0, dtype="float16", requires_grad=True)
    assert x.mean(1).tolist() == [300.0] * 3
    ones = tg.ones(3, 4000, dtype="float16")
    assert (ones.T * 1.001).sum(0).dtype == np.float16
    np.testing.assert_allclose((ones.T * 1.001).sum(0).tolist(), 4000 * 1.00097656, rtol=1e-3)
    x.mean().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / 12000, rtol=1e-3)
    table = tg.zeros(2, 1, dtype="float16", requires_grad=True)  # 4096 + 1 is 4096 in float16
    (nn.functional.embedding(tg.zeros(5000, dtype="int64"), table) * 1.0).sum().backward()
    assert table.grad.tolist() == [[5000.0], [0.0]]


def test_a_failed_capture_changes_nothing():
    """A step that looks at its loss half way is run again, eagerly, from the start."""

    def trained(graph):
        p = nn.Parameter(tg.ones(3, dtype="float16"))
        optimiser, scaler = amp.master_weights(optim.Adam([p], lr=0.1)), amp.GradScaler()

        def step(x):
            optimiser.zero_grad()
            loss = (p * x).float().sum()
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            loss.item()
            scaler.step(optimiser)
            scaler.update()

        run = tg.cuda.graphed(step) if graph else step
        for _ in range(4):
            run(tg.ones(3, dtype="float16"))
        return p.tolist(), scaler.state_dict(), optimiser.state[p]["step"]

    with tg.use("strict"):
        expected = trained(False)
        with pytest.warns(UserWarning, match="makes the host wait"):
            assert trained(True) == expected
