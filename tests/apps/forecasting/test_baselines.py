import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from apps.forecasting.baseline_models import NotFitted
from apps.forecasting.baselines import BASELINES, score_baselines
from apps.forecasting.metrics import forecasting_metrics
from common.errors import UserError

pytestmark = pytest.mark.no_backend

FIT_UNTIL, HORIZON = 900, 5
ORIGINS = np.arange(FIT_UNTIL, 1180)


@pytest.fixture(scope="module")
def returns():
    """Log returns of 1,200 days whose variance is higher after falls; the first is no number."""
    generator = np.random.default_rng(7)
    found, variance = np.full(1200, np.nan), 1.0
    for day in range(1, 1200):
        shock = np.sqrt(variance) * generator.standard_t(6) * np.sqrt(4 / 6)
        variance = 0.05 + (0.02 + 0.16 * (shock < 0)) * shock**2 + 0.85 * variance
        found[day] = (0.05 + shock) / 100
    return found


def forecast(name, returns, **changed):
    settings = {"fit_until": FIT_UNTIL, "origins": ORIGINS, "horizon": HORIZON, "seed": 3}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="statsmodels")
        return BASELINES[name](returns, **settings | changed)


def arch_fit(returns, name):
    from arch import arch_model

    asymmetry = int(name == "gjr_garch_t")
    model = arch_model(100 * returns[1:], o=asymmetry, dist="t", rescale=False)
    # `arch` counts from the first return, and `last_obs` is the first one left out.
    return model, model.fit(disp="off", last_obs=FIT_UNTIL)


@pytest.mark.parametrize("name", BASELINES)
def test_what_comes_after_an_origin_changes_nothing(name, returns):
    changed = returns.copy()
    changed[ORIGINS[100] + 1 :] *= -3
    before = forecast(name, returns, origins=ORIGINS[:101])
    after = forecast(name, changed, origins=ORIGINS[:101])
    assert before.shape == (101, HORIZON)
    np.testing.assert_array_equal(before.quantile([0.1, 0.5]), after.quantile([0.1, 0.5]))


@pytest.mark.parametrize("name", ["ewma", "garch_t", "gjr_garch_t", "arima", "ets"])
def test_the_state_moves_with_the_days_after_training(name, returns):
    changed = returns.copy()
    changed[FIT_UNTIL + 50] -= 0.1
    before, after = (
        forecast(name, series, horizon=1).quantile([0.05, 0.95]) for series in (returns, changed)
    )
    np.testing.assert_array_equal(before[:50], after[:50])
    assert (before[50] != after[50]).all()


def test_the_last_value_has_the_most_likely_student_t(returns):
    train = returns[1 : FIT_UNTIL + 1]
    found = forecast("last_value", returns)
    df, _, scale = stats.t.fit(train, floc=0)
    assert found.df[0, 0] == pytest.approx(df, rel=0.01)
    assert found.scale[0, 0] == pytest.approx(scale, rel=0.01)


def test_the_ewma_is_its_recursion(returns):
    variance = np.square(returns[1 : FIT_UNTIL + 1]).mean()
    for day in range(1, ORIGINS[-1] + 1):
        variance = 0.94 * variance + 0.06 * returns[day] ** 2
    found = forecast("ewma", returns)
    deviations = found.scale[-1] * np.sqrt(found.df[-1] / (found.df[-1] - 2))
    np.testing.assert_allclose(deviations, np.sqrt(variance * np.arange(1, HORIZON + 1)))


@pytest.mark.parametrize("name", ["garch_t", "gjr_garch_t"])
def test_the_first_day_of_garch_is_that_of_arch_with_fixed_parameters(name, returns):
    first = forecast(name, returns, horizon=1)
    model, fit = arch_fit(returns, name)
    fixed = model.fix(fit.params)
    # The volatility of the day after each origin; its return is the one at that index.
    deviations = fixed.conditional_volatility[ORIGINS]
    ours = 100 * first.scale[:, 0] * np.sqrt(first.df[0, 0] / (first.df[0, 0] - 2))
    np.testing.assert_allclose(ours, deviations, rtol=1e-5)
    np.testing.assert_allclose(100 * first.location, fit.params["mu"], rtol=1e-5)
    np.testing.assert_allclose(first.df, fit.params["nu"], rtol=1e-5)


