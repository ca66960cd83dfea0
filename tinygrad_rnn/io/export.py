"""A trained recurrent net as one C file and its header, without any dependency but C's own library.

What is written comes of a trace: a copy of the model, in which each cell takes its state from outside and
says what it has become, is called with a sequence of one step. No module is known by name; what a copy
computes step by step is held against what the model makes of a whole sequence before anything is written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module
from ..backend.naming import kind
from ..creation import tensor
from ..engine import no_grad
from ..fuse.ir import Block, Type
from ..fuse.lower.c import NotLowerable
from ..fuse.lower.portable import Portable
from ..fuse.lower.portable_text import Named, c_text, header_text
from ..fuse.trace import Traced, Untraceable, trace
from ..nn.bidirectional import Bidirectional
from ..nn.cell import Cell
from ..nn.embedding import Embedding
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.recurrent import Recurrent
from ..nn.scan import flattened
from ..nn.state import State
from ..nn.stepwise import Refused, StepCopy, called, shown
from ..version import __version__
from .atomic import file_name, replacing

__all__ = ["Exported", "export_c"]

N_STEPS = 64  # of the random sequence that the error is measured on


class Exported(NamedTuple):
    """The files that were written, and the largest difference of an output from the model's on a random
    sequence, in parts of the largest output.
    """

    c: str
    h: str
    error: float


def export_c(model: Module, path: Any, *, weights: str = "float", inputs: int | None = None) -> Exported:
    """Writes `model` as `path`.c and `path`.h: its weights, NAME_init(state) and NAME_step(x, state, y), with
    NAME the name of the file.

    The model takes a sequence (T, B, features), or of tokens (T, B), or batch first where its recurrent
    layers are, and returns outputs for each step, or for the last one alone, or a tuple that begins with
    these. It is exported as it is in eval mode. Recurrent layers and cells begin with their initial state,
    learned ones too, and keep it from step to step. `weights="int8"` writes matrices as int8 with a scale for
    each column. `inputs`: the features of x, where no module says them.

    Raises ValueError, before any file is written, where the model cannot be a step of C: it reads from the
    end, its step cannot be traced, or has an op that is not written in C; TypeError for what is no module;
    OSError where a file cannot be written.
    """
    if not isinstance(model, Module):
        raise TypeError(f"export_c: expected a Module, got {kind(model)}")
    if weights not in ("float", "int8"):
        raise ValueError(f"export_c: weights is {weights!r}, expected 'float' or 'int8'")
    path = re.sub(r"\.[ch]$", "", file_name(path, "export_c"))
    with no_grad(), np.errstate(all="ignore"):
        read = _Reader(model, inputs)
        try:
            step = Portable(read.block, read.values, weights == "int8")
        except NotLowerable as reason:
            where = read.copy.makers.get(getattr(reason, "op", ""))
            inside = f"{where}: " if where else ""
            raise ValueError(f"export_c: {read.name} cannot be exported: {inside}{reason}") from None
        read.check(StepCopy(model, read.dtype, follows=False).model)
        error = read.error(step)
    stem = re.split(r"[/\\]", path)[-1]
    named = _named(read, step, stem, error, weights)
    texts = c_text(step, named), header_text(step, named)
    files = f"{path}.c", f"{path}.h"
    with replacing(files[1], "export_c") as header, replacing(files[0], "export_c") as file:
        file.write(texts[0].encode())
        header.write(texts[1].encode())
    return Exported(*files, error)


def _named(read: _Reader, step: Portable, stem: str, error: float, weights: str) -> Named:
    name = re.sub(r"\W", "_", stem, flags=re.ASCII).lstrip("_")
    name = name if name[:1].isalpha() else f"net_{name}"
    matrices = "Matrices are int8, with a scale for each column. " if weights == "int8" else ""
    says = [
        f"{read.name} of {read.n_weights:,} weights, exported by tinygrad_rnn {__version__}. {matrices}"
        f"On a random sequence of {N_STEPS} steps no output differed from the model's by more than "
        f"{error:.1e} of the largest."
    ]
    return Named(name, f"{stem}.h", read.n_inputs, read.is_token, read.n_outputs, read.starts, says)


# ---------------------------------------------------------------- what a step of a model does


class _Reader:
    """A model read as one step: `block`, with params x and states and results y and new states of one row;
    the `values` of its constants; where each state begins, with a name, in `starts`. Raises ValueError.
    """

    def __init__(self, model: Module, inputs: int | None) -> None:
        self.name = type(model).__name__
        _check_direction(model, self.name)
        parameters = [*model.parameters()]
        floats = {p.dtype for p in parameters}
        self.dtype = floats.pop() if len(floats) == 1 else np.dtype("float32")
        self.device = parameters[0].device if parameters else None
        self.n_weights = sum(p.numel() for p in parameters)
        self.copy = StepCopy(model, self.dtype)
        kept = self.copy.kept
        self.states = [s for k in kept for s in flattened(k.start)]
        failed: Exception | None = None
        for self.n_inputs, self.is_token in [(inputs, False)] if inputs else _inputs(model):
            try:
                traced = self._traced()
                break
            except Untraceable as reason:
                failed = failed or ValueError(f"export_c: {self._reason(reason)}")
        else:
            raise failed or ValueError(
                f"export_c: no part of {self.name} says how many features a step is given; say inputs="
            )
        self.values = [_numpy(c) for c in traced.constants]
        names = [f"{k.name}{f'.{n}' if n else ''}" for k in kept for n in _state_names(k.start)]
        starts = [_numpy(s).reshape(-1).tolist() for s in self.states]
        self._keep_used(traced, [*zip(names, starts, strict=True)])
        self.n_outputs = int(self.block.results[0].size)  # type: ignore[union-attr]

    def _x(self, shape: tuple[int, ...]) -> Type:
        if self.is_token:
            return Type(shape, np.dtype("int64"))
        return Type((*shape, self.n_inputs), self.dtype)

    def _traced(self) -> Traced:
        """The trace of a step, for inputs of the kind at hand."""
        types = [self._x((1, 1)), *(Type(tuple(s.shape), s.dtype) for s in self.states)]
        self.copy.blamed.clear()
        traced = trace(self.copy.step, types, self.copy.tracer)
        for before, after, k in zip(types[1:], traced.block.results[1:], self.copy.names, strict=True):
            if after is None or after.type != before:
                raise Refused(f"{k} has a state of another shape or type after a step than before")
        return traced

    def _reason(self, reason: Untraceable) -> str:
        if isinstance(reason, Refused):
            return f"{self.name} cannot be exported: {reason}"
        where = f" in {self.copy.blamed[0]}" if self.copy.blamed else ""
        return f"{self.name} cannot be exported: its step cannot be read{where}: {reason}"

    def _keep_used(self, traced: Traced, starts: list[tuple[str, list[float]]]) -> None:
        """Leaves out states that no step reads or changes."""
        block, (x, *before), (y, *after) = traced.block, traced.block.params, traced.block.results
        read = {r for i in block.instructions for r in i.reads()} | {y}
        used = [k for k, r in enumerate(before) if r in read or after[k] is not r]
        self.block = Block(
            [x, *(before[k] for k in used)],
            block.constants,
            block.instructions,
            [y, *(after[k] for k in used)],
        )
        self.starts = [starts[k] for k in used]
        self.states = [self.states[k] for k in used]

    # ------------------------------------------------------------ held against the model

    def check(self, model: Module) -> None:
        """That a model's outputs are those of its steps. Raises ValueError."""
        rng = np.random.default_rng(0)
        t = self._x((N_STEPS, 1))
        shape = t.at(1)
        self.xs = rng.integers(0, self.n_inputs, shape) if self.is_token else rng.normal(size=shape)
        self.xs = self.xs.astype(t.dtype)
        ours = self._over_time(lambda given: self.block.run(given, self.values, 1))
        most = 1e-3 if self.dtype.itemsize == 4 else 1e-8
        found = []
        for axes in ((0, 1), (1, 0)):  # time first, or the batch
            with contextlib.suppress(Exception):  # a model takes one of them, as a rule
                found.append([self._apart(model, ours, n, axes) for n in (1, 2, 5, 16, N_STEPS)])
        # Of what keeps no state the steps are those of a batch, too: that one layout is right says nothing.
        chosen = (min if self.states else max)(found, key=lambda each: max(each[:-1]), default=[1.0])
        self.apart = max(chosen)
        if max(chosen[:-1], default=1.0) < most:  # small differences may grow in many steps
            return
        raise ValueError(
            f"export_c: {self.name} cannot be exported: what it makes of a sequence is not what it makes of "
            "one step after the other, each with the state of the one before"
        )

    def _apart(self, model: Module, ours: Any, n: int, axes: tuple[int, int]) -> float:
        """How far outputs differ after n steps, in parts of the largest. Raises ValueError where their
        number does.
        """
        x = tensor(np.ascontiguousarray(self.xs[:n].transpose(*axes, *range(2, self.xs.ndim))))
        x = x if self.device is None else x.to(device=self.device)
        y = _numpy(shown(model(x))).reshape(-1, self.n_outputs)
        if len(y) not in (1, n):
            raise ValueError
        return apart(ours[:n][-len(y) :], y)

    def _over_time(self, run: Callable[[list[Any]], list[Any]]) -> Any:
        """The outputs (steps, outputs) for the random sequence."""
        states, outputs = [_numpy(s) for s in self.states], []
        for x in self.xs:
            y, *states = run([x[None], *states])
            outputs.append(np.asarray(y).reshape(-1))
        return np.stack(outputs)

    def error(self, step: Portable) -> float:
        """How far outputs with the weights as they are written are from those of the model."""
        exact = self._over_time(lambda given: self.block.run(given, self.values, 1))
        return max(self.apart, apart(self._over_time(step.run), exact))


