"""Products of matrices, and einsum built on them."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array, array_module
from ..engine import Deferred, Value, mode, primitive
from ..engine.errors import Mismatch, WrongKind
from .arguments import widened
from .reduce import sum as sum_
from .shape import concat, permute, reshape, swapaxes


class Product(Deferred):
    """The matrix a^T @ g, not yet multiplied: the gradient of a weight from one use of it.

    a: (rows, m), g: (rows, n). The sum over many uses is one product of the pairs laid below each other.
    """

    __slots__ = ("a", "g")
    rows = ("a", "g")
    formula = "{0}^T @ {1}"

    def __init__(self, a: Array, g: Array) -> None:
        self.a, self.g = a, g

    @classmethod
    def total(cls, terms: list[Product]) -> Array:
        (rows, m), n = terms[0].a.shape, terms[0].g.shape[1]
        if len(terms) > 1 and _stacking_pays(rows, m, n):
            terms = [cls(_below([t.a for t in terms]), _below([t.g for t in terms]))]
        result = _times(terms[0].a.T, terms[0].g)
        if len(terms) > 1:
            result = widened(result)
        for term in terms[1:]:
            result = result + _times(term.a.T, term.g)
        return result


def _below(matrices: list[Array]) -> Array:
    """Matrices, arrays or tensors, below each other."""
    if any(isinstance(m, Value) for m in matrices):
        return concat(matrices)
    return array_module(matrices[0]).below(matrices)


def _stacking_pays(rows: int, m: int, n: int) -> bool:
    """Copying one pair's rows must be cheaper than adding one more product: few rows, large result."""
    return rows * (m + n) < 2 * m * n


def _times(a: Array, b: Array) -> Array:
    """a @ b of two matrices, arrays or tensors."""
    symbolic = isinstance(a, Value) or isinstance(b, Value)
    return matmul(a, b) if symbolic else array_module(a).product(a, b)


def _rows(x: Array) -> Array:
    """x with all axes but the last made one."""
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _left_gradient(g: Array, a: Array, b: Array) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return matmul(b, g[..., None])[..., 0]
    if a.ndim == 2 and b.ndim == 2:
        (n, k), m = a.shape, b.shape[1]
        # The sum over uses of g @ b^T is that of (g^T)^T @ b^T. What is read once holds for any n.
        pays = mode.current().tracer is None and _stacking_pays(m, n, k)
        return Product(g.T, b.T) if pays else _times(g, b.T)
    return matmul(g, swapaxes(b, -1, -2))


def _right_gradient(g: Array, a: Array, b_shape: tuple[int, ...]) -> Any:
    if len(b_shape) == 1:
        return a * g[..., None] if a.ndim > 1 else a * g
    if len(b_shape) == 2:
        return Product(a[None], g[None]) if a.ndim == 1 else Product(_rows(a), _rows(g))
    if a.ndim == 1:
        return a[:, None] * g[..., None, :]
    return matmul(swapaxes(a, -1, -2), g)


@primitive(vjp=(_left_gradient, _right_gradient), product=True)
def matmul(xp: Any, a: Array, b: Array) -> Array:
    """Matrix product of the last two axes, as NumPy's `@`: 1-D vectors, 2-D matrices, leading axes broadcast.

    (..., n, k) @ (..., k, m) -> (..., n, m).
    """
    return _product(xp, a, b)


def _product(xp: Any, a: Array, b: Array, add: Array | None = None) -> Array:
    if getattr(a, "ndim", 0) == 2 == getattr(b, "ndim", 0) and a.shape[1] == b.shape[0]:
        return xp.product(a, b, add)  # the commonest, first
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        raise Mismatch("matmul: both arguments need at least one axis; use * for a number")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise Mismatch(
            f"matmul: {a.shape} @ {b.shape}: the last axis of the first ({a.shape[-1]}) "
            f"must equal the {'second-last' if b.ndim > 1 else 'only'} axis of the second ({inner})"
        )
    if b.ndim == 2 and a.ndim > 1:  # one large product instead of a batch of small ones
        y = xp.product(_rows(a), b, add)
        return y if a.ndim == 2 else y.reshape(*a.shape[:-1], b.shape[1])
    y = xp.matmul(a, b)
    return y if add is None else y + add


def _mat1_gradient(g: Array, mat1: Array, mat2: Array) -> Any:
    return _left_gradient(g, mat1, mat2)


def _mat2_gradient(g: Array, mat1: Array, mat2_shape: tuple[int, ...]) -> Any:
    return _right_gradient(g, mat1, mat2_shape)


@primitive(vjp=(lambda g: g, _mat1_gradient, _mat2_gradient), product=True)
def addmm(xp: Any, input: Array, mat1: Array, mat2: Array) -> Array:
    """input + mat1 @ mat2 as one op; the input broadcasts to the product: (m,) + (..., n, k) @ (k, m)."""
    if input.ndim < 2 and mat1.ndim > 1:  # a row, which goes to every row of the product
        return _product(xp, mat1, mat2, input)
    y = _product(xp, mat1, mat2)
    if not y.ndim or y.dtype != input.dtype or input.ndim > y.ndim:
        return xp.broadcast_to(input, y.shape) + y
    return xp.add(y, input, out=y)


def _weight_gradient(g: Array, x: Array) -> Product:
    return Product(g[None], x[None]) if x.ndim == 1 else Product(_rows(g), _rows(x))


