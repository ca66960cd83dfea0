"""Out of Python: the notes' language model, and a net that filters sound, each as one C file with its weights
in it, in a program that needs no library.

    python examples/export.py                             # the net of char_lm.py writes text, from C: seconds
    python examples/export.py --task sound                # half a minute on two cores
    python examples/export.py --task sound --weights int8

The text is that of the latest checkpoint that char_lm.py has left in --out; where there is none, a small net
learns for some seconds. The sound is plucked strings (Karplus and Strong 1983), drawn by chance, and the
filter is to do what an amplifier does that is driven hard: a tanh and a low pass behind it. What is written,
net.c, net.h and a main.c, stands in a folder of its own in --out, compiled if a C compiler is there.
"""

import pathlib
import shutil
import subprocess
import sys
import time

import common
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.nn import functional as F

HERE = pathlib.Path(__file__).parent
SHAPE = ("cell", "hidden", "weights")
QUICK = {"hidden": 8, "epochs": 2, "batch": 8, "window": 64}
RATE, TAPS = 8000, 32  # samples in a second; of the linear filter to hold against
PROMPT = "The "


class Filter(nn.Module):
    """Samples (T, B, 1) -> samples (T, B, 1)."""

    def __init__(self, cell, hidden):
        super().__init__()
        self.rnn, self.out = common.CELLS[cell][0](1, hidden), nn.Linear(hidden, 1)

    def forward(self, x, state=None):
        y, _ = self.rnn(x, state)
        return self.out(y)


# ---------------------------------------------------------------- sound


