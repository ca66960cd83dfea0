"""The Python code of a recorded step: all time steps forward, and all of them backwards.

loop.py says what is computed; this writes it down as two plain functions, as one would by hand: which array
is where is worked out here, once, and not at each step. What makes them fast: values that rules will read are
written straight into the memory of all time steps; so are the gradients that a product or a sum over all
steps can then take in one piece.

    def forward(xp, xs, states, template, order, outputs, stored, shapes, dtypes): ...
    def backward(xp, stored, befores, of_outputs, states, template, order, shapes, dtypes, fit, add): ...

Names in the code: s7 is the value in slot 7, S7 the memory (or the list) with that of every step, I1 the
first state in slot 1, g7 the gradient of slot 7, D2_0 the gradients of argument 0 of call 2 at every step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .codegen import Text
from .pointwise import take_apart

if TYPE_CHECKING:
    from .loop import Recorded


def forward(recorded: Recorded, keep: bool) -> Callable[..., Any]:
    """The code of all steps forward. With `keep`, what rules read is stored; else the outputs alone."""
    lines: list[str] = []
    scope: dict[str, Any] = {}
    rows = {slot for slot, kind in recorded.stored.items() if kind == "rows" and slot} if keep else set()
    lists = [slot for slot, kind in recorded.stored.items() if kind == "list"] if keep else []
    out, states = recorded.output, range(1, recorded.n_inputs)
    computed = out >= recorded.n_inputs and recorded.varies(out)
    if computed:
        rows.add(out)
    lines += [f"S{slot}.append(s{slot})" for slot in lists if slot < recorded.n_inputs]
    for number, call in enumerate(recorded.calls):
        arguments = [f"s{ref}" for ref in call.refs]
        outs = call.outs if keep or not call.fused else call.outs[: call.n_results]
        into: list[int] = []
        names = ", ".join(f"s{o}" for o in outs)
        if call.fused:
            into = [k for k in call.op.writable if k < len(outs) and outs[k] in rows]
            run = call.op.writing(tuple(into), len(outs))
            apart, values = _pieces(call)
            places = [f"S{outs[k]}[t]" for k in into]
            code, results = call_of(run, f"f{number}", values, places, len(outs), scope)
            lines += [*apart, *code, f"{names}, = {', '.join(results)},"]
        else:
            scope[f"f{number}"] = call.op.forward
            if call.settings:
                scope[f"k{number}"] = call.settings
                arguments.append(f"**k{number}")
            lines.append(f"{names}{',' * call.several} = f{number}(xp, {', '.join(arguments)})")
        lines += [f"S{o}.append(s{o})" for o in outs if o in lists]
        written = {outs[k] for k in into}
        lines += _placed([o for o in outs if o in rows and o not in written])
    if not computed:
        lines.append(f"outputs[t] = s{out}")
    if len(states):
        new = ", ".join(f"s{slot}" for slot in recorded.new_states)
        lines.append(f"{', '.join(f's{k}' for k in states)}, = {new},")
    head = [f"s{slot} = template[{slot}]" for slot in recorded.constants]
    if len(states):
        head.append(f"{', '.join(f's{k}' for k in states)}, = states")
    memory = [*(s for s in rows if s != out), *lists]
    head += [f"S{slot} = stored[{slot}]" for slot in memory]
    if computed:
        head.append(f"S{out} = outputs")
    scope["take_apart"] = take_apart
    body = ["for t in order:", "    s0 = xs[t]", *(f"    {line}" for line in lines)]
    result = f"return [{', '.join(f's{k}' for k in states)}]"
    return function(
        "forward(xp, xs, states, template, order, outputs, stored, shapes, dtypes)", [*head, *body, result], scope
    )


def _pieces(call: Any) -> tuple[list[str], list[str]]:
    """What a pointwise function takes: its arguments, taken apart by these lines, and gates whole."""
    lines, names = [], []
    for i, (ref, n) in enumerate(zip(call.refs, call.op.pieces, strict=True)):
        if n == 1:
            names.append(f"s{ref}")
        elif i in call.op.gates:
            names += ["None"] * n
        else:
            names += [f"s{ref}_{j}" for j in range(n)]
            lines.append(f"{', '.join(names[-n:])} = take_apart(s{ref}, {n})")
    return lines, names + [f"s{call.refs[i]}" for i in call.op.gates]


def call_of(
    run: Any, name: str, values: Sequence[str], into: Sequence[str], n_results: int, scope: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """The lines that do what a compiled pointwise function does, and the expressions of its results."""
    text = getattr(run, "text", None)
    if isinstance(text, Text):
        scope.update({f"{name}_{key}": value for key, value in text.constants.items()})
        return text.inside(f"{name}_", values, into)
    scope[name] = run
    places = f", [{', '.join(into)}]" if into else ""
    results = [f"{name}_{k}" for k in range(n_results)]
    return [f"{', '.join(results)}, = {name}(xp, [{', '.join(values)}]{places})"], results


def _placed(slots: Sequence[int]) -> list[str]:
    return [line for s in slots for line in (f"S{s}[t] = s{s}", f"s{s} = S{s}[t]")]


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
