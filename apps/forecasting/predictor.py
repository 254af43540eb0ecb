"""A trained forecaster from a run folder: `Predictor.load(run).distribution(features, origins)`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from apps.export.runtime import Runtime, choose
from apps.forecasting.config import Config
from apps.forecasting.distributions import Distribution, GaussianMixture, QuantileGrid, StudentT
from common.errors import UserError
from common.run_folder import CONFIG, read_config
from common.settings import config_from_flags
from data.prices.features import Features, days_needed

PRETRAINED = Path(__file__).parent / "pretrained"
# Windows that go through the model at once.
_BATCH = 256
# Days to whose multiple a whole history is filled up.
_PIECE = 1000
# Factor of the scale 20 days ahead.
_WIDER_AT_20_DAYS = 1.026


class Predictor:
    """A trained forecasting model, from a run folder alone."""

    def __init__(self, network: Callable[..., dict], config: Config):
        """Takes the parts; use `Predictor.load`.

        Args:
            network: From `features` `(batch, time, features)` and `log_scale` `(batch, time)` to
                `parameters` `(batch, time, horizon, parameters)`.
            config: Settings of the run.
        """
        self.network, self.config = network, config

    @classmethod
    def load(cls, run: str | Path, *, runtime: Runtime = "auto", threads: int = 0) -> "Predictor":
        """Loads a run folder.

        Args:
            run: Run folder.
            runtime: What computes: `onnx`, `keras`, or the former if there is an export (`auto`).
            threads: Of an export; 0 for one a core.

        Raises:
            UserError: If the folder is missing, incomplete or of another task, or, with `onnx`, if
                its export cannot be used.
        """
        run = Path(run)
        stored = read_config(run, "forecasting")
        config = config_from_flags(Config, stored, run / CONFIG)
        network = choose(run, task="forecasting", runtime=runtime, threads=threads)
        if network is None:
            from apps.forecasting.network import KerasNetwork

            network = KerasNetwork(run, config)
        return cls(network, config)

    def distribution(self, features: Features, origins: np.ndarray) -> Distribution:
        """Returns forecasts from the close of some days on.

        Args:
            features: Of one ticker.
            origins: `<int>(origins,)`, indices of days.

        Returns:
            Distributions of the cumulative log returns, `(origins, horizon)`.

        Raises:
            UserError: If there are too few days before the first origin.
        """
        needed = days_needed(self.config.lookback)
        if origins.min() + 1 < needed:
            raise UserError(
                f"{features.ticker}: --lookback {self.config.lookback} needs {needed} days up to"
                f" the forecast, but there are {origins.min() + 1} ({features.dates[0]} to"
                f" {features.dates[origins.min()]}): give a longer history."
            )
        read = self._read_history if self.config.stateful else self._read_windows
        return as_distribution(read(features, origins), self.config.distribution)

    def _read_history(self, features: Features, origins: np.ndarray) -> np.ndarray:
        """Reads everything up to the last origin once; `(origins, horizon, parameters)`."""
        count = origins.max() + 1
        # Padding after the last day changes no forecast and keeps the number of shapes small.
        padding = -count % _PIECE
        days = np.pad(features.inputs[:count], ((0, padding), (0, 0)), constant_values=np.nan)
        log_scale = np.pad(features.log_scale[:count], (0, padding))
        outputs = self.network("parameters", features=days[None], log_scale=log_scale[None])
        return outputs["parameters"][0, origins]

    def _read_windows(self, features: Features, origins: np.ndarray) -> np.ndarray:
        """Reads one window an origin; `(origins, horizon, parameters)`."""
        outputs = []
        back = np.arange(1 - self.config.lookback, 1)
        for start in range(0, len(origins), _BATCH):
            days = origins[start : start + _BATCH, None] + back
            # The same number of rows each time, so that only one shape is compiled.
            rows = np.resize(days, (_BATCH if len(origins) > _BATCH else len(days), len(back)))
            inputs = {"features": features.inputs[rows], "log_scale": features.log_scale[rows]}
            parameters = self.network("parameters", **inputs)["parameters"]
            outputs.append(parameters[: len(days), -1])
        return np.concatenate(outputs)


def spread_factors(horizon: int) -> np.ndarray:
    """Returns the factor of the scale for each day ahead, `(horizon,)`: 1 for the first.

    A model that has seen some years takes the next one for more alike to them than it turns out. On
    the years 2006 to 2016, each forecast by models of earlier years alone, the most likely factor
    rose from about 1 for the first day to 1.026 for the twentieth.
    """
    days = np.arange(1, horizon + 1)
    return _WIDER_AT_20_DAYS ** (np.log(days) / np.log(20))


def as_distribution(parameters: np.ndarray, kind: str) -> Distribution:
    """Returns the distributions that a model's output describes, as wide as `spread_factors` says.

    Args:
        parameters: `(..., horizon, parameters)` in per cent of log return.
        kind: `mixture`, `student_t` or `quantiles`.

    Returns:
        Distributions of log returns over the leading shape.
    """
    parameters = parameters.astype(np.float64)
    factors = spread_factors(parameters.shape[-2])
    if kind == "mixture":
        count = parameters.shape[-1] // 2
        scales = factors[:, None] * parameters[..., count + 1 :] / 100
        location = np.broadcast_to(parameters[..., count : count + 1] / 100, scales.shape)
        return GaussianMixture(parameters[..., :count], location, scales)
    if kind == "student_t":
        location, scale, df = np.moveaxis(parameters, -1, 0)
        return StudentT(location / 100, factors * scale / 100, df)
    # As `models.forecasting.quantile_levels`, at equal steps.
    count = parameters.shape[-1]
    median = parameters[..., count // 2, None]
    values = (median + factors[:, None] * (parameters - median)) / 100
    return QuantileGrid(np.arange(1, count + 1) / (count + 1), values)
