"""Connectionist temporal classification: labels learned from a sequence without knowing when each was said
(Graves, Fernandez, Gomez & Schmidhuber 2006), and the ways to read labels from what was learned.

At every step a net says a label or the blank. A path is what it says at all steps; it stands for the labels
that are left when repeats are merged and blanks dropped, so that "-aa-ab" reads "aab". The probability of
labels is the sum over all paths that read so. `ctc_loss` is minus its logarithm, computed by the forward
recursion. There is no backward recursion: what it would find is the gradient of the forward one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

from ..backend import array_module, to_numpy
from ..backend.naming import came, describe
from ..engine.errors import Mismatch, WrongKind
from ..fuse.pointwise import pointwise
from ..ops import argmax, clip, concat, logaddexp, mean, minimum, where
from ..ops import sum as sum_
from ..ops.index import pick
from ..tensor import Tensor
from .utils.rnn import read_lengths

# The logarithm of what is impossible. Minus infinity would do but for gradients, which would be inf - inf.
NEVER = -1e30


@pointwise
def _arrive(stay: Any, advance: Any, skip: Any, allowed: Any, said: Any) -> Any:
    """How likely one is at a place: one was there, at the place before, or two before where that may be."""
    return logaddexp(logaddexp(stay, advance), skip + allowed) + said


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log probability of each row's labels, summed over all ways to say them in time (Graves et al.
    2006, equations 6 to 8).

    log_probs: (T, N, C), logarithms of probabilities, as `log_softmax` makes them; (T, C) for one sequence.
    targets: integers other than the blank, (N, S) with anything behind a row's end, or the labels of all rows
    one after the other in one axis.
    input_lengths, target_lengths: N integers, zeros allowed. What stands behind an end counts nothing.

    reduction: "none", a loss for each row; "sum"; "mean", that of the losses over the lengths of their
    targets, as in PyTorch. Labels that do not fit into the steps have an infinite loss without a gradient;
    with `zero_infinity` it is 0.
    The gradient is minus the probability that a label is said at a step. (PyTorch's is that less the
    probability in log_probs: the gradient before a log_softmax. There both agree.)
    """
    name = "ctc_loss"
    if reduction not in ("mean", "sum", "none"):
        raise Mismatch(f"{name}: reduction is {reduction!r}, expected 'mean', 'sum' or 'none'")
    log_probs, one = _batch(name, log_probs, blank)
    n_steps, n_rows = log_probs.shape[:2]
    ends = read_lengths(name, input_lengths, n_steps, n_rows)
    labels, sizes = _labels(name, targets, target_lengths, log_probs, blank)
    total = _log_likelihood(log_probs, labels, ends, sizes, blank)
    losses = where(total < 0.1 * NEVER, 0.0 if zero_infinity else math.inf, -total)
    if reduction == "mean":
        return mean(losses / _constant(losses, [max(1, size) for size in sizes]))
    if reduction == "sum":
        return sum_(losses)
    return losses.squeeze(0) if one else losses


def _log_likelihood(log_probs: Tensor, labels: Any, ends: list[int], sizes: list[int], blank: int) -> Tensor:
    """The forward recursion: log_probs (T, N, C), labels (N, S) with blanks behind each row's end -> (N,).

    Labels are said with blanks between and around them, - a - b -, at places 0, 1, ... alpha[s] is the log
    probability of all beginnings that end at place s. Two more places come before: one where everybody is at
    the start and nobody later, and one that fills the row for what comes from two places before.
    """
    xp = array_module(labels)
    n_steps, (n_rows, n_labels) = max(ends, default=0), labels.shape
    n_places = 2 * n_labels + 1
    said = xp.full((n_rows, n_places), blank, dtype="int64")
    said[:, 1::2] = labels
    allowed = xp.full((n_rows, n_places), NEVER, dtype=log_probs.dtype)  # to skip the place before
    allowed[:, 1:2] = 0.0
    allowed[:, 3::2] = (said[:, 3::2] == said[:, 1:-2:2]) * NEVER
    start = _constant(log_probs, [[NEVER, 0.0, *[NEVER] * n_places]]).expand(n_rows, n_places + 2)
    skips: Tensor = Tensor._of(allowed)

    def step(emitted: Tensor, alpha: Tensor) -> Tensor:
        nobody = minimum(alpha[:, :2], NEVER)
        may_skip = skips[: alpha.shape[0]]
        return concat([nobody, _arrive(alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2], may_skip, emitted)], 1)

    states = _steps(step, _emitted(log_probs[:n_steps], said, ends), start, n_steps)
    if 0 in ends or len(states) > 1:  # of rows that have no step, the first state is the last
        states, ends = [concat([start, *states])], [end + 1 for end in ends]
    # The last place or the one before, after each row's last step.
    rows = [(end - 1) * n_rows + row for row, end in enumerate(ends)]
    places = [[2 * n + k for n in sizes] for k in (1, 2)]
    index = (xp.asarray([rows, rows], dtype="int64"), xp.asarray(places, dtype="int64"))
    last = pick(states[0], index=index)
    total: Tensor = logaddexp(last[0], last[1])
    return total


