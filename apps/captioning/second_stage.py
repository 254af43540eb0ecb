"""What a training takes over from the run that `--init-from` names."""

import keras

from apps.captioning.config import Config
from apps.captioning.predict import Predictor
from common.errors import UserError
from models.ensemble import is_ensemble


def load_start(config: Config, backbone_weights: str) -> Predictor:
    """Loads the run that `--init-from` names.

    Args:
        config: Settings of the second stage.
        backbone_weights: File of the backbone's weights, or empty.

    Raises:
        UserError: If training cannot go on from it.
    """
    start = Predictor.load(config.init_from, backbone_weights=backbone_weights)
    if is_ensemble(start.model):
        raise UserError(
            f"--init-from {config.init_from} is an ensemble: go on from one of its members."
        )
    if start.config.fine_tune and not config.fine_tune:
        raise UserError(
            f"--init-from {config.init_from} sees through a backbone of its own, trained by"
            f" --fine-tune {start.config.fine_tune}: give --fine-tune too."
        )
    return start


def copy_weights(start: keras.Model, captioner: keras.Model) -> None:
    """Gives a model the weights of one that may see features where this one sees pictures."""
    captioner.get_layer("decoder").set_weights(start.get_layer("decoder").get_weights())
    encoder, before = captioner.get_layer("encoder"), start.get_layer("encoder")
    names = {layer.name for layer in before.layers}
    for layer in encoder.layers:
        if layer.name in names and layer.weights:
            layer.set_weights(before.get_layer(layer.name).get_weights())
