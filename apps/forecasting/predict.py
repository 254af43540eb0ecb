"""Loads a trained run and forecasts the next days of a ticker, as a distribution.

python -m apps.forecasting.predict --ticker AAPL
python -m apps.forecasting.predict --ticker prices/AAPL.csv --as-of 2018-06-29
"""

import dataclasses
import datetime
import json as json_format
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from apps.forecasting.config import Config, as_date
from apps.forecasting.distributions import (
    Distribution,
    GaussianMixture,
    QuantileGrid,
    StudentT,
)
from apps.forecasting.inputs import load_inputs
from apps.forecasting.metrics import LEVELS
from apps.forecasting.plots import plot_fan
from common.artifact import load_model, read_config
from common.config import config_from_flags, run_command
from common.device import XLA
from common.errors import UserError
from data.errors import DataError
from data.forecasting import Features, days_needed, next_trading_days
from data.prices import PriceHistory, load_prices
from models.forecasting import quantile_levels

PRETRAINED = Path(__file__).parent / "pretrained"
PICTURES = Path("runs/forecasts")
# Windows that go through the model at once.
_BATCH = 256
# Days shown in the fan chart before the forecast.
_PAST = 120
_STALE_DAYS = 7


class Predictor:
    """A trained forecasting model, from a run folder alone."""

    def __init__(self, model, config: Config):
        """Takes the parts; use `Predictor.load`."""
        self.model, self.config = model, config
        self.model.compile(jit_compile=XLA[config.jit_compile])

    @classmethod
    def load(cls, run: str | Path) -> "Predictor":
        """Loads a run folder.

        Raises:
            UserError: If the folder is missing, incomplete or of another task.
        """
        run = Path(run)
        stored = read_config(run, "forecasting")
        config = config_from_flags(Config, stored, run / "config.json")
        return cls(load_model(run), config)

    def distribution(self, features: Features, origins: np.ndarray) -> Distribution:
        """Forecasts from the close of some days on.

        Args:
            features: Of one ticker.
            origins: `<int>(origins,)`, indices of days.

        Returns:
            Distributions of the cumulative log returns, `(origins, horizon)`.

        Raises:
            UserError: If the days before the first origin do not suffice.
        """
        needed = days_needed(self.config.lookback)
        if origins.min() + 1 < needed:
            raise UserError(
                f"{features.ticker}: --lookback {self.config.lookback} needs {needed} days up to"
                f" the forecast, but there are {origins.min() + 1} ({features.dates[0]} to"
                f" {features.dates[origins.min()]}): give a longer history."
            )
        if self.config.stateful:
            parameters = self._whole_history(features, origins)
        else:
            parameters = self._windows(features, origins)
        return as_distribution(parameters, self.config.distribution)

    def _whole_history(self, features: Features, origins: np.ndarray) -> np.ndarray:
        """Reads everything up to the last origin once; `(origins, horizon, parameters)`."""
        days = slice(origins.max() + 1)
        inputs = {
            "features": features.inputs[None, days],
            "log_scale": features.log_scale[None, days],
        }
        return np.asarray(self.model.predict_on_batch(inputs))[0, origins]

    def _windows(self, features: Features, origins: np.ndarray) -> np.ndarray:
        """Reads one window an origin; `(origins, horizon, parameters)`."""
        found = []
        back = np.arange(1 - self.config.lookback, 1)
        for start in range(0, len(origins), _BATCH):
            days = origins[start : start + _BATCH, None] + back
            # Always as many rows, so that only one shape is compiled.
            rows = np.resize(days, (_BATCH if len(origins) > _BATCH else len(days), len(back)))
            inputs = {"features": features.inputs[rows], "log_scale": features.log_scale[rows]}
            found.append(np.asarray(self.model.predict_on_batch(inputs))[: len(days), -1])
        return np.concatenate(found)


