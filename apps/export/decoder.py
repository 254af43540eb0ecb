"""The decoder of `models.attention_decoder` as ONNX nodes: a step of it, and what it looked at.

A row of the batch has one or more views (a picture, its mirror image), side by side on the axis
`groups`, and each view has the same hypotheses, side by side on the axis `rows`.
"""

import dataclasses

import keras
import numpy as np
from keras import layers

from apps.export.graph import Graph
from apps.export.layers import activation, dense, onnx_weights, recurrent, rows, values
from models.recurrent import Feedforward

IMPOSSIBLE = np.float32(-1e9)


@dataclasses.dataclass(frozen=True)
class Member:
    """One decoder of an ensemble, or the only one, and what it reads.

    Attributes:
        decoder: From `build_attention_decoder`.
        share: Of its probabilities in those of the ensemble.
        memory: `(groups, places, memory_dim)`.
        mask: `<bool>(groups, places)`.
        states: `(groups, units)` each.
        table: The encoder's vectors of tokens, if the decoder has none of its own.
    """

    decoder: keras.Model
    share: float
    memory: str
    mask: str
    states: list[str]
    table: np.ndarray | None = None


def members_of(model: keras.Model) -> list[tuple[keras.Model, keras.Model, float]]:
    """Returns encoder, decoder and share of each member of an ensemble, or of the model itself."""
    return _members(model.get_layer("encoder"), model.get_layer("decoder"), 1.0)


def _members(encoder: keras.Model, decoder: keras.Model, share: float) -> list:
    if not isinstance(encoder.output["memory"], list):
        return [(encoder, decoder, share)]
    count = sum(isinstance(layer, keras.Model) for layer in decoder.layers)
    parts = []
    for index in range(1, count + 1):
        pair = encoder.get_layer(f"encoder_{index}"), decoder.get_layer(f"decoder_{index}")
        parts += _members(*pair, share / count)
    return parts


class DecoderNodes:
    """Adds the nodes of one decoder; what no step changes is computed once, before the loop."""

    def __init__(self, graph: Graph, member: Member):
        """Takes the outer graph."""
        self.member, decoder = member, member.decoder
        self.layers = {layer.name: layer for layer in decoder.layers}
        self.cells = []
        while (name := f"decoder_{len(self.cells) + 1}") in self.layers:
            self.cells.append(_Cell(graph, self.layers[name]))
        self.table = member.table
        if self.table is None:
            self.table = values(self.layers["decoder_embedding"].embeddings)

    def step(
        self, graph: Graph, tokens: str, states: list[str], groups: str
    ) -> tuple[str, list[str]]:
        """Adds one step.

        Args:
            graph: The body of the loop.
            tokens: `<int64>(rows,)`.
            states: `(rows, units)` each.
            groups: `<int64>(groups,)`, which of the memory the rows look into.

        Returns:
            logits: `(rows, vocab_size)`.
            states: As before.
        """
        memory, mask = (
            graph.Gather(part, groups) for part in (self.member.memory, self.member.mask)
        )
        output = rows(graph, self.table, tokens)
        waiting, after = list(states), []
        for index, cell in enumerate(self.cells):
            before = [waiting.pop(0) for _ in range(cell.states)]
            seen, changed = cell.step(graph, output, before)
            after += changed
            if index:
                output = graph.Add(output, seen)
                continue
            context = graph.MatMul(self._weights(graph, seen, memory, mask), memory)
            context = graph.Reshape(context, [-1, self.member.decoder.input["memory"].shape[-1]])
            joined = graph.Concat(seen, context, axis=-1)
            output = dense(graph, self.layers["attentional"], joined)
        if "projection" in self.layers:
            output = dense(graph, self.layers["projection"], output)
        return graph.Gemm(output, graph.weight(self.table, "embeddings"), transB=1), after

    def attention(self, graph: Graph, target_in: str, hypotheses: str) -> str:
        """Adds what each token of finished sequences looked at, all at once.

        Args:
            graph: Where the nodes go.
            target_in: `<int64>(rows, time)`.
            hypotheses: `<int64>(1,)`, how many rows a group has.

        Returns:
            `(groups, hypotheses * time, places)`.
        """
        member, cell = self.member, self.cells[0]
        initial = [spread(graph, state, hypotheses) for state in member.states[: cell.states]]
        vectors = rows(graph, self.table, target_in)
        seen, _ = recurrent(graph, [cell.layer], vectors, initial=initial)
        return self._weights(graph, seen, member.memory, member.mask)

    def _weights(self, graph: Graph, states: str, memory: str, mask: str) -> str:
        """Returns `(groups, steps, places)` for states `(..., units)`, as `luong_attention`."""
        query = dense(graph, self.layers["attention_query"], states)
        shape = graph.Concat(
            graph.size(memory, 0), [-1, self.layers["attention_query"].units], axis=0
        )
        query = graph.Reshape(query, shape)
        scores = graph.MatMul(query, graph.Transpose(memory, perm=[0, 2, 1]))
        real = graph.Unsqueeze(mask, [1])
        weights = graph.Softmax(graph.Where(real, scores, IMPOSSIBLE), axis=-1)
        # Also where nothing at all is real.
        return graph.Where(real, weights, np.float32(0))