def apart(a: Any, b: Any) -> float:
    """The largest difference in parts of the largest of b; where both are the same, be it NaN, there is
    none.
    """
    largest = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
    with np.errstate(invalid="ignore"):
        differences = np.where((a == b) | ((a != a) & (b != b)), 0, np.abs(a - b))
    return float(differences.max(initial=0) / largest)


def _numpy(x: Any) -> Any:
    array = getattr(x, "array", x)
    return array_module(array).to_numpy(array)


def _state_names(state: State) -> list[str]:
    n = len(flattened(state))
    names = [*getattr(state, "_fields", ())]
    return names if len(names) == n else [""] if n == 1 else [str(k) for k in range(n)]


def _check_direction(model: Module, name: str) -> None:
    """Raises ValueError where a layer reads from the end."""
    for path, module in model.named_modules():
        backwards = isinstance(module, Recurrent) and (module.bidirectional or module.reverse)
        if backwards or isinstance(module, Bidirectional):
            where = called(path, module)
            raise ValueError(
                f"export_c: {name} cannot be exported: {where} reads from the end, which a step does not know"
            )


def _inputs(model: Module) -> list[tuple[int, bool]]:
    """What a step may be given, the likeliest first: (features, False), or (tokens, True)."""
    found: dict[tuple[int, bool], None] = {}
    for module in model.modules():
        if isinstance(module, Embedding):
            found[module.num_embeddings, True] = None
        elif isinstance(module, (Recurrent, Cell)):
            found[module.input_size, False] = None
        elif isinstance(module, Linear):
            found[module.in_features, False] = None
    return [*found]
