"""The sentences of the engine's errors: which op, which argument, what came, what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import Array, ArrayModule
from ..backend.naming import came as came  # for ops
from ..backend.naming import describe, kind, tensor_of

if TYPE_CHECKING:
    from .gradients import Gradient

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
    frame = sys._getframe(callers_level() - 1)
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def callers_level() -> int:
    """The `stacklevel` with which the function that asks warns at the innermost line outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def failed_forward(name: str, arrays: Sequence[Array], reason: Exception) -> Exception:
    """The library's complaint about an op's arguments, with the op's name and the arguments in front."""
    came = " and ".join(describe(a) for a in arrays)
    if len(reason.args) == 1 and str(reason).startswith(f"{name}:"):
        return reason
    text = str(reason).split("\n")[0]
    if "broadcast" in text:
        text = "these shapes do not broadcast: axes, compared from the last, must be equal or one of them 1"
    kind = type(reason) if type(reason) in (TypeError, WrongKind, IndexError) else Mismatch
    return kind(f"{name}: got {came}: {text}")


def out_of_memory(name: str, arrays: Sequence[Array], reason: MemoryError) -> MemoryError:
    """The library's word that memory is full, with the op and its arguments in front, and what helps."""
    if "smaller batch" in str(reason):  # said by an op inside of this one
        return reason
    came = " and ".join(describe(a) for a in arrays[:4]) + (" and more" if len(arrays) > 4 else "")
    text = (str(reason).split("\n")[0] or "out of memory").rstrip(".")
    return MemoryError(
        f"{name}: got {came}: {text}; a smaller batch, shorter sequences or float16 need less, and so does "
        "no_grad() where no gradient is wanted"
    )


def wrong_argument(name: str, position: int, value: object) -> TypeError:
    return TypeError(
        f"{name}: argument {position + 1} is {kind(value)}, expected a tensor, an array or a number"
        f"{tensor_of(value)}"
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


def wrong_gradient(name: str, g: Gradient, shape: tuple[int, ...]) -> Mismatch:
    return Mismatch(
        f"{name}: a rule returned a gradient of shape {tuple(g.shape)} for an argument of shape "
        f"{tuple(shape)}; expected the shape of the result, or the argument's"
    )


def in_rule(error: Exception, name: str, line: str | None, g: Gradient) -> Exception:
    """What a rule raised, with the op whose rule it is."""
    if isinstance(error, MemoryError):
        given = [x for x in (g if type(g) is tuple else (g,)) if x is not None]
        return out_of_memory(f"the gradient of {name}", given, error)
    if hasattr(error, "add_note"):
        error.add_note(f"in the gradient of {name}{f', called in {line}' if line else ''}")
    return error


def wrong_hook(given: object, g: Gradient) -> TypeError:
    return TypeError(
        f"register_hook: the hook returned {describe(given)}, expected None, or a tensor like the gradient: "
        f"{describe(g)}, on its device"
    )


def wrong_gradients(name: str, gradients: object, n: int) -> TypeError:
    came = f"{len(gradients)}" if isinstance(gradients, (list, tuple)) else describe(gradients)
    return TypeError(
        f"{name}: its rule returned {came}, expected a list of gradients, one for each of {n} arguments"
    )


def not_finite(name: str, arrays: Sequence[Array], xp: ArrayModule) -> FloatingPointError:
    bad = [i + 1 for i, a in enumerate(arrays) if getattr(a, "dtype", None) is not None
           and a.dtype.kind == "f" and not bool(xp.isfinite(a).all())]  # fmt: skip
    came = f"; argument {bad[0]} had some already" if bad else "; its arguments were finite"
    return FloatingPointError(f"{name} made NaN or infinity in {caller()}{came}")
