"""Many to one: what does a sentence ask for? It is the notes' chatbot that reads an intent from "what time is
it?", and their question how much of the first words is left when the last has been read.

    python examples/intents.py                          # RNN, LSTM and GRU: half a minute
    python examples/intents.py --demo                   # talk to it
    python examples/intents.py --cell rnn --predict "what time is it?" "it is dark in here"

Sentences come from the templates that Home Assistant has for English (home-assistant-intents, Apache-2.0; 42
intents, 862 templates), read by its parser hassil; words stand in for rooms, devices and the like. Of each
intent with five templates or more, one in five is held out with all its sentences: it is asked in a way that
was never heard. The state after the last word decides. What a word contributes is gradient times input.
--cell names the net that answers.
"""

import json
import random
import re

import common
import datasets

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, viz
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

REFERENCE = "99.1 % TF-IDF and logistic regression, 24 intents"
TEMPLATES = ("home-assistant-intents", "2026.10.27", "home_assistant_intents/data/en.json")
SHAPE = ("cell", "hidden", "embedding", "dropout", "word_dropout")
QUICK = {"hidden": 32, "embedding": 32, "epochs": 3, "batch": 32}
THINGS = """
    milk, two eggs, olive oil, bread and butter, batteries, toilet paper, call the dentist, water the plants,
    feed the cat, some jazz, dinner is ready, we leave soon, pink floyd, the blue danube, abbey road
"""
FILL = {
    "area": """kitchen, living room, bedroom, bathroom, office, garage, hallway, garden, attic, guest room,
        dining room, cellar""",
    "floor": "ground, first, second, upper, lower, top, upstairs, downstairs",
    "name": """ceiling fan, television, front door, desk lamp, coffee machine, heater, night light, washer,
        speaker, shutters, christmas tree, robot, thermostat, garden gate, holiday, family""",
    "zone": "home, work, school, the gym, the office",
    "timer_name": "pizza, laundry, tea, egg, pasta, homework, workout, cake",
    "timer_command": """turn off the lights, open the garage, close the blinds, lock the front door,
        play music, start the washer, turn on the heater""",
}


def words_of(text):
    """Words in small letters; every number is the same word."""
    found = re.findall(
        r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,]\d+)?|[%°]",
        text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    )
    return ["0" if word[0].isdigit() else word for word in found]


def sampler(language, rng):
    """A function that says one of the many sentences that a template stands for."""
    from hassil import Alternative, ListReference, Permutation, RuleReference, TextChunk, parse_sentence

    rules = {name: parse_sentence(text) for name, text in language["expansion_rules"].items()}

    def slot(name):
        listed = language["lists"].get(name, {})
        if "values" in listed:
            return say(parse_sentence(rng.choice(listed["values"])["in"]).expression)
        if "range" in listed:
            return str(rng.randint(listed["range"]["from"], listed["range"]["to"]))
        return " ".join(rng.choice(FILL.get(name, THINGS).split(",")).split())

    def say(part):
        if isinstance(part, TextChunk):
            return part.original_text
        if isinstance(part, RuleReference):
            return say(rules[part.rule_name].expression)
        if isinstance(part, ListReference):
            return slot(part.list_name)
        if isinstance(part, Alternative):
            return say(rng.choice(part.items))
        parts = rng.sample(part.items, len(part.items)) if isinstance(part, Permutation) else part.items
        return "".join(map(say, parts))

    return lambda template: say(parse_sentence(template).expression)


def read(quick, rng):
    """(words, intent): held out and to learn from."""
    with open(datasets.fetch(*TEMPLATES), encoding="utf-8") as file:
        language = json.load(file)
    try:
        say = sampler(language, rng)
    except ImportError:
        common.fail("templates need hassil: pip install '.[examples]'")
    held, learned = [], []
    for intent, found in language["intents"].items():
        templates = [template for block in found["data"] for template in block["sentences"]]
        rng.shuffle(templates)
        n_held = len(templates) // 5
        # An intent of few templates is said more often, so that it is not forgotten among the others.
        times = (8 if quick else 25) + (40 if quick else 120) // len(templates)
        for template in templates[n_held:]:
            learned.extend((words_of(say(template)), intent) for _ in range(times))
        for template in templates[:n_held]:
            said = {" ".join(words_of(say(template))) for _ in range(25)}
            held.extend((text.split(), intent) for text in sorted(said))
    known = {" ".join(words) for words, _ in learned}
    return [(words, intent) for words, intent in held if " ".join(words) not in known], learned


class Reader(nn.Module):
    """Logits (B, intents) from the state after the last word."""

    def __init__(self, vocab, n_intents, cell, hidden, embedding, dropout, word_dropout):
        super().__init__()
        self.embed, self.unknown = nn.Embedding(len(vocab), embedding), vocab.unk_id
        nn.init.normal_(self.embed.weight, std=0.1)
        self.dropout, self.word_dropout = nn.Dropout(dropout), word_dropout
        self.layer, self.pool = common.CELLS[cell][0](embedding, hidden), nn.LastPool()
        self.output = nn.Linear(hidden, n_intents)

    def forward(self, rows):
        """Sentences as lists of word numbers (n,)."""
        lengths, words = [len(row) for row in rows], pad_sequence(rows)
        if self.training:
            words = words.masked_fill(tg.rand(*words.shape) < self.word_dropout, self.unknown)
        return self.decide(self.embed(words), lengths)

    def decide(self, embedded, lengths):
        read, _ = self.layer(self.dropout(embedded), lengths=lengths)
        return self.output(self.dropout(self.pool(read, lengths)))


