"""A forecaster of Keras that is asked like its exported graph."""

from pathlib import Path

import numpy as np

from apps.forecasting.config import Config
from common.device import XLA
from common.run_folder import load_model
from models import forecasting  # noqa: F401 - a reload needs its layers


class KerasNetwork:
    """The model of a run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path, config: Config):
        """Loads the model."""
        self.model = load_model(run)
        self.parameters = self.model.count_params()
        self.model.compile(jit_compile=XLA[config.jit_compile])

    def __call__(self, *wanted: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Takes `features` and `log_scale`; returns `parameters`, see `build_forecaster`."""
        return {"parameters": np.asarray(self.model.predict_on_batch(inputs))}
