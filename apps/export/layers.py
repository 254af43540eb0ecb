"""The layers of Keras as ONNX nodes: embeddings, dense layers, recurrent stacks, pooling.

Recurrent nodes know the length of each sequence: they stop after it, and read backwards from it.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from apps.export.graph import Graph
from models.recurrent import Feedforward

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
# Where the gates of Keras stand among those of ONNX: input, output, forget, cell.
_LSTM_ORDER = (0, 3, 1, 2)
# As `models.pooling`: below any state that is kept.
NEVER_THE_MAXIMUM = np.float32(-1e4)


def values(variable: keras.Variable) -> np.ndarray:
    """Returns the numbers of a variable, on any backend."""
    return ops.convert_to_numpy(variable)


def embedding(graph: Graph, layer: keras.Layer, ids: str) -> str:
    """Returns the vectors of ids: their shape with `(embed_dim,)` behind it."""
    return rows(graph, values(layer.embeddings), ids)


def rows(graph: Graph, table: np.ndarray, ids: str, name: str = "embeddings") -> str:
    """Returns the rows of a table, which stays as it is stored: only what is read is cast."""
    taken = graph.Gather(graph.stored_weight(table, name), ids)
    return taken if graph.dtype_stored(table) == np.float32 else graph.cast(taken, "float32")


def dense(graph: Graph, layer: layers.Dense, tensor: str) -> str:
    """Returns what a dense layer makes of the last axis."""
    result = graph.MatMul(tensor, graph.weight(values(layer.kernel), layer.name))
    if layer.use_bias:
        result = graph.Add(result, graph.weight(values(layer.bias), f"{layer.name}_bias"))
    return activation(graph, layer, result)


def activation(graph: Graph, layer: keras.Layer, tensor: str) -> str:
    """Applies the activation of a layer."""
    name = layer.activation.__name__
    return tensor if name == "linear" else getattr(graph, _ACTIVATIONS[name])(tensor)


def sequence_mask(graph: Graph, tokens: str) -> tuple[str, str]:
    """Returns where `tokens` `<int32>(batch, time)` are real, and how many of each row are.

    Returns:
        mask: `<bool>(batch, time)`.
        lengths: `<int32>(batch,)`.
    """
    mask = graph.Not(graph.Equal(tokens, np.int32(0)))
    return mask, graph.ReduceSum(graph.cast(mask, "int32"), [1], keepdims=0)


def recurrent(
    graph: Graph,
    directions: Sequence[keras.Layer],
    sequence: str,
    lengths: str | None = None,
    initial: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Runs one recurrent layer, or one of each direction, over whole sequences.

    Args:
        graph: Where the nodes go.
        directions: The forward layer of Keras, and the backward one if there is one.
        sequence: `(batch, time, features)`.
        lengths: `<int32>(batch,)`, steps of each sequence that are real; None for all.
        initial: States before the first step, `(batch, units)` each; none for zeros.

    Returns:
        states: `(batch, time, directions * units)`; 0 behind the end of a sequence, but without
            meaning there if the layers are feedforward.
        last: The states after the last real step, `(batch, directions * units)` each: `[h]`,
            `[h, c]`, or none of feedforward layers.
    """
    if isinstance(directions[0], Feedforward):
        steps = [dense(graph, layer, sequence) for layer in directions]
        return (steps[0] if len(steps) == 1 else graph.Concat(*steps, axis=-1)), []
    first = directions[0]
    width = len(directions) * first.units
    weights = onnx_weights(graph, directions)
    options = {"hidden_size": first.units}
    if len(directions) == 2:
        options["direction"] = "bidirectional"
    operator, outputs = "RNN", 2
    if isinstance(first, layers.LSTM):
        operator, outputs = "LSTM", 3
    elif isinstance(first, layers.GRU):
        operator, options["linear_before_reset"] = "GRU", int(first.reset_after)
    else:
        options["activations"] = [_ACTIVATIONS[first.activation.__name__]] * len(directions)
    before = [graph.Unsqueeze(state, [0]) for state in initial]
    time_first = graph.Transpose(sequence, perm=[1, 0, 2])
    states, *last = getattr(graph, operator)(
        time_first, *weights, lengths, *before, outputs=outputs, **options
    )
    # From (time, directions, batch, units).
    states = graph.Reshape(graph.Transpose(states, perm=[2, 0, 1, 3]), [0, 0, width])
    last = [graph.Reshape(graph.Transpose(state, perm=[1, 0, 2]), [-1, width]) for state in last]
    return states, last


