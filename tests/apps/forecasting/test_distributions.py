import numpy as np
import pytest
from scipy import integrate, stats

from apps.forecasting.distributions import GaussianMixture, Joined, QuantileGrid, Samples, StudentT
from apps.forecasting.predictor import as_distribution, spread_factors
from models.forecasting import quantile_levels

pytestmark = pytest.mark.no_backend

GAUSSIAN = StudentT(0.5, 2.0, np.inf)
EXACT = {
    "heavy": StudentT(0.3, 1.5, 1.5),
    "student": StudentT(-0.4, 0.7, 4.0),
    "gaussian": GAUSSIAN,
    "mixture": GaussianMixture([0.7, 0.2, 0.1], [0.0, -1.0, 2.0], [0.5, 2.0, 0.1]),
}


def families(shape=(3, 4)):
    generator = np.random.default_rng(0)
    parts = generator.uniform(0.5, 1.5, (3, *shape, 2))
    return {
        "student": StudentT(generator.normal(size=shape), 1.5, 5.0),
        "mixture": GaussianMixture(*parts),
        "samples": Samples(generator.normal(size=(*shape, 50))),
        "grid": QuantileGrid([0.1, 0.3, 0.9], generator.normal(size=(*shape, 3))),
    }


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("outcome", [-3.0, 0.1, 2.5])
def test_the_score_is_the_integral_that_defines_it(name, outcome):
    distribution = EXACT[name]
    below, _ = integrate.quad(lambda x: distribution.cdf(x) ** 2, -np.inf, outcome, limit=200)
    above, _ = integrate.quad(lambda x: (1 - distribution.cdf(x)) ** 2, outcome, np.inf, limit=200)
    assert distribution.crps(outcome) == pytest.approx(below + above, abs=1e-6)


def test_student_t_agrees_with_scipy():
    location, scale, df = np.array([[0.1], [-2.0]]), 0.5, np.array([2.0, 7.0, np.inf])
    ours, theirs = StudentT(location, scale, df), stats.t(df, location, scale)
    np.testing.assert_allclose(ours.cdf(0.4), theirs.cdf(0.4))
    levels = [0.01, 0.5, 0.9]
    for position, level in enumerate(levels):
        np.testing.assert_allclose(ours.quantile(levels)[..., position], theirs.ppf(level))


@pytest.mark.parametrize("name", ["student", "mixture", "grid"])
def test_cdf_undoes_the_quantile(name):
    distribution = families()[name]
    levels = np.array([0.02, 0.1, 0.25, 0.5, 0.77, 0.98])
    quantiles = distribution.quantile(levels)
    assert quantiles.shape == (3, 4, 6)
    for position, level in enumerate(levels):
        np.testing.assert_allclose(distribution.cdf(quantiles[..., position]), level, rtol=1e-6)


def test_samples_are_scored_by_all_pairs_of_different_draws_and_agree_with_numpy():
    values = np.random.default_rng(1).normal(size=7)
    pairs = np.abs(values[:, None] - values).sum() / (7 * 6)
    assert Samples(values).crps(0.4) == pytest.approx(np.abs(values - 0.4).mean() - pairs / 2)
    levels = [0.0, 0.025, 0.5, 0.81, 1.0]
    np.testing.assert_allclose(Samples(values).quantile(levels), np.quantile(values, levels))
    assert Samples(values).cdf(values[3]) == np.mean(values <= values[3])


def test_joined_distributions_answer_as_each_alone():
    first, rest = families((3, 1))["student"], families((3, 2))["samples"]
    joined = Joined(first, rest)
    outcome = np.random.default_rng(5).normal(size=(3, 3))
    answers = {
        "crps": (joined.crps(outcome), first.crps(outcome[:, :1]), rest.crps(outcome[:, 1:])),
        "cdf": (joined.cdf(0.0), first.cdf(0.0), rest.cdf(0.0)),
        "quantile": tuple(part.quantile([0.1, 0.9]) for part in (joined, first, rest)),
    }
    for both, one, other in answers.values():
        np.testing.assert_allclose(both, np.concatenate([one, other], axis=1))


@pytest.mark.parametrize("kind", ["mixture", "student_t", "quantiles"])
def test_every_distribution_is_widened_about_its_middle_by_the_factor_of_its_day(kind):
    parameters = {
        "mixture": [0.6, 0.3, 0.1, 0.2, 1.0, 2.0, 4.0],
        "student_t": [0.2, 1.5, 5.0],
        "quantiles": 0.2 + 3 * (quantile_levels() - 0.5),
    }[kind]
    # The same distribution for all days.
    outputs = np.tile(np.asarray(parameters), (3, 20, 1))
    low, middle, high = np.moveaxis(as_distribution(outputs, kind).quantile((0.1, 0.5, 0.9)), -1, 0)
    np.testing.assert_allclose(100 * middle, 0.2, atol=1e-9)
    factors = spread_factors(20)
    assert factors[0] == 1 and (np.diff(factors) > 0).all()
    for side in (middle - low, high - middle):
        np.testing.assert_allclose(side / side[:, :1], np.tile(factors, (3, 1)))
