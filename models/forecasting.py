"""Forecasting models: a window of days in, a distribution of the next days' returns out."""

import keras
import numpy as np
from keras import layers, ops

from models.recurrent import CarriedStates, recurrent_layer

# Factors of the plain estimate of the standard deviation that a distribution starts from.
_STUDENT_SCALE, _STUDENT_DF, _LEAST_DF = 0.8, 4.6, 2.1
_NARROWEST, _WIDEST = 0.5, 1.8
# Gaussians of a mixture.
_COMPONENTS = 3
# Share of the windows in training that are forecast without the recurrence.
_WITHOUT_STATES = 0.5
# How far a scale may move from its start: a factor of 20 either way.
_MOST = 3.0
_HALF_LOG_2_PI = 0.9189385332


def build_forecaster(
    *,
    horizon: int,
    cell: str,
    units: int,
    num_layers: int = 1,
    mean: np.ndarray,
    variance: np.ndarray,
    distribution: str = "mixture",
    location: str = "premium",
    dropout: float = 0.0,
    stateful_rows: int = 0,
) -> keras.Model:
    """Builds a model that gives a distribution for each of the next days, at every step.

    The recurrence corrects a plain estimate of the standard deviation, which grows with the square
    root of the days ahead, and shapes the distribution around it.

    Args:
        horizon: Days ahead.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`.
        units: Size of the state.
        num_layers: Recurrent layers on top of each other.
        mean: `(features,)` of the training days; the model normalises by it.
        variance: `(features,)` likewise.
        distribution: `mixture` of Gaussians, `student_t` or `quantiles`.
        location: `premium` for one learned multiple of the scale a day ahead; `network` for a
            middle that is computed from the states.
        dropout: Share of the states and, at all steps of a window alike, of the features dropped.
        stateful_rows: Rows of a model that keeps its states from batch to batch; 0 for none.

    Returns:
        A model of `features` `(batch, time, features)`, NaN where unknown, and `log_scale`
        `(batch, time)`, to `(batch, time, horizon, parameters)` in per cent of log return:
        weights, common location and scales of the Gaussians; location, scale and degrees of
        freedom; or the values at `quantile_levels()`.
    """
    size = len(mean)
    features = keras.Input((None, size), batch_size=stateful_rows or None, name="features")
    log_scale = keras.Input((None,), batch_size=stateful_rows or None, name="log_scale")
    normalised = layers.Normalization(mean=mean, variance=variance, name="normalised")(features)
    # Unknown features are replaced by their mean; the others are cut at six deviations.
    normalised = ops.where(ops.isnan(features), 0.0, ops.clip(normalised, -6.0, 6.0))
    seen = layers.Dropout(dropout, noise_shape=(None, 1, size), name="input_dropout")(normalised)
    states = seen
    for index in range(1, num_layers + 1):
        layer = recurrent_layer(
            cell, units, return_state=stateful_rows > 0, name=f"forward_{index}"
        )
        if stateful_rows:
            layer = CarriedStates(layer, stateful_rows, name=f"carried_{index}")
        states = layers.Dropout(dropout, name=f"dropout_{index}")(layer(states))
    # The output layer sees the day's features too. Alone they must forecast by themselves, so that
    # the recurrence only corrects a plain forecast: far ahead it would learn the years by heart.
    states = layers.Dropout(_WITHOUT_STATES, noise_shape=(None, 1, 1), name="without_states")(
        states
    )
    states = ops.concatenate([states, seen], axis=-1)

    # In per cent, `(batch, time, horizon, 1)`.
    growth = np.sqrt(np.arange(1, horizon + 1, dtype="float32"))
    spread = 100 * ops.exp(log_scale)[:, :, None, None] * growth[:, None]
    count, shape_distribution = {
        "mixture": (2 * _COMPONENTS, _mixture),
        "student_t": (2, _student_t),
        "quantiles": (len(quantile_levels()), _quantiles),
    }[distribution]
    raw = _raw_parameters(states, horizon, count)
    if location == "network":
        middle = _raw_parameters(states, horizon, 1, name="location")
    else:
        # A dense layer of a constant is a trainable number for each day ahead.
        premium = layers.Dense(horizon, use_bias=False, kernel_initializer="zeros", name="location")
        middle = premium(ops.ones_like(log_scale)[:, :, None])[..., None]
    inputs = {"features": features, "log_scale": log_scale}
    return keras.Model(inputs, shape_distribution(raw, middle, spread), name="forecaster")


def _raw_parameters(states, horizon: int, count: int, name: str = "parameters"):
    """Returns `(batch, time, horizon, count)`, near 0 at the start."""
    dense = layers.Dense(
        horizon * count, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name=name
    )
    return layers.Reshape((-1, horizon, count), name=f"{name}_by_day")(dense(states))


def _mixture(raw, middle, spread):
    start = np.geomspace(_NARROWEST, _WIDEST, _COMPONENTS, dtype="float32")
    # The wider, the rarer.
    weights = ops.softmax(raw[..., :_COMPONENTS] - np.log(start), axis=-1)
    scales = spread * start * ops.exp(ops.clip(raw[..., _COMPONENTS:], -_MOST, _MOST))
    mean_scale = ops.sum(weights * scales, axis=-1, keepdims=True)
    return ops.concatenate([weights, middle * mean_scale, scales], axis=-1)


def _student_t(raw, middle, spread):
    scale = spread * _STUDENT_SCALE * ops.exp(ops.clip(raw[..., :1], -_MOST, _MOST))
    # Softplus of what starts the degrees of freedom at their usual value.
    offset = float(np.log(np.expm1(_STUDENT_DF - _LEAST_DF)))
    df = _LEAST_DF + ops.softplus(raw[..., 1:] + offset)
    return ops.concatenate([middle * scale, scale, df], axis=-1)


