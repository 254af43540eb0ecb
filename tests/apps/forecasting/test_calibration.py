import numpy as np
import pytest

from apps.forecasting.calibration import spread_factors
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
