"""What a trace rests on: between two calls one thing is changed, and the second must see it."""

from __future__ import annotations

import functools
import operator
import os
import sys
import types
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.fuse.scan import scan

pytestmark = pytest.mark.host
X = tg.randn(5, 2, 3)
scale = 1.0
numbers = [1.0, 2.0]
table = {"factor": 1.0}
settings = SimpleNamespace(factor=1.0)


class Holder:
    def __init__(self):
        self.factor = 1.0

    def get(self):
        return self.factor

    def times(self, x):
        return x * self.factor

    def __call__(self, x):
        return x * self.factor


holder = Holder()
method = holder.times


def helper():
    return scale


def with_default(x, factor=1.0, *, other=1.0):
    return x * factor * other


def with_attribute(x):
    return x * with_attribute.factor


with_attribute.factor = 1.0


def scaled_by(x, cfg):
    return x * (cfg["factor"] if isinstance(cfg, dict) else cfg) * scale


partial_of_dict = functools.partial(scaled_by, cfg=table)
get_from_table = table.get


def wrap(f):
    @functools.wraps(f)
    def inside(*args):
        return f(*args)

    return inside


@wrap
def wrapped(x):
    return x * scale


class Config(nn.Module):
    factor = 1.0

    @classmethod
    def get(cls):
        return cls.factor


get_factor = operator.attrgetter("factor")
elsewhere = types.ModuleType("elsewhere")
elsewhere.factor, elsewhere.inside = 1.0, types.ModuleType("elsewhere.inside")
elsewhere.inside.factor = 1.0
sys.modules["elsewhere"] = elsewhere


def imported():
    from elsewhere import factor

    return factor


def recursive(n):
    return recursive(n - 1) if n else scale


class Pair(NamedTuple):
    a: object
    b: object
    factor = 1.0

    def total(self):
        return (self.a + self.b) * scale * self.factor


def activation(x):
    return tg.tanh(x)


class Base(nn.Cell):
    """A cell with a line that a test chooses."""

    kept = 1.0

    def amount(self):
        return 1.0

    @property
    def doubled(self):
        return self.factor * 2

    def step(self, px, h):
        return tg.tanh(px + h @ self.w) if self.line is None else self.line(self, px, h)


class Cell(Base):
    pass


def cell_with(line, **more):
    """A cell with the attributes that its line names, and no more: one that has an attribute which may change
    unseen is traced at each call.
    """
    cell = Cell(3, 3)
    cell.w, cell.line = nn.Parameter(tg.randn(3, 3) * 0.5), line
    everything = {
        "v": nn.Parameter(tg.randn(3, 3) * 0.5), "factor": 1.0, "factors": [1.0, [2.0]],
        "named": {"a": 1.0, "t": tg.ones(3)}, "holder": Holder(), "flag": False, "act": tg.tanh,
        "bound": holder.times, "part": functools.partial(scaled_by, cfg=table), "buffer": tg.ones(3),
        "number": tg.tensor(1.0), "linear": nn.Linear(3, 3), "dropout": nn.Identity(),
    }  # fmt: skip
    names = [*line.__code__.co_names] if line else []
    names += ["factor"] if "doubled" in names else []
    vars(cell).update({**{k: v for k, v in everything.items() if k in names}, **more})
    return cell


def setter(name, value):
    return lambda c: setattr(c, name, value(c) if callable(value) and not isinstance(value, type) else value)


def in_globals(name, value):
    return lambda c: globals().__setitem__(name, value)


def set_defaults(c):
    with_default.__defaults__ = (3.0,)


def set_keyword_defaults(c):
    with_default.__kwdefaults__ = {"other": 3.0}


def double(x):
    return x * 2.0 * scale


def tie(c):
    c.v = c.w


def other_code(x, factor=1.0, *, other=1.0):
    return x * factor * other * 4.0


