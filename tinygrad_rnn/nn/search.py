"""The most probable sequence, token by token: greedy and beam search, for any model.

A model is a function `step(tokens, state) -> (log_probs, state)`: the tokens just chosen, (N,) integers, and
the state before -> the log probability of every token that may come next, (N, vocabulary), and the state
after. A state is a tensor (N, ...), a (named) tuple of states, or None. All hypotheses of all rows run as one
batch: beam search calls `step` with N = batch * beam_size rows, those of one row next to each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend.naming import describe
from ..creation import arange, full, zeros
from ..engine import no_grad
from ..ops import argsort, concat, stack, take_along_axis, topk, where
from ..tensor import Tensor
from .state import State, map_state

Step = Callable[[Tensor, State], tuple[Tensor, State]]


class SearchResult(NamedTuple):
    """What a search found, the best first: n hypotheses (one of greedy search) for each of B rows.

    tokens: (B, n, L) int64, without the begin token; `eos` from a sequence's end on.
    lengths: (B, n), how many tokens come before `eos`.
    scores: (B, n), log probabilities, over the length penalty if there is one; -inf: no such hypothesis.
    finished: (B, n) booleans; False where `max_length` cut a sequence off.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    finished: Tensor

    def lists(self) -> list[list[int]]:
        """The best sequence of each row, without `eos`."""
        rows = zip(self.tokens[:, 0].tolist(), self.lengths[:, 0].tolist(), strict=True)
        return [row[:n] for row, n in rows]


def greedy_search(
    step: Step, state: State, *, bos: int, eos: int, max_length: int, batch_size: int | None = None
) -> SearchResult:
    """At each step the most probable token, until `eos` or `max_length` tokens.

    state: the state before the first token, `bos`: (B, ...). batch_size: B, where the state is None.
    """
    name = "greedy_search"
    batch, device = _batch(name, state, batch_size)
    _at_least_one(name, max_length=max_length)
    with no_grad():
        tokens = full((batch,), bos, dtype="int64", device=device)
        finished = zeros(batch, dtype="bool", device=device)
        lengths, found = zeros(batch, dtype="int64", device=device), []
        scores: Any = 0.0
        for _ in range(max_length):
            log_probs, state = _step(name, step, tokens, state, eos)
            best, choice = log_probs.max(1)
            tokens = where(finished, eos, choice)
            scores = scores + where(finished, 0.0, best)
            finished = finished | (tokens == eos)
            lengths = lengths + where(finished, 0, 1)
            found.append(tokens)
            if finished.all():
                break
        return SearchResult(*(x.unsqueeze(1) for x in (stack(found, 1), lengths, scores, finished)))


