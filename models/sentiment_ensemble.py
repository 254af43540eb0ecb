"""Several trained sentiment classifiers as one wider classifier."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from models.sentiment import build_sentiment_classifier


def join_sentiment_classifiers(
    members: Sequence[keras.Model],
    *,
    pooling: str,
    vector_features: Sequence[int],
    backward_units: Sequence[int],
    region_length: int = 0,
) -> keras.Model:
    """Joins classifiers: the verdict has the mean of their logits.

    What follows the pooling is linear, so the members side by side, under one linear layer that
    holds all their kernels, are a classifier like any other: each token's share of the verdict
    stays exact (see `models.sentiment.token_contributions`).

    Args:
        members: At least two from `build_sentiment_classifier`, of one vocabulary and the same
            labels; cell, sizes and layers may differ.
        pooling: `max`, `mean` or `last`, of all of them.
        vector_features: Of each, as its builder took it.
        backward_units: Of each, as its builder took it.
        region_length: Of all of them.

    Returns:
        A model `<int32>(batch, time)` -> `(batch, num_classes)` logits, with the sums of
        `vector_features` and `backward_units` for its own.

    Raises:
        ValueError: If there are fewer than two members, the numbers of labels differ, or attention
            pools, which weighs the steps of each member differently.
    """
    if len(members) < 2:
        raise ValueError("An ensemble has at least two members.")
    if pooling == "attention":
        raise ValueError("Attention weighs the steps of each member differently.")
    heads = [member.get_layer("logits").get_weights() for member in members]
    classes = {bias.shape[0] for _, bias in heads}
    if len(classes) > 1:
        raise ValueError(f"They know {' and '.join(map(str, sorted(classes)))} labels.")
    tokens = keras.Input((region_length or None,), dtype="int32", name="tokens")
    # Vectors, forward and backward states, each of all members: as one encoder orders them.
    states, kernels = ([], [], []), ([], [], [])
    parts = zip(members, heads, vector_features, backward_units, strict=True)
    for index, (member, (kernel, _), vectors, backward) in enumerate(parts, start=1):
        encoder = member.get_layer("encoder")
        seen = keras.Model(encoder.input, encoder.output, name=f"encoder_{index}")(tokens)
        end = kernel.shape[0] - backward
        for place, part in enumerate((slice(vectors), slice(vectors, end), slice(end, None))):
            states[place].append(seen[:, :, part])
            kernels[place].append(kernel[part])
    wide = ops.concatenate([part for kind in states for part in kind if part.shape[-1]], axis=-1)
    model = build_sentiment_classifier(
        keras.Model(tokens, wide, name="encoder"),
        num_classes=classes.pop(),
        pooling=pooling,
        vector_features=sum(vector_features),
        backward_units=sum(backward_units),
        region_length=region_length,
    )
    kernel = np.concatenate([part for kind in kernels for part in kind])
    bias = np.mean([bias for _, bias in heads], axis=0)
    model.get_layer("logits").set_weights([kernel / len(members), bias])
    return model
