"""An equation that changes arrays in place as a C function: all parameters of an optimiser by one call."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

from ...backend.native import native
from ..ir import Ref
from .c import HEAD, NotLowerable, literal, preamble, statement
from .update import InPlace

CHUNK = 8192  # elements that a thread takes at once, as in pool.c
ENOUGH = 1 << 16  # elements from which on a second thread is worth waking


def compiled(update: InPlace, dtype: Any) -> CUpdate | None:
    """What changes the arrays of many parameters of one type by one call; None where nothing compiles."""
    if not native.works:
        return None
    if dtype not in update.compiled:
        try:
            update.compiled[dtype] = CUpdate(update, dtype)
        except (NotLowerable, OSError):
            update.compiled[dtype] = None
    found: CUpdate | None = update.compiled[dtype]
    return found


class CUpdate:
    """The function of an update, for arrays of one type. Raises OSError where it cannot be compiled."""

    def __init__(self, update: InPlace, dtype: Any) -> None:
        self.length, self.given = len(update.arrays), update.given
        self.source = self._source(update, dtype)
        self._library = native.load(self.source)
        self._rows = ctypes.cast(self._library.rows, ctypes.c_void_p).value

    def _source(self, update: InPlace, dtype: Any) -> str:
        names, block, n = update.names, update.block, self.length
        read = {r for i in block.instructions for r in i.reads()} | {*block.results}
        body = [f"const T {names[a]} = p_{names[a]}[i];" for a in update.arrays if a in read]
        for i in block.instructions:
            args = [names[a] if type(a) is Ref else literal(a) for a in i.args]
            body.append(statement(i, args, names[i.out]))
        body += [f"p_{names[a]}[i] = {names[r]};" for r, a in update.targets if r is not a]
        text = "\n".join(f"      {line}" for line in body)
        numbers = [
            f"  const T {names[r]} = T(((const double*)call->memory[call->n_steps * {n}])[{k}]);"
            for k, r in enumerate(update.scalars)
        ]
        pointers = [
            f"    T* const p_{names[a]} = (T*)call->memory[k * {n} + {j}];"
            for j, a in enumerate(update.arrays)
            if a in read or any(a is target for _, target in update.targets)
        ]
        return "\n".join([
            *preamble(dtype, text), f"/* {update.name}'s update */",
            "EXPORT void rows(const Call* call, Index r0, Index r1) {", *numbers,
            "  for (Index r = r0, k = 0; r < r1; r++) {",
            "    while (k + 1 < call->n_steps && call->row[k + 1] <= r) k++;",
            f"    const Index start = (r - call->row[k]) * {CHUNK}, left = call->step[k] - start;",
            f"    const Index end = start + (left < {CHUNK} ? left : {CHUNK});", *pointers,
            '    _Pragma("GCC ivdep")', "    for (Index i = start; i < end; i++) {", text,
            "    }", "  }", "}\n",
        ])  # fmt: skip

    def run(self, lists: Sequence[Sequence[Any]], numbers: Sequence[Any]) -> None:
        """Changes the arrays of some parameters, which lie plainly. Raises MemoryError."""
        objects = array("q", [id(a) for arrays in lists for a in arrays])
        given = array("d", [numbers[i] for i in self.given])
        size = sum(arrays[0].size for arrays in lists)
        if size and native.run_elements(
            objects.buffer_info()[0], HEAD, len(lists), self.length, given.buffer_info()[0], self._rows,
            min(native.n_threads, 1 + size // ENOUGH),
        ):  # fmt: skip
            raise MemoryError
