"""What a training takes over from the run that `--init-from` names."""

import dataclasses

import keras

from apps.captioning.config import SHAPE, Config
from apps.captioning.predict import Predictor
from common.errors import UserError
from common.training import flag


def with_shape_of(config: Config, start: Predictor) -> Config:
    """Returns the settings with the shape of the model that training goes on from.

    Raises:
        UserError: If a flag asks for another shape.
    """
    held, default = start.config, Config()
    for name in SHAPE:
        given, stored = getattr(config, name), getattr(held, name)
        if given not in (stored, getattr(default, name)):
            raise UserError(
                f"{flag(name)} {given} differs from the {stored} of --init-from"
                f" {config.init_from}: leave the flag out."
            )
    return dataclasses.replace(config, **{name: getattr(held, name) for name in SHAPE})


def copy_weights(start: keras.Model, captioner: keras.Model) -> None:
    """Gives a model the weights of one that may see features where this one sees pictures."""
    captioner.get_layer("decoder").set_weights(start.get_layer("decoder").get_weights())
    encoder, before = captioner.get_layer("encoder"), start.get_layer("encoder")
    names = {layer.name for layer in before.layers}
    for layer in encoder.layers:
        if layer.name in names and layer.weights:
            layer.set_weights(before.get_layer(layer.name).get_weights())
