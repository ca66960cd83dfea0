"""Random graphs, grown, differentiated and freed in any order, held against the naive engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import tinygrad_rnn as tg
from tests.support.naive import Tape
from tinygrad_rnn import Tensor
from tinygrad_rnn.fuse.pointwise import pointwise

N = 3
SHAPES = [(), (N,), (1, N), (N, 1), (N, N)]
UNARY = ["neg", "tanh", "sigmoid", "sum", "transpose"]
INDICES = [0, -1, slice(1, None), slice(None, None, 2), [0, 2, 0], (Ellipsis, 0), (Ellipsis, None), None]


@pointwise
def gate(a, b):
    b = tg.sigmoid(a) * b
    return b, tg.tanh(b) * a


@dataclass(eq=False)
class Pair:
    """A tensor and its place on the naive tape."""

    tensor: Tensor
    place: int
    retains: bool = False


class Graphs(RuleBasedStateMachine):
    """Tensors are drawn again and again, so they are reused, form diamonds, and share weights."""

    pairs = Bundle("pairs")

    def __init__(self):
        super().__init__()
        self.tape = Tape()
        self.made: list[Pair] = []
        self.leaves: set[int] = set()  # places that require a gradient
        self.known: dict[int, bool] = {}  # what `needs` found out
        self.siblings: list[set[int]] = []  # places that are results of one node
        self.freed: set[int] = set()  # places of nodes that a backward has gone through without retain_graph
        self.grads: dict[int, np.ndarray] = {}  # what should stand in .grad, by place

    def new(self, tensor, place):
        """Into the bundle, unless the values have grown so large that a comparison says nothing."""
        value = self.tape.values[place]
        if np.abs(value).max(initial=0) > 1e3 or value.ndim > 3:
            return multiple()
        np.testing.assert_allclose(tensor.numpy(), value, rtol=1e-9, atol=1e-9)
        assert tensor.dtype == tg.float64
        assert tensor.requires_grad == self.needs(place)
        pair = Pair(tensor, place)
        self.made.append(pair)
        return pair

    # ------------------------------------------------------------ growing

    @initialize(target=pairs, seed=st.integers(0, 99))
    def start(self, seed):
        return self.leaf((N, N), seed, True)

    @rule(target=pairs, shape=st.sampled_from(SHAPES), seed=st.integers(0, 99), tracked=st.booleans())
    def leaf(self, shape, seed, tracked):
        value = np.random.default_rng(seed).uniform(-1.5, 1.5, shape)
        place = self.tape.constant(value)
        if tracked:
            self.leaves.add(place)
        return self.new(tg.tensor(value, requires_grad=tracked), place)

    @rule(target=pairs, name=st.sampled_from(UNARY), x=pairs)
    def unary(self, name, x):
        return self.new(getattr(tg, name)(x.tensor), self.tape.apply(name, x.place))

    @rule(target=pairs, name=st.sampled_from(["add", "sub", "mul"]), x=pairs, y=pairs)
    def binary(self, name, x, y):
        try:
            np.broadcast_shapes(x.tensor.shape, y.tensor.shape)
        except ValueError:
            with pytest.raises(ValueError, match="do not broadcast"):
                getattr(tg, name)(x.tensor, y.tensor)
            return multiple()
        return self.new(getattr(tg, name)(x.tensor, y.tensor), self.tape.apply(name, x.place, y.place))

    @rule(target=pairs, x=pairs, y=pairs)
    def matmul(self, x, y):
        a, b = x.tensor, y.tensor
        if not 0 < a.ndim < 3 or not 0 < b.ndim < 3 or a.shape[-1] != b.shape[0] or 0 in (*a.shape, *b.shape):
            return multiple()
        return self.new(a @ b, self.tape.apply("matmul", x.place, y.place))

    @rule(target=pairs, x=pairs, index=st.sampled_from(INDICES))
    def getitem(self, x, index):
        try:
            wanted = self.tape.apply("getitem", x.place, index=index)
        except IndexError:
            if isinstance(index, list):  # on a GPU, arrays of indices wrap around in silence
                return multiple()
            with pytest.raises(IndexError):
                x.tensor[index]
            return multiple()
        return self.new(x.tensor[index], wanted)

    @rule(target=pairs, xs=st.lists(pairs, min_size=1, max_size=3))
    def stack(self, xs):
        if len({x.tensor.shape for x in xs}) > 1:
            return multiple()
        return self.new(tg.stack([x.tensor for x in xs]), self.tape.apply("stack", *(x.place for x in xs)))

    @rule(target=pairs, xs=st.lists(pairs, min_size=1, max_size=3), axis=st.integers(0, 1))
    def concat(self, xs, axis):
        rest = {(*x.tensor.shape[:axis], *x.tensor.shape[axis + 1 :]) for x in xs}
        if len(rest) > 1 or len({x.tensor.ndim for x in xs}) > 1 or xs[0].tensor.ndim <= axis:
            return multiple()
        places = [x.place for x in xs]
        return self.new(
            tg.concat([x.tensor for x in xs], axis), self.tape.apply("concat", *places, axis=axis)
        )

    @rule(target=pairs, x=pairs, k=st.integers(1, N))
    def split(self, x, k):
        if not x.tensor.ndim:
            return multiple()
        pieces = tg.split(x.tensor, k, -1)
        at = [(..., slice(i, i + k)) for i in range(0, x.tensor.shape[-1], k)] or [(..., slice(0, 0))]
        places = [self.tape.apply("getitem", x.place, index=index) for index in at]
        self.siblings.append(set(places))
        found = [self.new(piece, place) for piece, place in zip(pieces, places, strict=True)]
        return multiple(*(pair for pair in found if isinstance(pair, Pair)))

    @rule(target=pairs, x=pairs, y=pairs)
    def fused(self, x, y):
        """One node with two results, each a function of the arguments; where there are axes to run over."""
        if x.tensor.shape != y.tensor.shape or not x.tensor.ndim:
            return multiple()
        inner, again = (
            self.tape.apply("mul", self.tape.apply("sigmoid", x.place), y.place) for _ in range(2)
        )
        outer = self.tape.apply("mul", self.tape.apply("tanh", again), x.place)
        self.siblings.append({inner, outer})
        b, a = gate(x.tensor, y.tensor)
        found = self.new(b, inner), self.new(a, outer)
        return multiple(*(pair for pair in found if isinstance(pair, Pair)))

    @rule(target=pairs, x=pairs)
    def detach(self, x):
        return self.new(x.tensor.detach(), self.tape.constant(self.tape.values[x.place]))

    @rule(target=pairs, x=pairs)
    def without_graph(self, x):
        with tg.no_grad():
            return self.new(tg.tanh(x.tensor), self.tape.constant(np.tanh(self.tape.values[x.place])))

    @rule(x=pairs)
    def retain_grad(self, x):
        if x.tensor.requires_grad:
            x.tensor.retain_grad()
            x.retains = True

    # ------------------------------------------------------------ going back

    def tracked(self):
        return [p for p in self.made if p.tensor.requires_grad]

    @rule(x=pairs, seed=st.integers(0, 99), retain=st.booleans())
    def backward(self, x, seed, retain):
        g = np.random.default_rng(seed).uniform(0.5, 1.5, x.tensor.shape)
        if not x.tensor.requires_grad:
            with pytest.raises(tg.GraphError, match="does not require a gradient"):
                x.tensor.backward(tg.tensor(g))
            return
        if self.goes_through_freed(x):
            with pytest.raises(tg.GraphError, match="a second time"):
                x.tensor.backward(tg.tensor(g), retain_graph=True)
            self.forget_gradients()
            return
        x.tensor.backward(tg.tensor(g), retain_graph=retain)
        gradients = self.tape.gradients({x.place: g})
        shown = {p.place for p in self.tracked() if p.tensor.is_leaf or p.retains}
        for i in shown:
            if gradients[i] is not None:
                self.grads[i] = self.grads.get(i, 0) + gradients[i]
        if not retain:
            self.freed |= self.needing(x)
            for results in self.siblings:
                if results & self.freed:
                    self.freed |= results

    @rule(x=pairs, ys=st.lists(pairs, min_size=1, max_size=3))
    def grad(self, x, ys):
        """Of anything with respect to anything, in the middle of the graph too; no .grad changes."""
        ys = [y for y in ys if y.tensor.requires_grad]
        if not ys or not x.tensor.requires_grad or self.goes_through_freed(x):
            return
        seed = tg.ones_like(x.tensor)
        found = tg.grad(x.tensor, [y.tensor for y in ys], seed, retain_graph=True, allow_unused=True)
        gradients = self.tape.gradients({x.place: 1.0})
        for y, g in zip(ys, found, strict=True):
            wanted = gradients[y.place]
            assert (g is None) == (wanted is None)
            if g is not None:
                np.testing.assert_allclose(g.numpy(), wanted, rtol=1e-9, atol=1e-9)

    def needing(self, x):
        """The places behind x, itself included, that are nodes of the graph."""
        return {i for i in self.tape.ancestors(x.place) if self.tape.steps[i] is not None and self.needs(i)}

    def needs(self, i):
        """Whether place i was computed from a leaf that requires a gradient."""
        if i not in self.known:
            step = self.tape.steps[i]
            self.known[i] = i in self.leaves if step is None else any(self.needs(j) for j in step[1])
        return self.known[i]

    def goes_through_freed(self, x):
        return bool(self.needing(x) & self.freed)

    def forget_gradients(self):
        for p in self.made:
            p.tensor.grad = None
        self.grads = {}

    @rule()
    def zero_grad(self):
        self.forget_gradients()

    # ------------------------------------------------------------ holds at any time

    @invariant()
    def gradients_are_the_same(self):
        for p in self.made:
            grad, wanted = p.tensor.grad, self.grads.get(p.place)
            assert (grad is None) == (wanted is None)
            if grad is not None:
                assert grad.shape == p.tensor.shape
                np.testing.assert_allclose(grad.numpy(), wanted, rtol=1e-9, atol=1e-9)

    def teardown(self):
        for p in self.made:  # nothing that came later has changed a value
            np.testing.assert_allclose(p.tensor.numpy(), self.tape.values[p.place], rtol=1e-9, atol=1e-9)


test_graphs = Graphs.TestCase
test_graphs.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
