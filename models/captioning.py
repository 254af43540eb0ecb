"""Captioning models: a picture in, a sentence out, word by word.

The decoder is that of translation. The `variant` decides how it sees the picture, by the memory and
the first states that it gets:

- `attention`: the memory is all regions, and each word attends to them (Xu et al., 2015).
- `initial_state`: the memory is empty; the states start from the picture (init-inject in Tanti et
  al., 2018).
- `merge`: the memory is the mean of the regions; the states start at zero, so the recurrence reads
  only words (Tanti et al., 2018).
"""

import math

import keras
from keras import layers, ops

from models.attention_decoder import initial_states, state_names
from models.encoder_decoder import build_encoder_decoder
from models.ensemble import build_ensemble

VARIANTS = ("attention", "initial_state", "merge")


def build_picture_encoder(
    *,
    features: tuple[int, int] | None = None,
    cnn: keras.Model | None = None,
    variant: str = "attention",
    memory_dim: int,
    dropout: float = 0.0,
    cell: str,
    decoder_units: int,
    decoder_layers: int = 1,
) -> keras.Model:
    """Builds the encoder: a picture in, the decoder's memory and first states out.

    Args:
        features: `(regions, channels)` of each picture, if a frozen backbone computed them; else
            give `cnn`.
        cnn: From `build_small_cnn`, to become a part of the model.
        variant: One of `VARIANTS`, see above.
        memory_dim: Size of a region's vector, and of the picture's.
        dropout: On these vectors.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`, of the decoder.
        decoder_units: Size of the decoder's states.
        decoder_layers: Recurrent layers of the decoder.

    Returns:
        A model named `encoder`, from `picture`, `<float16>(batch, regions, channels)` or the input
        of `cnn`, to a dict: `memory` `(batch, memory_length, memory_size)`, `memory_mask`
        `<bool>(batch, memory_length)`, True where the memory is real, and `states`, a list of
        `(batch, decoder_units)`. `memory_size` is `memory_dim`, but 1 for `initial_state`.
    """
    if cnn is None:
        # The type of the stored features: half as many bytes to copy as float32.
        picture = seen = keras.Input(features, dtype="float16", name="picture")
    else:
        picture = keras.Input(cnn.input.shape[1:], dtype=cnn.input.dtype, name="picture")
        seen = cnn(picture)
    # A bias for each region tells the decoder where it lies.
    regions = layers.EinsumDense(
        "brc,cd->brd", output_shape=(seen.shape[1], memory_dim), bias_axes="rd", name="region"
    )(seen)
    # Backbones give features of very different sizes.
    regions = layers.LayerNormalization(name="region_norm")(regions)
    regions = layers.Activation("relu", name="region_relu")(regions)
    if variant != "attention":
        regions = ops.mean(regions, axis=1, keepdims=True)
    memory = layers.Dropout(dropout, name="memory")(regions)
    summary = ops.mean(memory, axis=1)
    real = ops.ones_like(memory[:, :, 0], dtype="int32")
    if variant != "attention":
        # A second, masked place, because Keras warns of a softmax over a single one.
        memory = ops.pad(memory, ((0, 0), (0, 1), (0, 0)))
        real = ops.pad(real, ((0, 0), (0, 1)))
    if variant == "merge":
        state = ops.zeros_like(ops.repeat(summary[:, :1], decoder_units, axis=1))
        states = [state for _ in state_names(cell=cell, num_layers=decoder_layers)]
    else:
        states = initial_states(summary, cell=cell, units=decoder_units, num_layers=decoder_layers)
    if variant == "initial_state":
        memory, real = ops.zeros_like(memory[:, :, :1]), ops.zeros_like(real)
    outputs = {"memory": memory, "memory_mask": ops.cast(real, "bool"), "states": states}
    return keras.Model(picture, outputs, name="encoder")


def add_mirror_image(captioner: keras.Model) -> keras.Model:
    """Makes a captioner predict each word's probability as the mean over picture and mirror image.

    Args:
        captioner: From `build_encoder_decoder`, or an ensemble of such.

    Returns:
        A model as from `build_ensemble`, of `picture` `(batch, 2, ...)`: the picture and its mirror
        image; `attention` is the mean over both, in the picture's places.
    """
    encoder, decoder = captioner.get_layer("encoder"), captioner.get_layer("decoder")
    regions = keras.tree.flatten(encoder.output["memory"])[0].shape[1]
    side = math.isqrt(regions)
    attention = decoder.output["attention"]
    if side * side == regions:
        mirrored = [row * side + side - 1 - column for row in range(side) for column in range(side)]
        attention = ops.take(attention, mirrored, axis=-1)
    outputs = {**decoder.output, "attention": attention}
    decoders = [decoder, keras.Model(decoder.input, outputs, name="decoder")]
    shape = (2, *encoder.input.shape[1:])
    pair = keras.Input(shape, dtype=encoder.input.dtype, name="picture")
    encoders = [keras.Model(pair, encoder(pair[:, place]), name="encoder") for place in (0, 1)]
    members = list(map(build_encoder_decoder, encoders, decoders))
    return build_ensemble(members, name=captioner.name)
