"""Plots of attention: the picture once for each word, coloured where the word attended."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

# Most panels in a line.
_COLUMNS = 7
_COLOUR = (255, 90, 0)
# Shares of white over the whole picture, and of the colour where attention is greatest.
_FADED, _TINTED = 0.35, 0.65


def tinted(picture: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns the faded picture with a word's attention in colour, `<uint8>(size, size, 3)`.

    Args:
        picture: `<uint8>(size, size, 3)`.
        shares: `(regions,)`, attention to a square grid, row by row.
    """
    side, size = math.isqrt(len(shares)), len(picture)
    grid = Image.fromarray((shares / max(shares.max(), 1e-9)).reshape(side, side).astype("float32"))
    heat = np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)[:, :, None]
    faded = (1 - _FADED) * picture + _FADED * 255
    return ((1 - _TINTED * heat) * faded + _TINTED * heat * np.array(_COLOUR)).astype(np.uint8)


def plot_attention(picture: np.ndarray, candidate, path: Path) -> None:
    """Draws the picture, then the attention of each word.

    Args:
        picture: `<uint8>(size, size, 3)`.
        candidate: A `Candidate` with attention.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    from common.plots import save_figure

    panels = [("", picture)]
    for word, shares in zip(candidate.words, candidate.attention, strict=True):
        panels.append((word, tinted(picture, shares)))
    lines = -(-len(panels) // _COLUMNS)
    # Spread the panels evenly over the lines.
    columns = -(-len(panels) // lines)
    figure = Figure(figsize=(1.6 * columns, 1.8 * lines))
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (word, pixels) in zip(axes.flat, panels, strict=False):
        axis.imshow(pixels)
        # Dollar signs are text, not mathematics.
        axis.set_title(word, fontsize=10, parse_math=False)
    save_figure(figure, path)
