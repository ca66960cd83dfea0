"""Many to one: a sentence goes in, one number comes out. It is the notes' sentiment analysis: is a sentence
of a film review for the film or against it, and which words say so?

    python examples/sentiment.py                        # ten folds: five minutes
    python examples/sentiment.py --predict "A film of rare charm." "I want these two hours back."

An LSTM reads the words both ways, and the largest value of each feature over the sentence decides. The data
are the film sentences of Pang and Lee that Hutto and Gilbert (2014) had rated again, by twenty people each
(vaderSentiment, MIT). A mean rating above zero is positive, below zero negative; the 37 sentences at zero are
left out. The sentences, shuffled by the seed, are cut into ten parts; each is judged by a net that learned
from eight of the others and was stopped by the ninth. Word scores are what leaving the word out takes away.
"""

import random
import re
import tarfile

import common
import datasets

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

REFERENCE = (
    "76.1 % CNN with random embeddings (Kim 2014), 79.3 % TF-IDF and logistic regression, both over ten folds"
)
ARCHIVE = ("vaderSentiment", "3.3.2", "additional_resources/hutto_ICWSM_2014.tar.gz")
MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
SHAPE = ("cell", "hidden", "embedding", "dropout", "word_dropout")
QUICK = {"folds": 1, "hidden": 24, "embedding": 32, "epochs": 4, "lr": 5e-3}


def words_of(text):
    """Words and punctuation, in small letters; "don't" is "do" and "n't"."""
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("''", '"')
    return re.findall(r"n't|\w+(?=n't)|'\w+|\w+|[^\w\s]", text)


def read(rng):
    """(words, mean rating from -4 to 4) of each sentence that has a side."""
    with tarfile.open(datasets.fetch(*ARCHIVE)) as archive:
        lines = archive.extractfile(MEMBER).read().decode("utf-8").splitlines()
    rated = [(words_of(text), float(rating)) for _, rating, text in (line.split("\t") for line in lines)]
    sentences = [(words, rating) for words, rating in rated if words and rating]
    rng.shuffle(sentences)
    return sentences


class Judge(nn.Module):
    """The logit of "positive" for each sentence; words are (T, B)."""

    def __init__(self, n_words, unknown, cell, hidden, embedding, dropout, word_dropout):
        super().__init__()
        self.embed = nn.Embedding(n_words, embedding)
        nn.init.normal_(self.embed.weight, std=0.1)  # what a word says is to be learned, not drawn
        self.dropout, self.word_dropout, self.unknown = nn.Dropout(dropout), word_dropout, unknown
        self.layer = common.CELLS[cell][0](embedding, hidden, bidirectional=True)
        self.pool, self.output = nn.MaxPool(), nn.Linear(2 * hidden, 1)

    def forward(self, rows):
        """Sentences as lists of word numbers (n,) -> (B,)."""
        lengths, words = [len(row) for row in rows], pad_sequence(rows)
        if self.training:  # a net that has met unknown words is not lost where it meets one
            words = words.masked_fill(tg.rand(*words.shape) < self.word_dropout, self.unknown)
        read, _ = self.layer(self.dropout(self.embed(words)), lengths=lengths)
        return self.output(self.dropout(self.pool(read, lengths))).squeeze(-1)


def logits(model, vocab, sentences):
    """For each list of words its logit."""
    return common.by_length(lambda rows: model([vocab.encode(row) for row in rows]).tolist(), sentences)


def accuracy(model, vocab, sentences):
    found = logits(model, vocab, [words for words, _ in sentences])
    return sum((f > 0) == (r > 0) for f, (_, r) in zip(found, sentences, strict=True)) / len(sentences)


def word_scores(model, vocab, words):
    """By how much the logit falls where a word is left out: for each word of a sentence."""
    shorter = [words[:k] + words[k + 1 :] or ["."] for k in range(len(words))]
    whole, *without = logits(model, vocab, [words, *shorter])
    return whole, [whole - other for other in without]


