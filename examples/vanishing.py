"""Vanishing gradients: how far back a net can learn from, and what gates change (the notes' first limit).

    python examples/vanishing.py                          # about eight minutes on two cores
    python examples/vanishing.py --cell gru --long        # the adding problem over 600 steps, some minutes
    python examples/vanishing.py --predict "0.3 0.9* 0.1 0.4* 0.7"

Three things: the norm of the gradient of a loss at the last step with respect to the state k steps before, at
the start and after training, for an RNN, an LSTM and a GRU, and what forget bias and orthogonal start do to
it; the adding problem (Hochreiter and Schmidhuber 1997): T pairs (number, mark), whose answer is the sum of
the two marked numbers, wherever they stood (always saying 1 has the squared error 1/6); and the copy problem
(the same, and Bai et al. 2018): ten symbols are to be repeated after a long pause (knowing nothing has the
loss 10 ln 8 / (pause + 20)). The data are drawn by chance; there is nothing to download.
"""

import math
import time

import common

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz
from tinygrad_rnn.nn import functional as F

BASELINE = 1 / 6  # the variance of the sum of two numbers drawn from [0, 1]
QUICK = {"steps_back": 20, "pause": 5, "hidden": 24}
SYMBOLS, MARK = 10, 9  # to be copied, of 8 kinds (1 to 8); 0 is a pause, 9 says "now"


class Net(nn.Module):
    """A recurrent layer and what is read off it: x (T, B, features) or symbols (T, B) -> (T, B, n_out)."""

    def __init__(self, layer, n_out, n_symbols=0):
        super().__init__()
        self.embed = nn.Embedding(n_symbols, layer.input_size) if n_symbols else None
        self.rnn, self.out = layer, nn.Linear(layer.hidden_size, n_out)

    def forward(self, x):
        return self.out(self.rnn(x if self.embed is None else self.embed(x))[0])


# ---------------------------------------------------------------- the problems


