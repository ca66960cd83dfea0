"""One Python function of elements -> one node in the graph, one straight run over the data.

    @pointwise
    def lstm(gates, c):
        i, f, g, o = chunk(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

An argument may be several values side by side, as `gates` is here; `chunk` takes it apart. The function is
called once, on symbols, which write down every operation on them: a straight list, the *program*. Its reverse
is another program: the rules of the operations, called on symbols too, from the last to the first. Nothing is
said twice, and nothing is said here about any cell.

From a program, codegen.py makes a function for NumPy and cuda_source.py a kernel for a GPU. A call of the
fused function is one node with several results: those the function returns, and, hidden behind them, the
intermediate values that the reverse program reads. Because they are results, gradients of gradients may flow
into them, at any order.

`with eager():` runs the function as it stands, op by op.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..backend import Array, array_module
from ..engine import Node, Output, Primitive, Value, mode
from ..engine.arguments import Call
from ..engine.errors import out_of_memory
from . import elementwise as e
from .codegen import LOGICAL, Program, compiled
from .factored import Factored, factored
from .gates import Gates, find_gates
from .shape import chunk, concat


class Symbol:
    """Stands for a value while a function is read: operations on it are written into the program."""

    __slots__ = ("name", "program")

    def __init__(self, program: Program, name: str) -> None:
        self.program, self.name = program, name

    def record(self, op: Primitive, args: tuple[Any, ...], settings: dict[str, Any]) -> Symbol:
        """Called by a primitive that is given a symbol."""
        if op.joint is not None or op.forward.__module__ != e.__name__:
            raise TypeError(
                f"pointwise: {op.name} does not work element by element; call it outside the function"
            )
        operands = []
        for a in args:
            if not isinstance(a, (Symbol, float, int, bool)):
                raise TypeError(
                    f"pointwise: {op.name} is given a {type(a).__name__} from outside the function; "
                    "what is not a number must come in as an argument"
                )
            operands.append(a.name if isinstance(a, Symbol) else a)
        return Symbol(self.program, self.program.emit(op, tuple(operands), {**op.defaults, **settings}))

    emit = record

    def chunk(self, chunks: int, axis: int = 0) -> tuple[Symbol, ...]:
        """Called by `chunk`: the pieces of an argument."""
        program, name = self.program, self.name
        if axis != -1:
            raise TypeError(f"pointwise: chunk works along the last axis, axis=-1, got axis={axis}")
        if name in program.inputs:
            program.packs[name] = pieces = [f"{name}_{k}" for k in range(chunks)]
            at = program.inputs.index(name)
            program.inputs[at : at + 1] = pieces
        if len(program.packs.get(name, ())) != chunks:
            raise TypeError("pointwise: chunk works on an argument, and on each into one number of chunks")
        return tuple(Symbol(program, piece) for piece in program.packs[name])

    def __bool__(self) -> bool:
        raise TypeError(
            "pointwise: the function may not branch on a value; where(condition, a, b) chooses by element"
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("ndim", "shape", "dtype"):
            raise TypeError(f"pointwise: a single element has no {name}; call what needs it outside")
        method = None if name.startswith("_") else getattr(e, name, None)
        if method is None or not callable(method):
            raise AttributeError(f"pointwise: {name!r} is no operation on single elements")
        return functools.partial(method, self)

    __add__ = __radd__ = e.add
    __mul__ = __rmul__ = e.mul
    __sub__, __truediv__, __pow__, __neg__, __abs__ = e.sub, e.div, e.pow, e.neg, e.abs
    __mod__, __floordiv__ = e.remainder, e.floor_divide
    __lt__, __le__, __gt__, __ge__ = e.lt, e.le, e.gt, e.ge
    __eq__, __ne__, __and__, __or__ = e.eq, e.ne, e.logical_and, e.logical_or
    __invert__ = e.logical_not
    __hash__ = object.__hash__

    def __rsub__(self, other: Any) -> Any:
        return e.sub(other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return e.div(other, self)

    def __rpow__(self, other: Any) -> Any:
        return e.pow(other, self)

    def __rmod__(self, other: Any) -> Any:
        return e.remainder(other, self)

    def __rfloordiv__(self, other: Any) -> Any:
        return e.floor_divide(other, self)


def trace(function: Callable[..., Any], n_args: int) -> Program:
    """Reads a function of `n_args` elements: inputs a0, a1, ...; results as the function returns them."""
    program = Program([f"a{i}" for i in range(n_args)], "v")
    returned = function(*(Symbol(program, name) for name in program.inputs))
    program.one_result = not isinstance(returned, tuple)
    for result in (returned,) if program.one_result else returned:
        if not isinstance(result, Symbol):
            raise TypeError(
                f"pointwise: {function.__name__} returns a {type(result).__name__}, not a computed value"
            )
        program.results.append(result.name)
    read = {*program.results, *(name for step in program.steps for name in step.reads())}
    if not read.isdisjoint(program.packs):
        raise TypeError(f"pointwise: {function.__name__} uses an argument both in chunks and whole")
    return program


def reverse(forward: Program, outputs: tuple[str, ...], needs: tuple[bool, ...]) -> Program:
    """The program of the gradients: from those of `outputs` (inputs g0, g1, ...) and forward values to those
    of the arguments that need one, in their order (None for an argument that no path leads to)."""
    program = Program([f"g{k}" for k in range(len(outputs))], "r")
    depends = {name for name, need in zip(forward.inputs, needs, strict=True) if need}
    for step in forward.steps:
        if step.op.has_rules and depends.intersection(o for o in step.operands if isinstance(o, str)):
            depends.add(step.name)
    gradients: dict[str, Symbol] = {}

    def add(name: str, g: Symbol) -> None:
        gradients[name] = gradients[name] + g if name in gradients else g

    for name, g_name in zip(outputs, program.inputs, strict=True):
        add(name, Symbol(program, g_name))
    for step in reversed(forward.steps):
        g = gradients.pop(step.name, None)
        if g is None or step.name not in depends:
            continue
        arguments = [Symbol(program, o) if isinstance(o, str) else o for o in step.operands]
        values = [g, Symbol(program, step.name), *arguments, *(step.settings[s] for s in step.op.settings)]
        for operand, rule, reads in zip(step.operands, step.op.rules, step.op.reads_of, strict=True):
            if rule is not None and operand in depends:
                add(operand, rule(*(values[i] for i in reads)))
    wanted = [name for name, need in zip(forward.inputs, needs, strict=True) if need]
    program.results = [gradients[name].name if name in gradients else None for name in wanted]
    return program.without_dead_steps()


class Fused:
    """A pointwise function: called like the plain one, run as one node."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        parameters = inspect.signature(function).parameters.values()
        if any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
            raise TypeError(f"pointwise: {self.name} may take plain positional arguments only")
        self.arguments = [p.name for p in parameters]
        self._plans: dict[Any, Plan] = {}

    @functools.cached_property
    def program(self) -> Program:
        return trace(self.function, len(self.arguments))

    @functools.cached_property
    def pieces(self) -> list[int]:
        """Into how many pieces each argument is taken apart."""
        return [len(self.program.packs.get(f"a{i}", "1")) for i in range(len(self.arguments))]

    def __call__(self, *args: Any) -> Any:
        now = mode.current()
        if not now.fused or now.debug or now.tracer is not None:
            return self.function(*args)
        if len(args) != len(self.arguments):
            wanted = ", ".join(self.arguments)
            raise TypeError(
                f"{self.name}: expected {len(self.arguments)} arguments ({wanted}), got {len(args)}"
            )
        arrays, parents = [], []
        mask, bit = 0, 1
        rows, piece = 0, 1  # pieces that are broadcast, such as a bias: bit i for piece i
        shape = dtype = kind = None
        for a, n in zip(args, self.pieces, strict=True):
            if not isinstance(a, Value):
                return self.function(*args)  # plain arrays and numbers: nothing to fuse for
            vertex = a.vertex
            if vertex is not None:
                mask |= bit
            bit += bit
            parents.append(vertex)
            array = a.array
            arrays.append(array)
            own = array.shape
            if n > 1:
                if not own or own[-1] % n:
                    return self.function(*args)  # chunks of unequal size
                own = (*own[:-1], own[-1] // n)
            if shape is None:
                shape, dtype, kind = own, array.dtype, type(array)
            elif own != shape:
                if own != shape[1:] or not own:
                    return self.function(*args)  # other broadcasting: the rare case, op by op
                rows |= ((1 << n) - 1) * piece
            if array.dtype is not dtype or type(array) is not kind:
                return self.function(*args)
            piece <<= n
        if not shape or dtype.kind != "f":  # type: ignore[union-attr]
            return self.function(*args)
        if not now.grad:
            mask = 0
        xp = array_module(arrays[0])
        plan = self.plan(mask, rows, xp)
        if not plan.fits:
            return self.function(*args)
        if now.reads is not None:
            now.reads(arrays)
        try:
            values = tuple(plan.run(xp, arrays))
        except MemoryError as reason:
            raise out_of_memory(self.name, arrays, reason) from reason
        results = values[: plan.n_results]
        new, node = Value.result._of, None
        if mask:
            node = Node(plan, parents, [values, *plan.kept(arrays)], outputs=len(results))
            outs = [new(v, Output(node, k, v)) for k, v in enumerate(results)]
        else:
            outs = [new(v) for v in results]
        if now.observers:
            call = Call(args, {"rows": rows, "xp": xp}, xp, arrays, parents, mask, dtype)
            for observer in now.observers:
                observer(self, call, tuple(outs), node)
        return outs[0] if self.program.one_result else tuple(outs)

    def plan(self, mask: int, rows: int, xp: Any) -> Plan:
        """The plan for the arguments that need a gradient and the pieces that are rows, bit by bit."""
        key = (mask, rows, xp)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(self, mask, rows, xp.language)
        return plan

    def source(self, language: str = "python") -> str:
        """What was made of the function: "program", the operations forward and back; "python", the code for
        NumPy; "cuda", the kernels for a GPU, for float32 arguments that lie in rows of larger arrays.
        """
        made = language if language == "cuda" else "python"
        plan = Plan(self, (1 << len(self.arguments)) - 1, 0, made)
        present = (True,) * plan.n_results
        back, _, run = plan.reverse_of(present, (True,) * len(self.arguments))
        if language == "program":
            return "\n\n".join(f"{', '.join(p.inputs)}:\n{p}" for p in (self.program, back))
        if language in ("python", "cuda"):
            return f"{plan.forward.source}\n\n{run.source}"
        raise ValueError(f"source: {language!r} is unknown; there are 'program', 'python' and 'cuda'")


def take_apart(array: Array, n: int) -> list[Array]:
    """Views of `n` equal parts along the last axis."""
    size = array.shape[-1] // n
    return [array[..., k * size : (k + 1) * size] for k in range(n)]


def _worth_keeping(program: Program) -> set[str]:
    """The values that are not made of one other by one operation with a number: no 1 - z beside z."""
    cheap = ("add", "sub", "mul", "neg")
    return {s.name for s in program.steps if s.op.name not in cheap or len(s.reads()) > 1} | {
        *program.outputs()
    }


def _after(gates: list[Gates], program: Program) -> Program:
    """The program from the values of the gates on."""
    made = {name for g in gates for name in (*g.values, *g.sums)}
    steps = [step for step in program.steps if step.name not in made]
    return Program(program.inputs, "v", steps, program.results)


def _generator(language: str, name: str) -> tuple[bool, Callable[..., Any]]:
    """Whether a reverse program should work out forward values again, and what makes a run of a program."""
    if language == "cuda":  # imported when asked for
        from . import cuda_source

        return cuda_source.RECOMPUTES, functools.partial(cuda_source.compiled, name=name)
    return False, compiled


class Plan:
    """A fused function for one choice of arguments that need gradients. The `op` of its nodes."""

    variadic = False
    pulls = None  # one rule for all arguments: `gradients`
    asks_owned = False

    def __init__(self, fused: Fused, mask: int, rows: int, language: str = "python") -> None:
        program = fused.program
        recomputes, self.compiled = _generator(language, fused.name)
        self.small = program.only_from(name for i, name in enumerate(program.inputs) if rows >> i & 1)
        self.fits = not self.small.intersection(program.results)
        self.program, self.name, self.pieces = program, fused.name, fused.pieces
        needs = self._of_pieces([mask >> i & 1 for i in range(len(self.pieces))])
        # The forward values that a reverse program may read: those that are no trouble to keep, or the
        # results alone, or none.
        self.known: set[str] = {*program.outputs()} if recomputes else _worth_keeping(program)
        read = self.reverse(program.outputs(), needs).outside() if mask else []
        if recomputes and mask:
            self.known = set()
            from_arguments = self.reverse(program.outputs(), needs).outside()
            if len(from_arguments) <= len(read):
                read = from_arguments
            else:
                self.known = {*program.outputs()}
        hidden = [name for name in read if name not in program.inputs and name not in program.results]
        self.n_results = len(program.results)
        names = iter(program.inputs)
        own = [[next(names) for _ in range(n)] for n in self.pieces]
        self.saved = [not set(read).isdisjoint(names_of) for names_of in own]
        self.gates = find_gates(program, self.small) if language == "python" else []
        if len(self.gates) == 1 and not self.gates[0].of_all:
            self.gates[0].beside = self._beside(self.gates[0], hidden)
        of_all = [g.of_all for g in self.gates]
        self.gates_of = {int(a[1:]): g for a, g in zip(of_all, self.gates, strict=True) if a}  # by argument
        # The arguments that the forward is given whole, after the pieces; and the pieces that it reads.
        self.whole = [int(a[1:]) for a in dict.fromkeys(a for g in self.gates for a, _ in g.arguments)]
        self.outputs = (*program.outputs(), *hidden)
        self.wholes = tuple(g.whole() for g in self.gates if mask)  # behind the outputs, in loops
        self.rest = _after(self.gates, program)
        read = [name for step in self.rest.steps for name in step.reads()]
        self.pieces_read = [name in {*read, *program.results} for name in program.inputs]
        self._forwards: dict[Any, Any] = {}
        self.forward = self.writing((), len(self.outputs))
        self._reverses: dict[Any, Any] = {}
        self.rows = rows

    def _beside(self, gates: Gates, hidden: Sequence[str]) -> tuple[str, ...]:
        """The other hidden values in the shape of the results: all that a step keeps is in one place then."""
        floats = {s.name for s in self.program.steps if s.op.name not in (*LOGICAL, "where")}
        return tuple(v for v in hidden if v in floats and v not in self.small and v not in gates.values)

    def writing(self, into: tuple[int, ...], n_outputs: int, scratch: frozenset[int] = frozenset()) -> Any:
        """The code of the forward for the first outputs, of which those in `into` are written to memory that
        it is given. It may write in the memory of the arguments in `scratch`.
        """
        key = (into, n_outputs, scratch)
        if key not in self._forwards:
            wanted: list[str | None] = [*(*self.outputs, *self.wholes)[:n_outputs]]
            more: Any = {}
            if self.gates:
                more = {"activated": self.gates, "scratch": {f"a{i}" for i in scratch}}
            program = Program(self.program.inputs, "v", self.rest.steps, wanted).without_dead_steps()
            self._forwards[key] = self.compiled(program, into=into, small=self.small, **more)
        return self._forwards[key]

    @functools.cached_property
    def writable(self) -> set[int]:
        """The outputs that may be written to memory for all time steps: floats in the results' shape."""
        floats: set[str] = set()
        for step in self.program.steps:
            truths = step.op.name == "where" and all(o not in floats for o in step.operands[1:])
            if step.op.name not in LOGICAL and not truths and step.name not in self.small:
                floats.add(step.name)
        for gates in self.gates:
            floats.difference_update(gates.values, gates.beside)  # they are chunks of a whole
        return {k for k, name in enumerate(self.outputs) if name in floats}

    @functools.cached_property
    def chunks(self) -> dict[int, tuple[int, int, int]]:
        """The outputs that are chunks of gates: in which of `wholes`, and which of how many."""
        place = {name: k for k, name in enumerate(self.outputs)}
        return {
            place[name]: (self.wholes.index(g.whole()), j, len(g.values) + len(g.beside))
            for g in self.gates
            if g.whole() in self.wholes
            for j, name in enumerate((*g.values, *g.beside))
            if name in place
        }

    def is_row(self, i: int) -> bool:
        """Whether argument i lacks the first axis, as a bias."""
        first = sum(self.pieces[:i])
        return bool(self.rows >> first & 1)

    def reverse(self, outputs: tuple[str, ...], needs: tuple[bool, ...]) -> Program:
        """The program of the gradients. Where intermediate values cost more to keep than to compute again, it
        begins with the steps of the forward.
        """
        back = reverse(self.program, outputs, needs)
        again = [step for step in self.program.steps if step.name not in self.known]
        return Program(back.inputs, "r", again + back.steps, back.results).without_dead_steps()

    def _of_pieces(self, of_arguments: Sequence[Any]) -> tuple[bool, ...]:
        return tuple(bool(x) for x, n in zip(of_arguments, self.pieces, strict=True) for _ in range(n))

    def run(self, xp: Any, arrays: Sequence[Array]) -> list[Array]:
        """The results, the hidden ones last."""
        pieces: list[Any] = []
        for i, (array, n) in enumerate(zip(arrays, self.pieces, strict=True)):
            pieces += [array] if n == 1 else [None] * n if i in self.gates_of else take_apart(array, n)
        pieces += [arrays[i] for i in self.whole]
        results: list[Array] = self.forward(xp, pieces)
        return results

    def kept(self, arrays: list[Array]) -> list[Array | None]:
        """The arguments, without those that no rule reads."""
        return [a if keep else None for a, keep in zip(arrays, self.saved, strict=True)]

    def reverse_of(
        self, present: tuple[bool, ...], needs: tuple[bool, ...], placed: tuple[int, ...] = ()
    ) -> Any:
        """For the outputs that have a gradient and the arguments that need one: the reverse program, with the
        forward values it reads, each with its place among results and pieces; and its code. It is given the
        memory for the gradients of pieces, which belong into one array, and of the arguments `placed`.
        """
        key = (present, needs, placed) if placed else (present, needs)
        if key not in self._reverses:
            outputs = tuple(name for name, there in zip(self.outputs, present, strict=False) if there)
            program = self.reverse(outputs, self._of_pieces(needs))
            outside = program.outside()
            wanted = [
                (n, i in placed) for i, (n, need) in enumerate(zip(self.pieces, needs, strict=True)) if need
            ]
            into = [k for k, there in enumerate(n > 1 or own for n, own in wanted for _ in range(n)) if there]
            run = self.compiled(program, outside, into, program.only_from(self.small))
            places = {name: i for i, name in enumerate((*self.outputs, *self.program.inputs))}
            self._reverses[key] = program, {name: places[name] for name in outside}, run
        return self._reverses[key]

    def factored_of(self, present: tuple[bool, ...], needs: tuple[bool, ...]) -> Factored | None:
        """The reverse program for these outputs and arguments, as sums of gradients times factors."""
        outputs = tuple(name for name, there in zip(self.outputs, present, strict=False) if there)
        return factored(self.reverse(outputs, self._of_pieces(needs)))

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """The rule of the node, from the gradients of its results to those of its arguments: the reverse
        program, on arrays as compiled, on tensors (under create_graph) op by op."""
        gs = values[0]
        present, needs = tuple([g is not None for g in gs]), tuple([p is not None for p in parents])
        found_before = self._reverses.get((present, needs))
        program, outside, run = found_before or self.reverse_of(present, needs)
        given = [g for g in gs if g is not None]
        symbolic = isinstance(given[0], Value)
        forward = [*values[1]]  # results, then the pieces of the arguments
        for x, n in zip(values[2:], self.pieces, strict=True):
            if n == 1 or x is None:
                forward += [x] * n
            else:
                forward += chunk(x, n, axis=-1) if symbolic else take_apart(x, n)
        if not symbolic:
            return self.on_arrays(run, given + [forward[i] for i in outside.values()], needs)
        parts = iter(program.interpret(given, {name: forward[i] for name, i in outside.items()}))
        found = [
            [next(parts) for _ in range(n)] if need else [None]
            for n, need in zip(self.pieces, needs, strict=True)
        ]
        return [own[0] if len(own) == 1 else _joined(own, given[0]) for own in found]

    def on_arrays(self, run: Callable[..., Any], values: list[Array], needs: tuple[bool, ...]) -> list[Any]:
        """The gradients by the code of a reverse program, from what it reads, gradients first. Those of
        pieces are written into one array.
        """
        first = values[0]
        xp = array_module(first)
        wholes: list[Any] = []
        places: list[Array] = []
        for n, need in zip(self.pieces, needs, strict=True):
            whole = None
            if n > 1 and need:
                whole = xp.empty((*first.shape[:-1], n * first.shape[-1]), first.dtype)
                places += take_apart(whole, n)
            wholes.append(whole)
        found = run(xp, values, places) if places else run(xp, values)
        gradients, k = [], 0
        for whole, n, need in zip(wholes, self.pieces, needs, strict=True):
            gradients.append(whole if whole is not None else found[k] if need else None)
            k += n if need else 0
        return gradients


def _joined(pieces: list[Any], like: Any) -> Any:
    """The gradient of an argument from those of its pieces, on tensors; None is zero."""
    if all(piece is None for piece in pieces):
        return None
    return concat([like * 0 if piece is None else piece for piece in pieces], axis=-1)


def pointwise(function: Callable[..., Any]) -> Any:
    """Makes one node, and one run over the data, of a function of elements.

    The function takes values of one shape (or without the first axis, as a bias), or several of them side by
    side, which it takes apart by `chunk(x, n, axis=-1)`. It combines them by arithmetic, comparison, `where`
    and the functions of ops/elementwise.py, and returns one value or a tuple.
    Tensors of unequal shapes or types are worked through op by op.
    """
    return Fused(function)
