"""The scores of price forecasts: CRPS, price errors, coverage, direction, Diebold-Mariano."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy import special

from apps.forecasting.distributions import Distribution

# The bounds of the intervals below, and the median.
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
INTERVALS = {50: (2, 4), 80: (1, 5), 95: (0, 6)}  # per cent: the positions of the bounds in LEVELS
_MEDIAN = LEVELS.index(0.5)


class History(Protocol):
    """Daily prices of one ticker, as `data.prices.read.PriceHistory` holds them."""

    ticker: str
    dates: np.ndarray
    close: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """One system on one ticker's origins: what every metric needs.

    Attributes:
        ticker: Whose prices they are.
        dates: `<datetime64[D]>(origins,)`, the days at whose close the forecasts are made.
        close: `(origins,)`, the price on that day.
        outcome: `(origins, horizon)`, the cumulative log returns that followed.
        naive_error: The mean absolute change of the prices from day to day before the split.
        crps: `(origins, horizon)`, the continuous ranked probability score.
        pit: `(origins, horizon)`, the probability that the forecast gave to at most the outcome.
        probability_of_rise: `(origins, horizon)`.
        quantiles: `(origins, horizon, levels)` at `LEVELS`.
        note: Empty, or why another baseline stands in for this one.
    """

    ticker: str
    dates: np.ndarray
    close: np.ndarray
    outcome: np.ndarray
    naive_error: float
    crps: np.ndarray
    pit: np.ndarray
    probability_of_rise: np.ndarray
    quantiles: np.ndarray
    note: str = ""


def outcomes_of(
    history: History, origins: np.ndarray, *, horizon: int, fit_until: np.datetime64
) -> dict[str, Any]:
    """Returns the fields of `Scored` that are the same for every system.

    Args:
        history: One ticker.
        origins: `<int>(origins,)`, the days to forecast from.
        horizon: Days ahead.
        fit_until: Last day before the split.
    """
    log_close = np.log(history.close)
    ahead = origins[:, None] + np.arange(1, horizon + 1)
    before = history.close[history.dates <= fit_until]
    return {
        "ticker": history.ticker,
        "dates": history.dates[origins],
        "close": history.close[origins],
        "outcome": log_close[ahead] - log_close[origins, None],
        "naive_error": float(np.abs(np.diff(before)).mean()),
    }


def score(distribution: Distribution, outcome: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the fields of `Scored` that forecasts, `(origins, horizon)`, have."""
    return {
        "crps": distribution.crps(outcome),
        "pit": distribution.cdf(outcome),
        "probability_of_rise": 1 - distribution.cdf(0.0),
        "quantiles": distribution.quantile(LEVELS),
    }


def forecasting_metrics(
    scored: list[Scored], reference: list[Scored], horizons: Sequence[int]
) -> dict[str, float]:
    """Returns the scores of a system; each name ends with the horizon in days.

    Scores of prices are computed for each ticker and then averaged, as prices differ; all others
    count every origin of every ticker alike.

    Args:
        scored: The system, one item a ticker.
        reference: The last value as forecast, on the same origins.
        horizons: Days ahead, from 1.

    Returns:
        `crps` and `pinball` (the mean over `LEVELS`) in per cent of log return; `mae` and `rmse` of
        the median in units of price; `mase`, the MAE relative to `naive_error` (Hyndman and
        Koehler, 2006); `rel_mae`, the MAE relative to the reference's; for 50, 80 and 95 per cent
        the share of outcomes within the interval, `coverage_80`, and its mean `width_80` in per
        cent of log return; `direction`, the share of moves whose side was given more than half of
        the probability, between `direction_low` and `direction_high`, the interval of Wilson (1927)
        at 95 per cent. It takes the moves as independent, so it is too narrow.
    """
    metrics = {}
    for horizon in horizons:
        values = _metrics_at(scored, reference, horizon)
        metrics |= {f"{name}_{horizon}": float(value) for name, value in values.items()}
    return metrics


