"""Pictures: fan charts of forecasts, calibration, and the CRPS by days ahead."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colors, rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from apps.forecasting.metrics import INTERVALS, LEVELS, Scored, pit_histogram
from common.plots import MARK, VALIDATION, new_axes, save_figure

_INK = "#3b4048"
# Of the lines of systems; the first one's is thick.
_LOOKS = (
    (VALIDATION, "-"),
    ("#8a8f98", "-"),
    ("#b07d2b", "--"),
    ("#4f8a5b", "-."),
    ("#7d5ba6", ":"),
    (_INK, "-"),
)
_SMALL = 8
# Fans of an evaluation, and the days that each shows before its forecast.
_PANELS, _PAST = 6, 60


@contextlib.contextmanager
def _picture(
    path: Path, title: str, *, size: tuple[float, float], count: int = 1, titled: bool = False
) -> Iterator[list[Axes]]:
    """Yields panels of a size in inches, three in a row, and writes them if the block succeeds."""
    columns, rows = min(count, 3), -(-count // 3)
    width, height = size[0] * columns, size[1] * rows
    # Tickers and titles are the user's: a dollar sign is a dollar sign, not mathematics.
    with rc_context({"text.parse_math": False}):
        figure, axes = new_axes(count, title)
        figure.set_size_inches(width, height)
        grid = figure.add_gridspec(
            rows,
            columns,
            left=0.65 / width,
            right=1 - 0.1 / width,
            bottom=0.5 / height,
            # The panels' own titles take room.
            top=0.98 - (0.55 if titled else 0.3) / height,
            hspace=0.38,
            wspace=0.22,
        )
        for axis, cell in zip(axes, grid, strict=False):
            axis.set_subplotspec(cell)
        yield axes
        save_figure(figure, path)


def ahead(days: int) -> str:
    """Returns how far a forecast reaches, in words."""
    return f"{days} day{'s' if days != 1 else ''} ahead"


def _tint(strength: float) -> tuple[float, ...]:
    """Returns the model's colour on white, opaque, so that the legend shows the same."""
    return tuple(1 - strength * (1 - np.array(colors.to_rgb(VALIDATION))))


# ---- Fans ----


@dataclasses.dataclass(frozen=True, eq=False)
class Fan:
    """One forecast of a ticker's prices, and the outcome.

    Attributes:
        title: Line above the fan.
        past_dates: `<datetime64[D]>(past,)`; the last is the day at whose close it was made.
        past_close: `(past,)`, prices.
        dates: `<datetime64[D]>(horizon,)`, the trading days after it.
        quantiles: `(horizon, levels)`, prices at `LEVELS`.
        outcome: `(horizon,)`, the prices that followed, or None if they are not known.
    """

    title: str
    past_dates: np.ndarray
    past_close: np.ndarray
    dates: np.ndarray
    quantiles: np.ndarray
    outcome: np.ndarray | None = None


def example_fans(scored: list[Scored]) -> list[Fan]:
    """Returns fans at evenly spaced tickers and days, so that none is picked by its look."""
    places = np.unique(np.linspace(0, len(scored) - 1, _PANELS).round().astype(int))
    fans = []
    for share, place in zip(np.linspace(0, 1, len(places)), places, strict=True):
        ticker = scored[place]
        horizon = ticker.outcome.shape[1]
        first = min(_PAST, len(ticker.dates) // 3)
        last = max(len(ticker.dates) - 1 - horizon, first)
        origin = int(first + share * (last - first))
        after = ticker.dates[origin + 1 : origin + 1 + horizon]
        if len(after) == horizon:
            close = ticker.close[origin]
            past = slice(max(origin + 1 - _PAST, 0), origin + 1)
            fans.append(
                Fan(
                    title=f"{ticker.ticker}, {ticker.dates[origin]}",
                    past_dates=ticker.dates[past],
                    past_close=ticker.close[past],
                    dates=after,
                    quantiles=close * np.exp(ticker.quantiles[origin]),
                    outcome=close * np.exp(ticker.outcome[origin]),
                )
            )
    return fans


def plot_fan(path: Path, fan: Fan) -> None:
    """Writes one forecast: past prices, the median, the nested intervals and the outcome."""
    with _picture(path, fan.title, size=(8.6, 4.0)) as (axis,):
        _draw_fan(axis, fan)
        axis.set_ylabel("closing price")
        _legend_below([axis])


def plot_fans(path: Path, fans: Sequence[Fan], *, title: str) -> None:
    """Writes several forecasts as small fans, three in a row."""
    with _picture(path, title, size=(4.1, 2.9), count=len(fans), titled=True) as axes:
        for axis, fan in zip(axes, fans, strict=True):
            _draw_fan(axis, fan)
            axis.set_title(fan.title, fontsize=10, loc="left")
            axis.tick_params(labelsize=_SMALL)
            axis.xaxis.get_offset_text().set_fontsize(_SMALL)
        _legend_below(axes)


def _draw_fan(axis: Axes, fan: Fan) -> None:
    # Nothing is uncertain at the origin: everything starts from its close.
    dates = np.concatenate([fan.past_dates[-1:], fan.dates])
    origin = np.asarray(fan.past_close[-1:], np.float64)
    bounds = np.vstack([np.repeat(origin, len(LEVELS)), fan.quantiles])
    axis.plot(fan.past_dates, fan.past_close, color=_INK, linewidth=1.3, label="close")
    middle = len(LEVELS) // 2
    for strength, (percent, (low, high)) in enumerate(sorted(INTERVALS.items(), reverse=True), 1):
        axis.fill_between(
            dates,
            bounds[:, low],
            bounds[:, high],
            color=_tint(strength / (middle + 2)),
            linewidth=0,
            label=f"{percent}% interval",
        )
    axis.plot(dates, bounds[:, middle], color=VALIDATION, linewidth=1.8, label="median")
    if fan.outcome is not None:
        prices = np.concatenate([origin, fan.outcome])
        axis.plot(dates, prices, "--", color=MARK, linewidth=1.5, label="what happened")
    axis.plot(dates[:1], origin, "o", color=_INK, markersize=4)
    axis.margins(x=0.01)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _legend_below(axes: Sequence[Axes]) -> None:
    """Draws one legend for all panels, which have the same lines, where it hides nothing."""
    figure = axes[0].figure
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        frameon=False,
        fontsize=9,
        ncols=6 if figure.get_figwidth() > 8 else 3,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.05 / figure.get_figheight()),
    )


