"""Products with weights, for a step that is written down with its weights: what is known is computed once,
and a sum of products, and of what is added to them, is one product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import find
from ...engine import REGISTRY
from ..ir import Block, Instr, Ref, Type, refs_in, sub_block
from ..trace import PICK
from .simplify import simplified

MATMUL, ADDMM, LINEAR, ADD = (REGISTRY[name] for name in ("matmul", "addmm", "linear", "add"))

Values = dict[Ref, Any]  # of constants: NumPy arrays
Terms = tuple[list[tuple[Ref, Ref]], list[Ref]]  # of a sum: products (value, weight), and other values


def without_fixed(block: Block, values: Values) -> Block:
    """What depends on no parameter becomes a constant, whose value is added to `values`."""
    moving = block.depending_on(block.params)
    inside = [i for i in block.instructions if not moving.isdisjoint(i.outs)]
    read = [r for i in inside for r in i.reads()] + [r for r in block.results if r is not None]
    makers = block.makers()
    fixed = [r for r in dict.fromkeys(read) if r in makers and r not in moving]
    if fixed:
        still = sub_block(Block([], block.constants, block.instructions), fixed)
        made = still.run([], [values[c] for c in block.constants], 1, find("numpy"))
        values.update(zip(fixed, made, strict=True))
    constants = [c for c in (*block.constants, *fixed) if c in {*read}]
    return Block(block.params, constants, inside, block.results)


def with_sums(block: Block, values: Values) -> Block:
    """Each product with a weight (in, out), and where it is added to something, that sum as one addmm."""
    made: list[Instr] = []
    constants = [*block.constants]
    count = _next_id(block)
    readers, results = block.readers(), {*block.results}
    products: dict[Ref, Instr] = {}  # that only one instruction reads
    for instr in block.instructions:
        x, w = instr.args if instr.op is LINEAR else (None, None)
        if type(w) is Ref and w in values:
            turned = Ref(count, Type(w.shape[::-1], w.dtype))
            count += 1
            values[turned] = np.ascontiguousarray(values[w].T)
            constants.append(turned)
            instr = Instr(MATMUL, (x, turned), {}, instr.outs)  # type: ignore[arg-type]
        elif instr.op is ADD:
            instr = _sum_with_product(instr, products)
        made.append(instr)
        is_product = instr.op in (MATMUL, ADDMM) and instr.args[-1] in values
        if is_product and len(readers.get(instr.out, ())) == 1 and instr.out not in results:
            products[instr.out] = instr
    return simplified(Block(block.params, constants, made, block.results))


def _next_id(block: Block) -> int:
    known = (*block.params, *block.constants, *block.makers())
    return 1 + max((r.id for r in known), default=-1)


def _sum_with_product(instr: Instr, products: dict[Ref, Instr]) -> Instr:
    """p + q as an addmm where p is a product that nobody else reads."""
    for p, q in (instr.args, instr.args[::-1]):
        maker = products.get(p) if type(p) is Ref else None
        if maker is not None and maker.op is MATMUL and type(q) is Ref and maker.out.shape == instr.out.shape:
            return Instr(ADDMM, (q, *maker.args), ADDMM.defaults, instr.outs)
    return instr


def sums_of(block: Block) -> tuple[set[Ref], dict[Ref, Terms]]:
    """The products that are part of the sum of another one, and the terms of all others."""
    readers, results = block.readers(), {*block.results}
    absorbed: set[Ref] = set()
    found: dict[Ref, Terms] = {}
    for instr in block.instructions:
        if instr.op not in (MATMUL, ADDMM):
            continue
        *added, left, right = instr.args
        terms: Any = [(left, right)]
        others: list[Any] = []
        for a in added:
            inner = found.get(a) if type(a) is Ref else None
            if (
                type(a) is Ref
                and inner is not None
                and len(readers.get(a, ())) == 1
                and a not in results
                and a.shape == instr.out.shape
            ):
                absorbed.add(a)
                terms, others = [*inner[0], *terms], [*others, *inner[1]]
            else:
                others.append(a)
        found[instr.out] = terms, others
    return absorbed, found


def rounded(block: Block, values: Values) -> Block:
    """The block with matrices of products and tables whose elements are an int8 times a scale of their
    column.
    """
    count = _next_id(block)
    constants, made = [*block.constants], []
    known: dict[Ref, Ref] = {}
    for instr in block.instructions:
        is_pick = instr.op is PICK and bool(refs_in(instr.settings["index"]))
        place = len(instr.args) - 1 if instr.op in (MATMUL, ADDMM) else 0
        w = instr.args[place] if is_pick or instr.op in (MATMUL, ADDMM) else None
        if type(w) is Ref and w in values and w.ndim == 2:
            if w not in known:
                known[w] = Ref(count, w.type)
                count += 1
                q, scale = quantised(values[w])
                values[known[w]] = q * scale
                constants.append(known[w])
            args = (*instr.args[:place], known[w], *instr.args[place + 1 :])
            instr = Instr(instr.op, args, instr.settings, instr.outs, instr.several)
        made.append(instr)
    read = {r for i in made for r in i.reads()} | {*block.results}
    return Block(block.params, [c for c in constants if c in read], made, block.results)


def quantised(w: Any) -> tuple[Any, Any]:
    """A matrix as int8 and a scale for each of its columns: w is near q * scale."""
    scale = np.abs(w).max(axis=0, initial=0) / 127
    scale = np.where(scale > 0, scale, 1).astype(w.dtype)
    return np.clip(np.rint(w / scale), -127, 127).astype(np.int8), scale