def train(args, fold, sentences, valid):
    """A net that learned from some sentences, stopped by others."""
    vocab = data.WordVocab.build([words for words, _ in sentences], min_count=2, specials=("pad", "unk"))
    model = Judge(len(vocab), vocab.unk_id, *(getattr(args, name) for name in SHAPE))
    examples = [(vocab.encode(words), rating) for words, rating in sentences]
    batches = common.batches(examples, [len(words) for words, _ in sentences], args)

    def loss(model, batch):
        rows, ratings = batch
        # How sure people were is worth knowing: a mild sentence need not be told from none.
        target = tg.sigmoid(args.sharpness * tg.tensor(ratings))
        return F.binary_cross_entropy_with_logits(model(rows), target), len(rows)

    common.fit(
        model, loss, batches, optim.Adam(model.parameters(), lr=args.lr), epochs=args.epochs, clip=1.0,
        validate=lambda model: {"accuracy": accuracy(model, vocab, valid)}, monitor="accuracy", mode="max",
        patience=args.patience,
        **common.files(
            args, fold, settings={name: getattr(args, name) for name in SHAPE}, vocab=vocab.state_dict()
        ),
    )  # fmt: skip
    return model.eval(), vocab


def judged(model, vocab, words):
    """(verdict, words, their scores)."""
    logit, scores = word_scores(model, vocab, words)
    sure = float(tg.sigmoid(tg.tensor(abs(logit))))
    return f"{'positive' if logit > 0 else 'negative'}, {sure:.0%} sure", words, scores


def predict(args):
    """Judges what the user gives, with the first checkpoint in --out."""
    saved = common.load(common.find(args, 0))
    vocab = data.WordVocab.from_state(saved["vocab"])
    model = Judge(len(vocab), vocab.unk_id, *(saved["settings"][name] for name in SHAPE)).eval()
    model.load_state_dict(saved["model"])
    for text in args.predict:
        words = words_of(text)
        if not words:
            common.fail("there is nothing to judge")
        if not any(word in vocab for word in words):
            common.fail(f"no word of {text!r} stood in the sentences for training")
        verdict, words, scores = judged(model, vocab, words)
        marked = (word if word in vocab else f"{word}?" for word in words)
        shown = "  ".join(f"{word} {score:+.2f}" for word, score in zip(marked, scores, strict=True))
        print(f"{text} -> {verdict}\n    {shown}")


def options():
    parser = common.parser(__doc__)
    add, positive = parser.add_argument, common.positive
    add("--hidden", type=common.size, default=48, help="of one direction")
    add("--embedding", type=common.size, default=64)
    add("--dropout", type=common.fraction, default=0.5)
    add("--word-dropout", type=common.fraction, default=0.1, help="how often a word is made unknown")
    add("--sharpness", type=positive(float, most=1000), default=1.5, help="of the ratings as probabilities")
    add("--epochs", type=positive(int), default=10, help="at most")
    add("--patience", type=positive(int), default=2, help="epochs without a better one")
    add("--batch", type=common.size, default=32)
    add("--lr", type=common.rate, default=2e-3)
    add("--folds", type=positive(int, most=10), default=10, help="how many of the ten to learn")
    add("--predict", nargs="+", metavar="TEXT", help="only judge these, with the checkpoint in --out")
    return common.parse(parser, SHAPE, free=("folds", "predict"), quick=QUICK)


def main():
    args = options()
    common.start(args)
    if args.predict:
        return predict(args)
    sentences = read(random.Random(args.seed))[: 4000 if args.quick else None]
    parts = [sentences[k::10] for k in range(10)]
    right = []
    for fold in range(args.folds):
        first, *others = parts[fold + 1 :] + parts[:fold]
        model, vocab = train(args, fold, [s for part in others for s in part], first)
        right.append(accuracy(model, vocab, parts[fold]))
        print(f"fold {fold + 1}: {right[-1]:.1%} of {len(parts[fold]):,} held-out sentences", flush=True)
    print(f"held out: {sum(right) / len(right):.1%} right, {args.cell}, folds: {len(right)}")
    print(f"reference: {REFERENCE}")
    shown = []
    for words, rating in [(words, rating) for words, rating in parts[fold] if 8 <= len(words) <= 30][:6]:
        verdict, *scored = judged(model, vocab, words)
        shown.append((f"{verdict}; people said {rating:+.1f}", *scored))
    with common.picture(f"checkpoints and picture are in {args.out}"):
        title = "Which words spoke for a film (blue), and which against it (red)"
        viz.word_scores(common.path(args, suffix=".png"), shown, title=title)


if __name__ == "__main__":
    common.run(main)