class _Cell:
    """One recurrent layer, a step at a time: two products are faster in a loop than its node."""

    def __init__(self, graph: Graph, layer: keras.Layer):
        self.layer = layer
        self.states = 0
        if isinstance(layer, Feedforward):
            return
        self.states = 2 if isinstance(layer, layers.LSTM) else 1
        kernel, recurrent_kernel, bias = onnx_weights(graph, [layer])
        self.kernels = graph.Squeeze(kernel, [0]), graph.Squeeze(recurrent_kernel, [0])
        self.biases = graph.Split(graph.Squeeze(bias, [0]), num_outputs=2, outputs=2)
        self.bias = graph.Add(*self.biases)

    def step(self, graph: Graph, inputs: str, states: list[str]) -> tuple[str, list[str]]:
        """Returns what comes out, `(rows, units)`, and the states after."""
        if isinstance(self.layer, Feedforward):
            return dense(graph, self.layer, inputs), []
        kernel, recurrent_kernel = self.kernels
        if isinstance(self.layer, layers.GRU):
            return self._gru(graph, inputs, states[0])
        gates = graph.Gemm(inputs, kernel, self.bias, transB=1)
        gates = graph.Gemm(states[0], recurrent_kernel, gates, transB=1)
        if not isinstance(self.layer, layers.LSTM):
            after = activation(graph, self.layer, gates)
            return after, [after]
        enter, leave, forget, candidate = graph.Split(gates, axis=1, num_outputs=4, outputs=4)
        kept = graph.Mul(graph.Sigmoid(forget), states[1])
        kept = graph.Add(kept, graph.Mul(graph.Sigmoid(enter), graph.Tanh(candidate)))
        after = graph.Mul(graph.Sigmoid(leave), graph.Tanh(kept))
        return after, [after, kept]

    def _gru(self, graph: Graph, inputs: str, state: str) -> tuple[str, list[str]]:
        parts = [
            graph.Split(graph.Gemm(value, kernel, bias, transB=1), axis=1, num_outputs=3, outputs=3)
            for value, kernel, bias in zip((inputs, state), self.kernels, self.biases, strict=True)
        ]
        update, reset = (
            graph.Sigmoid(graph.Add(of_inputs, of_state))
            for of_inputs, of_state in list(zip(*parts, strict=True))[:2]
        )
        candidate = graph.Tanh(graph.Add(parts[0][2], graph.Mul(reset, parts[1][2])))
        after = graph.Add(candidate, graph.Mul(update, graph.Sub(state, candidate)))
        return after, [after]


def spread(graph: Graph, tensor: str, hypotheses: str) -> str:
    """Repeats each of `(groups, features)` for its hypotheses: `(rows, features)`."""
    size = graph.Shape(tensor)
    shape = graph.Concat(graph.size(tensor, 0), hypotheses, graph.size(tensor, 1), axis=0)
    tiled = graph.Expand(graph.Unsqueeze(tensor, [1]), shape)
    return graph.Reshape(tiled, graph.Concat([-1], graph.part(size, 1, 2, 0), axis=0))
