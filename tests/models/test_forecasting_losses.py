import keras
import numpy as np
import pytest
from scipy import integrate, special, stats

from models.forecasting import (
    LOSSES,
    mixture_crps,
    mixture_nll,
    pinball,
    student_t_nll,
)

HORIZON = 3


def parts_of(parameters):
    """Weights, location and scales of a mixture."""
    components = parameters.shape[-1] // 2
    weights, location, scales = np.split(parameters, [components, components + 1], axis=-1)
    return weights, location[..., 0], scales


def some_targets(seed=5, shape=(2, 4, HORIZON)):
    """Targets, a third of them unknown, and which are known."""
    generator = np.random.default_rng(seed)
    targets = 3 * generator.standard_normal(shape)
    known = generator.random(shape) > 0.3
    assert known.any() and not known.all()
    return np.where(known, targets, np.nan).astype("float32"), known


def some_parameters(distribution, seed=6, shape=(2, 4, HORIZON)):
    generator = np.random.default_rng(seed)
    location = generator.standard_normal((*shape, 1))
    if distribution == "mixture":
        weights = special.softmax(generator.standard_normal((*shape, 3)), axis=-1)
        scales = np.exp(generator.standard_normal((*shape, 3)))
        return np.concatenate([weights, location, scales], axis=-1).astype("float32")
    if distribution == "student_t":
        scale = np.exp(generator.standard_normal((*shape, 1)))
        df = generator.choice([2.11, 3.5, 8.0, 40.0], (*shape, 1))
        return np.concatenate([location, scale, df], axis=-1).astype("float32")
    return np.sort(3 * generator.standard_normal((*shape, 39)), axis=-1).astype("float32")


def loss_of(loss, targets, parameters):
    return float(loss(*map(keras.ops.convert_to_tensor, (targets, parameters))))


def test_the_likelihood_of_a_student_t_is_that_of_scipy():
    targets, known = some_targets()
    parameters = some_parameters("student_t")
    location, scale, df = np.moveaxis(parameters[known].astype(float), -1, 0)
    expected = -stats.t.logpdf(targets[known], df, location, scale).mean()
    assert loss_of(student_t_nll, targets, parameters) == pytest.approx(expected, rel=1e-5)


def test_the_likelihood_of_a_mixture_is_that_of_scipy():
    targets, known = some_targets()
    parameters = some_parameters("mixture")
    weights, location, scales = parts_of(parameters[known].astype(float))
    log_density = stats.norm.logpdf(targets[known][:, None], location[:, None], scales)
    expected = -special.logsumexp(np.log(weights) + log_density, axis=-1).mean()
    assert loss_of(mixture_nll, targets, parameters) == pytest.approx(expected, rel=1e-5)


def test_the_score_of_a_mixture_is_the_integral_over_its_squared_errors():
    targets, known = some_targets()
    parameters = some_parameters("mixture")
    weights, location, scales = parts_of(parameters[known].astype(float))
    days_ahead = np.broadcast_to(np.arange(1, HORIZON + 1), known.shape)[known]
    scores = []
    for row, target in enumerate(targets[known].astype(float)):
        below, above = (np.linspace(*ends, 20_001) for ends in ((-80, target), (target, 80)))
        total = 0.0
        for values, has_come in ((below, 0), (above, 1)):
            z = (values[:, None] - location[row]) / scales[row]
            probability = special.ndtr(z) @ weights[row]
            total += integrate.trapezoid((probability - has_come) ** 2, values)
        scores.append(total)
    # Far days must not outweigh near ones.
    expected = np.mean(np.array(scores) / np.sqrt(days_ahead))
    assert loss_of(mixture_crps, targets, parameters) == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_a_quantile_is_its_level_above_and_the_rest_below():
    targets, known = some_targets()
    parameters = some_parameters("quantiles")
    losses = []
    for index in np.argwhere(known):
        target, values = targets[tuple(index)], parameters[tuple(index)]
        terms = [
            (number / 40) * (target - value)
            if target > value
            else (1 - number / 40) * (value - target)
            for number, value in enumerate(values, start=1)
        ]
        losses.append(np.mean(terms) / np.sqrt(index[-1] + 1))
    expected = np.mean(losses)
    assert loss_of(pinball, targets, parameters) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("distribution", "loss"), list(LOSSES))
def test_an_unknown_target_counts_not(distribution, loss):
    targets, known = some_targets()
    parameters = some_parameters(distribution)
    # What is forecast there does not matter either.
    other = np.where(known[..., None], parameters, parameters[::-1])
    loss = LOSSES[distribution, loss]
    assert loss_of(loss, targets, other) == pytest.approx(loss_of(loss, targets, parameters))
    assert loss_of(loss, np.full_like(targets, np.nan), parameters) == 0
