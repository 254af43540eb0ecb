"""Translation models: a sentence in, its translation out, one word after the other."""

import re
from collections.abc import Callable

import keras
from keras import layers, ops

from models.attention_decoder import initial_states, unit_vectors
from models.recurrent import pool_last, recurrent_stack, sequence_mask


@keras.saving.register_keras_serializable(package="models")
class SharedEmbedding(layers.Embedding):
    """An embedding that hands out all its vectors besides those of the tokens.

    A layer that two models call is not one layer any more after a reload, but a tensor that one
    hands to the other is.
    """

    def call(self, tokens):
        """Returns `(batch, time, embed_dim)` and `(vocab_size, embed_dim)`."""
        table = ops.cast(self.embeddings, self.compute_dtype)
        return ops.take(table, tokens, axis=0), table

    def compute_output_spec(self, tokens):
        """Returns both without values."""
        shapes = (*tokens.shape, self.output_dim), (self.input_dim, self.output_dim)
        return tuple(keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes)


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
    decoder_units: int,
    decoder_layers: int = 1,
    share_embedding: bool = False,
) -> keras.Model:
    """Builds the part that reads: a sentence in, the decoder's memory and first states out.

    Args:
        vocab_size: Number of token ids; 0 is padding.
        embed_dim: Size of a token's vector.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`, of the decoder too.
        units: Size of the state, of each direction.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Whether to read from both ends.
        activation: `tanh` or `relu`, of `simple_rnn`.
        word_dropout: Share of tokens whose whole vector is dropped.
        embedding_dropout: Share of the vectors' features dropped, the same ones at all steps.
        dropout: Between recurrent layers and on the memory.
        recurrent_dropout: Inside the recurrence.
        decoder_units: Size of the decoder's states.
        decoder_layers: Recurrent layers of the decoder.
        share_embedding: Whether the decoder, built alike, shall use this table of vectors: both
            languages have one vocabulary then.

    Returns:
        A model named `encoder`, from `source` `<int32>(batch, time)` to a dict: `memory` `(batch,
        time, units)`, or twice the units in both directions, `memory_mask` `<bool>(batch, time)`,
        True at real tokens, `states`, a list of `(batch, decoder_units)`, and with
        `share_embedding` `embeddings` `(vocab_size, embed_dim)`.
    """
    source = keras.Input((None,), dtype="int32", name="source")
    mask = sequence_mask(source)
    embedding = (SharedEmbedding if share_embedding else layers.Embedding)(
        vocab_size, embed_dim, embeddings_initializer=unit_vectors(), name="embedding"
    )
    vectors, *table = keras.tree.flatten(embedding(source))
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
    memory = layers.Dropout(dropout, name="memory")(states)
    summary = pool_last(memory, mask, backward_units=units if bidirectional else 0)
    outputs = {
        "memory": memory,
        "memory_mask": mask,
        "states": initial_states(
            summary, cell=cell, units=decoder_units, num_layers=decoder_layers
        ),
    }
    if share_embedding:
        outputs["embeddings"] = table[0]
    return keras.Model(source, outputs, name="encoder")


def model_name(source_language: str, target_language: str) -> str:
    """Returns the name of a translator, by which a saved one tells its direction."""
    return re.sub(r"\W", "_", f"translation_{source_language}_{target_language}")


def build_translator(
    encoder: keras.Model,
    decoder: keras.Model,
    *,
    own_words: float = 0.0,
    ramp_steps: int = 1,
    name: str = "translation",
) -> keras.Model:
    """Joins both parts for training: teacher forcing, all steps at once.

    Args:
        encoder: From `build_encoder`.
        decoder: From `build_attention_decoder`, of the same cell, `memory_dim` as the encoder's
            memory, and `units` and `num_layers` as `decoder_units` and `decoder_layers`.
        own_words: Share of the words of `target_in` that are replaced by the decoder's own guesses
            in training, see `OwnWords`; 0 is plain teacher forcing. Save a model without.
        ramp_steps: Steps until the share is reached.
        name: Name of the model.

    Returns:
        A model of a dict of `source` `<int32>(batch, source_length)` and `target_in`
        `<int32>(batch, target_length)` to logits `(batch, target_length, vocab_size)` of
        `target_out`, the target one step later. `get_layer` finds `encoder` and `decoder` in it,
        also after a reload.
    """
    source = keras.Input((None,), dtype="int32", name="source")
    target_in = keras.Input((None,), dtype="int32", name="target_in")
    memory = encoder(source)
    words = target_in
    if own_words:
        guesses = decoder({"target_in": target_in, **memory})["logits"]
        words = OwnWords(own_words, ramp_steps, name="own_words")(target_in, guesses)
    logits = decoder({"target_in": words, **memory})["logits"]
    return keras.Model({"source": source, "target_in": target_in}, logits, name=name)