def accuracy(model, vocab, intents, sentences):
    def best(rows):
        return model([vocab.encode(words) for words in rows]).argmax(-1).tolist()

    found = common.by_length(best, [words for words, _ in sentences])
    return sum(intents[k] == intent for k, (_, intent) in zip(found, sentences, strict=True)) / len(sentences)


def understand(model, vocab, intents, words):
    """The intent, how sure the net is, and what each word contributes to it, in parts of the whole."""
    with tg.no_grad():
        embedded = model.embed(vocab.encode(words).unsqueeze(1))
    embedded.requires_grad_()
    log_p = F.log_softmax(model.decide(embedded, [len(words)])[0], -1)
    best = int(log_p.argmax())
    log_p[best].backward()
    given = (embedded.grad * embedded.detach()).sum(-1).flatten().tolist()
    total = sum(map(abs, given)) or 1.0
    return intents[best], float(log_p[best].detach().exp()), [part / total for part in given]


def train(args, cell, vocab, intents, sentences):
    settings = {name: getattr(args, name) for name in SHAPE} | {"cell": cell}
    model = Reader(vocab, len(intents), **settings)
    examples = [(vocab.encode(words), intents.index(intent)) for words, intent in sentences]
    batches = common.batches(examples, [len(words) for words, _ in sentences], args)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    total = args.epochs * len(batches)
    common.fit(
        model, lambda model, batch: (F.cross_entropy(model(batch[0]), tg.tensor(batch[1])), len(batch[1])),
        batches, optimizer, epochs=args.epochs, clip=1.0, scheduler_every="step", monitor="loss",
        scheduler=optim.lr_scheduler.WarmupCosineLR(optimizer, min(50, total // 2), total),
        **common.files(args, cell, settings=settings, vocab=vocab.state_dict(), intents=intents),
    )  # fmt: skip
    return model.eval()


def restored(args):
    """(model, vocabulary, intents) from the checkpoint in --out."""
    saved = common.load(common.find(args, args.cell))
    vocab = data.WordVocab.from_state(saved["vocab"])
    model = Reader(vocab, len(saved["intents"]), **saved["settings"]).eval()
    model.load_state_dict(saved["model"])
    return model, vocab, saved["intents"]


def answer(net, text):
    """(What it has understood, or None where that is nothing, and a sentence to say.)"""
    words = words_of(text)
    if not words or not any(word in net[1] for word in words):
        return None, f"no word of {text!r} stood in the sentences for training"
    intent, sure, parts = understand(*net, words)
    shown = "  ".join(f"{word} {part:+.0%}" for word, part in zip(words, parts, strict=True))
    return (
        intent,
        f"{intent}, {sure:.1%} sure{'' if sure > 0.5 else ': please say it otherwise'}\n    {shown}",
    )


def chat(net):
    """Answers lines until there are no more."""
    print("Ask for the time, the lights, a timer; an empty line ends.")
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            text = ""
            print()
        if not text.strip():
            return
        print(answer(net, text)[1], flush=True)


def predict(args):
    net = restored(args)
    for text in args.predict:
        intent, said = answer(net, text)
        if intent is None:
            common.fail(said)
        print(f"{text} -> {said}")


def options():
    parser = common.parser(__doc__)
    add, positive = parser.add_argument, common.positive
    add("--cells", nargs="+", choices=common.CELLS, default=list(common.CELLS), help="those to learn")
    add("--hidden", type=common.size, default=64)
    add("--embedding", type=common.size, default=48)
    add("--dropout", type=common.fraction, default=0.2)
    add("--word-dropout", type=common.fraction, default=0.1, help="how often a word is made unknown")
    add("--epochs", type=positive(int), default=5)
    add("--batch", type=common.size, default=64)
    add("--lr", type=common.rate, default=4e-3, help="the highest learning rate")
    add("--predict", nargs="+", metavar="TEXT", help="only these, with the checkpoint of --cell in --out")
    add("--demo", action="store_true", help="talk, with the checkpoint of --cell in --out")
    return common.parse(  # the cell is a part of the name in any case
        parser, SHAPE[1:], free=("cell", "cells", "predict", "demo"), quick=QUICK
    )


def main():
    args = options()
    common.start(args)
    if args.predict:
        return predict(args)
    if args.demo:
        return chat(restored(args))
    test, sentences = read(args.quick, random.Random(args.seed))
    vocab = data.WordVocab.build([words for words, _ in sentences], specials=("pad", "unk"))
    intents = sorted({intent for _, intent in sentences})
    print(
        f"{len(sentences):,} sentences of {len(intents)} intents to learn from, "
        f"{len(test):,} of {len({intent for _, intent in test})} held out; {len(vocab):,} words"
    )
    asked = [words_of(text) for text in ("what time is it?", "pause the timer in the living room")]
    rows, right = [], {}
    for cell in args.cells:
        model = train(args, cell, vocab, intents, sentences)
        right[cell] = accuracy(model, vocab, intents, test)
        for words in asked:
            intent, sure, parts = understand(model, vocab, intents, words)
            rows.append((f"{cell.upper()}: {intent}, {sure:.1%} sure", words, parts))
    for name, words, parts in rows:
        shown = "  ".join(f"{word} {part:+.0%}" for word, part in zip(words, parts, strict=True))
        print(f"{name}\n    {shown}")
    for cell, value in right.items():
        print(f"held out: {value:.1%} right, {cell}")
    print(f"reference: {REFERENCE}")
    with common.picture(f"checkpoints and picture are in {args.out}"):
        title = "What each word contributes: for the answer (blue) or against it (red)"
        cells = [] if args.cells == list(common.CELLS) else args.cells
        viz.word_scores(common.path(args, *cells, suffix=".png"), rows, title=title)


if __name__ == "__main__":
    common.run(main)
