"""The optimisers that every app offers."""

import keras

OPTIMIZERS = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(
    name: str, *, learning_rate: float, weight_decay: float = 0.0
) -> keras.optimizers.Optimizer:
    """Returns an optimizer without a schedule or clipping of its own: callbacks own those.

    Args:
        name: `rmsprop`, `adam`, `adamw` or `sgd` (with Nesterov momentum .9).
        learning_rate: Peak rate.
        weight_decay: Decoupled decay; 0 leaves it out.
    """
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    return OPTIMIZERS[name](learning_rate, weight_decay=weight_decay or None, **options)
