"""Attention over a sequence, and a decoder that attends.

    attention = nn.Attention(query_size=64, key_size=128)
    context, weights = attention(query, encoded, lengths=lengths)

A decoder asks many times about one sequence. `remember` does what does not depend on the query, the
projection of the keys among it, once; `attend` does the rest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..backend import array_module, default_rng
from ..backend.naming import describe
from ..creation import empty
from ..engine import no_grad
from ..engine.errors import Mismatch, WrongKind
from ..ops import concat, log_softmax, softmax, stack, tanh, where
from ..tensor import Tensor
from . import functional as F
from . import init as start
from .cell import Cell
from .linear import Linear
from .module import Module, Parameter
from .search import SearchResult, beam_search
from .state import State, match_state
from .utils.rnn import read_lengths

SCORES = ("additive", "dot", "scaled_dot", "general")


class AttentionMemory(NamedTuple):
    """What is attended to, as `Attention.remember` lays it out: B rows of T steps.

    keys: (B, T, K), projected. values: (B, T, V), zeros in the padding.
    visible: (B, 1, T) booleans, the steps that get a weight, or None for all.
    empty: (B, 1, 1) booleans, the rows without a step, whose weights are made zero; None where there is none.
    """

    keys: Tensor
    values: Tensor
    visible: Tensor | None
    empty: Tensor | None


class Attention(Module):
    """A weighted mean of values, weighted by how well their keys fit a query.

    `context, weights = attention(query, keys, values=None, lengths=None)`:
    query (B, query_size), or (S, B, query_size) for S queries to each row; keys (T, B, key_size); values
    (T, B, V), the keys if not given. lengths: how many of the T steps of each row are real, zeros allowed.
    context (B, V) or (S, B, V); weights (B, T) or (S, B, T): they add to 1 over the real steps, and are zero
    in the padding; for a row of length 0 context and weights are zeros. With `batch_first` the batch is the
    first axis of everything.

    score says how a query q and a key k are compared:
    "additive": v . tanh(W q + U k + b) with hidden_size rows (Bahdanau et al. 2015); hidden_size is
    query_size if not given. "dot": q . k, and "general": q . (W k) (Luong et al. 2015). "scaled_dot":
    q . k / sqrt(query_size) (Vaswani et al. 2017). Both dot scores need key_size = query_size.
    """

    def __init__(
        self,
        query_size: int,
        key_size: int | None = None,
        hidden_size: int | None = None,
        score: str = "additive",
        batch_first: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        rng: Any = None,
    ) -> None:
        super().__init__()
        if score not in SCORES:
            raise Mismatch(f"Attention: score is {score!r}, expected one of {', '.join(map(repr, SCORES))}")
        if hidden_size is not None and score != "additive":
            raise Mismatch(f"Attention: only the additive score has a hidden_size; score is {score!r}")
        key_size = query_size if key_size is None else key_size
        hidden_size = query_size if hidden_size is None else hidden_size
        for name, size in (("query_size", query_size), ("key_size", key_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise Mismatch(f"Attention: {name} must be a positive integer, got {size!r}")
        if score in ("dot", "scaled_dot") and key_size != query_size:
            raise Mismatch(
                f"Attention: score {score!r} needs key_size = query_size, got {key_size} and {query_size}; "
                "'general' and 'additive' do not"
            )
        self.query_size, self.key_size, self.score, self.batch_first = (
            query_size,
            key_size,
            score,
            batch_first,
        )
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        rng = None if rng is None else default_rng(rng)
        self.query_projection = self.key_projection = self.v = None
        if score == "additive":
            self.query_projection = Linear(query_size, hidden_size, bias=False, **place, rng=rng)
            self.key_projection = Linear(key_size, hidden_size, **place, rng=rng)
            self.v = Parameter(empty(hidden_size, 1, **place))
            start.xavier_uniform_(self.v, rng=rng)
        elif score == "general":
            self.key_projection = Linear(key_size, query_size, bias=False, **place, rng=rng)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor | None = None, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        memory = self.remember(keys, values, lengths)
        batch = memory.keys.shape[0]
        rows = 0 if self.batch_first else 1
        if not isinstance(query, Tensor) or query.ndim not in (2, 3):
            raise Mismatch(
                f"Attention: query must be (batch, {self.query_size}), or with a time axis too, "
                f"got {describe(query)}"
            )
        if query.shape[0 if query.ndim == 2 else rows] != batch:
            raise Mismatch(f"Attention: query has shape {query.shape}, but the keys have a batch of {batch}")
        if query.ndim == 2:
            context, weights = self._attend(query.unsqueeze(1), memory)
            return context.squeeze(1), weights.squeeze(1)
        context, weights = self._attend(query if self.batch_first else query.swapaxes(0, 1), memory)
        if self.batch_first:
            return context, weights
        return context.swapaxes(0, 1), weights.swapaxes(0, 1)

    def remember(self, keys: Tensor, values: Tensor | None = None, lengths: Any = None) -> AttentionMemory:
        """What all queries to these keys have in common. Arguments as those of `attention(query, ...)`."""
        for name, x in (("keys", keys), ("values", values)):
            if (x is not None or x is keys) and (not isinstance(x, Tensor) or x.ndim != 3):
                wanted = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
                raise Mismatch(f"Attention: {name} must be {wanted}, got {describe(x)}")
        if keys.shape[-1] != self.key_size:
            raise Mismatch(
                f"Attention: keys have {keys.shape[-1]} features on their last axis, "
                f"expected key_size = {self.key_size}"
            )
        if values is not None and values.shape[:2] != keys.shape[:2]:
            raise Mismatch(
                f"Attention: values of shape {values.shape} do not fit keys of shape {keys.shape}; "
                "time and batch must be the same"
            )
        if not self.batch_first:
            keys = keys.swapaxes(0, 1)
            values = None if values is None else values.swapaxes(0, 1)
        batch, n_steps = keys.shape[:2]
        visible = empty_rows = None
        if lengths is not None:
            ends = read_lengths("Attention", lengths, n_steps, batch)
            if any(n < n_steps for n in ends):
                real = F.sequence_mask(ends, n_steps, batch_first=True, device=keys.device)
                keys = where(real.unsqueeze(-1), keys, 0.0)  # padding may hold anything
                values = None if values is None else where(real.unsqueeze(-1), values, 0.0)
                visible = real.unsqueeze(1)
                if 0 in ends:  # the softmax of nothing is not defined: all steps get a weight, then none
                    empty_rows = ~visible.any(-1, keepdims=True)
                    visible = visible | empty_rows
        values = keys if values is None else values
        if self.key_projection is not None:
            keys = self.key_projection(keys)
        elif self.score == "scaled_dot":
            keys = keys * self.query_size**-0.5
        return AttentionMemory(keys, values, visible, empty_rows)

    def attend(self, query: Tensor, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        """query (N, query_size) -> context (N, V), weights (B, N / B, T).

        N may be a multiple of the memory's B rows: queries that ask the same row, as the hypotheses of a beam
        do, lie next to each other.
        """
        batch = memory.keys.shape[0]
        if query.ndim != 2 or query.shape[0] % max(1, batch) or (query.shape[0] and not batch):
            raise Mismatch(
                f"Attention: query has shape {query.shape}, expected ({batch}, {self.query_size}) or a "
                f"multiple of the {batch} rows that are attended to"
            )
        each = query.shape[0] // batch if batch else 1
        context, weights = self._attend(query.reshape(batch, each, query.shape[1]), memory)
        return context.reshape(query.shape[0], memory.values.shape[-1]), weights

    def _attend(self, query: Tensor, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        """query (B, S, query_size) -> context (B, S, V), weights (B, S, T)."""
        if query.shape[-1] != self.query_size:
            raise Mismatch(
                f"Attention: query has {query.shape[-1]} features on its last axis, "
                f"expected query_size = {self.query_size}"
            )
        if self.query_projection is not None:
            seen = tanh(self.query_projection(query).unsqueeze(2) + memory.keys.unsqueeze(1))
            scores = (seen @ self.v).squeeze(-1)
        else:
            scores = query @ memory.keys.swapaxes(1, 2)
        if memory.visible is not None:
            scores = where(memory.visible, scores, -math.inf)
        weights: Tensor = softmax(scores, -1)
        if memory.empty is not None:
            weights = where(memory.empty, 0.0, weights)
        return weights @ memory.values, weights

    def extra_repr(self) -> str:
        batch_first = ", batch_first=True" if self.batch_first else ""
        return f"{self.query_size}, {self.key_size}, score={self.score!r}{batch_first}"


class DecoderState(NamedTuple):
    """The state of an `AttentionDecoder`: its cell's, and the context of the step before (N, V)."""

    cell: State
    context: Tensor


