"""`torch.autograd`: gradients as functions, functions with a backward of their own, and Variable, which has
been a Tensor since PyTorch 0.4.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import differentiation, engine
from ..backend import array_module
from ..backend.naming import came
from ..engine import Node, Output, enable_grad, no_grad, versions
from ..engine.errors import WrongKind, callers_level
from ..engine.mode import debug, is_grad_enabled, set_grad_enabled
from ..tensor import Tensor

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck",
    "inference_mode", "is_grad_enabled", "no_grad", "profiler", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip

inference_mode = no_grad


# ---------------------------------------------------------------- Variable


class _OfTensors(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, Tensor)

    def __call__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Tensor:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable: expected a tensor, got {came(data)}")
        if volatile:
            warnings.warn(
                "Variable: volatile has no effect; `with torch.no_grad():` has taken its place",
                UserWarning,
                stacklevel=callers_level(),
            )
        made: Tensor = Tensor._of(data.array)
        made.requires_grad = requires_grad
        return made


class Variable(metaclass=_OfTensors):
    """The same data as a tensor of its own, outside the graph: `Variable(x, requires_grad=True)`. Every
    tensor is an instance."""


# ---------------------------------------------------------------- gradients


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs`, times `grad_outputs`, with respect to `inputs`: always a tuple, and no
    `.grad` changes.

    `materialize_grads` gives zeros where an output does not depend on an input, `allow_unused` None. Raises
    GraphError for such an input otherwise.
    """
    if is_grads_batched:
        raise NotImplementedError(
            "autograd.grad: is_grads_batched is not here; call it once for each gradient"
        )
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs]
    found = differentiation.grad(
        outputs,
        inputs,
        grad_outputs,
        create_graph,
        retain_graph=create_graph if retain_graph is None else retain_graph,
        allow_unused=bool(allow_unused) or materialize_grads,
    )
    if not materialize_grads:
        return tuple(found)
    return tuple(x.new_zeros(x.shape) if g is None else g for x, g in zip(inputs, found, strict=True))


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of several tensors, times `grad_tensors`, to the `.grad` of the leaves they were
    computed from, or of `inputs` alone."""
    outputs = differentiation.tensors_in("backward", "tensors", tensors)
    given = grad_variables if grad_tensors is None else grad_tensors
    given = [given] * len(outputs) if given is None or isinstance(given, Tensor) else list(given)
    if len(given) != len(outputs):
        raise WrongKind(f"backward: {len(given)} gradients for {len(outputs)} tensors; give one for each")
    if len(outputs) == 1:
        outputs[0].backward(given[0], retain_graph, create_graph, inputs)
        return
    seeds = [
        differentiation.seed_of("backward", o, g, create_graph) for o, g in zip(outputs, given, strict=True)
    ]
    settings: dict[str, Any] = {"retain_graph": bool(retain_graph), "create_graph": create_graph}
    if inputs is None:
        engine.backward(outputs, seeds, **settings)
        return
    wanted = differentiation.tensors_in("backward", "inputs", inputs)
    for x, g in zip(wanted, engine.backward(outputs, seeds, inputs=wanted, **settings), strict=True):
        if g is not None:
            g = g if isinstance(g, Tensor) else Tensor._of(g)
            x.grad = g if x.grad is None else x.grad + g


# ---------------------------------------------------------------- functions with a backward of their own


class Context:
    """What a `Function` keeps from its forward for its backward: tensors that are saved, and any
    attribute."""

    needs_input_grad: tuple[bool, ...] = ()
    saved_tensors: tuple[Any, ...] = ()  # in backward: what `save_for_backward` was given
    missing_as_zeros = True
    constant: frozenset[int] = frozenset()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps arguments or results of the forward; a change of them in place before backward is noticed."""
        self.saved_tensors = tensors

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """`saved_tensors` under its name of old."""
        return self.saved_tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Says which arguments the forward has changed in place: not here, where results are new tensors."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Says which results have no gradient."""
        self.constant = frozenset(map(id, tensors))

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that did not arrive come to the backward as zeros, or as None."""
        self.missing_as_zeros = value


class _Kind(NamedTuple):
    """What a gradient that did not arrive is made of: zeros like the result."""

    shape: tuple[int, ...]
    dtype: Any
    library: Any


class _OfFunction:
    """The op of a node that a Function made: its rule is the Function's backward."""

    variadic = False
    asks_owned = False
    pulls = None  # one rule for all arguments: `gradients`

    def __init__(self, function: type[Function]) -> None:
        self.name, self.function = function.__name__, function

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The gradients of the arguments: tensors under create_graph, else arrays."""
        g, y, *saved = values
        *_, context, plan, kinds, places = saved
        gs = list(g) if isinstance(g, tuple) else [g]
        symbolic = any(isinstance(each, Tensor) for each in gs)
        for i, (each, kind) in enumerate(zip(gs, kinds, strict=True)):
            if each is None and context.missing_as_zeros:
                gs[i] = Tensor._of(kind.library.zeros(kind.shape, kind.dtype))
            elif each is not None:
                gs[i] = _tensor(each)
        results = y if isinstance(y, tuple) else (y,)
        sources = {"result": results, "argument": saved}
        context.saved_tensors = tuple([t if w is None else _tensor(sources[w][t]) for w, t in plan])
        try:
            with enable_grad() if symbolic else no_grad():
                found = self.function.backward(context, *gs)
        finally:
            context.saved_tensors = ()
        found = found if isinstance(found, tuple) else (found,)
        if len(found) <= max(places):
            raise WrongKind(
                f"{self.name}: backward returned {len(found)} gradients; it returns one for each argument of "
                "forward, None for those without"
            )
        return [_plain(found[k], symbolic) for k in places]


def _tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, Tensor) else Tensor._of(value)


def _plain(value: Any, symbolic: bool) -> Any:
    return value.array if isinstance(value, Tensor) and not symbolic else value


class Function:
    """A function with a backward of its own. Subclass it, and call `apply`:

        class Double(autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * 2

            @staticmethod
            def backward(ctx, grad):
                return grad * 2

        y = Double.apply(x)

    forward's first argument keeps what backward needs; backward is given a gradient for each result, and
    returns one for each argument, None for those without.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """What calling it computes, on tensors outside the graph."""
        raise NotImplementedError("Function: define forward(ctx, ...) as a static method")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the arguments, from those of the results."""
        raise NotImplementedError("Function: define backward(ctx, ...) as a static method")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Calls `forward`, and makes a node of it where an argument requires a gradient."""
        context = Context()
        context.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with no_grad():
            if hasattr(cls, "setup_context"):
                results = cls.forward(*args)
                cls.setup_context(context, args, results)
            else:
                results = cls.forward(context, *args)
        if not (is_grad_enabled() and any(context.needs_input_grad)):
            return results
        return _at_a_node(cls, context, args, results)


def _at_a_node(function: type[Function], context: Context, args: Sequence[Any], results: Any) -> Any:
    """The results of a Function's forward as values of a node that holds arrays, and no tensor of its own."""
    several = isinstance(results, tuple)
    made = list(results) if several else [results]
    places = [k for k, a in enumerate(args) if isinstance(a, Tensor)]
    slots = {id(args[k]): i for i, k in enumerate(places)}
    numbers = {id(r): i for i, r in enumerate(made)}
    plan: list[tuple[str | None, Any]] = []
    for t in context.saved_tensors:
        if id(t) in slots:
            plan.append(("argument", slots[id(t)]))
        else:
            plan.append(("result", numbers[id(t)]) if id(t) in numbers else (None, t))
    context.saved_tensors = ()
    wanted = {k for which, k in plan if which == "argument"}
    arrays = [args[k].array if i in wanted else None for i, k in enumerate(places)]
    y: Any = tuple([r.array for r in made]) if several else made[0].array
    y = y if any(which == "result" for which, _ in plan) else None
    kinds = [_Kind(tuple(r.shape), r.dtype, array_module(r.array)) for r in made]
    parents = [versions.vertex_of(args[k]) for k in places]
    kind = (None, None, len(made)) if several else (made[0].shape, made[0].dtype, None)
    node = Node(_OfFunction(function), parents, [y, *arrays, context, plan, kinds, places], *kind)
    new = [
        r
        if id(r) in context.constant or r.dtype.kind != "f"
        else Tensor._of(r.array, Output(node, i, r.array) if several else node)
        for i, r in enumerate(made)
    ]
    return tuple(new) if several else new[0]


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that has no gradients itself: here those of what it calls."""
    return backward


# ---------------------------------------------------------------- checks


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **settings: Any,
) -> bool:
    """Whether gradients agree with central differences. Raises RuntimeError where they do not, or returns
    False without `raise_exception`. Other settings of PyTorch's are read and have no effect."""
    return _checked(func, inputs, 1, eps, atol, rtol, raise_exception)


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **settings: Any,
) -> bool:
    """`gradcheck` of gradients of gradients."""
    return _checked(func, inputs, 2, eps, atol, rtol, raise_exception)


def _checked(
    func: Any, inputs: Any, order: int, eps: float, atol: float, rtol: float, raise_exception: bool
) -> bool:
    from ..testing import gradcheck as check

    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        check(func, *given, order=order, eps=eps, atol=atol, rtol=rtol)
    except AssertionError as reason:
        if raise_exception:
            raise RuntimeError(str(reason)) from reason
        return False
    return True


class detect_anomaly(debug):
    """In this block the first NaN or infinity raises, and names the op and the line that called it."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()


class set_detect_anomaly(contextlib.AbstractContextManager[None]):
    """Switches `detect_anomaly` on or off: from here on, or in a block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._debug = debug() if mode else contextlib.nullcontext()
        self._debug.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._debug.__exit__(None, None, None)


class profiler:
    """Of `autograd.profiler.profile()`: a block that measures nothing. Python's own profilers do."""

    @staticmethod
    @contextlib.contextmanager
    def profile(*args: Any, **settings: Any) -> Iterator[None]:
        """Runs the block."""
        yield

    record_function = emit_nvtx = profile