# ---- Calibration ----


def plot_calibration(
    path: Path,
    systems: Mapping[str, list[Scored]],
    metrics: Mapping[str, Mapping[str, float]],
    *,
    horizons: Sequence[int],
    title: str,
) -> None:
    """Draws where the outcomes fell in the forecasts, and how many fell within the intervals.

    Args:
        path: PNG file to write.
        systems: Forecasts; those of the first system are drawn as bars, the others as steps.
        metrics: Of each system, from `forecasting_metrics`.
        horizons: Days ahead.
        title: Line above the picture.
    """
    with _picture(path, title, size=(4.3, 3.7), count=len(horizons) + 1, titled=True) as axes:
        *histograms, last = axes
        for axis, days in zip(histograms, horizons, strict=True):
            for number, (name, scored) in enumerate(systems.items()):
                shares = pit_histogram(scored, days)
                # As densities, so that 1 is ideal whatever the number of bins.
                edges, density = np.linspace(0, 1, len(shares) + 1), shares * len(shares)
                if number:
                    axis.stairs(density, edges, baseline=None, label=name, color=_INK, lw=1.3)
                else:
                    look = {"color": _tint(0.55), "edgecolor": "white", "align": "edge"}
                    axis.bar(edges[:-1], density, edges[1], label=name, **look)
            axis.axhline(1, color=MARK, linewidth=1.2, linestyle="--", label="ideal")
            axis.set(xlim=(0, 1), xlabel="probability integral transform")
            axis.set_title(ahead(days), fontsize=10, loc="left")
            axis.legend(frameon=False, fontsize=_SMALL, loc="upper left", ncols=3)
        # One height for all, with room for the legend.
        top = 1.25 * max(axis.dataLim.ymax for axis in histograms)
        for axis in histograms:
            axis.set_ylim(0, top)
        histograms[0].set_ylabel("density of the outcomes")
        # The difference, because on a diagonal the systems would hide one another.
        last.axhline(0, color=MARK, linewidth=1.2, linestyle="--")
        places = np.arange(len(INTERVALS))
        for number, (name, values) in enumerate(metrics.items()):
            slots = places + 0.76 * (number + 0.5) / len(metrics) - 0.38
            for days, marker in zip(horizons, "os", strict=False):
                excess = [100 * values[f"coverage_{p}_{days}"] - p for p in INTERVALS]
                look = {"color": _LOOKS[number][0], "label": f"{name}, {ahead(days)}"}
                last.plot(slots, excess, marker, **look)
        last.legend(frameon=False, fontsize=_SMALL, loc="center left", bbox_to_anchor=(1, 0.5))
        last.set_xticks(places, [f"{percent}%" for percent in INTERVALS])
        last.yaxis.set_major_formatter("{x:+g}")
        last.set(xlabel="interval", ylabel="points (above 0: too wide)")
        last.set_title("share of outcomes within, minus nominal", fontsize=10, loc="left")


# ---- Horizons ----


def plot_horizons(
    path: Path, systems: Mapping[str, list[Scored]], *, reference: str, title: str
) -> None:
    """Draws the CRPS of systems against that of one of them, over the days ahead.

    Args:
        path: PNG file to write.
        systems: Forecasts; the line of the first system is thick.
        reference: The system that the others are compared with.
        title: Line above the picture.
    """
    losses = {
        name: np.concatenate([ticker.crps for ticker in scored]).mean(axis=0, dtype=float)
        for name, scored in systems.items()
    }
    base = losses.pop(reference)
    days = np.arange(1, len(base) + 1)
    with _picture(path, title, size=(7.6, 4.2)) as (axis,):
        looks = zip(losses.items(), _LOOKS, strict=False)
        for number, ((name, loss), (color, style)) in enumerate(looks):
            # The first one is thick and in front.
            look = {"color": color, "lw": 1.2 if number else 2.6, "zorder": 3 - bool(number)}
            axis.plot(days, 100 * (loss / base - 1), style, label=name, **look)
        axis.axhline(0, color=_INK, linewidth=0.8)
        axis.set(xlabel="days ahead", ylabel="difference in CRPS (lower is better)")
        axis.set_xlim(1 - 0.02 * days[-1], days[-1])
        axis.set_xticks([day for day in days if day == 1 or day % 5 == 0])
        axis.yaxis.set_major_formatter("{x:+g}%")
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
