"""From the states of all steps to one vector a sequence; padding counts for nothing."""

import keras
from keras import layers, ops

from models.recurrent import take_steps

# Below any state that is kept, yet within the range of float16.
_NEVER_THE_MAXIMUM = -1e4


def pool_max(states: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the greatest value of each feature over the real steps: `(batch, features)`."""
    real = ops.expand_dims(mask, -1)
    return ops.max(ops.where(real, states, _NEVER_THE_MAXIMUM), axis=1)


def pool_mean(states: keras.KerasTensor, mask: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the mean of each feature over the real steps: `(batch, features)`."""
    real = ops.expand_dims(ops.cast(mask, states.dtype), -1)
    return ops.sum(states * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1)


def pool_last(
    states: keras.KerasTensor, mask: keras.KerasTensor, *, backward_units: int
) -> keras.KerasTensor:
    """Returns where each direction ends: forward at the last real step, backward at the first.

    Args:
        states: `(batch, time, features)`.
        mask: `<bool>(batch, time)`, True at real steps.
        backward_units: How many of the last features read backward.

    Returns:
        `(batch, features)`.
    """
    length = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
    last = ops.squeeze(take_steps(states, ops.maximum(length - 1, 0)), axis=1)
    if not backward_units:
        return last
    forward_units = states.shape[-1] - backward_units
    return ops.concatenate([last[:, :forward_units], states[:, 0, forward_units:]], axis=-1)


def attention_weights(
    states: keras.KerasTensor, mask: keras.KerasTensor, *, units: int
) -> keras.KerasTensor:
    """Returns how much each real step counts, `(batch, time, 1)`, summing to 1 (Yang et al., 2016).

    Args:
        states: `(batch, time, features)`.
        mask: `<bool>(batch, time)`, True at real steps.
        units: Size of the hidden layer that scores a step.
    """
    hidden = layers.Dense(units, activation="tanh", name="attention_hidden")(states)
    scores = layers.Dense(1, use_bias=False, name="attention_scores")(hidden)
    scores = ops.where(ops.expand_dims(mask, -1), scores, _NEVER_THE_MAXIMUM)
    return layers.Softmax(axis=1, name="attention_weights")(scores)