def _constant(like: Tensor, values: Any) -> Tensor:
    """Lists as a tensor beside `like` that a captured step, too, may make: it stays as it is."""
    constant: Tensor = Tensor._of(array_module(like.array).asarray(values, dtype=like.dtype))
    return constant


def _emitted(log_probs: Tensor, said: Any, ends: list[int]) -> Tensor:
    """The log probability of what is said at each place: (T, N, C), (N, places) -> (T * N, places)."""
    xp, (n_steps, n_rows, n_classes) = array_module(said), log_probs.shape
    # By rows of all steps, so that the gradient adds rows, not elements.
    rows = log_probs.permute(1, 2, 0).reshape(n_rows * n_classes, n_steps)
    emitted = pick(rows, index=said + xp.arange(n_rows)[:, None] * n_classes).permute(2, 0, 1)
    if any(end < n_steps for end in ends):
        real = (xp.arange(n_steps)[:, None] < xp.asarray(ends))[:, :, None]
        emitted = where(Tensor._of(real), emitted, 0.0)
    emitted = clip(emitted, min=NEVER)
    flat: Tensor = emitted.reshape(n_steps * n_rows, said.shape[1])
    return flat


def _steps(step: Any, xs: Tensor, state: Tensor, n_steps: int) -> list[Tensor]:
    """The state after each step, below each other: one tensor, or several to be joined."""
    if not n_steps:
        return [concat([xs, xs[:, :1], xs[:, :1]], 1)]  # which is empty, but a part of the graph
    from ..fuse.scan import Scanned  # as in scan.py

    def both(xs: list[Any], states: list[Any]) -> tuple[list[Any], list[Any]]:
        new = step(*xs, *states)
        return [new], [new]

    scanned = Scanned(both, None, [step])
    (own,), run = scanned.prepared([xs], [state], [xs.shape[0]])
    alphas: list[Tensor] = run(own, [state], n_steps, False)[0]
    return alphas


# ---------------------------------------------------------------- reading labels


class CTCHypothesis(NamedTuple):
    """Labels that may have been said, and the log probability found for them."""

    labels: list[int]
    log_prob: float


def ctc_greedy(log_probs: Tensor, lengths: Any = None, *, blank: int = 0) -> Any:
    """What the most probable path reads: the best class of each step, repeats merged, blanks dropped.

    log_probs: (T, N, C), any scores will do; lengths: N integers, how many steps are real. Returns a list of
    labels for each row; for one sequence (T, C) that list alone.
    """
    log_probs, one = _batch("ctc_greedy", log_probs, blank)
    ends = _ends("ctc_greedy", log_probs, lengths)
    paths = argmax(log_probs, 2).T.tolist()
    found = [
        [label for label, _ in groupby(path[:end]) if label != blank]
        for path, end in zip(paths, ends, strict=True)
    ]
    return found[0] if one else found


def ctc_beam(
    log_probs: Tensor, lengths: Any = None, *, blank: int = 0, beam_size: int = 10, n_best: int = 1
) -> Any:
    """The most probable labels, all their paths together: prefix beam search (Graves et al. 2006, section
    3.2; in this form Hannun et al. 2014), run on the host.

    log_probs: (T, N, C), of log_softmax; lengths: N integers, how many steps are real. At each step the
    `beam_size` most probable beginnings stay; with enough of them the result is exact. Returns for each row
    the `n_best` (or as many as there are) as CTCHypothesis(labels, log_prob), best first; for one sequence
    (T, C) that list alone.
    """
    name = "ctc_beam"
    log_probs, one = _batch(name, log_probs, blank)
    ends = _ends(name, log_probs, lengths)
    for called, n in (("beam_size", beam_size), ("n_best", n_best)):
        if not isinstance(n, int) or n < 1:
            raise Mismatch(f"{name}: {called} must be a positive integer, got {n!r}")
    if n_best > beam_size:
        raise Mismatch(f"{name}: n_best is {n_best}, expected at most beam_size = {beam_size}")
    rows = log_probs.swapaxes(0, 1).tolist()
    found = [_prefixes(row[:end], blank, beam_size)[:n_best] for row, end in zip(rows, ends, strict=True)]
    return found[0] if one else found


