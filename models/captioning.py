"""Captioning models: a picture in, a sentence about it out, one word after the other.

One decoder, that of translation, serves three ways to tell it of the picture, its `variant`. They
differ in what they lay into the memory and into the first states alone:

- `attention`: the memory is all regions, so each word looks where it wants (Xu et al., 2015).
- `initial_state`: the memory is empty; the states begin with the picture, and what the recurrence
  forgets of it is lost (init-inject in Tanti et al., 2018).
- `merge`: the memory is one place, the mean of the regions, so each word sees all of the picture;
  the states begin at zero, so the recurrence reads nothing but words (Tanti et al., 2018).
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
    """Builds the part that looks: a picture in, the decoder's memory and first states out.

    Give either `features`, if a frozen backbone's are extracted beforehand, or `cnn`, if what sees
    the picture is part of the model.

    Args:
        features: `(regions, channels)` of each picture.
        cnn: From `build_small_cnn` or `build_backbone`.
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
        `(batch, decoder_units)`. The decoder needs `memory_size` as its `memory_dim`: it is the
        `memory_dim` given here, but 1 for `initial_state`. `attention` has as many places as
        there are regions; the others have two, of which `merge` has the first and `initial_state`
        none that is real.

    Raises:
        ValueError: If `variant` is unknown, or not one of `features` and `cnn` is given.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is none of {', '.join(VARIANTS)}.")
    if (features is None) == (cnn is None):
        raise ValueError("Give either features or cnn.")
    if cnn is None:
        # Half as many bytes to copy into each step as float32, and what the features' file holds.
        picture = seen = keras.Input(features, dtype="float16", name="picture")
    else:
        picture = keras.Input(cnn.input.shape[1:], dtype=cnn.input.dtype, name="picture")
        seen = cnn(picture)
    # A bias for each region, from which the decoder can tell where something lies.
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
        # One more place that is not real, since Keras warns of a softmax over a single one.
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
    """Lets a captioner see each picture's mirror image too: two that write one caption together.

    Each next word has the mean of what is probable after either.

    Args:
        captioner: From `build_encoder_decoder`, or an ensemble of such.

    Returns:
        The same model of `picture` `(batch, 2, ...)`, the picture and its mirror image, as
        `build_ensemble` gives it; `attention` is the mean over both, in the picture's places.
    """
    encoder, decoder = captioner.get_layer("encoder"), captioner.get_layer("decoder")
    regions = keras.tree.flatten(encoder.output["memory"])[0].shape[1]
    side = math.isqrt(regions)
    seen = decoder.output["attention"]
    if side * side == regions:
        mirrored = [row * side + side - 1 - column for row in range(side) for column in range(side)]
        seen = ops.take(seen, mirrored, axis=-1)
    turned = keras.Model(decoder.input, {**decoder.output, "attention": seen}, name="decoder")
    shape = (2, *encoder.input.shape[1:])
    pair = keras.Input(shape, dtype=encoder.input.dtype, name="picture")
    looks = [keras.Model(pair, encoder(pair[:, place]), name="encoder") for place in (0, 1)]
    members = [
        build_encoder_decoder(*parts) for parts in zip(looks, (decoder, turned), strict=True)
    ]
    return build_ensemble(members, name=captioner.name)
