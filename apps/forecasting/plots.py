"""Pictures of an evaluation: calibration and scores by horizon."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colors
from matplotlib import pyplot as plt

from common.plots import MARK, VALIDATION, new_axes, save_figure

INK = "#3b4048"
_OTHERS = (
    ("#8a8f98", "-"),
    ("#b07d2b", "--"),
    ("#4f8a5b", "-."),
    ("#7d5ba6", ":"),
    ("#3b4048", "-"),
    ("#c46a4a", "--"),
    ("#2f8f9d", "-."),
)
SMALL = 8


def plot_calibration(
    path: Path,
    *,
    title: str,
    pits: Mapping[str, Mapping[int, np.ndarray]],
    coverage: Mapping[str, Mapping[int, Mapping[int, float]]],
) -> None:
    """Draws where the outcomes fell in the forecasts, and how many fell within the intervals.

    Args:
        path: PNG file to write.
        title: Line above the picture.
        pits: For each system and horizon the shares of a histogram of the probability integral
            transform, `(bins,)`. The first system is drawn as bars, the others as steps.
        coverage: For each system, horizon and nominal per cent the share of outcomes that truly
            fell within.
    """
    horizons = list(next(iter(pits.values())))
    with picture(path, title, count=len(horizons) + 1, width=4.3, height=3.7) as axes:
        *histograms, last = axes
        for axis, days in zip(histograms, horizons, strict=True):
            _draw_pits(axis, {system: np.asarray(pits[system][days]) for system in pits})
            axis.set_title(ahead(days), fontsize=10, loc="left")
        # One height for all, with room for the legend.
        top = 1.25 * max(axis.dataLim.ymax for axis in histograms)
        for axis in histograms:
            axis.set_ylim(0, top)
        histograms[0].set_ylabel("density of the outcomes")
        _draw_coverage(last, coverage)


def _draw_pits(axis: plt.Axes, shares: Mapping[str, np.ndarray]) -> None:
    """Histograms as densities, so that 1 is ideal whatever the number of bins."""
    handles = []
    for system, look in _looks(shares).items():
        bins = len(shares[system])
        edges, density = np.linspace(0, 1, bins + 1), shares[system] * bins
        if handles:
            look |= {"color": INK, "linewidth": 1.3}
            handles.append(axis.stairs(density, edges, baseline=None, label=system, **look))
        else:
            bars = {"align": "edge", "color": tint(0.55), "edgecolor": "white"}
            handles.append(axis.bar(edges[:-1], density, 1 / bins, label=system, **bars))
    handles.append(axis.axhline(1, color=MARK, linewidth=1.2, linestyle="--", label="ideal"))
    axis.set(xlim=(0, 1), xlabel="probability integral transform")
    axis.legend(handles=handles, frameon=False, fontsize=SMALL, loc="upper left", ncols=3)


def _draw_coverage(
    axis: plt.Axes, coverage: Mapping[str, Mapping[int, Mapping[int, float]]]
) -> None:
    """Actual minus nominal coverage: on a diagonal the systems would hide one another."""
    looks = _looks(coverage)
    axis.axhline(0, color=MARK, linewidth=1.2, linestyle="--")
    for place, (system, look) in enumerate(looks.items()):
        slot = 0.76 * (place + 0.5) / len(looks) - 0.38
        for (days, shares), marker in zip(coverage[system].items(), "os^Dv", strict=False):
            levels = np.array(list(shares))
            excess = 100 * np.array(list(shares.values())) - levels
            label = f"{system}, {ahead(days)}"
            axis.plot(
                np.arange(len(levels)) + slot, excess, marker, color=look["color"], label=label
            )
    axis.legend(frameon=False, fontsize=SMALL, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_xticks(np.arange(len(levels)), [f"{level}%" for level in levels])
    axis.yaxis.set_major_formatter(_signed)
    axis.set(xlabel="interval", ylabel="points (above 0: too wide)")
    axis.set_title("share of outcomes within, minus nominal", fontsize=10, loc="left")


def plot_horizons(
    path: Path, *, title: str, horizons: Sequence[int], relative: Mapping[str, np.ndarray]
) -> None:
    """Draws the CRPS of systems against that of one of them, over the days ahead.

    Args:
        path: PNG file to write.
        title: Line above the picture, which names the system that is compared with.
        horizons: Days ahead, ascending.
        relative: For each system `(horizons,)` finite per cent, negative where it is better than
            the one that is compared with. The first system is drawn thick.
    """
    with picture(path, title, width=7.6, height=4.2, titled=False) as (axis,):
        few = len(horizons) <= 8
        axis.axhline(0, color=INK, linewidth=0.8)
        for system, look in reversed(_looks(relative).items()):
            dots = {"marker": "o" if few else "", "markersize": 4, "clip_on": False}
            axis.plot(horizons, relative[system], label=system, **dots, **look)
        axis.set(xlabel="days ahead", ylabel="difference in CRPS (lower is better)")
        axis.set_xlim(horizons[0] - 0.02 * horizons[-1], horizons[-1])
        axis.set_xticks([day for day in horizons if few or day == horizons[0] or day % 5 == 0])
        axis.yaxis.set_major_formatter(lambda value, _: f"{_signed(value)}%")
        # In the order in which the lines end, from top to bottom.
        ends = sorted(axis.lines[1:], key=lambda line: line.get_ydata()[-1], reverse=True)
        axis.legend(handles=ends, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


@contextlib.contextmanager
def picture(
    path: Path,
    title: str,
    *,
    width: float,
    height: float,
    count: int = 1,
    columns: int = 0,
    titled: bool = True,
) -> Iterator[list[plt.Axes]]:
    """Yields `count` panels of `width` x `height` inches and writes them if the block succeeds."""
    columns = columns or count
    rows = -(-count // columns)
    # Tickers and titles are the user's: a dollar sign is a dollar sign, not mathematics.
    with plt.rc_context({"text.parse_math": False}):
        figure, axes = new_axes(count, title)
        try:
            figure.set_size_inches(columns * width, rows * height)
            grid = figure.add_gridspec(
                rows,
                columns,
                left=0.65 / (columns * width),
                right=1 - 0.1 / (columns * width),
                bottom=0.5 / (rows * height),
                top=0.98 - (0.55 if titled else 0.3) / (rows * height),
                hspace=0.38,
                wspace=0.22,
            )
            for axis, cell in zip(axes, grid, strict=False):
                axis.set_subplotspec(cell)
            yield axes
            save_figure(figure, path)
        finally:
            plt.close(figure)


def _looks(systems: Sequence[str]) -> dict[str, dict]:
    """How to draw the line of each system: the first thick and coloured, the others thin."""
    model, *others = systems
    looks = {model: {"color": VALIDATION, "linestyle": "-", "linewidth": 2.6}}
    for system, (color, linestyle) in zip(others, itertools.cycle(_OTHERS)):
        looks[system] = {"color": color, "linestyle": linestyle, "linewidth": 1.2}
    return looks


def _signed(value: float, _: int = 0) -> str:
    """The label of an axis' tick; 0 has no sign."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def tint(strength: float) -> tuple[float, ...]:
    """The model's colour on white, opaque, so that the legend shows what the picture shows."""
    return tuple(1 - strength * (1 - np.array(colors.to_rgb(VALIDATION))))


def ahead(days: int) -> str:
    """Returns how far a forecast reaches, in words."""
    return f"{days} day{'s' if days != 1 else ''} ahead"