@pytest.mark.parametrize("name", ["garch_t", "gjr_garch_t"])
def test_simulated_days_have_the_variance_that_arch_derives(name, returns):
    whole = forecast(name, returns)
    model, fit = arch_fit(returns, name)
    derived = model.fix(fit.params).forecast(horizon=HORIZON, start=0, reindex=False).variance
    # Row `day - 1` is that of the forecasts made on `day`.
    derived = derived.to_numpy()[ORIGINS - 1].cumsum(axis=1)
    draws = 100 * whole.parts[1].values.astype(np.float64)
    # 280 origins of 2,000 draws, deviations of about 2: the standard error of a mean is 0.003.
    means = fit.params["mu"] * np.arange(2, HORIZON + 1)
    np.testing.assert_allclose(draws.mean(axis=(0, 2)), means, atol=0.01)
    ratio = draws.var(axis=-1) / derived[:, 1:]
    np.testing.assert_allclose(ratio.mean(axis=0), 1, atol=0.01)
    np.testing.assert_allclose(whole.parts[0].location, forecast(name, returns, horizon=1).location)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_garch_without_a_fit_says_why(returns):
    with pytest.raises(NotFitted, match="fewer than 250"):
        forecast("gjr_garch_t", returns, fit_until=100, origins=np.arange(100, 120))
    with pytest.raises(NotFitted, match="the optimiser stopped"):
        forecast("garch_t", np.zeros(1200))