def plucked(n, rng):
    """n samples of strings, each plucked for a quarter of a second, a new one every eighth."""
    x = np.zeros(n)
    for start in range(0, n, RATE // 8):
        period, length = int(rng.integers(10, 80)), min(RATE // 4, n - start)
        string = np.concatenate([rng.uniform(-1, 1, period), np.zeros(RATE // 4)])
        for t in range(period + 1, len(string)):
            string[t] = 0.498 * (string[t - period] + string[t - period - 1])
        x[start : start + length] += rng.uniform(0.1, 0.6) * string[:length]
    return np.clip(x, -1, 1)


def amplified(x):
    """A tanh, and a low pass behind it."""
    y, before = np.tanh(4 * x), 0.0
    for t in range(len(y)):
        y[t] = before = 0.7 * before + 0.3 * y[t]
    return y


def apart(y, right):
    """The energy of the error in parts of the signal's."""
    return float(((y - right) ** 2).sum() / (right**2).sum())


def linear(x, y, n):
    """What the best linear filter, fitted to the first n samples, makes of x."""
    lags = np.stack([np.concatenate([np.zeros(k), x[: len(x) - k]]) for k in range(TAPS)], 1)
    return lags @ np.linalg.lstsq(lags[:n], y[:n], rcond=None)[0]


def learn_filter(args):
    """The trained net, and sound that was held out: (net, x, y, what the linear filter makes of it)."""
    seconds = 2 if args.quick else 40
    x = plucked((seconds + 2) * RATE, np.random.default_rng(args.seed))
    y, n = amplified(x), seconds * RATE
    steps = n // args.window
    if not steps:
        common.fail(f"--window is {args.window} samples, and the sound has {n}")
    xs, ys = (tg.tensor(v[: steps * args.window]).float().reshape(steps, args.window) for v in (x, y))
    batches = data.DataLoader(data.TensorDataset(xs, ys), batch_size=args.batch, shuffle=True, rng=args.seed)
    model = Filter(args.cell, args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    total, skipped = args.epochs * len(batches), args.window // 4

    def loss(model, batch):  # of where the state has settled
        given, right = (v.transpose(0, 1).unsqueeze(2) for v in batch)
        return F.mse_loss(model(given)[skipped:], right[skipped:])

    common.fit(
        model, loss, batches, optimizer, epochs=args.epochs, clip=1.0, monitor="loss", scheduler_every="step",
        scheduler=optim.lr_scheduler.WarmupCosineLR(optimizer, min(20, total // 2), total),
        **common.files(args),
    )  # fmt: skip
    return model.eval(), x[n:], y[n:], linear(x, y, n)[n:]


def export_sound(args, folder):
    model, x, right, by_linear = learn_filter(args)
    with tg.no_grad():
        y = model(tg.tensor(x).float().reshape(-1, 1, 1)).numpy().reshape(-1)
    ours, theirs = apart(y, right), apart(by_linear, right)
    print(f"held-out sound: error {ours:.2%} of the energy; linear filter {theirs:.2%}")
    program = program_of(args, folder, model, "export_sound.c")
    import sound  # which reads and writes WAV files

    given, made = folder / "strings.wav", folder / "filtered.wav"
    sound.write_wav(given, x)
    if program is None:
        return
    with given.open("rb") as source, made.open("wb") as target:
        start = time.perf_counter()
        subprocess.run([program], stdin=source, stdout=target, check=True)
        seconds = time.perf_counter() - start
    print(f"{made}: {len(x) / RATE:.0f} s of sound in {1000 * seconds:.0f} ms, files and all")


# ---------------------------------------------------------------- text


def language_model(args):
    """The net of the latest checkpoint of char_lm.py that agrees with the options, and its characters."""
    import char_lm

    def found():
        for file in sorted(
            args.out.glob("char_lm*.npz"), key=lambda file: file.stat().st_mtime, reverse=True
        ):
            try:
                saved = tg.load(file)
                shape = saved["run"]["options"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it is no checkpoint of the kind
            if all(shape[o] == getattr(args, o) for o in ("cell", "hidden") if o in args.given):
                return file, saved, shape
        return None

    if found() is None:
        print("no checkpoint of char_lm.py is in --out: a small one learns")
        size = ["--hidden", str(args.hidden)] if "hidden" in args.given else []
        command = ["--quick", "--out", str(args.out), "--seed", str(args.seed), "--cell", args.cell, *size]
        subprocess.run([sys.executable, HERE / "char_lm.py", *command], check=True, stdout=subprocess.DEVNULL)
    file, saved, shape = found()
    print(f"the net is that of {file}")
    vocab = data.CharVocab.from_state(saved["vocab"])
    model = char_lm.CharLM(len(vocab), *(shape[name] for name in char_lm.SHAPE))
    model.load_state_dict(saved["model"])
    return model.eval(), vocab


def in_c(text):
    """A text as C writes it: each byte that is not plain in octal."""
    return "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode("utf-8")
    )


def export_text(args, folder):
    model, vocab = language_model(args)
    characters = [vocab.decode([k]) for k in range(len(vocab))]
    lines = ["static const char *const characters[] = {", *(f'  "{in_c(c)}",' for c in characters), "};", ""]
    program = program_of(args, folder, model, "export_text.c", {"vocab.h": "\n".join(lines)})
    if program is not None:
        prompt = PROMPT if all(c in characters for c in PROMPT) else ""
        done = subprocess.run([program, prompt, str(args.length)], capture_output=True, check=True)
        print(done.stdout.decode("utf-8", "replace"))


# ---------------------------------------------------------------- both


def program_of(args, folder, model, main, texts=()):
    """Writes net.c, net.h, main.c and other texts, and says how large the net is. Returns the compiled
    program, or None where no compiler is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = tg.native.export_c(model, folder / "net", weights=args.weights)
    shutil.copyfile(HERE / main, folder / "main.c")
    for name, text in dict(texts).items():
        (folder / name).write_text(text)
    size = sum(p.numel() for p in model.parameters())
    print(f"{made.c}: {size:,} weights, {args.weights}; error {made.error:.1e} of the largest output")
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    command = f"{compiler or 'cc'} -O3 main.c net.c -lm -o main"
    if compiler is None:
        print(f"no C compiler is there; where there is one: {command}")
        return None
    subprocess.run(command.split(), cwd=folder, check=True)
    return (folder / "main").resolve()


def options():
    parser = common.parser(__doc__)
    add, positive = parser.add_argument, common.positive
    add("--task", choices=("text", "sound"), default="text")
    add("--weights", choices=("float", "int8"), default="float")
    add("--hidden", type=common.size, help="units of the net (24 for sound)")
    add("--epochs", type=positive(int), default=60, help="of the net for sound")
    add("--batch", type=common.size, default=16)
    add("--window", type=positive(int), default=256, help="samples that are learned at a time")
    add("--lr", type=common.rate, default=1e-2)
    add("--length", type=positive(int), default=400, help="characters to write")
    return common.parse(
        parser, SHAPE, free=("task", "length"), quick=QUICK, defaults={"hidden": 24},
        task=lambda args: () if args.task == "text" else (args.task,),
    )  # fmt: skip


def main():
    args = options()
    common.start(args)
    {"text": export_text, "sound": export_sound}[args.task](args, args.out / args.stem)
    return 0


if __name__ == "__main__":
    common.run(main)