class AttentionDecoder(Module):
    """Writes a sequence while it attends to another: a cell reads the token before and the context before,
    its output is the query for the next context, and both together say what comes next (Luong et al. 2015,
    with their input feeding).

        s_t = cell([embedding(y_t-1), c_t-1], s_t-1)   c_t = attention(s_t, memory)   logits = out([s_t, c_t])

    `logits, weights = decoder(tokens, memory, state=None, lengths=None, teacher_forcing=1.0)`:
    tokens: (S, B) integers, the right ones: logits[t] are for what comes after tokens[t], so that tokens
    begin with the token for "begin". memory: what the encoder returned, (T, B, V), with its `lengths`; or
    an `AttentionMemory` that the attention remembered. state: the cell's before the first step, (B,
    hidden_size), zeros if not given: what the encoder knows at its end, say. logits: (S, B, vocabulary);
    weights: (S, B, T). With the attention's `batch_first` tokens are (B, S), and so on.
    teacher_forcing: the probability with which a step reads the right token; else the one that the decoder
    itself holds most probable (scheduled sampling, Bengio et al. 2015). Each token is drawn for itself.

    `found = decoder.search(memory, state, lengths, bos=0, eos=1, max_length=20)` writes by itself, and
    `logits, state = decoder.step(token, state, memory)` is one step.

    embedding: tokens (...) -> (..., E). cell: a Cell of input_size E + V. attention: an Attention with
    query_size = the cell's hidden_size. out: (..., hidden_size + V) -> (..., vocabulary).
    """

    def __init__(
        self, embedding: Module, cell: Cell, attention: Attention, out: Module, *, rng: Any = None
    ) -> None:
        super().__init__()
        if not isinstance(cell, Cell) or not isinstance(attention, Attention):
            raise WrongKind(
                "AttentionDecoder: expected (embedding, cell, attention, out), a Cell and an Attention in "
                f"the middle, got a {type(cell).__name__} and a {type(attention).__name__}"
            )
        self.embedding, self.cell, self.attention, self.out = embedding, cell, attention, out
        self._rng = None if rng is None else default_rng(rng)

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor | AttentionMemory,
        state: State = None,
        lengths: Any = None,
        teacher_forcing: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        F.check_probability("AttentionDecoder", teacher_forcing, "teacher_forcing")
        memory = self._remembered(memory, lengths)
        batch = memory.keys.shape[0]
        if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise Mismatch(f"AttentionDecoder: tokens must be 2-D integers, got {describe(tokens)}")
        if self.attention.batch_first:
            tokens = tokens.T
        n_steps, n_rows = tokens.shape
        if n_rows != batch or not n_steps:
            raise Mismatch(
                f"AttentionDecoder: there are tokens for {n_rows} rows and {n_steps} steps; expected at "
                f"least one step for each of the {batch} rows of the memory"
            )
        embedded, state = self.embedding(tokens), self.initial_state(memory, state)
        features: list[Tensor] = []
        all_weights: list[Tensor] = []
        for t in range(n_steps):
            x = embedded[t]
            if t and teacher_forcing < 1:
                x = self._sometimes_own(x, features[-1], teacher_forcing)
            state, feature, weights = self._advance(x, state, memory)
            features.append(feature)
            all_weights.append(weights.squeeze(1))
        axis = 1 if self.attention.batch_first else 0
        return self.out(stack(features, axis)), stack(all_weights, axis)

    def _sometimes_own(self, x: Tensor, feature: Tensor, teacher_forcing: float) -> Tensor:
        """The embeddings x of the right tokens, or by chance those of what the decoder would have written."""
        with no_grad():
            own = self.out(feature).argmax(-1)
        n, xp = x.shape[0], array_module(x.array)
        drawn = xp.fed(lambda: default_rng(self._rng).random((n, 1)) < teacher_forcing)
        mixed: Tensor = where(drawn, x, self.embedding(own))
        return mixed

    def step(
        self, token: Tensor, state: DecoderState, memory: AttentionMemory
    ) -> tuple[Tensor, DecoderState]:
        """token (N,), what was written last -> logits (N, vocabulary) for what comes next, and the state
        after. N: the rows of the memory, or a multiple of them, as `Attention.attend` has it.
        """
        state, feature, _ = self._advance(self.embedding(token), state, memory)
        return self.out(feature), state

    def _advance(
        self, x: Tensor, state: DecoderState, memory: AttentionMemory
    ) -> tuple[DecoderState, Tensor, Tensor]:
        """One step from embeddings (N, E): the state, what `out` reads (N, hidden_size + V), the weights."""
        if x.shape[-1] + state.context.shape[-1] != self.cell.input_size:
            raise Mismatch(
                f"AttentionDecoder: the embedding has {x.shape[-1]} features and the memory "
                f"{state.context.shape[-1]}; their sum must be the cell's input_size, {self.cell.input_size}"
            )
        cell = self.cell.step(self.cell.project(concat([x, state.context], -1)), state.cell)
        shown = self.cell.output(cell)
        context, weights = self.attention.attend(shown, memory)
        return DecoderState(cell, context), concat([shown, context], -1), weights

    def search(
        self,
        memory: Tensor | AttentionMemory,
        state: State = None,
        lengths: Any = None,
        *,
        bos: int,
        eos: int,
        max_length: int,
        beam_size: int = 5,
        n_best: int = 1,
        length_penalty: float = 0.0,
    ) -> SearchResult:
        """What it holds most probable to write, from the token `bos` to `eos`: `beam_search` with this
        decoder's steps. memory, state and lengths as for `decoder(...)`. A model with dropout belongs in eval
        mode.
        """
        remembered = self._remembered(memory, lengths)

        def step(tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            logits, state = self.step(tokens, state, remembered)
            return log_softmax(logits, -1), state

        with no_grad():
            start = self.initial_state(remembered, state)
            return beam_search(
                step, start, bos=bos, eos=eos, max_length=max_length, beam_size=beam_size, n_best=n_best,
                length_penalty=length_penalty,
            )  # fmt: skip

    def _remembered(self, memory: Tensor | AttentionMemory, lengths: Any) -> AttentionMemory:
        if not isinstance(memory, AttentionMemory):
            return self.attention.remember(memory, lengths=lengths)
        if lengths is not None:
            raise Mismatch("AttentionDecoder: an AttentionMemory has its lengths already; leave lengths out")
        return memory

    def initial_state(self, memory: AttentionMemory, state: State = None) -> DecoderState:
        """The state before the first step, from the cell's (zeros if not given)."""
        if isinstance(state, DecoderState):
            return state
        batch = memory.keys.shape[0]
        zeros = self.cell.initial_state(batch, memory.values)
        cell = zeros if state is None else match_state("AttentionDecoder", state, zeros)
        return DecoderState(cell, memory.values.new_zeros(batch, memory.values.shape[-1]))
