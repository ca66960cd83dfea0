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

import csv
import io
import math
import sys
import time

import common
import datasets
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, viz

TRANSFORMS = {  # what makes the swings even, and back
    "none": (lambda v: v, lambda z: z),
    "sqrt": (np.sqrt, lambda z: np.maximum(z, 0) ** 2),
    "log": (np.log, np.exp),
}
MEASURES = {
    "squared error / 1535": lambda e, x: (e**2).mean() / 1535,
    "root of mean squared error": lambda e, x: math.sqrt((e**2).mean()),
    "mean absolute error in %": lambda e, x: 100 * np.abs(e / x).mean(),
}
SETS = {  # what is known of a series; `difference`: the season before is taken off; tests: from, to
    "sunspots": {
        "season": 11, "difference": False, "transform": "sqrt", "order": 12, "horizon": 11, "first": 1700,
        "measure": "squared error / 1535", "tests": [(1921, 1955), (1956, 1979)], "unit": "years",
        "values": "sunspot number",
        "published": "linear AR(12) 0.126 and 0.36, network of Weigend et al. 0.086 and 0.35",
    },
    "airline": {
        "season": 12, "difference": True, "transform": "log", "order": 12, "horizon": 12, "first": 1,
        "measure": "root of mean squared error", "tests": [(97, 144)], "unit": "months",
        "values": "passengers, thousands", "published": None,
    },
    "demand": {
        "season": 336, "difference": True, "transform": "log", "order": 48, "horizon": 48, "first": 1,
        "measure": "mean absolute error in %", "tests": [(3361, 4032)], "unit": "half hours",
        "values": "demand, MW", "published": None,
    },
}  # fmt: skip
WARM, WINDOW = 12, 36  # steps of a window that only make the state; steps of a window


# ---------------------------------------------------------------- data


def number(text):
    """A field as a number, None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def read_csv(text, called):
    """The last column of a CSV file as numbers; lines at the top that have none are names of columns."""
    rows = [row for row in csv.reader(io.StringIO(text)) if any(field.strip() for field in row)]
    values = [number(row[-1]) for row in rows]
    begin = next((i for i, value in enumerate(values) if value is not None), len(values))
    rows, values = rows[begin:], values[begin:]
    if not values:
        common.fail(f"{called} has no numbers in its last column")
    if None in values:
        common.fail(f"{called} has {rows[values.index(None)][-1]!r} where a number should stand")
    if not np.isfinite(values).all():
        common.fail(f"{called} has a NaN or an infinity; take it out, or fill it in")
    return np.array(values)


def read_file(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return read_csv(file.read(), path)
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        common.fail(f"{path} is no text in UTF-8")


def read_series(args):
    """The values and what is known of them."""
    if args.data == "sunspots":
        path = datasets.fetch("statsmodels", "0.15.0", "statsmodels/datasets/sunspots/sunspots.csv")
        return read_file(path), SETS["sunspots"]
    if args.data in SETS:
        module = {"airline": "airpassengers", "demand": "taylor"}[args.data]
        source = datasets.fetch("pmdarima", "2.1.1", f"pmdarima/datasets/{module}.py").read_text()
        numbers = source.split("rslt = np.array([")[1].partition("]")[0]
        return np.array([float(word) for word in numbers.replace(",", " ").split()]), SETS[args.data]
    x, season = read_file(args.data), args.season
    if len(x) < max(60, 4 * season):
        common.fail(f"{args.data} has {len(x)} values; at least {max(60, 4 * season)} are needed")
    if x.std() == 0:
        common.fail(f"{args.data} repeats one value; there is nothing to learn")
    return x, {
        "season": season, "difference": season > 1, "transform": args.transform, "order": 12, "first": 1,
        "horizon": min(season, 24) if season > 1 else 12, "measure": "root of mean squared error",
        "tests": [(len(x) - len(x) // 5 + 1, len(x))], "unit": "steps", "values": "value",
        "published": None,
    }  # fmt: skip


class Scale:
    """Values as what nets read and say, z: transformed, the season before taken off, mean 0, variance 1."""

    def __init__(self, transform, lag, mean=0.0, std=1.0):
        self.transform, self.lag, self.mean, self.std = transform, lag, mean, std

    def z(self, x):
        """len(x) - lag numbers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            base = TRANSFORMS[self.transform][0](x)
        if not np.isfinite(base).all():
            common.fail(f"the series has values whose {self.transform} does not exist; take --transform none")
        before = base[: len(base) - self.lag] if self.lag else 0.0
        return (base[self.lag :] - before - self.mean) / self.std

    def x(self, z, before):
        """Back; `before` are the values one season before."""
        there, back = TRANSFORMS[self.transform]
        return back(z * self.std + self.mean + (there(before) if self.lag else 0.0))


