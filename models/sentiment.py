"""Sentiment models: many tokens in, one verdict out, and what each token added to it."""

import keras
import numpy as np
from keras import layers, ops

from models.recurrent import (
    Chop,
    Join,
    attention_weights,
    pool_last,
    pool_max,
    pool_mean,
    recurrent_stack,
    sequence_mask,
)


def build_encoder(
    *,
    vocab_size: int,
    embed_dim: int,
    cell: str,
    units: int,
    num_layers: int = 1,
    bidirectional: bool = True,
    activation: str = "tanh",
    word_dropout: float = 0.0,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    region_length: int = 0,
) -> keras.Model:
    """Builds the part that reads: token ids in, one state a token out.

    Args:
        vocab_size: Number of token ids; 0 is padding.
        embed_dim: Size of a token's vector.
        cell: `simple_rnn`, `lstm` or `gru`.
        units: Size of the state, of each direction.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Whether to read from both ends.
        activation: `tanh` or `relu`, of `simple_rnn`.
        word_dropout: Share of tokens whose whole vector is dropped.
        embedding_dropout: Share of the embedding's features dropped, the same ones at all steps.
        dropout: Between recurrent layers.
        recurrent_dropout: Inside the recurrence.
        region_length: Steps of its input, or 0 for any number.

    Returns:
        A model `<int32>(batch, time)` -> `(batch, time, features)`.
    """
    tokens = keras.Input((region_length or None,), dtype="int32", name="tokens")
    mask = sequence_mask(tokens)
    vectors = layers.Embedding(vocab_size, embed_dim, name="embedding")(tokens)
    vectors = layers.Dropout(word_dropout, noise_shape=(None, None, 1), name="word_dropout")(
        vectors
    )
    vectors = layers.SpatialDropout1D(embedding_dropout, name="embedding_dropout")(vectors)
    states = recurrent_stack(
        vectors,
        mask,
        cell=cell,
        units=units,
        num_layers=num_layers,
        bidirectional=bidirectional,
        activation=activation,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
    )
    return keras.Model(tokens, states, name="encoder")


def build_sentiment_classifier(
    encoder: keras.Model,
    *,
    num_classes: int,
    pooling: str,
    bidirectional: bool,
    dropout: float = 0.0,
    region_length: int = 0,
    attention_units: int = 64,
) -> keras.Model:
    """Builds the classifier over an encoder: pool the states, one linear layer, logits.

    The layer after the pooling is linear, so that each token's share of the verdict is exact (see
    `token_contributions`).

    Args:
        encoder: From `build_encoder`, of the same `region_length`.
        num_classes: Number of labels.
        pooling: `max`, `mean`, `attention` or `last`.
        bidirectional: As the encoder.
        dropout: On the pooled features.
        region_length: Steps that the encoder reads at once; the time axis must be a multiple of
            it. 0 reads the whole text in one go.
        attention_units: Size of the layer that scores a step for `attention`.

    Returns:
        A model `<int32>(batch, time)` -> `(batch, num_classes)` logits.
    """
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = sequence_mask(tokens)
    if region_length:
        states = encoder(Chop(region_length, name="chop")(tokens))
        states = Join(name="states")(states, tokens)
    else:
        states = layers.Identity(name="states")(encoder(tokens))
    if pooling == "max":
        pooled = pool_max(states, mask)
    elif pooling == "mean":
        pooled = pool_mean(states, mask)
    elif pooling == "attention":
        weights = attention_weights(states, mask, units=attention_units)
        pooled = ops.sum(weights * states, axis=1)
    else:
        pooled = pool_last(states, mask, bidirectional=bidirectional)
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(pooled)
    return keras.Model(tokens, logits, name="sentiment")


def build_explainer(model: keras.Model) -> keras.Model:
    """Returns the classifier with everything that `token_contributions` needs as outputs.

    Args:
        model: From `build_sentiment_classifier`, trained or loaded.

    Returns:
        A model `<int32>(batch, time)` -> a dict of `logits` `(batch, classes)`, `states`
        `(batch, time, features)` and, with attention pooling, `weights` `(batch, time, 1)`.
    """
    outputs = {"logits": model.output, "states": model.get_layer("states").output}
    if any(layer.name == "attention_weights" for layer in model.layers):
        outputs["weights"] = model.get_layer("attention_weights").output
    return keras.Model(model.input, outputs, name="explainer")


def token_contributions(
    states: np.ndarray,
    kernel: np.ndarray,
    lengths: np.ndarray,
    *,
    pooling: str,
    bidirectional: bool,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Splits the logits among the tokens, exactly: the shares and the bias sum to the logits.

    With max pooling a feature belongs to the token where it is greatest, with mean and attention
    pooling to all by their weight, and with the last state to each step by how much it changed it
    (Murdoch and Szlam, 2017, take the same differences).

    Args:
        states: `(batch, time, features)` of the recurrent stack.
        kernel: `(features, classes)` of the linear layer.
        lengths: `<int>(batch,)`, real tokens of each text.
        pooling: `max`, `mean`, `attention` or `last`.
        bidirectional: Whether the second half of the features reads backward.
        weights: `(batch, time, 1)`, for attention pooling only.

    Returns:
        `(batch, time, classes)`, 0 at padding.
    """
    time = states.shape[1]
    real = (np.arange(time) < lengths[:, None])[:, :, None]
    if pooling == "max":
        winner = np.argmax(np.where(real, states, -np.inf), axis=1)
        shares = np.where(np.arange(time)[None, :, None] == winner[:, None, :], states, 0.0)
    elif pooling == "mean":
        shares = np.where(real, states, 0.0) / np.maximum(lengths, 1)[:, None, None]
    elif pooling == "attention":
        shares = np.where(real, states * weights, 0.0)
    else:
        # A recurrence starts from zero, so its last state is the sum of its changes.
        kept = np.where(real, states, 0.0)
        shares = np.diff(kept, axis=1, prepend=0.0)
        if bidirectional:
            units = states.shape[-1] // 2
            shares[:, :, units:] = -np.diff(kept[:, :, units:], axis=1, append=0.0)
        shares = np.where(real, shares, 0.0)
    return shares @ kernel
