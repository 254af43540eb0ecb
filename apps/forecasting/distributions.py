"""Distributions of a real outcome, over any leading shape, that can be scored and asked.

All have the same methods: `crps(outcome)` and `cdf(value)` take what broadcasts to the leading
shape and return that shape; `quantile(levels)` adds an axis `levels` at the end.
"""

import dataclasses

import numpy as np
from scipy import special

# Levels at which a distribution that is known by quantiles is scored.
_SCORED_LEVELS = 400


def _set(distribution: object, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        object.__setattr__(distribution, name, array)


@dataclasses.dataclass(frozen=True, eq=False)
class StudentT:
    """Student-t distributions; with infinite degrees of freedom they are Gaussian.

    Attributes:
        location: `(...)`.
        scale: `(...)`, above 0; the standard deviation is `scale * sqrt(df / (df - 2))`.
        df: `(...)`, degrees of freedom, above 1; the three broadcast to one shape.
    """

    location: np.ndarray
    scale: np.ndarray
    df: np.ndarray

    def __post_init__(self) -> None:
        """Broadcasts the three."""
        location, scale, df = np.broadcast_arrays(
            *(np.asarray(values, np.float64) for values in (self.location, self.scale, self.df))
        )
        _set(self, location=location, scale=scale, df=df)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self.location.shape

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the exact score, `(...)` (Jordan, Krueger and Lerch, 2019)."""
        z = (outcome - self.location) / self.scale
        # The logarithms of gamma lose their digits where both distributions are one.
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


def _absolute_mean(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The mean of the absolute value of a Gaussian."""
    z = location / scale
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return 2 * scale * density + location * (2 * special.ndtr(z) - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Mixtures of Gaussians.

    Attributes:
        weights: `(..., components)`, not negative; they are divided by their sum.
        location: `(..., components)`.
        scale: `(..., components)`, above 0; the three broadcast to one shape.
    """

    weights: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        """Broadcasts the three."""
        weights, location, scale = np.broadcast_arrays(
            *(np.asarray(part, np.float64) for part in (self.weights, self.location, self.scale))
        )
        total = weights.sum(axis=-1, keepdims=True)
        _set(self, weights=weights / total, location=location, scale=scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self.location.shape[:-1]

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
        parts = (self.weights, self.location, self.scale)
        wide = GaussianMixture(*(part[..., None, :] for part in parts))  # (..., 1, components)
        ends = wide.location + wide.scale * special.ndtri(levels)[:, None]
        # The quantile of a mixture lies between those of its components.
        low, high = ends.min(axis=-1), ends.max(axis=-1)
        for _ in range(50):
            middle = (low + high) / 2
            below = wide.cdf(middle) < levels
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Distributions known by equally likely draws.

    Attributes:
        values: `(..., paths)`, two or more; they are kept sorted, in the dtype they come in.
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        """Sorts the draws."""
        _set(self, values=np.sort(self.values, axis=-1))

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self.values.shape[:-1]

    def _beside(self, value: np.ndarray) -> np.ndarray:
        """A value for each distribution, ready to be compared with the draws, in their dtype."""
        return np.asarray(value, self.values.dtype)[..., None]

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the fair score, `(...)`: unbiased by the number of draws (Ferro, 2014)."""
        paths = self.values.shape[-1]
        distance = np.abs(self.values - self._beside(outcome)).mean(axis=-1, dtype=np.float64)
        # The sum of all differences of two draws, from their ranks: 1 is the smallest.
        ranks = np.arange(1, paths + 1)
        coefficients = (2 * ranks - paths - 1) / (paths * (paths - 1))
        return distance - self.values @ coefficients.astype(self.values.dtype)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the share of draws of at most `value`, `(...)`."""
        return (self.values <= self._beside(value)).mean(axis=-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`, linear between the draws as in `numpy.quantile`."""
        last = self.values.shape[-1] - 1
        position = np.asarray(levels, np.float64) * last
        below = np.floor(position).astype(int)
        low, high = self.values[..., below], self.values[..., np.minimum(below + 1, last)]
        return low + (position - below) * (high - low).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class QuantileGrid:
    """Distributions known by their quantiles at a few levels.

    Between the levels the quantile is linear in the normal score of the level, and the outer two
    lines go on beyond: with two levels, it is a Gaussian.

    Attributes:
        levels: `(levels,)`, rising, between 0 and 1, two or more.
        values: `(..., levels)`; quantiles that cross are sorted (Chernozhukov et al., 2010).
    """

    levels: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        """Sorts the values."""
        values = np.sort(np.asarray(self.values, np.float64), axis=-1)
        _set(self, levels=np.asarray(self.levels, np.float64), values=values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self.values.shape[:-1]

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
        scores = special.ndtri(self.levels)
        left = np.clip((self.values <= value).sum(axis=-1, keepdims=True), 1, len(scores) - 1) - 1
        low, high = (np.take_along_axis(self.values, left + side, axis=-1) for side in (0, 1))
        # Where two quantiles are one value, the probability jumps there.
        jump = np.where(value == low, 0.0, np.where(value > low, np.inf, -np.inf))
        slope_less = high == low
        share = np.where(slope_less, jump, (value - low) / np.where(slope_less, 1.0, high - low))
        return special.ndtr(scores[left] + share * (scores[left + 1] - scores[left]))[..., 0]

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`."""
        scores, asked = special.ndtri(self.levels), special.ndtri(np.asarray(levels, np.float64))
        left = np.clip(np.searchsorted(scores, asked, side="right"), 1, len(scores) - 1) - 1
        share = (asked - scores[left]) / (scores[left + 1] - scores[left])
        low, high = self.values[..., left], self.values[..., left + 1]
        return low + share * (high - low)


@dataclasses.dataclass(frozen=True, eq=False)
class Joined:
    """Distributions of different kinds side by side along the last leading axis.

    Attributes:
        parts: Their leading shapes differ in the last axis alone.
    """

    parts: tuple["Distribution", ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape of all together."""
        return *self.parts[0].shape[:-1], sum(part.shape[-1] for part in self.parts)

    def _for_each(self, values: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([part.shape[-1] for part in self.parts])[:-1]
        return np.split(np.broadcast_to(values, self.shape), ends, axis=-1)

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Returns the score, `(...)`."""
        pairs = zip(self.parts, self._for_each(outcome), strict=True)
        return np.concatenate([part.crps(values) for part, values in pairs], axis=-1)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Returns the probability of at most `value`, `(...)`."""
        pairs = zip(self.parts, self._for_each(value), strict=True)
        return np.concatenate([part.cdf(values) for part, values in pairs], axis=-1)

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        """Returns `(..., levels)`."""
        return np.concatenate([part.quantile(levels) for part in self.parts], axis=-2)


Distribution = StudentT | GaussianMixture | Samples | QuantileGrid | Joined
