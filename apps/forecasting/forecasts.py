"""One ticker's forecast as JSON, as a table and as a picture."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
from rich.table import Table

from apps.forecasting.metrics import LEVELS
from common.cli import new_table
from data.prices.read import PriceHistory

# Days shown in the fan chart before the forecast.
_PAST = 120


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The next days of one ticker, seen from the close of one day."""

    ticker: str
    origin: np.datetime64
    close: float
    dates: np.ndarray
    """`<datetime64[D]>(days,)`, the trading days of the exchange."""
    prices: np.ndarray
    """`(days, levels)` at `LEVELS`."""
    rise: np.ndarray
    """`(days,)`, probability of a close above that of the origin."""
    fall_beyond: np.ndarray
    """`(days,)`, probability of a fall by more than `change`."""
    rise_beyond: np.ndarray
    """`(days,)`, probability of a rise by more than `change`."""
    change: float
    """A share: 0.05 is 5 per cent."""


def as_json(forecast: Forecast) -> str:
    """Returns a forecast as one line of JSON."""
    rows = [
        {
            "date": str(date),
            "quantiles": {
                str(level): float(f"{price:.8g}")
                for level, price in zip(LEVELS, prices, strict=True)
            },
            "probability_of_rise": round(float(rise), 4),
            "probability_of_fall_beyond": round(float(fall), 4),
            "probability_of_rise_beyond": round(float(up), 4),
        }
        for date, prices, rise, fall, up in zip(
            forecast.dates,
            forecast.prices,
            forecast.rise,
            forecast.fall_beyond,
            forecast.rise_beyond,
            strict=True,
        )
    ]
    record = {
        "ticker": forecast.ticker,
        "origin": str(forecast.origin),
        "close": float(f"{forecast.close:.8g}"),
        "change": forecast.change,
        "days": rows,
    }
    return json.dumps(record, ensure_ascii=False)


def forecast_table(forecast: Forecast) -> Table:
    """Returns a forecast as a table, one line a day."""
    # Four significant digits of the lowest price, at least the cents.
    digits = max(2, 3 - math.floor(math.log10(forecast.prices.min())))

    def price(value: float) -> str:
        return f"{value:,.{digits}f}"

    title = f"{forecast.ticker}: {price(forecast.close)} at the close of {forecast.origin}"
    beyond = f"{forecast.change * 100:g}%"
    names = ["median", "80 %", "95 %", "rise", f"fall>{beyond}", f"rise>{beyond}"]
    table = new_table(title, ["date"], names)
    for row, date in enumerate(forecast.dates):
        low95, low80, _, median, _, high80, high95 = forecast.prices[row]
        table.add_row(
            str(date),
            price(median),
            f"{price(low80)}–{price(high80)}",
            f"{price(low95)}–{price(high95)}",
            f"{forecast.rise[row]:.1%}",
            f"{forecast.fall_beyond[row]:.1%}",
            f"{forecast.rise_beyond[row]:.1%}",
        )
    return table


def draw(forecast: Forecast, history: PriceHistory, path: Path) -> None:
    """Draws the fan chart of a forecast, with what happened where the history knows it."""
    from apps.forecasting.fan_charts import Fan, plot_fan

    place = int(np.searchsorted(history.dates, forecast.origin))
    # The whole history is adjusted to its last day, the forecast to its own.
    close = history.close * (forecast.close / history.close[place])
    after = close[place + 1 : place + 1 + len(forecast.dates)]
    known = len(after) == len(forecast.dates)
    past = slice(max(place - _PAST, 0), place + 1)
    days = history.dates[place + 1 : place + 1 + len(forecast.dates)] if known else forecast.dates
    fan = Fan(
        title=f"{forecast.ticker}, seen from the close of {forecast.origin}",
        past_dates=history.dates[past],
        past_close=close[past],
        dates=days,
        quantiles=forecast.prices,
        outcome=after if known else None,
    )
    plot_fan(path, fan)