def beam_search(
    step: Step,
    state: State,
    *,
    bos: int,
    eos: int,
    max_length: int,
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float = 0.0,
    batch_size: int | None = None,
) -> SearchResult:
    """The best sequences among those found with `beam_size` hypotheses kept in each row (Graves 2012;
    Sutskever et al. 2014).

    At each step every hypothesis is continued by every token, and the most probable `beam_size` stay. One
    that ends in `eos` is put aside, and the beam shrinks by it. A row is done when its beam is empty, when
    nothing that still runs can become one of its `n_best`, or after `max_length` tokens, `eos` among them;
    what is cut off there ranks behind all that ended. With `beam_size` 1 it is greedy search.

    state: the state before the first token, `bos`: (B, ...); batch_size: B, where the state is None.
    length_penalty: a >= 0; hypotheses rank by log probability / ((5 + length) / 6)^a with `eos` counted (Wu
    et al. 2016, equation 14, without its coverage), so that a = 0 favours short ones.
    """
    name = "beam_search"
    batch, device = _batch(name, state, batch_size)
    _at_least_one(name, max_length=max_length, beam_size=beam_size, n_best=n_best)
    if n_best > beam_size:
        raise ValueError(f"{name}: n_best is {n_best}, expected at most beam_size = {beam_size}")
    if not length_penalty >= 0:
        raise ValueError(f"{name}: length_penalty must not be negative, got {length_penalty}")
    k = beam_size

    def penalty(length: Any) -> Any:
        return ((5 + length) / 6) ** length_penalty

    with no_grad():
        first = arange(batch, device=device).unsqueeze(1) * k  # the first hypothesis of each row
        slot = arange(k, device=device).expand(batch, k)
        state = _rows(state, arange(batch, device=device).unsqueeze(1).expand(batch, k).reshape(batch * k))
        tokens = full((batch, k, 0), eos, dtype="int64", device=device)
        last = full((batch * k,), bos, dtype="int64", device=device)
        finished = slot < 0
        lengths, scores = slot * 0, where(slot == 0, 0.0, -math.inf)  # one start, not k equal ones
        for _ in range(max_length):
            log_probs, state = _step(name, step, last, state, eos)
            n_tokens = log_probs.shape[1]
            log_probs = log_probs.reshape(batch, k, n_tokens)
            # What has ended goes on as itself, before all others: it is kept, and takes a place of the beam.
            same = arange(n_tokens, device=device) == eos
            log_probs = where(finished.unsqueeze(2), where(same, 0.0, -math.inf), log_probs)
            total = (scores.unsqueeze(2) + log_probs).reshape(batch, k * n_tokens)
            ended = (finished.unsqueeze(2) & same).reshape(batch, k * n_tokens)
            places = topk(where(ended, math.inf, total), k, 1).indices
            parents, last = places // n_tokens, places % n_tokens
            scores = take_along_axis(total, places, 1)
            lengths = take_along_axis(lengths + where(finished, 0, 1), parents, 1)
            tokens = concat([take_along_axis(tokens, parents.unsqueeze(2), 1), last.unsqueeze(2)], 2)
            state, last = _rows(state, (first + parents).reshape(batch * k)), last.reshape(batch * k)
            finished = (last.reshape(batch, k) == eos) & (scores > -math.inf)
            # A log probability only falls, so what still runs ends at best with what it has, when longest.
            ranks = where(finished, scores / penalty(lengths), -math.inf)
            possible = where(finished, -math.inf, scores / penalty(max_length)).amax(1)
            if (topk(ranks, n_best, 1).values[:, -1] >= possible).all():
                break
        order = argsort(ranks, 1, descending=True)[:, :n_best]
        return SearchResult(
            take_along_axis(tokens, order.unsqueeze(2), 1),
            *(
                take_along_axis(x, order, 1)
                for x in (lengths - finished, scores / penalty(lengths), finished)
            ),
        )


def _rows(state: State, rows: Tensor) -> State:
    return map_state(lambda s: None if s is None else s[rows], state)


def _batch(name: str, state: State, batch_size: int | None) -> tuple[int, Any]:
    """The number of rows of a state, and its device."""
    leaf = state
    while isinstance(leaf, tuple) and leaf:
        leaf = leaf[0]
    if leaf is None and batch_size is not None:
        return batch_size, None
    if not isinstance(leaf, Tensor) or not leaf.ndim:
        raise TypeError(
            f"{name}: state must be a tensor (batch, ...), a tuple of such, or None with batch_size given; "
            f"got {describe(leaf)}"
        )
    if batch_size not in (None, leaf.shape[0]):
        raise ValueError(f"{name}: the state has {leaf.shape[0]} rows, but batch_size is {batch_size}")
    return leaf.shape[0], leaf.device


def _at_least_one(name: str, **numbers: int) -> None:
    for called, n in numbers.items():
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"{name}: {called} must be a positive integer, got {n!r}")


def _step(name: str, step: Step, tokens: Tensor, state: State, eos: int) -> tuple[Tensor, State]:
    log_probs, state = step(tokens, state)
    if not isinstance(log_probs, Tensor) or log_probs.ndim != 2 or log_probs.shape[0] != tokens.shape[0]:
        raise ValueError(
            f"{name}: step must return log probabilities ({tokens.shape[0]}, vocabulary), "
            f"got {describe(log_probs)}"
        )
    if not 0 <= eos < log_probs.shape[1]:
        raise ValueError(f"{name}: eos is {eos}, but there are {log_probs.shape[1]} tokens, from 0 on")
    return log_probs, state
