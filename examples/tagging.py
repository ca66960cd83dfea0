"""Many to many, in step: each word is given its part of speech. It is the notes' limit that a net sees one
direction only, and their answer: what a Cantonese word is often shows in the words after it.

    python examples/tagging.py                          # one direction and two: eight minutes
    python examples/tagging.py --predict "你 食 咗 飯 未 呀 ?" "我哋聽日去邊度食飯"

The data are the Hong Kong Cantonese Corpus (Luke and Wong 2015; CC BY 4.0), read from the package pycantonese
(MIT): 16,162 utterances of talks and radio programmes, 125,394 words with 94 tags. One utterance in ten is
held out. Punctuation is read, and not counted. A word is its own vector beside those of its first two and
last two characters, so that words never seen are not lost. A text without spaces is cut into the longest
words that are known.
"""

import collections
import random
import re

import common
import datasets

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

CORPUS = ("pycantonese", "5.0.0", "pycantonese/data/hkcancor/*.cha")
REFERENCE = "90.6 % for the most frequent tag of each word"
DIRECTIONS = {"one": "one direction", "both": "both directions"}
SHAPE = ("nets", "cell", "hidden", "embedding", "dropout")
QUICK = {"nets": 1, "hidden": 32, "embedding": 48, "epochs": 3, "lr": 1e-2}
NONE = -1  # the tag of what is not counted


def read(rng):
    """Utterances as lists of (word, tag); punctuation has no tag."""
    utterances = []
    for path in datasets.fetch_all(*CORPUS):
        # Lines of the CHAT format: "*WHO:" and the words, "%mor:" and a tag|sound for each, "\n\t" goes on.
        for line in path.read_text(encoding="utf-8").replace("\n\t", " ").splitlines():
            kind, _, rest = line.partition(":")
            if kind.startswith("*"):
                words = rest.split()
            elif kind == "%mor":
                tags = [item.partition("|")[0] if "|" in item else None for item in rest.split()]
                utterances.append(list(zip(words, tags, strict=True)))
    rng.shuffle(utterances)
    return utterances


class Tagger(nn.Module):
    """Log probabilities (T, B, tags) for words (T, B) and their characters (T, B, 4)."""

    def __init__(self, vocabs, both, cell, hidden, embedding, dropout):
        super().__init__()
        words, letters, tags = vocabs
        self.words, self.letters = nn.Embedding(len(words), embedding), nn.Embedding(len(letters), 32)
        for table in (self.words, self.letters):
            nn.init.normal_(table.weight, std=0.3)
        self.dropout = nn.Dropout(dropout)
        self.layer = common.CELLS[cell][0](embedding + 4 * 32, hidden, bidirectional=both)
        self.output = nn.Linear((1 + both) * hidden, len(tags))

    def forward(self, words, letters, lengths):
        x = tg.concat([self.words(words), self.letters(letters).flatten(2)], -1)
        read, _ = self.layer(self.dropout(x), lengths=lengths)
        return F.log_softmax(self.output(self.dropout(read)), dim=-1)


class Taggers(nn.Module):
    """Several; the mean of their log probabilities counts. A loss of it is a mean: each learns alone.

    odds: how often each word is made unknown in training. It is then still known by its characters.
    """

    def __init__(self, vocabs, both, n, *shape, odds=None):
        super().__init__()
        self.nets = nn.ModuleList([Tagger(vocabs, both, *shape) for _ in range(n)])
        self.unknown, self.odds = vocabs[0].unk_id, odds

    def forward(self, rows):
        """Utterances as (words (n,), letters (n, 4))."""
        lengths = [len(words) for words, _ in rows]
        words, letters = pad_sequence([w for w, _ in rows]), pad_sequence([c for _, c in rows])
        said = []
        for net in self.nets:
            known = words
            if self.training:
                known = words.masked_fill(tg.rand(*words.shape) < self.odds[words], self.unknown)
            said.append(net(known, letters, lengths))
        return tg.stack(said).mean(0)


def encode(vocabs, words):
    """The numbers of words, and of the first two and last two characters of each."""
    pad = vocabs[1].pad_id
    ids = [[vocabs[1][c] for c in word] for word in words]
    letters = [[*k[:2], pad][:2] + [pad, *k[-2:]][-2:] for k in ids]
    return vocabs[0].encode(words), tg.tensor(letters)


def tag(model, vocabs, utterances):
    """For each list of words its tags."""

    def best(rows):
        return model([encode(vocabs, words) for words in rows]).argmax(-1).swapaxes(0, 1).tolist()

    found = common.by_length(best, utterances)
    return [
        [vocabs[2].tokens[k] for k in ids[: len(words)]] for ids, words in zip(found, utterances, strict=True)
    ]


def accuracy(found, utterances, counted=lambda word: True):
    """The part of the words whose tag was found."""
    pairs = [
        (given, right)
        for tags, utterance in zip(found, utterances, strict=True)
        for given, (word, right) in zip(tags, utterance, strict=True)
        if right is not None and counted(word)
    ]
    return sum(given == right for given, right in pairs) / max(1, len(pairs))


def words_of(utterances):
    return [[word for word, _ in utterance] for utterance in utterances]


