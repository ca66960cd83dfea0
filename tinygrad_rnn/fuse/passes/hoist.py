"""What of a step does not wait for the state: computed for all time steps at once, before the loop."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...engine import Look
from ..ir import Block, Instr, N, Ref, each_part, sub_block
from ..trace import PICK


class Hoisted(NamedTuple):
    """A step in four blocks. `fixed`, of the constants alone, runs once; `sized`, of these and of the number
    of rows, once for each; `inputs`, of x alone, for all steps; `step` at each. The results of `inputs` are
    the first parameters of `step`; those of `fixed`, which `sized` and `inputs` have too, and of `sized` are
    its last constants.
    """

    fixed: Block
    sized: Block
    inputs: Block
    step: Block


def hoisted(block: Block, n_inputs: int, of_inputs: bool = True) -> Hoisted:
    """Takes apart a block whose first parameters are what a step is given of the inputs, and the others
    states. Without `of_inputs`, what is computed of the inputs stays in the step.
    """
    xs, states = block.params[:n_inputs], block.params[n_inputs:]
    moving = block.depending_on(block.params)
    waiting = block.depending_on(states)
    by_rows, by_size = {*xs}, set[Ref]()
    for instr in block.instructions:
        if moving.isdisjoint(instr.outs):
            if mentions_rows(instr) or not by_size.isdisjoint(instr.reads()):
                by_size.update(instr.outs)
        elif of_inputs and waiting.isdisjoint(instr.outs) and works_on_rows(instr, by_rows, moving, by_size):
            by_rows.update(instr.outs)
    inside = [i for i in block.instructions if not moving.isdisjoint(i.outs)]
    # A view is made where it is read, so that its gradient need not be put together outside.
    makers = block.makers()
    wanted: dict[Ref, None] = {}

    def want(r: Ref) -> None:
        while r in by_rows and r in makers and makers[r].op.view is not Look.never:
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
    still = [r for r in dict.fromkeys(read) if r in makers and r not in moving]
    plain, sized = [r for r in still if r not in by_size], [r for r in still if r in by_size]
    known = [*block.constants, *plain]
    first = Block([], block.constants, block.instructions)
    rest = Block([*inputs, *states], [*known, *sized], block.instructions)
    return Hoisted(
        sub_block(first, plain),
        sub_block(Block([], known, block.instructions), sized, plain),
        sub_block(Block(xs, known, block.instructions), inputs, plain),
        without_unread(sub_block(rest, block.results, [*still, *inputs])),
    )


def mentions_rows(instr: Instr) -> bool:
    """Whether the number of rows occurs in an instruction."""
    return Block(instructions=[instr]).mentions(N)


def without_unread(block: Block) -> Block:
    """The block without constants that nobody reads."""
    read = {r for i in block.instructions for r in i.reads()} | {*block.results}
    return Block(block.params, [c for c in block.constants if c in read], block.instructions, block.results)


def works_on_rows(instr: Instr, by_rows: set[Ref], moving: set[Ref], by_size: set[Ref]) -> bool:
    """Whether each row of the results is computed of that row of the values in `by_rows`, and of what is the
    same for all rows: then it may be done for the rows of all steps at once.
    """
    op, settings = instr.op, instr.settings
    if N in instr.args:  # a number: the rows of a step, which those of all steps are not
        return False
    if not isinstance(op.view, Look) or op.view is Look.never:
        numbers: list[Any] = []
        each_part([*settings.values()], numbers.append)
        if any(x is N for x in numbers):
            return False
    given = [r for r in instr.reads() if r in moving]
    if not given or any(r not in by_rows or r.shape[:1] != (N,) for r in given):
        return False
    if any(o.shape[:1] != (N,) or N in o.shape[1:] for o in instr.outs) or any(
        N in r.shape[1:] for r in given
    ):
        return False
    fixed = [r for r in instr.reads() if r not in moving]
    if not by_size.isdisjoint(fixed) or any(N in r.shape for r in fixed):
        return False
    axes = settings.get("axes", (settings["axis"],) if "axis" in settings else None)
    if op.elementwise:
        n_axes = instr.out.ndim
        return all(r.ndim == n_axes for r in given) and all(r.ndim < n_axes or r.shape[0] == 1 for r in fixed)
    if op.product:
        return instr.args[-2] in by_rows and instr.args[-1] not in moving
    view = op.view
    if op is PICK and instr.args[0] not in moving:  # rows of a table, each named by a number
        return True
    if axes is not None:
        return view is not Look.always and all(type(a) is int and a > 0 for a in axes)
    if isinstance(view, Look):
        return view is Look.where_it_can
    index = view(settings, 0)
    return type(index) is tuple and index[:1] in ((slice(None),), (Ellipsis,))
