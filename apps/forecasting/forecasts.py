"""One ticker's forecast, as JSON, as a table and as a picture."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import numpy as np
from rich.table import Table

from apps.forecasting.metrics import LEVELS
from apps.forecasting.predictor import Predictor
from common.cli import new_table
from common.errors import UserError
from data.prices.features import Features
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


def forecast(
    predictor: Predictor,
    features: Features,
    *,
    days: int,
    change: float,
    exchange: str = "XNYS",
) -> Forecast:
    """Forecasts the days after the last one of a history.

    Args:
        predictor: The model.
        features: Of the history.
        days: Trading days ahead, at most the model's horizon.
        change: Share of the price, for the probabilities of larger moves.
        exchange: Whose trading days are forecast, as in `next_trading_days`.
    """
    last = len(features.dates) - 1
    distribution = predictor.distribution(features, np.array([last]))
    fall, stay, rise = (distribution.cdf(np.log1p(c))[0, :days] for c in (-change, 0.0, change))
    close = float(features.close[last])
    return Forecast(
        ticker=features.ticker,
        origin=features.dates[last],
        close=close,
        dates=next_trading_days(features.dates[last], days, exchange),
        prices=close * np.exp(distribution.quantile(LEVELS)[0, :days]),
        rise=1 - stay,
        fall_beyond=fall,
        rise_beyond=1 - rise,
        change=change,
    )


def next_trading_days(date: np.datetime64, count: int, exchange: str) -> np.ndarray:
    """Returns the next `count` trading days after a date, `<datetime64[D]>(count,)`.

    Args:
        date: The day of the forecast.
        count: How many days, at least 1.
        exchange: Code of a market (ISO 10383), such as XNYS, or 24/7.

    Raises:
        UserError: If the exchange is unknown or its holidays are not known that far.
    """
    import exchange_calendars  # Slow to import, and only predictions need it.

    # No exchange closes for longer than two weeks.
    last = date + np.timedelta64(2 * count + 14, "D")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Deprecations between this library and pandas.
        try:
            calendar = exchange_calendars.get_calendar(exchange, start=str(date), end=str(last))
        except (exchange_calendars.errors.InvalidCalendarName, ValueError) as error:
            raise UserError(
                f"--exchange {exchange} must be the code of a market with a calendar from {date} to"
                f" {last}, such as XNYS (New York), XLON (London) or XTKS (Tokyo), or 24/7"
                f" ({error})."
            ) from None
        days = calendar.sessions.to_numpy().astype("datetime64[D]")
    return days[days > date][:count]


def as_json(forecast: Forecast) -> str:
    """Returns a forecast as one line of JSON."""
    days = [
        {
            "date": str(date),
            "quantiles": {
                str(level): float(f"{price:.8g}")
                for level, price in zip(LEVELS, forecast.prices[row], strict=True)
            },
            "probability_of_rise": round(float(forecast.rise[row]), 4),
            "probability_of_fall_beyond": round(float(forecast.fall_beyond[row]), 4),
            "probability_of_rise_beyond": round(float(forecast.rise_beyond[row]), 4),
        }
        for row, date in enumerate(forecast.dates)
    ]
    record = {
        "ticker": forecast.ticker,
        "origin": str(forecast.origin),
        "close": float(f"{forecast.close:.8g}"),
        "change": forecast.change,
        "days": days,
    }
    return json.dumps(record, ensure_ascii=False)


def forecast_table(forecast: Forecast) -> Table:
    """Returns a forecast as a table, one line a day."""
    # Four significant digits of the lowest price, at least the cents.
    digits = max(2, 3 - math.floor(math.log10(forecast.prices.min())))
    title = f"{forecast.ticker}: {forecast.close:,.{digits}f} at the close of {forecast.origin}"
    beyond = f"{forecast.change * 100:g}%"
    names = ["median", "80 %", "95 %", "rise", f"fall>{beyond}", f"rise>{beyond}"]
    table = new_table(title, ["date"], names)
    for row, date in enumerate(forecast.dates):
        prices = [f"{price:,.{digits}f}" for price in forecast.prices[row]]
        low95, low80, _, median, _, high80, high95 = prices
        table.add_row(
            str(date),
            median,
            f"{low80}–{high80}",
            f"{low95}–{high95}",
            f"{forecast.rise[row]:.1%}",
            f"{forecast.fall_beyond[row]:.1%}",
            f"{forecast.rise_beyond[row]:.1%}",
        )
    return table


def draw(forecast: Forecast, history: PriceHistory, path: Path) -> None:
    """Draws the fan chart of a forecast, with the outcome where the history knows it."""
    from apps.forecasting.plots import Fan, plot_fan

    place = int(np.searchsorted(history.dates, forecast.origin))
    # The whole history is adjusted to its last day, the forecast to its own.
    close = history.close * (forecast.close / history.close[place])
    past = slice(max(place - _PAST, 0), place + 1)
    after = slice(place + 1, place + 1 + len(forecast.dates))
    known = len(close[after]) == len(forecast.dates)
    fan = Fan(
        title=f"{forecast.ticker}, seen from the close of {forecast.origin}",
        past_dates=history.dates[past],
        past_close=close[past],
        dates=history.dates[after] if known else forecast.dates,
        quantiles=forecast.prices,
        outcome=close[after] if known else None,
    )
    plot_fan(path, fan)