# name: what the step computes, of the cell, px and h; the change
CASES = {
    "float attribute": (lambda c, x, h: x * c.factor + h, setter("factor", 3.0)),
    "sign of zero": (
        lambda c, x, h: (1 / (x * x * c.factor)).clip(-1, 1) + h * 0,
        setter("factor", -0.0),
        {"factor": 0.0},
    ),
    "attribute of another type": (
        lambda c, x, h: x + h + tg.tensor(np.float32(0)) * (c.factor is True),
        setter("flag", True),
    ),
    "property": (lambda c, x, h: x * c.doubled + h, setter("factor", 3.0)),
    "element of a list": (lambda c, x, h: x * c.factors[0] + h, lambda c: c.factors.__setitem__(0, 3.0)),
    "element of a list in a list": (
        lambda c, x, h: x * c.factors[1][0] + h,
        lambda c: c.factors[1].__setitem__(0, 3.0),
    ),
    "element of a dict": (lambda c, x, h: x * c.named["a"] + h, lambda c: c.named.__setitem__("a", 3.0)),
    "tensor in a dict": (
        lambda c, x, h: x * c.named["t"] + h,
        lambda c: c.named.__setitem__("t", tg.full((3,), 3.0)),
    ),
    "attribute of an object": (
        lambda c, x, h: x * c.holder.factor + h,
        lambda c: setattr(c.holder, "factor", 3.0),
    ),
    "replaced parameter": (lambda c, x, h: x + h @ c.w, setter("w", lambda c: nn.Parameter(tg.ones(3, 3)))),
    "values of a parameter": (lambda c, x, h: x + h @ c.w, lambda c: c.w.data.copy_(tg.ones(3, 3))),
    "buffer": (lambda c, x, h: x * c.buffer + h, setter("buffer", lambda c: tg.full((3,), 2.0))),
    "buffer of another shape": (
        lambda c, x, h: x * c.buffer + h,
        setter("buffer", lambda c: tg.full((1, 3), 2.0)),
    ),
    "buffer to None": (lambda c, x, h: x * 2 + h if c.buffer is None else x + h, setter("buffer", None)),
    "weights that part": (
        lambda c, x, h: x @ c.v + h @ c.w,
        setter("v", lambda c: nn.Parameter(tg.ones(3, 3))),
    ),
    "weights that meet": (lambda c, x, h: x @ c.v + h @ c.w, tie),
    "value of a tensor asked for": (
        lambda c, x, h: x * c.number.item() + h,
        lambda c: c.number.data.fill_(3.0),
    ),
    "float of a tensor": (lambda c, x, h: x * float(c.number) + h, lambda c: c.number.data.fill_(3.0)),
    "array of a tensor": (
        lambda c, x, h: x * float(c.buffer.numpy()[0]) + h,
        lambda c: c.buffer.data.fill_(3.0),
    ),
    "list of a tensor": (lambda c, x, h: x * c.buffer.tolist()[1] + h, lambda c: c.buffer.data.fill_(3.0)),
    "branch on a tensor": (
        lambda c, x, h: x * 3 + h if c.number > 2 else x + h,
        lambda c: c.number.data.fill_(3.0),
    ),
    "sum of a tensor": (
        lambda c, x, h: x * float(np.asarray(c.buffer).sum()) + h,
        lambda c: c.buffer.data.fill_(3.0),
    ),
    "raw array of a tensor": (
        lambda c, x, h: x * float(c.buffer.array[0]) + h,
        lambda c: c.buffer.data.fill_(3.0),
    ),
    "training": (lambda c, x, h: x * 3 + h if c.training else x + h, lambda c: c.eval()),
    "training of a part": (
        lambda c, x, h: x * 3 + h if c.linear.training else x + h,
        lambda c: c.linear.eval(),
    ),
    "submodule": (lambda c, x, h: x + c.linear(h), setter("linear", lambda c: nn.Linear(3, 3))),
    "submodule of another kind": (lambda c, x, h: x + c.dropout(h), setter("dropout", lambda c: nn.Tanh())),
    "attribute of a submodule": (
        lambda c, x, h: x + c.linear(h),
        lambda c: setattr(c.linear, "bias", nn.Parameter(tg.ones(3))),
    ),
    "function as attribute": (lambda c, x, h: c.act(x + h), setter("act", lambda c: tg.sigmoid)),
    "global of a function as attribute": (
        lambda c, x, h: c.act(x + h),
        in_globals("scale", 3.0),
        {"act": double},
    ),
    "bound method as attribute": (lambda c, x, h: c.bound(x) + h, lambda c: setattr(holder, "factor", 3.0)),
    "partial as attribute": (lambda c, x, h: c.part(x) + h, lambda c: table.__setitem__("factor", 3.0)),
    "global of a partial": (lambda c, x, h: c.part(x) + h, in_globals("scale", 3.0)),
    "class attribute": (lambda c, x, h: x * c.kept + h, lambda c: setattr(Base, "kept", 3.0)),
    "class attribute that is new": (lambda c, x, h: x * c.kept + h, lambda c: setattr(Cell, "kept", 3.0)),
    "method": (lambda c, x, h: x * c.amount() + h, lambda c: setattr(Base, "amount", lambda self: 3.0)),
    "method that is new": (
        lambda c, x, h: x * c.amount() + h,
        lambda c: setattr(Cell, "amount", lambda self: 3.0),
    ),
    "method of the instance": (lambda c, x, h: x * c.amount() + h, setter("amount", lambda c: lambda: 3.0)),
    "step": (None, lambda c: setattr(Base, "step", lambda self, px, h: tg.sigmoid(px + h))),
    "step of the instance": (
        None,
        lambda c: c.__dict__.__setitem__("step", lambda px, h: tg.sigmoid(px + h)),
    ),
    "output that is new": (None, lambda c: setattr(Cell, "output", lambda self, h: h * 2)),
    "class": (lambda c, x, h: x * c.amount() + h, lambda c: setattr(c, "__class__", Other)),
    "global": (lambda c, x, h: x * scale + h, in_globals("scale", 3.0)),
    "global of a helper": (lambda c, x, h: x * helper() + h, in_globals("scale", 3.0)),
    "global of a decorated helper": (lambda c, x, h: wrapped(x) + h, in_globals("scale", 3.0)),
    "helper": (lambda c, x, h: x * helper() + h, in_globals("helper", lambda: 3.0)),
    "element of a global list": (lambda c, x, h: x * numbers[0] + h, lambda c: numbers.__setitem__(0, 3.0)),
    "element of a global dict": (
        lambda c, x, h: x * table["factor"] + h,
        lambda c: table.__setitem__("factor", 3.0),
    ),
    "attribute of a global": (
        lambda c, x, h: x * settings.factor + h,
        lambda c: setattr(settings, "factor", 3.0),
    ),
    "object behind a global method": (
        lambda c, x, h: method(x) + h,
        lambda c: setattr(holder, "factor", 3.0),
    ),
    "object that is called": (lambda c, x, h: holder(x) + h, lambda c: setattr(holder, "factor", 3.0)),
    "method of a dict": (
        lambda c, x, h: x * get_from_table("factor") + h,
        lambda c: table.__setitem__("factor", 3.0),
    ),
    "dict of a global partial": (
        lambda c, x, h: partial_of_dict(x) + h,
        lambda c: table.__setitem__("factor", 3.0),
    ),
    "default": (lambda c, x, h: with_default(x) + h, set_defaults),
    "keyword default": (lambda c, x, h: with_default(x) + h, set_keyword_defaults),
    "code": (
        lambda c, x, h: with_default(x) + h,
        lambda c: setattr(with_default, "__code__", other_code.__code__),
    ),
    "attribute of a function": (
        lambda c, x, h: with_attribute(x) + h,
        lambda c: setattr(with_attribute, "factor", 3.0),
    ),
    "class that is no part": (
        lambda c, x, h: x * Config.factor + h,
        lambda c: setattr(Config, "factor", 3.0),
    ),
    "class method": (lambda c, x, h: x * Config.get() + h, lambda c: setattr(Config, "factor", 3.0)),
    "attribute by its name": (
        lambda c, x, h: x * getattr(Config, "factor") + h,  # noqa: B009
        lambda c: setattr(Config, "factor", 3.0),
    ),
    "attribute by a getter": (
        lambda c, x, h: x * get_factor(Config) + h,
        lambda c: setattr(Config, "factor", 3.0),
    ),
    "module": (lambda c, x, h: x * elsewhere.factor + h, lambda c: setattr(elsewhere, "factor", 3.0)),
    "module in a module": (
        lambda c, x, h: x * elsewhere.inside.factor + h,
        lambda c: setattr(elsewhere.inside, "factor", 3.0),
    ),
    "module's attribute by its name": (
        lambda c, x, h: x * getattr(elsewhere, "factor") + h,  # noqa: B009
        lambda c: setattr(elsewhere, "factor", 3.0),
    ),
    "imported by the step": (lambda c, x, h: x * imported() + h, lambda c: setattr(elsewhere, "factor", 3.0)),
    "recursion": (lambda c, x, h: x * recursive(3) + h, in_globals("scale", 3.0)),
    "globals by name": (lambda c, x, h: x * globals()["scale"] + h, in_globals("scale", 3.0)),
    "nested function": (lambda c, x, h: (lambda y: y * scale)(x) + h, in_globals("scale", 3.0)),
    "comprehension": (lambda c, x, h: sum([x * scale for _ in range(2)]) + h, in_globals("scale", 3.0)),
    "environment": (
        lambda c, x, h: x * float(os.environ.get("FACTOR_OF_A_TEST", "1.0")) + h,
        lambda c: os.environ.__setitem__("FACTOR_OF_A_TEST", "3.0"),
    ),
    "class of a named tuple": (lambda c, x, h: Pair(x, h).total(), lambda c: setattr(Pair, "factor", 3.0)),
    "global of a named tuple": (lambda c, x, h: Pair(x, h).total(), in_globals("scale", 3.0)),
    "a builtin's name": (lambda c, x, h: x * abs(-1.0) + h, in_globals("abs", lambda x: 3.0)),
    "default dtype": (
        lambda c, x, h: x + h + tg.ones(3).sum().item() + (tg.ones(1).dtype == np.float64),
        lambda c: tg.set_default_dtype("float64"),
    ),
    "a module's function": (
        lambda c, x, h: x * 1.0 + nn.functional.relu(h),
        lambda c: setattr(nn.functional, "relu", lambda x: x * 3.0),
    ),
    "forward of a class of ours": (
        lambda c, x, h: x + c.linear(h),
        lambda c: setattr(nn.Linear, "forward", lambda self, x: x * 3.0),
    ),
}


