"""How an op is defined: a function on arrays, a rule for each argument, and its traits.

    @primitive(vjp=(lambda g, y: g * (1 - y * y),), elementwise=True, c="tanh({0})", ufunc="tanh")
    def tanh(xp, x):
        return xp.tanh(x)

What a rule reads is what its parameters are called: `g` the gradient; `y` the result (a tuple where there are
several); an argument by its name in the forward; that argument's shape as `x_shape`; a keyword-only setting
by its name. What no needed rule reads is not saved. Rules use operators and other ops, which take arrays as
well as tensors: plain `backward` runs them on arrays, `create_graph=True` on tensors, so that a gradient has
a gradient."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..backend import Array
from . import core, errors, fast
from .arguments import REGISTRY
from .gradients import Forwarded, Gradient, Results

if TYPE_CHECKING:
    pass

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., Gradient]
Pull = tuple[Rule | None, int | tuple[int, ...]]
Saving = Callable[[Sequence[Any]], tuple[Any, ...]] | tuple[None, ...]
Extras = Callable[[dict[str, Any]], Sequence[Any]]


class Op(Protocol):
    """What a node knows of its op. A Primitive; or a fused function, a loop, a checkpoint."""

    name: str
    variadic: bool  # its node saves the arguments as one tuple
    asks_owned: bool  # `gradients` is told by `owned` when it may write in the gradient

    @property
    def pulls(self) -> Sequence[Pull] | None: ...  # one rule for each argument; None: `gradients` is all

    def gradients(self, values: list[Any], parents: Sequence[object]) -> Sequence[Gradient | None]: ...


def parameter_names(function: Callable[..., Any]) -> Sequence[str]:
    """The names of a function's parameters, as `inspect` gives them, which importing would wait for."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return tuple(inspect.signature(function).parameters)
    names: tuple[str, ...] = code.co_varnames
    return names[: code.co_argcount + code.co_kwonlyargcount]


class Look(Enum):
    """How results lie in the memory of the first argument, where no index says it."""

    always = "whatever its layout"
    where_it_can = "where its layout allows it; else they are copies"
    never = "they are copies"


View = Look | Callable[[dict[str, Any], int], Any]