class OwnWords(layers.Layer):
    """Puts the decoder's guesses in the place of some right words, in training only.

    Scheduled sampling (Bengio et al., 2015) in two passes over the whole target (Mihaylova and
    Martins, 2019): the guesses are those of teacher forcing, all made at once.

    Args:
        share: Probability of a replacement in the end.
        ramp_steps: Steps over which it rises to that, linearly from 0.
    """

    def __init__(self, share: float, ramp_steps: int, **options):
        """See the class."""
        super().__init__(**options)
        self.share, self.ramp_steps = share, ramp_steps
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, target_in, logits, training=False):
        """Returns `<int32>(batch, time)`: `target_in`, or guesses one step later in its place."""
        if not training:
            return target_in
        share = self.share * ops.minimum(self.steps / self.ramp_steps, 1.0)
        self.steps.assign_add(1.0)
        guesses = ops.cast(ops.argmax(logits, axis=-1), "int32")
        # What is guessed after a word is read in the next step; the start stays.
        guesses = ops.concatenate([target_in[:, :1], guesses[:, :-1]], axis=1)
        drawn = keras.random.uniform(ops.shape(target_in), seed=self.seed_generator) < share
        replaced = ops.logical_and(drawn, ops.not_equal(target_in, 0))
        return ops.where(replaced, guesses, target_in)


def smoothed_cross_entropy(label_smoothing: float = 0.0) -> Callable:
    """Returns a loss: the mean cross-entropy over the real tokens of a batch, in nats.

    Each target is a mixture: `1 - label_smoothing` of the right word and `label_smoothing` spread
    evenly over the whole vocabulary (Szegedy et al., 2016). Padding, id 0, counts neither above
    nor below the fraction line.

    Args:
        label_smoothing: In 0 to 1; without it, the exponential of the loss is the perplexity.

    Returns:
        A function of targets `<int>(batch, time)` and logits `(batch, time, vocab_size)` to a
        scalar, 0 if there is nothing but padding.
    """

    def loss(targets, logits):
        real = ops.cast(ops.not_equal(targets, 0), logits.dtype)
        losses = _cross_entropy(
            ops.cast(targets, "int32"), ops.convert_to_tensor(logits), label_smoothing
        )
        return ops.sum(losses * real) / ops.maximum(ops.sum(real), 1.0)

    return loss


def _cross_entropy(targets, logits, label_smoothing: float):
    """Returns the loss of each token, `(batch, time)`, see `smoothed_cross_entropy`.

    The gradient is written out, because nothing else in a step is as large as what runs over the
    whole vocabulary: this takes each power once, and the softmax comes without a second pass.
    """

    @ops.custom_gradient
    def cross_entropy(logits):
        top = ops.max(logits, axis=-1, keepdims=True)
        powers = ops.exp(logits - top)
        total = ops.sum(powers, axis=-1, keepdims=True)
        right = ops.take_along_axis(logits, ops.expand_dims(targets, -1), axis=-1)
        even = ops.mean(logits, axis=-1, keepdims=True)
        losses = top + ops.log(total) - (1 - label_smoothing) * right - label_smoothing * even

        # PyTorch hands the gradient over by name, the others as the only argument.
        def gradient(*arguments, upstream=None):
            upstream = ops.expand_dims(arguments[0] if upstream is None else upstream, -1)
            vocab_size = ops.shape(logits)[-1]
            wanted = (1 - label_smoothing) * ops.one_hot(targets, vocab_size, dtype=logits.dtype)
            wanted = wanted + label_smoothing / ops.cast(vocab_size, logits.dtype)
            return powers * (upstream / total) - wanted * upstream

        return ops.squeeze(losses, axis=-1), gradient

    return cross_entropy(logits)