class Other(Base):
    def amount(self):
        return 3.0


@pytest.fixture
def as_before(monkeypatch):
    """All that the changes change is put back."""
    here = globals()
    for name in ("scale", "helper"):
        monkeypatch.setitem(here, name, here[name])
    monkeypatch.setitem(here, "abs", None)
    monkeypatch.delitem(here, "abs")
    monkeypatch.setattr(holder, "factor", 1.0)
    monkeypatch.setattr(settings, "factor", 1.0)
    monkeypatch.setitem(table, "factor", 1.0)
    monkeypatch.setattr(with_attribute, "factor", 1.0)
    monkeypatch.setattr(nn.functional, "relu", nn.functional.relu)
    classes = (Base, Cell, Config, nn.Linear)
    before = [dict(vars(cls)) for cls in classes]
    defaults = with_default.__defaults__, dict(with_default.__kwdefaults__), with_default.__code__
    yield
    elsewhere.factor = elsewhere.inside.factor = 1.0
    os.environ.pop("FACTOR_OF_A_TEST", None)
    numbers[:] = [1.0, 2.0]
    Pair.factor = 1.0
    here.pop("abs", None)
    with_default.__defaults__, with_default.__kwdefaults__, with_default.__code__ = defaults
    for cls, was in zip(classes, before, strict=True):
        for name in [*vars(cls)]:
            if name not in was:
                delattr(cls, name)
            elif vars(cls)[name] is not was[name]:
                setattr(cls, name, was[name])


