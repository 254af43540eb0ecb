"""What each word of a translation looked at: from subwords to words, and as a picture."""

import warnings
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from data.text.subwords import split_words
from models.decode.hypothesis import Hypothesis


def merge_words(
    tokenizer: Tokenizer, source: np.ndarray, hypothesis: Hypothesis
) -> tuple[list[str], list[str], np.ndarray | None]:
    """Merges subwords to words, and what they looked at likewise.

    Args:
        tokenizer: The run's.
        source: `<int32>(source_length,)`.
        hypothesis: A translation of it.

    Returns:
        source_words: The words and marks of the source.
        words: Those of the translation.
        attention: `(words, source_words)`: the mean over a word's subwords of what they looked at,
            summed over the subwords of what is looked at; each row sums to 1. None without.
    """
    source_words, source_groups = split_words(tokenizer, source)
    words, groups = split_words(tokenizer, hypothesis.tokens)
    if hypothesis.attention is None:
        return source_words, words, None
    attention = np.zeros((len(words), len(source_words)))
    counts = np.bincount(groups, minlength=len(words))
    for step, group in enumerate(groups):
        shares = np.bincount(
            source_groups, weights=hypothesis.attention[step], minlength=len(source_words)
        )
        attention[group] += shares / counts[group]
    return source_words, words, attention


def plot_alignment(candidate, path: Path) -> None:
    """Draws what each word of a translation looked at, the darker the more.

    Args:
        candidate: A `Candidate` with its attention.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    from common.plots import VALIDATION, save_figure

    rows, columns = candidate.attention.shape
    width, height = 1.6 + 0.42 * columns, 1.2 + 0.34 * rows
    figure = Figure(figsize=(width, height))
    axis = figure.subplots()
    if candidate.attention.size:
        axis.imshow(candidate.attention, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # The words are the user's: a dollar sign is a dollar sign, not mathematics.
    axis.set_xticks(
        range(columns), candidate.source_words, rotation=45, ha="left", parse_math=False
    )
    axis.set_yticks(range(rows), candidate.words, parse_math=False)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for edge in axis.spines.values():
        edge.set_visible(False)
    axis.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="minor", length=0)
    for row, column in np.argwhere(candidate.attention >= 0.3):
        share = candidate.attention[row, column]
        colour = "white" if share > 0.6 else VALIDATION
        axis.text(
            column, row, f"{share:.0%}"[:-1], ha="center", va="center", fontsize=7, color=colour
        )
    axis.set_title(
        "what each word of the translation looked at (percent)",
        fontsize=9,
        loc="left",
        y=-0.1 - 0.2 / height,
    )
    with warnings.catch_warnings():
        # What the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph")
        save_figure(figure, path)
