"""The notes' time series: one number after the other, and what comes next, with a band (many to one).

    python examples/forecast.py                            # sunspots, half a minute
    python examples/forecast.py --data airline             # ten seconds; demand: a minute
    python examples/forecast.py --data FILE.csv --season 12      # a series of yours: its last column
    python examples/forecast.py --data FILE.csv --predict FILE.csv      # goes on with it
    tail -f values.txt | python examples/forecast.py --predict -    # as the values come in

Sunspots: 1700 to 2008, one number a year (statsmodels 0.15.0, public domain), split as Weigend et al. (1990)
did: training to 1920, tests on 1921-55 and 1956-79, squared error over 1535; there a linear AR(12) had 0.126
and 0.36, and their network 0.086 and 0.35. Airline passengers (144 months; Box and Jenkins) and electricity
demand (4,032 half hours; Taylor 2003) come with pmdarima 2.1.1 (MIT).

Several small nets read the series value by value and say the next one; their mean counts. Each leaves out
another stretch of the training years, which tells it when to stop. What it got wrong there is drawn from at
random to go several steps ahead: every path adds such errors to what the net says and goes on from there, and
nine paths in ten lie in the band between its edges.
"""

import hashlib
import math
import sys
import time

import common
import numpy as np
import table
from numerals import Wrong, numeric
from series import MEASURES, SETS, TRANSFORMS, Scale, check, digits, figure, read_series

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz

QUICK = {"nets": 2, "epochs": 25}
SHAPE = ("cell", "hidden", "nets", "noise", "season", "transform", "column")
PART = ".part.npz"  # the checkpoint of one net, while the others are not there yet
WARM, WINDOW = 12, 36  # steps of a window that only make the state; steps of a window


# ---------------------------------------------------------------- nets


class Net(nn.Module):
    """z (T, B, 1) and a state -> the next z, at every step (T, B, 1), and the next state."""

    def __init__(self, cell, hidden):
        super().__init__()
        self.rnn, self.out = common.CELLS[cell][0](1, hidden), nn.Linear(hidden, 1)

    def forward(self, z, state=None):
        output, state = self.rnn(z, state)
        return self.out(output), state


