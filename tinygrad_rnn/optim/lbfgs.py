"""L-BFGS: Newton's direction from the last few changes of the parameters and of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt
from typing import Any, NamedTuple

from ..backend import Array, ArrayModule, array_module
from ..creation import tensor
from ..engine import enable_grad, mark_changed
from ..tensor import Tensor
from .optimizer import Optimizer
from .update_rule import working_type


class LBFGS(Optimizer, marks_changes=True):
    """Limited-memory BFGS (Nocedal and Wright, "Numerical optimization", algorithms 7.4 and 3.5; numbers as
    PyTorch's).

    One `step(closure)` makes up to `max_iter` iterations and calls `closure` (which zeroes the gradients,
    computes the loss, calls backward and returns the loss) up to `max_eval` times (by default 5/4 of
    max_iter), or until the largest gradient is at most `tolerance_grad` or the parameters or the loss change
    by less than `tolerance_change`. `history_size` is how many changes are remembered, each of two vectors as
    long as all parameters together. `line_search_fn="strong_wolfe"` finds the length of each step; None takes
    `lr` for it. One parameter group only.
    """

    option_ranges = {
        "lr": (0, inf),
        "max_iter": (0, inf),
        "tolerance_grad": (0, inf),
        "tolerance_change": (0, inf),
        "history_size": (1, inf),
    }
    state_names = frozenset(
        ("func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag", "al")
        + ("prev_flat_grad", "prev_loss")
    )

    def __init__(
        self,
        params: Any,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )

    def add_param_group(self, param_group: Any) -> None:
        """There can be one group only: the method works on all parameters as one vector."""
        if self.param_groups:
            name = type(self).__name__
            raise ValueError(f"{name}: takes one parameter group, without options per group")
        super().add_param_group(param_group)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f'{type(self).__name__}: line_search_fn must be None or "strong_wolfe", got '
                f"{group['line_search_fn']!r}"
            )

    # ------------------------------------------------------------ all parameters as one vector

    @property
    def _params(self) -> list[Tensor]:
        return [p for p in self.param_groups[0]["params"] if p.requires_grad]

    def _gradient(self, xp: ArrayModule) -> Array:
        parts = []
        for p in self._params:
            kind = working_type(p.array)
            if p.grad is None:
                parts.append(xp.zeros(p.numel(), kind))
            else:
                parts.append(p.grad.array.reshape(-1).astype(kind, copy=False))
        return xp.concatenate(parts)

    def _move(self, t: float, d: Array) -> None:
        """Adds t * d to the parameters."""
        start = 0
        for p in self._params:
            part = d[start : start + p.numel()].reshape(p.shape)
            array_module(p.array).add(p.array, part * t, out=p.array)
            mark_changed(p.array)
            start += p.numel()

    def _put_back(self, values: list[Array]) -> None:
        for p, value in zip(self._params, values, strict=True):
            p.array[...] = value
            mark_changed(p.array)

    # ------------------------------------------------------------ a step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations. Returns the loss at the start, from the first call of it.

        Where the closure raises, parameters and state are put back to what they were.
        """
        if closure is None:
            raise TypeError(
                f"{type(self).__name__}: step needs a closure that zeroes the gradients, computes the loss, "
                "calls backward and returns the loss"
            )
        with self.hooked(closure), self.changing(self._as_now()):
            return self._iterate(closure)

    def _as_now(self) -> Callable[[], None]:
        """What puts parameters and state back to what they are now."""
        values = [p.array.copy() for p in self._params]
        state = self.state[self.param_groups[0]["params"][0]]
        kept = {what: list(value) if isinstance(value, list) else value for what, value in state.items()}

        def put_back() -> None:
            self._put_back(values)
            state.clear()
            state.update(kept)

        return put_back

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, max_iter, max_eval = float(group["lr"]), group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = float(group["tolerance_grad"]), float(group["tolerance_change"])
        xp = array_module(*(p.array for p in self._params))
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = _called(closure)
        loss, g = float(first_loss), self._gradient(xp)
        n_evals = 1
        if _largest(g) > tolerance_grad:
            for i in range(1, max_iter + 1):
                d = self._direction(xp, state, g)
                state["prev_flat_grad"], state["prev_loss"] = Tensor._of(g), loss
                t = min(1.0, 1.0 / abs(g).sum().item()) * lr if state["n_iter"] == 1 else lr
                slope = _dot(g, d)
                state["d"], state["t"] = Tensor._of(d), t
                if slope > -tolerance_change:
                    break
                before = loss
                if group["line_search_fn"] is None:
                    self._move(t, d)
                    if i != max_iter:
                        loss, g = float(_called(closure)), self._gradient(xp)
                        n_evals += 1
                else:
                    start = Point(0.0, loss, g, slope)
                    found, n = self._line_search(
                        closure, xp, t, d, start, tolerance_change, max_eval - n_evals
                    )
                    t, loss, g = found.t, found.loss, found.g
                    n_evals += n
                    self._move(t, d)
                    state["t"] = t
                if i == max_iter or n_evals >= max_eval or _largest(g) <= tolerance_grad:
                    break
                if _largest(d) * abs(t) <= tolerance_change or abs(loss - before) < tolerance_change:
                    break
        state["func_evals"] += n_evals
        return first_loss

    def _direction(self, xp: ArrayModule, state: dict[str, Any], g: Array) -> Array:
        """Minus the inverse Hessian's estimate times g, by the two loops of Nocedal and Wright's algorithm
        7.4.
        """
        state["n_iter"] += 1
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return xp.negative(g)
        ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = g - state["prev_flat_grad"].array, state["d"].array * state["t"]
        curvature = _dot(y, s)
        if curvature > 1e-10:
            if len(ys) == self.param_groups[0]["history_size"]:
                del ys[0], ss[0], ro[0]
            ys.append(Tensor._of(y))
            ss.append(Tensor._of(s))
            ro.append(1.0 / curvature)
            state["H_diag"] = curvature / _dot(y, y)
        d = xp.negative(g)
        weights = [0.0] * len(ys)
        for i in reversed(range(len(ys))):
            weights[i] = _dot(ss[i].array, d) * ro[i]
            d -= ys[i].array * weights[i]
        d *= state["H_diag"]
        for i in range(len(ys)):
            d += ss[i].array * (weights[i] - _dot(ys[i].array, d) * ro[i])
        return d

    def _line_search(
        self,
        closure: Callable[[], Any],
        xp: ArrayModule,
        t: float,
        d: Array,
        start: Point,
        tolerance: float,
        max_evals: int,
    ) -> tuple[Point, int]:
        here = [p.array.copy() for p in self._params]

        def evaluate(t: float) -> Point:
            self._move(t, d)
            loss, g = float(_called(closure)), self._gradient(xp)
            self._put_back(here)
            return Point(t, loss, g, _dot(g, d))

        return _strong_wolfe(evaluate, t, start, _largest(d), tolerance, max_evals)

    def loaded_entry(self, name: str, number: int, p: Tensor, what: str, value: Any) -> Any:
        if what in ("d", "prev_flat_grad", "old_dirs", "old_stps"):
            vectors = value if isinstance(value, (list, tuple)) else [value]
            length = sum(q.numel() for q in self.param_groups[0]["params"] if q.requires_grad)
            if any(tuple(v.shape) != (length,) for v in vectors):
                raise ValueError(
                    f"{name}: {what} should hold {length} numbers, one for each in the parameters"
                )
            made = [tensor(v, working_type(p.array), p.device) for v in vectors]
            return made if isinstance(value, (list, tuple)) else made[0]
        if what == "ro":
            return [float(v) for v in value]
        return int(value) if what in ("n_iter", "func_evals") else float(value) if what != "al" else value


def _called(closure: Callable[[], Any]) -> Any:
    with enable_grad():
        return closure()


def _dot(a: Array, b: Array) -> float:
    return (a @ b).item()


def _largest(a: Array) -> float:
    return abs(a).max().item()


class Point(NamedTuple):
    """The loss at a distance t along a direction."""

    t: float
    loss: float
    g: Array
    slope: float  # the loss's derivative by t


def minimum_of_cubic(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points, with their slopes, is least within bounds; Nocedal and Wright
    (3.59).
    """
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = sqrt(square)
    if a.t > b.t:
        a, b = b, a
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)), low), high)


class _WolfeConditions(NamedTuple):
    """What a point along a direction must be, against the one where the search starts."""

    start: Point
    c1: float = 1e-4
    c2: float = 0.9

    def too_high(self, point: Point) -> bool:
        return point.loss > self.start.loss + self.c1 * point.t * self.start.slope

    def flat(self, point: Point) -> bool:
        return abs(point.slope) <= -self.c2 * self.start.slope


def _strong_wolfe(
    evaluate: Callable[[float], Point],
    t: float,
    start: Point,
    size: float,
    tolerance: float,
    max_iter: int,
) -> tuple[Point, int]:
    """A point that meets the strong Wolfe conditions, and how often the loss was evaluated.

    First two points are found with one in between, then they are brought together; Nocedal and Wright's
    algorithms 3.5 and 3.6, with the safeguards of Schmidt's minFunc. `size` is the direction's largest
    element.
    """
    conditions = _WolfeConditions(start)
    before, new = start, evaluate(t)
    n = 0
    while n < max_iter and not (conditions.too_high(new) or (n > 1 and new.loss >= before.loss)):
        if conditions.flat(new):
            return new, n + 1
        if new.slope >= 0:
            break
        t = minimum_of_cubic(before, new, (new.t + 0.01 * (new.t - before.t), new.t * 10))
        before, new = new, evaluate(t)
        n += 1
    bracket = [before if n < max_iter else start, new]
    return _brought_together(evaluate, bracket, conditions, size, tolerance, n, max_iter)


def _brought_together(
    evaluate: Callable[[float], Point],
    bracket: list[Point],
    conditions: _WolfeConditions,
    size: float,
    tolerance: float,
    n: int,
    max_iter: int,
) -> tuple[Point, int]:
    """The second half of the search, between two points; `n` evaluations were made before."""
    stuck = False
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    while n < max_iter:
        left, right = sorted(point.t for point in bracket)
        if (right - left) * size < tolerance:
            break
        t = minimum_of_cubic(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near an end: at once where it is outside or was so before
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = evaluate(t)
        n += 1
        if conditions.too_high(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if conditions.flat(new):
            bracket[low] = new
            break
        if new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], n + 1
