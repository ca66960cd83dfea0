"""One Python function of elements -> one node in the graph, one straight run over the data.

    @pointwise
    def lstm(gates, c):
        i, f, g, o = chunk(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

An argument may be several values side by side, as `gates` is here; `chunk` takes it apart. The function is
traced, its reverse is derived, and both are lowered: to calls of NumPy, or to a kernel of a GPU each. A call
is one node with several results: those that the function returns and, hidden behind them, the values that the
reverse reads. Because they are results, gradients of gradients may flow into them, at any order.

`with eager():` runs the function as it stands, op by op.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import MODULES
from ..backend.native import native
from ..engine import Node, Output, Value, mode
from ..engine.arguments import Call
from ..engine.errors import out_of_memory

# What reads a function and plans it is imported when that is done: importing the package is quick without.
if TYPE_CHECKING:
    from .ir import Block, Type
    from .plan import Plan
    from .validity import Basis

_FLOAT = np.dtype("float32")
WIDTH = 27720  # elements of an argument that can be taken apart into any number of chunks up to 12


class Pointwise:
    """A pointwise function: called like the plain one, run as one node."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, function.__name__
        parameters = inspect.signature(function).parameters.values()
        if any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
            raise TypeError(f"pointwise: {self.name} may take plain positional arguments only")
        self.arguments = [p.name for p in parameters]
        self.one_result = False
        self._ready: OrderedDict[Any, Any] = OrderedDict()  # by what a call can tell of its arguments
        self._plans: dict[Any, Plan | None] = {}
        self._of_block: OrderedDict[Any, Plan] = OrderedDict()
        self._basis: Basis | None = None  # of the traces that these are made of

    def __repr__(self) -> str:
        return f"pointwise {self.name}({', '.join(self.arguments)})"

    def __call__(self, *args: Any) -> Any:
        now = mode.current()
        if now is not mode.USUAL and (not now.fused or now.debug or now.tracer is not None):
            return self.function(*args)
        if len(args) != len(self.arguments):
            wanted = ", ".join(self.arguments)
            raise TypeError(
                f"{self.name}: expected {len(self.arguments)} arguments ({wanted}), got {len(args)}"
            )
        arrays, parents, shapes = [], [], []
        mask, bit, dtype, kind = 0, 1, None, None
        for a in args:
            if not isinstance(a, Value):
                return self.function(*args)  # plain arrays and numbers: nothing to fuse for
            array = a.array
            if a.vertex is not None:
                mask |= bit
            bit += bit
            parents.append(a.vertex)
            arrays.append(array)
            shapes.append(array.shape)
            if array.dtype is not dtype or type(array) is not kind:
                if kind is not None:
                    return self.function(*args)
                dtype, kind = array.dtype, type(array)
        if not now.grad:
            mask = 0
        xp = MODULES[kind]  # type: ignore[index]
        if self._basis is None or self._basis.mutable is not None or not self._basis.is_unchanged():
            self._start_anew()
        key = (mask, dtype, xp, native.works, *shapes)
        try:
            plan, run = self._ready[key]
        except KeyError:
            plan, run = self._prepared(key, mask, dtype, xp, shapes)
        if plan is None:
            return self.function(*args)
        if now.reads is not None:
            now.reads(arrays)
        try:
            values = run(arrays)
        except MemoryError as reason:
            raise out_of_memory(self.name, arrays, reason) from reason
        new, node = Value.result._of, None
        if plan.differentiable:
            kept = [a if keep else None for a, keep in zip(arrays, plan.kept, strict=True)]
            node = Node(plan, parents, [tuple(values), *kept], outputs=plan.n_results)
            outs = [
                new(v, Output(node, k, v) if needs else None)
                for k, (v, needs) in enumerate(zip(values, plan.depends, strict=False))
            ]
        else:
            outs = [new(v) for v in values]
        if now.observers:
            call = Call(args, {}, xp, arrays, parents, mask, dtype)
            for observer in now.observers:
                observer(plan, call, tuple(outs), node)
        return outs[0] if self.one_result else tuple(outs)

    def _start_anew(self) -> None:
        """Forgets the traces: what the function names outside of it has changed, or can change unseen."""
        from .trace import Untraceable
        from .validity import Basis

        try:
            basis = Basis(None, [self.function])
        except Untraceable as reason:
            raise TypeError(f"pointwise: {self.name} cannot be read: {reason}") from reason
        if basis.others or basis.tensors:
            basis.mutable = basis.mutable or "it reads a tensor or a module"
        basis.forget()
        self._ready, self._plans, self._basis = OrderedDict(), {}, basis

    def _prepared(self, key: Any, mask: int, dtype: Any, xp: Any, shapes: Sequence[Any]) -> Any:
        """The plan for such arguments and what runs it forward; (None, None) where they are worked through op
        by op.
        """
        n_axes = max((len(s) for s in shapes), default=0)
        whole = [len(s) == n_axes for s in shapes]  # the others lack the first axis, as a bias
        sizes = {s[0] for s, w in zip(shapes, whole, strict=True) if w and s}
        fits = n_axes and dtype.kind == "f" and (len(sizes) == 1 or n_axes == 1)
        fits = fits and all(len(s) == n_axes - (not w) and s for s, w in zip(shapes, whole, strict=True))
        found: Any = (None, None)
        if fits:
            plan = self._plan(mask, dtype, xp.language, tuple(shapes), tuple(whole), len(sizes) == 1)
            if plan is not None:
                found = plan, plan.forward(sizes.pop(), xp)
        self._ready[key] = found
        while len(self._ready) > 256:
            self._ready.popitem(last=False)
        return found

    def _plan(
        self, mask: int, dtype: Any, language: str, shapes: Any, whole: Any, one_size: bool
    ) -> Plan | None:
        """The plan for every batch size, or where the function has none for that, for these shapes."""
        from .elements import NotElementwise, OpByOp
        from .ir import N
        from .trace import Untraceable

        if len(self._plans) > 256:
            self._plans = {}
        reason: Exception | None = None
        every = tuple([(N, *s[1:]) if w else s for s, w in zip(shapes, whole, strict=True)])
        for given in ([every] if one_size else []) + [shapes]:
            key = (mask, dtype, language, given, whole)
            if key not in self._plans:
                try:
                    self._plans[key] = self._made(mask, dtype, language, given, whole)
                except NotElementwise as error:
                    raise TypeError(str(error)) from error
                except Untraceable as error:
                    self._plans[key], reason = None, error
            if self._plans[key] is not None:
                return self._plans[key]
        if reason is None or isinstance(reason, OpByOp):
            return None
        self._plans = {}
        raise TypeError(
            f"pointwise: {self.name} cannot be read: {reason}; it may not branch on a value "
            "(where(condition, a, b) chooses by element), and what is not done to single elements belongs "
            "outside of it"
        ) from reason

    def _made(self, mask: int, dtype: Any, language: str, shapes: Any, whole: Any) -> Plan:
        from .elements import OpByOp, fits
        from .ir import Type
        from .plan import Plan

        block = flat = self.read([Type(s, dtype) for s in shapes])
        if not fits(block, whole):
            raise OpByOp
        if language == "cuda" and not all(whole):
            first = shapes[whole.index(True)]
            flat = self.read([Type((*first[: len(first) - len(s)], *s), dtype) for s in shapes])
        key = (mask, language, block.key, flat.key)
        found = self._of_block.get(key)
        if found is None:
            needs = [bool(mask >> i & 1) for i in range(len(shapes))]
            found = self._of_block[key] = Plan(self.name, block, flat, needs, language)
            while len(self._of_block) > 256:
                self._of_block.popitem(last=False)
        return found

    def read(self, types: Sequence[Type], pieces: dict[int, int] | None = None) -> Block:
        """The block of the function for arguments of these types."""
        from .elements import NotElementwise, elements_block

        def function(*args: Any) -> list[Any]:
            returned = self.function(*args)
            self.one_result = not isinstance(returned, tuple)
            results = [returned] if self.one_result else [*returned]
            for result in results:
                if not isinstance(result, Value):
                    raise NotElementwise(
                        f"pointwise: {self.name} returns a {type(result).__name__}, not a computed value"
                    )
            return results

        return elements_block(function, types, pieces)

    @functools.cached_property
    def pieces(self) -> list[int]:
        """Into how many pieces each argument is taken apart."""
        from .ir import N, Type
        from .trace import Untraceable

        found: dict[int, int] = {}
        for _ in self.arguments:  # each time one more is known to be taken apart
            types = [Type((N, WIDTH * found.get(i, 1)), _FLOAT) for i in range(len(self.arguments))]
            try:
                self.read(types, found)
                break
            except Untraceable:
                continue
        return [found.get(i, 1) for i in range(len(self.arguments))]

    def example(self, language: str = "python", dtype: Any = None) -> Plan:
        """The plan for arguments of 32 columns for each chunk, which all need a gradient."""
        from .ir import N, Type
        from .plan import Plan

        types = [Type((N, 32 * n), dtype or _FLOAT) for n in self.pieces]
        block = self.read(types)
        return Plan(self.name, block, block, [True] * len(types), language)

    def explain(self, what: str = "program") -> str:
        """What was made of the function: "program", its operations and those of its reverse; "cuda", the
        kernels for a GPU, for float32 arguments that lie in rows of larger arrays.
        """
        from .plan import explained

        if what == "python":
            raise ValueError("explain: no Python text is made any more; 'program' shows the operations")
        if what not in ("program", "cuda"):
            raise ValueError(f"explain: {what!r} is unknown; there are 'program' and 'cuda'")
        if what == "program":
            return explained(self.example())
        plan = self.example("cuda")
        back = plan.back(tuple(plan.depends), (True,) * len(self.arguments))
        return "\n\n".join(plan.lowered(block).source for block in (plan.forward_block, back.block))

    source = explain


def pointwise(function: Callable[..., Any]) -> Any:
    """Makes one node, and one run over the data, of a function of elements.

    The function takes values of one shape (or without the first axis, as a bias), or several of them side by
    side, which it takes apart by `chunk(x, n, axis=-1)`. It combines them by arithmetic, comparison, `where`
    and the functions of ops/elementwise.py, and returns one value or a tuple. Tensors of unequal shapes or
    types are worked through op by op.
    """
    return Pointwise(function)