class Primitive:
    """A forward and its rules, with the reading of their signatures that each call needs, and its traits."""

    elementwise: bool
    """Each element of the result depends on one element of each argument."""
    c: str | None
    """The C expression of an element, with {0}, {1} for the arguments and {setting} for a setting."""
    ufunc: str | None
    """The name of the array library's function that does the same and takes `out`."""
    product: bool
    """The last two arguments are multiplied as matrices."""
    view: View
    """How results share memory with the first argument: a Look; or by index, a function of the settings and
    the number of the result that returns an index or Look.never."""
    floating: bool
    """It is a function of real numbers: where no argument is floating, integers and booleans come to the
    forward in the default type. (NumPy's exp of int8 is computed in float16, and 12 overflows.)"""
    rowwise: bool
    """Each row along the last axis goes its own way."""
    cheap: bool
    """It is cheaper to compute again than to save."""
    parts: Callable[..., Any] | None
    """The same by other ops, elementwise ones, sums and maxima, for what compiles these alone."""
    writes_all = False
    """Whether it takes memory, or None, for each of its results."""

    def __init__(
        self, forward: Callable[..., Any], vjp: tuple[Rule | None, ...] | Rule | None, **traits: Any
    ) -> None:
        self.name = forward.__name__.lstrip("_")  # what users call it
        self.forward = forward
        self.__dict__.update(traits)
        self.rules = vjp if isinstance(vjp, tuple) else ()
        self.joint = None if isinstance(vjp, tuple) else vjp
        self.signature = inspect.signature(forward)
        parameters = list(self.signature.parameters.values())[1:]  # without xp
        settings = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "out"]
        self.settings = {p.name: p.default for p in settings}
        self.writes = any(p.name == "out" for p in parameters)  # takes memory for its first result
        self.defaults = {n: d for n, d in self.settings.items() if d is not inspect.Parameter.empty}
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.arguments = arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        if isinstance(vjp, tuple) and (self.variadic or len(vjp) != len(arguments)):
            raise TypeError(
                f"{self.name}: {len(vjp)} rules for the arguments {arguments}; it takes one for each (None: "
                "no gradient), or one rule for all, which is not in a tuple"
            )
        # values = [g, y, *arguments, *settings, *shapes]: where each name stands in it
        names = ["g", "y", *arguments, *self.settings, *(f"{a}_shape" for a in arguments)]
        at = {name: i for i, name in enumerate(names)}
        self.value_names = names[1:]  # of what a node saves
        self.reads_of = [
            self._reads(rule, at) for rule in (self.rules if self.joint is None else (self.joint,))
        ]
        of_joint = () if self.joint is None else parameter_names(self.joint)
        self.asks_needs, self.asks_owned = "needs" in of_joint, "owned" in of_joint
        each = zip(self.rules, self.reads_of, strict=False)
        self.pulls = (
            None if self.joint is not None else [_pull(rule, [i - 1 for i in r[1:]]) for rule, r in each]
        )
        self.has_extras = any(i >= 2 + len(arguments) for r in self.reads_of for i in r)
        self.has_rules = bool(self.rules) or self.joint is not None
        self.call: Callable[..., Any] = forward  # the op made of it, set by `primitive`
        self.extras = _extras(self.settings, self.defaults)
        self.savings: dict[int, Saving] = {}

    def __repr__(self) -> str:
        read = sorted({i - 1 for reads in self.reads_of for i in reads if i})
        saves = ", ".join(self.value_names[i] for i in read) or "nothing"
        return f"{self.name}({', '.join(self.arguments)})  saves {saves}"

    def _reads(self, rule: Rule | None, at: dict[str, int]) -> list[int]:
        if rule is None:
            return []
        wanted = [n for n in parameter_names(rule) if n not in ("needs", "out", "owned")]
        if any(n not in at for n in wanted) or wanted[:1] != ["g"]:
            raise TypeError(f"{self.name}: a rule reads {wanted}; it takes g first, then any of {[*at][1:]}")
        return [at[n] for n in wanted]

    def gradients(
        self, values: list[Any], parents: Sequence[object], owned: bool = False
    ) -> Sequence[Gradient | None]:
        """The gradients of the arguments, None for those that need none; values = [g, y, *arguments, ...].
        `owned`: nobody else has g.
        """
        if self.joint is None:
            g, saved = values[0], values[1:]
            each = zip(parents, self.pulls or (), strict=True)
            return [None if parent is None else pulled(pull, g, saved) for parent, pull in each]
        told: dict[str, Any] = {}
        if self.asks_needs:
            told["needs"] = tuple([p is not None for p in parents])
        if self.asks_owned:
            told["owned"] = owned
        gradients = self.joint(*[values[i] for i in self.reads_of[0]], **told)
        if not isinstance(gradients, (list, tuple)) or len(gradients) != len(parents):
            raise errors.wrong_gradients(self.name, gradients, len(parents))
        return gradients

    def find_drops(self, mask: int) -> tuple[int, ...]:
        """Which of [y, *arguments] no rule reads, where bit i of `mask` says that argument i needs a
        gradient."""
        read: set[int] = set()
        for i, reads in enumerate(self.reads_of):
            if self.joint is not None or mask >> i & 1:
                read.update(reads)
        return tuple(j - 1 for j in range(1, 2 + len(self.arguments)) if j not in read)

    def find_saving(self, mask: int) -> Saving:
        """What makes [None, y, *arguments, ...] the values that a node saves: None where no rule reads one.
        If no rule reads any, the values themselves."""
        n_values = 1 + len(self.arguments) + self.has_extras * (len(self.settings) + len(self.arguments))
        drops = self.find_drops(mask)
        places = [0 if j in drops else 1 + j for j in range(n_values)]
        self.savings[mask] = itemgetter(*places) if any(places) else (None,) * n_values
        return self.savings[mask]

    def saved(
        self, arrays: Sequence[Array], settings: dict[str, Any], mask: int, y: Forwarded
    ) -> Sequence[Any]:
        """Of a call's result and arguments what the rules will read; `mask` as in `find_drops`."""
        mask = 1 if self.variadic else mask  # one rule for all reads the same whoever needs a gradient
        saving = self.savings.get(mask) or self.find_saving(mask)
        if type(saving) is tuple:
            return saving
        values = [None, y, tuple(arrays)] if self.variadic else [None, y, *arrays]
        if self.has_extras:
            values += self.extras(settings)
            shapes = tuple([getattr(a, "shape", ()) for a in arrays])
            values += [shapes] if self.variadic else shapes
        return saving(values)  # type: ignore[operator]


