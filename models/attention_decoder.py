"""The decoder that sentences and pictures share: words so far and a memory in, next words out.

The recurrence reads the words alone and attention reads the memory with what comes out of it, so
the same weights run a whole target at once under teacher forcing and one step at a time while
generating (Luong et al., 2015, without input feeding).
"""

import keras
from keras import layers, ops

from models.recurrent import recurrent_layer


def unit_vectors() -> keras.Initializer:
    """Returns an initializer of words' vectors with a length of about 1, whatever their size.

    Vectors that also predict words need it: much smaller ones make all words alike for long.
    """
    return keras.initializers.VarianceScaling(mode="fan_out")


def state_names(*, cell: str, num_layers: int) -> list[str]:
    """Returns the names of the decoder's states in their order: one or two a layer, or none."""
    parts = {"lstm": "hc", "feedforward": ""}.get(cell, "h")
    return [f"state_{index}_{part}" for index in range(1, num_layers + 1) for part in parts]


def initial_states(
    summary: keras.KerasTensor, *, cell: str, units: int, num_layers: int
) -> list[keras.KerasTensor]:
    """Returns the states that a decoder starts from, each a learnt view of what there is to say.

    Args:
        summary: `(batch, features)` of the source.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`, of the decoder.
        units: Size of its states.
        num_layers: Its recurrent layers.

    Returns:
        One `(batch, units)` for each of `state_names`.
    """
    return [
        layers.Dense(units, activation="tanh", name=f"initial_{name}")(summary)
        for name in state_names(cell=cell, num_layers=num_layers)
    ]


def luong_attention(
    states: keras.KerasTensor,
    memory: keras.KerasTensor,
    memory_mask: keras.KerasTensor,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Looks into the memory from every step, by "general" attention (Luong et al., 2015).

    Args:
        states: `(batch, time, units)`.
        memory: `(batch, memory_length, memory_dim)`.
        memory_mask: `<bool>(batch, memory_length)`, True where the memory is real.

    Returns:
        context: `(batch, time, memory_dim)`, the mean of the memory by the weights.
        weights: `(batch, time, memory_length)`; they sum to 1, or are all 0 without memory.
    """
    # The query is projected, not the memory: while generating it is one step long.
    query = layers.Dense(memory.shape[-1], use_bias=False, name="attention_query")(states)
    scores = ops.matmul(query, ops.swapaxes(memory, 1, 2))
    # Masked places get a weight of exactly 0, also where nothing at all is real.
    weights = layers.Softmax(name="attention", dtype="float32")(
        scores, mask=ops.expand_dims(memory_mask, 1)
    )
    return ops.matmul(ops.cast(weights, memory.dtype), memory), weights


def build_attention_decoder(
    *,
    vocab_size: int,
    embed_dim: int,
    cell: str,
    units: int,
    num_layers: int = 1,
    memory_dim: int,
    word_dropout: float = 0.0,
    embedding_dropout: float = 0.0,
    dropout: float = 0.0,
    share_embedding: bool = False,
) -> keras.Model:
    """Builds the part that writes.

    The first recurrent layer reads the words and looks into the memory; further layers read what
    it made of both, each added to the one below (Wu et al., 2016). A word is predicted by the
    vector that it is read by (Press and Wolf, 2017).

    Args:
        vocab_size: Number of token ids; 0 is padding.
        embed_dim: Size of a token's vector.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`.
        units: Size of the states.
        num_layers: Recurrent layers on top of each other.
        memory_dim: Features of the memory.
        word_dropout: Share of tokens whose whole vector is dropped.
        embedding_dropout: Share of the vectors' features dropped, the same ones at all steps.
        dropout: Between recurrent layers and before the output.
        share_embedding: Whether the vectors are the encoder's, handed over as `embeddings`.

    Returns:
        A model named `decoder`. It takes a dict: `target_in` `<int32>(batch, time)`, `memory`
        `(batch, memory_length, memory_dim)`, `memory_mask` `<bool>(batch, memory_length)`, True
        where the memory is real, `states`, a list of `(batch, units)`, see `state_names`, and with
        `share_embedding` `embeddings` `(vocab_size, embed_dim)`. It returns a dict: `logits`
        `(batch, time, vocab_size)` of the word after each, `attention` `(batch, time,
        memory_length)`, `states` after the last step.
    """
    names = state_names(cell=cell, num_layers=num_layers)
    inputs = {
        "target_in": keras.Input((None,), dtype="int32", name="target_in"),
        "memory": keras.Input((None, memory_dim), name="memory"),
        "memory_mask": keras.Input((None,), dtype="bool", name="memory_mask"),
        "states": [keras.Input((units,), name=name) for name in names],
    }
    if share_embedding:
        inputs["embeddings"] = keras.Input(batch_shape=(vocab_size, embed_dim), name="embeddings")
        vectors = ops.take(inputs["embeddings"], inputs["target_in"], axis=0)
    else:
        embedding = layers.ReversibleEmbedding(
            vocab_size,
            embed_dim,
            tie_weights=True,
            embeddings_initializer=unit_vectors(),
            reverse_dtype="float32",
            # On PyTorch, Keras loses weights of one path: no name is the encoder's.
            name="decoder_embedding",
        )
        vectors = embedding(inputs["target_in"])
    vectors = layers.Dropout(word_dropout, noise_shape=(None, None, 1), name="word_dropout")(
        vectors
    )
    output = layers.SpatialDropout1D(embedding_dropout, name="embedding_dropout")(vectors)

    states_after = []
    states_a_layer = len(names) // num_layers
    for index in range(1, num_layers + 1):
        layer = recurrent_layer(
            cell,
            units,
            return_state=True,
            name=f"decoder_{index}",
        )
        first = (index - 1) * states_a_layer
        before = inputs["states"][first : first + states_a_layer]
        if index == 1:
            states, *after = layer(output, initial_state=before)
            context, weights = luong_attention(states, inputs["memory"], inputs["memory_mask"])
            output = layers.Dense(units, activation="tanh", use_bias=False, name="attentional")(
                ops.concatenate([states, context], axis=-1)
            )
        else:
            dropped = layers.Dropout(dropout, name=f"between_{index}")(output)
            states, *after = layer(dropped, initial_state=before)
            output = output + states
        states_after += after

    output = layers.Dropout(dropout, name="dropout")(output)
    if units != embed_dim:
        output = layers.Dense(embed_dim, use_bias=False, name="projection")(output)
    if share_embedding:
        logits = ops.matmul(output, ops.transpose(inputs["embeddings"]))
    else:
        logits = embedding(output, reverse=True)
    logits = layers.Identity(dtype="float32", name="logits")(logits)
    outputs = {"logits": logits, "attention": weights, "states": states_after}
    return keras.Model(inputs, outputs, name="decoder")
