"""A block as calls of the ops' forwards, one after the other, each result in memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..ir import Block, Instr, Ref, resolved, setting


class Calls:
    """A block as calls of the ops' forwards, on arrays: what Block.run does, in fewer steps."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.given = (*block.params, *block.constants)
        self.steps = [_direct(i) or _in_general(i) for i in block.instructions]

    def __call__(self, arrays: Iterable[Any], n: int, xp: Any) -> list[Any]:
        env: dict[Ref, Any] = dict(zip(self.given, arrays, strict=True))
        for step in self.steps:
            step(env, n, xp)
        return [None if r is None else env[r] for r in self.block.results]


Step = Callable[[dict[Ref, Any], int, Any], None]


def _direct(instr: Instr) -> Step | None:
    """A call of floats of one type, which is the result's, with settings that are always the same."""
    args, out, op, settings = instr.args, instr.outs[0], instr.op, instr.settings
    plain = all(type(x) in (int, float, bool, str, type(None)) for x in settings.values())
    refs = [a for a in args if type(a) is Ref]
    if instr.several or not plain or not refs or len(refs) < len(args) or out.dtype.kind != "f":
        return None
    if any(r.dtype != out.dtype for r in refs):
        return None
    forward, dtype = op.forward, out.dtype

    def step(env: dict[Ref, Any], n: int, xp: Any) -> None:
        y = forward(xp, *[env[a] for a in refs], **settings)
        env[out] = y if type(y) is xp.array_type and y.dtype is dtype else xp.asarray(y, dtype=dtype)

    return step


def _in_general(instr: Instr) -> Step:
    args, outs, op = instr.args, instr.outs, instr.op

    def step(env: dict[Ref, Any], n: int, xp: Any) -> None:
        settings = {k: setting(v, env, n, xp) for k, v in instr.settings.items()}
        if args:
            made = op.call(*[resolved(a, env, n) for a in args], **settings)
        else:
            made = op.forward(xp, **settings)
        env.update(zip(outs, made if instr.several else (made,), strict=True))

    return step
