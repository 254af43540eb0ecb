import numpy as np
import pytest

from apps.forecasting.calibration import most_likely_factor, spread_factors
from apps.forecasting.predictor import as_distribution
from models.forecasting import quantile_levels

pytestmark = pytest.mark.no_backend


def outputs(kind, forecasts=3, horizon=20):
    """What a model may say: the same distribution for all days."""
    if kind == "mixture":
        one = [0.6, 0.3, 0.1, 0.2, 1.0, 2.0, 4.0]
    else:
        one = [0.2, 1.5, 5.0] if kind == "student_t" else 0.2 + 3 * (quantile_levels() - 0.5)
    return np.tile(np.asarray(one), (forecasts, horizon, 1))


@pytest.mark.parametrize("kind", ["mixture", "student_t", "quantiles"])
def test_every_distribution_is_widened_about_its_middle_by_the_factor_of_its_day(kind):
    low, middle, high = np.moveaxis(
        as_distribution(outputs(kind), kind).quantile((0.1, 0.5, 0.9)), -1, 0
    )
    np.testing.assert_allclose(100 * middle, 0.2, atol=1e-9)
    for side in (middle - low, high - middle):
        np.testing.assert_allclose(side / side[:, :1], np.tile(spread_factors(20), (3, 1)))


def test_the_factor_is_1_a_day_ahead_and_grows_with_the_days():
    factors = spread_factors(30)
    assert factors[0] == 1
    assert (np.diff(factors) > 0).all()
    np.testing.assert_array_equal(factors[:5], spread_factors(5))


def test_the_most_likely_factor_is_that_by_which_the_truth_is_wider():
    generator = np.random.default_rng(0)
    count, true = 40_000, 1.3
    weights = np.tile([0.7, 0.3], (count, 1))
    scales = np.exp(generator.normal(size=(count, 1))) * [1.0, 3.0]
    location = generator.normal(size=count)
    chosen = scales[np.arange(count), (generator.random(count) > 0.7).astype(int)]
    outcome = location + true * chosen * generator.normal(size=count)
    factor = most_likely_factor(outcome, weights, location, scales)
    # The standard error is about 1 / sqrt(2 * count), a little more for the heavy tails.
    assert factor == pytest.approx(true, rel=0.02)
    inside = np.abs(outcome - location) < 1.2816 * factor * chosen
    assert inside.mean() == pytest.approx(0.8, abs=0.01)
