"""Who looks on: observers, tracers, hooks, and the graph as one walks it."""

from __future__ import annotations

import warnings

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import deprecation, engine, nn
from tinygrad_rnn.engine import mode


def leaf(*numbers):
    return tg.tensor(list(numbers), requires_grad=True)


# ---------------------------------------------------------------- observers and tracers


def test_observers_are_told_of_every_op_that_is_given_tensors():
    told = []
    tokens = [mode.observe(lambda *what, n=n: told.append((n, *what))) for n in range(2)]
    try:
        x = leaf(1.0, 2.0)
        y = tg.exp(x * 3)
        constant = tg.tensor([1.0]).sum(0, keepdims=True)
        tg.exp(x.array)  # an array
    finally:
        for token in reversed(tokens):
            mode.stop(token)
    x * 2
    assert [(n, op.name) for n, op, *_ in told] == [
        (n, name) for name in ("mul", "exp", "sum") for n in range(2)
    ]
    _, op, call, out, node = told[0]
    assert op is tg.mul.primitive
    assert (call.args[0] is x, call.args[1], call.settings, call.mask) == (True, 3, {}, 1)
    assert out.vertex is node
    assert told[2][3] is y
    assert told[4][3] is constant
    assert told[4][2].settings == {"axes": (0,), "keepdims": True}
    assert told[4][4] is None
    assert mode.current() is mode.USUAL


def test_observers_see_fused_functions_as_one_op():
    told = []
    token = mode.observe(lambda op, call, out, node: told.append((op.name, len(out), node)))
    try:
        fused = tg.pointwise(lambda a, b: (a * b, a + b))
        fused(leaf(1.0), leaf(2.0))
    finally:
        mode.stop(token)
    ((name, n_results, node),) = told
    assert (name, n_results) == ("<lambda>", 2)
    assert node is not None


def test_a_tracer_is_given_calls_before_anything_is_read():
    class Tracer:
        def __init__(self):
            self.calls = []

        def emit(self, op, args, settings):
            self.calls.append((op.name, args, settings))
            return f"r{len(self.calls)}"

    tracer, nothing = Tracer(), object()
    token = mode.trace(tracer)
    try:
        assert tg.tanh(nothing) == "r1"
        assert tg.mul("r1", 2.0) == "r2"
        assert engine.REGISTRY["concat"].call("r1", "r2", axis=0) == "r3"
    finally:
        mode.stop(token)
    assert tracer.calls == [
        ("tanh", (nothing,), {}),
        ("mul", ("r1", 2.0), {}),
        ("concat", ("r1", "r2"), {"axis": 0}),
    ]
    assert tg.tanh(tg.zeros(1)).item() == 0


def test_the_old_name_of_eager_works_with_one_warning(monkeypatch):
    monkeypatch.setattr(deprecation, "mentioned", set())
    with pytest.warns(DeprecationWarning, match=r"unfused\(\) is called eager\(\) now"), tg.unfused():
        assert not mode.current().fused
    with warnings.catch_warnings(), tg.unfused(), tg.eager():
        warnings.simplefilter("error")
        assert not mode.current().fused
    assert mode.current().fused


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_see_and_change_the_complete_gradient(create_graph):
    x = leaf(1.0, 2.0)
    h = x * 3
    a, b = tg.split(h * 1, 1)
    seen = {}
    h.register_hook(lambda g: seen.setdefault("h", g.tolist()) and None)
    h.register_hook(lambda g: g * 10)
    a.register_hook(lambda g: seen.setdefault("a", g.tolist()) and None)
    x.register_hook(lambda g: g + 1)
    h.retain_grad()
    (h.sum() + 2 * a.sum() + b.sum()).backward(create_graph=create_graph)
    assert seen == {"h": [3.0, 2.0], "a": [2.0]}
    assert h.grad.tolist() == [30.0, 20.0]
    assert x.grad.tolist() == [91.0, 61.0]


def test_hooks_run_for_chosen_inputs_and_end():
    x = leaf(1.0, 2.0)
    y = x * x
    handles = [t.register_hook(lambda g: g * 2) for t in (x, y)]
    assert tg.grad(y.sum(), [x, y], retain_graph=True)[0].tolist() == [8.0, 16.0]
    for handle in handles:
        handle.remove()
        handle.remove()  # once more does no harm
    assert tg.grad(y.sum(), x).tolist() == [2.0, 4.0]


def test_a_hook_that_changes_its_gradient_in_place_changes_no_other():
    x, z = leaf(1.0, 2.0), leaf(1.0, 2.0)
    y = x * 1

    def spoil(g):
        g.zero_()

    y.register_hook(spoil)
    (y + z).sum().backward()
    assert (x.grad.tolist(), z.grad.tolist()) == ([1.0, 1.0], [1.0, 1.0])


def test_what_a_hook_may_return():
    x = leaf(1.0, 2.0)
    for wrong in (3.0, tg.ones(3), "g"):
        handle = x.register_hook(lambda g, wrong=wrong: wrong)
        with pytest.raises(
            TypeError, match=r"register_hook: the hook returned .* expected None, or a tensor like"
        ):
            (x * 1).sum().backward()
        handle.remove()
    x.register_hook(lambda g: g.double() * 2)
    (x * 1).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (tg.float32, [2.0, 2.0])
    with pytest.raises(tg.GraphError, match="register_hook: this tensor does not require a gradient"):
        tg.ones(1).register_hook(print)


def test_hooks_on_cells_see_the_gradient_of_each_step():
    x = tg.randn(4, 2, 3)
    cell, norms = nn.RNNCell(3, 3), []
    h = None
    for t in range(4):
        h = cell(x[t], h)
        h.register_hook(lambda g: norms.append(g.norm().item()))
    h.sum().backward()
    assert len(norms) == 4
    assert all(n > 0 for n in norms)


