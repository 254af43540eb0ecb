"""Where a caption looked: the picture again and again, lit where each word looked."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from common.plots import plt, save_figure

# Panels in a line.
_COLUMNS = 5
# What the darkest part of a panel keeps of its light.
_SHADE = 0.25


def lit(picture: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns a picture that is dark where a word did not look.

    Args:
        picture: `<uint8>(size, size, 3)`.
        shares: `(regions,)` of a square grid, row by row.

    Returns:
        `<uint8>(size, size, 3)`; the brightest region keeps its light.
    """
    side, size = math.isqrt(len(shares)), len(picture)
    grid = Image.fromarray((shares / max(shares.max(), 1e-9)).reshape(side, side).astype("float32"))
    light = np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    light = _SHADE + (1 - _SHADE) * light[:, :, None]
    return (picture * light).astype(np.uint8)


def plot_attention(picture: np.ndarray, candidate, path: Path) -> None:
    """Draws the picture, and for each word where it looked.

    Args:
        picture: `<uint8>(size, size, 3)`.
        candidate: A `Candidate` with its attention.
        path: PNG file to write.
    """
    panels = [("", picture)]
    for word, shares in zip(candidate.words, candidate.attention, strict=True):
        panels.append((word, lit(picture, shares)))
    lines = -(-len(panels) // _COLUMNS)
    figure, axes = plt.subplots(
        lines, _COLUMNS, figsize=(1.9 * _COLUMNS, 2.15 * lines), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (word, pixels) in zip(axes.flat, panels, strict=False):
        axis.imshow(pixels)
        # A dollar sign is a dollar sign, not mathematics.
        axis.set_title(word, fontsize=10, parse_math=False)
    save_figure(figure, path)
