"""How much wider than the model says a forecast is made, by days ahead.

A model that has seen some years takes the next one for more alike to them than it turns out. On the
years 2006 to 2016, forecast by models that had learned from earlier years alone, the factor of the
scale with the greatest likelihood rose from about 1 for the first day to 1.026 for the twentieth.
"""

import numpy as np

_AT_20_DAYS = 1.026


def spread_factors(horizon: int) -> np.ndarray:
    """Returns the factor of the scale for each day ahead, `(horizon,)`: 1 for the first."""
    days = np.arange(1, horizon + 1)
    return _AT_20_DAYS ** (np.log(days) / np.log(20))
