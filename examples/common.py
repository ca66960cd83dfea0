"""What the examples share: options, one sentence for what is wrong, checkpoints that are read back."""

import argparse
import math
import pathlib
import sys

import tinygrad_rnn as tg
from tinygrad_rnn import nn

CELLS = {"rnn": (nn.RNN, nn.RNNCell), "lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}


def name():
    """The example that runs."""
    return pathlib.Path(sys.argv[0]).name


def fail(sentence, status=2):
    """Ends the example with one sentence."""
    print(f"{name()}: {sentence}", file=sys.stderr)
    sys.exit(status)


def positive(kind):
    """A type for options: numbers above zero."""

    def read(text):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    return read


def fraction(text):
    """A type for options: numbers from 0 up to 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parser(doc, out="runs", cell="lstm"):
    """The options that all examples have; the text above an example's code is its help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--cell", choices=CELLS, default=cell)
    add("--seed", type=int, default=0)
    add("--backend", default="numpy", help="numpy or cupy")
    add("--out", type=pathlib.Path, default=pathlib.Path(out), help="folder of checkpoint and pictures")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    add("--quick", action="store_true", help="a small net for a few seconds, to see that everything runs")
    return made


def start(args):
    """The backend, the seed and the folder that the options ask for."""
    try:
        tg.use(args.backend)
        args.out.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, ValueError) as error:
        fail(error)
    except OSError as error:
        fail(f"{args.out} cannot be written to: {error.strerror}")
    tg.manual_seed(args.seed)


def load(path):
    """A checkpoint of this example."""
    try:
        saved = tg.load(path)
    except (OSError, ValueError) as error:
        fail(error)
    if not isinstance(saved, dict) or saved.get("example") != name():
        fail(f"{path} is no checkpoint of {name()}")
    return saved


def fit(*parts, resume, **settings):
    """`tg.fit`, ending in one sentence where it is stopped, or has nothing to go on from."""
    try:
        history = tg.fit(*parts, resume=resume, **settings)
    except (ValueError, OSError) as error:
        if not resume:
            raise
        fail(error)
    if history.interrupted:
        fail("stopped and saved; --resume goes on", 130)
    return history
