"""Steps that do more than compute, and what they may return: read once or op by op, all is the same."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.fuse.scan import leaves, scan

pytestmark = pytest.mark.host
CASES = {}  # each makes a step, a state, and a function that returns what is to be compared too


def case(make):
    CASES[make.__name__] = make


h0 = tg.zeros(3, 2)


@case
def list_append_number():
    log = []

    def step(x, h):
        log.append(x.shape[0])
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: log


@case
def counter_object():
    class S:
        n = 0

    s = S()

    def step(x, h):
        s.n += 1
        h = tg.tanh(x + h * s.n)
        return h, h

    return step, h0, lambda: s.n


@case
def counter_unused():
    class S:
        n = 0

    s = S()

    def step(x, h):
        s.n += 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: s.n


@case
def counter_dict():
    d = {"n": 0}

    def step(x, h):
        d["n"] += 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: d


@case
def counter_nonlocal():
    n = 0

    def step(x, h):
        nonlocal n
        n += 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: n


@case
def counter_tensor():
    n = tg.tensor(0.0)

    def step(x, h):
        n.add_(1)
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: n.item()


@case
def counter_tensor_set():
    n = tg.zeros(2)

    def step(x, h):
        n[0] = n[0] + 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: n.tolist()


@case
def counter_numpy():
    n = np.zeros(2)

    def step(x, h):
        n[0] += 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: n.tolist()


@case
def counter_tensor_numpy():
    n = tg.zeros(2)

    def step(x, h):
        n.numpy()[0] += 1
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: n.tolist()


@case
def iterator():
    it = iter([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])

    def step(x, h):
        h = tg.tanh(x + h * next(it))
        return h, h

    return step, h0, lambda: list(it)


@case
def itercount():
    it = itertools.count()

    def step(x, h):
        h = tg.tanh(x + h * next(it))
        return h, h

    return step, h0, lambda: next(it)


@case
def iter_in_object():
    class S:
        pass

    s = S()
    s.it = iter(range(20))

    def step(x, h):
        h = tg.tanh(x + h * next(s.it))
        return h, h

    return step, h0, lambda: next(s.it)


@case
def pyrandom():
    def step(x, h):
        h = tg.tanh(x + h) if random.random() < 0.5 else h
        return h, h

    return step, h0, lambda: random.random()


@case
def nprandom():
    def step(x, h):
        h = tg.tanh(x + h) if np.random.rand() < 0.5 else h
        return h, h

    return step, h0, lambda: np.random.rand()


@case
def nprandom_value():
    def step(x, h):
        h = tg.tanh(x + h * np.random.rand())
        return h, h

    return step, h0, lambda: np.random.rand()


@case
def npgenerator():
    g = np.random.default_rng(0)

    def step(x, h):
        h = tg.tanh(x + h) if g.random() < 0.5 else h
        return h, h

    return step, h0, lambda: g.random()


@case
def tgrand():
    def step(x, h):
        h = tg.tanh(x + h * tg.rand(1))
        return h, h

    return step, h0, lambda: tg.rand(1).item()


@case
def pyRandomInstance():
    g = random.Random(3)

    def step(x, h):
        h = tg.tanh(x + h) if g.random() < 0.5 else h
        return h, h

    return step, h0, lambda: g.random()


@case
def raising():
    log = []

    def step(x, h):
        log.append(1)
        if len(log) % 3 == 0:
            raise KeyError("a")
        h = tg.tanh(x + h)
        return h, h

    return step, h0, lambda: log


@case
def raising_always():
    def step(x, h):
        h = tg.tanh(x + h)
        raise ValueError("user")

    return step, h0, lambda: 0


@case
def inplace_iadd():
    def step(x, h):
        h = h * 1.0
        h += x
        h = tg.tanh(h)
        return h, h

    return step, h0, lambda: 0


@case
def inplace_iadd_state():
    def step(x, h):
        h += x
        return h, h

    return step, h0 * 1.0, lambda: 0


@case
def inplace_add_():
    def step(x, h):
        h = h * 1.0
        h.add_(x)
        h = tg.tanh(h)
        return h, h

    return step, h0, lambda: 0


@case
def inplace_setitem():
    def step(x, h):
        h = h * 1.0
        h[:, 0] = x[:, 1]
        h = tg.tanh(h)
        return h, h

    return step, h0, lambda: 0


@case
def dict_order():
    def step(x, s):
        h = tg.tanh(x + s["h"])
        c = s["c"] * 0.5 + h
        return h, {"c": c, "h": h}

    return step, {"h": h0, "c": h0 + 1}, lambda: 0


@case
def none_output():
    def step(x, h):
        h = tg.tanh(x + h)
        return None, h

    return step, h0, lambda: 0


@case
def empty_output():
    def step(x, h):
        h = tg.tanh(x + h)
        return (), h

    return step, h0, lambda: 0


@case
def number_output():
    def step(x, h):
        h = tg.tanh(x + h)
        return 1.0, h

    return step, h0, lambda: 0


@case
def const_output():
    w = tg.ones(3, 2)

    def step(x, h):
        h = tg.tanh(x + h)
        return w, h

    return step, h0, lambda: 0


@case
def const_output_row():
    w = tg.ones(2)

    def step(x, h):
        h = tg.tanh(x + h)
        return w, h

    return step, h0, lambda: 0


@case
def scalar_output():
    def step(x, h):
        h = tg.tanh(x + h)
        return h.sum(), h

    return step, h0, lambda: 0


@case
def few_states():
    def step(x, s):
        h = tg.tanh(x + s[0])
        return h, (h,)

    return step, (h0, h0), lambda: 0


@case
def many_states():
    def step(x, s):
        h = tg.tanh(x + s[0])
        return h, (h, h, h)

    return step, (h0, h0), lambda: 0


@case
def list_for_tuple():
    def step(x, s):
        h = tg.tanh(x + s[0])
        return h, [h, s[1] * 2]

    return step, (h0, h0 + 1), lambda: 0


@case
def not_a_pair():
    def step(x, s):
        return tg.tanh(x + s)

    return step, h0, lambda: 0


@case
def three():
    def step(x, s):
        return s, s, s

    return step, h0, lambda: 0


@case
def structure_changes():
    def step(x, s):
        h = tg.tanh(x + s)
        return {"a": h, "b": (h, h)}, h

    return step, h0, lambda: 0


@case
def empty_cell():
    def step(x, h):
        if x.shape[0] > 10000:
            later()
        h = tg.tanh(x + h)
        return h, h

    if random.random() > 2:

        def later():
            pass

    return step, h0, lambda: 0


@case
def tensor_index():
    perm = tg.tensor([1, 0])

    def step(x, h):
        h = tg.tanh(x + h[:, perm])
        return h, h

    return step, h0, lambda: 0


@case
def two_outputs_same():
    def step(x, h):
        h = tg.tanh(x + h)
        return (h, h, x, h[:, :1]), h

    return step, h0, lambda: 0


@case
def tuple_state_named():
    def step(x, s):
        h, (c, n) = s
        h = tg.tanh(x + h + c)
        return n, (h, (c * 0.5, n + 1))

    return step, (h0, (h0 + 1, tg.zeros(3, 1, dtype="int64"))), lambda: 0


@case
def bool_state():
    def step(x, s):
        h, done = s
        new = tg.where(done, h, tg.tanh(x + h))
        return new, (new, tg.logical_or(done, x[:, :1] > 0.5))

    return step, (h0, tg.zeros(3, 1, dtype="bool")), lambda: 0


@case
def nested_scan():
    def step(x, h):
        inner, _ = scan(
            lambda a, b: (tg.tanh(a + b), tg.tanh(a + b)), x.t().unsqueeze(-1) * 1.0, tg.zeros(x.shape[0], 1)
        )
        h = tg.tanh(inner.squeeze(-1).t() + h)
        return h, h

    return step, h0, lambda: 0


@case
def nested_layer():
    g = nn.GRU(1, 2)

    def step(x, h):
        o, _ = g(x.t().unsqueeze(-1))

        h = tg.tanh(o[-1] + h)
        return h, h

    return step, h0, lambda: 0


@case
def inner_grad():
    def step(x, h):
        e = tg.tanh(h * x).sum()
        (g,) = tg.grad(e, [h], create_graph=True)
        h = h - 0.1 * g
        return h, h

    return step, tg.randn(3, 2, requires_grad=True), lambda: 0


@case
def inner_grad2():
    def step(x, h):
        hh = h.detach()
        hh.requires_grad = True
        e = tg.tanh(hh * x).sum()
        e.backward()
        h = h - 0.1 * hh.grad
        return h, h

    return step, h0 + 0.1, lambda: 0


@case
def prints():
    def step(x, h):
        text = f"{h}"
        h = tg.tanh(x + h)
        return h * len(text), h

    return step, h0, lambda: 0


@case
def isnan_branch():
    def step(x, h):
        h = tg.tanh(x + h)
        if bool(tg.isnan(h).any()):
            h = h * 0
        return h, h

    return step, h0, lambda: 0


@case
def len_and_iter():
    def step(x, h):
        a = len(x)
        rows = list(x)
        h = tg.tanh(x * a + h + rows[0])
        return h, h

    return step, h0, lambda: 0


@case
def numpy_func():
    def step(x, h):
        h = tg.tensor(np.tanh((x + h).numpy()))
        return h, h

    return step, h0, lambda: 0


@case
def size_in_output():
    def step(x, h):
        h = tg.tanh(x + h) / x.shape[0]
        return h * tg.arange(x.shape[0]).unsqueeze(1), h

    return step, h0, lambda: 0


@case
def hook():
    log = []

    def step(x, h):
        h = tg.tanh(x + h)
        if h.requires_grad:
            h.register_hook(lambda g: log.append(1))
        return h, h

    return step, tg.zeros(3, 2, requires_grad=True), lambda: log


@case
def exception_keeps():
    log = []

    def step(x, h):
        try:
            h = tg.tanh(x + h)
            raise ValueError(h)
        except ValueError as e:
            log.append(e)
        return h, h

    return step, h0, lambda: len(log)


@case
def global_attr_keep():
    class K:
        pass

    k = K()
    k.prev = None

    def step(x, h):
        if k.prev is not None:
            h = h + k.prev
        h = tg.tanh(x + h)
        k.prev = h
        return h, h

    return step, h0, lambda: k.prev.tolist()


draw, normal = random.random, np.random.randn


@case
def drawn_by_a_function_of_pythons():
    def step(x, h):
        h = tg.tanh(x + h) if draw() < 0.5 else h
        return h, h

    return step, h0, lambda: draw()


@case
def drawn_by_a_function_of_numpys():
    def step(x, h):
        h = tg.tanh(x + h) if normal() < 0 else h
        return h, h

    return step, h0, lambda: normal()


@case
def shuffled():
    def step(x, h):
        order = [0, 1]
        random.shuffle(order)
        h = tg.tanh(x + h)[:, order]
        return h, h

    return step, h0, lambda: random.random()


class Chain:
    """A node of a long list, in whose depths a number lies."""

    def __init__(self, n):
        self.next = Chain(n - 1) if n else None
        self.factor = 0.5


class Answering:
    """Answers whatever it is asked, in its own way."""

    __slots__ = ("n",)

    def __getattr__(self, name):
        raise KeyError(name)


@case
def deep_objects():
    chain = Chain(300)

    def step(x, h):
        chain.factor = chain.factor * 0.9
        h = tg.tanh(x + h * chain.factor)
        return h, h

    return step, h0, lambda: chain.factor


@case
def objects_that_answer_in_their_own_way():
    answering = Answering()
    answering.n = 1

    def step(x, h):
        h = tg.tanh(x + h * answering.n)
        return h, h

    return step, h0, lambda: answering.n


def outcome(make, x):
    """What two calls return and leave behind, or the error."""
    tg.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    step, state, probe = make()
    try:
        found = [leaf for _ in range(2) for part in scan(step, x, state) for leaf in leaves(part)]
    except Exception as error:
        return f"{type(error).__name__}: {error}", [], probe()
    return "", [y.numpy().copy() for y in found], probe()


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_same_with_all_that_it_does(name):
    x = tg.randn(4, 3, 2)
    fast = outcome(CASES[name], x)
    with tg.eager():
        slow = outcome(CASES[name], x)
    assert fast[0] == slow[0]
    assert str(fast[2]) == str(slow[2])
    for a, b in zip(fast[1], slow[1], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_an_error_in_the_middle_leaves_everything_as_it_was():
    """Of NumPy's, while the loop runs, forward and back; the next call is right. (C raises nothing.)"""
    tg.native(False)
    w = tg.tensor([[2.0, 0.5], [0.5, 2.0]], requires_grad=True)

    def run(x, h):
        output, final = scan(lambda x, h: (tg.exp(h @ w) * x,) * 2, x, h)
        return output.numpy(), tg.grad(output.sum() + final.sum(), [w, x, h])

    x, h = tg.full((6, 3, 2), 0.1, requires_grad=True), tg.full((3, 2), 0.1, requires_grad=True)
    high = tg.full((6, 3, 2), 90.0, requires_grad=True)
    before = run(x, h)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        run(high, h)
    after = run(x, h)
    np.testing.assert_array_equal(after[0], before[0])
    for a, b in zip(after[1], before[1], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
