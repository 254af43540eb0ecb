"""The forecasts that a user would try without a recurrent network, scored as the model is.

A baseline sees the daily log returns of one ticker. It is fitted once, on the days up to and
including `fit_until`; later days only move its state. Each takes

    returns: `(time,)`, `returns[t] = log(close[t] / close[t - 1])`; the first is not read.
    fit_until: The last day of training, an index into `returns`.
    origins: `<int>(origins,)`, the days at whose close to forecast, from `fit_until` on.
    horizon: Days to forecast.
    seed: Of the simulation, where there is one.

and returns distributions of the cumulative log return, `(origins, horizon)`.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy import optimize, signal, stats

from apps.forecasting.distributions import Distribution, Joined, Samples, StudentT
from apps.forecasting.metrics import History, Scored, outcomes_of, score
from common.cache import cache_path, cached

Seed = int | Sequence[int]

# Days of training without which a ticker is left out.
FEWEST_DAYS = 30
_FEWEST_FOR_GARCH = 250
_DECAY = 0.94  # Of the daily variance (RiskMetrics, 1996).
_SMALLEST_SCALE = 1e-8  # A price that never changed still needs a distribution.
_PATHS = 2000  # Simulated draws.
_ARRAYS = ("crps", "pit", "probability_of_rise", "quantiles")
_CODE = tuple(f"apps.forecasting.{name}" for name in ("baselines", "distributions", "metrics"))


class NotFitted(Exception):
    """A baseline could not be fitted; the message says why."""


def _fit_student_t(values: np.ndarray) -> tuple[float, float]:
    """Returns the most likely scale and degrees of freedom about 0."""
    start = max(values.std(), _SMALLEST_SCALE)

    def loss(logarithms: np.ndarray) -> float:
        scale, df = np.exp(logarithms)
        return -stats.t.logpdf(values / start, df, scale=scale).mean()

    bounds = np.log([(_SMALLEST_SCALE, 1e2), (2.05, 300)])
    scale, df = np.exp(optimize.minimize(loss, np.log([0.7, 5]), bounds=bounds).x)
    return scale * start, df


def _independent_days(
    location: float, scale: np.ndarray, df: float, origins: np.ndarray, horizon: int
) -> StudentT:
    """Returns a mean that grows with the days, and a scale that grows with their square root."""
    days = np.arange(1, horizon + 1)
    scale = np.broadcast_to(np.reshape(scale, (-1, 1)), (len(origins), 1))
    return StudentT(location * days, np.maximum(scale, _SMALLEST_SCALE) * np.sqrt(days), df)


def last_value(
    returns: np.ndarray, *, fit_until: int, origins: np.ndarray, horizon: int, seed: Seed = 0
) -> StudentT:
    """The price stays, but for a Student-t error whose scale grows as the square root of time."""
    scale, df = _fit_student_t(returns[1 : fit_until + 1])
    return _independent_days(0.0, scale, df, origins, horizon)


def drift(
    returns: np.ndarray, *, fit_until: int, origins: np.ndarray, horizon: int, seed: Seed = 0
) -> StudentT:
    """The last value, and the mean return of the training days for each day ahead."""
    train = returns[1 : fit_until + 1]
    scale, df = _fit_student_t(train - train.mean())
    return _independent_days(train.mean(), scale, df, origins, horizon)


def ewma(
    returns: np.ndarray, *, fit_until: int, origins: np.ndarray, horizon: int, seed: Seed = 0
) -> StudentT:
    """The last value, its variance a moving average of the squares (RiskMetrics, 1996)."""
    squares = returns[1:] ** 2
    start = max(squares[:fit_until].mean(), _SMALLEST_SCALE**2)
    moving, _ = signal.lfilter([1 - _DECAY], [1, -_DECAY], squares, zi=[_DECAY * start])
    # Known at the close of each day, for the next one.
    deviation = np.maximum(np.sqrt(np.concatenate([[start], moving])), _SMALLEST_SCALE)
    standardised = returns[1 : fit_until + 1] / deviation[:fit_until]

    def loss(log_df: float) -> float:
        df = np.exp(log_df)
        return -stats.t.logpdf(standardised, df, scale=np.sqrt((df - 2) / df)).mean()

    df = np.exp(optimize.minimize_scalar(loss, bounds=np.log([2.05, 300]), method="bounded").x)
    return _independent_days(0.0, deviation[origins] * np.sqrt((df - 2) / df), df, origins, horizon)


def garch_t(
    returns: np.ndarray,
    *,
    fit_until: int,
    origins: np.ndarray,
    horizon: int,
    seed: Seed = 0,
    asymmetric: bool = False,
) -> Distribution:
    """GARCH(1, 1) with a constant mean and Student-t errors (Bollerslev, 1987).

    If it is asymmetric, falls add more than rises (Glosten, Jagannathan and Runkle, 1993). The
    first day is exact, later days are simulated.

    Raises:
        NotFitted: If there are fewer than 250 training days or the optimiser fails.
    """
    # In per cent, for the optimiser's sake.
    percent = 100 * returns[1:]
    if fit_until < _FEWEST_FOR_GARCH:
        raise NotFitted(f"fewer than {_FEWEST_FOR_GARCH} training days")
    from arch import arch_model  # Slow to import, and not needed where results are cached.

    model = arch_model(percent[:fit_until], p=1, o=int(asymmetric), q=1, dist="t", rescale=False)
    fit = model.fit(disp="off", show_warning=False)
    if fit.convergence_flag:
        raise NotFitted(f"the optimiser stopped with code {fit.convergence_flag}")
    mean, omega, alpha, *gamma, beta, df = fit.params
    dynamics = (mean, omega, alpha, gamma[0] if asymmetric else 0.0, beta, df)
    last_variance = fit.conditional_volatility[-1] ** 2
    # From the last training day on: each day's variance gives the next one's.
    shocks = _next_variance(percent[fit_until - 1 :] - mean, 0.0, dynamics)
    variance, _ = signal.lfilter([1], [1, -beta], shocks, zi=[beta * last_variance])
    variance = variance[origins - fit_until]
    unit = np.sqrt((df - 2) / df)
    first = StudentT(mean / 100, np.sqrt(variance)[:, None] * unit / 100, df)
    return Joined(first, Samples(_simulate(variance, dynamics, horizon, seed)[:, 1:]))


def _next_variance(residual: np.ndarray, variance: np.ndarray, dynamics: tuple) -> np.ndarray:
    _, omega, alpha, gamma, beta, _ = dynamics
    return omega + (alpha + gamma * (residual < 0)) * residual**2 + beta * variance


def _simulate(variance: np.ndarray, dynamics: tuple, horizon: int, seed: Seed) -> np.ndarray:
    """Draws cumulative log returns, `<float32>(origins, horizon, paths)`.

    Half of the paths take the other half's errors with the opposite sign, which makes the means
    and medians steadier.
    """
    generator = np.random.default_rng(seed)
    mean, df = np.float32(dynamics[0]), dynamics[-1]
    dynamics = tuple(np.float32(value) for value in dynamics)
    shape = (len(variance), _PATHS // 2)
    variance = np.broadcast_to(np.float32(variance)[:, None], (len(variance), _PATHS))
    total = np.zeros(variance.shape, np.float32)
    draws = np.empty((len(variance), horizon, _PATHS), np.float32)
    for day in range(horizon):
        # A Student-t error of variance 1 is a Gaussian over the root of a gamma variable.
        error = generator.standard_normal(shape, np.float32)
        error *= np.sqrt((df / 2 - 1) / generator.standard_gamma(df / 2, shape, np.float32))
        residual = np.sqrt(variance) * np.concatenate([error, -error], axis=1)
        variance = _next_variance(residual, variance, dynamics)
        total += mean + residual
        draws[:, day] = total / 100
    return draws


def arima(
    returns: np.ndarray, *, fit_until: int, origins: np.ndarray, horizon: int, seed: Seed = 0
) -> StudentT:
    """ARMA(1, 1) with a constant on returns, its errors Gaussian (Box and Jenkins, 1970)."""
    from statsmodels.tsa.arima.model import ARIMA

    percent = 100 * returns[1:]
    fit = ARIMA(percent[:fit_until], order=(1, 0, 1)).fit(method="innovations_mle")
    mean, ar, ma, variance = fit.params
    # One element for each day and one for the day after the last; `percent[day]` is the next day's.
    next_return = fit.apply(percent).predict(0, len(percent))[origins]
    days = np.arange(horizon)
    location = mean * (days + 1) + np.outer(next_return - mean, np.cumsum(ar**days))
    # What an error adds to the sum of this and the following days (Hamilton, 1994, chapter 4).
    weights = np.cumsum(np.where(days == 0, 1.0, (ar + ma) * ar ** np.maximum(days - 1, 0)))
    scale = np.sqrt(variance * np.cumsum(weights**2))
    return StudentT(location / 100, np.maximum(scale / 100, _SMALLEST_SCALE), np.inf)


def ets(
    returns: np.ndarray, *, fit_until: int, origins: np.ndarray, horizon: int, seed: Seed = 0
) -> StudentT:
    """Simple exponential smoothing of log prices, ETS(A, N, N) (Hyndman et al., 2008)."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    log_price = np.cumsum(np.concatenate([[0.0], returns[1:]]))
    fit = ETSModel(log_price[: fit_until + 1]).fit(disp=False)
    level = ETSModel(log_price).smooth(fit.params).level
    scale = np.sqrt(fit.mse * (1 + np.arange(horizon) * fit.params[0] ** 2))
    location = (level - log_price)[origins]
    return StudentT(location[:, None], np.maximum(scale, _SMALLEST_SCALE), np.inf)