def train(args, which, vocabs, utterances, valid):
    # A rare word is made unknown often, a frequent one hardly ever (Kiperwasser and Goldberg 2016).
    seen = collections.Counter(word for words in words_of(utterances) for word in words)
    odds = [args.word_dropout / (args.word_dropout + max(1, seen[word])) for word in vocabs[0].tokens]
    shape = [getattr(args, name) for name in SHAPE]
    model = Taggers(vocabs, which == "both", *shape, odds=tg.tensor(odds))
    examples = [
        (encode(vocabs, words), tg.tensor([NONE if t is None else vocabs[2][t] for _, t in utterance]))
        for words, utterance in zip(words_of(utterances), utterances, strict=True)
    ]
    batches = common.batches(examples, [len(utterance) for utterance in utterances], args)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)

    def loss(model, batch):
        rows, tags = batch[0], pad_sequence(batch[1], padding_value=NONE)
        return F.nll_loss(model(rows).flatten(0, 1), tags.flatten(), ignore_index=NONE)

    history = common.fit(
        model, loss, batches, optimizer, epochs=args.epochs, clip=1.0, scheduler_every="step",
        scheduler=optim.lr_scheduler.WarmupCosineLR(optimizer, min(100, total // 2), total),
        validate=lambda model: {"accuracy": accuracy(tag(model, vocabs, words_of(valid)), valid)},
        monitor="accuracy", mode="max",
        **common.files(args, which, shape=shape, vocabs=[vocab.state_dict() for vocab in vocabs]),
    )  # fmt: skip
    return model.eval(), history["accuracy"]


def cut(text, vocab):
    """The words of a text: what stands between its spaces, or, without any, the longest that are known."""
    if len(text.split()) > 1:
        return text.split()
    words, start = [], 0
    while start < len(text):
        ends = range(min(len(text), start + 8), start, -1)
        known = (end for end in ends if text[start:end] in vocab)
        latin = re.compile(r"[\w'-]+", re.ASCII).match(text, start)
        end = latin.end() if latin else next(known, start + 1)
        words, start = [*words, text[start:end]], end
    return words


def predict(args):
    """Tags what the user gives, with the checkpoint of both directions in --out."""
    saved = common.load(common.find(args, "both"))
    vocabs = [data.WordVocab.from_state(state) for state in saved["vocabs"]]
    model = Taggers(vocabs, True, *saved["shape"]).eval()
    model.load_state_dict(saved["model"])
    for text in args.predict:
        words = cut(text.strip(), vocabs[0])
        if not words:
            common.fail("there is nothing to tag")
        if not any(c in vocabs[1] for word in words for c in word):
            common.fail(f"no character of {text!r} stood in the utterances for training")
        (tags,) = tag(model, vocabs, [words])
        marks = {".", ",", "?", "!", "-", '"'}
        print(" ".join(w if w in marks else f"{w}/{t}" for w, t in zip(words, tags, strict=True)))


def options():
    parser = common.parser(__doc__)
    add, positive = parser.add_argument, common.positive
    add("--nets", type=positive(int, most=100), default=3, help="whose mean counts")
    add("--hidden", type=common.size, default=128, help="of one direction")
    add("--embedding", type=common.size, default=96, help="of a word; a character has 32")
    add("--dropout", type=common.fraction, default=0.4)
    add("--word-dropout", type=common.fraction, default=0.25, help="a: unknown with odds a / (a + count)")
    add("--epochs", type=positive(int), default=8)
    add("--batch", type=common.size, default=32)
    add("--lr", type=common.rate, default=3e-3, help="the highest learning rate")
    add("--predict", nargs="+", metavar="TEXT", help="only tag these, with the checkpoint in --out")
    return common.parse(parser, (*SHAPE, "word_dropout"), free=("predict",), quick=QUICK)


def main():
    args = options()
    common.start(args)
    if args.predict:
        return predict(args)
    utterances = read(random.Random(args.seed))[: 2000 if args.quick else None]
    n = len(utterances) // 10
    test, valid, known = utterances[:n], utterances[n : n + n // 2], utterances[n + n // 2 :]
    counts = collections.defaultdict(collections.Counter)
    for word, right in (pair for utterance in known for pair in utterance):
        counts[word].update([right] if right else [])
    tags = data.WordVocab.build([[t for _, t in u if t] for u in known], specials=("unk",))
    vocabs = (
        data.WordVocab.build(words_of(known), specials=("pad", "unk")),
        data.WordVocab.build([list("".join(words)) for words in words_of(known)], specials=("pad", "unk")),
        tags,
    )
    print(
        f"{len(known):,} utterances to learn from, {n:,} held out; {len(vocabs[0]):,} words, {len(tags)} tags"
    )

    def usual(word):  # the most frequent tag of a word; of all, where the word is unknown
        return max(counts[word], key=counts[word].get) if counts.get(word) else tags.tokens[1]

    results = {"most frequent tag": [[usual(word) for word in words] for words in words_of(test)]}
    curves = {}
    for which, name in DIRECTIONS.items():
        model, right = train(args, which, vocabs, known, valid)
        results[name] = tag(model, vocabs, words_of(test))
        curves[name] = (range(1, len(right) + 1), [100 * value for value in right])
    kinds = {
        "all words": lambda word: True,
        "several tags": lambda word: len(counts.get(word, ())) > 1,
        "unknown": lambda word: not counts.get(word),
    }
    print(f"\n{'held out':18}" + "".join(f"{kind:>14}" for kind in kinds))
    for name, found in results.items():
        print(f"{name:18}" + "".join(f"{accuracy(found, test, kind):14.2%}" for kind in kinds.values()))
    print(f"reference: {REFERENCE}; {100 * accuracy(results['most frequent tag'], test):.1f} % on these")
    usual_right = accuracy([[usual(word) for word in words] for words in words_of(valid)], valid)
    with common.picture(f"checkpoints and picture are in {args.out}"):
        viz.curves(
            common.path(args, suffix=".png"), curves, xlabel="epochs", ylabel="right tags, % (validation)",
            title=f"Part of speech ({args.cell})", lines={"most frequent tag": 100 * usual_right},
        )  # fmt: skip


if __name__ == "__main__":
    common.run(main)
