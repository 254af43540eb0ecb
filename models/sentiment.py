"""Sentiment models: many tokens in, one verdict out, and what each token added to it."""

import keras
import numpy as np
from keras import layers, ops

from models.pooling import attention_weights, pool_last, pool_max, pool_mean
from models.recurrent import Chop, Join, recurrent_stack, sequence_mask


def build_encoder(
    *,
    vocab_size: int,
    embed_dim: int,
    bigram_buckets: int = 0,
    bigram_dim: int = 32,
    cell: str,
    units: int,
    num_layers: int = 1,
    bidirectional: bool = True,
    word_dropout: float = 0.0,
    bigram_dropout: float = 0.0,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
    region_length: int = 0,
    skip_connection: bool = False,
) -> keras.Model:
    """Builds the part that reads: token ids in, one state a token out.

    Args:
        vocab_size: Number of token ids; 0 is padding.
        embed_dim: Size of a token's vector.
        bigram_buckets: Rows of a second table, in which a token and the one before it find a
            vector by a hash (Joulin et al., 2017); 0 leaves it out.
        bigram_dim: Size of that vector.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`.
        units: Size of the state, of each direction.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Whether to read from both ends.
        word_dropout: Share of tokens whose whole vector is dropped.
        bigram_dropout: Share of pairs whose whole vector is dropped, besides.
        embedding_dropout: Share of the embedding's features dropped, the same ones at all steps.
        dropout: Between recurrent layers.
        region_length: Steps of its input, or 0 for any number.
        skip_connection: Whether the vectors stand beside the states in what comes out, so that
            the words also speak for themselves (Lai et al., 2015).

    Returns:
        A model `<int32>(batch, time)` -> `(batch, time, features)`: vectors if wanted, forward
        states, backward states if `bidirectional`.
    """
    tokens = keras.Input((region_length or None,), dtype="int32", name="tokens")
    mask = sequence_mask(tokens)
    vectors = layers.Embedding(vocab_size, embed_dim, name="embedding")(tokens)
    if bigram_buckets:
        pairs = layers.Embedding(
            bigram_buckets, bigram_dim, embeddings_initializer="zeros", name="bigram_embedding"
        )(hashed_bigrams(tokens, buckets=bigram_buckets))
        pairs = layers.Dropout(bigram_dropout, noise_shape=(None, None, 1), name="bigram_dropout")(
            pairs
        )
        vectors = ops.concatenate([vectors, pairs], axis=-1)
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
        dropout=dropout,
    )
    if skip_connection:
        states = ops.concatenate([vectors, states], axis=-1)
    return keras.Model(tokens, states, name="encoder")


def hashed_bigrams(tokens: keras.KerasTensor, *, buckets: int) -> keras.KerasTensor:
    """Returns a number for each token with the one before it, in the same region.

    Args:
        tokens: `<int32>(batch, time)`.
        buckets: Numbers to choose from; 0 is for pairs with padding or an unknown word. Two pairs
            may share a number.
    """
    before = ops.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    known = ops.logical_and(ops.greater(tokens, 1), ops.greater(before, 1))
    # Two primes; the sum stays within int32 up to a vocabulary of 260,000.
    number = ops.mod(before * 31 + tokens * 7919, buckets - 1) + 1
    return ops.where(known, number, 0)


def build_sentiment_classifier(
    encoder: keras.Model,
    *,
    num_classes: int,
    pooling: str,
    vector_features: int = 0,
    backward_units: int = 0,
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
        pooling: `max`, `mean`, `attention` or `last`, of the states.
        vector_features: How many of the encoder's first features are vectors; their mean stands
            beside the pooled states (as in Joulin et al., 2017).
        backward_units: How many of the encoder's last features read backward, for `last`.
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
    vectors, recurrent = states[:, :, :vector_features], states[:, :, vector_features:]
    if pooling == "max":
        pooled = pool_max(recurrent, mask)
    elif pooling == "mean":
        pooled = pool_mean(recurrent, mask)
    elif pooling == "attention":
        weights = attention_weights(recurrent, mask, units=attention_units)
        pooled = ops.sum(weights * recurrent, axis=1)
    else:
        pooled = pool_last(recurrent, mask, backward_units=backward_units)
    if vector_features:
        pooled = ops.concatenate([pool_mean(vectors, mask), pooled], axis=-1)
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(pooled)
    return keras.Model(tokens, logits, name="sentiment")


def build_explainer(model: keras.Model) -> keras.Model:
    """Returns a classifier with everything that `token_contributions` needs as outputs.

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
    vector_features: int = 0,
    backward_units: int = 0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Splits the logits among the tokens, exactly: the shares and the bias sum to the logits.

    With max pooling a feature belongs to the token where it is greatest, with mean and attention
    pooling to all by their weight, and with the last state to each step by how much it changed it
    (Murdoch and Szlam, 2017, take the same differences).

    Args:
        states: `(batch, time, features)` of the encoder.
        kernel: `(features, classes)` of the linear layer.
        lengths: `<int>(batch,)`, real tokens of each text.
        pooling: `max`, `mean`, `attention` or `last`.
        vector_features: How many of the first features are pooled by their mean instead.
        backward_units: How many of the last features read backward.
        weights: `(batch, time, 1)`, for attention pooling only.

    Returns:
        `(batch, time, classes)`, 0 at padding.
    """
    steps = np.arange(states.shape[1])[None, :, None]
    real = steps < lengths[:, None, None]
    kept = np.where(real, states, 0.0)
    vectors, recurrent = kept[:, :, :vector_features], kept[:, :, vector_features:]
    if pooling == "max":
        candidates = np.where(real, states[:, :, vector_features:], -np.inf)
        shares = np.where(steps == candidates.argmax(axis=1)[:, None, :], recurrent, 0.0)
    elif pooling == "mean":
        shares = recurrent / lengths[:, None, None]
    elif pooling == "attention":
        shares = recurrent * weights
    else:
        # A recurrence starts from zero, so its last state is the sum of its changes.
        shares = np.diff(recurrent, axis=1, prepend=0.0)
        if backward_units:
            backward = recurrent[:, :, -backward_units:]
            shares[:, :, -backward_units:] = -np.diff(backward, axis=1, append=0.0)
        shares = np.where(real, shares, 0.0)
    shares = np.concatenate([vectors / lengths[:, None, None], shares], axis=-1)
    return shares @ kernel
