"""Plots, written to files. matplotlib is imported when one is drawn, and opens no window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..io.atomic import file_name, replacing


def _axes(xlabel: str, ylabel: str, title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Any) -> None:
    """Writes the picture, whole or not at all, as its ending says; without one as PNG. A PNG gets a palette,
    which makes it a third the size.
    """
    path = file_name(path, "viz")
    ending = os.path.splitext(path)[1][1:].lower() or "png"
    with replacing(path, "viz") as file:
        if ending != "png":
            figure.savefig(file, format=ending)
            return
        from PIL import Image  # matplotlib needs it, so it is there

        figure.canvas.draw()
        drawn = Image.frombytes("RGBA", figure.canvas.get_width_height(), bytes(figure.canvas.buffer_rgba()))
        drawn.convert("RGB").quantize(128).save(file, format="PNG", optimize=True)


def _whole_numbers(axes: Any) -> None:
    """There is no half a step."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def learning_curve(
    path: Any,
    steps: Sequence[float],
    train: Sequence[float],
    held_out: Sequence[tuple[float, float]],
    *,
    unit: str = "bits per character",
    xlabel: str = "training steps",
    title: str = "Learning curve",
    lines: dict[str, float] | None = None,
) -> None:
    """Training values at `steps`, held-out (step, value) pairs, and `lines`: levels by name."""
    figure, axes = _axes(xlabel, unit, title)
    axes.plot(steps, train, lw=1, alpha=0.6, label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", ms=4, label="held out")
    for (name, level), color in zip(
        (lines or {}).items(), ("tab:gray", "tab:brown", "tab:pink"), strict=False
    ):
        axes.axhline(level, ls="--", lw=1, color=color, label=f"{name}: {level:.2f}")
    values = [v for v in [*train, *(v for _, v in held_out), *(lines or {}).values()] if v == v]
    if values and min(values) > 0:  # the first steps are far above; show what follows
        axes.set_ylim(0.9 * min(values), max(1.1 * min(values), min(max(values), 3 * min(values))))
    _whole_numbers(axes)
    axes.legend()
    _save(figure, path)


def gradient_through_time(
    path: Any,
    norms: dict[str, Sequence[float]],
    *,
    first: int = 0,
    ylabel: str = "norm of d loss / d h",
    title: str = "The gradient's norm through time",
) -> None:
    """For each name, the norm of the gradient of a loss at the last step with respect to the state k steps
    before, k = first, first + 1, ...: how far back the net can learn from.
    """
    figure, axes = _axes("steps before the loss", ylabel, title)
    for name, values in norms.items():
        axes.semilogy(range(first, first + len(values)), values, "o-", ms=3, label=name)
    _whole_numbers(axes)
    axes.legend()
    _save(figure, path)


def attention_map(
    path: Any, maps: Sequence[tuple[Any, Sequence[str], Sequence[str]]], *, title: str = "Attention"
) -> None:
    """Where a decoder looked: one panel for each (weights, read, written), weights (len(written), len(read)).

    Each row is what was written at one step; the darker a field, the more that step counted.
    """
    figure, axes = _axes("", "", "")
    axes.remove()
    figure.set_size_inches(1.5 + 3.6 * min(2, len(maps)), 0.8 + 3.1 * -(-len(maps) // 2))
    figure.suptitle(title)
    figure.supxlabel("read", fontsize=10)
    figure.supylabel("written", fontsize=10)
    for k, (weights, read, written) in enumerate(maps):
        axes = figure.add_subplot(-(-len(maps) // 2), min(2, len(maps)), k + 1)
        axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(read)), read, fontsize=8)
        axes.set_yticks(range(len(written)), written, fontsize=8)
        axes.tick_params(length=0)
    _save(figure, path)


def curves(
    path: Any,
    runs: dict[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str = "training steps",
    ylabel: str = "loss",
    title: str = "Learning curves",
    lines: dict[str, float] | None = None,
    log: bool = False,
) -> None:
    """Several runs in one plot: (x, y) by name, x being counted, and `lines`: levels by name. `log`: a
    logarithmic y axis.
    """
    figure, axes = _axes(xlabel, ylabel, title)
    for name, (x, y) in runs.items():
        axes.plot(x, y, "o-", ms=2.5, lw=1.2, label=name)
    for name, level in (lines or {}).items():
        axes.axhline(level, ls="--", lw=1, color="tab:gray", label=f"{name}: {level:.3g}")
    if log:
        axes.set_yscale("log")
    _whole_numbers(axes)
    axes.legend()
    _save(figure, path)


def forecast(
    path: Any,
    times: Sequence[float],
    series: Sequence[float],
    forecasts: dict[str, tuple[Sequence[float], Sequence[float]]],
    band: tuple[Sequence[float], Sequence[float], Sequence[float]] | None = None,
    *,
    band_name: str = "band",
    xlabel: str = "time",
    ylabel: str = "value",
    title: str = "Forecast",
) -> None:
    """A series, forecasts of it as (times, values) by name, and a band (times, low, high) around them."""
    figure, axes = _axes(xlabel, ylabel, title)
    axes.plot(times, series, color="black", lw=1, label="observed")
    for name, (x, y) in forecasts.items():
        axes.plot(x, y, lw=1.3, label=name)
    if band is not None:
        axes.fill_between(*band, alpha=0.25, color="tab:orange", lw=0, label=band_name)
    figure.legend(loc="outside lower center", ncols=2 + len(forecasts))
    _save(figure, path)


def alignment(
    path: Any,
    panels: Sequence[tuple[Any, Any, str]],
    names: Sequence[str],
    *,
    seconds: float = 1.0,
    title: str = "When each was said",
) -> None:
    """When labels were said: one panel for each (features, probabilities, name). Above, features (T, bands)
    as a spectrogram; below, for each label how probable it is at each step, (T, len(names)). `seconds`: from
    one step to the next.
    """
    figure, axes = _axes("", "", title)
    axes.remove()
    figure.set_size_inches(9, 3.4 * len(panels))
    figure.suptitle(title)
    rows = figure.subplots(2 * len(panels), 1, squeeze=False, height_ratios=[3, 2] * len(panels))[:, 0]
    for (features, probabilities, name), above, below in zip(panels, rows[::2], rows[1::2], strict=True):
        end = seconds * len(features)
        above.imshow(
            features.T, origin="lower", aspect="auto", cmap="magma", extent=(0, end, 0, features.shape[1])
        )
        above.set(ylabel="band", xticks=[], title=name)
        times = [seconds * (t + 0.5) for t in range(len(probabilities))]
        for k, label in enumerate(names):
            values = probabilities[:, k]
            if values.max() < 0.1:
                continue
            (line,) = below.plot(times, values, lw=1.2)
            below.fill_between(times, values, alpha=0.3, color=line.get_color())
            for t in range(len(values)):  # its name at each peak
                if values[t] >= 0.3 and values[t] == values[max(0, t - 3) : t + 4].max():
                    below.text(times[t], 1.05, label, ha="center", color=line.get_color())
        below.set(xlim=(0, end), ylim=(0, 1.3), ylabel="probability", xlabel="seconds")
    _save(figure, path)


def piano_roll(
    path: Any, voices: dict[str, Sequence[int]], *, xlabel: str = "quarter notes", title: str = "Piano roll"
) -> None:
    """For each voice the key (MIDI's number, 0 for silence) that it holds at each step; a held key is one
    bar.
    """
    figure, axes = _axes(xlabel, "", title)
    figure.set_size_inches(9, 3.6)
    for k, (name, keys) in enumerate(voices.items()):
        starts = [t for t in range(len(keys)) if t == 0 or keys[t] != keys[t - 1]]
        for begin, end in zip(starts, [*starts[1:], len(keys)], strict=True):
            if keys[begin]:
                axes.barh(keys[begin], end - begin - 0.15, left=begin, height=0.8, color=f"C{k}")
        axes.barh(0, 0, color=f"C{k}", label=name)
    sounding = [key for keys in voices.values() for key in keys if key] or [60]
    low, high = min(sounding) - 1, max(sounding) + 1
    octaves = [key for key in range(0, 128, 12) if low <= key <= high]
    axes.set_yticks(octaves, [f"C{key // 12 - 1}" for key in octaves])
    axes.set(xlim=(0, max(map(len, voices.values()))), ylim=(low, high))
    figure.legend(loc="outside lower center", ncols=max(1, len(voices)))
    _save(figure, path)
