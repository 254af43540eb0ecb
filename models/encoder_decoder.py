"""What translation and captioning share: a reader joined with a writer, and what trains both."""

from collections.abc import Callable

import keras
from keras import ops


def build_encoder_decoder(
    encoder: keras.Model,
    decoder: keras.Model,
    *,
    name: str = "encoder_decoder",
) -> keras.Model:
    """Joins both parts for training: teacher forcing, all steps at once.

    Args:
        encoder: Of translation or captioning: a model of one input, a sentence or a picture.
        decoder: From `build_attention_decoder`, of the same cell, with the encoder's
            `decoder_units`, `decoder_layers` and size of the memory.
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
    logits = decoder({"target_in": target_in, **memory})["logits"]
    return keras.Model({seen.name: seen, "target_in": target_in}, logits, name=name)


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
