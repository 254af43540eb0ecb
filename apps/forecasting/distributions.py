"""Distributions of a real outcome, over any leading shape.

`crps(outcome)` and `cdf(value)` take what broadcasts to the leading shape and return that shape;
`quantile(levels)` adds an axis `levels` at the end.
"""

import numpy as np
from scipy import special

# Levels at which a distribution that is known by quantiles is scored.
_SCORED_LEVELS = 400


class StudentT:
    """Student-t distributions; with infinite degrees of freedom they are Gaussian.

    Args:
        location: `(...)`.
        scale: `(...)`, above 0; the standard deviation is `scale * sqrt(df / (df - 2))`.
        df: `(...)`, degrees of freedom, above 1; the three broadcast to one shape.
    """

    def __init__(self, location: np.ndarray, scale: np.ndarray, df: np.ndarray):
        """Takes the parameters."""
        parameters = (np.asarray(values, np.float64) for values in (location, scale, df))
        self.location, self.scale, self.df = np.broadcast_arrays(*parameters)
        self.shape = self.location.shape

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the exact score, `(...)` (Jordan, Krueger and Lerch, 2019)."""
        z = (outcome - self.location) / self.scale
        # The logarithms of gamma lose their digits where both distributions are the same.
        gaussian = self.df > 1e7
        df = np.where(gaussian, 3.0, self.df)
        log_peak = special.gammaln((df + 1) / 2) - special.gammaln(df / 2)
        density = np.exp(log_peak - (df + 1) / 2 * np.log1p(z**2 / df)) / np.sqrt(df * np.pi)
        beta_ratio = special.beta(0.5, df - 0.5) / special.beta(0.5, df / 2) ** 2
        ends = (2 * density * (df + z**2) - 2 * np.sqrt(df) * beta_ratio) / (df - 1)
        gaussian_density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        gaussian_ends = 2 * gaussian_density - 1 / np.sqrt(np.pi)
        middle = z * (2 * special.stdtr(self.df, z) - 1)
        return self.scale * (middle + np.where(gaussian, gaussian_ends, ends))

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the probability of at most `value`, `(...)`."""
        return special.stdtr(self.df, (value - self.location) / self.scale)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`."""
        unit = special.stdtrit(self.df[..., None], np.asarray(levels, np.float64))
        return self.location[..., None] + self.scale[..., None] * unit


class GaussianMixture:
    """Mixtures of Gaussians.

    Args:
        weights: `(..., components)`, not negative; they are divided by their sum.
        location: `(..., components)`.
        scale: `(..., components)`, above 0; the three broadcast to one shape.
    """

    def __init__(self, weights: np.ndarray, location: np.ndarray, scale: np.ndarray):
        """Takes the parameters."""
        parameters = (np.asarray(values, np.float64) for values in (weights, location, scale))
        weights, self.location, self.scale = np.broadcast_arrays(*parameters)
        self.weights = weights / weights.sum(axis=-1, keepdims=True)
        self.shape = self.location.shape[:-1]

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the exact score, `(...)` (Grimit et al., 2006)."""
        distance = _absolute_mean(np.asarray(outcome)[..., None] - self.location, self.scale)
        between = _absolute_mean(
            self.location[..., :, None] - self.location[..., None, :],
            np.hypot(self.scale[..., :, None], self.scale[..., None, :]),
        )
        spread = np.einsum("...i,...j,...ij->...", self.weights, self.weights, between)
        return (self.weights * distance).sum(axis=-1) - spread / 2

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the probability of at most `value`, `(...)`."""
        z = (np.asarray(value)[..., None] - self.location) / self.scale
        return (self.weights * special.ndtr(z)).sum(axis=-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)` by bisection; the levels lie between 0 and 1."""
        levels = np.asarray(levels, np.float64)
        parameters = (self.weights, self.location, self.scale)
        wide = GaussianMixture(*(values[..., None, :] for values in parameters))
        ends = wide.location + wide.scale * special.ndtri(levels)[:, None]
        # The quantile of a mixture lies between those of its components.
        low, high = ends.min(axis=-1), ends.max(axis=-1)
        for _ in range(50):
            middle = (low + high) / 2
            below = wide.cdf(middle) < levels
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


def _absolute_mean(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the mean of the absolute value of a Gaussian."""
    z = location / scale
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return 2 * scale * density + location * (2 * special.ndtr(z) - 1)