def by_layer(cell):
    return nn.Recurrent(cell)(X)[0]


def by_scan(cell):
    def step(x, h):
        new = cell.step(cell.project(x), h)
        return cell.output(new), new

    return scan(step, X, tg.zeros(2, 3))[0]


def values(run, cell):
    found = run(cell).numpy().copy()
    with tg.eager():
        right = run(cell).numpy()
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    return found


@pytest.mark.parametrize("run", [by_layer, by_scan])
@pytest.mark.parametrize("name", CASES)
def test_a_change_is_seen(name, run, as_before):
    line, change, *more = CASES[name]
    cell = cell_with(line, **(more[0] if more else {}))
    if name == "weights that part":
        cell.v = cell.w
    with np.errstate(all="ignore"):
        values(run, cell)
        before = values(run, cell)
        change(cell)
        after = values(run, cell)
    if name not in ("attribute of another type", "default dtype"):
        assert np.abs(after - before).max() > 1e-3


# ---------------------------------------------------------------- pointwise functions

flag = False


def changed_closure(value, make):
    """A function with a closure variable, and what changes that."""
    inside = value

    def change(monkeypatch):
        nonlocal inside
        inside = make(inside)

    return (lambda a, b: tg.tanh(a * inside if isinstance(inside, float) else inside(a)) + b), change


