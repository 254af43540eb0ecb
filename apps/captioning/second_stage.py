"""What a training takes over from the run that `--init-from` names."""

import keras


def copy_weights(start: keras.Model, captioner: keras.Model) -> None:
    """Gives a model the weights of one that may see features where this one sees pictures."""
    captioner.get_layer("decoder").set_weights(start.get_layer("decoder").get_weights())
    encoder, before = captioner.get_layer("encoder"), start.get_layer("encoder")
    names = {layer.name for layer in before.layers}
    for layer in encoder.layers:
        if layer.name in names and layer.weights:
            layer.set_weights(before.get_layer(layer.name).get_weights())
