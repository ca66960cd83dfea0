"""What the benchmarks print and write."""

from __future__ import annotations

import datetime
import json
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.io.atomic import replacing

from .rows import Result

Choice = Callable[[Result], bool]
Target = tuple[str, str, str, Choice | None, float, float]


def _large(result: Result) -> bool:
    return int(result.row.split(",")[-1]) >= 256


# What was hoped for: name, group, peer, rows, at least, aim. Ratios of peer to ours, the geometric mean over
# rows; where less is better ("at most"), at least is larger than aim.
TARGETS: list[Target] = [
    ("LSTM against torch.nn.LSTM", "LSTM", "torch", None, 0.55, 1.0),
    ("the same, H >= 256", "LSTM", "torch", _large, 0.75, 1.0),
    ("bidirectional LSTM against torch.nn", "bidirectional LSTM", "torch", None, 0.5, 1.0),
    ("GRU (reset_after) against torch.nn.GRU", "GRU", "torch", None, 1.5, 3.0),
    ("default GRU against torch.nn.GRU", "default GRU", "torch", None, 1.2, 2.0),
    ("RNN against torch.nn.RNN", "RNN", "torch", None, 1.0, 1.5),
    ("LSTM with lengths against packed sequences", "LSTM with lengths", "torch", None, 1.5, 3.0),
    ("user's LSTM, plain loop, against PyTorch", "a user's LSTM, plain loop", "torch", None, 1.0, 1.5),
    ("the same against autograd", "a user's LSTM, plain loop", "autograd", None, 4.0, 8.0),
    ("the same against MyGrad", "a user's LSTM, plain loop", "mygrad", None, 4.0, 8.0),
    ("user's pointwise cell against PyTorch", "a user's pointwise cell", "torch", None, 2.0, 4.0),
    (
        "the same, layer-normalised, against PyTorch",
        "a user's layer-normalised LSTM",
        "torch",
        None,
        2.0,
        4.0,
    ),
    ("LSTM against BPTT by hand", "LSTM", "by hand", None, 0.95, 1.1),
    ("products alone over our LSTM, H >= 256", "LSTM", "products", _large, 0.65, 0.85),
    ("engine per op against PyTorch", "engine, per op", "torch", None, 1.0, 2.0),
    ("the same against autograd", "engine, per op", "autograd", None, 4.0, 8.0),
    ("the same against MyGrad", "engine, per op", "mygrad", None, 4.0, 8.0),
    ("streaming against torch.nn.LSTMCell", "streaming", "torch", None, 1.0, 2.0),
    ("a stream, step by step, against LSTMCell", "a stream, step by step", "torch", None, 4.0, 6.0),
    ("the same in blocks of 64 steps", "a stream, in blocks", "torch", None, 8.0, 15.0),
    ("language model against PyTorch", "language model", "torch", None, 0.7, 1.0),
    ("memory, times PyTorch's (at most)", "peak memory", "torch", None, 1.2, 0.8),
    ("T = 10,000, times T = 1,000 (at most)", "length", "a tenth", lambda r: "10,000" in r.row, 11.0, 10.0),
]


def machine(peers: dict[str, Any], threads: int, cleared: str) -> dict[str, str]:
    """Where and with what was measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
        model = f"{names[0]}, {len(names)} cores" if names else model
    versions = {"Python": platform.python_version(), "NumPy": np.__version__}
    versions.update({name: metadata.version(name) for name in peers})
    facts = {
        "machine": model,
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "threads": str(threads),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
    }
    if cleared:
        facts["OPENBLAS_CORETYPE"] = f"was {cleared}; cleared for this run"
    return facts


def _number(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def line(result: Result) -> str:
    """One result for people to read."""
    parts = [f"{result.group:40s} {result.row:26s} ours {_number(result.ours)} {result.unit}"]
    for name in dict.fromkeys([*result.others, *result.ratios]):
        ratio = result.ratios.get(name)
        spread = f"ratio {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})" if ratio else ""
        time = f"{_number(result.others[name])} {result.unit}, " if name in result.others else ""
        parts.append(f"{name} {time}{spread}")
    return " | ".join(parts)


def targets(results: Sequence[Result], markdown: bool = False, hoped: Sequence[Target] = TARGETS) -> str:
    """What was reached of what was hoped for."""
    rows = []
    for name, group, peer, choice, least, aim in hoped:
        chosen = [r for r in results if r.group == group and (choice is None or choice(r))]
        found = [r.ratios[peer][0] for r in chosen if r.ratios.get(peer, (0,))[0] > 0]
        if not found:
            continue
        mean = statistics.geometric_mean(found)
        held = mean <= least if aim < least else mean >= least
        reached = mean <= aim if aim < least else mean >= aim
        verdict = "aim" if reached else "held" if held else "missed"
        rows.append((name, f"{mean:.2f}", f"{least:g}", f"{aim:g}", verdict))
    heads = ("", "measured", "at least", "aim", "")
    if markdown:
        lines = ["| " + " | ".join(r) + " |" for r in (heads, ("---",) * 5, *rows)]
        return "\n".join(lines)
    return "\n".join(f"{r[0]:48s} {r[1]:>9s} {r[2]:>9s} {r[3]:>6s}  {r[4]}" for r in (heads, *rows))


def table(results: Sequence[Result]) -> str:
    """All results as a Markdown table."""
    lines = ["| | (T, B, I, H) | ours | others | ratio (quartiles) |", "|---|---|---|---|---|"]
    for r in results:
        others = ", ".join(f"{n} {_number(v)}" for n, v in r.others.items())
        ratios = ", ".join(f"{n} {m:.2f} ({a:.2f} to {b:.2f})" for n, (m, a, b) in r.ratios.items())
        lines.append(f"| {r.group} | {r.row} | {_number(r.ours)} {r.unit} | {others} | {ratios} |")
    return "\n".join(lines)


def write_json(path: str, machine: dict[str, str], results: Sequence[Result]) -> None:
    """The figures as JSON, atomically."""
    text = json.dumps({"machine": machine, "results": [asdict(r) for r in results]}, indent=1)
    with replacing(path) as file:
        file.write(text.encode())
