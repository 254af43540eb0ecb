"""Fits the baselines on each ticker and scores them on the same origins as the model."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from apps.forecasting import baseline_models
from apps.forecasting.distributions import Distribution
from apps.forecasting.metrics import Scored, score
from common.cache import cache_path, cached
from common.errors import UserError

BASELINES: dict[str, Callable[..., Distribution]] = {
    "last_value": baseline_models.last_value,
    "drift": baseline_models.drift,
    "ewma": baseline_models.ewma,
    "garch_t": baseline_models.garch_t,
    "gjr_garch_t": baseline_models.gjr_garch_t,
    "arima": baseline_models.arima,
    "ets": baseline_models.ets,
}
FEWEST_DAYS = 30
_ARRAYS = ("crps", "pit", "probability_of_rise", "quantiles")
_CODE = (
    "apps.forecasting.baselines",
    "apps.forecasting.baseline_models",
    "apps.forecasting.distributions",
    "apps.forecasting.metrics",
)


class History(Protocol):
    """Daily prices of one ticker, oldest first, as `data.prices.read.PriceHistory` holds them."""

    ticker: str
    dates: np.ndarray
    close: np.ndarray


def score_baselines(
    histories: Sequence[History],
    *,
    fit_until: np.datetime64,
    origins: dict[str, np.ndarray],
    horizon: int,
    cache_dir: Path | None,
    seed: int = 0,
    threads: int = 2,
    names: Sequence[str] = tuple(BASELINES),
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[Scored]]:
    """Fits every baseline on each ticker and scores its forecasts.

    Args:
        histories: One item a ticker.
        fit_until: The last day that the baselines are fitted on.
        origins: Of each ticker, `<int>(origins,)`: days of its history, from `fit_until` on, that
            have `horizon` days after them.
        horizon: Days to forecast.
        cache_dir: Root of derived files; what stands there is not computed again.
        seed: Of the simulations.
        threads: Number of tickers at a time.
        names: Which baselines.
        progress: Called with the ticker after each one that had to be computed.

    Returns:
        For each name one item a ticker; its `note` says where another baseline stood in.

    Raises:
        UserError: If a ticker has too few days to be fitted on or a price that never moves, if an
            origin lies before `fit_until` or too near to the end, or if there is none.
    """
    for history in histories:
        _check(history, fit_until, origins[history.ticker], horizon)
    jobs = [
        {
            "ticker": history.ticker,
            "dates": np.asarray(history.dates, "datetime64[D]"),
            "close": np.asarray(history.close, np.float64),
            "fit_until": np.asarray(fit_until, "datetime64[D]"),
            "origins": np.asarray(origins[history.ticker], np.int64),
            "horizon": horizon,
            "seed": seed,
            "names": list(names),
        }
        for history in histories
    ]

    def compute(job: dict) -> dict[str, np.ndarray]:
        arrays = _score_ticker(**job)
        if progress:
            progress(job["ticker"])
        return arrays

    def arrays_of(job: dict) -> dict[str, np.ndarray]:
        if cache_dir is None:
            return compute(job)
        path = cache_path(cache_dir / "forecasting_baselines", job, modules=_CODE, suffix=".npz")
        return cached(path, lambda: compute(job))

    # Optimisers warn of much that does no harm. Filters are global, so they are set only here.
    # With several threads in a product GARCH's parameters differ in their last digits.
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        tickers = [_scored(arrays, names) for arrays in pool.map(arrays_of, jobs)]
    return {name: [ticker[name] for ticker in tickers] for name in names}


def _check(history: History, fit_until: np.datetime64, origins: np.ndarray, horizon: int) -> None:
    last = _last_training_day(history.dates, fit_until)
    if last < FEWEST_DAYS:
        raise UserError(
            f"{history.ticker} has {last + 1} days up to {fit_until}, and the baselines need "
            f"{FEWEST_DAYS + 1} to be fitted: take a longer history or leave the ticker out."
        )
    if not np.diff(history.close[: last + 1]).any():
        raise UserError(
            f"{history.ticker} has the same price on all days up to {fit_until}, which tells "
            "nothing of its risk: leave the ticker out."
        )
    if not len(origins):
        raise UserError(f"{history.ticker} has no day to forecast on: choose a longer --split.")
    if origins.min() < last:
        raise UserError(
            f"{history.ticker}: a forecast on {history.dates[origins.min()]} cannot be compared "
            f"with baselines that are fitted on days up to {fit_until}: choose a later --split."
        )
    if origins.max() + horizon >= len(history.close):
        raise UserError(
            f"{history.ticker}: a forecast on {history.dates[origins.max()]} cannot be scored, as "
            f"the prices end before {horizon} more days: choose an earlier --split."
        )


def _last_training_day(dates: np.ndarray, fit_until: np.datetime64) -> int:
    return int(np.searchsorted(dates, fit_until, side="right")) - 1


def _score_ticker(
    *,
    ticker: str,
    dates: np.ndarray,
    close: np.ndarray,
    fit_until: np.ndarray,
    origins: np.ndarray,
    horizon: int,
    seed: int,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Fits and scores the baselines on one ticker; returns what `_scored` reads."""
    last = _last_training_day(dates, fit_until)
    log_price = np.log(close)
    ahead = origins[:, None] + np.arange(1, horizon + 1)
    known = {
        "ticker": ticker,
        "dates": dates[origins],
        "close": close[origins],
        "outcome": log_price[ahead] - log_price[origins, None],
        "naive_error": np.abs(np.diff(close[: last + 1])).mean(),
    }
    arrays = dict(known)
    for name in names:
        settings = {
            "fit_until": last,
            "origins": origins,
            "horizon": horizon,
            # Tickers draw different errors, so that the means over them are steadier.
            "seed": [seed, *ticker.encode()],
        }
        returns, note = np.diff(log_price, prepend=log_price[0]), ""
        try:
            distribution = BASELINES[name](returns, **settings)
        except baseline_models.NotFitted as error:
            distribution = baseline_models.ewma(returns, **settings)
            note = f"ewma in its place: {error}"
        scored = score(distribution, **known)
        arrays[f"{name} note"] = note
        for field in _ARRAYS:
            arrays[f"{name} {field}"] = getattr(scored, field).astype(np.float32)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _scored(arrays: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, Scored]:
    known = {
        "ticker": str(arrays["ticker"]),
        "dates": arrays["dates"],
        "close": arrays["close"],
        "outcome": arrays["outcome"],
        "naive_error": float(arrays["naive_error"]),
    }
    return {
        name: Scored(
            **known,
            **{field: arrays[f"{name} {field}"] for field in _ARRAYS},
            note=str(arrays[f"{name} note"]),
        )
        for name in names
    }
