"""A training step as one CUDA graph: what the host said once is done again at a single word of it.

An eager step of a recurrent net is a few hundred calls, each of which costs the host more than the GPU. A
graph holds them all. It works on fixed memory: what the step is given is copied into it, and what it returns
is copied out.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

from .. import backend
from ..backend import CannotCapture, allow_tf32, array_module, deterministic
from ..backend.capture import Stale, capturing, on_host
from ..backend.random import noting_draws
from ..engine import mark_changed, mode, tick, versions
from ..tensor import Tensor

_SEEN, _EAGER = "seen", "eager"
IN_VAIN = 3  # graphs in a row that were of no use


class Graphed:
    """A step that runs as a CUDA graph. Made by `graphed`."""

    def __init__(self, step: Callable[..., Any], max_graphs: int = 8) -> None:
        functools.update_wrapper(self, step)
        if not callable(step):
            raise TypeError(f"graphed: expected a function, got a {type(step).__name__}")
        if not isinstance(max_graphs, int) or max_graphs < 1:
            raise ValueError(f"graphed: max_graphs must be a positive integer, got {max_graphs!r}")
        self.step, self.max_graphs = step, max_graphs
        self._graphs: dict[Any, Any] = {}  # by shapes: a _Graph, or how far it has come
        self._said: set[str] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors: list[Tensor] = []
        key = _flatten((args, kwargs), tensors)
        modules = {array_module(t.array) for t in tensors} or {backend.current()}
        if len(modules) > 1 or capturing.get() is not None:  # mixed devices, or inside of another
            return self.step(*args, **kwargs)
        problem = self._problem(key, tensors)
        if problem:
            return self._eagerly(problem, args, kwargs)
        key = key, modules.pop(), mode.current(), allow_tf32.on, deterministic.on
        found = self._graphs.get(key)
        if found is None:
            if len(self._graphs) >= self.max_graphs:
                return self._eagerly(
                    f"there are graphs for {self.max_graphs} shapes already (max_graphs)", args, kwargs
                )
            self._graphs[key] = _SEEN  # the first time it runs as it is: kernels are compiled, buffers made
            return self.step(*args, **kwargs)
        if found is _EAGER:
            return self.step(*args, **kwargs)
        in_vain, copies_gradients = 0, False
        if type(found) is _Graph:
            copies_gradients = found.copies_gradients
            try:
                result = found(tensors)
                found.in_vain = 0
                return result
            except Held:
                in_vain, copies_gradients = found.in_vain, True
            except Stale:  # parameters or their buffers are other arrays now
                in_vain = found.in_vain + 1
            if in_vain == IN_VAIN:
                self._graphs[key] = _EAGER
                return self._eagerly("other arrays are put in place of its own between calls", args, kwargs)
        try:
            found = self._graphs[key] = _Graph(key[1], self.step, args, kwargs, tensors, copies_gradients)
            found.in_vain = in_vain
        except CannotCapture as reason:
            self._graphs[key] = _EAGER
            return self._eagerly(str(reason), args, kwargs)
        return found(tensors)

    def _problem(self, key: Any, tensors: list[Tensor]) -> str:
        try:
            hash(key)
        except TypeError:
            return "an argument is neither a tensor nor a value that can be compared"
        if any(t.requires_grad for t in tensors):
            return "an argument requires a gradient"
        return ""

    def _eagerly(self, reason: str, args: Any, kwargs: Any) -> Any:
        if reason not in self._said:
            self._said.add(reason)
            name = getattr(self, "__name__", "the step")
            warnings.warn(f"graphed: {name} runs eagerly: {reason}", stacklevel=3)
        return self.step(*args, **kwargs)

    @property
    def n_graphs(self) -> int:
        """How many graphs there are."""
        return sum(type(g) is _Graph for g in self._graphs.values())


class Held(Exception):
    """Somebody holds a gradient that the next replay would write over."""


class _Graph:
    """One captured step: the memory of its arguments and results, and what replays it.

    Where somebody was found to hold a gradient from one call to the next, `copies_gradients`: each replay
    writes them to the same place, and `.grad` is a copy.
    """

    in_vain = 0  # how many before it were never replayed

    def __init__(
        self, xp: Any, step: Any, args: Any, kwargs: Any, tensors: list[Tensor], copies_gradients: bool
    ) -> None:
        self._inputs, self._on_host = [t.array.copy() for t in tensors], on_host()
        self.copies_gradients = copies_gradients
        own_args, own_kwargs = _rebuilt((args, kwargs), iter([Tensor._of(a) for a in self._inputs]))
        before = {id(p) for p in self._inputs}
        self._gradients: list[tuple[Any, Any]] = []  # of leaves, as they are after the step
        self._made: list[tuple[Any, Any]] = []  # those of them that are the graph's own
        start = tick()

        def run() -> Any:
            current = capturing.get()
            with noting_draws() as draws:
                if current is None:
                    return step(*own_args, **own_kwargs)
                current.on_failure(draws.undo)
                with mode.reading(current.keep):
                    result = step(*own_args, **own_kwargs)
            current.end()
            self._gradients = current.gradients()
            self._made = [pair for pair in self._gradients if current.made(*pair)]
            return result

        self._result, self._replay = xp.capture(run)
        # What it changes in place it changes at each replay; arguments are changed where they come from.
        changed = versions.changed_since(start)
        self._changed = [array for array in changed if id(array) not in before]
        self._changed_inputs = [
            k for k, place in enumerate(self._inputs) if any(array is place for array in changed)
        ]
        del changed
        self._n_holders = self._holders()

    def _holders(self) -> list[tuple[int, ...]]:
        """How many references there are to each gradient that the graph makes: the tensor, its array, and
        what owns its memory, which is what views refer to.
        """
        counts = []
        for leaf, gradient in self._made:
            array = gradient.array
            things = gradient, array, array_module(array).owner(array)
            first, *others = map(sys.getrefcount, things)
            counts.append((first - (leaf.grad is gradient), *others))
        return counts

    def _is_held(self) -> bool:
        """Whether somebody has a gradient of an earlier call, which the next would write over."""
        now = self._holders()
        held = any(a > b for new, old in zip(now, self._n_holders, strict=True)
                   for a, b in zip(new, old, strict=True))  # fmt: skip
        self._n_holders = [tuple(map(min, new, old)) for new, old in zip(now, self._n_holders, strict=True)]
        return held

    def __call__(self, tensors: list[Tensor]) -> Any:
        if self._on_host != on_host():
            raise Stale
        if not self.copies_gradients and self._is_held():
            raise Held

        def fill() -> None:
            for place, t in zip(self._inputs, tensors, strict=True):
                place[...] = t.array

        def read() -> Any:
            for leaf, gradient in self._gradients:
                leaf.grad = gradient
            for leaf, gradient in self._made if self.copies_gradients else ():
                leaf.grad = Tensor._of(gradient.array.copy())
            for array in self._changed:
                mark_changed(array)
            for k in self._changed_inputs:
                tensors[k].array[...] = self._inputs[k]
                mark_changed(tensors[k].array)
            results: list[Tensor] = []
            _flatten(self._result, results)
            return _rebuilt(self._result, iter([Tensor._of(t.array.copy()) for t in results]))

        return self._replay(fill, read)


def graphed(step: Callable[..., Any] | None = None, *, max_graphs: int = 8) -> Any:
    """Makes a CUDA graph of a training step; also a decorator.

        @tg.cuda.graphed
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

    Tensors among the arguments (in tuples, lists and dicts too) are copied into the graph's memory at each
    call, tensors in the result out of it. For each combination of their shapes and types and of the other
    arguments' values, the first call runs the step as it is, the second captures it, and later ones replay
    it: nothing of its Python is run then, except that optimisers count their steps and read their options
    (a schedule works; call it outside), and that masks of dropout are drawn. At most `max_graphs`
    combinations are captured; more run as they are.

    What cannot be captured runs as it is, and a warning says why, once: reading values on the host (`item()`,
    `float(loss)`, a mask as an index), data from the host inside the step, and everything on NumPy.
    A graph goes on using the arrays of parameters and of the optimiser. It is captured anew where these are
    replaced (`load_state_dict` of the optimiser, `model.half()`, `x.data = ...` of any tensor), where a
    module goes from training to evaluation or back, where a parameter is frozen or another given to the
    optimiser, and where one of its options becomes zero; a graph each for training and evaluation saves that.
    Other things that Python changes are not seen: what a step hands on to the next must be an argument and a
    result. After each replay `.grad` is what it is after the step; where a gradient of an earlier call is
    still held, the step is captured anew, and from then on `.grad` is a copy. A graph may be replayed on any
    stream and by any thread; one replay waits for the other. It holds the tensors that it reads.
    """
    if step is None:
        return functools.partial(graphed, max_graphs=max_graphs)
    return Graphed(step, max_graphs)


def _flatten(tree: Any, tensors: list[Tensor]) -> Any:
    """Collects the tensors of a tree, and returns what can be compared: its structure, shapes and values."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return Tensor, tree.shape, tree.dtype
    if isinstance(tree, (tuple, list)):
        return type(tree), tuple([_flatten(part, tensors) for part in tree])
    if isinstance(tree, dict):
        return dict, tuple([(name, _flatten(part, tensors)) for name, part in tree.items()])
    return type(tree), tree


def _rebuilt(tree: Any, tensors: Any) -> Any:
    """The tree with other tensors in the places of its own."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, (tuple, list)):
        parts = [_rebuilt(part, tensors) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, dict):
        return {name: _rebuilt(part, tensors) for name, part in tree.items()}
    return tree
