"""The notes' speech recognition: who speaks (many to one), and what is said (many to many, out of step, CTC).

    python examples/speech.py                              # which of nine men says /ae/: a quarter minute
    python examples/speech.py --task digits                # strings of spoken digits: six minutes
    python examples/speech.py --task digits --predict CLIP.wav      # reads digits in a recording
    python examples/speech.py --task digits --demo 31415            # mixes a clip, and reads it
    python examples/speech.py --predict UTTERANCE.csv      # who: 12 columns, one line for each step

speakers: "Japanese vowels" (Kudo, Toyama and Shimbo 1999; UCI archive, CC BY 4.0), read from aeon 1.6.0: 270
utterances to learn from, 370 held out, 7 to 29 steps of 12 LPC cepstrum coefficients.

digits: ten recordings of one voice, read from captcha 0.7.1 (BSD-3). What is held out are mixtures, not
voices: strings of 3 to 6 digits with speed, level, pauses and noise of chance. Nobody tells the net when a
digit was said; the picture shows when it believes so, which is the gradient of the CTC loss. The hard case
are clips by captcha itself, meant to keep machines out: over a babble of recordings said backwards.
"""

import importlib.util
import random
import types

import common
import datasets
import numpy as np
import sound
import table
from numerals import Wrong

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

SHAPE = ("nets", "cell", "features", "hidden", "classes", "pooled", "dropout")
LEVELS = (0, 5, 10, 15, 20)  # dB
REFERENCE = {
    "speakers": "mean over time and logistic regression 96.8 %, transformers 97.8 to 99.2 %",
    "digits": "a BiLSTM of 96 units reads mixtures without noise without an error",
}


class Net(nn.Module):
    """Frames (T, B, features) -> log probabilities (T, B, classes); where they are pooled, (B, classes)."""

    def __init__(self, cell, features, hidden, classes, pooled, dropout):
        super().__init__()
        self.rnn = common.CELLS[cell][0](features, hidden, bidirectional=True)
        self.drop, self.pool = nn.Dropout(dropout), nn.MaxPool() if pooled else None
        self.out = nn.Linear(2 * hidden, classes)

    def forward(self, rows):
        """Of arrays (n, features), one for each row."""
        lengths = [len(row) for row in rows]
        h, _ = self.rnn(pad_sequence([tg.tensor(row) for row in rows]), lengths=lengths)
        if self.pool is not None:
            h = self.pool(h, lengths)
        return F.log_softmax(self.out(self.drop(h)), dim=-1)


class Nets(nn.Module):
    """Several nets; the mean of their log probabilities counts. A loss of it is a mean: each learns alone."""

    def __init__(self, n, *shape):
        super().__init__()
        self.nets = nn.ModuleList([Net(*shape) for _ in range(n)])

    def forward(self, rows):
        return tg.stack([net(rows) for net in self.nets]).mean(0)


