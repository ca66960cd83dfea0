"""What forecast.py knows of series: the sets, files of the user's, and values as nets read them.

Everything here is in float64; only z, which has mean 0 and variance 1, goes to nets in float32. So a forecast
is right to seven digits of what a series varies by, however large its values are.
"""

import math

import common
import datasets
import numpy as np
import table

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
LARGEST = 1e100  # beyond it squares overflow


def read_series(args, table_format):
    """The values, what is known of them, and how they were read (a `Reading`, or None of a set)."""
    if args.data == "sunspots":
        path = datasets.fetch("statsmodels", "0.15.0", "statsmodels/datasets/sunspots/sunspots.csv")
        return table.series(path)[0].values, SETS["sunspots"], None
    if args.data in SETS:
        module = {"airline": "airpassengers", "demand": "taylor"}[args.data]
        path = datasets.fetch("pmdarima", "2.1.1", f"pmdarima/datasets/{module}.py")
        numbers = path.read_text(encoding="utf-8").split("rslt = np.array([")[1].partition("]")[0]
        return np.array([float(word) for word in numbers.replace(",", " ").split()]), SETS[args.data], None
    reading, said = table.series(args.data, table_format)
    print(said, flush=True)
    x, season = reading.values, args.season
    check(x, args.data)
    if len(x) < max(60, 4 * season):
        common.fail(
            f"{args.data} has {len(x)} value{'s' * (len(x) != 1)}; at least {max(60, 4 * season)} are needed"
        )
    if np.ptp(x) == 0:
        common.fail(f"{args.data} repeats one value; there is nothing to learn")
    if np.ptp(x) < max(1 / LARGEST, 1e-12 * np.abs(x).max()):
        common.fail(
            f"{args.data} varies less than numbers of 16 digits can tell; take a constant off, or scale it"
        )
    n_test = len(x) // 5
    return x, {
        "season": season, "difference": season > 1, "transform": args.transform, "order": 12, "first": 1,
        "horizon": min(season if season > 1 else 12, 24, n_test), "measure": "root of mean squared error",
        "tests": [(len(x) - n_test + 1, len(x))], "unit": "steps", "values": "value",
        "published": None,
    }, reading  # fmt: skip


def check(x, called):
    """Ends with one sentence where values are too large to be squared."""
    if np.abs(x).max() > LARGEST:
        value = x[np.abs(x).argmax()]
        common.fail(f"{called} has {value:g}, beyond {LARGEST:g}; divide all values by a power of ten")


class Scale:
    """Values as what nets read and say, z: transformed, the season before taken off, mean 0, variance 1."""

    def __init__(self, transform, lag, mean=0.0, std=1.0):
        self.transform, self.lag, self.mean, self.std = transform, lag, mean, std

    def differences(self, x):
        """len(x) - lag numbers, and what is transformed."""
        with np.errstate(divide="ignore", invalid="ignore"):
            base = TRANSFORMS[self.transform][0](np.asarray(x, "float64"))
        if not np.isfinite(base).all():
            common.fail(f"the series has values whose {self.transform} does not exist; take --transform none")
        return base[self.lag :] - (base[: len(base) - self.lag] if self.lag else 0.0), base

    def learn(self, x, n):
        """Takes mean and variance from x[:n]. Where these only repeat, what is left is rounding: then the
        unit is so small that nets add nothing to the repeat.
        """
        differences, base = self.differences(x)
        known = differences[: n - self.lag]
        self.mean = float(known.mean())
        self.std = max(float(known.std()), float(np.finfo("float64").eps * np.abs(base).max()), 1 / LARGEST)
        return self

    def z(self, x):
        """len(x) - lag numbers."""
        z = (self.differences(x)[0] - self.mean) / self.std
        if not (np.abs(z) < 1e30).all():
            common.fail("the series has values too far from those that were learned for a forecast")
        return z

    def x(self, z, before):
        """Back; `before` are the values one season before."""
        there, back = TRANSFORMS[self.transform]
        z = np.asarray(z, "float64")
        return back(z * self.std + self.mean + (there(before) if self.lag else 0.0))

    def path(self, z, history):
        """Back, of steps z (steps, ...) that follow the last values `history` (lag, ...): what lies a season
        before a step is known, or was forecast itself.
        """
        if not self.lag:
            return self.x(z, 0.0)
        x = []
        for t, step in enumerate(z):
            x.append(self.x(step, history[t] if t < self.lag else x[t - self.lag]))
        return np.stack(x)


def figure(value, decimals):
    """A number for a table, with enough digits whatever its size."""
    text = f"{value:.{decimals}f}"
    small = value != 0 and abs(value) < 10.0 ** (1 - decimals)
    return f"{value:.3g}" if small or len(text) > 11 else text


def digits(value, spread):
    """A value to seven digits of what a series varies by."""
    if abs(value) < 1e-14 * spread:  # what rounding leaves of nothing
        return "0"
    more = math.ceil(math.log10(abs(value) / spread)) if spread and abs(value) > spread else 0
    return f"{value:.{min(17, 7 + more)}g}"
