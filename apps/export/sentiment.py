"""The graph of a classifier: tokens in; logits and what each token added to them out."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from apps.export.graph import Graph, Precision
from apps.export.layers import (
    NEVER_THE_MAXIMUM,
    attention_weights,
    embedding,
    mean_shares,
    pool_last,
    pool_max,
    pool_mean,
    recurrent_stack,
    rows,
    sequence_mask,
    values,
)
from apps.sentiment.predictor import Predictor
from models.sentiment_ensemble import ensemble_members


class SentimentSource:
    """A trained classifier to be exported.

    Args:
        run: Its run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path):
        """See the class."""
        predictor = Predictor.load(run, runtime="keras")
        self.config, self.network = predictor.config, predictor.network
        self._vocab_size = predictor.tokenizer.get_vocab_size()

    def graph(self, precision: Precision) -> Graph:
        """Returns the graph of the model."""
        return sentiment_graph(
            self.network.model,
            pooling=self.config.pooling,
            region_length=self.config.region_length,
            precision=precision,
        )

    def examples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields a batch of one and one of seven texts of other lengths."""
        generator = np.random.default_rng(0)
        time = 2 * (self.config.region_length or 50)
        for batch in (1, 7):
            tokens = generator.integers(1, self._vocab_size, (batch, time)).astype("int32")
            lengths = generator.integers(1, time + 1, (batch, 1))
            yield {"tokens": np.where(np.arange(time) < lengths, tokens, 0).astype("int32")}


def sentiment_graph(
    model: keras.Model, *, pooling: str, region_length: int, precision: Precision = "auto"
) -> Graph:
    """Returns the graph of a model of `models.sentiment`, alone or joined of several.

    Args:
        model: The classifier.
        pooling: `max`, `mean`, `attention` or `last`.
        region_length: Steps that the encoder reads at once, or 0 for all.
        precision: Of the weights.

    Returns:
        A graph from `tokens` `<int32>(batch, time)`, with `time` a multiple of `region_length`, to
        `logits` `(batch, classes)` and `contributions` `(batch, time, classes)`, see
        `models.sentiment.token_contributions`.
    """
    graph = Graph(precision=precision)
    tokens = graph.input("tokens", "int32", ["batch", "time"])
    members = ensemble_members(model)
    outputs = [
        _classify(graph, member, tokens, pooling=pooling, region_length=region_length)
        for member in members
    ]
    logits, contributions = (_mean(graph, parts) for parts in zip(*outputs, strict=True))
    classes = model.output_shape[-1]
    graph.output("logits", logits, "float32", ["batch", classes])
    graph.output("contributions", contributions, "float32", ["batch", "time", classes])
    return graph


def _mean(graph: Graph, tensors: tuple[str, ...]) -> str:
    """Returns the mean of the members' outputs."""
    return tensors[0] if len(tensors) == 1 else graph.Mean(*tensors)


def _classify(
    graph: Graph, model: keras.Model, tokens: str, *, pooling: str, region_length: int
) -> tuple[str, str]:
    """Adds one classifier; returns its logits and contributions."""
    mask, lengths = sequence_mask(graph, tokens)
    regions = graph.Reshape(tokens, [-1, region_length]) if region_length else tokens
    encoder = model.get_layer("encoder")
    parts = _encode(graph, encoder, regions)
    if region_length:
        shape = graph.Concat(graph.Shape(tokens), [-1], axis=0)
        parts = [(graph.Reshape(tensor, shape), size) for tensor, size in parts]
    (vectors, vector_size), (forward, forward_size), (backward, backward_size) = parts
    size = forward_size + backward_size
    states = graph.Concat(forward, backward, axis=-1) if backward_size else forward

    shares = _shares(graph, model, states, mask, pooling=pooling, backward_units=backward_size)
    if pooling == "last":
        pooled = pool_last(graph, states, lengths, features=size, backward_units=backward_size)
    elif pooling == "max":
        pooled = pool_max(graph, states, mask)
    else:
        pooled = graph.ReduceSum(shares, [1], keepdims=0)
    if vector_size:
        pooled = graph.Concat(pool_mean(graph, vectors, mask), pooled, axis=-1)
        shares = graph.Concat(mean_shares(graph, vectors, mask), shares, axis=-1)
    head = model.get_layer("logits")
    kernel = graph.weight(values(head.kernel), "logits_kernel")
    logits = graph.Add(graph.MatMul(pooled, kernel), values(head.bias))
    return logits, graph.MatMul(shares, kernel)


