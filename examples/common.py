"""What the examples share: options, names of files, one sentence for what is wrong, checkpoints."""

import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import sys
import warnings

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
    """The whole of an example. What a console cannot show is shown as \\u2603; where the output is cut short
    (`| head -1`), the example ends as programs then do, with status 141. Ctrl-C where nothing has to be saved
    is no error of the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # so that nothing is left to be written at the end
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        status = 141
    except KeyboardInterrupt:
        fail("stopped", 130)
    except MemoryError:
        fail("there is not enough memory for this; take smaller sizes", 1)
    except OSError as error:
        fail(f"{error.filename or 'the output'} cannot be used: {error.strerror or error}", 1)
    sys.exit(status)


# ---------------------------------------------------------------- options


def number(kind, fits, wanted):
    """A type for options: numbers of a kind that fit; `wanted` is what they are, or a function that says what
    one is not.
    """

    def read(text):
        value = kind(text)
        if not fits(value):
            wants = wanted(value) if callable(wanted) else wanted
            raise argparse.ArgumentTypeError(f"{text} is not {wants}")
        return value

    read.__name__ = kind.__name__  # "invalid int value", says argparse
    return read


def positive(kind, least=None, most=None):
    """A type for options: numbers above zero, within bounds that no sensible use passes."""
    least = (1 if kind is int else 1e-9) if least is None else least
    most = 10**6 if most is None else most

    def wanted(value):
        if not value > 0:
            return "positive"
        return f"at least {least:,}" if value < least else f"at most {most:,}"

    return number(kind, lambda value: least <= value <= most, wanted)


fraction = number(float, lambda value: 0 <= value < 1, "between 0 and 1")
seed = number(
    int, lambda value: 0 <= value < 2**63, lambda value: "0 or more" if value < 0 else "below 2**63"
)
size = positive(int, most=4096)  # units of a layer, rows of a batch
rate = positive(float, most=100)  # learning rates
temperature = positive(float, 1e-3, 1e3)


class Parser(argparse.ArgumentParser):
    """One whose complaint is one sentence."""

    def error(self, message):
        fail(f"{message}; --help shows the options")

    def print_help(self, file=None):
        print(self.format_help(), end="", file=file)  # argparse's own says nothing where that fails


def parser(doc, out="runs", cell="lstm"):
    """The options that all examples have; the text above an example's code is its help."""
    made = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--cell", choices=CELLS, default=cell)
    add("--seed", type=seed, default=0)
    add("--backend", default="numpy", help="numpy or cupy")
    add("--out", type=pathlib.Path, default=pathlib.Path(out), help="folder of checkpoint and pictures")
    add("--resume", action="store_true", help="go on from the checkpoint in --out, with its options")
    add("--quick", action="store_true", help="a small net for a few seconds, to see that everything runs")
    return made


def parse(parser, shape, free=(), task=None, quick=None, defaults=None):
    """The options: as given; else, with --quick, as `quick` has them; else as `defaults` has them; else as
    the parser has them. quick and defaults are dictionaries, or functions of the options that return one.

    shape: the options that make the net, and so the names of files; task: a function of the options that
    returns what else does. free: those that another run on the same files may choose otherwise. Beside the
    options the result has `given`, the names of those that were given; `kept`, the names of those that a
    checkpoint keeps; `shape`; and what names of files begin with: `base` for all nets of the task, `stem`
    for this one.
    """
    args = parser.parse_args()
    for values in (defaults, quick if args.quick else None):
        parser.set_defaults(**(values(args) if callable(values) else values or {}))
    args = parser.parse_args()
    unset, names = object(), list(vars(args))
    marked = parser.parse_args(namespace=argparse.Namespace(**dict.fromkeys(names, unset)))
    args.given = {option for option in names if getattr(marked, option) is not unset}
    free = {"backend", "out", "resume", *free}
    args.shape, args.kept = shape, [option for option in names if option not in free]
    args.base = "_".join([name().removesuffix(".py"), *(task(args) if task else ())])
    words = ["quick"] if args.quick else []
    for option in shape:
        value = getattr(args, option)
        if value != parser.get_default(option):
            word = option.replace("_", "-")
            words.append(value if isinstance(value, str) else word if value is True else f"{word}-{value}")
    args.stem = "_".join([args.base, *words])
    return args


def start(args, suffix=".npz"):
    """The backend, the seed and the folder that the options ask for. A resumed run takes over the options of
    its checkpoint, and can only go on where there is one, named like this task and ending in `suffix`.
    """
    try:
        tg.use(args.backend)
        args.out.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, ValueError) as error:
        fail(error)
    except OSError as error:
        fail(f"{args.out} cannot be written to: {error.strerror}")
    if args.resume:
        take_over(args, suffix)
    tg.manual_seed(args.seed)