def train(args, batches, loss, validate=None, metrics=None, **extras):
    model = Nets(*(getattr(args, name) for name in SHAPE))
    optimizer = optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    total = args.epochs * args.batches
    scheduler = optim.lr_scheduler.WarmupCosineLR(optimizer, min(50, total // 4), total)
    print(f"{args.cell} with {sum(p.numel() for p in model.parameters()):,} weights")
    common.fit(
        model, loss, batches, optimizer, epochs=args.epochs, clip=5.0, scheduler=scheduler,
        scheduler_every="step", validate=validate, metrics=metrics,
        **common.files(args, task=args.task, shape=[getattr(args, name) for name in SHAPE], **extras),
    )  # fmt: skip
    return model.eval()


# ---------------------------------------------------------------- who speaks


def utterances(part):
    """[(array (n, 12), speaker 0 to 8)]"""
    member = f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    found = []
    for line in datasets.fetch("aeon", "1.6.0", member).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#@":
            *channels, speaker = line.split(":")
            rows = [[float(word) for word in channel.split(",")] for channel in channels]
            found.append((np.array(rows, "float32").T, int(speaker) - 1))
    return found


def speakers(args):
    learn, test = utterances("TRAIN"), utterances("TEST")
    frames = np.concatenate([x for x, _ in learn])
    mean, std = frames.mean(0), frames.std(0)
    learn, test = ([((x - mean) / std, who) for x, who in part] for part in (learn, test))
    batches = common.batches(learn, [len(x) for x, _ in learn], args)
    args.batches = len(batches)
    rng = tg.default_rng()

    def loss(model, batch):
        rows, who = batch
        noisy = [x + 0.3 * rng.standard_normal(x.shape, dtype="float32") for x in rows]
        return F.nll_loss(model(noisy), tg.tensor(who)), len(rows)

    print(f"{len(learn)} utterances to learn from, {len(test)} held out")
    model = train(args, batches, loss, mean=mean, std=std)
    rows, who = common.columns(test)
    with tg.no_grad():
        said = model(rows).argmax(-1).tolist()
    print("\nspeaker   held out   recognised   taken for")
    for k in range(9):
        others = [s + 1 for s, w in zip(said, who, strict=True) if w == k != s]
        n = who.count(k)
        print(f"{k + 1:7} {n:10} {n - len(others):12}   {', '.join(map(str, sorted(others)))}")
    right = sum(s == w for s, w in zip(said, who, strict=True))
    print(f"held out: {right / len(who):.2%} right, {right} of {len(who)}")


def read_utterance(path):
    """Frames (n, 12) of a table of numbers."""
    try:
        x = table.matrix(path, "it")
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    except Wrong as reason:
        common.fail(
            f"{path} is no table of numbers: it must have 12 numbers in each line, one line for each step, "
            f"and none may be NaN ({reason})"
        )
    if np.abs(x).max() > 1e6:
        common.fail(f"{path} has numbers beyond a million, which no frame of speech has")
    return x


def predict_speakers(args, model, saved):
    for path in args.predict:
        x = (read_utterance(path) - saved["mean"]) / saved["std"]
        with tg.no_grad():
            p = model([x.astype("float32")])[0].softmax(-1)
        print(f"{path}: speaker {p.argmax().item() + 1} (probability {p.max().item():.3f})")


# ---------------------------------------------------------------- what is said


def recordings():
    """By letter or digit, and the beep."""
    paths = datasets.fetch_all("captcha", "0.7.1", "captcha/data/*.wav")
    found = {path.parent.name: sound.read_wav(path) for path in paths if path.name == "default.wav"}
    return found, sound.read_wav(next(path for path in paths if path.name == "beep.wav"))


def draw(rng):
    return "".join(str(digit) for digit in rng.integers(0, 10, rng.integers(3, 7)))


def labels(digits):
    return [int(digit) + 1 for digit in digits]  # 0 is the blank


def read(model, rows, beam=None):
    """The digits of each row."""
    with tg.no_grad():
        log_probs, lengths = model(rows), [len(row) for row in rows]
    if beam is None:
        found = nn.ctc_greedy(log_probs, lengths)
    else:
        found = [best.labels for best, *_ in nn.ctc_beam(log_probs, lengths, beam_size=beam)]
    return ["".join(str(label - 1) for label in row) for row in found]


def wrong_digits(model, batch, beam=None):
    """The digit error rate: wrong, missing and added digits over those said; and how many those are."""
    rows, said = batch
    n = sum(map(len, said))
    heard = read(model, rows, beam)
    return sum(nn.edit_distance(a, b) for a, b in zip(heard, said, strict=True)) / n, n


def error(model, clips, beam=None):
    """The digit error rate on many clips."""
    found = [wrong_digits(model, common.columns(clips[k : k + 50]), beam) for k in range(0, len(clips), 50)]
    return sum(rate * n for rate, n in found) / sum(n for _, n in found)


def captchas(n, seed):
    """Clips of four digits by captcha's own code, which is made to draw by our seed."""
    path = datasets.fetch("captcha", "0.7.1", "captcha/audio.py")
    spec = importlib.util.spec_from_file_location("captcha_audio", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = random.Random(seed)
    module.secrets = types.SimpleNamespace(randbelow=rng.randrange, choice=rng.choice)
    maker = module.AudioCaptcha()
    maker.choices.sort()  # which come as the folder has them
    maker.load()
    for _ in range(n):
        digits = "".join(rng.choices("0123456789", k=4))
        yield sound.log_mel(np.frombuffer(maker.create_wave_body(digits), "u1") / 128 - 1), digits


def digits(args):
    voices, beep = recordings()

    def clip(rng, snr=None):
        said = draw(rng)
        if snr is None:
            return sound.log_mel(sound.in_babble(voices, said, rng, beep)), said
        return sound.log_mel(sound.in_noise(voices, said, rng, snr)), said

    def batches(epoch):
        """New mixtures in every epoch."""
        for k in range(args.batches):
            rng = np.random.default_rng([args.seed, epoch, k])
            hard = epoch > 0 and rng.random() < args.babble
            yield common.columns(
                [clip(rng, None if hard else rng.uniform(*args.snr)) for _ in range(args.batch)]
            )

    def loss(model, batch):
        rows, said = batch
        targets = tg.tensor([label for row in said for label in labels(row)])
        return F.ctc_loss(model(rows), targets, [len(row) for row in rows], [len(row) for row in said])

    rng = np.random.default_rng([args.seed, 1 << 30])
    n = 1 if args.quick else 4
    valid = [common.columns([clip(rng, rng.uniform(*args.snr)) for _ in range(32)]) for _ in range(n)]
    if args.babble:
        valid.append(common.columns([clip(rng) for _ in range(32)]))
    print(f"{args.epochs} epochs of {args.batches * args.batch:,} mixtures of {len(voices)} recordings")
    model = train(args, batches, loss, valid, {"digit_error": wrong_digits})
    n, mean = 10 if args.quick else 200, []
    print(f"\nnoise below voice   greedy   beam of 10     digit error on {n} mixtures held out")
    for snr in LEVELS:
        clips = [clip(rng, snr) for _ in range(n)]
        mean.append((error(model, clips), error(model, clips, 10)))
        print(f"{snr:14} dB {mean[-1][0]:9.2%} {mean[-1][1]:12.2%}")
    greedy, beam = np.mean(mean, axis=0)
    print(f"held out: {beam:.2%} digit error on the average of the levels, {greedy:.2%} greedy")
    if args.babble:
        clips = list(captchas(4 if args.quick else 100, args.seed))
        exact = np.mean([read(model, [row], 10)[0] == said for row, said in clips])
        print(f"clips by AudioCaptcha: {error(model, clips, 10):.2%} digit error, {exact:.0%} without one")
    picture(args, model, [clip(rng, 10), clip(rng, 0)])


def alignment(model, row, digits):
    """(T, 10): how probable it is that a digit is said at a step, if these are: minus the gradient."""
    with tg.no_grad():
        log_probs = model([row])[:, 0]
    log_probs.requires_grad_()
    F.ctc_loss(log_probs, tg.tensor(labels(digits)), len(row), len(digits), reduction="sum").backward()
    return -log_probs.grad.numpy()[:, 1:]


def picture(args, model, clips):
    panels = []
    for row, said in clips:
        bands = row.reshape(-1, 2, sound.N_MELS).mean(1)
        panels.append((bands, alignment(model, row, said), f"said {said}, read {read(model, [row], 10)[0]}"))
    with common.picture(f"checkpoint and picture are in {args.out}"):
        path = common.path(args, suffix=".png")
        viz.alignment(path, panels, [str(digit) for digit in range(10)], seconds=sound.SECONDS)


def predict_digits(args, model, saved):
    if args.demo is not None:
        if not (args.demo.isascii() and args.demo.isdigit()):
            common.fail(f"{args.demo!r} has something else than digits 0 to 9")
        path = args.out / "speech_demo.wav"
        x = sound.in_noise(recordings()[0], args.demo, np.random.default_rng(args.seed), 20)
        sound.write_wav(path, x)
        args.predict = [path]
    for path in args.predict:
        row = sound.log_mel(sound.read_wav(path))
        with tg.no_grad():
            best, *_ = nn.ctc_beam(model([row])[:, 0], beam_size=10)
        heard = "".join(str(label - 1) for label in best.labels)
        print(f"{path}: {heard or 'no digits'} (probability {np.exp(best.log_prob):.3f})")


# ---------------------------------------------------------------- all of it

TASKS = {"speakers": speakers, "digits": digits}
DEFAULTS = {  # nets, hidden, dropout, epochs, clips in a batch, learning rate
    "speakers": (5, 48, 0.3, 40, 30, 5e-3),
    "digits": (1, 128, 0.1, 8, 32, 3e-3),
}
QUICK = {"speakers": (1, 32, 0.3, 12, 30, 5e-3), "digits": (1, 48, 0.0, 2, 12, 8e-3)}


def options():
    parser = common.parser(__doc__)
    add, positive = parser.add_argument, common.positive
    add("--task", choices=TASKS, default="speakers")
    add("--nets", type=positive(int, most=100))
    for option in ("hidden", "batch"):
        add(f"--{option}", type=common.size)
    add("--epochs", type=positive(int))
    add("--lr", type=common.rate)
    add("--dropout", type=common.fraction)
    add("--batches", type=positive(int), default=200, help="of an epoch of digits")
    add("--babble", type=common.fraction, default=0.25, help="the part of batches like AudioCaptcha's clips")
    add("--predict", nargs="+", metavar="FILE", help="only read these: WAV, or CSV of a speaker's frames")
    add("--demo", metavar="DIGITS", help="only mix a clip of these digits into --out, and read it")
    names = ("nets", "hidden", "dropout", "epochs", "batch", "lr")
    return common.parse(
        parser, names[:3] + ("cell",), free=("predict", "demo"), task=lambda args: (args.task,),
        defaults=lambda args: dict(zip(names, DEFAULTS[args.task], strict=True)),
        quick=lambda args: {
            "batches": 80, "babble": 0.0, **dict(zip(names, QUICK[args.task], strict=True))
        },
    )  # fmt: skip


def main():
    args = options()
    common.start(args)
    args.snr = (15, 25) if args.quick else (-5, 20)
    who = args.task == "speakers"
    args.features, args.classes, args.pooled = (12, 9, True) if who else (sound.FEATURES, 11, False)
    if args.predict or args.demo is not None:
        if who and args.demo is not None:
            common.fail("--demo is for --task digits")
        path = common.find(args)
        saved = common.load(path)
        if saved["task"] != args.task:
            common.fail(f"{path} is of --task {saved['task']}")
        model = Nets(*saved["shape"]).eval()
        model.load_state_dict(saved["model"])
        return (predict_speakers if who else predict_digits)(args, model, saved)
    TASKS[args.task](args)
    print(f"reference: {REFERENCE[args.task]}")
    return 0


if __name__ == "__main__":
    common.run(main)
