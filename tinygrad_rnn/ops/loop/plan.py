"""What can be worked out of a recorded step, once: what rules read, and where it is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...backend import array_module
from ..codegen import UFUNCS
from .recording import Call, Recorder, Slots

_known: OrderedDict[Any, Recorded] = OrderedDict()  # steps that were read, the latest last
_KNOWN = 256


def recorded_before(recorder: Recorder, sources: list[int], needs: list[bool], grad: bool) -> Recorded:
    """What was worked out for the same step before, or is now."""
    arrays = [getattr(v, "array", v) for v in recorder.values]
    dtypes = [getattr(a, "dtype", None) for a in arrays]
    ndims = [getattr(a, "ndim", 0) for a in arrays]
    constants = [grad and getattr(recorder.values[c], "vertex", None) is not None for c in recorder.constants]
    calls = [(c.op, *c.refs, None, *c.outs, c.several, *c.alike, _frozen(c.settings)) for c in recorder.calls]
    language = array_module(arrays[0]).name
    key = (
        *calls,
        None,
        *sources,
        None,
        *recorder.constants,
        *dtypes,
        *ndims,
        *needs,
        *constants,
        grad,
        language,
    )
    found = _known.get(key)
    if found is None:
        found = Recorded(recorder, sources, [*needs, *constants], dtypes, ndims, array_module(arrays[0]))
        _known[key] = found
        while len(_known) > _KNOWN:
            _known.popitem(last=False)
    else:
        _known.move_to_end(key)
    return found


def _frozen(settings: dict[str, Any]) -> Any:
    """Settings as part of a key. What cannot be one is equal to itself only."""
    if not settings:
        return None
    items = tuple(settings.items())
    try:
        hash(items)
    except TypeError:
        whole = all(
            isinstance(v, (int, float, str, slice, list, tuple, type(None))) for v in settings.values()
        )
        return repr(items) if whole and "array" not in repr(items) else object()
    return items


class Recorded:
    """What can be worked out of a recorded step: what rules read, where it is kept, and the code.

    Of the values that rules read at each step some are kept in the memory of all steps ("rows"), some in a
    list. A state is what the step before made; a chunk of activated gates is a part of all of them.
    """

    def __init__(
        self,
        recorder: Recorder,
        sources: list[int],
        needs: list[bool],
        dtypes: list[Any],
        ndims: list[int],
        xp: Any,
    ) -> None:
        self.language = xp.language
        self.n_inputs, self.constants, self.calls = recorder.n_inputs, recorder.constants, recorder.calls
        self.constant_set = {*self.constants}
        self.output, *self.new_states = sources
        self.dtypes, self.ndims = dtypes, ndims
        self.slots = slots = Slots(len(recorder.values))
        self.gradient = slots.gradient
        self.needs = [False] * len(recorder.values)
        for slot, need in zip([*range(self.n_inputs), *self.constants], needs, strict=True):
            self.needs[slot] = need
        before = -1
        while sum(self.needs) != before:  # until the states that depend on others are known
            before = sum(self.needs)
            for call in self.calls:
                call.mark(self.needs, lambda slot: getattr(dtypes[slot], "kind", "") == "f")
            for state, new in enumerate(self.new_states, start=1):
                self.needs[state] = self.needs[state] or self.needs[new]
        for call in self.calls:
            call.prepare(slots)
        self.ndims = [*ndims, *([0] * (len(slots.template) - len(ndims)))]
        self.back = [call for call in reversed(self.calls) if any(call.parents)]
        self.differentiable = any(self.needs[slot] for slot in sources)
        self._find_stored()
        self.codes: dict[Any, Callable[..., Any]] = {}  # made of it, by forward.py and backward.py

    def _find_stored(self) -> None:
        self.stored: dict[int, str] = {}  # slot -> "rows" or "list"
        self.shape_like: dict[int, int] = {}  # of rows: a slot of the same shape
        self.chunks: dict[int, tuple[int, int, int]] = {}  # slot -> the whole, which part of how many
        self.n_chunks: dict[int, int] = {}  # of wholes: their chunks lie below each other, at each step
        self.initials: list[int] = []  # states of which the first is kept too
        writable = (
            {self.output: self.output} if self.varies(self.output) and self.output >= self.n_inputs else {}
        )
        chunks = {}
        for call in self.calls:
            if self.ufunc_of(call) or self.product_of(call) or self.writes(call):
                writable[call.outs[0]] = call.outs[0]
            if call.fused and any(call.parents):
                for k in call.op.writable:
                    writable.setdefault(call.outs[k], call.outs[0])
                if self.ndims[call.outs[0]] == 2:
                    first = len(call.op.outputs)
                    for k, (w, j, n) in call.op.chunks.items():
                        if call.outs[k] in (*self.new_states, self.output):
                            continue
                        chunks[call.outs[k]] = (call.outs[first + w], j, n)
                        self.n_chunks[call.outs[first + w]] = n
                        writable[call.outs[first + w]] = call.outs[0]
        todo = [s for call in self.back for s in sorted(call.reads) if self.varies(s)]
        while todo:
            slot = todo.pop()
            if slot in chunks:
                self.chunks[slot] = chunks[slot]
                slot = chunks[slot][0]
            new = self.new_states[slot - 1] if 0 < slot < self.n_inputs else None
            if slot == 0:
                self.stored[0], self.shape_like[0] = "rows", 0
            elif new is not None and new >= self.n_inputs and self.varies(new):
                if slot not in self.initials:
                    self.initials.append(slot)
                    todo.append(new)
            elif slot in writable:
                self.stored[slot], self.shape_like[slot] = "rows", writable[slot]
            else:
                self.stored[slot] = "list"
        self.over_inputs = self._over_inputs()
        # States whose values before each step lie in rows: those after it, with the first in front.
        self.befores: dict[int, int] = {}
        for state in self.initials:
            new = self.new_states[state - 1]
            if self.stored.get(new) == "rows" and new not in self.befores.values():
                self.befores[state] = new

    def _over_inputs(self) -> int | None:
        """The gates that may lie in the memory of the inputs: each step reads its input before it makes them,
        in a sum with a product, and nobody does so later.
        """
        wholes = [slot for slot in self.n_chunks if slot in self.stored and self.dtypes[0] == self.dtypes[1]]
        if len(wholes) != 1 or 0 in self.stored or self.output == 0 or 0 in self.new_states:
            return None
        for call in self.calls:
            if wholes[0] in call.outs:
                return wholes[0]
            if 0 in call.refs and (call.refs.count(0) > 1 or not self.product_of(call) or call.refs[0]):
                return None
        return None

    def varies(self, slot: int) -> bool:
        """Whether a slot has another value at each step."""
        if slot in self.constant_set:
            return False
        return slot < self.slots.n_fixed_from or slot in self.slots.not_fixed

    def product_of(self, call: Call) -> tuple[int, int] | None:
        """The factors of a call that multiplies two matrices of one type."""
        if call.fused or call.op.name not in ("matmul", "addmm") or self.language != "python":
            return None
        left, right = call.refs[-2:]
        if self.ndims[left] != 2 or self.ndims[right] != 2 or self.dtypes[left] != self.dtypes[right]:
            return None
        return (left, right) if self.dtypes[call.outs[0]] == self.dtypes[left] else None

    def mixes_types(self, call: Call) -> bool:
        """Whether a call makes floats of what is not all of their type: the op itself then knows how."""
        own = self.dtypes[call.outs[0]]
        if call.fused or call.op.name == "where" or getattr(own, "kind", "") != "f":
            return False
        return any(self.dtypes[ref] not in (None, own) for ref in call.refs)

    def makes_anew(self, call: Call) -> bool:
        """Whether the results of a call lie in memory of their own."""
        if call.fused:
            return not {*call.op.program.inputs}.intersection(call.op.program.results)
        return (
            call.op.name in ("add", "sub", "mul", "div", "standardize") or self.product_of(call) is not None
        )

    def writes(self, call: Call) -> bool:
        """Whether a call of another kind can write its first result to memory that it is given."""
        if call.fused or not call.op.writes or self.language != "python":
            return False
        own = self.dtypes[call.outs[0]]
        return own == self.dtypes[call.refs[0]] and getattr(own, "itemsize", 0) >= 4

    def ufunc_of(self, call: Call) -> str | None:
        """The library's name of an elementwise call on values of one type and shape, or with a row of it."""
        if call.fused or call.settings or len(call.outs) != 1 or self.language != "python":
            return None
        name, dtype = UFUNCS.get(call.op.name), self.dtypes[call.outs[0]]
        fits = all(
            (same or self.row_beside_rows(call, ref)) and self.dtypes[ref] == dtype
            for ref, same in zip(call.refs, call.alike, strict=True)
        )
        return name if fits and getattr(dtype, "kind", "") == "f" else None

    def row_beside_rows(self, call: Call, slot: int) -> bool:
        """Whether an argument of an elementwise call is a constant row, beside as many rows as the result."""
        if call.fused or call.op.name not in ("add", "sub", "mul", "div") or self.language != "python":
            return False
        alike = [other for other, same in zip(call.refs, call.alike, strict=True) if same]
        return slot in self.constant_set and self.ndims[slot] == 1 and any(self.ndims[o] == 2 for o in alike)

    def is_even_split(self, call: Call) -> bool:
        """Whether a call takes a matrix apart, into equal pieces beside each other."""
        if call.fused or call.op.name != "split" or self.ndims[call.refs[0]] != 2:
            return False
        return call.settings["axis"] == 1 and len({*call.settings["sizes"]}) == 1
