"""Pictures of a run: learning curves, gradient norm and rate, coloured words."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from common.cli import word_colour
from common.files import atomic_path

TRAIN, VALIDATION, MARK = "#8a8f98", "#0b6e99", "#d1495b"
# Of a text that is drawn: characters a line, the longest part without a score that is shown whole,
# and what of a longer one.
_COLUMNS, _LONGEST_GAP, _SHOWN = 92, 2000, 60


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG file, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight", facecolor="white")


def new_axes(count: int, title: str, *, width: float = 5.2) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` panels of a width in inches side by side, in our look."""
    # Without pyplot: that takes long to import and keeps figures.
    figure = Figure(figsize=(width * count, 3.6))
    axes = figure.subplots(1, count, squeeze=False)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axis.set_axisbelow(True)
    figure.subplots_adjust(top=0.84, wspace=0.28)
    return figure, list(axes[0])


def plot_learning_curves(
    history: dict[str, Sequence[float]],
    path: Path,
    *,
    metric: str,
    mode: str = "max",
    title: str,
) -> None:
    """Draws loss and one metric of train and validation over the epochs, the best epoch marked.

    Args:
        history: Columns of `history.csv`: `loss`, `val_loss`, and the metric likewise. What only
            one of training and validation has is drawn of that one.
        path: PNG file to write.
        metric: Name of the metric that chose the epoch; it may be the loss itself.
        mode: Whether its greatest (`max`) or least (`min`) validation value is the best.
        title: Line above the picture.
    """
    names = list(dict.fromkeys(["loss", metric]))
    figure, axes = new_axes(len(names), title)
    epochs = np.arange(1, len(history["loss"]) + 1)
    best = int((np.argmax if mode == "max" else np.argmin)(history[f"val_{metric}"]))
    for axis, name in zip(axes, names, strict=True):
        if name in history:
            axis.plot(epochs, history[name], "o-", color=TRAIN, markersize=4, label="train")
        if f"val_{name}" in history:
            validated = history[f"val_{name}"]
            axis.plot(epochs, validated, "o-", color=VALIDATION, markersize=4, label="validation")
            axis.plot(
                epochs[best],
                validated[best],
                "o",
                color=MARK,
                markersize=8,
                label=f"saved: {validated[best]:.4f}",
            )
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False)
    save_figure(figure, path)


def plot_optimisation(history: dict[str, Sequence[float]], path: Path, *, title: str) -> None:
    """Draws gradient norm with the share of clipped steps, and the learning rate.

    Args:
        history: Columns of `history.csv`: `gradient_norm`, `gradient_norm_max`, `clipped_share`
            and `learning_rate`.
        path: PNG file to write.
        title: Line above the picture.
    """
    figure, (norms, rates) = new_axes(2, title)
    epochs = np.arange(1, len(history["gradient_norm"]) + 1)
    norms.plot(epochs, history["gradient_norm"], "o-", color=VALIDATION, markersize=4, label="mean")
    norms.plot(
        epochs, history["gradient_norm_max"], "o:", color=TRAIN, markersize=4, label="greatest"
    )
    norms.set(xlabel="epoch", ylabel="gradient norm before clipping", yscale="log")
    norms.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    norms.yaxis.set_major_formatter("{x:g}")
    norms.yaxis.set_minor_formatter(NullFormatter())
    norms.xaxis.set_major_locator(MaxNLocator(integer=True))
    for epoch, norm, share in zip(
        epochs, history["gradient_norm"], history["clipped_share"], strict=True
    ):
        norms.annotate(
            f"{share:.0%}",
            (epoch, norm),
            textcoords="offset points",
            xytext=(0, 6),
            ha="center",
            fontsize=7,
            color=VALIDATION,
        )
    norms.legend(frameon=False, title="(% of steps clipped)", title_fontsize=7)
    rates.plot(epochs, history["learning_rate"], "o-", color=VALIDATION, markersize=4)
    rates.set(xlabel="epoch", ylabel="learning rate at its end", ylim=(0, None))
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def plot_words(pieces: Sequence[tuple[str, float]], path: Path, *, title: str) -> None:
    """Writes a text as a picture, each word on a colour that tells what it added to the verdict.

    Args:
        pieces: The text cut into `(characters, score)`, in order and without gaps.
        path: PNG file to write.
        title: Line above the text.
    """
    lines = _wrap(pieces, _COLUMNS)
    greatest = max((abs(score) for _, score in pieces), default=0.0)
    # DejaVu Sans Mono, which Matplotlib brings, is .602 of its size wide.
    size, line = 10, 0.235
    character = 0.602 * size / 72
    figure = Figure(figsize=(character * (_COLUMNS + 2), line * (len(lines) + 2)))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(-1, _COLUMNS + 1), ylim=(0, len(lines) + 2))
    axis.axis("off")
    # The text is the user's: a dollar sign is a dollar sign, not mathematics.
    style = {"va": "center", "parse_math": False}
    axis.text(0, len(lines) + 1.2, title, fontsize=11, fontweight="bold", **style)
    for row, words in enumerate(lines):
        column, y = 0, len(lines) - row
        for word, score in words:
            red, green, blue = word_colour(score, greatest)
            colour = (red / 255, green / 255, blue / 255)
            axis.add_patch(
                Rectangle((column, y - 0.46), len(word), 0.92, facecolor=colour, linewidth=0)
            )
            axis.text(column, y, word, family="DejaVu Sans Mono", fontsize=size, **style)
            column += len(word)
    save_figure(figure, path)


def _wrap(pieces: Sequence[tuple[str, float]], columns: int) -> list[list[tuple[str, float]]]:
    """Breaks a coloured text into lines; a piece stays whole unless it is longer than a line."""
    lines: list[list[tuple[str, float]]] = [[]]
    width = 0
    for characters, score in pieces:
        # The unread middle of a long text would fill pages.
        if not score and len(characters) > _LONGEST_GAP:
            characters = f"{characters[:_SHOWN]} … {characters[-_SHOWN:]}"
        for part in re.findall(rf"\n|\S{{1,{columns}}}|[^\S\n]+", characters):
            if part == "\n" or width + len(part) > columns:
                lines.append([])
                width = 0
            # A line begins with a word.
            if width or not part.isspace():
                lines[-1].append((part, score))
                width += len(part)
    return lines