@primitive(vjp=(lambda g, weight: matmul(g, weight), _weight_gradient))
def linear(xp: Any, x: Array, weight: Array) -> Array:
    """x @ weight^T: (..., in) and (out, in) -> (..., out). As one op, so that a weight used at many time
    steps has its gradient made by one product."""
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise Mismatch(
            f"linear: x {x.shape} and weight {weight.shape} do not fit; expected (..., in) and (out, in)"
        )
    if x.ndim > 2:
        return xp.product(_rows(x), weight.T).reshape(*x.shape[:-1], weight.shape[0])
    return xp.product(x, weight.T) if x.ndim == 2 else xp.matmul(x, weight.T)


# The gradients of a left factor, which for matrices are g @ b^T.
LEFT = {_left_gradient, _mat1_gradient}
# Given the rows of many uses below each other, these give their sum, which loops rely on.
BY_ROWS = {_right_gradient, _mat2_gradient, _weight_gradient}


def einsum(subscripts: str, *operands: Array) -> Array:
    """Einstein summation: axes are named by letters, names missing in the result are summed over.

    `einsum("bi,ij->bj", x, w)`. Operands are combined two at a time from the left, each pair as one batched
    matrix product; `...` stands for any leading axes. A letter may not repeat within one operand.
    """
    for i, given in enumerate((subscripts, *operands)):
        if not isinstance(given, str) if i == 0 else not hasattr(given, "ndim"):
            kind = "a string such as 'ij,jk->ik'" if i == 0 else "a tensor"
            raise WrongKind(f"einsum: argument {i + 1} is a {type(given).__name__}, expected {kind}")
    subscripts = subscripts.replace(" ", "")
    inputs, arrow, output = subscripts.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise Mismatch(f"einsum: {subscripts!r} names {len(terms)} operands, got {len(operands)}")
    terms, output = _spell_out(terms, output if arrow else None, operands)
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != operand.ndim:
            raise Mismatch(
                f"einsum: {term!r} names {len(term)} axes, the operand has shape {tuple(operand.shape)}"
            )
        if len(set(term)) != len(term):
            raise Mismatch(f"einsum: {term!r} repeats a letter; take the diagonal by indexing first")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise Mismatch(
                    f"einsum: axis {letter!r} is {sizes[letter]} in one operand and {size} in another"
                )
    if len(set(output)) != len(output):
        raise Mismatch(f"einsum: the result {output!r} names an axis twice")
    unknown = [letter for letter in output if letter not in sizes]
    if unknown:
        raise Mismatch(f"einsum: the result names {unknown[0]!r}, which no operand has")
    names, value = terms[0], operands[0]
    for i, (term, operand) in enumerate(zip(terms[1:], operands[1:], strict=True), start=2):
        needed = set(output).union(*terms[i:])
        names, value = _pair(names, value, term, operand, needed, sizes)
    gone = tuple(i for i, letter in enumerate(names) if letter not in output)
    if gone:
        value = sum_(value, gone)
        names = "".join(letter for letter in names if letter in output)
    return permute(value, tuple(names.index(letter) for letter in output)) if names != output else value


def _spell_out(terms: list[str], output: str | None, operands: Any) -> tuple[list[str], str]:
    """Replaces `...` by capital letters not used otherwise, and makes the result's axes explicit."""
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if not any(c in t for t in terms)]
    widest = max((o.ndim - len(t) + 3 for t, o in zip(terms, operands, strict=True) if "..." in t), default=0)
    dots = "".join(free[:widest])
    if output is None:
        letters = sorted(c for c in set("".join(terms)) if c != ".")
        output = ("..." if dots else "") + "".join(c for c in letters if sum(t.count(c) for t in terms) == 1)
    spelled = []
    for term, operand in zip(terms, operands, strict=True):
        n = operand.ndim - len(term) + 3
        spelled.append(term.replace("...", dots[len(dots) - n :]) if "..." in term else term)
    return spelled, output.replace("...", dots)


def _pair(
    a_names: str, a: Array, b_names: str, b: Array, needed: set[str], sizes: dict[str, int]
) -> tuple[str, Array]:
    """One batched matrix product: shared axes that stay are its batch, those that go are summed over."""
    for_a = tuple(i for i, c in enumerate(a_names) if c not in b_names and c not in needed)
    for_b = tuple(i for i, c in enumerate(b_names) if c not in a_names and c not in needed)
    if for_a:
        a, a_names = sum_(a, for_a), "".join(c for i, c in enumerate(a_names) if i not in for_a)
    if for_b:
        b, b_names = sum_(b, for_b), "".join(c for i, c in enumerate(b_names) if i not in for_b)
    batch = [c for c in a_names if c in b_names and c in needed]
    inner = [c for c in a_names if c in b_names and c not in needed]
    left = [c for c in a_names if c not in b_names]
    right = [c for c in b_names if c not in a_names]

    def count(names: list[str]) -> int:
        return math.prod(sizes[c] for c in names)

    def laid_out(x: Array, names: str, *groups: list[str]) -> Array:
        order = tuple(names.index(c) for group in groups for c in group)
        return reshape(permute(x, order), tuple(count(group) for group in groups))

    product = matmul(laid_out(a, a_names, batch, left, inner), laid_out(b, b_names, batch, inner, right))
    names = "".join(batch + left + right)
    return names, reshape(product, tuple(sizes[c] for c in names))
