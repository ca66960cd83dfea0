"""How a call of an op is read: its arrays, their vertices, their library and type; and how its forward is
run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..backend import MODULES, Array, ArrayModule, array_module, host_array
from ..backend.dtypes import DType, result_dtype
from . import errors, mode, versions

if TYPE_CHECKING:
    from .core import Node, Value, Vertex
    from .gradients import Forwarded, Wrap
    from .rules import Primitive

NUMBERS = frozenset((float, int, bool))
REGISTRY: dict[str, Primitive] = {}  # all ops, by name


class Call:
    """A call of an op, read. Observers are given it."""

    __slots__ = ("args", "arrays", "dtype", "mask", "parents", "settings", "wrapped", "xp")

    def __init__(
        self, args: Sequence[Any], settings: dict[str, Any], xp: ArrayModule, arrays: Sequence[Array],
        parents: Sequence[Vertex | None], mask: int, dtype: DType | Literal[False] | None,
        wrapped: bool = True,
    ) -> None:  # fmt: skip
        self.args, self.settings = args, settings  # as they were given
        self.xp, self.arrays, self.parents = xp, arrays, parents
        self.mask = mask  # bit i says that argument i needs a gradient
        self.dtype = dtype  # of the arrays; False where they have several
        self.wrapped = wrapped  # whether one argument is a value


def read(
    op: Primitive, args: Sequence[Any], settings: dict[str, Any], values: Sequence[Value | None]
) -> Call:
    """Reads a call; `values` are those of its arguments that are values, None for the others. Raises
    TypeError for what is no array, and for arrays of two libraries."""
    arrays: list[Array] = []
    parents: list[Vertex | None] = []
    xp = dtype = None
    mask, wrapped = 0, False
    for i, (a, value) in enumerate(zip(args, values, strict=True)):
        vertex = None
        if value is not None:
            wrapped = True
            a, vertex = value.array, versions.vertex_of(value)
            if vertex is not None:
                mask |= 1 << i
        module = MODULES.get(type(a))
        if module is not None:
            if a.dtype is not dtype:
                dtype = a.dtype if dtype is None else False
            if module is not xp:
                if xp is not None:
                    moved = _beside(op, args, values)
                    if moved is None:
                        raise errors.mixed_devices(op.name, i, xp.name, module.name)
                    again = [m if v is not None else None for m, v in zip(moved, values, strict=True)]
                    return read(op, moved, settings, again)
                xp = module
        elif type(a) not in NUMBERS:
            a = _number_or_array(op.name, i, a, any(v is not None for v in values))
            if type(a) in MODULES:
                xp, dtype = array_module(*arrays, a), False
        parents.append(vertex)
        arrays.append(a)
    if not op.variadic and len(arrays) != len(op.arguments):
        raise errors.wrong_number(op.name, op.arguments, len(arrays))
    if xp is None:
        xp = array_module()
        arrays = [xp.asarray(a, dtype=result_dtype([]) if type(a) is float else None) for a in arrays]
        dtype = arrays[0].dtype if arrays else None
    reads = mode.current().reads
    if reads is not None:
        reads([*arrays, *settings.values()])
    return Call(args, settings, xp, arrays, parents, mask, dtype, wrapped)


def _beside(op: Primitive, args: Sequence[Any], values: Sequence[Value | None]) -> list[Any] | None:
    """Arguments on two devices, with those of the host moved to the other where they have no axes: PyTorch's
    rule, by which such a tensor is as good as a number. None where that does not help. What joins tensors
    takes them from one device alone."""
    arrays = [a if value is None else value.array for a, value in zip(args, values, strict=True)]
    modules = [MODULES.get(type(a)) for a in arrays]
    targets = {m for m in modules if m is not None and m.device_type != "cpu"}
    from_host = [m is not None and m.device_type == "cpu" for m in modules]
    with_axes = any(host and a.ndim for host, a in zip(from_host, arrays, strict=True))
    if op.variadic or len(targets) != 1 or with_axes:
        return None
    (target,) = targets
    transfer = REGISTRY["transfer"].call
    return [
        transfer(a, source=m, target=target) if host else a
        for a, m, host in zip(args, modules, from_host, strict=True)
    ]


def _number_or_array(name: str, position: int, a: Any, beside_values: bool) -> Array:
    """What else may be given to an op: NumPy's scalars, and subclasses of arrays.

    Beside a value a scalar counts as a Python number, which never changes the value's type. In a rule, where
    there are only arrays, it is what NumPy made of arrays without axes, and stays one.
    """
    if hasattr(a, "item") and getattr(a, "ndim", None) == 0:
        return a.item() if beside_values else host_array(a)
    for kind, module in MODULES.items():
        if isinstance(a, kind):
            return module.asarray(a)
    raise errors.wrong_argument(name, position, a)


def forward(op: Primitive, call: Call) -> Forwarded:
    """The result of the forward, an array or a tuple of them. Raises what it raises, with the op's name."""
    arrays = call.arrays
    if op.floating and (not call.dtype or call.dtype.kind != "f"):
        arrays = _as_floats(arrays)
    try:
        y = op.forward(call.xp, *arrays, **call.settings)
    except (ValueError, TypeError, IndexError) as reason:
        raise errors.failed_forward(op.name, call.arrays, reason) from reason
    except MemoryError as reason:
        raise errors.out_of_memory(op.name, call.arrays, reason) from reason
    return fitted(call, y)


def _as_floats(arrays: Sequence[Array]) -> Sequence[Array]:
    """The arguments of a function of real numbers: in the default type where none of them is floating."""
    kinds = [getattr(a, "dtype", None) for a in arrays]
    if any(kind is not None and kind.kind == "f" for kind in kinds):
        return arrays
    wanted = result_dtype([])
    return [a if kind is None else a.astype(wanted) for a, kind in zip(arrays, kinds, strict=True)]


def fitted(call: Call, y: Forwarded) -> Forwarded:
    """A result as an array of the type that it should have."""
    if type(y) is not tuple:
        if type(y) is not call.xp.array_type and type(y) not in MODULES:
            y = call.xp.asarray(y)  # a reduction to a NumPy scalar
        if y.dtype is not call.dtype and y.dtype.kind == "f" and "dtype" not in call.settings:
            wanted = result_dtype([a for a in call.arrays if type(a) is call.xp.array_type])
            if y.dtype != wanted:  # NumPy's float64 for what should stay float32
                y = y.astype(wanted)
    return y


def as_values(node: Node, wrap: Wrap) -> list[Any]:
    """Under create_graph: what a node saved, with values at their vertices where rules would read arrays."""
    y, *saved = node.saved or ()
    if type(y) is tuple:
        node.outputs = len(y)  # from here on also the hidden ones, of fused functions and loops
    if y is not None:
        y = wrap(y, node)
    if node.op.variadic:
        if saved[0] is not None:
            saved[0] = tuple([wrap(a, p) for a, p in zip(saved[0], node.parents, strict=True)])
        return [y, *saved]
    for i, parent in enumerate(node.parents):
        if parent is not None and saved[i] is not None:
            saved[i] = wrap(saved[i], parent)
    return [y, *saved]