# ---------------------------------------------------------------- nets


class Net(nn.Module):
    """z (T, B, 1) and a state -> the next z, at every step (T, B, 1), and the next state."""

    def __init__(self, cell, hidden):
        super().__init__()
        self.rnn, self.out = common.CELLS[cell][0](1, hidden), nn.Linear(hidden, 1)

    def forward(self, z, state=None):
        output, state = self.rnn(z, state)
        return self.out(output), state


def part(args, m):
    """The checkpoint of one net, while the others are not there yet."""
    return args.out / f"forecast_{args.name}_{m}.part.npz"


def train(args, z, n):
    """The nets, and their errors where they were not trained: z[:n] are the training years."""
    nets, errors = nn.ModuleList([Net(args.cell, args.hidden) for _ in range(args.nets)]), []
    whole, following = (
        tg.tensor(z[: n - 1]).float().reshape(-1, 1, 1),
        tg.tensor(z[1:n]).float().reshape(-1, 1, 1),
    )
    window = min(WINDOW, n - 1)
    begin = 0 if (n - 1) // args.nets > WARM else WARM  # no stretch may have only steps that make the state
    stretches = begin + (n - 1 - begin) * np.arange(args.nets + 1) // args.nets
    if (n - 1 - begin) < args.nets:
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
        held = (whole, following, tg.tensor(left_out).reshape(-1, 1, 1))
        history = common.fit(
            net, loss, batches, optimizer, epochs=args.epochs, validate=[held], clip=1.0, progress=False,
            scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs), resume=args.resume,
            checkpoint=part(args, m),
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

    x[o] is the last value known at an origin. `plain` is the series the autoregression reads, and how it goes
    back to values.
    """
    season, steps = s["season"], np.arange(1, horizon + 1)[:, None]
    ahead = origins + steps
    before = x[ahead - scale.lag] if scale.lag else np.zeros(ahead.shape)
    z = scale.z(x)
    n_paths = max(8, 320 // len(nets))
    paths = several_steps(nets, z, origins - scale.lag, horizon, errors, n_paths, rng)
    paths = scale.x(paths, before[..., None])
    base, back, step = plain
    past, linear_says = (
        np.stack([base[o - scale.lag - s["order"] + 1 : o - scale.lag + 1] for o in origins]),
        [],
    )
    for _ in range(horizon):
        linear_says.append(step(past))
        past = np.c_[past[:, 1:], linear_says[-1]]
    found = {
        "nets": paths.mean(2),
        "linear AR": back(np.stack(linear_says), before),
        "persistence": np.repeat(x[origins][None], horizon, 0),
        "seasonal naive": x[origins + steps - season * -(-steps // season)],
    }
    return found, np.quantile(paths, [0.05, 0.95], axis=2)


def report(args, x, s, scale, nets, errors):
    """The tables and the picture."""
    rng, measure = np.random.default_rng(args.seed), MEASURES[s["measure"]]
    z, first, d = scale.z(x), s["first"], scale.lag
    n = s["tests"][0][0] - first  # where training ends
    unscaled = Scale("none" if s["transform"] == "sqrt" else s["transform"], d)
    plain = (unscaled.z(x), unscaled.x, linear(unscaled.z(x), n - d, s["order"]))
    says = one_step(nets, z)
    before = x[1 : len(x) - d] if d else 0.0
    each = [scale.x(said, before) for said in says]
    past = np.lib.stride_tricks.sliding_window_view(plain[0][:-1], s["order"])
    by_ar = np.full(len(x), np.nan)
    by_ar[d + s["order"] :] = plain[1](plain[2](past), x[s["order"] : len(x) - d] if d else 0.0)
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
        print(f"{name:34}" + "".join(f"{value:12.3f}" for value in cells))
    k = np.arange(n, s["tests"][0][1] - first + 1)
    alone = [measure(said[k - d - 1] - x[k], x[k]) for said in each]
    print(f"{'each net alone':34}{min(alone):12.3f} to {max(alone):.3f}")
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
        print(f"{name:34}" + "".join(f"{value:12.1f}" for value in cells))
    inside = (low <= truth) & (truth <= high)
    print(f"{'in the band, of 90 %':34}" + "".join(f"{100 * inside[h - 1].mean():11.0f}%" for h in shown))
    # All of the tests and what came before them; of a long series what is near the last forecast.
    shown_from = max(0, n - 2 * s["season"] if last - n < 100 else last - 5 * horizon)
    k, o = np.arange(max(n, shown_from), last + 1), origins[-1]
    years = first + np.arange(o + 1, o + horizon + 1)
    with common.picture(f"the picture and the checkpoint are in {args.out}"):
        viz.forecast(
            args.out / f"forecast_{args.name}.png",
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
    path = args.out / f"forecast_{args.name}.npz"
    saved = common.load(path)
    scale, nets = Scale(*saved["scale"]), nn.ModuleList([Net(*saved["shape"]) for _ in range(saved["nets"])])
    nets.load_state_dict(saved["model"])
    if args.predict == "-":
        return stream(scale, nets)
    x = read_file(args.predict)
    if len(x) < WARM + scale.lag:
        common.fail(
            f"{args.predict} has {len(x)} values; at least {WARM + scale.lag} are needed to go on from"
        )
    horizon = args.horizon or saved["horizon"]
    if scale.lag:
        horizon = min(horizon, scale.lag)
    rng, z = np.random.default_rng(args.seed), scale.z(x)
    before = x[len(x) - scale.lag :][:horizon] if scale.lag else np.zeros(horizon)
    paths = several_steps(nets, z, [len(z) - 1], horizon, saved["errors"], 100, rng)[:, 0]
    paths = scale.x(paths, before[:, None])
    print("step,forecast,low,high")
    for h, (low, high) in enumerate(np.quantile(paths, [0.05, 0.95], axis=1).T, 1):
        print(f"{h},{paths[h - 1].mean():.6g},{low:.6g},{high:.6g}")
    return 0


def stream(scale, nets):
    """Reads values as they come in, one in a line, and says the next one at once: only the state is kept."""
    states, seen = [None] * len(nets), []
    for line in sys.stdin:
        seen.append(read_csv(line, "the input")[0])
        if len(seen) <= scale.lag:
            continue
        z = scale.z(np.array(seen[-scale.lag - 1 :]))
        with tg.no_grad():
            steps = [
                net(tg.tensor(z).float().reshape(1, 1, 1), state)
                for net, state in zip(nets, states, strict=True)
            ]
        states = [state for _, state in steps]
        said = np.array([output.item() for output, _ in steps])
        print(f"{scale.x(said, seen[-scale.lag] if scale.lag else 0.0).mean():.6g}", flush=True)
    if not seen:
        common.fail("the input is empty")
    return 0


def main():
    parser = common.parser(__doc__, cell="gru")
    add = parser.add_argument
    add(
        "--data", default="sunspots", metavar="NAME", help="sunspots, airline, demand, or a CSV file of yours"
    )
    add("--season", type=common.positive(int), default=1, help="of a series of yours: 12 for months, say")
    add("--transform", choices=TRANSFORMS, default="none", help="of a series of yours")
    add("--horizon", type=common.positive(int), help="how many steps ahead")
    add("--nets", type=common.positive(int), default=8)
    add("--hidden", type=common.positive(int), default=16)
    add("--epochs", type=common.positive(int), default=75)
    add("--lr", type=common.positive(float), default=5e-3)
    add("--noise", type=common.fraction, default=0.3, help="added to what the nets read in training")
    add("--predict", metavar="FILE", help="only go on with this CSV file, or with - as values come in")
    args = parser.parse_args()
    args.name = args.data if args.data in SETS else "series"
    if args.quick:
        args.nets, args.epochs = 2, 25
    common.start(args, f"forecast_{args.name}_*.part.npz")
    if args.predict is not None:
        return predict(args)
    x, s = read_series(args)
    if s["difference"]:
        args.horizon = min(args.horizon or s["horizon"], s["season"])
    n = s["tests"][0][0] - s["first"]
    scale = Scale(s["transform"], s["season"] if s["difference"] else 0)
    z = scale.z(x[:n])
    scale.mean, scale.std = float(z.mean()), float(z.std())
    print(
        f"{args.name}: {len(x)} values, {n} to train; {args.nets} nets of {args.hidden} units ({args.cell})"
    )
    began = time.perf_counter()
    nets, errors = train(args, scale.z(x), n - scale.lag)
    tg.save(
        args.out / f"forecast_{args.name}.npz", nets, example=common.name(), shape=[args.cell, args.hidden],
        nets=args.nets, scale=[scale.transform, scale.lag, scale.mean, scale.std], errors=errors,
        horizon=args.horizon or s["horizon"],
    )  # fmt: skip
    for m in range(args.nets):
        part(args, m).unlink()
    report(args, x, s, scale, nets, errors)
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    common.run(main)
