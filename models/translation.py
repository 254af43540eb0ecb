"""Translation models: a sentence in, its translation out, one word after the other."""

import re

import keras
from keras import layers, ops

from models.attention_decoder import initial_states, unit_vectors
from models.pooling import pool_last
from models.recurrent import recurrent_stack, sequence_mask


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
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
    decoder_units: int,
    decoder_layers: int = 1,
) -> keras.Model:
    """Builds the part that reads: a sentence in, the decoder's memory and first states out.

    Args:
        vocab_size: Number of token ids; 0 is padding.
        embed_dim: Size of a token's vector.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`, of the decoder too.
        units: Size of the state, of each direction.
        num_layers: Recurrent layers on top of each other.
        embedding_dropout: Share of the vectors' features dropped, the same ones at all steps.
        dropout: Between recurrent layers and on the memory.
        decoder_units: Size of the decoder's states.
        decoder_layers: Recurrent layers of the decoder.

    Returns:
        A model named `encoder`, from `source` `<int32>(batch, time)` to a dict: `memory` `(batch,
        time, 2 * units)`, `memory_mask` `<bool>(batch, time)`, True at real tokens, `states`, a
        list of `(batch, decoder_units)`, and `embeddings` `(vocab_size, embed_dim)`, the vectors of
        both languages, for a decoder with `share_embedding`.
    """
    source = keras.Input((None,), dtype="int32", name="source")
    mask = sequence_mask(source)
    embedding = SharedEmbedding(
        vocab_size, embed_dim, embeddings_initializer=unit_vectors(), name="embedding"
    )
    vectors, table = embedding(source)
    vectors = layers.SpatialDropout1D(embedding_dropout, name="embedding_dropout")(vectors)
    states = recurrent_stack(
        vectors,
        mask,
        cell=cell,
        units=units,
        num_layers=num_layers,
        bidirectional=True,
        dropout=dropout,
    )
    memory = layers.Dropout(dropout, name="memory")(states)
    summary = pool_last(memory, mask, backward_units=units)
    outputs = {
        "memory": memory,
        "memory_mask": mask,
        "states": initial_states(
            summary, cell=cell, units=decoder_units, num_layers=decoder_layers
        ),
        "embeddings": table,
    }
    return keras.Model(source, outputs, name="encoder")


def model_name(source_language: str, target_language: str) -> str:
    """Returns the name of a translator, by which a saved one tells its direction."""
    return re.sub(r"\W", "_", f"translation_{source_language}_{target_language}")
