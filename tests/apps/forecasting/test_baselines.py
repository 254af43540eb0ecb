import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from apps.forecasting.baselines import BASELINES, NotFitted, score_baselines

pytestmark = pytest.mark.no_backend

FIT_UNTIL, HORIZON = 900, 5
ORIGINS = np.arange(FIT_UNTIL, 1180)


@pytest.fixture(scope="module")
def returns():
    """Log returns of 1,200 days whose variance is higher after falls; the first is no number."""
    generator = np.random.default_rng(7)
    series, variance = np.full(1200, np.nan), 1.0
    for day in range(1, 1200):
        shock = np.sqrt(variance) * generator.standard_t(6) * np.sqrt(4 / 6)
        variance = 0.05 + (0.02 + 0.16 * (shock < 0)) * shock**2 + 0.85 * variance
        series[day] = (0.05 + shock) / 100
    return series


def forecast(name, returns, **changed):
    settings = {"fit_until": FIT_UNTIL, "origins": ORIGINS, "horizon": HORIZON, "seed": 3}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="statsmodels")
        return BASELINES[name](returns, **settings | changed)


@pytest.mark.parametrize("name", BASELINES)
def test_days_after_an_origin_change_nothing_and_days_before_it_move_the_state(name, returns):
    changed = returns.copy()
    changed[ORIGINS[50]] -= 0.1
    levels = [0.05, 0.5, 0.95]
    before, after = (
        forecast(name, series, origins=ORIGINS[:101]).quantile(levels)
        for series in (returns, changed)
    )
    assert before.shape == (101, HORIZON, 3)
    np.testing.assert_array_equal(before[:50], after[:50])
    # The simplest two have no state.
    assert (before[50] != after[50]).any() == (name not in ("last_value", "drift"))


def test_the_last_value_has_the_most_likely_student_t(returns):
    distribution = forecast("last_value", returns)
    df, _, scale = stats.t.fit(returns[1 : FIT_UNTIL + 1], floc=0)
    assert distribution.df[0, 0] == pytest.approx(df, rel=0.01)
    assert distribution.scale[0, 0] == pytest.approx(scale, rel=0.01)


def test_the_ewma_is_its_recursion(returns):
    variance = np.square(returns[1 : FIT_UNTIL + 1]).mean()
    for day in range(1, ORIGINS[-1] + 1):
        variance = 0.94 * variance + 0.06 * returns[day] ** 2
    distribution = forecast("ewma", returns)
    deviations = distribution.scale[-1] * np.sqrt(distribution.df[-1] / (distribution.df[-1] - 2))
    np.testing.assert_allclose(deviations, np.sqrt(variance * np.arange(1, HORIZON + 1)))


@pytest.mark.parametrize("name", ["garch_t", "gjr_garch_t"])
def test_garch_has_the_variances_that_arch_derives_with_fixed_parameters(name, returns):
    from arch import arch_model

    model = arch_model(100 * returns[1:], o=int(name == "gjr_garch_t"), dist="t", rescale=False)
    # `arch` counts from the first return, and `last_obs` is the first one left out.
    fit = model.fit(disp="off", last_obs=FIT_UNTIL)
    fixed = model.fix(fit.params)
    whole = forecast(name, returns)
    first, draws = whole.first, 100 * whole.rest.values.astype(np.float64)
    # The volatility of the day after each origin; its return is the one at that index.
    deviations = 100 * first.scale[:, 0] * np.sqrt(first.df[0, 0] / (first.df[0, 0] - 2))
    np.testing.assert_allclose(deviations, fixed.conditional_volatility[ORIGINS], rtol=1e-5)
    np.testing.assert_allclose(100 * first.location, fit.params["mu"], rtol=1e-5)
    derived = fixed.forecast(horizon=HORIZON, start=0, reindex=False).variance
    # Row `day - 1` is that of the forecasts made on `day`.
    derived = derived.to_numpy()[ORIGINS - 1].cumsum(axis=1)
    # 280 origins of 2,000 draws, deviations of about 2: the standard error of a mean is 0.003.
    means = fit.params["mu"] * np.arange(2, HORIZON + 1)
    np.testing.assert_allclose(draws.mean(axis=(0, 2)), means, atol=0.01)
    ratio = draws.var(axis=-1) / derived[:, 1:]
    np.testing.assert_allclose(ratio.mean(axis=0), 1, atol=0.01)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_garch_without_a_fit_says_why(returns):
    with pytest.raises(NotFitted, match="fewer than 250"):
        forecast("gjr_garch_t", returns, fit_until=100, origins=np.arange(100, 120))
    with pytest.raises(NotFitted, match="the optimiser stopped"):
        forecast("garch_t", np.zeros(1200))


