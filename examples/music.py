"""Music, note after note (the notes' many to many): learns four-part chorales, and writes new ones as MIDI.

    python examples/music.py                                       # two minutes
    python examples/music.py --demo --seed 3                       # another one, with the checkpoint in --out
    python examples/music.py --demo "G4 G4 D5 D5 E5 E5 D5 D5"      # alto, tenor and bass to your melody

Bach's four-part chorales from the corpus of music21 10.5.1 (the music is in the public domain; the encodings,
by Margaret Greentree and others, come with the package by permission, and are read there, not copied). One
frame is one quarter note: the keys that the four voices hold then. The loss is the negative log-likelihood of
a frame after those before it, in nats; of each frame the soprano is said first, then alto, tenor and bass,
each knowing the ones said before. Nets that say 88 keys at once, each for itself, reach 8.9 (RNN), 8.5 (LSTM)
and 8.4 (GRU; Bai et al. 2018) on such chorales, split otherwise; with --independent this net does not know
the voices said before, which is nearer to theirs. A fifth of the chorales is held out, and a fifth more tells
when to stop; chorales on one melody are in the same part.
"""

import itertools
import math
import re
import struct
import xml.etree.ElementTree as ET
import zipfile

import common
import datasets

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

SHAPE = ("cell", "hidden", "embedding", "dropout", "independent")
QUICK = {"hidden": 48, "embedding": 12, "epochs": 3}
REFERENCE = {"rnn": 8.9, "lstm": 8.5, "gru": 8.4}
VOICES = ("soprano", "alto", "tenor", "bass")
LOW, HIGH = 33, 84  # MIDI's numbers of the keys there are, and some to transpose to; token 0 is silence
N_TOKENS = HIGH - LOW + 2
SCALE = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


# ---------------------------------------------------------------- chorales


def frames_of(part):
    """The key (MIDI's number, 0 for silence) that a part of a MusicXML score holds at each quarter note."""
    held, start, divisions = [], 0.0, 1
    for measure in part.iter("measure"):
        now = end = 0.0
        for item in measure:
            if item.tag == "attributes":
                divisions = int(item.findtext("divisions", divisions))
            if item.tag not in ("note", "backup", "forward") or item.find("grace") is not None:
                continue
            length = float(item.findtext("duration")) / divisions
            if item.tag == "backup":
                now -= length
                continue
            if (pitch := item.find("pitch")) is not None:
                key = 12 * (int(pitch.findtext("octave")) + 1) + SCALE[pitch.findtext("step")]
                key += int(pitch.findtext("alter", "0"))
                held.append((start + now, start + now + length, key))
            now += length
            end = max(end, now)
        start += end
    frames = [0] * math.ceil(start - 1e-6)
    for begin, end, key in held:
        for t in range(math.ceil(begin - 1e-6), math.ceil(end - 1e-6)):
            frames[t] = key
    return frames


def chorales():
    """All with four parts: lists of frames, tuples of four keys."""
    found = []
    for path in datasets.fetch_all("music21", "10.5.1", "music21/corpus/bach/*.mxl"):
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if re.fullmatch(r"(?!META-INF).*\.(musicxml|xml)", n))
            parts = ET.fromstring(archive.read(name)).findall("part")
        if len(parts) == 4:
            found.append(list(zip(*map(frames_of, parts), strict=True)))
    return found


def split(pieces):
    """Training, validation and held-out chorales, 3 : 1 : 1. Melodies that begin alike stay together."""

    def melody(piece):
        return tuple(frame[0] - piece[0][0] for frame in piece[:12])

    groups = [list(g) for _, g in itertools.groupby(sorted(pieces, key=melody), key=melody)]
    parts = ([], [], [])
    for i, k in enumerate(tg.default_rng(0).permutation(len(groups))):  # the same for every --seed
        parts[(0, 0, 0, 1, 2)[i % 5]].extend(groups[k])
    return parts


def tokens(piece, shift=0):
    """Frames as tokens (T, 4), all keys moved by `shift` half tones."""
    return tg.tensor([[key and key - LOW + 1 + shift for key in frame] for frame in piece])


def batches(pieces, size, transpose=None):
    """Tokens (T, B, 4) and lengths, chorales of like length together; transposed by chance with an rng."""
    order = data.BucketSampler([len(p) for p in pieces], size, shuffle=transpose is not None)
    for chosen in order:
        rows = [tokens(pieces[i], int(transpose.integers(-3, 4)) if transpose else 0) for i in chosen]
        yield pad_sequence(rows), [len(row) for row in rows]