def _extras(settings: dict[str, Any], defaults: dict[str, Any]) -> Extras:
    """What gives the settings of a call, in order: for rules that read some."""
    names = tuple(settings)
    if defaults:
        return lambda given: [{**defaults, **given}[name] for name in names]
    if len(names) > 1:
        return itemgetter(*names)
    return (lambda given: (given[names[0]],)) if names else (lambda given: ())


def _pull(rule: Rule | None, reads: list[int]) -> Pull:
    """A rule, None where it hands the gradient on as it is, and which of the values that its node saves it
    reads beside the gradient: one, or several."""
    if rule is None:
        return (lambda g: None), ()
    if not reads:
        token = object()
        with contextlib.suppress(Exception):  # it does something with what it is given
            if rule(token) is token:
                return None, ()
    return rule, reads[0] if len(reads) == 1 else tuple(reads)


def pulled(pull: Pull, g: Gradient, saved: Sequence[Any]) -> Gradient:
    """What a rule makes of a gradient."""
    rule, reads = pull
    if rule is None:
        return g
    return rule(g, saved[reads]) if isinstance(reads, int) else rule(g, *[saved[i] for i in reads])


def primitive(
    *,
    vjp: tuple[Rule | None, ...] | Rule | None,
    elementwise: bool = False,
    c: str | None = None,
    ufunc: str | None = None,
    product: bool = False,
    view: View | bool = Look.never,
    floating: bool = False,
    rowwise: bool = False,
    cheap: bool = False,
    parts: Callable[..., Any] | None = None,
) -> Callable[[Callable[Concatenate[Any, P], R]], Callable[P, R]]:
    """Makes an op of a function on arrays, `forward(xp, *arrays, **settings)`; `xp` is the library they
    belong to.

    `vjp` is a tuple with one rule per argument (None: no gradient for it); or one rule for all of them, which
    is given `g` (a tuple with None for missing ones, where there are several results) and returns one
    gradient per argument; or None: results are constants. One rule for all may ask for `needs`, a tuple of
    booleans, and for `owned`: where it is true nobody else has g and the rule may write in it, and the first
    gradient that it returns is g or an array that nobody else has. A forward with several results returns a
    tuple, and may take `out=None`, memory for the first of them. The engine sums each rule's gradient back
    over the axes along which its argument was broadcast. The traits say what the op is; `Primitive` describes
    them.
    """
    if isinstance(view, bool):
        view = Look.where_it_can if view else Look.never
    traits = {"elementwise": elementwise, "c": c, "ufunc": ufunc, "product": product, "view": view,
              "floating": floating, "rowwise": rowwise, "cheap": cheap, "parts": parts}  # fmt: skip

    def define(forward: Callable[Concatenate[Any, P], R]) -> Callable[P, R]:
        spec = Primitive(forward, vjp, **traits)
        REGISTRY[spec.name] = spec

        def general(*args: object, **settings: object) -> Results:
            return core.apply(spec, args, settings)

        op = fast.call(spec, general)
        op.__name__ = op.__qualname__ = spec.name
        op.__doc__, op.__module__ = forward.__doc__, forward.__module__
        parameters = list(spec.signature.parameters.values())[1:]
        op.__signature__ = spec.signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        spec.call = op
        op.primitive = spec  # type: ignore[attr-defined]
        return op

    return define
