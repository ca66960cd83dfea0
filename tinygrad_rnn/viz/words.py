"""What each word of a sentence did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .plots import empty_axes, write


def word_scores(
    path: Any, rows: Sequence[tuple[str, Sequence[str], Sequence[float]]], *, title: str = "Words"
) -> None:
    """Sentences with their words shaded by a number: one line for each (name, words, scores), wrapped where
    it is long. Words with a score above zero stand on blue, below zero on red; the largest score of each
    sentence, whatever its sign, is the darkest.
    """
    figure, axes = empty_axes("", "", "")
    axes.remove()
    renderer = figure.canvas.get_renderer()
    width, height = 7.0 * figure.dpi, 0.27 * figure.dpi
    boxes: list[tuple[float, float, str, Any, str]] = []
    y = 0.0
    for name, words, scores in rows:
        largest = max((abs(s) for s in scores), default=0.0) or 1.0
        boxes.append((8.0, y, name, "none", "bold"))
        y, x = y + height, 16.0
        for word, score in zip(words, scores, strict=True):
            wide = renderer.get_text_width_height_descent(word, _font(), False)[0] + 7
            if x + wide > width - 8 and x > 16.0:
                y, x = y + height, 16.0
            boxes.append((x + 3, y, word, _shade(score / largest), "normal"))
            x += wide
        y += 1.5 * height
    figure.set_layout_engine("none")
    top = 1.4 * height
    tall = y + top
    figure.set_size_inches(width / figure.dpi, tall / figure.dpi)
    figure.suptitle(title, fontsize=11, y=1 - 0.3 * height / tall, va="top")
    for x, y, text, colour, weight in boxes:
        figure.text(
            x / width, 1 - (y + top) / tall, text, fontsize=10, fontweight=weight, va="top",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip
    write(figure, path)


def _font() -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=10)


def _shade(part: float) -> tuple[float, float, float]:
    """White at 0, blue at 1, red at -1."""
    pale = 1 - 0.6 * min(1.0, abs(part))
    return (pale, 0.5 + pale / 2, 1.0) if part > 0 else (1.0, 0.25 + 0.75 * pale, pale)
