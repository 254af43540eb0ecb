"""From prices to features: what can be known at the close of each day, and nothing later."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from common.errors import UserError
from data.prices.read import PriceHistory

GROUPS = ("returns", "range", "volume", "market", "calendar", "echo")

# Days until averages over past days mean something.
SETTLING_DAYS = 60
# Trading days after which a past day counts half, of the averages of variance.
_HALF_LIVES = (2, 5, 20, 60, 250, 1000)
# A company reports on about the same weekday of the same week each quarter and each year.
_ECHO_WEEKS = (13, 26, 39, 52, 104)
_ECHO_WIDTHS = (0, 1, 4)
# Below any day's variance that can be observed: (0.1 %) squared.
_LEAST_VARIANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """What a model sees of one ticker, day by day.

    Attributes:
        ticker: Whose days they are.
        dates: `<datetime64[D]>(time,)`, rising.
        log_close: `(time,)`, the logarithm of the adjusted close.
        close: `(time,)`, the adjusted close.
        inputs: `<float32>(time, features)` without unit; NaN is unknown.
        log_scale: `<float32>(time,)`, the logarithm of a plain estimate of the standard deviation
            of a day's return, by which returns are divided.
    """

    ticker: str
    dates: np.ndarray
    log_close: np.ndarray
    close: np.ndarray
    inputs: np.ndarray
    log_scale: np.ndarray

    def outcomes(self, horizon: int) -> np.ndarray:
        """Returns `(time, horizon)` log returns over the next 1, 2, ... days; NaN if unknown."""
        outcomes = np.full((len(self.dates), horizon), np.nan)
        for days in range(1, min(horizon, len(self.dates) - 1) + 1):
            outcomes[:-days, days - 1] = self.log_close[days:] - self.log_close[:-days]
        return outcomes

    def origins(
        self, start: np.datetime64, end: np.datetime64, *, horizon: int, lookback: int
    ) -> np.ndarray:
        """Returns the days whose forecast can be made and judged: `<int>(origins,)`, rising.

        Args:
            start: First date of an origin.
            end: Last date of an outcome, so that spans that follow each other share none.
            horizon: Days ahead.
            lookback: Days a model reads.
        """
        first = max(np.searchsorted(self.dates, start), days_needed(lookback) - 1)
        last = np.searchsorted(self.dates, end, side="right") - 1 - horizon
        return np.arange(first, last + 1)


def days_needed(lookback: int) -> int:
    """Returns how many days a forecast needs: those it reads, after those that only settle."""
    return SETTLING_DAYS + lookback


def build_features(
    histories: Sequence[PriceHistory],
    *,
    groups: Sequence[str] = GROUPS,
    market: PriceHistory | None = None,
) -> list[Features]:
    """Turns price histories into stationary features, each from its own past and the market's.

    Args:
        histories: One a ticker.
        groups: Which of `GROUPS` to take; columns are in that order.
        market: The index whose days all tickers see; without it they are unknown.

    Raises:
        UserError: If a history is too short for any feature.
    """
    days = _market_days(market or histories[0])
    if market is None:
        days[:] = np.nan
    return [_features_of(history, groups, days) for history in histories]


def _features_of(history: PriceHistory, groups: Sequence[str], market: pd.DataFrame) -> Features:
    if len(history.dates) < SETTLING_DAYS:
        raise UserError(
            f"{history.path} has {len(history.dates)} days ({history.dates[0]} to"
            f" {history.dates[-1]}), but a feature needs {SETTLING_DAYS}: give it a longer history."
        )
    variance = _day_variance(history)
    log_scale = _log_scale(variance)
    columns = {
        "returns": _return_features(history, log_scale),
        "range": _range_features(history, variance, log_scale),
        "volume": _volume_features(history),
        "market": market.reindex(history.dates),
        "calendar": _calendar_features(history.dates),
        "echo": _echo_features(history, log_scale),
    }
    chosen = [
        columns[group][name] for group in GROUPS if group in groups for name in columns[group]
    ]
    return Features(
        ticker=history.ticker,
        dates=history.dates,
        close=history.close,
        log_close=np.log(history.close),
        inputs=np.stack(chosen, axis=-1).astype(np.float32),
        log_scale=log_scale.astype(np.float32),
    )


def _average(values: np.ndarray, half_life: float) -> np.ndarray:
    """Returns the exponentially weighted mean of the past, today included."""
    return pd.Series(values).ewm(halflife=half_life).mean().to_numpy()


def _previous_close(history: PriceHistory) -> np.ndarray:
    return np.concatenate([history.open[:1], history.close[:-1]])


def _day_variance(history: PriceHistory) -> np.ndarray:
    """Returns each day's variance, estimated from its four prices.

    That is the overnight return squared, and the mean of two estimates from the range: Rogers and
    Satchell's (1991), free of the day's drift, and Parkinson's (1980).
    """
    open_, high, low, close = (
        np.log(prices) for prices in (history.open, history.high, history.low, history.close)
    )
    overnight = open_ - np.log(_previous_close(history))
    rogers_satchell = (high - close) * (high - open_) + (low - close) * (low - open_)
    parkinson = (high - low) ** 2 / (4 * np.log(2))
    return overnight**2 + (rogers_satchell + parkinson) / 2 + _LEAST_VARIANCE


def _log_scale(variance: np.ndarray) -> np.ndarray:
    return 0.5 * np.log((_average(variance, 10) + _average(variance, 60)) / 2)


def _return_features(history: PriceHistory, log_scale: np.ndarray) -> dict[str, np.ndarray]:
    scale = np.exp(log_scale)
    previous = _previous_close(history)
    change = np.log(history.close / previous)
    downside = _average(np.minimum(change, 0) ** 2 + _LEAST_VARIANCE / 10, 20)
    squared = _average(change**2 + _LEAST_VARIANCE, 60)
    return {
        "return": change / scale,
        "absolute_return": np.abs(change) / scale,
        "overnight": np.log(history.open / previous) / scale,
        "intraday": np.log(history.close / history.open) / scale,
        "downside": 0.5 * np.log(downside) - log_scale,
        "squared": 0.5 * np.log(squared) - log_scale,
    }


def _range_features(
    history: PriceHistory, variance: np.ndarray, log_scale: np.ndarray
) -> dict[str, np.ndarray]:
    span = np.log(history.high / history.low) ** 2 / (4 * np.log(2)) + _LEAST_VARIANCE
    columns = {
        "day": 0.5 * np.log(variance) - log_scale,
        "range": 0.5 * np.log(span) - log_scale,
        "level": log_scale,
    }
    for half_life in _HALF_LIVES:
        average = 0.5 * np.log(_average(variance, half_life))
        columns[f"variance_{half_life}"] = average - log_scale
    return columns


def _log_volume(history: PriceHistory) -> np.ndarray:
    """Returns the logarithm of the volume, NaN on days without."""
    return np.log(np.where(history.volume > 0, history.volume, np.nan))


def _volume_features(history: PriceHistory) -> dict[str, np.ndarray]:
    volume = _log_volume(history)
    return {
        "volume": volume - _average(volume, 20),
        "volume_trend": _average(volume, 5) - _average(volume, 60),
    }


def _market_days(market: PriceHistory) -> pd.DataFrame:
    """Returns the features of an index by date."""
    variance = _day_variance(market)
    log_scale = _log_scale(variance)
    returns = _return_features(market, log_scale)
    columns = _range_features(market, variance, log_scale)
    columns |= {name: returns[name] for name in ("return", "overnight")}
    del columns["range"]
    return pd.DataFrame(columns, index=market.dates)


def _calendar_features(dates: np.ndarray) -> dict[str, np.ndarray]:
    ahead = np.busday_offset(dates, 1, roll="backward")
    # 1970-01-01 was a Thursday.
    weekday = (ahead.astype(int) + 3) % 7
    columns = {f"weekday_{day}": (weekday == day).astype(float) for day in range(5)}
    year = ahead.astype("datetime64[Y]")
    turn = 2 * np.pi * (ahead - year.astype("datetime64[D]")).astype(int) / 365.25
    for cycles in (1, 2, 4):
        columns[f"season_sin_{cycles}"] = np.sin(cycles * turn)
        columns[f"season_cos_{cycles}"] = np.cos(cycles * turn)
    return columns


def _echo_features(history: PriceHistory, log_scale: np.ndarray) -> dict[str, np.ndarray]:
    """Returns how unusual the days were that lay some quarters or years before the coming ones."""
    previous = _previous_close(history)
    moves = np.abs(np.log(history.open / previous)) + np.abs(np.log(history.close / previous))
    volume = _log_volume(history)
    unusual_volume = np.nan_to_num(np.maximum(volume - _average(volume, 20), 0))
    shock = np.minimum(np.log1p(moves / np.exp(log_scale)) + unusual_volume, 5)

    days = len(shock)
    ahead = np.busday_offset(history.dates, 1, roll="backward")
    columns = {}
    for weeks in _ECHO_WEEKS:
        past = ahead - 7 * weeks
        place = np.searchsorted(history.dates, past)
        for width in _ECHO_WIDTHS:
            around = pd.Series(shock).rolling(2 * width + 1, min_periods=1, center=True).max()
            # Days before the first are unknown, and a gap must not lead to days to come.
            known = (past >= history.dates[0]) & (place + width <= np.arange(days))
            echo = around.to_numpy()[np.minimum(place, days - 1)]
            columns[f"echo_{weeks}_{width}"] = np.where(known, echo, np.nan)
    quarters = [columns[f"echo_{weeks}_1"] for weeks in (13, 26, 39, 52)]
    columns["echo_mean"] = np.mean(quarters, axis=0)
    columns["echo_years"] = np.maximum(columns["echo_52_1"], columns["echo_104_1"])
    month = pd.Series(shock).rolling(20).max()
    # The largest shock of the coming 20 days, a quarter and a year ago.
    columns["echo_quarter_month"] = month.shift(43).to_numpy()
    columns["echo_year_month"] = month.shift(232).to_numpy()
    since = pd.Series(np.arange(days)).where(pd.Series(shock) > 3).ffill()
    columns["days_since_shock"] = np.minimum((np.arange(days) - since.to_numpy()) / 100, 1)
    return columns


def feature_statistics(
    features: Sequence[Features], until: np.datetime64
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of every feature up to a date, `<float32>(features,)` each.

    A feature that is always unknown or never moves has variance 1.
    """
    rows = [
        ticker.inputs[SETTLING_DAYS:][ticker.dates[SETTLING_DAYS:] <= until] for ticker in features
    ]
    rows = np.concatenate(rows).astype(np.float64)
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0).sum(axis=0) / count
    variance = np.where(known, (rows - mean) ** 2, 0).sum(axis=0) / count
    return mean.astype(np.float32), np.where(variance > 1e-12, variance, 1).astype(np.float32)
