"""What the examples share: options, one sentence for what is wrong, checkpoints that are read back."""

import argparse
import contextlib
import math
import pathlib
import sys

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn

CELLS = {"rnn": (nn.RNN, nn.RNNCell), "lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}


def name():
    """The example that runs."""
    return pathlib.Path(sys.argv[0]).name


def fail(sentence, status=2):
    """Ends the example with one sentence."""
    print(f"{name()}: {sentence}", file=sys.stderr)
    sys.exit(status)


def run(main):
    """The whole of an example. Ctrl-C where nothing has to be saved is no error of the program."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        fail("stopped", 130)


# ---------------------------------------------------------------- options


def number(kind, fits, wanted):
    """A type for options: numbers of a kind that fit."""

    def read(text):
        value = kind(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
        return value

    read.__name__ = kind.__name__  # "invalid int value", says argparse
    return read


def positive(kind):
    """A type for options: numbers above zero."""
    return number(kind, lambda value: 0 < value < math.inf, "positive")


fraction = number(float, lambda value: 0 <= value < 1, "between 0 and 1")
seed = number(int, lambda value: value >= 0, "0 or more")


def parser(doc, out="runs", cell="lstm"):
    """The options that all examples have; the text above an example's code is its help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--cell", choices=CELLS, default=cell)
    add("--seed", type=seed, default=0)
    add("--backend", default="numpy", help="numpy or cupy")
    add("--out", type=pathlib.Path, default=pathlib.Path(out), help="folder of checkpoint and pictures")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    add("--quick", action="store_true", help="a small net for a few seconds, to see that everything runs")
    return made


def start(args, checkpoints=None):
    """The backend, the seed and the folder that the options ask for. A run can only be resumed where there is
    one of `checkpoints`, a pattern of names of files; by default all that begin like the example.
    """
    pattern = checkpoints or f"{name().removesuffix('.py')}*.npz"
    try:
        tg.use(args.backend)
        args.out.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, ValueError) as error:
        fail(error)
    except OSError as error:
        fail(f"{args.out} cannot be written to: {error.strerror}")
    if args.resume and not any(args.out.glob(pattern)):
        fail(f"there is no file {args.out / pattern} to go on from")
    tg.manual_seed(args.seed)


# ---------------------------------------------------------------- training and what comes after


def load(path):
    """A checkpoint of this example."""
    try:
        saved = tg.load(path)
    except FileNotFoundError:
        fail(f"there is no file {path}; {name()} writes it when it learns")
    except (OSError, ValueError) as error:
        fail(error)
    if not isinstance(saved, dict) or saved.get("example") != name():
        fail(f"{path} is no checkpoint of {name()}")
    return saved


def fit(*parts, resume, **settings):
    """`tg.fit`, ending in one sentence where it is stopped, or has nothing to go on from."""
    try:
        history = tg.fit(*parts, resume=resume, **settings)
    except FloatingPointError as error:
        fail(error, 1)
    except (ValueError, OSError) as error:
        if not resume:
            raise
        fail(error)
    if history.interrupted:
        fail("stopped and saved; --resume goes on", 130)
    return history


def columns(rows):
    """[(a, b), (c, d)] -> ((a, c), (b, d))"""
    return tuple(zip(*rows, strict=True))


def batches(examples, sizes, args):
    """Examples alike in size, as many as --batch says, in an order that the seed draws; as columns."""
    sampler = data.BucketSampler(sizes, args.batch, rng=args.seed)
    return data.DataLoader(examples, batch_sampler=sampler, collate_fn=columns)


def by_length(function, rows, size=200):
    """What `function` says of each row, given rows of like length together, without a graph."""
    order, found = sorted(range(len(rows)), key=lambda i: len(rows[i])), {}
    for begin in range(0, len(order), size):
        chosen = order[begin : begin + size]
        with tg.no_grad():
            found.update(zip(chosen, function([rows[i] for i in chosen]), strict=True))
    return [found[i] for i in range(len(rows))]


@contextlib.contextmanager
def picture(said=None):
    """Draws what stands in the block; where that cannot be done it says why, and the run goes on."""
    try:
        yield
    except (ImportError, OSError) as error:
        print(f"{name()}: no picture: {error}", file=sys.stderr)
    else:
        if said:
            print(said)
