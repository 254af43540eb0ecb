import numpy as np
import pytest
from scipy import stats

from apps.forecasting.distributions import StudentT
from apps.forecasting.metrics import (
    LEVELS,
    Scored,
    diebold_mariano,
    forecasting_metrics,
    pit_histogram,
    score,
)

pytestmark = pytest.mark.no_backend


def scored(ticker="ABC", *, location=0.0, scale=0.1, close=(100.0, 200.0), outcome=None, naive=2.0):
    outcome = np.zeros((len(close), 1)) if outcome is None else np.asarray(outcome)
    distribution = StudentT(np.full(outcome.shape, location), scale, np.inf)
    return Scored(
        ticker=ticker,
        dates=np.datetime64("2017-01-02") + np.arange(len(close)),
        close=np.asarray(close),
        outcome=outcome,
        naive_error=naive,
        **score(distribution, outcome),
    )


def with_losses(losses, ticker="ABC", shift=0):
    """A system whose CRPS at every horizon is given."""
    losses = np.asarray(losses, float)
    other = np.zeros((len(losses), 20))
    return Scored(
        ticker=ticker,
        dates=np.datetime64("2017-01-02") + shift + np.arange(len(losses)),
        close=np.ones(len(losses)),
        outcome=other,
        naive_error=1.0,
        crps=np.repeat(losses[:, None], 20, axis=1),
        pit=other,
        probability_of_rise=other,
        quantiles=np.zeros((len(losses), 20, len(LEVELS))),
    )


def test_price_errors_follow_from_the_medians():
    # The price of 100 goes to 110 and that of 200 to 180, against medians of 105 and 210.
    outcome = np.log([[1.1], [0.9]])
    ours = scored(location=np.log(1.05), outcome=outcome)
    metrics = forecasting_metrics([ours], [scored(outcome=outcome)], [1])
    assert metrics["mae_1"] == pytest.approx((5 + 30) / 2)
    assert metrics["rmse_1"] == pytest.approx(np.sqrt((25 + 900) / 2))
    assert metrics["mase_1"] == pytest.approx(17.5 / 2)
    assert metrics["rel_mae_1"] == pytest.approx(17.5 / 15)


def test_price_errors_weigh_tickers_alike_and_log_scores_origins():
    many = scored("ABC", close=[10.0] * 3, outcome=np.log([[1.1]] * 3), naive=1.0)
    few = scored("XYZ", close=[1000.0], outcome=np.log([[1.2]]), naive=50.0)
    metrics = forecasting_metrics([many, few], [many, few], [1])
    assert metrics["mae_1"] == pytest.approx((1 + 200) / 2)
    assert metrics["mase_1"] == pytest.approx((1 / 1 + 200 / 50) / 2)
    assert metrics["rel_mae_1"] == 1
    expected = (3 * many.crps[0, 0] + few.crps[0, 0]) / 4
    assert metrics["crps_1"] == pytest.approx(100 * expected)


def test_intervals_and_pinball_are_those_of_the_gaussian():
    outcome = 0.1 * np.array([[0.5], [1.0], [1.5], [-2.5]])
    system = scored(close=np.full(4, 10.0), outcome=outcome)
    metrics = forecasting_metrics([system], [system], [1])
    # Half of a Gaussian lies within 0.674 of its deviations, 80 per cent within 1.282.
    for percent, inside in ((50, 1), (80, 2), (95, 3)):
        assert metrics[f"coverage_{percent}_1"] == inside / 4
        width = 2 * stats.norm.ppf(0.5 + percent / 200)
        assert metrics[f"width_{percent}_1"] == pytest.approx(100 * 0.1 * width)
    losses = [
        (level - (value < bound)) * (value - bound)
        for value in outcome.ravel()
        for level, bound in zip(LEVELS, 0.1 * stats.norm.ppf(LEVELS), strict=True)
    ]
    assert metrics["pinball_1"] == pytest.approx(100 * np.mean(losses))


def test_calibrated_forecasts_fill_the_histogram_evenly():
    close = np.ones(2000)
    outcome = 0.1 * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None]
    shares = pit_histogram([scored(close=close, outcome=outcome)], 1, bins=10)
    np.testing.assert_allclose(shares, 0.1)
    too_wide = pit_histogram([scored(close=close, outcome=outcome, scale=0.3)], 1, bins=10)
    assert too_wide[0] < 0.1 < too_wide[5]


def test_one_day_ahead_diebold_mariano_is_a_t_test():
    losses = np.random.default_rng(0).normal(0.1, 1, (2, 60))
    mean, p_value = diebold_mariano([with_losses(losses[0])], [with_losses(losses[1])], 1)
    assert mean == pytest.approx((losses[0] - losses[1]).mean())
    assert p_value == pytest.approx(stats.ttest_1samp(losses[0] - losses[1], 0).pvalue)


def test_diebold_mariano_averages_the_tickers_of_a_day():
    first, second = np.random.default_rng(1).normal(size=(2, 60))
    base = np.zeros(60)
    both = diebold_mariano(
        [with_losses(first), with_losses(second, "XYZ")],
        [with_losses(base), with_losses(base, "XYZ")],
        5,
    )
    mean = diebold_mariano([with_losses((first + second) / 2)], [with_losses(base)], 5)
    assert both == pytest.approx(mean)
    # Days that one ticker lacks count with the other alone.
    late = [with_losses(first), with_losses(first[10:], "XYZ", shift=10)]
    none = [with_losses(base), with_losses(base[10:], "XYZ", shift=10)]
    assert diebold_mariano(late, none, 5) == pytest.approx(
        diebold_mariano(late[:1], none[:1], 5), rel=1e-9
    )


def test_overlapping_days_do_not_reject_what_is_true():
    generator = np.random.default_rng(2)
    zeros = [with_losses(np.zeros(480))]
    rejected, naive = [], []
    for _ in range(400):
        losses = np.convolve(generator.normal(size=499), np.ones(20), mode="valid")
        rejected.append(diebold_mariano([with_losses(losses)], zeros, 20)[1] < 0.05)
        naive.append(stats.ttest_1samp(losses, 0).pvalue < 0.05)
    assert np.mean(naive) > 0.5
    # The rate of 400 tests at 5 per cent has a standard error of one per cent.
    assert 0.02 < np.mean(rejected) < 0.09