def train(args, z, n):
    """The nets, and their errors where they were not trained: z[:n] are the training years."""
    digest = hashlib.sha256(z.tobytes()).hexdigest()
    nets, errors = nn.ModuleList([Net(args.cell, args.hidden) for _ in range(args.nets)]), []
    whole, following = (
        tg.tensor(z[: n - 1]).float().reshape(-1, 1, 1),
        tg.tensor(z[1:n]).float().reshape(-1, 1, 1),
    )
    window = min(WINDOW, n - 1)
    n_stretches = args.nets if args.nets > 1 else 5  # a single net leaves out the first of five
    begin = 0 if (n - 1) // n_stretches > WARM else WARM  # no stretch may have only steps that make the state
    stretches = begin + (n - 1 - begin) * np.arange(n_stretches + 1) // n_stretches
    if (n - 1 - begin) < n_stretches:
        common.fail(f"{n - 1} steps are too few for {args.nets} nets, each of which leaves some out")
    begins = np.arange(0, n - window, max(1, (n - window) // 200))
    picked = tg.tensor(begins + np.arange(window)[:, None])  # (window, windows)
    for m, net in enumerate(nets):
        left_out = np.zeros(n - 1, "float32")
        left_out[max(WARM, stretches[m]) : stretches[m + 1]] = 1
        counts = tg.tensor(1 - left_out).reshape(-1, 1, 1)

        def loss(net, batch):  # the mean squared error where it counts
            x, y, counts = batch
            noise = args.noise * tg.randn(*x.shape) if net.training else 0.0
            return ((net(x + noise)[0] - y).square() * counts).sum() / counts.sum()

        def batches(epoch, counts=counts):
            order = tg.default_rng().permutation(len(begins))
            for k in range(0, len(order), 64):
                rows = picked[:, order[k : k + 64]]
                late = tg.where(tg.arange(window).reshape(-1, 1, 1) >= WARM, counts[rows, 0], 0.0)
                yield whole[rows, 0], following[rows, 0], late

        optimizer = optim.Adam(net.parameters(), lr=args.lr)
        files = common.files(args, m, suffix=PART, series=digest)
        common.same(files, "series", digest)
        held = (whole, following, tg.tensor(left_out).reshape(-1, 1, 1))
        history = common.fit(
            net, loss, batches, optimizer, epochs=args.epochs, validate=[held], clip=1.0, progress=False,
            scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs), **files,
        )  # fmt: skip
        with tg.no_grad():
            errors.append((following - net(whole)[0]).numpy().ravel()[left_out > 0])
        best = history.best
        print(f"net {m + 1} of {args.nets}: {best['valid_loss']:.3f} of the variance where it was left out, "
              f"epoch {best['epoch']}, {history['seconds'][-1]:.0f} s", flush=True)  # fmt: skip
    return nets, np.concatenate(errors)


def one_step(nets, z):
    """What each net says of z[1:], reading z[:-1]: (nets, len(z) - 1)."""
    with tg.no_grad():
        return np.stack([net(tg.tensor(z[:-1]).float().reshape(-1, 1, 1))[0].numpy().ravel() for net in nets])


def several_steps(nets, z, origins, horizon, errors, n_paths, rng):
    """Paths (horizon, origins, paths) on from z[o] for each origin o, with errors drawn from `errors`."""
    paths = []
    with tg.no_grad():
        for net in nets:
            states, said, state, begin = [], [], None, 0
            for o in origins:  # one reading of the series; the state at each origin is kept
                output, state = net(tg.tensor(z[begin : o + 1]).float().reshape(-1, 1, 1), state)
                states.append(state if isinstance(state, tuple) else (state,))
                said.append(output[-1])
                begin = o + 1
            state = [
                tg.concat(parts, axis=1).repeat_interleave(n_paths, dim=1)
                for parts in zip(*states, strict=True)
            ]
            kind, said = type(states[0]), tg.concat(said).repeat_interleave(n_paths, dim=0)
            state, steps = (kind(*state) if hasattr(kind, "_fields") else state[0]), []
            for _ in range(horizon):
                steps.append(said + tg.tensor(rng.choice(errors, (len(said), 1))).float())
                output, state = net(steps[-1].unsqueeze(0), state)
                said = output[0]
            paths.append(tg.concat(steps, axis=1).numpy().T.reshape(horizon, len(origins), n_paths))
    return np.concatenate(paths, axis=2)


def linear(base, n, order):
    """An autoregression, by least squares on base[:n]: a function of a past (..., order) -> what is next."""
    past = np.lib.stride_tricks.sliding_window_view(base[: n - 1], order)
    weights = np.linalg.lstsq(np.c_[past, np.ones(len(past))], base[order:n], rcond=None)[0]
    return lambda past: past @ weights[:-1] + weights[-1]


# ---------------------------------------------------------------- report


def forecasts(x, s, scale, nets, errors, origins, horizon, rng, plain):
    """name -> (horizon, origins) for the nets and what they are held against; and the band's edges.

    x[o] is the last value known at an origin. `plain` is the scale of the series that the autoregression
    reads, and what that says.
    """
    season, steps = s["season"], np.arange(1, horizon + 1)[:, None]
    history = x[origins - scale.lag + 1 + np.arange(scale.lag)[:, None]]
    n_paths = max(8, 320 // len(nets))
    paths = several_steps(nets, scale.z(x), origins - scale.lag, horizon, errors, n_paths, rng)
    paths = scale.path(paths, history[..., None])
    unscaled, step = plain
    base = unscaled.z(x)
    past, linear_says = (
        np.stack([base[o - scale.lag - s["order"] + 1 : o - scale.lag + 1] for o in origins]),
        [],
    )
    for _ in range(horizon):
        linear_says.append(step(past))
        past = np.c_[past[:, 1:], linear_says[-1]]
    found = {
        "nets": paths.mean(2),
        "linear AR": unscaled.path(np.stack(linear_says), history),
        "persistence": np.repeat(x[origins][None], horizon, 0),
        "seasonal naive": x[origins + steps - season * -(-steps // season)],
    }
    return found, np.quantile(paths, [0.05, 0.95], axis=2)


def report(args, x, s, scale, nets, errors):
    """The tables and the picture."""
    rng, measure = np.random.default_rng(args.seed), MEASURES[s["measure"]]
    z, first, d = scale.z(x), s["first"], scale.lag
    n = s["tests"][0][0] - first  # where training ends
    unscaled = Scale("none" if s["transform"] == "sqrt" else s["transform"], d).learn(x, n)
    base = unscaled.z(x)
    plain = unscaled, linear(base, n - d, s["order"])
    says = one_step(nets, z)
    before = x[1 : len(x) - d] if d else 0.0
    each = [scale.x(said, before) for said in says]
    past = np.lib.stride_tricks.sliding_window_view(base[:-1], s["order"])
    by_ar = np.full(len(x), np.nan)
    by_ar[d + s["order"] :] = unscaled.x(plain[1](past), x[s["order"] : len(x) - d] if d else 0.0)
    mean = np.mean(each, axis=0)
    print(f"\nOne step ahead, {s['measure']}:")
    names = [f"{a}-{b}" for a, b in s["tests"]]
    print(" " * 34 + "".join(f"{name:>12}" for name in names))
    rows = {
        f"{len(nets)} nets ({args.cell}), their mean": lambda k: mean[k - d - 1],
        "linear AR": lambda k: by_ar[k],
        "persistence": lambda k: x[k - 1],
        "seasonal naive": lambda k: x[k - s["season"]],
    }
    for name, of in rows.items():
        cells = [
            measure(of(k) - x[k], x[k]) for k in (np.arange(a - first, b - first + 1) for a, b in s["tests"])
        ]
        print(f"{name:34}" + "".join(f"{figure(value, 3):>12}" for value in cells))
    k = np.arange(n, s["tests"][0][1] - first + 1)
    alone = [measure(said[k - d - 1] - x[k], x[k]) for said in each]
    print(f"{'each net alone':34}{figure(min(alone), 3):>12} to {figure(max(alone), 3)}")
    if s["published"]:
        print(f"published: {s['published']}")

    horizon, last = args.horizon or s["horizon"], s["tests"][-1][1] - first
    origins = np.arange(n - 1, last - horizon + 1)
    origins = origins[:: max(1, len(origins) // 60)]
    found, (low, high) = forecasts(x, s, scale, nets, errors, origins, horizon, rng, plain)
    shown = sorted({1, max(1, horizon // 4), max(1, horizon // 2), horizon})
    print(f"\nSeveral {s['unit']} ahead, root of mean squared error over {len(origins)} starts in the tests:")
    print(" " * 34 + "".join(f"{h:12}" for h in shown))
    truth = x[origins + np.arange(1, horizon + 1)[:, None]]
    for name, values in found.items():
        cells = [math.sqrt(((values - truth)[h - 1] ** 2).mean()) for h in shown]
        print(f"{name:34}" + "".join(f"{figure(value, 1):>12}" for value in cells))
    inside = (low <= truth) & (truth <= high)
    print(f"{'in the band, of 90 %':34}" + "".join(f"{100 * inside[h - 1].mean():11.0f}%" for h in shown))
    # All of the tests and what came before them; of a long series what is near the last forecast.
    shown_from = max(0, n - 2 * s["season"] if last - n < 100 else last - 5 * horizon)
    k, o = np.arange(max(n, shown_from), last + 1), origins[-1]
    years = first + np.arange(o + 1, o + horizon + 1)
    with common.picture(f"the picture and the checkpoint are in {args.out}"):
        viz.forecast(
            common.path(args, suffix=".png"),
            first + np.arange(shown_from, last + 1), x[shown_from : last + 1],
            {
                "one step ahead": (first + k, mean[k - d - 1]),
                f"up to {horizon} steps ahead": (years, found["nets"][:, -1]),
            },
            (years, low[:, -1], high[:, -1]), band_name="90 % of paths", xlabel=s["unit"],
            ylabel=s["values"], title=f"{args.name}: forecasts by {len(nets)} nets ({args.cell})",
        )  # fmt: skip


def predict(args):
    """Goes on with a series of the user's, with the nets of the checkpoint."""
    saved = common.load(common.find(args))
    scale, nets = Scale(*saved["scale"]), nn.ModuleList([Net(*saved["shape"]) for _ in range(saved["nets"])])
    nets.load_state_dict(saved["model"])
    learned = saved.get("format") or {}  # how the file was read that was learned from
    form = table.format_of(args)
    if args.predict == "-":
        return stream(scale, nets, saved.get("spread"), form, learned)
    form.column = form.column or learned.get("column")
    reading, said = table.series(args.predict, form)
    x = reading.values
    check(x, args.predict)
    if len(x) < WARM + scale.lag:
        common.fail(
            f"{args.predict} has {len(x)} value{'s' * (len(x) != 1)}; at least {WARM + scale.lag} are needed "
            "to go on from"
        )
    rng, z, horizon = np.random.default_rng(args.seed), scale.z(x), args.horizon or saved["horizon"]
    print(said, file=sys.stderr)
    paths = several_steps(nets, z, [len(z) - 1], horizon, saved["errors"], 100, rng)[:, 0]
    paths = scale.path(paths, x[len(x) - scale.lag :, None])
    if not np.isfinite(paths).all():
        common.fail(f"what {args.predict} goes on with is too large to be computed; take a smaller --horizon")
    spread = float(np.ptp(x)) or saved.get("spread")
    print("step,forecast,low,high")
    for h, (low, high) in enumerate(np.quantile(paths, [0.05, 0.95], axis=1).T, 1):
        print(h, *(digits(value, spread) for value in (paths[h - 1].mean(), low, high)), sep=",")
    return 0


def values_of(lines, form, learned):
    """The values of lines as they come: one in each, in its last column, or in that which was learned. Empty
    lines and comments are passed over, and one line of names before the first value.
    """
    begun = False
    for number, line in enumerate(lines, 1):
        called = f"line {number} of the input"
        try:
            text, _ = table.decoded(line, called)
            text = text.strip("\r\n")
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            if not begun and not any(map(numeric, (field.strip() for field in table.FIELDS.split(text)))):
                print(f"{common.name()}: {called} is taken for names", file=sys.stderr)
                begun = True
                continue
            begun = True
            yield called, one_value(text, called, form, learned)
        except Wrong as reason:
            said = str(reason).replace("line 1 of line", "line").replace(", in line 1", "")
            common.fail(
                said.replace(" in line 1,", ",").replace(" in line 1;", ";").replace(" in line 1 ", " ")
            )


def one_value(text, called, form, learned):
    """The value of a line."""
    delimiter = learned.get("delimiter") if form.delimiter is None else form.delimiter
    rows, _ = table.split(text, delimiter, called) if delimiter else ([(1, [text])], 0)
    alone = len(rows[0][1]) == 1  # the value and nothing else
    column = form.column or (None if alone else learned.get("number"))
    given = table.Format(
        "" if alone and delimiter else delimiter, form.decimal or learned.get("decimal"), column, 0
    )
    return table.column_of(text, called, given).values[0]


def stream(scale, nets, spread, form, learned):
    """Reads values as they come in, one in a line, and says the next one at once: only the state is kept."""
    states, seen = [None] * len(nets), []
    lines = iter(sys.stdin.buffer.readline, b"") if sys.stdin is not None else ()
    for called, value in values_of(lines, form, learned):
        seen = [*seen[-scale.lag :], value] if scale.lag else [value]
        check(seen[-1:], called)
        if len(seen) <= scale.lag:
            continue
        z = scale.z(seen)
        with tg.no_grad():
            steps = [
                net(tg.tensor(z).float().reshape(1, 1, 1), state)
                for net, state in zip(nets, states, strict=True)
            ]
        states = [state for _, state in steps]
        said = np.array([output.item() for output, _ in steps])
        following = scale.x(said, seen[-scale.lag] if scale.lag else 0.0).mean()
        print(digits(following, spread), flush=True)
    if not seen:
        common.fail("the input is empty")
    return 0


def options():
    parser = common.parser(__doc__, cell="gru")
    add, positive = parser.add_argument, common.positive
    add(
        "--data", default="sunspots", metavar="NAME", help="sunspots, airline, demand, or a CSV file of yours"
    )
    add("--season", type=positive(int), default=1, help="of a series of yours: 12 for months, say")
    add("--transform", choices=TRANSFORMS, default="none", help="of a series of yours")
    table.add_options(add)
    add("--horizon", type=positive(int, most=10_000), help="how many steps ahead")
    add("--nets", type=positive(int, most=1000), default=8)
    add("--hidden", type=common.size, default=16)
    add("--epochs", type=positive(int), default=75)
    add("--lr", type=common.rate, default=5e-3)
    add("--noise", type=common.fraction, default=0.3, help="added to what the nets read in training")
    add("--predict", metavar="FILE", help="only go on with this CSV file, or with - as values come in")
    return common.parse(
        parser, SHAPE, free=("data", "horizon", "predict", "delimiter", "decimal", "header"), quick=QUICK,
        task=lambda args: (args.data if args.data in SETS else common.label(args.data),),
    )  # fmt: skip


def main():
    args = options()
    args.name = args.data if args.data in SETS else "series"
    common.start(args, PART)
    if args.predict is not None:
        return predict(args)
    x, s, reading = read_series(args, table.format_of(args))
    n = s["tests"][0][0] - s["first"]
    held_out = s["tests"][-1][1] - s["first"] + 1 - n
    if args.horizon and args.horizon > held_out:
        common.fail(
            f"--horizon {args.horizon} is more than the {held_out} values that are held out; take fewer"
        )
    scale = Scale(s["transform"], s["season"] if s["difference"] else 0).learn(x, n)
    print(
        f"{args.name}: {len(x)} values, {n} to train; {args.nets} nets of {args.hidden} units ({args.cell})"
    )
    began = time.perf_counter()
    nets, errors = train(args, scale.z(x), n - scale.lag)
    read_as = reading and {
        "delimiter": reading.delimiter, "decimal": reading.decimal, "column": args.column,
        "number": str(reading.column + 1),
    }  # fmt: skip
    tg.save(
        common.path(args), nets, example=common.name(), run=common.kept(args), shape=[args.cell, args.hidden],
        nets=args.nets, scale=[scale.transform, scale.lag, scale.mean, scale.std], errors=errors,
        horizon=args.horizon or s["horizon"], spread=float(np.ptp(x)), format=read_as,
    )  # fmt: skip
    for m in range(args.nets):
        common.path(args, m, suffix=PART).unlink(missing_ok=True)
    report(args, x, s, scale, nets, errors)
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    common.run(main)