def adding(n_steps, batch_size, rng=None):
    """Numbers and marks (T, B, 2), one mark in each half; the sum of the two marked numbers (B, 1)."""
    rng, rows = tg.default_rng(rng), range(batch_size)
    numbers = rng.random((n_steps, batch_size))
    first = rng.integers(0, n_steps // 2, batch_size)
    second = rng.integers(n_steps // 2, n_steps, batch_size)
    marks = 0 * numbers
    marks[first, rows] = marks[second, rows] = 1
    x = tg.stack([tg.tensor(numbers), tg.tensor(marks)], axis=-1).float()
    return x, tg.tensor(numbers[first, rows] + numbers[second, rows]).float().unsqueeze(1)


def adding_loss(model, batch):
    x, y = batch
    return F.mse_loss(model(x)[-1], y)


def copying(pause, batch_size, rng=None):
    """Symbols, then a pause ending with a mark (T, B); what is to be said (T, B): the symbols, after it."""
    symbols = tg.default_rng(rng).integers(1, 9, (SYMBOLS, batch_size))
    x = tg.zeros(pause + 2 * SYMBOLS, batch_size, dtype="int64")
    y = tg.zeros(pause + 2 * SYMBOLS, batch_size, dtype="int64")
    x[:SYMBOLS], x[pause + SYMBOLS - 1], y[-SYMBOLS:] = tg.tensor(symbols), MARK, tg.tensor(symbols)
    return x, y


def copying_loss(model, batch):
    x, y = batch
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


# ---------------------------------------------------------------- gradients


def gradient_norms(model, x, y):
    """The norm of d loss / d state for k = 1, 2, ..., T - 1 steps before the loss, over that at k = 1.

    Step by step, so that each state is at hand. An LSTM's state is h and c together: the gradient goes
    through both. In double precision, where a small norm is still a number.
    """
    model, x, y = model.double(), x.double(), y.double()
    state, states = None, []
    for t in range(len(x)):
        output, state = model.rnn(x[t : t + 1], state)
        states.append(list(state) if isinstance(state, tuple) else [state])
    loss = F.mse_loss(model.out(output[-1]), y)
    states.pop()  # the last one is what is read off
    gradients = iter(tg.grad(loss, [part for parts in states for part in parts]))
    norms = [math.hypot(*[next(gradients).double().norm().item() for _ in parts]) for parts in states]
    return [norm / norms[-1] for norm in reversed(norms)]


def starts(hidden):
    """The nets of the first picture: cells, and starting values that matter."""

    def forget_bias(value):
        layer = nn.LSTM(2, hidden)
        layer.cells[0].b.data[hidden : 2 * hidden] = value  # blocks i, f, g, o
        return layer

    return {
        "RNN, uniform start": nn.RNN(2, hidden, init="torch"),
        "RNN, orthogonal start": nn.RNN(2, hidden),
        "LSTM, forget bias 0": forget_bias(0.0),
        "LSTM, forget bias 1": nn.LSTM(2, hidden),
        "LSTM, forget bias 3": forget_bias(3.0),
        "GRU": nn.GRU(2, hidden),
    }


# ---------------------------------------------------------------- training


class Solved:
    """Stops a training once the loss on held-out sequences is low enough; a resumed one, too."""

    def __init__(self, enough):
        self.enough = enough

    def on_epoch(self, run):
        if run.row and run.row["valid_loss"] < self.enough:
            run.stop("solved")

    on_start = on_epoch


def train(args, name, model, loss, draw, enough, minutes):
    """Trains until the loss on 500 held-out sequences is below `enough`, or the time is over."""
    optimizer = optim.Adam(model.parameters(), lr=args.lr)

    def batches(epoch):
        return (draw(args.batch) for _ in range(args.steps))

    began = time.perf_counter()
    print(f"{name}:", flush=True)
    history = common.fit(
        model, loss, batches, optimizer, epochs=args.epochs, minutes=minutes, clip=1.0,
        validate=[draw(500, 1)], callbacks=Solved(enough),
        **common.files(args, name, name=name, hidden=args.hidden),
    )  # fmt: skip
    best = history.best
    print(f"    {best['valid_loss']:.4f} after {best['step']} steps, {time.perf_counter() - began:.0f} s")
    return history


def predict(args):
    """The sum of the two marked numbers, by every net that was trained. Unmarked numbers drawn by chance are
    put after the first marked one, until there are as many as a net learned from.
    """
    try:
        x = tg.tensor(
            [[[float(word.rstrip("*")), float(word.endswith("*"))]] for word in args.predict.split()]
        )
    except ValueError:
        common.fail('give numbers, two of them with a star, as in "0.3 0.9* 0.1 0.4*"')
    if x.ndim != 3 or x[..., 1].sum().item() != 2 or not x.isfinite().all().item():
        common.fail('two of the numbers must have a star, as in "0.3 0.9* 0.1 0.4*", and all be finite')
    found = sorted(args.out.glob("vanishing_*-adding-*.npz"))
    if not found:
        common.fail(f"there is no checkpoint in {args.out}; run {common.name()} first")
    print(f"the sum is {(x[..., 0] * x[..., 1]).sum().item():.3f}")
    for path in found:
        saved = common.load(path)
        model = Net(common.CELLS[saved["name"].partition("-")[0]][0](2, saved["hidden"]), 1)
        model.load_state_dict(saved["model"])
        k = int(x[:, 0, 1].argmax()) + 1
        more = max(0, int(saved["name"].rpartition("-")[2]) - len(x))
        filling = tg.stack([tg.rand(more, 1), tg.zeros(more, 1)], axis=-1)
        with tg.no_grad():
            said = model(tg.concat([x[:k], filling, x[k:]]))[-1].item()
        print(f"{saved['name']}: {said:.3f} (the marks {more} numbers further apart)")
    return 0


def options():
    parser = common.parser(__doc__, cell=None)
    add, positive = parser.add_argument, common.positive
    add("--steps-back", type=positive(int, 3, 5000), help="T of the adding problem (100, 600 with --long)")
    add("--pause", type=positive(int, most=5000), default=30, help="of the copy problem")
    add("--hidden", type=common.size, default=64)
    add("--batch", type=common.size, default=32)
    add("--lr", type=common.rate, default=0.01)
    add("--long", action="store_true", help="the adding problem over 600 steps, for a GRU or --cell")
    add("--predict", metavar="NUMBERS", help='only add: "0.3 0.9* 0.1 0.4*"')
    return common.parse(
        parser, ("steps_back", "pause", "hidden"), free=("cell", "predict"), quick=QUICK,
        task=lambda args: ("long",) if args.long else (),
        defaults=lambda args: {"steps_back": 600 if args.long else 100},
    )  # fmt: skip


def main():
    args = options()
    common.start(args)
    if args.predict is not None:
        return predict(args)
    cells, minutes = [args.cell] if args.cell else list(common.CELLS), 2.0
    args.steps, args.epochs = 50, None
    if args.long:
        cells, minutes = [args.cell or "gru"], 20.0
    if args.quick:
        args.epochs, args.steps = 6, 40
    n_steps = args.steps_back

    batch = adding(n_steps, 100, 0)
    norms, curves = {}, {}
    nets = {name: Net(layer, 1) for name, layer in starts(args.hidden).items()}
    at_start = {name: gradient_norms(net, *batch) for name, net in nets.items()}
    for cell in cells:
        model = Net(common.CELLS[cell][0](2, args.hidden), 1)
        history = train(
            args, f"{cell}-adding-{n_steps}", model, adding_loss, lambda *a: adding(n_steps, *a), 0.002,
            minutes,
        )  # fmt: skip
        curves[cell] = history["step"], history["valid_loss"]
        norms[cell] = gradient_norms(model, *batch), history
    copied = {}
    args.epochs = 1 if args.quick else None
    for cell in [] if args.long else cells:
        model = Net(common.CELLS[cell][0](10, 2 * args.hidden), 9, n_symbols=10)
        copied[cell] = train(
            args, f"{cell}-copy-{args.pause}", model, copying_loss, lambda *a: copying(args.pause, *a),
            0.002, minutes,
        )  # fmt: skip

    print(f"\nThe gradient {n_steps - 1} steps back over that one step back, before training:")
    for name, values in at_start.items():
        print(f"    {name:24}{values[-1]:.1e}")
    trivial = SYMBOLS * math.log(8) / (args.pause + 2 * SYMBOLS)
    print(f"Adding, T = {n_steps} (always saying 1: {BASELINE:.4f}), and that gradient after training:")
    for cell, (values, history) in norms.items():
        print(f"    {cell:5}squared error {history.best['valid_loss']:.4f}   gradient {values[-1]:.1e}")
    if copied:
        print(f"Copying after a pause of {args.pause} (knowing nothing: {trivial:.4f}):")
    for cell, history in copied.items():
        print(f"    {cell:5}loss {history.best['valid_loss']:.4f}")
    chosen = [args.cell] if args.cell else []
    trained = {cell: values for cell, (values, _) in norms.items()}
    with common.picture(f"pictures and checkpoints are in {args.out}"):
        for when, values in (("start", at_start), ("trained", trained)):
            viz.gradient_through_time(
                common.path(args, *chosen, when, suffix=".png"), values, first=1,
                ylabel="norm of d loss / d state, over that at 1",
                title="Before training" if when == "start" else "After training",
            )  # fmt: skip
        viz.curves(
            common.path(args, *chosen, "adding", suffix=".png"), curves, log=True, ylabel="squared error",
            lines={"1/6": BASELINE}, title=f"The adding problem, T = {n_steps}",
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    common.run(main)
