"""What of a step does not wait for the state: computed for all time steps at once, before the loop."""

from __future__ import annotations

from typing import NamedTuple

from ..ir import Block, Instr, N, Ref, sub_block
from ..traits import view_of


class Hoisted(NamedTuple):
    """A step in three blocks. `fixed`, of the constants alone, runs once; `inputs`, of x alone, for all
    steps; `step` at each. The results of `inputs` are the first parameters of `step`, those of `fixed` its
    last constants, which `inputs` has, too.
    """

    fixed: Block
    inputs: Block
    step: Block


def hoisted(block: Block, n_inputs: int) -> Hoisted:
    """Takes apart a block whose first parameters are what a step is given of the inputs, and the others
    states.
    """
    xs, states = block.params[:n_inputs], block.params[n_inputs:]
    moving = block.depending_on(block.params)
    waiting = block.depending_on(states)
    by_rows = {*xs}
    for instr in block.instructions:
        if (
            waiting.isdisjoint(instr.outs)
            and not moving.isdisjoint(instr.outs)
            and works_on_rows(instr, by_rows, moving)
        ):
            by_rows.update(instr.outs)
    inside = [i for i in block.instructions if not moving.isdisjoint(i.outs)]
    # A view is made where it is read, so that its gradient need not be put together outside.
    makers = block.makers()
    wanted: dict[Ref, None] = {}

    def want(r: Ref) -> None:
        while r in by_rows and r in makers and view_of(makers[r].op) is not None:
            r = makers[r].args[0]  # type: ignore[assignment]
        wanted.setdefault(r)

    hoistable = {r for r in by_rows if r in makers}
    for instr in inside:
        if not hoistable.issuperset(instr.outs):
            for r in instr.reads():
                if r in by_rows:
                    want(r)
    for result in block.results:
        if result is not None and result in by_rows:
            want(result)
    inputs = [*wanted] or [*xs[:1]]
    read = [r for i in inside for r in i.reads()] + [r for r in block.results if r is not None]
    fixed_results = [r for r in dict.fromkeys(read) if r in makers and r not in moving]
    fixed = sub_block(Block([], block.constants, block.instructions), fixed_results)
    first = sub_block(
        Block(xs, [*block.constants, *fixed_results], block.instructions), inputs, fixed_results
    )
    rest = sub_block(
        Block([*inputs, *states], [*block.constants, *fixed_results], block.instructions),
        block.results,
        [*fixed_results, *inputs],
    )
    return Hoisted(fixed, first, without_unread(rest))


def without_unread(block: Block) -> Block:
    """The block without constants that nobody reads."""
    read = {r for i in block.instructions for r in i.reads()} | {*block.results}
    return Block(block.params, [c for c in block.constants if c in read], block.instructions, block.results)


def works_on_rows(instr: Instr, by_rows: set[Ref], moving: set[Ref]) -> bool:
    """Whether each row of the results is computed of that row of the values in `by_rows`, and of what is the
    same for all rows: then it may be done for the rows of all steps at once.
    """
    op, settings = instr.op, instr.settings
    given = [r for r in instr.reads() if r in moving]
    if not given or any(r not in by_rows or r.shape[:1] != (N,) for r in given):
        return False
    if any(o.shape[:1] != (N,) or N in o.shape[1:] for o in instr.outs) or any(
        N in r.shape[1:] for r in given
    ):
        return False
    fixed = [r for r in instr.reads() if r not in moving]
    if any(N in r.shape for r in fixed):
        return False
    axes = settings.get("axes", (settings["axis"],) if "axis" in settings else None)
    if op.elementwise:
        n_axes = instr.out.ndim
        return all(r.ndim == n_axes for r in given) and all(r.ndim < n_axes or r.shape[0] == 1 for r in fixed)
    if op.product:
        return instr.args[-2] in by_rows and instr.args[-1] not in moving
    view = view_of(op)
    if view is not None and axes is None:
        index = view(instr, 0)
        if type(index) is tuple:
            return index[:1] in ((slice(None),), (Ellipsis,))
        return index is None and op.name == "reshape"
    if axes is not None and op.name != "permute":
        return all(type(a) is int and a > 0 for a in axes)
    return bool(op.name == "pick" and instr.args[0] not in moving)
