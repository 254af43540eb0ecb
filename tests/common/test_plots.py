import pytest

from common.cli import OPPOSE, SUPPORT, word_colour
from common.plots import _wrap, plot_words

pytestmark = pytest.mark.no_backend


def test_a_word_is_white_or_deepens_towards_the_colour_of_its_side():
    assert word_colour(0.0, 3.0) == word_colour(0.0, 0.0) == (255, 255, 255)
    for sign, full in ((1, SUPPORT), (-1, OPPOSE)):
        weak, strong = (sum(word_colour(sign * size, 2.0)) for size in (0.5, 2.0))
        assert sum(full) <= strong < weak


def test_a_picture_grows_with_its_text_and_takes_any_characters(tmp_path):
    import matplotlib.image

    heights = []
    for count in (1, 20):
        path = tmp_path / f"{count}.png"
        plot_words([("an $x_1$ example\n", 0.4), ("y" * 120, -1.0)] * count, path, title="$ok$")
        heights.append(matplotlib.image.imread(path).shape[0])
    assert heights[1] > 5 * heights[0]


def test_a_text_breaks_into_lines_and_loses_no_word():
    pieces = [("one", 1.0), (" ", 0.0), ("two", 2.0), (".", 3.0), ("\n", 0.0), ("three", 0.0)]
    lines = _wrap(pieces, columns=6)
    assert ["".join(part for part, _ in line) for line in lines] == ["one ", "two.", "three"]
    assert lines[1] == [("two", 2.0), (".", 3.0)]
