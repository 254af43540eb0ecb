"""What translation and captioning share: a reader joined with a writer, and what trains both."""

from collections.abc import Callable

import keras
from keras import layers, ops


def build_encoder_decoder(
    encoder: keras.Model,
    decoder: keras.Model,
    *,
    own_words: float = 0.0,
    ramp_steps: int = 1,
    name: str = "encoder_decoder",
) -> keras.Model:
    """Joins both parts for training: teacher forcing, all steps at once.

    Args:
        encoder: From `models.translation.build_encoder` or `models.captioning
            .build_picture_encoder`: a model of one input, a sentence or a picture.
        decoder: From `build_attention_decoder`, of the same cell, with `units` and `num_layers` as
            `decoder_units` and `decoder_layers`, and `memory_dim` as the encoder's memory has it:
            `encoder.output["memory"].shape[-1]`.
        own_words: Share of the words of `target_in` that are replaced by the decoder's own guesses
            in training, see `OwnWords`; 0 is plain teacher forcing. Save a model without.
        ramp_steps: Steps until the share is reached.
        name: Name of the model.

    Returns:
        A model of a dict of the encoder's input, under its name, and `target_in`
        `<int32>(batch, target_length)` to logits `(batch, target_length, vocab_size)` of
        `target_out`, the target one step later. `get_layer` finds `encoder` and `decoder` in it,
        also after a reload.
    """
    seen = encoder.input
    seen = keras.Input(batch_shape=seen.shape, dtype=seen.dtype, name=seen.name)
    target_in = keras.Input((None,), dtype="int32", name="target_in")
    memory = encoder(seen)
    words = target_in
    if own_words:
        guesses = decoder({"target_in": target_in, **memory})["logits"]
        words = OwnWords(own_words, ramp_steps, name="own_words")(target_in, guesses)
    logits = decoder({"target_in": words, **memory})["logits"]
    return keras.Model({seen.name: seen, "target_in": target_in}, logits, name=name)


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
