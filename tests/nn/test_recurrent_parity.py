"""The recurrent layers against PyTorch's: values, states and every gradient, from the same weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import nn

torch = extra("torch")
pytestmark = pytest.mark.extras("torch")

OURS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": lambda *a, **k: nn.GRU(*a, reset_after=True, **k)}
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def agree(a, b, dtype, what):
    a, b = a.numpy() if isinstance(a, tg.Tensor) else a, b.detach().numpy() if torch.is_tensor(b) else b
    assert a.shape == b.shape, what
    scale = max(1.0, abs(b).max(initial=0.0))
    assert abs(a - b).max(initial=0.0) <= TOLERANCE[dtype] * scale, what


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(sorted(OURS)),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    depth=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n_steps=st.integers(1, 6),
    batch=st.integers(1, 4),
    with_state=st.booleans(),
    init=st.sampled_from(["default", "torch"]),
    data=st.data(),
)
def test_same_as_pytorch(
    kind, dtype, depth, bidirectional, batch_first, bias, sizes, n_steps, batch, with_state, init, data
):
    lengths = data.draw(st.none() | st.lists(st.integers(1, n_steps), min_size=batch, max_size=batch))
    options = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    theirs = getattr(torch.nn, kind)(*sizes, depth, **options).to(getattr(torch, dtype))
    ours = OURS[kind](*sizes, depth, init=init, **options).to(dtype)
    tg.io.load_torch(ours, theirs.state_dict())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, n_steps, sizes[0]) if batch_first else (n_steps, batch, sizes[0])).astype(
        dtype
    )
    n_states = depth * (2 if bidirectional else 1)
    start = [
        rng.standard_normal((n_states, batch, sizes[1])).astype(dtype) for _ in range(1 + (kind == "LSTM"))
    ]
    our_x, our_start = tg.tensor(x, requires_grad=True), [tg.tensor(s, requires_grad=True) for s in start]
    their_x, their_start = (
        torch.tensor(x, requires_grad=True),
        [torch.tensor(s, requires_grad=True) for s in start],
    )

    def given_state(states):
        if not with_state:
            return None
        return tuple(states) if kind == "LSTM" else states[0]

    our_output, our_state = ours(our_x, given_state(our_start), lengths)
    if lengths is None:
        their_output, their_state = theirs(their_x, given_state(their_start))
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            their_x, lengths, batch_first=batch_first, enforce_sorted=False
        )
        packed, their_state = theirs(packed, given_state(their_start))
        their_output, _ = torch.nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=batch_first, total_length=n_steps
        )
    results = list(zip([our_output, *parts(our_state)], [their_output, *parts(their_state)], strict=True))
    weights = [rng.standard_normal(a.shape).astype(dtype) for a, _ in results]
    for k, (a, b) in enumerate(results):
        agree(a, b, dtype, f"result {k}")
    sum((a * tg.tensor(w)).sum() for (a, _), w in zip(results, weights, strict=True)).backward()
    sum((b * torch.tensor(w)).sum() for (_, b), w in zip(results, weights, strict=True)).backward()
    agree(our_x.grad, their_x.grad, dtype, "x")
    if with_state:
        for a, b in zip(our_start, their_start, strict=True):
            agree(a.grad, b.grad, dtype, "initial state")
    # The gradients by PyTorch's names: those of a twin whose weights are our gradients.
    twin = OURS[kind](*sizes, depth, init=init, **options).to(dtype)
    for p, q in zip(twin.parameters(), ours.parameters(), strict=True):
        p.data = q.grad
    gradients = tg.io.to_torch(twin)
    for name, p in theirs.named_parameters():
        if "bias_hh" not in name or init == "torch":  # else one bias is held against bias_ih's gradient
            agree(gradients[name], p.grad, dtype, name)
        elif kind == "GRU":  # where the candidate's recurrent bias is one of ours too
            agree(gradients[name][2 * sizes[1] :], p.grad[2 * sizes[1] :], dtype, name)
