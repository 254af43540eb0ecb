"""A classifier of Keras, called like its exported graph."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.sentiment.config import BIGRAM_DIM, Config
from common.device import XLA
from common.run_folder import load_model
from models.sentiment import build_explainer, token_contributions
from models.sentiment_ensemble import ensemble_members


class KerasNetwork:
    """The model of a run folder, or the ensemble in it.

    Args:
        run: Run folder.
        config: Its settings, or those of the first member.
        members: Settings of each member that differ from `config`.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path, config: Config, members: Sequence[dict[str, Any]] = ({},)):
        """Loads the model."""
        self.model, self._config = load_model(run), config
        self.parameters = self.model.count_params()
        configs = [dataclasses.replace(config, **settings) for settings in members]
        self._members = list(zip(ensemble_members(self.model), configs, strict=True))
        self._explainers = [build_explainer(member) for member, _ in self._members]

    def logits(self, batches: keras.utils.PyDataset) -> np.ndarray:
        """Returns `(rows, classes)` of many texts, batch by batch, without contributions."""
        self.model.compile(jit_compile=XLA[self._config.jit_compile])
        return self.model.predict(batches, verbose=0)

    def __call__(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """Reads `<int32>(batch, time)` tokens.

        Returns:
            `logits` `(batch, classes)` and `contributions` `(batch, time, classes)`, each the mean
            over the members.
        """
        logits, contributions = [], []
        for explainer, (member, config) in zip(self._explainers, self._members, strict=True):
            outputs = {
                name: np.asarray(value)
                for name, value in explainer.predict_on_batch(tokens).items()
            }
            logits.append(outputs["logits"])
            contributions.append(
                token_contributions(
                    outputs["states"],
                    np.asarray(member.get_layer("logits").kernel),
                    np.count_nonzero(tokens, axis=1),
                    pooling=config.pooling,
                    **feature_counts(config),
                    weights=outputs.get("weights"),
                )
            )
        return {"logits": np.mean(logits, axis=0), "contributions": np.mean(contributions, axis=0)}


def feature_counts(config: Config) -> dict[str, int]:
    """Returns which of the encoder's features are vectors, and which read backward."""
    return {
        "vector_features": config.embed_dim + (BIGRAM_DIM if config.bigram_buckets else 0),
        "backward_units": config.units if config.bidirectional else 0,
    }
