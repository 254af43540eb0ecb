"""Fan charts: past prices, the intervals of a forecast, and the outcome."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from apps.forecasting.metrics import LEVELS
from apps.forecasting.plots import INK, SMALL, picture, tint
from common.plots import MARK, VALIDATION


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


def plot_fan(path: Path, fan: Fan) -> None:
    """Writes one forecast: past prices, the median, the nested intervals and the outcome."""
    with picture(path, fan.title, width=8.6, height=4.0, titled=False) as (axis,):
        _draw_fan(axis, fan)
        axis.set_ylabel("closing price")
        _legend_below([axis], columns=6)


def plot_fans(path: Path, *, title: str, panels: Sequence[Fan]) -> None:
    """Writes several forecasts as small fans, three in a row."""
    columns = min(3, len(panels))
    with picture(path, title, count=len(panels), columns=columns, width=4.1, height=2.9) as axes:
        for axis, fan in zip(axes, panels, strict=True):
            _draw_fan(axis, fan)
            axis.set_title(fan.title, fontsize=10, loc="left")
            axis.tick_params(labelsize=SMALL)
            axis.xaxis.get_offset_text().set_fontsize(SMALL)
        _legend_below(axes, columns=6 if columns == 3 else 3)


def _draw_fan(axis: plt.Axes, fan: Fan) -> None:
    # Nothing is uncertain at the origin: everything starts from its close.
    dates = np.concatenate([fan.past_dates[-1:], fan.dates])
    origin = np.asarray(fan.past_close[-1:], np.float64)
    bounds = np.vstack([np.repeat(origin, len(LEVELS)), fan.quantiles])
    axis.plot(fan.past_dates, fan.past_close, color=INK, linewidth=1.3, label="close")
    middle = len(LEVELS) // 2
    for low in range(middle):
        high = len(LEVELS) - 1 - low
        axis.fill_between(
            dates,
            bounds[:, low],
            bounds[:, high],
            color=tint((low + 1) / (middle + 2)),
            linewidth=0,
            label=f"{LEVELS[high] - LEVELS[low]:.0%} interval",
        )
    axis.plot(dates, bounds[:, middle], color=VALIDATION, linewidth=1.8, label="median")
    if fan.outcome is not None:
        came = np.concatenate([origin, fan.outcome])
        axis.plot(dates, came, "--", color=MARK, linewidth=1.5, label="what happened")
    axis.plot(dates[:1], origin, "o", color=INK, markersize=4)
    axis.margins(x=0.01)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _legend_below(axes: Sequence[plt.Axes], columns: int) -> None:
    """One legend for all panels, where it hides nothing."""
    handles = {}
    for axis in axes:  # Some have no outcome.
        shapes, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, shapes, strict=True))
    figure = axes[0].figure
    figure.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        fontsize=9,
        ncols=columns,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.05 / figure.get_figheight()),
    )
