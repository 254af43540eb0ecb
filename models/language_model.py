"""A language model in both directions: the encoder predicts each word from those beside it."""

import keras
import numpy as np
from keras import layers, ops


class SampledSoftmax(layers.Layer):
    """Negative log-likelihood of a word among some that were drawn (Bengio and Senecal, 2008).

    The words' vectors are tied to those of the encoder (Press and Wolf, 2017), and only the drawn
    rows of them are multiplied.

    Args:
        embedding: The encoder's embedding of words, built.
        log_expected: `(vocab_size,)`, logarithm of how often each word is drawn in a step, on
            average: what makes the sum over some stand for that over all.
    """

    def __init__(self, embedding: layers.Embedding, log_expected: np.ndarray, **options):
        """See the class."""
        super().__init__(**options)
        self.embedding = embedding
        self.log_expected = np.asarray(log_expected, dtype="float32")

    def build(self, *shapes):
        """Makes the bias of each word."""
        self.bias = self.add_weight(shape=self.log_expected.shape, initializer="zeros", name="bias")

    def call(self, predictions, words, drawn):
        """Returns the loss of each word in nats, `(batch, time)`, 0 at padding and unknown words.

        Args:
            predictions: `(batch, time, embed_dim)`.
            words: `<int32>(batch, time)`, those to predict.
            drawn: `<int32>(words,)`, those that they stand among.
        """
        vectors = self.embedding.embeddings
        right = ops.sum(predictions * ops.take(vectors, words, axis=0), axis=-1)
        right = right + ops.take(self.bias, words)
        others = ops.matmul(predictions, ops.transpose(ops.take(vectors, drawn, axis=0)))
        # Each stands for all that could have been drawn in its place.
        others = others + ops.take(self.bias - self.log_expected, drawn)
        # A word that was drawn itself must not stand there twice.
        others = ops.where(ops.equal(ops.expand_dims(words, -1), drawn), -1e9, others)
        losses = ops.logaddexp(right, ops.logsumexp(others, axis=-1)) - right
        return ops.where(ops.greater(words, 1), losses, 0.0)


def build_language_model(
    encoder: keras.Model,
    *,
    units: int,
    bidirectional: bool,
    log_expected: np.ndarray,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds what pretrains an encoder: each word from those before it, and from those after it.

    Args:
        encoder: From `models.sentiment.build_encoder`, with one recurrent layer, and with neither
            pairs of words nor vectors beside the states: each would give the words away.
        units: Size of its state, of each direction.
        bidirectional: Whether it reads from both ends.
        log_expected: As in `SampledSoftmax`.
        dropout: On the states.

    Returns:
        A model of `<int32>(batch, time)` words and `<int32>(words,)` drawn words -> the loss of
        each word, `(batch, directions, time - 1)`, 0 where there is none.
    """
    tokens = keras.Input(encoder.input_shape[1:], dtype="int32", name="tokens")
    drawn = keras.Input((), dtype="int32", name="drawn")
    embedding = encoder.get_layer("embedding")
    states = layers.Dropout(dropout, name="dropout")(encoder(tokens))
    sides = {"forward": (states[:, :-1, :units], tokens[:, 1:])}
    if bidirectional:
        sides["backward"] = states[:, 1:, units:], tokens[:, :-1]
    likelihood = SampledSoftmax(embedding, log_expected, name="likelihood")
    losses = [
        likelihood(layers.Dense(embedding.output_dim, name=f"{side}_output")(seen), words, drawn)
        for side, (seen, words) in sides.items()
    ]
    return keras.Model([tokens, drawn], ops.stack(losses, axis=1), name="language_model")


def mean_loss(known: np.ndarray, losses: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the mean over all words of the model's losses; `known` is 1 where there is a word."""
    return ops.sum(losses) / ops.maximum(ops.sum(ops.cast(known, losses.dtype)), 1.0)