# ---------------------------------------------------------------- the net


class Composer(nn.Module):
    """Frames (T, B, 4) -> logits (T, B, 4, tokens): of each frame after those before it."""

    def __init__(self, cell, hidden, embedding, dropout, independent):
        super().__init__()
        self.embed = nn.ModuleList([nn.Embedding(N_TOKENS, embedding) for _ in VOICES])
        self.start = nn.Parameter(tg.zeros(4 * embedding))
        self.rnn, self.drop = common.CELLS[cell][0](4 * embedding, hidden), nn.Dropout(dropout)
        # each voice is told what the voices before it do in this frame, besides what the net remembers
        known = [0 if independent else v * embedding for v in range(4)]
        self.mix = nn.ModuleList([nn.Linear(hidden + n, hidden) for n in known])
        self.out = nn.ModuleList([nn.Linear(hidden, N_TOKENS) for _ in VOICES])
        self.independent = independent

    def embedded(self, x):
        return [embed(x[..., v]) for v, embed in enumerate(self.embed)]

    def remember(self, frames, state=None, lengths=None):
        """What is known before each frame (T, B, hidden); the embedded frames come from `embedded`."""
        output, state = self.rnn(self.drop(frames), state, lengths)
        return self.drop(output), state

    def voice(self, v, memory, earlier):
        """Logits of one voice, given the embedded voices before it."""
        known = [memory] if self.independent else [memory, *earlier[:v]]
        return self.out[v](self.drop(self.mix[v](tg.concat(known, axis=-1)).tanh()))

    def forward(self, x, lengths):
        now = self.embedded(x)
        before = tg.concat(now, axis=-1)[:-1]
        first = self.start.expand(1, x.shape[1], -1)
        memory, _ = self.remember(tg.concat([first, before]), None, lengths)
        return tg.stack([self.voice(v, memory, now) for v in range(4)], axis=2)

    def compose(self, n_frames, temperature, rng, melody=()):
        """A chorale, voice by voice, drawn from softmax(logits / temperature); the soprano may be given."""
        frame, state, piece = self.start.reshape(1, 1, -1), None, []
        for t in range(n_frames):
            memory, state = self.remember(frame, state)
            keys, known = [], []
            for v, embed in enumerate(self.embed):
                said = self.voice(v, memory[0], known)[0].double()
                weights = F.softmax((said - said.max()) / temperature, dim=-1)
                given = v == 0 and t < len(melody)
                token = tg.tensor([melody[t]]) if given else tg.multinomial(weights, 1, rng=rng)
                known.append(embed(token))
                keys.append(token.item() and token.item() + LOW - 1)
            piece.append(tuple(keys))
            frame = tg.concat(known, axis=-1).unsqueeze(0)
        return piece


def loss(model, batch):
    """The negative log-likelihood of a frame, and how many frames it is the mean of."""
    x, lengths = batch
    logits = model(x, lengths)
    each = F.cross_entropy(logits.flatten(0, 2), x.flatten(), reduction="none").reshape(x.shape).sum(-1)
    return F.masked_mean(each, lengths), sum(lengths)


# ---------------------------------------------------------------- MIDI


