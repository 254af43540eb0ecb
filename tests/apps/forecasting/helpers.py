"""Price files to change, and the flags of a training that takes seconds."""

from pathlib import Path

import numpy as np
import pandas as pd

from apps.forecasting import evaluate, train
from apps.forecasting.metrics import LEVELS
from common.cli import parse_call
from common.settings import flag
from tests.helpers import call

PRICES = ["Open", "High", "Low", "Close", "Adj Close"]
TRAIN_END, VALIDATION_END = "2014-12-31", "2015-05-01"
LOOKBACK, HORIZON = 16, 5
# With this stride every batch is full: JAX compiles each new shape for seconds.
TINY = (
    f"--market ^SIM --train-end {TRAIN_END} --validation-end {VALIDATION_END}"
    f" --lookback {LOOKBACK} --horizon {HORIZON} --stride 8 --warmup-days 4 --units 8"
    " --batch-size 11 --warmup-steps 2 --epochs 2"
).split()


def tiny(*arguments):
    """The flags given, after those of TINY that they leave a meaning."""
    words = list(map(str, arguments))
    config = parse_call(train.main, prog="", description="", arguments=words).keywords["config"]
    ignored = {flag(name) for name in config.ignored()}
    pairs = zip(TINY[::2], TINY[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in ignored for word in pair] + words


def run_train(*arguments):
    call(train.main, *tiny(*arguments))


def evaluated(run, *, data="", tickers=(), data_dir="", split="test", baselines=False):
    return evaluate.evaluate_run(
        Path(run),
        data=str(data),
        tickers=tickers,
        data_dir=str(data_dir),
        split=split,
        baselines=baselines,
    )


def table_of(folder, ticker):
    return pd.read_csv(folder / f"{ticker}.csv")


def prices_like(prices_dir, folder, *, tickers=("SIMA", "SIMB", "^SIM"), **changes):
    """Writes price files into a folder, some of them changed by a function of the table."""
    folder.mkdir(parents=True)
    for ticker in tickers:
        table = table_of(prices_dir / "prices", ticker)
        change = changes.get(ticker.removeprefix("^"), lambda table: table)
        # As the sample is written, so that a line that is not changed stays the same.
        change(table).to_csv(folder / f"{ticker}.csv", index=False, float_format="%.6f")
    return folder


def until(day):
    return lambda table: table[table.Date <= day]


def other_after(day):
    """Another course of the prices after a day."""

    def change(table):
        table, later = table.copy(), table.Date > day
        steps = np.random.default_rng(0).normal(0, 0.03, later.sum())
        table.loc[later, PRICES] = table.loc[later, PRICES].mul(np.exp(steps.cumsum()), axis=0)
        return table

    return change


def check_forecast(record, *, days):
    """Makes sure that quantiles and probabilities are those of one distribution a day."""
    close, change = record["close"], record["change"]
    dates = [
        np.datetime64(date) for date in (record["origin"], *(d["date"] for d in record["days"]))
    ]
    assert len(dates) == days + 1 and (np.diff(dates) > np.timedelta64(0, "D")).all()
    for day in record["days"]:
        quantiles = np.array([day["quantiles"][str(level)] for level in LEVELS])
        assert (np.diff(quantiles) > 0).all()
        bounds = {
            close: 1 - day["probability_of_rise"],
            close * (1 - change): day["probability_of_fall_beyond"],
            close * (1 + change): 1 - day["probability_of_rise_beyond"],
        }
        for price, below in bounds.items():
            for level, quantile in zip(LEVELS, quantiles, strict=True):
                # What is printed is rounded.
                if abs(level - below) > 1e-3:
                    assert (quantile > price) == (level > below)
