"""The sentences of the engine's errors: which op, which argument, what came, what to do."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..backend.naming import kind

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Told:
    """A vertex of the graph in words: `tanh(matmul, leaf): float32 (2, 4)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        about: Any = self
        what = "" if about.shape is None else f": {about.dtype} {tuple(about.shape)}"
        node = about.node
        if node is None:
            return f"leaf{what}"
        names = [
            "constant" if p is None else "leaf" if p.node is None else p.node.op.name for p in node.parents
        ]
        of = f"({', '.join(names)})" if node.saved is not None else " (freed)"
        return f"{node.op.name}{of}{'' if node is about else f'[{about.k}]'}{what}"


class GraphError(RuntimeError):
    """The graph cannot be gone through: freed, changed in place, or never built."""


class Mismatch(ValueError, RuntimeError):
    """A value that does not fit, of which PyTorch says RuntimeError: `except` catches it by either name."""


class WrongKind(TypeError, RuntimeError):
    """A thing of another type or device than is needed, of which PyTorch says RuntimeError."""


def caller() -> str:
    """`file, line N` of the innermost frame outside this package: the line of the user's that is to blame."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def callers_level() -> int:
    """The `stacklevel` with which the function that asks warns at the innermost line outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


@contextlib.contextmanager
def reading_state(name: str) -> Iterator[None]:
    """What goes wrong with a saved state that is not as it was saved is a ValueError. `name` is who reads."""
    try:
        yield
    except ValueError as reason:
        if "\n" not in str(reason):
            raise
        raise ValueError(str(reason).partition("\n")[0] + " ...") from reason  # a value is a whole array
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as reason:
        first = str(reason).partition("\n")[0]
        raise ValueError(
            f"{name}: the state is damaged, or of something else ({type(reason).__name__}: {first})"
        ) from reason


def describe(value: Any) -> str:
    """How an argument is called in an error: an array by its type and shape, anything else by its type."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or not hasattr(dtype, "kind"):  # another library's array has a dtype of its own kind
        return repr(value) if isinstance(value, (int, float, bool)) else kind(value)
    return f"{dtype} {tuple(shape)}"


def came(value: Any, arrays: bool = False) -> str:
    """What came where a tensor is expected (with `arrays`, or an array); and what makes a tensor of it."""
    is_array = hasattr(getattr(value, "dtype", None), "kind")
    if hasattr(value, "vertex") or (is_array and arrays):
        return describe(value)
    return (describe(value) if arrays else kind(value)) + _remedy(value)


def _remedy(value: Any) -> str:
    """How a tensor is made of what holds numbers, as the end of a sentence."""
    is_data = isinstance(value, (int, float, list, tuple)) or hasattr(value, "__array__")
    return "; tinygrad_rnn.tensor(...) makes a tensor of it" if is_data else ""


def failed_forward(name: str, arrays: Sequence[Any], reason: Exception) -> Exception:
    """The library's complaint about an op's arguments, with the op's name and the arguments in front."""
    came = " and ".join(describe(a) for a in arrays)
    if len(reason.args) == 1 and str(reason).startswith(f"{name}:"):
        return reason
    text = str(reason).split("\n")[0]
    if "broadcast" in text:
        text = "these shapes do not broadcast: axes, compared from the last, must be equal or one of them 1"
    kind = type(reason) if type(reason) in (TypeError, WrongKind, IndexError) else Mismatch
    return kind(f"{name}: got {came}: {text}")


def out_of_memory(name: str, arrays: Sequence[Any], reason: MemoryError) -> MemoryError:
    """The library's word that memory is full, with the op and its arguments in front, and what helps."""
    if "smaller batch" in str(reason):  # said by an op inside of this one
        return reason
    came = " and ".join(describe(a) for a in arrays[:4]) + (" and more" if len(arrays) > 4 else "")
    text = (str(reason).split("\n")[0] or "out of memory").rstrip(".")
    return MemoryError(
        f"{name}: got {came}: {text}; a smaller batch, shorter sequences or float16 need less, and so does "
        "no_grad() where no gradient is wanted"
    )


def wrong_argument(name: str, position: int, value: Any) -> TypeError:
    return TypeError(
        f"{name}: argument {position + 1} is {kind(value)}, expected a tensor, an array or a number"
        f"{_remedy(value)}"
    )


def wrong_number(name: str, expected: list[str], n: int) -> TypeError:
    return TypeError(f"{name}: expected {len(expected)} arguments ({', '.join(expected)}), got {n}")


def mixed_devices(name: str, position: int, one: str, other: str) -> WrongKind:
    return WrongKind(
        f"{name}: argument {position + 1} is on {other}, the others are on {one}; "
        f"move one of them with .to({one!r})"
    )


def freed(name: str, line: str | None) -> GraphError:
    where = f" (called in {line})" if line else ""
    return GraphError(
        f"backward through {name}{where} a second time: its saved arrays were freed by the first. "
        "Pass retain_graph=True to the first, or detach() what is carried over from it"
    )


def changed(name: str, line: str | None) -> GraphError:
    where = f" (called in {line})" if line else ""
    return GraphError(
        f"backward through {name}{where}: an array that its gradient needs was changed in place since. "
        "Change it after backward, or work on a clone()"
    )


def wrong_gradient(name: str, g: Any, shape: tuple[int, ...]) -> Mismatch:
    return Mismatch(
        f"{name}: a rule returned a gradient of shape {tuple(g.shape)} for an argument of shape "
        f"{tuple(shape)}; expected the shape of the result, or the argument's"
    )


def in_rule(error: Exception, name: str, line: str | None, g: Any) -> Exception:
    """What a rule raised, with the op whose rule it is."""
    if isinstance(error, MemoryError):
        given = [x for x in (g if type(g) is tuple else (g,)) if x is not None]
        return out_of_memory(f"the gradient of {name}", given, error)
    if hasattr(error, "add_note"):
        error.add_note(f"in the gradient of {name}{f', called in {line}' if line else ''}")
    return error


def wrong_hook(given: Any, g: Any) -> TypeError:
    return TypeError(
        f"register_hook: the hook returned {describe(given)}, expected None, or a tensor like the gradient: "
        f"{describe(g)}, on its device"
    )


def wrong_gradients(name: str, gradients: Any, n: int) -> TypeError:
    came = f"{len(gradients)}" if isinstance(gradients, (list, tuple)) else describe(gradients)
    return TypeError(
        f"{name}: its rule returned {came}, expected a list of gradients, one for each of {n} arguments"
    )


def not_finite(name: str, arrays: Sequence[Any], xp: Any) -> FloatingPointError:
    bad = [i + 1 for i, a in enumerate(arrays) if getattr(a, "dtype", None) is not None
           and a.dtype.kind == "f" and not bool(xp.isfinite(a).all())]  # fmt: skip
    came = f"; argument {bad[0]} had some already" if bad else "; its arguments were finite"
    return FloatingPointError(f"{name} made NaN or infinity in {caller()}{came}")