def closure_of_a_list():
    inside = [1.0]
    return (lambda a, b: tg.tanh(a * inside[0]) + b), lambda monkeypatch: inside.__setitem__(
        0, inside[0] + 2.0
    )


def patched(name, value):
    return lambda monkeypatch: monkeypatch.setitem(globals(), name, value)


number_of_numpy, array_of_numpy, number_of_ours = np.float32(1.0), np.array(1.0), tg.tensor(1.0)
POINTWISE = {
    "global": (lambda a, b: tg.tanh(a * scale) + b, patched("scale", 3.0)),
    "branch": (lambda a, b: tg.tanh(a * 3) + b if flag else a * b, patched("flag", True)),
    "number of results": (lambda a, b: (tg.tanh(a), b * 1) if flag else a * b, patched("flag", True)),
    "global of a helper": (lambda a, b: tg.tanh(a * helper()) + b, patched("scale", 3.0)),
    "helper": (lambda a, b: tg.tanh(a * helper()) + b, patched("helper", lambda: 3.0)),
    "default": (lambda a, b: with_default(a) + b, lambda _: set_defaults(None)),
    "element of a list": (lambda a, b: a * numbers[0] + b, lambda _: numbers.__setitem__(0, 3.0)),
    "element of a dict": (lambda a, b: a * table["factor"] + b, lambda m: m.setitem(table, "factor", 3.0)),
    "attribute": (lambda a, b: a * settings.factor + b, lambda m: m.setattr(settings, "factor", 3.0)),
    "class": (lambda a, b: a * Config.factor + b, lambda m: m.setattr(Config, "factor", 3.0)),
    "function": (lambda a, b: activation(a) + b, patched("activation", tg.sigmoid)),
    "a number that was none": (lambda a, b: a * flag + b if flag else a - b, patched("flag", 2.0)),
    "a number of NumPy's": (lambda a, b: a * number_of_numpy + b, patched("number_of_numpy", np.float32(3))),
    "an array": (lambda a, b: a * float(array_of_numpy) + b, lambda _: array_of_numpy.__setitem__((), 3.0)),
    "value of a tensor": (
        lambda a, b: a * number_of_ours.item() + b,
        lambda _: number_of_ours.data.fill_(3.0),
    ),
    "our own function": (lambda a, b: tg.tanh(a) + b, lambda m: m.setattr(tg, "tanh", tg.sigmoid)),
    "closure": changed_closure(1.0, lambda now: now + 2.0),
    "function in a closure": changed_closure(tg.tanh, lambda now: tg.sigmoid if now is tg.tanh else tg.tanh),
    "list in a closure": closure_of_a_list(),
}


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("name", POINTWISE)
def test_a_change_is_seen_by_a_pointwise_function(name, needs, as_before, monkeypatch):
    function, change = POINTWISE[name]
    number_of_ours.data.fill_(1.0)
    array_of_numpy[()] = 1.0
    a, b = tg.randn(4, 3, requires_grad=needs), tg.randn(4, 3)
    fast = tg.pointwise(function)

    def results():
        found = []
        for _ in range(2):
            returned = fast(a, b)
            several = returned if isinstance(returned, tuple) else (returned,)
            found += [y.numpy() for y in several]
            if needs:
                found += [g.numpy() for g in tg.grad(sum(several).sum(), [a])]
        return found

    for _ in range(2):
        found = results()
        with tg.eager():
            right = results()
        for x, y in zip(found, right, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
        change(monkeypatch)


# ---------------------------------------------------------------- what needs a gradient, types, modes


class Stopped(nn.Cell):
    """No gradient goes through some of what it computes; which parameters need one is asked for."""

    def __init__(self):
        super().__init__(3, 3)
        self.w, self.v = nn.Parameter(tg.randn(3, 3)), nn.Parameter(tg.randn(3, 3))

    def step(self, px, h):
        with tg.no_grad():
            a = px @ self.v + h @ self.w
        kept = h @ self.w.detach() + h.detach() @ self.v
        return tg.tanh(px + a + kept * (2.0 if self.v.requires_grad else 1.0) + h @ self.w)


def needs(name, wanted):
    return lambda cell: setattr(getattr(cell, name), "requires_grad", wanted)


def test_what_needs_a_gradient_type_and_mode_may_change():
    cell = Stopped()
    layer = nn.Recurrent(cell)
    x = tg.randn(5, 2, 3)

    def results(x, is_graded):
        with tg.set_grad_enabled(is_graded):
            output = layer(x, lengths=[5, 3])[0]
            named = [p for p in (*layer.parameters(), x) if p.requires_grad]
            found = tg.grad((output * output).sum(), named) if output.requires_grad else ()
            return [y.numpy() for y in (output, *found)]

    for change in (
        lambda cell: None, needs("v", False), needs("w", False), needs("v", True), needs("w", True),
        lambda cell: layer.double(), lambda cell: layer.half(), lambda cell: layer.float(),
    ):  # fmt: skip
        change(cell)
        for wanted in (False, True):
            given = x.to(cell.w.dtype).detach()
            given.requires_grad = wanted
            for is_graded in (True, False, True):
                fast = results(given, is_graded)
                with tg.eager():
                    slow = results(given, is_graded)
                assert len(fast) == len(slow)
                for a, b in zip(fast, slow, strict=True):
                    assert a.dtype == b.dtype
                    close = 1e-2 if a.dtype == np.float16 else 1e-4
                    np.testing.assert_allclose(a, b, rtol=close, atol=close)


def test_another_library_is_seen():
    layer, x = nn.LSTM(3, 4), tg.randn(5, 2, 3)
    before = layer(x)[0].numpy().copy()
    tg.use("strict")
    try:
        there = layer.to("strict")(tg.tensor(x.numpy()))[0]
        np.testing.assert_allclose(there.numpy(), before, rtol=1e-5, atol=1e-6)
    finally:
        tg.use("numpy")
    np.testing.assert_array_equal(layer.to("cpu")(x)[0].numpy(), before)
