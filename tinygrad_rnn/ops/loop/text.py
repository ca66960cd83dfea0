"""The Python code of a recorded step: all time steps forward, and all of them backwards.

node.py says what is computed; forward.py and backward.py write it down as two plain functions, as one would
by hand: which array is where is worked out here, once, and not at each step. What makes them fast: values
that rules will read are written straight into the memory of all time steps; so are the gradients that a
product or a sum over all steps can then take in one piece.

    def forward(xp, xs, states, template, order, outputs, stored, shapes, dtypes): ...
    def backward(
        xp, stored, befores, spent, of_outputs, states, template, order, shapes, dtypes, fit, add
    ): ...

Names in the code: s7 is the value in slot 7, S7 the memory (or the list) with that of every step, I1 the
first state in slot 1, g7 the gradient of slot 7, D2_0 the gradients of argument 0 of call 2 at every step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..codegen import Text


def wide(row: int, like: int) -> str:
    """The line that lays a row out for each row of a value beside it: NumPy is twice as fast then."""
    return f"W{row}_{like} = xp.ascontiguousarray(xp.broadcast_to(s{row}, shapes[{like}]))"


def apart(names: Sequence[str], whole: str, slot: int) -> str:
    """The line that takes a value of a slot apart, into equal pieces beside each other."""
    cuts = [
        f"{whole}[..., m{slot}_{len(names)} * {j}:m{slot}_{len(names)} * {j + 1}]" for j in range(len(names))
    ]
    return f"{', '.join(names)}, = {', '.join(cuts)},"


def call_of(
    run: Any,
    name: str,
    values: Sequence[str],
    into: Sequence[str],
    n_results: int,
    scope: dict[str, Any],
    like: tuple[str, str] | None = None,
) -> tuple[list[str], list[str], list[str]]:
    """What a compiled pointwise function does, as lines before the loop and in it, and the expressions of its
    results.
    """
    text = getattr(run, "text", None)
    if isinstance(text, Text):
        scope.update({f"{name}_{key}": value for key, value in text.constants.items()})
        return text.inside(f"{name}_", values, into, like)
    scope[name] = run
    places = f", [{', '.join(into)}]" if into else ""
    results = [f"{name}_{k}" for k in range(n_results)]
    return [], [f"{', '.join(results)}, = {name}(xp, [{', '.join(values)}]{places})"], results


def flat(rows: Any) -> Any:
    """(steps, n, m) as (steps * n, m)."""
    return rows.reshape(-1, rows.shape[-1])


def function(signature: str, lines: Sequence[str], scope: dict[str, Any]) -> Callable[..., Any]:
    used = dict.fromkeys(re.findall(r"\bx_(\w+)\(", "\n".join(lines)))
    lines = [*(f"x_{name} = xp.{name}" for name in used), *lines]
    source = "\n".join([f"def {signature}:", *(f"    {line}" for line in lines)])
    exec(compile(source, "<loop>", "exec"), scope)
    made: Callable[..., Any] = scope[signature.partition("(")[0]]
    made.source = source  # type: ignore[attr-defined]
    return made
