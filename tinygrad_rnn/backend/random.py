"""Random numbers: always drawn by NumPy on the host, then moved, so that one seed gives one start on every
device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

_generator: Generator | None = None  # made when first asked for: importing numpy.random takes time


def _own() -> Generator:
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


_seed = 0


def manual_seed(seed: int) -> Generator:
    """Restarts the package's generator. Same seed, same machine: same bits."""
    global _generator, _seed
    _generator, _seed = np.random.default_rng(seed), seed
    return _generator


def initial_seed() -> int:
    """The seed that `manual_seed` was given last; 0 before."""
    return _seed


def default_rng(rng: Generator | int | None = None) -> Generator:
    """`rng` as a generator: itself, a new one from an integer seed, or for None the package's own."""
    if rng is None:
        rng = _own()
    if isinstance(rng, np.random.Generator):
        draws = _draws.get()
        if draws is not None:
            draws.note(rng)
        return rng
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng: expected a numpy.random.Generator, a seed or None, got {type(rng).__name__}")


def get_rng_state() -> dict[str, Any]:
    """The state of the package's generator, as plain numbers and strings."""
    return dict(_own().bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Puts the package's generator back to a state that `get_rng_state` gave: the generator itself, so that
    who has it goes on from there. Raises ValueError for what is none.
    """
    global _generator
    bits, own = bits_of(state), _own()
    if type(bits) is type(own.bit_generator):
        own.bit_generator.state = bits.state
    else:
        _generator = np.random.Generator(bits)


def bits_of(state: Any) -> Any:
    """The bits that a generator draws from, at a state of theirs that was saved. Raises ValueError for what
    is none.
    """
    name = state.get("bit_generator") if isinstance(state, dict) else None
    kind = getattr(np.random, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, np.random.BitGenerator):
        raise ValueError("the state of a generator of random numbers is damaged")
    bits = kind()
    try:
        bits.state = state
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as reason:
        raise ValueError("the state of a generator of random numbers is damaged") from reason
    return bits


class Draws:
    """Where generators stood before something drew from them, so that it can draw the same again."""

    def __init__(self) -> None:
        self.own = _generator  # the package's
        self.states: list[tuple[Generator, Any]] = []

    def note(self, generator: Generator) -> None:
        """Called before a generator is drawn from."""
        if self.own is None:
            self.own = _generator
        if all(known is not generator for known, _ in self.states):
            self.states.append((generator, dict(generator.bit_generator.state)))

    def undo(self) -> None:
        """Puts the generators back to where they stood."""
        for generator, state in self.states:
            generator.bit_generator.state = state

    @contextmanager
    def again(self) -> Iterator[None]:
        """In this block the generators draw what they drew; afterwards they stand where they stood."""
        global _generator
        own, now = _generator, [dict(generator.bit_generator.state) for generator, _ in self.states]
        try:
            _generator = self.own
            self.undo()
            yield
        finally:
            _generator = own
            for (generator, _), state in zip(self.states, now, strict=True):
                generator.bit_generator.state = state


_draws: ContextVar[Draws | None] = ContextVar("tinygrad_rnn_draws", default=None)


@contextmanager
def noting_draws() -> Iterator[Draws]:
    """Notes which generators are drawn from in a block, and where they stood."""
    draws = Draws()
    token = _draws.set(draws)
    try:
        yield draws
    finally:
        _draws.reset(token)
        outer = _draws.get()
        if outer is not None:  # what is noted in here is drawn out there, too
            for generator, state in draws.states:
                if all(known is not generator for known, _ in outer.states):
                    outer.states.append((generator, state))


def draw_from_rows(
    weights: np.ndarray[Any, Any], n: int, replacement: bool, rng: Any = None
) -> np.ndarray[Any, Any]:
    """`n` column numbers for each row of `weights` (rows, columns), with its numbers as odds: (rows, n),
    int64.
    """
    if not np.isfinite(weights).all() or (weights < 0).any() or (weights.sum(1) <= 0).any():
        raise ValueError("multinomial: weights must be finite and >= 0, with a positive sum in each row")
    if not replacement and n > (weights > 0).sum(1).min(initial=n):
        raise ValueError(f"multinomial: {n} samples without replacement need as many nonzero weights")
    generator = default_rng(rng)
    if replacement or n == 1:
        edges = weights.cumsum(1)
        draws = generator.random((len(weights), n)) * edges[:, -1:]
        picked = [np.searchsorted(e, d, side="right") for e, d in zip(edges, draws, strict=True)]
        return np.asarray(picked, np.int64).reshape(len(weights), n)
    with np.errstate(divide="ignore"):  # the smallest of exponential waiting times, with the weights as rates
        waits = generator.exponential(size=weights.shape) / weights
    return np.argsort(waits, axis=1)[:, :n]