def midi(piece, beats_per_minute=76):
    """Frames as the bytes of a MIDI file: one track, a channel for each voice; a held key is one note."""
    events = []
    for v, line in enumerate(zip(*piece, strict=True)):
        t = 0
        for key, same in itertools.groupby(line):
            end = t + len(list(same))
            if key:
                events += [(t, 1, bytes((0x90 | v, key, 80))), (end, 0, bytes((0x80 | v, key, 0)))]
            t = end
    track, last = b"\x00\xff\x51\x03" + struct.pack(">I", 60_000_000 // beats_per_minute)[1:], 0
    for t, _, event in sorted(events):  # at one time, notes end before others begin
        wait = 480 * (t - last)
        digits = [wait & 127, *(wait >> shift & 127 | 128 for shift in (7, 14) if wait >> shift)]
        track, last = track + bytes(reversed(digits)) + event, t
    track += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


def keys_of(text):
    """ "C4 F#4 Bb4" as tokens."""
    found = []
    for word in text.split():
        match = re.fullmatch(r"([A-G])([#b]?)(\d)", word)
        if match is None:
            common.fail(f"{word!r} is no note; write letter, # or b, octave, as in C5, F#4, Bb4")
        step, sign, octave = match.groups()
        key = 12 * (int(octave) + 1) + SCALE[step] + {"": 0, "#": 1, "b": -1}[sign]
        if not LOW <= key <= HIGH:
            common.fail(f"{word} is not between A1 and C6, where the voices are")
        found.append(key - LOW + 1)
    return found


def demo(args, model):
    melody = keys_of(args.demo or "")
    model.eval()
    with tg.no_grad():
        piece = model.compose(len(melody) or 64, args.temperature, tg.default_rng(args.seed), melody)
    path = args.out / f"chorale{args.stem.removeprefix('music')}{f'_seed-{args.seed}' * (args.seed > 0)}.mid"
    try:
        path.write_bytes(midi(piece))
    except OSError as error:
        common.fail(f"{path} cannot be written: {error.strerror}", 1)
    print(f"{path}: {len(piece)} quarter notes, four voices; play it with any MIDI player")
    voices = dict(zip(VOICES, zip(*piece, strict=True), strict=True))
    title = f"A chorale drawn from the net (seed {args.seed})"
    with common.picture():
        viz.piano_roll(path.with_suffix(".png"), voices, title=title)


# ---------------------------------------------------------------- all of it


def options():
    parser = common.parser(__doc__)
    add = parser.add_argument
    add("--hidden", type=common.size, default=256)
    add("--embedding", type=common.size, default=32, help="of a voice's key")
    add("--dropout", type=common.fraction, default=0.3)
    add("--batch", type=common.size, default=16)
    add("--lr", type=common.rate, default=2e-3)
    add("--epochs", type=common.positive(int), default=60)
    add("--minutes", type=common.positive(float), default=9.0, help="stop after so long")
    add("--independent", action="store_true", help="a voice is not told the others of its frame")
    add("--demo", nargs="?", const="", metavar="NOTES", help='only compose, perhaps to a melody: "C5 D5 E5"')
    add("--temperature", type=common.temperature, default=0.8)
    return common.parse(parser, SHAPE, free=("minutes", "demo", "temperature"), quick=QUICK)


def main():
    args = options()
    common.start(args)
    if args.demo is not None:
        saved = common.load(common.find(args))
        model = Composer(*saved["shape"])
        model.load_state_dict(saved["model"])
        demo(args, model)
        return 0

    train, valid, held_out = split(chorales())
    if args.quick:
        train, valid, held_out = train[:80], valid[:20], held_out[:20]
    frames = [sum(map(len, part)) for part in (train, valid, held_out)]
    print(
        f"{len(train)} chorales to train, {len(valid)} to stop by, {len(held_out)} held out; frames: {frames}"
    )
    model = Composer(*(getattr(args, name) for name in SHAPE))
    optimizer = optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    history = common.fit(
        model, loss, lambda epoch: batches(train, args.batch, tg.default_rng()), optimizer,
        epochs=args.epochs, minutes=args.minutes, validate=list(batches(valid, 32)), patience=8, clip=1.0,
        scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs),
        **common.files(args, shape=[getattr(args, name) for name in SHAPE]),
    )  # fmt: skip
    model.eval()
    with tg.no_grad():
        found = [(value.item(), n) for value, n in (loss(model, batch) for batch in batches(held_out, 32))]
    nll = sum(value * n for value, n in found) / sum(n for _, n in found)
    said = "each voice for itself" if args.independent else "voice after voice"
    print(f"held out: {nll:.2f} nats per frame ({args.cell}, {said}), {history['seconds'][-1]:.0f} s")
    listed = ", ".join(f"{name} {value}" for name, value in REFERENCE.items())
    print(f"published, 88 keys each for itself, split otherwise: {listed}")
    demo(args, model)
    drawn = {"training": "loss", "validation": "valid_loss"}
    with common.picture(f"checkpoint and pictures are in {args.out}"):
        viz.curves(
            common.path(args, suffix=".png"), {k: (history["epoch"], history[v]) for k, v in drawn.items()},
            xlabel="epochs", ylabel="nats per frame", title="Chorales", lines={"held out": nll},
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    common.run(main)