def as_distribution(parameters: np.ndarray, kind: str) -> Distribution:
    """Returns the distributions that a model's output describes.

    Args:
        parameters: `(..., parameters)` in per cent of log return.
        kind: `mixture`, `student_t` or `quantiles`.

    Returns:
        Distributions of log returns over the leading shape.
    """
    parameters = parameters.astype(np.float64)
    if kind == "mixture":
        count = parameters.shape[-1] // 2
        scales = parameters[..., count + 1 :] / 100
        location = np.broadcast_to(parameters[..., count : count + 1] / 100, scales.shape)
        return GaussianMixture(parameters[..., :count], location, scales)
    if kind == "student_t":
        location, scale, df = np.moveaxis(parameters, -1, 0)
        return StudentT(location / 100, scale / 100, df)
    return QuantileGrid(quantile_levels(), parameters / 100)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The next days of one ticker, seen from the close of one day."""

    ticker: str
    origin: np.datetime64
    close: float
    dates: np.ndarray
    """`<datetime64[D]>(days,)`: weekdays; holidays are not known."""
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
) -> Forecast:
    """Forecasts the days after the last one of a history.

    Args:
        predictor: The model.
        features: Of the history.
        days: Trading days ahead, at most the model's horizon.
        change: Share of the price, for the probabilities of larger moves.
    """
    last = len(features.dates) - 1
    distribution = predictor.distribution(features, np.array([last])).select([0])
    horizon = predictor.config.horizon

    def below(share: float) -> np.ndarray:
        level = np.full((1, horizon), np.log1p(share))
        return distribution.cdf(level)[0, :days]

    close = float(features.close[last])
    return Forecast(
        ticker=features.ticker,
        origin=features.dates[last],
        close=close,
        dates=next_trading_days(features.dates[last], days),
        prices=close * np.exp(distribution.quantile(LEVELS)[0, :days]),
        rise=1 - below(0.0),
        fall_beyond=below(-change),
        rise_beyond=1 - below(change),
        change=change,
    )


def as_json(found: Forecast) -> str:
    """Returns a forecast as one line of JSON."""
    rows = [
        {
            "date": str(date),
            "quantiles": {
                str(level): round(float(price), 4)
                for level, price in zip(LEVELS, prices, strict=True)
            },
            "probability_of_rise": round(float(rise), 4),
            "probability_of_fall_beyond": round(float(fall), 4),
            "probability_of_rise_beyond": round(float(up), 4),
        }
        for date, prices, rise, fall, up in zip(
            found.dates,
            found.prices,
            found.rise,
            found.fall_beyond,
            found.rise_beyond,
            strict=True,
        )
    ]
    record = {
        "ticker": found.ticker,
        "origin": str(found.origin),
        "close": round(found.close, 4),
        "change": found.change,
        "days": rows,
    }
    return json_format.dumps(record, ensure_ascii=False)


def forecast_table(found: Forecast) -> Table:
    """Returns a forecast as a table, one line a day."""
    title = f"{escape(found.ticker)}: {found.close:,.2f} at the close of {found.origin}"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    beyond = f"{found.change:.0%}" if round(found.change * 100, 6) % 1 == 0 else f"{found.change:%}"
    names = ["date", "median", "50 %", "80 %", "95 %", "rise", f"fall > {beyond}"]
    for name in [*names, f"rise > {beyond}"]:
        table.add_column(name, justify="left" if name == "date" else "right", no_wrap=True)
    for row, date in enumerate(found.dates):
        low95, low80, low50, median, high50, high80, high95 = found.prices[row]
        table.add_row(
            str(date),
            f"{median:,.2f}",
            f"{low50:,.2f}–{high50:,.2f}",
            f"{low80:,.2f}–{high80:,.2f}",
            f"{low95:,.2f}–{high95:,.2f}",
            f"{found.rise[row]:.1%}",
            f"{found.fall_beyond[row]:.1%}",
            f"{found.rise_beyond[row]:.1%}",
        )
    return table


def draw(found: Forecast, history: PriceHistory, path: Path) -> None:
    """Draws the fan chart of a forecast, with what happened where the history knows it."""
    place = int(np.searchsorted(history.dates, found.origin))
    # The whole history is adjusted to its last day, the forecast to its own.
    close = history.close * (found.close / history.close[place])
    after = close[place + 1 : place + 1 + len(found.dates)]
    known = len(after) == len(found.dates)
    past = slice(max(place - _PAST, 0), place + 1)
    plot_fan(
        path,
        title=f"{found.ticker}, seen from the close of {found.origin}",
        past_dates=history.dates[past],
        past_close=close[past],
        dates=history.dates[place + 1 : place + 1 + len(found.dates)] if known else found.dates,
        quantiles=found.prices,
        levels=LEVELS,
        outcome=after if known else None,
    )


def _source(ticker: str, data: str) -> tuple[str, list[str]]:
    """Returns `--data` and the tickers to load: of a file there is one."""
    if ticker.lower().endswith(".csv"):
        return ticker, []
    if not ticker and data.lower().endswith(".csv"):
        return data, []
    if not ticker:
        raise UserError("--ticker is missing: give --ticker AAPL, or a .csv file of prices.")
    return data, [ticker]


def main(
    ticker: str = "",
    run: Path = PRETRAINED,
    data: str = "yahoo",
    data_dir: str = "",
    as_of: str = "",
    days: int = 0,
    change: float = 5.0,
    refresh: bool = False,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Forecasts the next days of a ticker.

    Args:
        ticker: Ticker, or the path of a .csv file of prices.
        run: Run folder of the model.
        data: `yahoo`, or your own folder of .csv files.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        as_of: Forecast from the close of this day, or the last one before it, instead of the last.
        days: Trading days ahead (default: all that the model knows).
        change: Per cent of the price, for the probabilities of larger moves.
        refresh: Download the prices anew, up to yesterday.
        json: Print one line of JSON.
        picture: PNG file of the fan chart (default: runs/forecasts/<ticker>-<day>.png).
    """
    if not 0 < change < 100:
        raise UserError("--change must lie between 0 and 100 per cent.")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UserError(f"--picture {picture} must end in .png.")
    source, tickers = _source(ticker, data)
    until = np.datetime64(as_date(as_of, "as_of")) if as_of else None
    predictor = Predictor.load(run)
    if not 0 <= days <= predictor.config.horizon:
        raise UserError(f"--days must lie between 1 and {predictor.config.horizon}, the horizon.")
    console = Console(stderr=json, soft_wrap=True)
    inputs = load_inputs(
        predictor.config,
        data=source,
        tickers=tickers,
        data_dir=data_dir,
        until=until,
        refresh=refresh,
        log=console.print,
    )
    for line in inputs.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(line)}", highlight=False)
    found = forecast(
        predictor,
        inputs.features[0],
        days=days or predictor.config.horizon,
        change=change / 100,
    )
    age = (datetime.date.today() - found.origin.astype(object)).days
    if age > _STALE_DAYS:
        fresher = "" if as_of else "; --refresh downloads newer prices"
        console.print(
            f"[yellow]note:[/yellow] the last day seen is {found.origin}, {age} days ago{fresher}.",
            highlight=False,
        )
    if json:
        print(as_json(found))
    else:
        console.print(forecast_table(found))
    path = picture or PICTURES / f"{found.ticker}-{found.origin}.png"
    history = inputs.histories[0]
    if as_of:
        history = load_prices(
            str(history.path),
            data_dir=Path(),
            adjust=predictor.config.adjust,
            max_gap_days=predictor.config.max_gap_days,
        )[0]
    draw(found, history, path)
    console.print(f"fan chart: {path}", highlight=False)
    console.print("[dim]A model's probabilities, learnt from the past. No investment advice.[/dim]")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.predict",
        description="Forecasts the distribution of the next days' prices.",
        errors=(DataError,),
    )