def _encode(graph: Graph, encoder: keras.Model, tokens: str) -> list[tuple[str, int]]:
    """Returns vectors, forward and backward states of an encoder, each with its features.

    What does not come out of the encoder has none.
    """
    _, lengths = sequence_mask(graph, tokens)
    table = encoder.get_layer("embedding")
    read, size = embedding(graph, table, tokens), table.output_dim
    names = {layer.name for layer in encoder.layers}
    if "bigram_embedding" in names:
        pairs = values(encoder.get_layer("bigram_embedding").embeddings)
        numbers = _hashed_bigrams(graph, tokens, buckets=len(pairs))
        read = graph.Concat(read, rows(graph, pairs, numbers, "bigrams"), axis=-1)
        size += pairs.shape[1]
    states, _ = recurrent_stack(graph, encoder, read, lengths)
    units = encoder.get_layer("forward_1").units
    backward = units if "backward_1" in names else 0
    skips = encoder.output_shape[-1] > units + backward
    return [
        (read, size if skips else 0),
        (graph.part(states, 0, units), units),
        (graph.part(states, units, units + backward), backward),
    ]


def _hashed_bigrams(graph: Graph, tokens: str, *, buckets: int) -> str:
    """As `models.sentiment.hashed_bigrams`."""
    padded = graph.Pad(tokens, [0, 1, 0, 0], np.int32(0))
    before = graph.Slice(padded, [0], [-1], [1])
    known = graph.And(graph.Greater(tokens, np.int32(1)), graph.Greater(before, np.int32(1)))
    pair = graph.Add(graph.Mul(before, np.int32(31)), graph.Mul(tokens, np.int32(7919)))
    number = graph.Add(graph.Mod(pair, np.int32(buckets - 1)), np.int32(1))
    return graph.Where(known, number, np.int32(0))


def _shares(
    graph: Graph, model: keras.Model, states: str, mask: str, *, pooling: str, backward_units: int
) -> str:
    """Returns what each step adds to the pooled states, `(batch, time, features)`."""
    real = graph.Unsqueeze(mask, [2])
    kept = graph.Where(real, states, np.float32(0))
    if pooling == "mean":
        return mean_shares(graph, kept, mask)
    if pooling == "attention":
        return graph.Mul(attention_weights(graph, model, states, mask), kept)
    if pooling == "max":
        # A feature's greatest value belongs to the first token that has it.
        greatest = graph.ArgMax(graph.Where(real, states, NEVER_THE_MAXIMUM), axis=1, keepdims=1)
        steps = graph.Unsqueeze(graph.range(graph.size(mask, 1)), [0, 2])
        return graph.Where(graph.Equal(steps, greatest), kept, np.float32(0))
    # A recurrence starts from zero, so its last state is the sum of its changes.
    begin = graph.Pad(kept, [0, 1, 0, 0, 0, 0], np.float32(0))
    changes = graph.Sub(kept, graph.Slice(begin, [0], [-1], [1]))
    if backward_units:
        end = graph.Pad(kept, [0, 0, 0, 0, 1, 0], np.float32(0))
        falls = graph.Sub(kept, graph.Slice(end, [1], [np.iinfo(np.int64).max], [1]))
        backward = graph.Slice(falls, [-backward_units], [np.iinfo(np.int64).max], [2])
        changes = graph.Concat(graph.Slice(changes, [0], [-backward_units], [2]), backward, axis=-1)
    return graph.Where(real, changes, np.float32(0))