def quantile_levels() -> np.ndarray:
    """Returns the levels of the `quantiles` distribution: 0.025, 0.05, ... 0.975."""
    return np.arange(1, 40) / 40


def _quantiles(raw, middle, spread):
    # Steps between neighbours are positive, so quantiles never cross.
    start = _gaussian_quantiles()
    half = len(start) // 2
    gaps = np.diff(start)
    steps = ops.softplus(raw + np.log(np.expm1(np.insert(gaps, half, 1.0))).astype("float32"))
    above = ops.cumsum(steps[..., half + 1 :], axis=-1)
    below = ops.flip(ops.cumsum(ops.flip(steps[..., :half], axis=-1), axis=-1), axis=-1)
    # The number in the middle scales them all, which a change of volatility asks for.
    size = steps[..., half : half + 1]
    centred = ops.concatenate([-below, ops.zeros_like(size), above], axis=-1) * size
    return spread * (middle + centred)


def _gaussian_quantiles() -> np.ndarray:
    """The quantiles of a standard Gaussian at `quantile_levels()`."""
    inverse = ops.erfinv((2 * quantile_levels() - 1).astype("float32"))
    return np.sqrt(2) * ops.convert_to_numpy(inverse)


def _mean_where_known(losses, targets):
    """Returns the mean of the losses whose target is a number, 0 if there is none."""
    known = ops.cast(ops.logical_not(ops.isnan(targets)), losses.dtype)
    return ops.sum(losses * known) / ops.maximum(ops.sum(known), 1.0)


def _filled(targets):
    return ops.where(ops.isnan(targets), 0.0, targets)


def _parts(parameters):
    """Returns a mixture's weights, location `(batch, time, horizon)` and scales."""
    components = parameters.shape[-1] // 2
    weights, scales = parameters[..., :components], parameters[..., components + 1 :]
    return weights, parameters[..., components], scales


def _growth(parameters):
    """Returns the square root of the days ahead, `(horizon,)`, so that far days weigh no more."""
    return ops.sqrt(ops.arange(1, parameters.shape[2] + 1, dtype="float32"))


def mixture_nll(targets, parameters):
    """Returns the negative log-likelihood of a mixture of Gaussians, a scalar.

    Args:
        targets: `(batch, time, horizon)`; NaN is left out.
        parameters: `(batch, time, horizon, parameters)` of the model.
    """
    weights, location, scales = _parts(parameters)
    z = (_filled(targets) - location)[..., None] / scales
    log_density = ops.log(weights + 1e-9) - ops.log(scales) - 0.5 * z**2 - _HALF_LOG_2_PI
    return _mean_where_known(-ops.logsumexp(log_density, axis=-1), targets)


def mixture_crps(targets, parameters):
    """Returns the continuous ranked probability score of a mixture (Grimit et al., 2006), a scalar.

    Arguments as `mixture_nll`. It is divided by the square root of the days ahead.
    """
    weights, location, scales = _parts(parameters)
    error = (_filled(targets) - location)[..., None]
    distance = ops.sum(weights * _absolute_mean(error, scales), axis=-1)
    variance = scales**2
    # Two draws of one mixture have the same location.
    both = ops.sqrt(variance[..., :, None] + variance[..., None, :]) * float(np.sqrt(2 / np.pi))
    pairs = weights[..., :, None] * weights[..., None, :] * both
    crps = distance - 0.5 * ops.sum(pairs, axis=(-2, -1))
    return _mean_where_known(crps / _growth(parameters), targets)


def _absolute_mean(mean, scale):
    """The mean of the absolute value of a Gaussian."""
    z = mean / scale
    density = ops.exp(-0.5 * z**2) * float(np.sqrt(2 / np.pi))
    return mean * ops.erf(z * float(np.sqrt(0.5))) + scale * density


def student_t_nll(targets, parameters):
    """Returns the negative log-likelihood of a Student-t, a scalar; arguments as `mixture_nll`."""
    location, scale, df = parameters[..., 0], parameters[..., 1], parameters[..., 2]
    z = (_filled(targets) - location) / scale
    log_density = (
        _log_gamma((df + 1) / 2)
        - _log_gamma(df / 2)
        - 0.5 * ops.log(df * np.pi)
        - ops.log(scale)
        - (df + 1) / 2 * ops.log1p(z * z / df)
    )
    return _mean_where_known(-log_density, targets)


def _log_gamma(x):
    """Stirling's series, moved up by 4 where it is exact to 1e-7."""
    product = x * (x + 1) * (x + 2) * (x + 3)
    y = x + 4
    inverse = 1 / y
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    return (y - 0.5) * ops.log(y) - y + _HALF_LOG_2_PI + series - ops.log(product)


def pinball(targets, parameters):
    """Returns the pinball loss over `quantile_levels()`, a scalar; arguments as `mixture_nll`.

    It is divided by the square root of the days ahead.
    """
    levels = ops.convert_to_tensor(quantile_levels(), "float32")
    error = _filled(targets)[..., None] - parameters
    losses = ops.mean(ops.maximum(levels * error, (levels - 1) * error), axis=-1)
    return _mean_where_known(losses / _growth(parameters), targets)


LOSSES = {
    ("mixture", "nll"): mixture_nll,
    ("mixture", "crps"): mixture_crps,
    ("student_t", "nll"): student_t_nll,
    ("quantiles", "pinball"): pinball,
}