def _prefixes(steps: list[list[float]], blank: int, beam_size: int) -> list[CTCHypothesis]:
    """The beginnings that are left after all steps of one row, most probable first."""
    # The log probability of all paths that read a beginning and end in a blank, and of those that do not.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for logs in steps:
        # No beginning can be continued into the beam by a worse label than these, but for one that is there.
        labels = {*heapq.nlargest(beam_size + 2, range(len(logs)), key=logs.__getitem__)}
        labels.update(prefix[-1] for prefix in beam if prefix)
        labels.discard(blank)
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (blanked, spoken) in beam.items():
            either, last = _add(blanked, spoken), prefix[-1] if prefix else blank
            a, b = found.get(prefix, (-math.inf, -math.inf))
            repeated = spoken + logs[last] if prefix else -math.inf
            found[prefix] = _add(a, either + logs[blank]), _add(b, repeated)
            for label in labels:
                longer = (*prefix, label)
                a, b = found.get(longer, (-math.inf, -math.inf))
                found[longer] = a, _add(b, (blanked if label == last else either) + logs[label])
        best = heapq.nlargest(beam_size, found.items(), key=lambda item: _add(*item[1]))
        beam = {prefix: logs for prefix, logs in best if _add(*logs) > -math.inf}
    ranked = sorted(((_add(*logs), prefix) for prefix, logs in beam.items()), key=lambda r: -r[0])
    return [CTCHypothesis([*prefix], log_prob) for log_prob, prefix in ranked]


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    low, high = (a, b) if a < b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many elements must be inserted, deleted or replaced to make a into b (Levenshtein 1966). Over the
    length of what was said it is the label, word or phone error rate.
    """
    row = [*range(len(b) + 1)]  # distances of the beginning of a read so far to all beginnings of b
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def _ends(name: str, log_probs: Tensor, lengths: Any) -> list[int]:
    n_steps, n_rows = log_probs.shape[:2]
    return [n_steps] * n_rows if lengths is None else read_lengths(name, lengths, n_steps, n_rows)


# ---------------------------------------------------------------- what users give


def _batch(name: str, log_probs: Tensor, blank: int) -> tuple[Tensor, bool]:
    """(T, N, C), at least float32, and whether it was one sequence without a batch."""
    if not isinstance(log_probs, Tensor) or log_probs.dtype.kind != "f" or log_probs.ndim not in (2, 3):
        raise Mismatch(
            f"{name}: log_probs must be a floating tensor (T, N, C), or (T, C) for one sequence, "
            f"got {describe(log_probs)}"
        )
    if not 0 <= blank < log_probs.shape[-1]:
        raise Mismatch(f"{name}: blank is {blank}, but there are {log_probs.shape[-1]} classes, from 0 on")
    if log_probs.dtype.itemsize < 4:
        log_probs = log_probs.float()
    return (log_probs, False) if log_probs.ndim == 3 else (log_probs.unsqueeze(1), True)


def _labels(
    name: str, targets: Tensor, target_lengths: Any, log_probs: Tensor, blank: int
) -> tuple[Any, list[int]]:
    """The labels as an array (N, S) of log_probs' library, blanks behind each row's end; and the lengths."""
    n_rows, n_classes = log_probs.shape[1:]
    if not isinstance(targets, Tensor) or targets.dtype.kind not in "iu" or targets.ndim not in (1, 2):
        raise WrongKind(
            f"{name}: targets must be a tensor of integers, (N, S) or all labels in one axis, "
            f"got {came(targets)}"
        )
    if targets.ndim == 2 and targets.shape[0] != n_rows:
        raise Mismatch(
            f"{name}: targets has {targets.shape[0]} rows, log_probs {n_rows}: they are (N, S) and (T, N, C)"
        )
    sizes = read_lengths(name, target_lengths, targets.shape[-1], n_rows, "labels")
    if targets.ndim == 1 and sum(sizes) != targets.shape[0]:
        raise Mismatch(
            f"{name}: target_lengths add to {sum(sizes)}, but targets has {targets.shape[0]} labels"
        )
    xp, longest = array_module(log_probs.array), max(sizes, default=0)
    given = targets.array
    given = given if array_module(given) is xp else xp.from_numpy(to_numpy(given))
    given = given.astype("int64")
    places = xp.arange(longest)
    real = places < xp.asarray(sizes, dtype="int64")[:, None]
    if targets.ndim == 1:
        firsts = [0, *accumulate(sizes)][:n_rows]
        given = xp.concatenate([given, xp.zeros(1, "int64")])
        given = given[xp.where(real, xp.asarray(firsts, dtype="int64")[:, None] + places, len(given) - 1)]
    labels = xp.where(real, given[:, :longest], blank)
    if xp.device_type == "cpu":  # elsewhere looking would mean waiting
        wrong = real & ((labels < 0) | (labels >= n_classes) | (labels == blank))
        if bool(wrong.any()):
            raise IndexError(
                f"{name}: targets holds {int(labels[wrong][0])}; labels are 0 to {n_classes - 1} without "
                f"the blank, {blank}"
            )
    return labels, sizes
