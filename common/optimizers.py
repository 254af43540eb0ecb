"""The optimizers that every app offers."""

import keras

OPTIMIZERS = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(name: str, *, learning_rate: float) -> keras.optimizers.Optimizer:
    """Returns an optimizer without a schedule or clipping of its own: callbacks own those.

    Args:
        name: `rmsprop`, `adam` or `sgd` (with Nesterov momentum .9).
        learning_rate: Peak rate.
    """
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    return OPTIMIZERS[name](learning_rate, **options)