# ---------------------------------------------------------------- names of files


def label(file):
    """What stands for a file of the user's in names: its own name, and what tells it from its namesakes."""
    stem = re.sub(r"[^\w-]+", "-", pathlib.Path(file).stem).strip("-")[:40]
    digest = hashlib.sha256(os.path.realpath(file).encode(errors="surrogatepass")).hexdigest()
    return f"{stem}-{digest[:6]}"


def path(args, *parts, suffix=".npz"):
    """The file of this net, or of a part of it."""
    return args.out / ("_".join([args.stem, *map(str, parts)]) + suffix)


def kept(args, *parts):
    """What a checkpoint keeps of its run."""
    options = {option: getattr(args, option) for option in args.kept}
    return {"base": args.base, "stem": args.stem, "parts": [str(p) for p in parts], "options": options}


def files(args, *parts, suffix=".npz", **extras):
    """Where `fit` keeps the checkpoint of a part, and what stands in it."""
    return {
        "checkpoint": path(args, *parts, suffix=suffix), "resume": args.resume,
        "extras": {"example": name(), "run": kept(args, *parts), **extras},
    }  # fmt: skip


def same(files, what, digest):
    """Ends a run that would go on from a checkpoint of other data."""
    file = files["checkpoint"]
    if files["resume"] and file.exists() and load(file).get(what) != digest:
        fail(f"{file} is of another {what}; learn anew without --resume")


def runs(args, suffix=".npz"):
    """The checkpoints in --out of this task, the latest first: (path, what it keeps of its run)."""
    found = []
    for file in args.out.glob(f"{name().removesuffix('.py')}*{suffix}"):
        with contextlib.suppress(OSError, ValueError):
            saved = tg.load(file)
            run = saved.get("run") if isinstance(saved, dict) and saved.get("example") == name() else None
            if run is not None and run["base"] == args.base:
                found.append((file.stat().st_mtime, file, run))
    return [(file, run) for _, file, run in sorted(found, key=lambda row: row[0], reverse=True)]


def differing(args, run, among):
    """The first option among some that was given and is another in a checkpoint, or None."""
    options = run["options"]
    return next((o for o in among if o in args.given and options.get(o) != getattr(args, o)), None)


def find(args, *parts):
    """The checkpoint that the options ask for; where there is none, the latest one that agrees with those
    that were given.
    """
    exact = path(args, *parts)
    if exact.exists():
        return exact
    wanted = [str(p) for p in parts]
    among = ["quick", *args.shape]
    found = [file for file, run in runs(args) if run["parts"] == wanted and not differing(args, run, among)]
    return found[0] if found else exact


def take_over(args, suffix):
    """Gives a resumed run the options of its checkpoint."""
    found = runs(args, suffix)
    if not found:
        for file in sorted(args.out.glob(f"{args.base}*{suffix}")):
            load(file)
            fail(f"{file} does not say of which options it is; learn anew without --resume")
        fail(f"there is no file {args.out / args.base}*{suffix} of this task to go on from")
    found.sort(key=lambda row: (differing(args, row[1], args.kept) is not None, row[1]["stem"] != args.stem))
    file, run = found[0]
    option = differing(args, run, args.kept)
    if option is not None:
        flag, said, value = option.replace("_", "-"), run["options"].get(option), getattr(args, option)
        fail(f"{file} is of --{flag} {said}, not {value}; leave --{flag} out, or learn anew without --resume")
    for option, value in run["options"].items():
        if option in args.kept:
            setattr(args, option, value)
    args.stem = run["stem"]


# ---------------------------------------------------------------- training and what comes after


def load(file):
    """A checkpoint of this example."""
    try:
        saved = tg.load(file)
    except FileNotFoundError:
        others = sorted(other.name for other in file.parent.glob(f"{name().removesuffix('.py')}*.npz"))
        there = f"; there is {', '.join(others[:3])}" if others else ""
        fail(f"there is no file {file}; {name()} writes it when it learns{there}")
    except (OSError, ValueError) as error:
        fail(error)
    if not isinstance(saved, dict) or saved.get("example") != name():
        fail(f"{file} is no checkpoint of {name()}")
    return saved


def fit(*parts, resume, **settings):
    """`tg.fit`, ending in one sentence where it is stopped, or has nothing to go on from."""
    try:
        history = tg.fit(*parts, resume=resume, **settings)
    except FloatingPointError as error:
        fail(error, 1)
    except (ValueError, OSError) as error:
        if not resume or isinstance(error, BrokenPipeError):
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of glyphs that a font lacks, or levels that cannot be drawn
            yield
    except (ImportError, OSError) as error:
        print(f"{name()}: no picture: {error}", file=sys.stderr)
    else:
        if said:
            print(said)
