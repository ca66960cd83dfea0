"""Lesson 2: an engine for gradients, in some sixty lines.

    python examples/learn/02_autograd.py

The engine below differs from tinygrad_rnn/engine/core.py in what it leaves out: broadcasting (lesson 3),
several results, gradients of gradients (lesson 9), and sentences for errors. The ideas are the same ones: an
op is a function with a rule beside it for each argument; calling it leaves a node; going back visits the
nodes from the youngest to the oldest.
"""

import gc
import inspect
import itertools
import signal
import weakref

import numpy as np

import tinygrad_rnn as tg

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

# ---------------------------------------------------------------- the engine

clock = itertools.count()


class Node:
    """One call of an op: where its arguments came from, and what its rules will read. No tensors."""

    def __init__(self, op=None, parents=(), kept=None):
        self.time, self.op, self.parents, self.kept = next(clock), op, parents, kept
        self.grad = None  # of leaves: those without an op


class Tensor:
    """An array and its place in the graph; None: a constant."""

    def __init__(self, array, node=None):
        self.array, self.node = np.asarray(array), node


class Op:
    """A forward on arrays and a rule for each argument: from the gradient g of the result to that of the
    argument. Its other parameters say what it reads: y, the result, or arguments of the forward by name.
    """

    def __init__(self, forward, *rules):
        self.forward, self.rules = forward, rules
        self.names = ["y", *inspect.signature(forward).parameters]
        self.reads = [list(inspect.signature(rule).parameters)[1:] for rule in rules]

    def __call__(self, *args):
        arrays = [a.array if isinstance(a, Tensor) else a for a in args]
        parents = [a.node if isinstance(a, Tensor) else None for a in args]
        y = self.forward(*arrays)
        if not any(parents):
            return Tensor(y)
        values = dict(zip(self.names, [y, *arrays], strict=True))
        needed = {name for reads, p in zip(self.reads, parents, strict=True) if p for name in reads}
        return Tensor(y, Node(self, parents, {name: values[name] for name in needed}))


def backward(loss):
    """Adds the gradient of `loss` to every leaf behind it. Returns how many rules were called."""
    nodes, stack = {loss.node}, [loss.node]
    while stack:  # all nodes behind the loss
        new = {p for p in stack.pop().parents if p} - nodes
        nodes |= new
        stack += new
    grads, calls = {loss.node: np.ones_like(loss.array)}, 0
    for node in sorted(nodes, key=lambda node: -node.time):  # the youngest first
        g = grads.pop(node)
        if node.op is None:
            node.grad = g if node.grad is None else node.grad + g
            continue
        for parent, rule, reads in zip(node.parents, node.op.rules, node.op.reads, strict=True):
            if parent:
                gp = rule(g, *(node.kept[name] for name in reads))
                grads[parent] = grads[parent] + gp if parent in grads else gp
                calls += 1
    return calls


add = Op(lambda a, b: a + b, lambda g: g, lambda g: g)
mul = Op(lambda a, b: a * b, lambda g, b: g * b, lambda g, a: g * a)
tanh = Op(lambda x: np.tanh(x), lambda g, y: g * (1 - y * y))
exp = Op(lambda x: np.exp(x), lambda g, y: g * y)
total = Op(lambda x: x.sum(), lambda g, x: np.full_like(x, g))  # x for its shape alone

# ---------------------------------------------------------------- 1. the same program, twice


def program(add, mul, tanh, exp, total, a, b):
    """Some values are used more than once: their gradients are sums."""
    c = tanh(mul(a, b))
    d = add(mul(c, a), exp(c))
    return total(mul(d, d))


rng = np.random.default_rng(0)
a, b = rng.normal(size=(2, 5))
ours = [Tensor(a, Node()), Tensor(b, Node())]
backward(program(add, mul, tanh, exp, total, *ours))
theirs = [tg.tensor(v, requires_grad=True) for v in (a, b)]
program(tg.add, tg.mul, tg.tanh, tg.exp, tg.sum, *theirs).backward()
for mine, library in zip(ours, theirs, strict=True):
    assert np.allclose(mine.node.grad, library.grad.numpy(), rtol=1e-13, atol=0)
print("1. d loss / d a:", np.round(ours[0].node.grad, 4), "and the library's is the same")

# ---------------------------------------------------------------- 2. why the order matters

# A node may hand its gradient on once everything has arrived there, that is, after all that was computed
# from it. Arguments are older than results, so going by age is such an order: a topological one, for nothing.
# Following each path for itself would be right as well, but there are 2^20 of them here.
y = x = Tensor(np.array(1.0), Node())
for _ in range(20):
    y = add(y, y)
calls = backward(y)
assert x.node.grad == 2**20
assert calls == 2 * 20
print(f"2. {2**20:,} paths lead from the loss to x; {calls} calls of rules were enough")

# ---------------------------------------------------------------- 3. what is kept

# A rule's parameters say what it reads, so nothing else is kept, and what is kept depends on which arguments
# need a gradient. For a net over many time steps that is most of its memory.
w = Tensor(a, Node())
kept = {"tanh": tanh(w), "w * 2": mul(w, 2.0), "w * w": mul(w, w), "w + w": add(w, w)}
kept = {name: sorted(result.node.kept) for name, result in kept.items()}
assert kept == {"tanh": ["y"], "w * 2": ["b"], "w * w": ["a", "b"], "w + w": []}
print("3. Kept for the way back:", kept)

# The library: w * 2 is neither read by the rule of * (the 2 is) nor by that of +, so it is gone at once.
product = tg.tensor(a, requires_grad=True) * 2.0
gone = weakref.ref(product.array)
result = product + 1.0
del product
assert gone() is None

# ---------------------------------------------------------------- 4. why nodes hold no tensors


class Closed:
    """The other way to write an engine: every result carries a function that sends its gradient back."""

    def __init__(self, array):
        self.array, self.grad, self.backward = array, 0.0, lambda: None

    def tanh(self):
        out = Closed(np.tanh(self.array))

        def backward():  # reads out.grad, so it holds `out`, which holds it: a cycle
            self.grad = self.grad + out.grad * (1 - out.array**2)

        out.backward = backward
        return out


def survives(make):
    """Whether a result is still in memory after the last name for it has gone."""
    gc.disable()
    try:
        result = make()
        seen = weakref.ref(result)
        del result
        return seen() is not None
    finally:
        gc.enable()


library = tg.tensor(a, requires_grad=True)
alive = {"closures": survives(lambda: Closed(a).tanh()), "nodes": survives(lambda: tanh(w)),
         "library": survives(library.tanh)}  # fmt: skip
assert alive == {"closures": True, "nodes": False, "library": False}
print("4. Waits for the garbage collector:", alive)

# Exercises
# a) Add `sub` and `log`, and check them against differences as in lesson 1.
# b) Visit the nodes in the order in which the stack finds them. Which programs go wrong, and how?
# c) After backward a node's `kept` is of no more use. Free it there, and see what a second backward says.
