"""What several ops share: settings under two names, NumPy's `axis` and `keepdims`, PyTorch's `dim` and
`keepdim`; and the types to compute in.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..backend import Array
from ..backend.dtypes import float16, float32, float64, result_dtype
from ..backend.naming import describe, kind
from ..deprecation import warn_once
from ..engine import Value, primitive
from ..engine.errors import Mismatch, WrongKind, wrong_argument
from ..engine.rules import parameter_names

F = TypeVar("F", bound=Callable[..., Any])
_OTHER_NAMES = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "input": "x",
    "dim0": "axis0",
    "dim1": "axis1",
}


class Size(tuple[int, ...]):
    """A shape: a tuple of sizes that can also count the elements."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of such a tensor."""
        return math.prod(self)

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if type(found) is tuple else found

    def __add__(self, other: Any) -> Any:
        return Size(tuple.__add__(self, tuple(other)))

    def __reduce__(self) -> Any:
        return tuple, (tuple(self),)


def both_dialects(function: F) -> F:
    """Lets `dim` stand for `axis`, `keepdim` for `keepdims`, and PyTorch's `input` for the argument x."""
    taken = parameter_names(inspect.unwrap(function))
    names = {o: name for o, name in _OTHER_NAMES.items() if name in taken and o not in taken}

    @functools.wraps(function)
    def op(*args: Any, **settings: Any) -> Any:
        if settings and not names.keys().isdisjoint(settings):
            for other in [o for o in settings if o in names]:
                name = names[other]
                if name in settings:
                    raise WrongKind(
                        f"{function.__name__}: {name} and {other} are one setting; give one of them"
                    )
                settings[name] = settings.pop(other)
        try:
            return function(*args, **settings)
        except AttributeError as reason:  # a list, a string or None in a tensor's place
            if args and not hasattr(args[0], "ndim"):
                raise wrong_argument(function.__name__, 0, args[0]) from reason
            raise

    return op  # type: ignore[return-value]


def old_reduction(function: F) -> F:
    """Lets PyTorch's `size_average` and `reduce`, which are older than `reduction`, say the same."""

    @functools.wraps(function)
    def op(*args: Any, size_average: bool | None = None, reduce: bool | None = None, **settings: Any) -> Any:
        if size_average is not None or reduce is not None:
            found = "none" if reduce is False else "sum" if size_average is False else "mean"
            settings["reduction"] = found
            warn_once(
                "size_average",
                f"size_average and reduce are names of old; reduction={found!r} says the same",
                kind=UserWarning,
            )
        return function(*args, **settings)

    return op  # type: ignore[return-value]


def widened(x: Array) -> Array:
    """x, and halves as float32: for what leaves their range on the way to a result that is in it."""
    if getattr(type(x), "dtype", None) is None:  # a number
        return x
    return x.astype(float32) if x.dtype == float16 else x


def wide(*, integers: bool) -> Callable[[F], F]:
    """Has the first argument of a function that sums come in a type in which it may: halves in float32, and
    with `integers` integers and booleans in the default type. The result is rounded once, to the type that an
    op of all arguments has.
    """

    def decorate(function: F) -> F:
        first = parameter_names(inspect.unwrap(function))[0]

        @functools.wraps(function)
        def op(*args: Any, **settings: Any) -> Any:
            x = args[0] if args else settings.get(first)
            kind = getattr(x, "dtype", None)
            letter = getattr(kind, "kind", None)  # None: what is no tensor, which the function says
            if kind is float32 or kind is float64 or letter is None or not (integers or letter == "f"):
                return function(*args, **settings)
            others = (*args, *settings.values()) if args else settings.values()
            wanted = result_dtype([plain(a) for a in others if hasattr(getattr(a, "dtype", None), "kind")])
            narrow = wanted == float16
            x = x.astype(float32 if narrow else wanted)  # type: ignore[union-attr]
            args, settings = ((x, *args[1:]), settings) if args else (args, {**settings, first: x})
            y = function(*args, **settings)
            return y.astype(wanted) if narrow else y

        return op  # type: ignore[return-value]

    return decorate


def several(name: str, tensors: Any) -> tuple[tuple[Any, ...], list[tuple[int, ...]]]:
    """The tensors of a sequence, or those along the first axis of one: at least one; and their shapes."""
    if not isinstance(tensors, Iterable):
        raise WrongKind(f"{name}: expected a list of tensors, got {kind(tensors)}; give {name}([a, b])")
    tensors = tuple(tensors)
    if not tensors:
        raise Mismatch(f"{name}: got no tensors")
    try:
        return tensors, [x.shape for x in tensors]
    except AttributeError as reason:
        wrong = next(i for i, x in enumerate(tensors) if not hasattr(x, "shape"))
        raise wrong_argument(name, wrong, tensors[wrong]) from reason


def axes_of(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (an integer, several, or None for all) as non-negative integers. A number without axes counts
    as one in a row, as in PyTorch: it may be named by axis 0 or -1, and there is nothing to do along it.

    Raises IndexError where the array has no such axis.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    found = tuple(axis_of(name, a, ndim or 1) for a in axes)
    if len(set(found)) != len(found):
        raise Mismatch(f"{name}: axis {axis} names an axis twice")
    return found if ndim else ()


def reduced_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axes_of` for what is summed over: no axes named are all of them, as in PyTorch."""
    return axes_of(name, axis if axis or axis == 0 else None, ndim)


def scalars_too(function: F) -> F:
    """Lets a tensor without axes count as a row of one element, as PyTorch does, for a function along an
    axis; results have no axes either.
    """

    @functools.wraps(function)
    def op(x: Any, *args: Any, **settings: Any) -> Any:
        if getattr(x, "ndim", 1):
            return function(x, *args, **settings)
        results = function(x.reshape(1), *args, **settings)
        if isinstance(results, tuple):
            return type(results)(*[r.reshape(()) for r in results])  # a named tuple
        return results.reshape(())

    return op  # type: ignore[return-value]


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """One axis as a non-negative integer. Raises IndexError where the array has no such axis."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim
    if not hasattr(axis, "__index__"):
        raise WrongKind(f"{name}: axis must be an integer, got {type(axis).__name__}")
    axis = axis.__index__()
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis} does not exist; the tensor has {ndim} axes")
    return int(axis % ndim)


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """The index that takes `part` of one axis and all of those before it."""
    return (slice(None),) * axis + (part,)


def ints(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or axes given one by one or as one sequence: `f(2, 3)` or `f((2, 3))`."""
    given = values
    try:
        if len(values) == 1 and not hasattr(values[0], "__index__"):
            values = tuple(values[0])
        return tuple([v.__index__() for v in values])
    except (AttributeError, TypeError) as reason:
        came = ", ".join(map(describe, given))
        raise WrongKind(f"sizes and axes are integers, or one tuple of them; got {came}") from reason


def plain(x: Any) -> Array:
    """The array in a tensor, or the array itself."""
    return x.array if isinstance(x, Value) else x


__all__ = [
    "Size", "Value", "axes_of", "axis_of", "both_dialects", "ints", "plain", "primitive", "wide", "widened",
]  # fmt: skip