class Samples:
    """Distributions known by equally likely draws.

    Args:
        values: `(..., paths)`, two or more; they are kept sorted, in the dtype they come in.
    """

    def __init__(self, values: np.ndarray):
        """Sorts the draws."""
        self.values = np.sort(values, axis=-1)
        self.shape = self.values.shape[:-1]

    def _with_axis(self, value: np.ndarray) -> np.ndarray:
        """Returns a value for each distribution, with an axis for the draws, in their dtype."""
        return np.asarray(value, self.values.dtype)[..., None]

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the fair score, `(...)`: unbiased by the number of draws (Ferro, 2014)."""
        paths = self.values.shape[-1]
        distance = np.abs(self.values - self._with_axis(outcome)).mean(axis=-1, dtype=np.float64)
        # The sum of all differences of two draws, from their ranks: 1 is the smallest.
        ranks = np.arange(1, paths + 1)
        coefficients = (2 * ranks - paths - 1) / (paths * (paths - 1))
        return distance - self.values @ coefficients.astype(self.values.dtype)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the share of draws of at most `value`, `(...)`."""
        return (self.values <= self._with_axis(value)).mean(axis=-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`, linear between the draws as in `numpy.quantile`."""
        last = self.values.shape[-1] - 1
        position = np.asarray(levels, np.float64) * last
        below = np.floor(position).astype(int)
        low, high = self.values[..., below], self.values[..., np.minimum(below + 1, last)]
        return low + (position - below) * (high - low).astype(np.float64)


class QuantileGrid:
    """Distributions known by their quantiles at a few levels.

    Between the levels the quantile is linear in the normal score of the level, and the outer two
    lines go on beyond: with two levels, it is a Gaussian.

    Args:
        levels: `(levels,)`, rising, between 0 and 1, two or more.
        values: `(..., levels)`; quantiles that cross are sorted (Chernozhukov et al., 2010).
    """

    def __init__(self, levels: np.ndarray, values: np.ndarray):
        """Sorts the values."""
        self.scores = special.ndtri(np.asarray(levels, np.float64))
        self.values = np.sort(np.asarray(values, np.float64), axis=-1)
        self.shape = self.values.shape[:-1]

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns twice the mean pinball loss over many levels between the known ones, `(...)`.

        So it scores the whole distribution, tails included, to about 0.1 per cent (Gneiting and
        Ranjan, 2011).
        """
        levels = (np.arange(_SCORED_LEVELS) + 0.5) / _SCORED_LEVELS
        error = np.asarray(outcome)[..., None] - self.quantile(levels)
        return 2 * np.maximum(levels * error, (levels - 1) * error).mean(axis=-1)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the probability of at most `value`, `(...)`."""
        value = np.broadcast_to(value, self.shape)[..., None]
        below = (self.values <= value).sum(axis=-1, keepdims=True)
        left = np.clip(below, 1, len(self.scores) - 1) - 1
        low, high = (np.take_along_axis(self.values, left + side, axis=-1) for side in (0, 1))
        # Where two quantiles are equal, the probability jumps there.
        jump = np.where(value == low, 0.0, np.where(value > low, np.inf, -np.inf))
        equal = high == low
        share = np.where(equal, jump, (value - low) / np.where(equal, 1.0, high - low))
        steps = self.scores[left + 1] - self.scores[left]
        return special.ndtr(self.scores[left] + share * steps)[..., 0]

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`."""
        scores, wanted = self.scores, special.ndtri(np.asarray(levels, np.float64))
        left = np.clip(np.searchsorted(scores, wanted, side="right"), 1, len(scores) - 1) - 1
        share = (wanted - scores[left]) / (scores[left + 1] - scores[left])
        low, high = self.values[..., left], self.values[..., left + 1]
        return low + share * (high - low)


class Joined:
    """Distributions of different kinds side by side along the last leading axis.

    Args:
        first: `(..., 1)`.
        rest: `(..., n)`, with the same other axes.
    """

    def __init__(self, first: "Distribution", rest: "Distribution"):
        """Takes the parts."""
        self.first, self.rest = first, rest
        self.shape = (*first.shape[:-1], 1 + rest.shape[-1])

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the score, `(...)`."""
        outcome = np.broadcast_to(outcome, self.shape)
        scores = self.first.crps(outcome[..., :1]), self.rest.crps(outcome[..., 1:])
        return np.concatenate(scores, axis=-1)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the probability of at most `value`, `(...)`."""
        value = np.broadcast_to(value, self.shape)
        shares = self.first.cdf(value[..., :1]), self.rest.cdf(value[..., 1:])
        return np.concatenate(shares, axis=-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`."""
        return np.concatenate([self.first.quantile(levels), self.rest.quantile(levels)], axis=-2)


Distribution = StudentT | GaussianMixture | Samples | QuantileGrid | Joined
