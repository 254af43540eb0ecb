"""Loads a trained run and forecasts the next days of a ticker, as a distribution.

python -m apps.forecasting.predict --ticker AAPL
python -m apps.forecasting.predict --ticker prices/AAPL.csv --as-of 2018-06-29
"""

import contextlib
import datetime
import functools
from pathlib import Path

import numpy as np

from apps.export.runtime import RuntimeFlags
from apps.forecasting.config import as_date
from apps.forecasting.forecasts import as_json, draw, forecast, forecast_table
from apps.forecasting.inputs import load_inputs
from apps.forecasting.predictor import PRETRAINED, Predictor
from common.cli import aside, check_png, open_console, run_command, warn
from common.errors import UserError
from data.prices.read import read_prices

PICTURES = Path("runs/forecasts")
_STALE_DAYS = 7


def main(
    flags: RuntimeFlags,
    ticker: str,
    run: Path = PRETRAINED,
    data: str = "yahoo",
    data_dir: str = "",
    as_of: str = "",
    change: float = 5.0,
    exchange: str = "XNYS",
    refresh: bool = False,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Forecasts the next days of a ticker.

    Args:
        flags: What computes.
        ticker: Ticker, or the path of a .csv file of prices.
        run: Run folder of the model.
        data: `yahoo`, or your own folder of .csv files.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        as_of: Forecast from the close of this day, or the last one before it, instead of the last.
        change: Per cent of the price, for the probabilities of larger moves.
        exchange: Code of the market whose trading days are forecast, as XNYS, XLON or 24/7.
        refresh: Download the prices again, up to yesterday.
        json: Print one line of JSON.
        picture: PNG file of the fan chart (default: runs/forecasts/<ticker>-<day>.png, or none
            with --json).
    """
    if not 0 < change < 100:
        raise UserError("--change must lie between 0 and 100 per cent.")
    check_png(picture)
    is_file = ticker.lower().endswith(".csv")
    until = np.datetime64(as_date(as_of, "as_of")) if as_of else None
    predictor = Predictor.load(run, runtime=flags.runtime, threads=flags.threads)
    console = open_console(stderr=json)
    inputs = load_inputs(
        predictor.config,
        data=ticker if is_file else data,
        tickers=[] if is_file else [ticker],
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
        days=predictor.config.horizon,
        change=change / 100,
        exchange=exchange,
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
    if picture or not json:
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