def test_arima_forecasts_the_sum_of_the_days_that_statsmodels_forecasts(returns):
    from statsmodels.tsa.arima.model import ARIMA
    from statsmodels.tsa.arima_process import arma2ma

    found = forecast("arima", returns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train = ARIMA(100 * returns[1 : FIT_UNTIL + 1], order=(1, 0, 1))
        fit = train.fit(method="innovations_mle")
    _, ar, ma, variance = fit.params
    for row in (0, 100):
        days = fit.apply(100 * returns[1 : ORIGINS[row] + 1]).forecast(HORIZON)
        np.testing.assert_allclose(100 * found.location[row], days.cumsum(), rtol=1e-6)
    psi = arma2ma([1, -ar], [1, ma], HORIZON)
    # Row: the day of an error; column: the day of the return that it reaches.
    reach = np.array([np.r_[np.zeros(day), psi[: HORIZON - day]] for day in range(HORIZON)])
    sums = reach.cumsum(axis=1)
    expected = np.sqrt(variance * np.square(sums).sum(axis=0))
    np.testing.assert_allclose(100 * found.scale[0], expected)


def test_ets_forecasts_the_prices_that_statsmodels_forecasts(returns):
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    found = forecast("ets", returns)
    log_price = np.r_[0, returns[1:].cumsum()]
    fit = ETSModel(pd.Series(log_price[: FIT_UNTIL + 1])).fit(disp=False)
    ahead = fit.get_prediction(start=FIT_UNTIL + 1, end=FIT_UNTIL + HORIZON)
    change = ahead.predicted_mean - log_price[FIT_UNTIL]
    np.testing.assert_allclose(found.location[0], change, atol=1e-9)
    np.testing.assert_allclose(found.scale[0] ** 2, ahead.forecast_variance)
    later = ETSModel(log_price[: ORIGINS[60] + 1]).smooth(fit.params).forecast(1)
    np.testing.assert_allclose(found.location[60], later[0] - log_price[ORIGINS[60]], atol=1e-9)


@dataclasses.dataclass(frozen=True)
class History:
    ticker: str
    dates: np.ndarray
    close: np.ndarray


def histories(returns, tickers=("ABC", "XYZ")):
    dates = np.datetime64("2015-01-01") + np.arange(len(returns))
    prices = 50 * np.exp(np.r_[0, returns[1:].cumsum()])
    return [History(name, dates, prices * (1 + place)) for place, name in enumerate(tickers)]


def scores(found, cache_dir, **changed):
    settings = {
        "fit_until": np.datetime64("2015-01-01") + FIT_UNTIL,
        "origins": {history.ticker: ORIGINS for history in found},
        "horizon": HORIZON,
        "cache_dir": cache_dir,
        "names": ("last_value", "ewma"),
    }
    return score_baselines(found, **settings | changed)


def test_every_baseline_is_scored_on_every_ticker(returns):
    found = histories(returns)
    scored = scores(found, None, names=tuple(BASELINES))
    assert list(scored) == list(BASELINES)
    for name, (first, second) in scored.items():
        assert (first.ticker, second.ticker) == ("ABC", "XYZ")
        np.testing.assert_array_equal(first.dates, found[0].dates[ORIGINS])
        assert first.quantiles.shape == (len(ORIGINS), HORIZON, 7)
        assert second.naive_error == pytest.approx(2 * first.naive_error)
        expected = np.log(found[0].close[ORIGINS + 3] / found[0].close[ORIGINS])
        np.testing.assert_allclose(first.outcome[:, 2], expected, atol=1e-12)
        assert not first.note
        metrics = forecasting_metrics([first, second], scored["last_value"], [1, HORIZON])
        assert 0.7 < metrics["coverage_80_1"] < 0.95, name
    # Whoever follows the variance does better on prices whose variance moves.
    assert scored["gjr_garch_t"][0].crps.mean() < scored["last_value"][0].crps.mean()


def test_a_second_run_computes_only_what_has_changed(returns, tmp_path):
    found, computed = histories(returns), []
    first = scores(found, tmp_path, progress=computed.append)
    again = scores(found, tmp_path, progress=computed.append)
    assert sorted(computed) == ["ABC", "XYZ"]
    np.testing.assert_array_equal(first["ewma"][1].crps, again["ewma"][1].crps)
    dearer = dataclasses.replace(found[1], close=found[1].close * 1.01)
    scores([found[0], dearer], tmp_path, progress=computed.append)
    assert computed[2:] == ["XYZ"]
    scores(found[:1], tmp_path, progress=computed.append, horizon=4)
    assert computed[3:] == ["ABC"]


def test_a_baseline_that_stood_in_leaves_a_note(returns, tmp_path):
    found = histories(returns[:200], ("ABC",))
    scored = scores(
        found,
        tmp_path,
        fit_until=found[0].dates[100],
        origins={"ABC": np.arange(100, 150)},
        names=("ewma", "garch_t"),
    )
    assert "fewer than 250" in scored["garch_t"][0].note
    np.testing.assert_array_equal(scored["garch_t"][0].crps, scored["ewma"][0].crps)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fit_until": np.datetime64("2015-01-10")}, "ABC has 10 days up to 2015-01-10"),
        ({"origins": {"ABC": np.arange(0)}}, "ABC has no day to forecast on"),
        ({"origins": {"ABC": np.arange(899, 910)}}, "ABC: a forecast on 2017-06-18 cannot"),
        ({"origins": {"ABC": np.arange(1190, 1196)}}, "the prices end before 5 more days"),
    ],
)
def test_origins_that_cannot_be_scored_are_named(changed, message, returns, tmp_path):
    with pytest.raises(UserError, match=message):
        scores(histories(returns, ("ABC",)), tmp_path, **changed)


def test_a_price_that_never_moves_is_named():
    with pytest.raises(UserError, match="ABC has the same price on all days"):
        scores(histories(np.zeros(1200), ("ABC",)), None)