# ---------------------------------------------------------------- the walk


def test_the_graph_can_be_walked():
    w, x = leaf(1.0, 2.0), tg.tensor([3.0, 4.0])
    a, b = tg.split(w * x, 1)
    y = tg.tanh(a)
    f = y.grad_fn
    assert (f.name(), repr(f)) == ("tanh", "<tanh>")
    assert list(f.saved) == ["y"]
    assert "1 - y * y" in f.source
    ((split, k),) = f.next_functions
    assert (split.name(), k) == ("split", 0)
    assert b.grad_fn == split
    assert hash(b.grad_fn) == hash(split)
    ((mul, _),) = split.next_functions
    (first, _), (second, _) = mul.next_functions
    assert (first.name(), second) == ("leaf", None)
    assert first.next_functions == ()
    assert w.grad_fn is None
    assert x.grad_fn is None
    assert set(mul.saved) == {"b"}
    assert mul.saved["b"] is x.array
    y.sum().backward()
    assert mul.saved is None
    assert mul.next_functions == ()


def test_a_walk_passes_fused_functions_and_loops():
    layer = nn.LSTM(2, 3)
    output, _ = layer(tg.randn(5, 1, 2))
    names, stack = set(), [output.grad_fn]
    while stack:
        f = stack.pop()
        if f is not None and f.name() not in names:
            names.add(f.name())
            assert isinstance(f.source, str)
            assert f.saved is None or isinstance(f.saved, dict)
            stack += [g for g, _ in f.next_functions]
    assert {"loop", "leaf"} <= names


# ---------------------------------------------------------------- leaves


def test_gradients_stay_while_a_parameter_is_frozen():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    x.requires_grad_(False)
    assert x.grad.tolist() == [2.0, 4.0]
    assert not (x * 2).requires_grad
    x.requires_grad_(True)
    assert x.grad.tolist() == [2.0, 4.0]
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 8.0]
    x.requires_grad_(False)
    x.grad = None
    x.requires_grad_(True)
    assert x.grad is None
    x.requires_grad_(False)
    x.data = tg.ones(3)
    x.requires_grad_(True)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


# ---------------------------------------------------------------- freeing, and gradients that a rule owns


@pytest.mark.parametrize("backward", [engine.fast.backward, engine.core.backward])
def test_a_backward_that_is_interrupted_is_not_repeated(backward):
    """The node is freed before its rule runs, which may write over what was saved."""
    works = False

    def rule(g, x):
        x *= 0
        if not works:
            raise KeyboardInterrupt
        return g * x

    @tg.primitive(vjp=(rule,))
    def spoils(xp, x):
        return x * 1

    engine.REGISTRY.pop("spoils")
    x = leaf(1.0, 2.0)
    y = spoils(x * 1)
    seed = tg.ones(2).array
    with pytest.raises(KeyboardInterrupt):
        backward([y], [seed])
    works = True
    with pytest.raises(tg.GraphError, match="through spoils a second time"):
        backward([y], [seed])


def test_a_rule_is_told_when_it_owns_its_gradient():
    told = []

    def rule(g, needs, owned):
        told.append(owned)
        return [g if owned else g * 1]

    @tg.primitive(vjp=rule)
    def passes(xp, x):
        return x * 1

    engine.REGISTRY.pop("passes")
    x = leaf(1.0, 2.0)

    def owned(make, **settings):
        told.clear()
        make().sum().backward(**settings)
        x.grad = None
        return told[:]

    chain = lambda: passes(passes(passes(x)))
    assert owned(chain) == [False, True, True]  # the seed is somebody else's
    assert owned(chain, create_graph=True) == [False] * 3
    assert owned(lambda: passes(passes(x) * 1)) == [False, False]  # a rule of another op made it

    def twice():
        y = passes(x)
        return y * 2 + y * 3

    assert owned(twice) == [True]  # the sum is the engine's
    y = passes(x)
    z = passes(y)
    y.register_hook(lambda g: g * 1)
    told.clear()
    z.sum().backward()
    assert told == [False, False]  # a hook has given it


# ---------------------------------------------------------------- traits


def test_traits_stand_on_the_primitive():
    @tg.primitive(vjp=(lambda g, x: 3 * g * x * x,), elementwise=True, c="{0} * {0} * {0}", cheap=True)
    def cube(xp, x):
        return x * x * x

    spec = engine.REGISTRY.pop("cube")
    assert (spec.elementwise, spec.c, spec.cheap) == (True, "{0} * {0} * {0}", True)
    assert (spec.ufunc, spec.product, spec.view, spec.rowwise) == (None, False, engine.Look.never, False)
    assert repr(spec) == "cube(x)  saves x"
    assert repr(tg.tanh.primitive) == "tanh(x)  saves y"
    assert repr(tg.neg.primitive).endswith("saves nothing")
    with pytest.raises(TypeError, match="fast"):
        tg.primitive(vjp=None, fast=True)


def test_vertices_in_words():
    x, w = tg.ones(2, 3, requires_grad=True), tg.ones(3, 4)
    y = tg.tanh(x @ w)
    assert repr(x.vertex) == "leaf: float32 (2, 3)"
    assert repr(y.vertex) == "tanh(matmul): float32 (2, 4)"
    assert repr(y.vertex.parents[0]) == "matmul(leaf, constant): float32 (2, 4)"
    a, b = tg.chunk(y, 2, axis=1)
    assert repr(b.vertex) == "split(tanh)[1]: float32 (2, 2)"
    node = a.vertex.node
    a.sum().backward()
    assert repr(node) == "split (freed)"
