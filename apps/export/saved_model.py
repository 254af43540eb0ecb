"""The SavedModel of a run folder, for servers of TensorFlow: written by Keras' own export.

Whoever loads it needs TensorFlow, and neither Keras nor this project.
"""

import importlib
import shutil
from pathlib import Path
from typing import Any

import keras
from keras import ops

from common.errors import UserError
from common.files import atomic_folder
from common.run_folder import EXPORT, lock_run, read_config
from data.text.subwords import END_ID, START_ID
from models.decode.generation import build_generator

FOLDER = "saved_model"


def save_servable(run: Path, *, task: str) -> Path:
    """Writes `export/saved_model` of a run folder.

    Args:
        run: Run folder.
        task: Its task.

    Returns:
        The folder.

    Raises:
        UserError: If the backend is not TensorFlow, or the run cannot be loaded.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "--format saved_model is written by TensorFlow: set KERAS_BACKEND=tensorflow."
        )
    read_config(run, task)
    path = run / EXPORT / FOLDER
    with lock_run(run):
        model = servable(run, task)
        shutil.rmtree(path, ignore_errors=True)
        with atomic_folder(path) as draft:
            model.export(draft, format="tf_saved_model", verbose=False)
    return path


def servable(run: Path, task: str) -> keras.Model:
    """Returns what is served of a run folder.

    Returns:
        sentiment: `<int32>(batch, time)` tokens to `(batch, classes)` logits.
        forecasting: `features` and `log_scale` to the parameters of the distribution.
        translation: `source` `<int32>(batch, time)` and `length_limit` `<int32>(batch,)` to
            `sequences` and `scores` of the run's own beam.
        captioning: `picture` `<uint8>(batch, size, size, 3)` and `length_limit` to the same.
    """
    predictor = importlib.import_module(f"apps.{task}.predictor").Predictor.load(
        run, runtime="keras"
    )
    model = predictor.network.model
    if task not in ("translation", "captioning"):
        return model
    generator = _generator(model, predictor.config)
    backbone = predictor.inputs.backbone if task == "captioning" else None
    if backbone is None:
        return generator
    inputs = {
        "picture": keras.Input(backbone.input.shape[1:], dtype="uint8", name="picture"),
        "length_limit": keras.Input((), dtype="int32", name="length_limit"),
    }
    regions = ops.cast(backbone(inputs["picture"]), model.input["picture"].dtype)
    return keras.Model(inputs, generator({**inputs, "picture": regions}), name="captioner")


def _generator(model: keras.Model, config: Any) -> keras.Model:
    """Returns the search that a run is scored with, for its longest sequences."""
    # As a translation: half as long again as the source, and ten.
    translates = hasattr(config, "source_language")
    most = config.max_length * 3 // 2 + 10 if translates else config.max_length + 1
    return build_generator(
        model.get_layer("encoder"),
        model.get_layer("decoder"),
        start_id=START_ID,
        end_id=END_ID,
        max_length=most,
        beam_size=config.beam_size,
        length_penalty=config.length_penalty,
    )
