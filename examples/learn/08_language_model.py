"""Lesson 8: a language model, from the loop to the library.

    python examples/learn/08_language_model.py

A language model says how likely each next character is, given those before. Training it means making what
did follow likelier; writing with it means drawing a character, and reading it as the next input. A text this
small it learns by heart, which is what you want to see first: a net that cannot learn ten lines by heart has
a bug. First every line of the training loop, then `tg.fit`, which does the same to the last bit.
"""

import math
import signal

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import functional as F

if hasattr(signal, "SIGPIPE"):  # `| head` ends a lesson without a complaint
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

TEXT = (
    "a recurrent net reads one character at a time. what it has read is in its state, and nowhere else. "
    "so the state must tell the first a from the last a, and a time from an at.\n"
)
characters = sorted(set(TEXT))
number = {c: k for k, c in enumerate(characters)}
codes = tg.tensor([number[c] for c in TEXT])
EPOCHS = 100

# ---------------------------------------------------------------- 1. the model


class CharModel(nn.Module):
    """Characters (T, B) and a state -> scores of what comes next (T, B, characters), and the state."""

    def __init__(self, n, hidden_size=64):
        super().__init__()
        self.embed = nn.Embedding(n, 16)  # a row for each character: a product with a one-hot vector
        self.rnn = nn.GRU(16, hidden_size)
        self.out = nn.Linear(hidden_size, n)

    def forward(self, codes, state=None):
        output, state = self.rnn(self.embed(codes), state)
        return self.out(output), state


def loss(model, text):
    """What the text costs, in nats per character: -log p(next), the mean over all places."""
    scores, _ = model(text[:-1].unsqueeze(1))
    return F.cross_entropy(scores.squeeze(1), text[1:])


tg.manual_seed(0)
model = CharModel(len(characters))

# Cross-entropy is log(sum(exp(scores))) - score of the right one. Its gradient to the scores is what the
# model believes minus what was the case, which is why the two are written as one.
scores = tg.randn(3, 5, dtype="float64").requires_grad_()
right = tg.tensor([1, 4, 0])
F.cross_entropy(scores, right, reduction="sum").backward()
believed = np.exp(scores.detach().numpy())
believed /= believed.sum(axis=1, keepdims=True)
assert np.allclose(scores.grad.numpy(), believed - np.eye(5)[right.numpy()])

# Who knows nothing finds all n characters alike: log2(n) bits. A fresh model should not be far from there.
alike, bits = math.log2(len(characters)), loss(model, codes).item() / math.log(2)
print(f"1. {len(TEXT)} characters of {len(characters)} kinds: {alike:.2f} bits each if all are alike")
print(f"   the untrained model needs {bits:.2f}")
assert abs(bits - alike) < 0.3

# ---------------------------------------------------------------- 2. the loop

optimizer = optim.Adam(model.parameters(), lr=0.01)
losses = []
for epoch in range(EPOCHS):
    optimizer.zero_grad()  # gradients add up, so begin at none
    value = loss(model, codes)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(value.item())
    if epoch % 20 == 0:
        print(f"2. epoch {epoch:3}: {losses[-1] / math.log(2):.3f} bits per character")
bits = loss(model, codes).item() / math.log(2)
print(f"   after {EPOCHS}:  {bits:.3f}")
assert bits < 0.1

# ---------------------------------------------------------------- 3. writing


@tg.no_grad()
def write(model, begin, n, temperature=0.0, rng=None):
    """`begin` and n characters more. Temperature 0 takes the likeliest one each time; above that it is drawn
    from softmax(scores / temperature).
    """
    said, state = begin, None
    read = tg.tensor([[number[c]] for c in begin])
    for _ in range(n):
        scores, state = model(read, state)
        scores = scores[-1, 0]
        if temperature:
            k = tg.multinomial(F.softmax(scores / temperature, dim=-1), 1, rng=rng).item()
        else:
            k = scores.argmax().item()
        said += characters[k]
        read = tg.tensor([[k]])  # the state has all that was read before
    return said


said = write(model, TEXT[0], len(TEXT) - 1)
print("3. Begun with its first character:", said.strip())
assert said == TEXT
drawn = {t: write(model, "so the", 60, t, tg.default_rng(0)).strip() for t in (0.5, 2.0, 4.0)}
for temperature, text in drawn.items():
    print(f"   drawn at temperature {temperature}: {text!r}")
assert drawn[0.5] in TEXT
assert drawn[4.0] not in TEXT

# ---------------------------------------------------------------- 4. the same with tg.fit

# From the same start the same steps: weights equal to the last bit. `fit` adds what one does not want to
# write again: progress, validation, early stopping, checkpoints, a resumed run.
tg.manual_seed(0)
again = CharModel(len(characters))
history = tg.fit(
    again, loss, [codes], optim.Adam(again.parameters(), lr=0.01), epochs=EPOCHS, clip=1.0, progress=False
)
assert np.array_equal(history["loss"], losses)
for p, q in zip(model.parameters(), again.parameters(), strict=True):
    assert np.array_equal(p.numpy(), q.numpy())
print(f"4. tg.fit: {len(history)} epochs with the same losses and the same weights, to the bit")

# Exercises
# a) Try a hidden_size of 16, then 8 and 400 epochs. Where does the written text go wrong, and why there?
# b) Learn the text in stretches of 20 characters with nn.tbptt. What has to be carried, what cut?
# c) Hold out the last sentence, and give it to `validate`. When does learning by heart begin?
