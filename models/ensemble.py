"""Several trained decoders that write one sequence together: one model, saved like any other."""

import functools
import math
from collections.abc import Sequence

import keras
from keras import ops

from models.encoder_decoder import build_encoder_decoder


def build_ensemble(members: Sequence[keras.Model], *, name: str) -> keras.Model:
    """Joins translators or captioners: each next word has the mean of their probabilities.

    Every member reads the source and keeps its own memory and states, so the time for a word is the
    sum of theirs.

    Args:
        members: Models of `build_encoder_decoder` with the same input, vocabulary and number of
            memory positions; cell, sizes and layers may differ.
        name: Name of the model.

    Returns:
        A model of the members' inputs to logits `(batch, target_length, vocab_size)`, normalised.
        Its layers `encoder` and `decoder` have the interface of a single one's, with lists in the
        place of `memory`, `memory_mask` and `embeddings`, and all states in one list.

    Raises:
        ValueError: If their inputs or vocabularies differ.
    """
    encoders = [_renamed(member.get_layer("encoder"), index) for index, member in _count(members)]
    decoders = [_renamed(member.get_layer("decoder"), index) for index, member in _count(members)]
    first = encoders[0].input
    for encoder, decoder in zip(encoders, decoders, strict=True):
        if (encoder.input.name, *encoder.input.shape) != (first.name, *first.shape):
            raise ValueError(f"{encoder.input} and {first} are not the same kind of input.")
        sizes = decoder.output["logits"].shape[-1], decoders[0].output["logits"].shape[-1]
        if sizes[0] != sizes[1]:
            raise ValueError(f"Vocabularies of {sizes[0]} and {sizes[1]} words cannot be joined.")

    return build_encoder_decoder(_join_encoders(encoders), _join_decoders(decoders), name=name)


def is_ensemble(model: keras.Model) -> bool:
    """Whether a model was built by `build_ensemble`."""
    return isinstance(model.get_layer("encoder").output["memory"], list)


def _join_encoders(encoders: list[keras.Model]) -> keras.Model:
    """Returns a model of one input to all members' outputs, name by name."""
    first = encoders[0].input
    source = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)
    outputs: dict[str, list] = {}
    for encoder in encoders:
        for part, tensors in encoder(source).items():
            # States are one flat list, as the generation loop carries them.
            outputs[part] = [*outputs.get(part, []), *keras.tree.flatten(tensors)]
    return keras.Model(source, outputs, name="encoder")


def _join_decoders(decoders: list[keras.Model]) -> keras.Model:
    """Returns a model of the joined encoders' outputs to what a single decoder gives."""
    target_in = keras.Input((None,), dtype="int32", name="target_in")
    inputs = {"target_in": target_in}
    logits, attention, states = [], [], []
    for index, decoder in _count(decoders):
        member_inputs = {
            part: keras.tree.map_structure(lambda tensor, i=index: _input_like(tensor, i), tensors)
            for part, tensors in decoder.input.items()
            if part != "target_in"
        }
        for part, tensors in member_inputs.items():
            inputs[part] = [*inputs.get(part, []), *keras.tree.flatten(tensors)]
        outputs = decoder({"target_in": target_in, **member_inputs})
        logits.append(ops.log_softmax(outputs["logits"]))
        attention.append(outputs["attention"])
        states += outputs["states"]
    joined = {
        "logits": functools.reduce(ops.logaddexp, logits) - math.log(len(decoders)),
        "attention": ops.mean(ops.stack(attention), axis=0),
        "states": states,
    }
    return keras.Model(inputs, joined, name="decoder")


def _count(members: Sequence) -> list[tuple[int, keras.Model]]:
    return list(enumerate(members, start=1))


def _input_like(tensor: keras.KerasTensor, index: int) -> keras.KerasTensor:
    """Returns a new input; within a model each has its own name."""
    name = f"{tensor.name}_of_{index}"
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _renamed(part: keras.Model, index: int) -> keras.Model:
    """Returns the same layers as a model of another name: within a model each has its own."""
    return keras.Model(part.input, part.output, name=f"{part.name}_{index}")