def recurrent_stack(
    graph: Graph, model: keras.Model, sequence: str, lengths: str | None = None
) -> tuple[str, list[str]]:
    """Runs what `models.recurrent.recurrent_stack` built into a model.

    Args:
        graph: Where the nodes go.
        model: With layers `forward_1`, `backward_1`, `forward_2` and so on.
        sequence: `(batch, time, features)`.
        lengths: `<int32>(batch,)`; None if all steps are real.

    Returns:
        The states of the uppermost layer and its last ones, as `recurrent`.
    """
    names = {layer.name for layer in model.layers}
    last: list[str] = []
    index = 1
    while f"forward_{index}" in names:
        pair = [f"{direction}_{index}" for direction in ("forward", "backward")]
        directions = [model.get_layer(name) for name in pair if name in names]
        sequence, last = recurrent(graph, directions, sequence, lengths)
        index += 1
    return sequence, last


def onnx_weights(graph: Graph, directions: Sequence[keras.Layer]) -> list[str]:
    """Returns kernel, recurrent kernel and biases of a layer in the shapes and order of ONNX."""
    parts = [_onnx_order(layer) for layer in directions]
    return [
        graph.weight(np.stack(part), f"{directions[0].name}_{kind}")
        for part, kind in zip(
            zip(*parts, strict=True), ("kernel", "recurrent", "bias"), strict=True
        )
    ]


def _onnx_order(layer: layers.RNN) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns kernel, recurrent kernel and biases of a layer in the order of ONNX."""
    cell = layer.cell
    arrays = [values(cell.kernel), values(cell.recurrent_kernel), values(cell.bias)]
    if arrays[2].ndim == 1:
        # ONNX has a second bias, beside the recurrent kernel.
        arrays[2] = np.stack([arrays[2], np.zeros_like(arrays[2])])
    if isinstance(layer, layers.LSTM):
        arrays = [
            np.concatenate([np.split(array, 4, axis=-1)[gate] for gate in _LSTM_ORDER], axis=-1)
            for array in arrays
        ]
    return arrays[0].T, arrays[1].T, arrays[2].reshape(-1)


def pool_max(graph: Graph, states: str, mask: str) -> str:
    """As `models.pooling.pool_max`: `(batch, features)`."""
    real = graph.Unsqueeze(mask, [2])
    return graph.ReduceMax(graph.Where(real, states, NEVER_THE_MAXIMUM), [1], keepdims=0)


def pool_mean(graph: Graph, states: str, mask: str) -> str:
    """As `models.pooling.pool_mean`: `(batch, features)`."""
    return graph.ReduceSum(mean_shares(graph, states, mask), [1], keepdims=0)


def mean_shares(graph: Graph, states: str, mask: str) -> str:
    """Returns what each step adds to the mean over the real ones: `(batch, time, features)`."""
    real = graph.cast(mask, "float32")
    count = graph.Max(graph.ReduceSum(real, [1], keepdims=1), np.float32(1))
    share = graph.Unsqueeze(graph.Div(real, count), [2])
    return graph.Mul(states, share)


def attention_weights(graph: Graph, model: keras.Model, states: str, mask: str) -> str:
    """As `models.pooling.attention_weights`: `(batch, time, 1)`."""
    hidden = dense(graph, model.get_layer("attention_hidden"), states)
    scores = dense(graph, model.get_layer("attention_scores"), hidden)
    scores = graph.Where(graph.Unsqueeze(mask, [2]), scores, NEVER_THE_MAXIMUM)
    return graph.Softmax(scores, axis=1)


def pool_last(
    graph: Graph, states: str, lengths: str, *, features: int, backward_units: int
) -> str:
    """As `models.pooling.pool_last`: `(batch, features)`.

    Args:
        graph: Where the nodes go.
        states: `(batch, time, features)`.
        lengths: `<int32>(batch,)`.
        features: Size of the last axis.
        backward_units: How many of the last features read backward.
    """
    place = graph.Max(graph.Sub(graph.cast(lengths, "int64"), 1), 0)
    last = graph.GatherND(states, graph.Unsqueeze(place, [1]), batch_dims=1)
    if not backward_units:
        return last
    forward = features - backward_units
    first = graph.Gather(graph.part(states, forward, features), 0, axis=1)
    return graph.Concat(graph.part(last, 0, forward), first, axis=1)
