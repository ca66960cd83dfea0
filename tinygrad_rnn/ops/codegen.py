"""Programs of elementwise operations, and the NumPy code made from them.

A program is a list of steps, each `name = op(operands)`; operands are names or numbers. The code is a Python
function that runs the steps one after the other. What makes it fast: no graph, no checks, and the result of a
step is written into the memory of an operand that nobody needs any more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from ..engine import Primitive

# Operations that the library has as a function taking `out=`, by its name there. Others run their own
# forward.
UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide", "neg": "negative", "exp": "exp",
    "log": "log", "log1p": "log1p", "expm1": "expm1", "sqrt": "sqrt", "abs": "abs", "sin": "sin",
    "cos": "cos", "tanh": "tanh", "maximum": "maximum", "minimum": "minimum",
    "logaddexp": "logaddexp",
}  # fmt: skip
# Results that are no floats, and so no memory for floats.
LOGICAL = {
    "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and", "logical_or", "isnan", "isinf",
    "isfinite",
}  # fmt: skip


class Step(NamedTuple):
    """name = op(*operands, **settings)."""

    name: str
    op: Primitive
    operands: tuple[str | float, ...]
    settings: dict[str, Any]

    def reads(self) -> list[str]:
        return [o for o in self.operands if isinstance(o, str)]


class Program:
    """Inputs, steps in order, and the names of the results (None for a result that is zero)."""

    def __init__(
        self,
        inputs: list[str],
        prefix: str,
        steps: list[Step] | None = None,
        results: list[str | None] | None = None,
        one_result: bool = False,
    ) -> None:
        self.inputs, self.prefix, self.one_result = inputs, prefix, one_result
        self.steps = [] if steps is None else steps
        self.results = [] if results is None else results
        self.packs: dict[str, list[str]] = {}  # arguments and their chunks
        self._known: dict[Any, str] = {}

    def emit(self, op: Primitive, operands: tuple[str | float, ...], settings: dict[str, Any]) -> str:
        """Adds a step and returns its name; the name of an earlier one that computes the same."""
        key = (op.name, operands, tuple(map(type, operands)), tuple(sorted(settings.items())))
        if key not in self._known:
            self._known[key] = f"{self.prefix}{len(self.steps)}"
            self.steps.append(Step(self._known[key], op, operands, settings))
        return self._known[key]

    def without_dead_steps(self) -> Program:
        """The same program less the steps whose results nobody reads."""
        needed = {name for name in self.results if name is not None}
        steps = []
        for step in reversed(self.steps):
            if step.name in needed:
                steps.append(step)
                needed.update(step.reads())
        return Program(self.inputs, self.prefix, steps[::-1], self.results, self.one_result)

    def outputs(self) -> tuple[str, ...]:
        """The results, where none is missing."""
        return tuple(name for name in self.results if name is not None)

    def outside(self) -> list[str]:
        """Names that are read but are neither inputs nor made by a step: for a reverse program, forward
        values.
        """
        own = {*self.inputs, *(step.name for step in self.steps)}
        read = [name for step in self.steps for name in step.reads()] + [r for r in self.results if r]
        return list(dict.fromkeys(name for name in read if name not in own))

    def only_from(self, names: Iterable[str]) -> set[str]:
        """These names, and the steps that read no others."""
        known = set(names)
        for step in self.steps:
            if known.issuperset(step.reads()) and step.reads():
                known.add(step.name)
        return known

    def interpret(self, inputs: Iterable[Any], outside: dict[str, Any]) -> list[Any]:
        """Runs the steps as ops: on tensors, where the results are to be part of a graph."""
        env = {**outside, **dict(zip(self.inputs, inputs, strict=True))}
        for step in self.steps:
            operands = [env[o] if isinstance(o, str) else o for o in step.operands]
            env[step.name] = step.op.call(*operands, **step.settings)
        return [None if name is None else env[name] for name in self.results]

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            settings = [f"{k}={v!r}" for k, v in step.settings.items()]
            lines.append(f"{step.name} = {step.op.name}({', '.join([*map(str, step.operands), *settings])})")
        return "\n".join([*lines, f"return {', '.join(map(str, self.results))}"])


class Text(NamedTuple):
    """The lines of a function (xp, values, into), and what the names in it are. The first, `setup`, need of
    the values only shapes and types.
    """

    arguments: list[str]
    into: list[str]
    setup: list[str]
    lines: list[str]
    results: list[str]
    constants: dict[str, Any]
    temporary: dict[str, str]  # names of memory that lines write to, and its shape; "": that of the values

    def function(self) -> Callable[..., Any]:
        """The function, with its text in the attribute `source` and this in `text`."""
        lines = [f"def run(xp, values{', into' if self.into else ''}):"]
        lines.append(f"    {', '.join(self.arguments)}, = values")
        if self.into:
            lines.append(f"    {', '.join(self.into)}, = into")
        lines += [f"    {line}" for line in (*self.setup, *self._with_fresh_memory())]
        source = "\n".join([*lines, f"    return [{', '.join(self.results)}]"])
        scope = dict(self.constants)
        exec(compile(source, "<pointwise>", "exec"), scope)
        run: Callable[..., Any] = scope["run"]
        run.source, run.text = source, self  # type: ignore[attr-defined]
        return run

    def _with_fresh_memory(self) -> list[str]:
        """The lines without memory for intermediate values: the library takes some each time."""
        return [
            re.sub(_TEMPORARY, lambda m: "" if m[1] in self.temporary else m[0], line) for line in self.lines
        ]

    def inside(
        self,
        prefix: str,
        values: Sequence[str],
        into: Sequence[str],
        like: tuple[str, str] | None = None,
    ) -> tuple[list[str], list[str], list[str]]:
        """The setup, the lines as part of other code, on these expressions, and the expressions of the
        results. Names get a prefix; the library's functions are `x_add` for `xp.add`. Given expressions for
        shape and type of the values, the setup makes memory for intermediate ones, to be used again and
        again.
        """
        own_setup, own_lines = self.setup, self.lines if like else self._with_fresh_memory()
        if like:
            shape, dtype = like
            own_setup = own_setup + [
                f"{name} = xp.aligned({own or shape}, {dtype})" for name, own in self.temporary.items()
            ]
        body = "\n".join([*own_lines, *self.results])
        made = [line.partition(" = ")[0] for line in (*own_setup, *own_lines) if " = " in line]
        own = {name for names in made for name in re.findall(_NAME, names)}
        names = {name: prefix + name for name in (*own, *self.constants)}
        used = {*re.findall(_NAME, body)}
        head = []
        for name, expression in zip((*self.arguments, *self.into), (*values, *into), strict=True):
            names[name] = expression if expression.isidentifier() else prefix + name
            if name in used and names[name] != expression:
                head.append(f"{prefix}{name} = {expression}")
        setup, lines = (
            [re.sub(_NAME, lambda m: names.get(m[0], m[0]), line) for line in part]
            for part in (own_setup, own_lines)
        )
        body_lines = [*head, *(line.replace("xp.", "x_") for line in lines)]
        return setup, body_lines, [names.get(r, r) for r in self.results]


# Patterns, which `re` compiles when they are first asked for: importing does not wait for them.
_TEMPORARY = r", out=(t_\w+)"
_NAME = r"(?<![.\w'\"])[A-Za-z_]\w*"


def compiled(
    program: Program,
    outside: Sequence[str] = (),
    into: Sequence[int] = (),
    small: Collection[str] = (),
    activated: Sequence[Any] = (),
    scratch: Collection[str] = (),
) -> Callable[..., Any]:
    """The program as a function of (xp, [inputs, outside values]), arrays of one shape and type, to a list of
    results.

    `into` numbers results for which the function is given arrays, as a third argument, and which it writes
    there. `small` names values of a smaller shape, whose memory holds no result. The function's text is in
    its attribute `source`.

    `activated`: Gates (gates.py) to be computed first; the function is given their arguments, whole, after
    the values. Where the array of all of them is among `into`, chunks lie below each other in it. `scratch`
    names arguments in whose memory it may write.
    """
    wholes = dict.fromkeys(a for g in activated for a, _ in g.arguments)
    arguments = [*program.inputs, *outside, *wholes]
    lines: list[str] = []
    setup: list[str] = []
    places = {i: f"d{n}" for n, i in enumerate(into)}
    written: dict[str, str] = {}  # results that are written straight to where they belong
    temporary: dict[str, str] = {}
    for gates in activated:
        whole_at = program.results.index(gates.whole()) if gates.whole() in program.results else -1
        if whole_at in places:
            written[gates.whole()] = places[whole_at]
            first = len(gates.values)
            written.update({v: f"{places[whole_at]}[{first + k}]" for k, v in enumerate(gates.beside)})
        setup += gates.setup(whole_at in places)
        own = gates.forward(places.get(whole_at), gates.arguments[0][0] in scratch)
        if whole_at not in places and {*gates.values, gates.whole()}.intersection(program.results):
            own = [re.sub(_TEMPORARY, "", line) for line in own]  # it leaves the function
        lines += own
        temporary[f"t_{gates.whole()}"] = gates.shape()
    last_read = {name: i for i, step in enumerate(program.steps) for name in step.reads()}
    floats = {step.name for step in program.steps if step.op.name not in LOGICAL}
    for i, place in places.items():
        name = program.results[i]
        if name is not None and name in floats:
            written.setdefault(name, place)  # a result that is wanted twice is copied
    kept = {*arguments, *program.results, *(name for g in activated for name in g.values)}
    constants: dict[str, Any] = {f"constants_{g.whole()}": g.constants for g in activated}
    free: set[str] = set()  # names whose memory may be written to
    memory: dict[str, str] = {}  # of each value that is not written where it belongs
    unused: list[str] = []  # memory whose value nobody reads any more
    for i, step in enumerate(program.steps):
        dying = [n for n in dict.fromkeys(step.reads()) if last_read[n] == i and n in free]
        to, reused = written.get(step.name, ""), ""
        if not to and step.name in floats:
            reused = dying[0] if dying else ""
            if reused:
                to, memory[step.name] = reused, memory[reused]
            elif step.name not in small:
                to = memory[step.name] = unused.pop() if unused else f"t_{step.name}"
        lines += code_of_step(step, to, constants)
        unused += [memory[n] for n in dying if n in memory and n != reused]
        free.difference_update(dying)
        if step.name in floats and step.name not in kept and step.name not in small:
            free.add(step.name)
    results = [str(name) for name in program.results]
    leaving = {memory[name] for name in results if name in memory and name not in written}
    lines = [re.sub(_TEMPORARY, lambda m: "" if m[1] in leaving else m[0], line) for line in lines]
    temporary.update({name: "" for name in memory.values() if name not in leaving})
    text = "\n".join(lines)
    temporary = {name: shape for name, shape in temporary.items() if f", out={name}" in text}
    for i, place in places.items():
        if written.get(results[i]) != place:
            lines.append(f"{place}[...] = {0 if program.results[i] is None else results[i]}")
        results[i] = place
    return Text(arguments, [*places.values()], setup, lines, results, constants, temporary).function()


def code_of_step(step: Step, out: str | None, constants: dict[str, Any]) -> list[str]:
    """The lines that compute one step, into `out` where that is given."""
    name, operands = step.name, ", ".join(map(_literal, step.operands))
    to = f", out={out}" if out else ""
    if step.op.name == "sigmoid":  # by way of tanh, in one piece of memory
        return [
            f"{name} = xp.multiply({operands}, 0.5{to})",
            f"xp.tanh({name}, out={name})",
            f"xp.multiply({name}, 0.5, out={name})",
            f"xp.add({name}, 0.5, out={name})",
        ]
    if step.op.name in UFUNCS:
        return [f"{name} = xp.{UFUNCS[step.op.name]}({operands}{to})"]
    constants[f"f_{name}"], constants[f"s_{name}"] = step.op.forward, step.settings
    line = f"{name} = f_{name}(xp, {operands}, **s_{name})"
    if not out or out.startswith("t_"):
        return [line]
    return [line, f"{out}[...] = {name}", f"{name} = {out}"]


def _literal(operand: str | float) -> str:
    """An operand as it stands in code."""
    if isinstance(operand, str):
        return operand
    return (
        f"float('{operand}')" if isinstance(operand, float) and not math.isfinite(operand) else repr(operand)
    )
