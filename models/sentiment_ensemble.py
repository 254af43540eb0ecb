"""Several trained sentiment classifiers as one model, whose logits are the mean of theirs."""

from collections.abc import Sequence

import keras
from keras import layers


def join_sentiment_classifiers(members: Sequence[keras.Model]) -> keras.Model:
    """Joins classifiers of one vocabulary and the same labels; all else may differ.

    Returns:
        A model `<int32>(batch, time)` -> `(batch, num_classes)` logits, with the members as its
        layers `member_1`, `member_2` and so on.

    Raises:
        ValueError: If the numbers of labels differ.
    """
    sizes = {member.output.shape[-1] for member in members}
    if len(sizes) > 1:
        raise ValueError(f"They know {' and '.join(map(str, sorted(sizes)))} labels.")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    named = [
        keras.Model(member.input, member.output, name=f"member_{number}")
        for number, member in enumerate(members, start=1)
    ]
    logits = layers.Average(name="logits")([member(tokens) for member in named])
    return keras.Model(tokens, logits, name="sentiment")


def ensemble_members(model: keras.Model) -> list[keras.Model]:
    """Returns the classifiers that a model consists of: itself, if it is not an ensemble."""
    return [
        layer
        for layer in model.layers
        if isinstance(layer, keras.Model) and layer.name.startswith("member_")
    ] or [model]
