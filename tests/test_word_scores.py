"""viz.word_scores: sentences with shaded words."""

import pytest

from tinygrad_rnn import viz

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.host  # has nothing to do with arrays


def drawn(path, rows):
    from PIL import Image

    viz.word_scores(path, rows, title="t")
    with Image.open(path) as picture:
        return picture.convert("RGB").copy()


def shades(picture):
    """How many pixels are clearly blue, and how many clearly red."""
    pixels = list(zip(*[iter(picture.tobytes())] * 3, strict=True))
    return sum(b - r > 80 for r, _, b in pixels), sum(r - b > 80 for r, _, b in pixels)


def test_words_for_are_blue_and_words_against_red(tmp_path):
    blue, red = shades(drawn(tmp_path / "a.png", [("for", ["good", "film"], [2.0, 0.0])]))
    assert blue > 100
    assert red == 0
    blue, red = shades(drawn(tmp_path / "b.png", [("against", ["bad", "film"], [-1e-6, 0.0])]))
    assert blue == 0
    assert red > 100  # the largest score of a sentence is the darkest, however small


def test_long_sentences_go_on_in_the_next_line(tmp_path):
    short = drawn(tmp_path / "a.png", [("name", ["word"] * 5, [0.0] * 5)])
    long = drawn(tmp_path / "b.png", [("name", ["word"] * 50, [0.0] * 50)])
    assert short.width == long.width
    assert long.height > short.height
    assert shades(long) == (0, 0)


def test_empty_ones_and_wrong_lengths(tmp_path):
    drawn(tmp_path / "a.png", [("nothing", [], [])])
    with pytest.raises(ValueError, match="zip"):
        viz.word_scores(tmp_path / "b.png", [("name", ["a", "b"], [1.0])])