def _metrics_at(scored: list[Scored], reference: list[Scored], horizon: int) -> dict[str, float]:
    outcome, quantiles = _pool(scored, "outcome", horizon), _pool(scored, "quantiles", horizon)
    error = outcome[:, None] - quantiles
    errors = [_price_errors(ticker, horizon) for ticker in scored]
    mae = np.array([np.abs(values).mean() for values in errors])
    naive = np.array([ticker.naive_error for ticker in scored])
    reference_mae = [np.abs(_price_errors(ticker, horizon)).mean() for ticker in reference]
    metrics = {
        "crps": 100 * _pool(scored, "crps", horizon).mean(),
        "mae": mae.mean(),
        "rmse": np.mean([np.sqrt(np.square(values).mean()) for values in errors]),
        "mase": (mae / naive).mean(),
        "rel_mae": (mae / reference_mae).mean(),
        "pinball": 100
        * np.maximum(np.multiply(LEVELS, error), (np.array(LEVELS) - 1) * error).mean(),
    }
    for percent, (low, high) in INTERVALS.items():
        inside = (quantiles[:, low] <= outcome) & (outcome <= quantiles[:, high])
        metrics[f"coverage_{percent}"] = inside.mean()
        metrics[f"width_{percent}"] = 100 * (quantiles[:, high] - quantiles[:, low]).mean()
    # A price that stays moved to neither side.
    moved = outcome != 0
    rise = _pool(scored, "probability_of_rise", horizon) > 0.5
    right = (rise == (outcome > 0))[moved]
    # Slow to import, and predictions, which need the levels above, do without.
    from scipy import stats

    low, high = stats.binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
    return metrics | {"direction": right.mean(), "direction_low": low, "direction_high": high}


def _pool(scored: list[Scored], name: str, horizon: int) -> np.ndarray:
    """Returns one array of all tickers' origins at a horizon."""
    arrays = [getattr(ticker, name)[:, horizon - 1] for ticker in scored]
    return np.concatenate(arrays, dtype=np.float64)


def _price_errors(scored: Scored, horizon: int) -> np.ndarray:
    """Returns the prices minus their median forecasts, `(origins,)`."""
    median = scored.quantiles[:, horizon - 1, _MEDIAN]
    outcome = scored.outcome[:, horizon - 1]
    return scored.close * (np.exp(outcome) - np.exp(median, dtype=np.float64))


def pit_histogram(scored: list[Scored], horizon: int, bins: int = 20) -> np.ndarray:
    """Returns the shares of the forecast probabilities of the outcomes, `(bins,)`.

    All are `1 / bins` if the forecasts are calibrated (Diebold, Gunther and Tay, 1998).
    """
    counts, _ = np.histogram(_pool(scored, "pit", horizon), bins=bins, range=(0, 1))
    return counts / counts.sum()


def diebold_mariano(scored: list[Scored], other: list[Scored], horizon: int) -> tuple[float, float]:
    """Tests whether two systems forecast equally well (Diebold and Mariano, 1995).

    The losses are the CRPS of each date, averaged over the tickers, since the outcomes of one day
    go together. The differences of `horizon` days in a row overlap, so their variance counts all
    autocovariances up to lag `horizon - 1` in full, or with the weights of Bartlett where that is
    not positive. The statistic is corrected for few dates and compared with Student's t (Harvey,
    Leybourne and Newbold, 1997).

    Args:
        scored: One system, one item a ticker.
        other: Another one on the same origins.
        horizon: Days ahead, from 1.

    Returns:
        mean_difference: Of log returns; below 0 where `scored` is better.
        p_value: Two-sided; 1 if there are no more dates than days ahead.
    """
    losses = _pool(scored, "crps", horizon) - _pool(other, "crps", horizon)
    _, date_of = np.unique(np.concatenate([one.dates for one in scored]), return_inverse=True)
    differences = np.bincount(date_of, weights=losses) / np.bincount(date_of)
    mean, count = differences.mean(), len(differences)
    if count <= horizon or not differences.any():
        return float(mean), 1.0
    centred = differences - mean
    lags = np.arange(horizon)
    covariances = np.array([centred[lag:] @ centred[: count - lag] for lag in lags]) / count
    covariances[1:] *= 2  # Either sign of the lag.
    variance = covariances.sum()
    if variance <= 0:
        variance = max(covariances @ (1 - lags / horizon), 0.0)
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    with np.errstate(divide="ignore"):  # A difference that never changes is certain.
        statistic = mean * np.sqrt(correction) / np.sqrt(variance / count)
    return float(mean), float(2 * special.stdtr(count - 1, -abs(statistic)))
