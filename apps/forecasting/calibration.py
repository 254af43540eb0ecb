"""How much wider than the model says a forecast is made, by days ahead.

A model that has seen some years takes the next one for more alike to them than it turns out. On the
years 2006 to 2016, forecast by models that had learned from earlier years alone, the most likely
factor of the scale was 0.99 a day ahead, 1.01 at 5 days, 1.02 at 10 and 1.026 at 20.
"""

import numpy as np
from scipy import optimize, special

_AT_20_DAYS = 1.026


def spread_factors(horizon: int) -> np.ndarray:
    """Returns the factor of the scale for each day ahead, `(horizon,)`: 1 for the first."""
    days = np.arange(1, horizon + 1)
    return _AT_20_DAYS ** (np.log(days) / np.log(20))


def most_likely_factor(
    outcome: np.ndarray, weights: np.ndarray, location: np.ndarray, scales: np.ndarray
) -> float:
    """Returns the factor of the scales that makes the outcomes of many forecasts most likely.

    Args:
        outcome: `(forecasts,)`.
        weights: `(forecasts, components)` of mixtures of Gaussians.
        location: `(forecasts,)`, the middle of all components.
        scales: `(forecasts, components)`.
    """

    def loss(log_factor: float) -> float:
        wide = scales * np.exp(log_factor)
        log_density = -0.5 * ((outcome - location)[:, None] / wide) ** 2 - np.log(wide)
        return -special.logsumexp(log_density, b=weights, axis=1).mean()

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-1, 1), method="bounded").x))
