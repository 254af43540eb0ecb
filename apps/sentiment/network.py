"""A classifier of Keras that is asked like its exported graph."""

from pathlib import Path

import keras
import numpy as np

from apps.sentiment.config import Config
from common.artifact import load_model
from common.device import XLA
from models.sentiment import build_explainer, token_contributions


class KerasNetwork:
    """The model of a run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path, config: Config):
        """Loads the model."""
        self.model, self._config = load_model(run), config
        self.parameters = self.model.count_params()
        self._explainer = build_explainer(self.model)

    def logits(self, batches: keras.utils.PyDataset) -> np.ndarray:
        """Returns `(rows, classes)` of many texts, batch by batch, without contributions."""
        self.model.compile(jit_compile=XLA[self._config.jit_compile])
        return self.model.predict(batches, verbose=0)

    def __call__(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """Reads `<int32>(batch, time)` tokens.

        Returns:
            `logits` `(batch, classes)` and `contributions` `(batch, time, classes)`.
        """
        outputs = {
            name: np.asarray(value)
            for name, value in self._explainer.predict_on_batch(tokens).items()
        }
        contributions = token_contributions(
            outputs["states"],
            np.asarray(self.model.get_layer("logits").kernel),
            np.count_nonzero(tokens, axis=1),
            pooling=self._config.pooling,
            **feature_counts(self._config),
            weights=outputs.get("weights"),
        )
        return {"logits": outputs["logits"], "contributions": contributions}


def feature_counts(config: Config) -> dict[str, int]:
    """Returns which of the encoder's features are vectors, and which read backward."""
    vectors = config.embed_dim + (config.bigram_dim if config.bigram_buckets else 0)
    return {
        "vector_features": vectors if config.skip_connection else 0,
        "backward_units": config.units if config.bidirectional else 0,
    }
