"""What an optimiser says of its update, and how that is done to arrays.

It says three things: which arrays it keeps for a parameter (`buffer_names`), the numbers of a step
(`coefficients`), and the equation of the update (`update`, new values from old ones). From the equation
fuse/lower/update.py makes code that changes arrays in place: for NumPy, operations on pieces that stay in the
processor's cache, so that a dozen of them read the main memory once; in C, and for a GPU, a function that
changes many parameters at a time.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..backend import Array, ArrayModule, array_module, dtypes
from ..backend.capture import Stale
from ..backend.native import native
from ..creation import tensor
from ..engine import mark_changed
from ..fuse.lower.update import InPlace, is_number, lie_plainly
from ..ops import where
from ..tensor import Tensor

# Elements of a piece: of float32, four arrays and two for scratch are 768 KiB, within a second-level cache.
_BLOCK = 1 << 15
_WORTH_COMPILING = 1 << 12  # elements of a group from which on its update is


class UpdateRule:
    """The part of an optimiser that changes the parameters of one group: its subclass `Optimizer` has the
    groups, the steps, and the files.
    """

    master_weights = False  # whether float16 parameters have a float32 copy, which is what is updated
    scaling: tuple[Array, Array] | None = None  # of nn.amp.GradScaler: 1 / scale, and 1 where a step is void

    def __init__(self) -> None:
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._scratch: dict[tuple[str, Any], list[Array]] = {}
        self._equations: dict[Any, InPlace] = {}

    @property
    def _name(self) -> str:
        return type(self).__name__

    def buffer_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the arrays kept for each parameter of a group, in the order in which `update` takes
        them.
        """
        return ()

    def buffer_start(self, group: dict[str, Any]) -> float:
        """The number that these arrays hold at first."""
        return 0.0

    def coefficients(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers of this step for one parameter: Python floats; None for one that is not needed, and
        booleans, are part of the equation. Counts the step in `state` where one does.
        """
        raise NotImplementedError(f"{self._name} must define coefficients and update, or step")

    def update(self, numbers: Sequence[Any], p: Any, g: Any, *buffers: Any) -> tuple[Any, ...]:
        """The new values of a parameter and its buffers: arithmetic and the functions of ops/elementwise.py.

        `numbers` are those of `coefficients`; numbers are not combined with each other here.
        """
        raise NotImplementedError(f"{self._name} must define coefficients and update, or step")

    def _step_group(self, i: int, group: dict[str, Any], params: Sequence[Tensor]) -> None:
        """Changes parameters of the i-th group: on a GPU those that are alike together."""
        names = self.buffer_names(group)
        together: dict[Any, list[tuple[Tensor, list[Array]]]] = {}
        update, of_numbers = None, None
        compiles = native.works and sum(p.numel() for p in params) >= _WORTH_COMPILING
        for p in params:
            xp, state = self._module(p), self.state[p]
            if xp.capturing is not None:
                xp.capturing.on_failure(functools.partial(_put_back, state, dict(state)))
            numbers = self.coefficients(group, state)
            if xp.capturing is not None:
                xp.capturing.check(functools.partial(self._check_numbers, i, p, _pattern(numbers)))
            array, kind = p.array, working_type(p.array)
            arrays = [array, p.grad.array]
            arrays += [self._buffer(xp, p, state, kind, self.buffer_start(group), name) for name in names]
            if self._keeps_master(array):
                arrays.append(self._buffer(xp, p, state, kind, None, "master"))
            if xp.capturing is not None:
                xp.capturing.keep([*arrays, *(self.scaling or ())])
                xp.capturing.check(functools.partial(self._check_arrays, i, p, arrays[:1] + arrays[2:]))
            plain = compiles and xp.device_type == "cpu" and self.scaling is None and xp.capturing is None
            if xp.language == "cuda" or (plain and lie_plainly(arrays)):
                together.setdefault((xp, numbers, *[a.dtype for a in arrays]), []).append((p, arrays))
            elif self.scaling is not None or xp.capturing is not None:
                again = functools.partial(self._numbers_again, i, [p])
                self._run_with_arrays(xp, xp.numbers(numbers, again), arrays, len(names))
            else:
                if numbers != of_numbers:  # as a rule the same for all of a group
                    update, of_numbers = self._equation(numbers, len(names), 2 + len(names)).run, numbers
                self._run_in_pieces(xp, update, numbers, arrays, kind)
            mark_changed(array)
        for (xp, numbers, *_), members in together.items():
            lists = [arrays for _, arrays in members]
            if xp.language != "cuda":
                self._run_together(xp, numbers, lists, len(names))
                continue
            if self._keeps_master(lists[0][0]):  # it is what is updated, and the parameter its copy
                lists = [[master, g, *buffers, p] for p, g, *buffers, master in lists]
            again = functools.partial(self._numbers_again, i, [p for p, _ in members])
            all_numbers = xp.numbers(numbers, again)
            all_numbers = (*all_numbers, *(self.scaling or ()))
            self._equation(all_numbers, len(names), len(lists[0])).launch(xp, lists, all_numbers)

    def _module(self, p: Tensor) -> ArrayModule:
        xp = array_module(p.array)
        if array_module(p.grad.array) is not xp:
            raise TypeError(
                f"{self._name}: a parameter of shape {p.shape} is on {xp.name}, its gradient on "
                f"{array_module(p.grad.array).name}; call zero_grad() after moving a model"
            )
        return xp

    def _numbers_again(self, i: int, params: Sequence[Tensor]) -> tuple[Any, ...]:
        """The numbers of one more step of a captured graph."""
        numbers: tuple[Any, ...] = ()
        for p in params:  # each counts its own steps; the numbers are the same for all
            numbers = self.coefficients(self.param_groups[i], self.state[p])
        return numbers

    def _check_numbers(self, i: int, p: Tensor, pattern: tuple[Any, ...]) -> None:
        """Raises Stale where an option has become zero, or is so no longer: the equation is another then."""
        if _pattern(self.coefficients(self.param_groups[i], dict(self.state[p]))) != pattern:
            raise Stale

    def _check_arrays(self, i: int, p: Tensor, arrays: Sequence[Array]) -> None:
        """Raises Stale where a captured step works on arrays that are no longer the parameter's."""
        names = [*self.buffer_names(self.param_groups[i]), "master"]
        kept = [self.state[p][name].array for name in names if name in self.state[p]]
        if [id(p.array), *map(id, kept)] != [*map(id, arrays)]:
            raise Stale

    def _keeps_master(self, array: Array) -> bool:
        return self.master_weights and array.dtype.itemsize == 2

    def _equation(self, numbers: Sequence[Any], n_buffers: int, n_arrays: int) -> InPlace:
        """The code of the update for numbers of this pattern."""
        key = _pattern(numbers), n_arrays
        found = self._equations.get(key)
        if found is None:
            scaled = self.scaling is not None

            def equation(numbers: Any, p: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
                inverse, void = numbers[-2:] if scaled else (None, None)
                own = numbers[:-2] if scaled else numbers
                buffers = rest[:n_buffers]
                new = self.update(own, p, g if inverse is None else g * inverse, *buffers)
                if void is not None:
                    new = tuple(where(void, old, x) for old, x in zip((p, *buffers), new, strict=True))
                return (*new, *(new[:1] * (n_arrays - 2 - n_buffers)))  # the copy of master weights

            found = self._equations[key] = InPlace(self._name, equation, numbers, n_arrays)
        return found

    def _run_with_arrays(
        self, xp: ArrayModule, numbers: Sequence[Any], arrays: Sequence[Array], n_buffers: int
    ) -> None:
        """Changes one parameter where arrays without axes are among the numbers."""
        kind = working_type(arrays[0])
        scaling = tuple(map(xp.scalar, self.scaling or ()))
        if scaling and type(scaling[1]) is float:  # a number, where the host can read it
            if scaling[1]:
                return
            scaling = (scaling[0], None)
        numbers = [x.astype(kind) if hasattr(x, "dtype") else x for x in (*numbers, *scaling)]
        run = self._equation(numbers, n_buffers, 2 + n_buffers).run
        self._run_in_pieces(xp, run, numbers, arrays, kind)

    def _run_together(
        self, xp: ArrayModule, numbers: Sequence[Any], lists: Sequence[Sequence[Array]], n_buffers: int
    ) -> None:
        """Changes many parameters by one call of compiled code, or where nothing compiles one by one."""
        from ..fuse.lower.c_update import compiled  # importing the package is quick without

        equation = self._equation(numbers, n_buffers, 2 + n_buffers)
        function = compiled(equation, lists[0][0].dtype)
        if function is not None:
            function.run(lists, numbers)
            return
        for arrays in lists:
            self._run_in_pieces(xp, equation.run, numbers, arrays, arrays[0].dtype)

    def _run_in_pieces(
        self, xp: ArrayModule, run: Any, numbers: Sequence[Any], arrays: Sequence[Array], kind: Any
    ) -> None:
        """Changes one parameter by operations on whole arrays, piece by piece."""
        if arrays[0].dtype == kind:
            for part in _blocks(xp, arrays):
                run(xp, part, numbers, functools.partial(self._scratch_like, xp, kind, part[0]))
            return
        master = self._keeps_master(arrays[0])  # float16, worked on in float32
        for p, g, *rest in _blocks(xp, arrays):
            g_wide, wide = self._scratch_like(xp, kind, p, 2)
            g_wide[...] = g
            if master:
                wide = rest.pop()
            else:
                wide[...] = p

            def scratch(n: int, like: Array = p) -> list[Array]:
                return self._scratch_like(xp, kind, like, n + 2)[2:]

            run(xp, (wide, g_wide, *rest), numbers, scratch)
            p[...] = wide

    def _buffer(
        self, xp: ArrayModule, p: Tensor, state: dict[str, Any], kind: Any, start: float | None, name: str
    ) -> Array:
        """The array kept under `name`: made at first, of `start` or for None of the parameter; and moved or
        cast when the parameter has been.
        """
        if name not in state:
            with xp.at_once():
                new = p.array.astype(kind) if start is None else xp.full(p.shape, start, kind)
            state[name] = Tensor._of(new)
        array = state[name].array
        if array_module(array) is not xp or array.dtype != kind:
            with xp.at_once():
                state[name] = tensor(array, kind, p.device)
            array = state[name].array
        if array.shape != p.shape:
            raise ValueError(
                f"{self._name}: a parameter's shape has become {p.shape}, its {name} is {array.shape}"
            )
        return array

    def _scratch_like(self, xp: ArrayModule, kind: Any, part: Array, n: int) -> list[Array]:
        """`n` arrays of a piece's shape over memory that is kept from step to step."""
        memory = self._scratch.get((xp.name, kind), [])
        size = max([part.size, *(m.size for m in memory[:1])])
        if len(memory) < n or memory[0].size < size or xp.device_type != "cpu":

            def make() -> list[Array]:
                return [xp.empty(size, kind) for _ in range(max(n, len(memory)))]

            fits = len(memory) >= n and memory[0].size == size
            memory = self._scratch[xp.name, kind] = [*xp.kept(make, memory if fits else None)]
        return [m[: part.size].reshape(part.shape) for m in memory[:n]]


def _pattern(numbers: Sequence[Any]) -> tuple[Any, ...]:
    """What of the numbers of a step belongs to its equation: which are there, and those that are choices."""
    return tuple([0.0 if is_number(x) else x for x in numbers])


def _put_back(state: dict[str, Any], before: dict[str, Any]) -> None:
    state.clear()
    state.update(before)


def working_type(array: Array) -> Any:
    """The type in which a parameter's update is computed and its state kept: float32 for float16, whose range
    does not hold the squares of gradients, else its own.
    """
    return dtypes.float32 if array.dtype.itemsize == 2 else array.dtype


def _blocks(xp: ArrayModule, arrays: Sequence[Array]) -> Iterator[Sequence[Array]]:
    """Arrays of one shape in matching pieces that stay in the cache; on a GPU, where a call costs more than
    memory, whole.
    """
    first = arrays[0]
    if first.size <= _BLOCK or xp.device_type != "cpu":
        yield arrays
        return
    step = _BLOCK
    if all(a.flags.c_contiguous for a in arrays):
        arrays = [a.reshape(-1) for a in arrays]
    else:  # rows of an array that lies otherwise in memory
        step = max(1, _BLOCK * len(first) // first.size)
    for start in range(0, len(arrays[0]), step):
        yield [a[start : start + step] for a in arrays]
