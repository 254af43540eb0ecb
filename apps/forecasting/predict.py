"""Loads a trained run and forecasts the next days of a ticker, as a distribution.

python -m apps.forecasting.predict --ticker AAPL
python -m apps.forecasting.predict --ticker prices/AAPL.csv --as-of 2018-06-29
"""

import contextlib
import datetime
import functools
from pathlib import Path

import numpy as np

from apps.forecasting.config import Config, as_date
from apps.forecasting.distributions import (
    Distribution,
    GaussianMixture,
    QuantileGrid,
    StudentT,
)
from apps.forecasting.forecasts import Forecast, as_json, draw, forecast_table
from apps.forecasting.inputs import load_inputs
from apps.forecasting.metrics import LEVELS
from common.artifact import CONFIG, load_model
from common.config import check_png, config_from_flags, run_command
from common.console import aside, open_console, warn
from common.device import XLA
from common.errors import UserError
from common.run_folder import read_config
from data.prices.features import Features, days_needed, next_trading_days
from data.prices.read import read_prices

PRETRAINED = Path(__file__).parent / "pretrained"
PICTURES = Path("runs/forecasts")
# Windows that go through the model at once.
_BATCH = 256
# Days to whose multiple a whole history is filled up.
_PIECE = 1000
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
        config = config_from_flags(Config, stored, run / CONFIG)
        return cls(load_model(run), config)

    def distribution(self, features: Features, origins: np.ndarray) -> Distribution:
        """Forecasts from the close of some days on.

        Args:
            features: Of one ticker.
            origins: `<int>(origins,)`, indices of days.

        Returns:
            Distributions of the cumulative log returns, `(origins, horizon)`.

        Raises:
            UserError: If there are too few days before the first origin.
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
        count = origins.max() + 1
        # Padding after the last day changes no forecast and keeps the number of shapes small.
        behind = -count % _PIECE
        inputs = {
            "features": np.pad(
                features.inputs[:count], ((0, behind), (0, 0)), constant_values=np.nan
            )[None],
            "log_scale": np.pad(features.log_scale[:count], (0, behind))[None],
        }
        return np.asarray(self.model.predict_on_batch(inputs))[0, origins]

    def _windows(self, features: Features, origins: np.ndarray) -> np.ndarray:
        """Reads one window an origin; `(origins, horizon, parameters)`."""
        outputs = []
        back = np.arange(1 - self.config.lookback, 1)
        for start in range(0, len(origins), _BATCH):
            days = origins[start : start + _BATCH, None] + back
            # The same number of rows each time, so that only one shape is compiled.
            rows = np.resize(days, (_BATCH if len(origins) > _BATCH else len(days), len(back)))
            inputs = {"features": features.inputs[rows], "log_scale": features.log_scale[rows]}
            outputs.append(np.asarray(self.model.predict_on_batch(inputs))[: len(days), -1])
        return np.concatenate(outputs)


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
    # As `models.forecasting.quantile_levels`, at equal steps.
    count = parameters.shape[-1]
    return QuantileGrid(np.arange(1, count + 1) / (count + 1), parameters / 100)


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
    distribution = predictor.distribution(features, np.array([last]))
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


def _source(ticker: str, data: str) -> tuple[str, list[str]]:
    """Returns `--data` and the tickers to load; a file holds a single ticker."""
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
    check_png(picture)
    source, tickers = _source(ticker, data)
    until = np.datetime64(as_date(as_of, "as_of")) if as_of else None
    predictor = Predictor.load(run)
    if not 0 <= days <= predictor.config.horizon:
        raise UserError(f"--days must lie between 1 and {predictor.config.horizon}, the horizon.")
    console = open_console(stderr=json)
    inputs = load_inputs(
        predictor.config,
        data=source,
        tickers=tickers,
        data_dir=data_dir,
        until=until,
        refresh=refresh,
        log=functools.partial(aside, console),
    )
    for line in inputs.warnings:
        warn(console, line)
    prediction = forecast(
        predictor,
        inputs.features[0],
        days=days or predictor.config.horizon,
        change=change / 100,
    )
    age = (datetime.date.today() - prediction.origin.astype(object)).days
    if age > _STALE_DAYS and not as_of:
        warn(
            console,
            f"the prices end on {prediction.origin}, {age} days ago: the forecast is of the days"
            " after that; --refresh downloads newer prices",
        )
    if json:
        print(as_json(prediction))
    else:
        console.print(forecast_table(prediction))
    path = picture or PICTURES / f"{prediction.ticker}-{prediction.origin}.png"
    history = inputs.histories[0]
    if as_of:
        # The outcome is drawn if it can be read; the forecast does not need it.
        with contextlib.suppress(UserError):
            history = read_prices(history.path)
    draw(prediction, history, path)
    console.print(f"fan chart: {path}")
    aside(console, "A model's probabilities, learned from the past. No investment advice.")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.predict",
        description="Forecasts the distribution of the next days' prices.",
    )