BASELINES: dict[str, Callable[..., Distribution]] = {
    "last_value": last_value,
    "drift": drift,
    "ewma": ewma,
    "garch_t": garch_t,
    "gjr_garch_t": functools.partial(garch_t, asymmetric=True),
    "arima": arima,
    "ets": ets,
}


def score_baselines(
    histories: Sequence[History],
    *,
    fit_until: np.datetime64,
    origins: dict[str, np.ndarray],
    horizon: int,
    cache_dir: Path,
    names: Sequence[str] = tuple(BASELINES),
) -> dict[str, list[Scored]]:
    """Fits baselines on each ticker, two at a time, and scores their forecasts.

    Args:
        histories: One item a ticker, each with more than `FEWEST_DAYS` days up to `fit_until`.
        fit_until: The last day that the baselines are fitted on.
        origins: Of each ticker, `<int>(origins,)`: days of its history, from `fit_until` on, that
            have `horizon` days after them.
        horizon: Days to forecast.
        cache_dir: Root of derived files; results that stand there are not computed again.
        names: Which baselines.

    Returns:
        For each name one item a ticker; its `note` says where another baseline stands in.
    """

    def scored(history: History) -> list[Scored]:
        days = origins[history.ticker]
        outcomes = outcomes_of(history, days, horizon=horizon, fit_until=fit_until)
        settings = {
            "fit_until": int(np.sum(history.dates <= fit_until)) - 1,
            "origins": days,
            "horizon": horizon,
            # Tickers draw different errors, so that the means over them are steadier.
            "seed": [0, *history.ticker.encode()],
        }
        content = [history.ticker, history.close, *settings.values(), *names]
        path = cache_path(
            cache_dir / "forecasting_baselines", content, modules=_CODE, suffix=".npz"
        )
        arrays = cached(path, lambda: _score_ticker(history, outcomes["outcome"], settings, names))
        notes = map(str, arrays.pop("notes"))
        return [
            Scored(**outcomes, **{key: arrays[f"{name} {key}"] for key in _ARRAYS}, note=note)
            for name, note in zip(names, notes, strict=True)
        ]

    # Here, because the page asks this module for one forecast and has no such package.
    from threadpoolctl import threadpool_limits

    console = Console(stderr=True)
    # Optimisers warn of much that does no harm. Filters are global, so they are set only here.
    # With several threads in a product GARCH's parameters differ in their last digits.
    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        warnings.simplefilter("ignore")
        progress = track(
            pool.map(scored, histories),
            "baselines",
            total=len(histories),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        return dict(zip(names, map(list, zip(*progress, strict=True)), strict=True))


def _score_ticker(
    history: History, outcome: np.ndarray, settings: dict, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Fits the baselines on one ticker; returns what their scores need, and their notes."""
    log_price = np.log(history.close)
    returns = np.diff(log_price, prepend=log_price[0])
    arrays, notes = {}, []
    for name in names:
        note = ""
        try:
            distribution = BASELINES[name](returns, **settings)
        except NotFitted as error:
            distribution = ewma(returns, **settings)
            note = f"ewma in its place: {error}"
        notes.append(note)
        for key, values in score(distribution, outcome).items():
            arrays[f"{name} {key}"] = values.astype(np.float32)
    return {**arrays, "notes": np.array(notes)}