def test_arima_forecasts_the_sum_of_the_days_that_statsmodels_forecasts(returns):
    from statsmodels.tsa.arima.model import ARIMA
    from statsmodels.tsa.arima_process import arma2ma

    distribution = forecast("arima", returns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train = ARIMA(100 * returns[1 : FIT_UNTIL + 1], order=(1, 0, 1))
        fit = train.fit(method="innovations_mle")
    _, ar, ma, variance = fit.params
    for row in (0, 100):
        days = fit.apply(100 * returns[1 : ORIGINS[row] + 1]).forecast(HORIZON)
        np.testing.assert_allclose(100 * distribution.location[row], days.cumsum(), rtol=1e-6)
    psi = arma2ma([1, -ar], [1, ma], HORIZON)
    # Row: the day of an error; column: the day of the return that it reaches.
    reach = np.array([np.r_[np.zeros(day), psi[: HORIZON - day]] for day in range(HORIZON)])
    expected = np.sqrt(variance * np.square(reach.cumsum(axis=1)).sum(axis=0))
    np.testing.assert_allclose(100 * distribution.scale[0], expected)


def test_ets_forecasts_the_prices_that_statsmodels_forecasts(returns):
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    distribution = forecast("ets", returns)
    log_price = np.r_[0, returns[1:].cumsum()]
    fit = ETSModel(pd.Series(log_price[: FIT_UNTIL + 1])).fit(disp=False)
    ahead = fit.get_prediction(start=FIT_UNTIL + 1, end=FIT_UNTIL + HORIZON)
    change = ahead.predicted_mean - log_price[FIT_UNTIL]
    np.testing.assert_allclose(distribution.location[0], change, atol=1e-9)
    np.testing.assert_allclose(distribution.scale[0] ** 2, ahead.forecast_variance)
    later = ETSModel(log_price[: ORIGINS[60] + 1]).smooth(fit.params).forecast(1)
    change = later[0] - log_price[ORIGINS[60]]
    np.testing.assert_allclose(distribution.location[60], change, atol=1e-9)


@dataclasses.dataclass(frozen=True)
class History:
    ticker: str
    dates: np.ndarray
    close: np.ndarray


def histories(returns, tickers=("ABC", "XYZ")):
    dates = np.datetime64("2015-01-01") + np.arange(len(returns))
    prices = 50 * np.exp(np.r_[0, returns[1:].cumsum()])
    return [History(name, dates, prices * (1 + place)) for place, name in enumerate(tickers)]


def scores(tickers, cache_dir, **changed):
    settings = {
        "fit_until": np.datetime64("2015-01-01") + FIT_UNTIL,
        "origins": {history.ticker: ORIGINS for history in tickers},
        "horizon": HORIZON,
        "cache_dir": cache_dir,
        "names": ("last_value", "ewma"),
    }
    return score_baselines(tickers, **settings | changed)


def test_every_baseline_is_scored_on_every_ticker(returns, tmp_path):
    tickers = histories(returns)
    scored = scores(tickers, tmp_path, names=tuple(BASELINES))
    assert list(scored) == list(BASELINES)
    for first, second in scored.values():
        assert (first.ticker, second.ticker) == ("ABC", "XYZ")
        np.testing.assert_array_equal(first.dates, tickers[0].dates[ORIGINS])
        assert first.quantiles.shape == (len(ORIGINS), HORIZON, 7)
        assert second.naive_error == pytest.approx(2 * first.naive_error)
        expected = np.log(tickers[0].close[ORIGINS + 3] / tickers[0].close[ORIGINS])
        np.testing.assert_allclose(first.outcome[:, 2], expected, atol=1e-12)
        assert not first.note
    # Whoever follows the variance does better on prices whose variance moves.
    assert scored["gjr_garch_t"][0].crps.mean() < scored["last_value"][0].crps.mean()
