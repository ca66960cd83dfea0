"""The Python code of a recorded step, all time steps forward. See text.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .plan import Recorded
from .text import apart, call_of, function, wide


def forward(recorded: Recorded, keep: bool) -> Callable[..., Any]:
    """The code of all steps forward. With `keep`, what rules read is stored; else the outputs alone."""
    if keep not in recorded.codes:
        recorded.codes[keep] = _Forward(recorded, keep).made
    return recorded.codes[keep]


class _Forward:
    """Writes the code of the way forward, call by call."""

    def __init__(self, recorded: Recorded, keep: bool) -> None:
        self.recorded, self.keep = recorded, keep
        self.head: list[str] = []
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {}
        stored = recorded.stored if keep else {}
        self.rows = {slot for slot, kind in stored.items() if kind == "rows" and slot}
        self.lists = [slot for slot, kind in stored.items() if kind == "list"]
        self.scratch: set[int] = set()  # slots whose memory is used again at the next step
        out, states = recorded.output, range(1, recorded.n_inputs)
        computed = out >= recorded.n_inputs and recorded.varies(out)
        if computed:
            self.rows.add(out)
        self.lines += [f"S{slot}.append(s{slot})" for slot in self.lists if slot < recorded.n_inputs]
        for number, call in enumerate(recorded.calls):
            if call.fused:
                self._fused(number, call)
            else:
                self._primitive(number, call)
        if not computed:
            self.lines.append(f"outputs[t] = s{out}")
        if len(states):
            new = ", ".join(f"s{slot}" for slot in recorded.new_states)
            self.lines.append(f"{', '.join(f's{k}' for k in states)}, = {new},")
            self.head.append(f"{', '.join(f's{k}' for k in states)}, = states")
        head = [f"s{slot} = template[{slot}]" for slot in recorded.constants]
        head += [f"S{slot} = stored[{slot}]" for slot in (*(s for s in self.rows if s != out), *self.lists)]
        if computed:
            head.append(f"S{out} = outputs")
        body = ["for t in order:", "    s0 = xs[t]", *(f"    {line}" for line in self.lines)]
        result = f"return [{', '.join(f's{k}' for k in states)}]"
        signature = "forward(xp, xs, states, template, order, outputs, stored, shapes, dtypes)"
        self.made = function(signature, [*head, *self.head, *body, result], self.scope)

    def _fused(self, number: int, call: Any) -> None:
        outs = call.outs if self.keep else call.outs[: call.n_results]
        placed = [*call.op.writable, *range(len(call.op.outputs), len(call.outs))]
        into = [k for k in placed if k < len(outs) and outs[k] in self.rows]
        scratch = frozenset(i for i in call.op.gates_of if call.refs[i] in self.scratch)
        run = call.op.writing(tuple(into), len(outs), scratch)
        for ref, n in zip(call.refs, call.op.pieces, strict=True):
            if n > 1:
                self.head.append(f"m{ref}_{n} = shapes[{ref}][-1] // {n}")
        apart_, values = _pieces(call)
        places = [f"S{outs[k]}[t]" for k in into]
        like = f"shapes[{outs[0]}]", f"dtypes[{outs[0]}]"
        setup, code, results = call_of(run, f"f{number}", values, places, len(outs), self.scope, like)
        self.head += [re.sub(r"\bs(\d+)\.(shape|dtype)\b", r"\2s[\1]", line) for line in setup]
        self.lines += [*apart_, *code, f"{', '.join(f's{o}' for o in outs)}, = {', '.join(results)},"]
        self._store(outs, {outs[k] for k in into})

    def _primitive(self, number: int, call: Any) -> None:
        recorded, outs = self.recorded, call.outs
        arguments = [f"s{ref}" for ref in call.refs]
        product = recorded.product_of(call)
        if product is not None:
            (out,), (left, right) = outs, product
            place = f"S{out}[t]" if out in self.rows else self._buffer(out)
            self.lines.append(f"s{out} = x_matmul(s{left}, s{right}{place and f', out={place}'})")
            if len(call.refs) == 3:
                self.lines.append(f"x_add(s{out}, {arguments[0]}, out=s{out})")
            self._store(outs, {*outs} & self.rows)
            return
        if recorded.is_even_split(call):
            (ref,), n = call.refs, len(outs)
            self.head.append(f"m{ref}_{n} = shapes[{ref}][-1] // {n}")
            self.lines.append(apart([f"s{o}" for o in outs], f"s{ref}", ref))
            self._store(outs, set())
            return
        for i, ref in enumerate(call.refs):
            if recorded.row_beside_rows(call, ref):
                self.head.append(wide(ref, outs[0]))
                arguments[i] = f"W{ref}_{outs[0]}"
        ufunc = recorded.ufunc_of(call)
        if ufunc is not None:
            (out,) = outs
            place = f"S{out}[t]" if out in self.rows else self._buffer(out)
            self.lines.append(f"s{out} = x_{ufunc}({', '.join(arguments)}{place and f', out={place}'})")
            self._store(outs, {*outs} & self.rows)
            return
        mixed = recorded.mixes_types(call)
        self.scope[f"f{number}"] = call.op.call if mixed else call.op.forward
        if call.settings:
            self.scope[f"k{number}"] = call.settings
            arguments.append(f"**k{number}")
        written = set()
        if recorded.writes(call):
            place = f"S{outs[0]}[t]" if outs[0] in self.rows else self._buffer(outs[0])
            if place:
                arguments.append(f"out={place}")
                written = {outs[0]}
        if not mixed:
            arguments.insert(0, "xp")
        names = ", ".join(f"s{o}" for o in outs)
        self.lines.append(f"{names}{',' * call.several} = f{number}({', '.join(arguments)})")
        self._store(outs, written)

    def _store(self, outs: Sequence[int], written: set[int]) -> None:
        self.lines += [f"S{o}.append(s{o})" for o in outs if o in self.lists]
        self.lines += _placed([o for o in outs if o in self.rows and o not in written])

    def _buffer(self, slot: int) -> str:
        """Memory for a value that nobody keeps, used again at each step; nothing if somebody may."""
        recorded = self.recorded
        readers = [call for call in recorded.calls if slot in call.refs]
        slots = {slot}
        for call in recorded.calls:  # in their order, so that pieces of pieces are found
            if slots.intersection(call.refs) and recorded.is_even_split(call):
                slots.update(call.outs)  # they look at the same memory
        if slots.intersection((*recorded.new_states, recorded.output, *self.lists)) or not all(
            recorded.makes_anew(call) or recorded.is_even_split(call)
            for call in recorded.calls
            if slots.intersection(call.refs)
        ):
            return ""
        if len(readers) == 1 and readers[0].refs.count(slot) == 1:
            self.scratch.add(slot)
        self.head.append(f"B{slot} = xp.aligned(shapes[{slot}], dtypes[{slot}])")
        return f"B{slot}"


def _pieces(call: Any) -> tuple[list[str], list[str]]:
    """What a pointwise function takes: its arguments, taken apart by these lines, and gates whole."""
    lines, names, read = [], [], iter(call.op.pieces_read)
    for ref, n in zip(call.refs, call.op.pieces, strict=True):
        wanted = {f"s{ref}_{j}": f"s{ref}[..., m{ref}_{n} * {j}:m{ref}_{n} * {j + 1}]" for j in range(n)}
        of_argument = dict(zip(wanted, read, strict=False)) if n > 1 else {f"s{ref}": next(read)}
        if n > 1 and any(of_argument.values()):
            made = [name for name, is_read in of_argument.items() if is_read]
            lines.append(f"{', '.join(made)}, = {', '.join(wanted[name] for name in made)},")
        names += [name if is_read or n == 1 else "None" for name, is_read in of_argument.items()]
    return lines, names + [f"s{call.refs[i]}" for i in call.op.whole]


def _placed(slots: Sequence[int]) -> list[str]:
    return [line for s in slots for line in (f"S{s}[t] = s{s}", f"s{s} = S{s}[t]")]
